"""A server's database brought up to date, and moved from the embedded file to PostgreSQL.

Knows which parts of the server have tables, and when a move is at its end; how rows are moved is in `store.copying`.
While a server runs on the file, a pass copies what there is and leaves what comes meanwhile to the next. Once nobody
writes to it, the last pass ends with a comparison of every row, and the log that goes on in PostgreSQL says that it was
moved.
"""

from __future__ import annotations

import tempfile
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

from countenance.errors import Error
from countenance.ledger import Log
from countenance.ledger.journal import Journal
from countenance.store import Database, DatabaseError, Keyring, has_table, leases

COMPONENTS: Final = ("accounts", "gallery", "ledger", "operators", "policy", "samples", "standing")
"""Whose scripts make the tables, beside the store's own."""
COPIED: Final = "database.copy"
"""The act that says that the log was moved."""
PASSES: Final = 5
"""Passes over a file that a server writes to, before the rest is left for when it is stopped."""


class CopyFailed(Error):
    """The database was not moved."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What became of a move.

    Attributes:
        rows: how many were compared in the last pass.
        written: how many were written or removed, in all passes.
        left: how many differed still when the last pass ended, because a server writes to the source.
        leaves: of the log, once it is whole.
    """

    rows: int
    written: int
    left: int
    leaves: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the target has all of it, compared row by row."""
        return self.leaves is not None


def has_sealed(database: Database) -> bool:
    """Whether something in the database is sealed under a master key: the log's own key is the first thing that is."""
    with database.reading() as connection:
        return has_table(connection, "log_keys") and bool(connection.execute("SELECT 1 FROM log_keys").fetchone())


def scripts_of(component: str) -> list[str]:
    """The scripts that make a component's tables, in order."""
    folder = resources.files(f"countenance.{component}") / "schema"
    scripts = sorted((each.name, each) for each in folder.iterdir() if each.name.endswith(".sql"))
    return [each.read_text("utf-8") for _, each in scripts]


def migrate(database: Database) -> Mapping[str, int]:
    """Bring every table up to date; component -> the version that it has. Raises DatabaseError."""
    for component in COMPONENTS:
        database.migrate(component, scripts_of(component))
    with database.reading() as connection:
        return dict(connection.execute("SELECT component, version FROM component_versions ORDER BY 1").fetchall())


def copy(
    source: Path,
    url: str,
    *,
    is_owned: bool,
    keyring: Keyring,
    folder: Path,
    told: Callable[[str, int], None] = lambda table, rows: None,
) -> Copied:
    """Copy a file into a database of PostgreSQL, as far as that goes now.

    Args:
        is_owned: whether the source's folder is ours, so that nobody writes to it meanwhile.
        keyring: of the server whose file it is.
        folder: of the server's other files.
        told: gets the name of a table and how many rows of it were compared, now and then.

    Raises:
        DatabaseError: one of them cannot be read or written, the source is of another version, or the target has
            another log, or nodes.
        CopyFailed: rows differ although nobody writes to the source; nothing says that the log was moved.
    """
    from countenance.store.postgres import PostgresDatabase

    if not source.is_file():
        raise DatabaseError(f"There is no file {source}.", hint="sqlite:PATH names the server's countenance.db")
    with (
        tempfile.TemporaryDirectory() as scratch,
        closing(PostgresDatabase(Path(scratch), url)) as target,
        target.alone(),  # no node starts, and nobody else copies: what they would write is not in the file
    ):
        migrate(target)
        with target.reading() as reading:
            if leases.here(reading, target):
                raise DatabaseError(
                    "Nodes answer calls over the database to copy to: what they write would be removed.",
                    hint="Copy to an empty database, and start nodes on it when all is copied.",
                )
        return _copy_alone(source, url, is_owned=is_owned, keyring=keyring, folder=folder, told=told)


def _copy_alone(
    source: Path, url: str, *, is_owned: bool, keyring: Keyring, folder: Path, told: Callable[[str, int], None]
) -> Copied:
    from countenance.store.copying import Copying
    from countenance.store.postgres import PostgresDatabase
    from countenance.store.postgres.connection import PostgresConnection, connect

    connection = PostgresConnection(lambda: connect(url, settings={}, name="countenance copies"), heals=False)
    connection.renew()
    copying = Copying(source, connection, told=told)
    try:
        copying.refuse_another_version()
        copying.refuse_another_log()
        done = last = copying.run()
        for _ in range(PASSES - 1):
            if last.is_equal:
                break
            last = copying.run()
            done += last
        differing = copying.compare() if is_owned else last
    finally:
        copying.close()
        connection.close()
    moved = Copied(differing.compared, done.written + done.removed, differing.written + differing.removed)
    if not is_owned:
        return moved
    if not differing.is_equal:
        raise CopyFailed(
            f"{moved.left} rows differ after they were copied, although nobody writes to {source.name}.",
            hint="Run it again; if that does not help, please report it.",
        )
    database = PostgresDatabase(folder, url)
    try:
        log = Log(database, keyring, folder)
        said: dict[str, Any] = {"leaves": log.size, "rows": differing.compared}
        Journal(log).append(COPIED, "", str(uuid.uuid4()), time.time_ns() // 1000, said)
        log.publish()
        return Copied(moved.rows, moved.written, 0, said["leaves"])
    finally:
        database.close()
