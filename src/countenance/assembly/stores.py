"""The database of record, opened; and work on a whole one while no server runs.

Knows which database the settings mean and where its keys are; how one is mended or moved is in `restoration` and
`relocation`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from countenance import relocation, restoration
from countenance.assembly import parts
from countenance.config import Settings, SettingsError
from countenance.ledger.copies import Copies
from countenance.store import Database, Keyring, SqliteDatabase
from countenance.store.ownership import FolderOwned, Ownership


@contextmanager
def open_store(settings: Settings, *, is_shared: bool = False) -> Iterator[tuple[Database, Keyring]]:
    """The database of record and the keys to it.

    A master key is made only together with the database: a missing key beside existing data is a loss that a fresh key
    would hide.
    """
    master = settings.master_key_file or settings.data_dir / "master.key"
    database: Database
    if settings.database is None:
        file = settings.data_dir / "countenance.db"
        keyring = Keyring.open(master, create=not file.exists())
        database = SqliteDatabase(file, is_shared=is_shared)
    else:
        _refuse_without_driver()
        from countenance.store.postgres import PostgresDatabase

        database = PostgresDatabase(settings.data_dir, settings.database)
        try:
            # What a start that was cut off left has nothing in it yet that a key had sealed.
            keyring = Keyring.open(master, create=not relocation.has_sealed(database))
        except BaseException:
            database.close()
            raise
    try:
        yield database, keyring
    finally:
        database.close()


def recover(
    settings: Settings, copies: Copies, *, reason: str, successor: restoration.Successor | None = None
) -> restoration.Mended:
    """Mends a log that is behind what was signed of it, while no server runs. Raises RecoveryFailed."""
    successor = _named(settings, successor)
    with Ownership(settings.data_dir):
        return restoration.mend(
            settings.data_dir,
            replace(copies, standing=settings.ledger_mirrors),
            reason=reason,
            origin=None if successor else settings.ledger_origin,
            successor=successor,
            outside=parts.outside(settings),
            opened=None if settings.database is None else open_store(settings),
        )


def restore(
    settings: Settings, source: Path, copies: Copies, *, reason: str, successor: restoration.Successor | None = None
) -> restoration.Restored:
    """Puts a backup in place, while no server runs. Raises RestoreFailed, RecoveryFailed."""
    if settings.database is not None:
        raise restoration.RestoreFailed(
            "This server's database is PostgreSQL, which is restored by its own tools.",
            hint="docs/operations/postgresql.md; then `countenance ledger recover`, if the log is behind",
        )
    successor = _named(settings, successor)
    with Ownership(settings.data_dir):
        return restoration.restore(
            settings.data_dir,
            source,
            replace(copies, standing=settings.ledger_mirrors),
            reason=reason,
            origin=None if successor else settings.ledger_origin,
            successor=successor,
            outside=parts.outside(settings),
        )


def migrate_database(settings: Settings) -> Mapping[str, int]:
    """Brings the tables up to date, while no server of this folder runs; component -> version. Raises DatabaseError."""
    with Ownership(settings.data_dir), open_store(settings) as (database, _):
        return relocation.migrate(database)


def look_at_database(settings: Settings) -> str:
    """Connects to PostgreSQL and looks whether a node could use it, changing nothing; what it is. Raises Error."""
    _refuse_without_driver()
    from countenance.store.postgres import look

    return look(settings.database or "")


def copy_database(settings: Settings, source: Path, url: str, *, told: Callable[[str, int], None]) -> relocation.Copied:
    """Copies an embedded database to PostgreSQL; see `relocation.copy`. Raises DatabaseError, CopyFailed."""
    _refuse_without_driver()
    folder = source.absolute().parent
    with ExitStack() as stack:
        try:
            stack.enter_context(Ownership(folder))
            is_owned = True
        except FolderOwned:
            is_owned = False
        keyring = Keyring.open(settings.master_key_file or folder / "master.key", create=False)
        return relocation.copy(source, url, is_owned=is_owned, keyring=keyring, folder=folder, told=told)


def _refuse_without_driver() -> None:
    if importlib.util.find_spec("psycopg") is None:
        raise SettingsError("The driver for PostgreSQL is not installed.", hint="pip install 'countenance[postgresql]'")


def _named(settings: Settings, successor: restoration.Successor | None) -> restoration.Successor | None:
    if successor is None or settings.ledger_origin is None:
        return successor
    if successor.name not in (None, settings.ledger_origin):
        raise SettingsError(
            f"the setting ledger_origin is {settings.ledger_origin}, not {successor.name}: change it first"
        )
    return restoration.Successor(settings.ledger_origin)
