"""Numbered schema scripts, applied once each, per component of the server.

A component (the store itself, the gallery, the accounts) hands over its scripts in order; script number n
takes the component from version n-1 to n. Everything a component lacks is applied in one transaction, so a
crash leaves it at its old version. A database written by a newer program is refused, never guessed at.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence

from countenance.store.failures import DatabaseError
from countenance.store.sql import Connection

_VERSIONS = """
CREATE TABLE IF NOT EXISTS component_versions (
  component TEXT PRIMARY KEY,
  version   INTEGER NOT NULL
) STRICT, WITHOUT ROWID
"""


def statements(script: str) -> Iterator[str]:
    """The single statements of an SQL script.

    sqlite3's own executescript commits the open transaction first, which would make a migration visible
    in halves. SQLite's tokenizer decides where a statement ends, so triggers and quoted semicolons work.
    """
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if sqlite3.complete_statement(pending):
            yield pending
            pending = ""
    if pending.strip() and not all(part.strip().startswith("--") or not part.strip() for part in pending.splitlines()):
        raise ValueError("an SQL script ends in the middle of a statement")


def apply(connection: Connection, component: str, scripts: Sequence[str]) -> int:
    """Bring one component up to date inside the open transaction; returns how many scripts ran.

    Raises:
        DatabaseError: the component's version is beyond the last script.
    """
    connection.execute(_VERSIONS)
    row = connection.execute("SELECT version FROM component_versions WHERE component = ?", (component,)).fetchone()
    version = 0 if row is None else int(row[0])
    if version > len(scripts):
        raise DatabaseError(
            f"The database was written by a newer version of this program ({component} schema {version}, "
            f"this program knows {len(scripts)}).",
            hint="Start the newer version, or restore a backup from before the upgrade.",
        )
    if version == len(scripts):
        return 0
    for script in scripts[version:]:
        for statement in statements(script):
            connection.execute(statement)
    connection.execute(
        "INSERT INTO component_versions (component, version) VALUES (?, ?) "
        "ON CONFLICT (component) DO UPDATE SET version = excluded.version",
        (component, len(scripts)),
    )
    return len(scripts) - version
