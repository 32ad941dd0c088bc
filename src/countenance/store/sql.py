"""What the stores ask of a connection to the database of record, whichever database that is.

SQL here is what SQLite and PostgreSQL both understand, with `?` for parameters; `dialect` turns the little that differs
into PostgreSQL's words. Integers are 64 bits, bytes are bytes, text compares by its bytes in both. `sqlite3.Connection`
meets the contract as it is.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, Protocol


class Cursor(Protocol):
    """The rows that a statement gave."""

    @property
    def rowcount(self) -> int:
        """How many rows were changed."""
        ...

    def fetchone(self) -> Any:
        """The next row, or None."""
        ...

    def fetchmany(self, size: int | None = ..., /) -> list[Any]:
        """The next rows, at most `size`; empty at the end."""
        ...

    def fetchall(self) -> list[Any]:
        """All that are left."""
        ...

    def __iter__(self) -> Iterator[Any]: ...

    def close(self) -> None:
        """Let go of what was not fetched."""
        ...


class Connection(Protocol):
    """A connection inside or outside of a transaction."""

    def execute(self, sql: str, parameters: Sequence[Any] = ..., /) -> Cursor:
        """Runs one statement."""
        ...

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> Cursor:
        """Runs one statement once for each of the parameters."""
        ...

    @property
    def in_transaction(self) -> bool:
        """Whether one is open."""
        ...


class ConstraintBroken(Exception):
    """PostgreSQL refused a row for a constraint of its table."""


IntegrityErrors: Final = (sqlite3.IntegrityError, ConstraintBroken)
"""What a row that breaks a constraint raises, to be caught by who knows what the constraint means."""


def in_portions(connection: Connection, said: str, parameters: Sequence[Any], size: int) -> Iterator[list[Any]]:
    """The rows of a statement in portions, none of which is empty, without holding all of them; in a transaction."""
    stream: Callable[[str, Sequence[Any]], Iterator[list[Any]]] | None = getattr(connection, "stream", None)
    if stream is not None:
        yield from stream(said, parameters)
        return
    cursor = connection.execute(said, parameters)
    while rows := cursor.fetchmany(size):
        yield rows


def tables(connection: Connection, prefix: str = "") -> list[str]:
    """The names of the tables that begin with a prefix, in order."""
    here = (
        "SELECT name FROM sqlite_master WHERE type = 'table'"
        if isinstance(connection, sqlite3.Connection)
        else "SELECT tablename FROM pg_catalog.pg_tables WHERE schemaname = current_schema()"
    )
    return sorted(name for (name,) in connection.execute(here).fetchall() if name.startswith(prefix))


def has_table(connection: Connection, name: str) -> bool:
    """Whether the database has a table of this name."""
    return name in tables(connection, name)


def set_aside(connection: Connection, table: str, prefix: str) -> None:
    """Rename a table, and its indexes, and make an empty one like it."""
    aside = prefix + table
    if not isinstance(connection, sqlite3.Connection):
        connection.execute(f"ALTER TABLE {table} RENAME TO {aside}")
        connection.execute(f"CREATE TABLE {table} (LIKE {aside} INCLUDING ALL)")
        return
    of_table = "SELECT name, sql FROM sqlite_master WHERE type = ? AND tbl_name = ? AND sql IS NOT NULL"
    ((_, made),) = connection.execute(of_table, ("table", table)).fetchall()
    indexes = connection.execute(of_table, ("index", table)).fetchall()
    for name, _ in indexes:
        connection.execute(f"DROP INDEX {name}")
    connection.execute(f"ALTER TABLE {table} RENAME TO {aside}")
    connection.execute(made)
    for name, sql in indexes:
        connection.execute(sql)
        connection.execute(sql.replace(name, prefix + name, 1).replace(f" ON {table}", f" ON {aside}", 1))


def restart_numbers(connection: Connection, table: str, column: str) -> None:
    """Have the numbers that a table gives itself go on after the largest that is there, once some were put in by hand.

    SQLite sees to that itself.
    """
    if not isinstance(connection, sqlite3.Connection):
        connection.execute(
            "SELECT setval(pg_get_serial_sequence(?, ?),"  # noqa: S608 -- names of ours
            f" (SELECT greatest(coalesce(max({column}), 0), 1) FROM {table}), true)",
            (table, column),
        )
