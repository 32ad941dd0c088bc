"""Moving the database of record from the embedded file to PostgreSQL, while the file is in use and after.

A pass goes through every table of both in the order of its key and makes the target like the source, part by part;
it writes what differs and nothing else, so that a pass that was cut off is taken up by the next, and the last one, over
a source that nobody writes to any more, is short. `compare` is a pass that writes nothing: what it finds equal is equal
row by row. Knows no table: names, columns and keys come from the source.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from countenance.store.failures import DatabaseError, translate
from countenance.store.postgres.connection import PostgresConnection
from countenance.store.sql import has_table

PORTION: Final = 5_000
"""Rows compared at once: of references some 2 MB."""
OF_THE_STORE: Final = frozenset({"store_state", "store_node", "store_lease", "component_versions"})
"""Tables that say something of one database and are not moved."""
_ASIDE: Final = re.compile(r"closed\d+_(?P<like>\w+)")

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the source."""

    name: str
    columns: tuple[str, ...]
    key: tuple[int, ...]
    """Which of the columns make the key."""
    parents: tuple[str, ...]
    """Tables that its rows name."""

    def key_of(self, row: Row) -> Row:
        """The key's values of a row."""
        return tuple(row[at] for at in self.key)

    @property
    def key_columns(self) -> str:
        """As a row value of SQL."""
        return "(" + ", ".join(self.columns[at] for at in self.key) + ")"


@dataclass(frozen=True, slots=True)
class Passed:
    """What a pass found, or did: rows."""

    compared: int = 0
    written: int = 0
    removed: int = 0

    def __add__(self, other: Passed) -> Passed:
        return Passed(self.compared + other.compared, self.written + other.written, self.removed + other.removed)

    @property
    def is_equal(self) -> bool:
        """Whether nothing differed."""
        return not self.written and not self.removed


class Copying:
    """From a file to a database of PostgreSQL whose tables are there.

    Args:
        told: gets the name of a table and how many rows of it were compared, now and then.
    """

    def __init__(
        self, source: Path, target: PostgresConnection, *, told: Callable[[str, int], None] = lambda name, rows: None
    ) -> None:
        """Open the source for reading. Raises DatabaseError."""
        try:
            self._source = sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
            self.tables = _tables_of(self._source)
        except sqlite3.Error as failure:
            raise translate(failure) from failure
        self._target = target
        self._told = told

    def close(self) -> None:
        """Let go of the source."""
        self._source.close()

    def rows(self) -> int:
        """About how many there are to compare."""
        return sum(
            int(self._source.execute(f"SELECT count(*) FROM {table.name}").fetchone()[0])  # noqa: S608
            for table in self.tables
        )

    def refuse_another_version(self) -> None:
        """Raises DatabaseError when the source's tables are not as this version has them: rows move as they are."""
        asked = "SELECT component, version FROM component_versions ORDER BY component"
        there = dict(self._target.execute(asked).fetchall())
        for component, version in self._source.execute(asked).fetchall():
            if there.get(component) != version:
                raise DatabaseError(
                    f"The file's tables are of another version than this program's ({component} {version}).",
                    hint="Bring them up to date first: `countenance database migrate` without the setting `database`.",
                )

    def refuse_another_log(self) -> None:
        """Raises DatabaseError when the target has a log that does not begin this one's."""
        last = self._target.execute("SELECT idx, leaf FROM log_leaves ORDER BY idx DESC LIMIT 1").fetchone()
        if last is None:
            return
        here = self._source.execute("SELECT leaf FROM log_leaves WHERE idx = ?", (last[0],)).fetchone()
        end = self._source.execute("SELECT idx, leaf FROM log_leaves ORDER BY idx DESC LIMIT 1").fetchone()
        if here is None and end is not None:
            there = self._target.execute("SELECT leaf FROM log_leaves WHERE idx = ?", (end[0],)).fetchone()
            if there is not None and bytes(there[0]) == bytes(end[1]):
                raise DatabaseError(
                    "The database to copy to has all of this log already, and went on: it was moved.",
                    hint="Start the server with the setting `database`; to copy again, name an empty database.",
                )
        if here is None or bytes(here[0]) != bytes(last[1]):
            raise DatabaseError(
                "The database to copy to has a log of its own, or went on after it was copied to.",
                hint="Copy to an empty database; what was written there since would be lost.",
            )

    def run(self) -> Passed:
        """Make the target like the source, as far as the source holds still. Raises DatabaseError."""
        done = Passed()
        differing: dict[str, list[tuple[Row | None, Row | None]]] = {}
        try:
            self._make_aside()
            # What is not in the source any more goes first, children before parents: a key may have moved to another
            # row, and a row that is gone must not hold its parent.
            for table in reversed(self.tables):
                found, spans = self._without_extras(table)
                done += found
                differing[table.name] = spans
            for table in self.tables:
                for after, upto in differing[table.name]:
                    done += Passed(written=self._write(table, after, upto))
            self._restart_numbers()
        except sqlite3.Error as failure:
            raise translate(failure) from failure
        return done

    def compare(self) -> Passed:
        """What a pass would do, without doing it. Raises DatabaseError."""
        done = Passed()
        try:
            for table in self.tables:
                for after, upto, rows in self._portions(table):
                    there = self._there(table, after, upto)
                    here = dict(rows)
                    done += Passed(
                        len(here),
                        sum(there.get(key) != row for key, row in here.items()),
                        len(there.keys() - here.keys()),
                    )
        except sqlite3.Error as failure:
            raise translate(failure) from failure
        return done

    def _without_extras(self, table: Table) -> tuple[Passed, list[tuple[Row | None, Row | None]]]:
        done, spans = Passed(), []
        for after, upto, rows in self._portions(table):
            there, here = self._there(table, after, upto), dict(rows)
            extra = there.keys() - here.keys()
            if extra:
                marks = " AND ".join(f"{table.columns[at]} = ?" for at in table.key)
                self._transact(
                    lambda extra=extra, marks=marks: self._target.executemany(  # type: ignore[misc]
                        f"DELETE FROM {table.name} WHERE {marks}",  # noqa: S608 -- called at once
                        list(extra),
                    )
                )
            if any(there.get(key) != row for key, row in here.items()):
                spans.append((after, upto))
            done += Passed(len(here), 0, len(extra))
            self._told(table.name, len(here))
        return done, spans

    def _write(self, table: Table, after: Row | None, upto: Row | None) -> int:
        there = self._there(table, after, upto)
        fresh, other = [], []
        for key, row in self._rows(table, after, upto):
            if key not in there:
                fresh.append(row)
            elif there[key] != row:
                other.append(row)
        columns = ", ".join(table.columns)
        marks = ", ".join("?" * len(table.columns))
        rest = [each for at, each in enumerate(table.columns) if at not in table.key]
        update = "NOTHING" if not rest else "UPDATE SET " + ", ".join(f"{each} = excluded.{each}" for each in rest)

        def write() -> None:
            if fresh:
                self._target.copy_in(table.name, table.columns, fresh)
            if other:
                self._target.executemany(
                    f"INSERT INTO {table.name} ({columns}) VALUES ({marks})"  # noqa: S608
                    f" ON CONFLICT {table.key_columns} DO {update}",
                    other,
                )

        self._transact(write)
        return len(fresh) + len(other)

    def _portions(self, table: Table) -> Iterator[tuple[Row | None, Row | None, list[tuple[Row, Row]]]]:
        """Spans of keys, from after one up to another, with the rows of the source in them; the last has no end."""
        after: Row | None = None
        while True:
            rows = self._rows(table, after, None, limit=PORTION)
            upto = rows[-1][0] if len(rows) == PORTION else None
            yield after, upto, rows
            if upto is None:
                return
            after = upto

    def _rows(
        self, table: Table, after: Row | None, upto: Row | None, *, limit: int | None = None
    ) -> list[tuple[Row, Row]]:
        sql, values = _selected(table, after, upto, limit)
        return [(table.key_of(row), row) for row in self._source.execute(sql, values).fetchall()]

    def _there(self, table: Table, after: Row | None, upto: Row | None) -> dict[Row, Row]:
        sql, values = _selected(table, after, upto, None)
        found: dict[Row, Row] = {}
        self._target.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            for rows in self._target.stream(sql, values):
                found.update((table.key_of(row), row) for row in rows)
        finally:
            self._target.execute("ROLLBACK")
        return found

    def _transact(self, act: Callable[[], object]) -> None:
        self._target.execute("BEGIN")
        try:
            act()
            self._target.execute("COMMIT")
        except BaseException:
            if self._target.in_transaction:
                self._target.execute("ROLLBACK")
            raise

    def _make_aside(self) -> None:
        """Tables of logs that ended have names of their own, and the form of the log's."""
        for table in self.tables:
            found = _ASIDE.fullmatch(table.name)
            if found is not None and not has_table(self._target, table.name):
                self._target.execute(f"CREATE TABLE {table.name} (LIKE {found['like']} INCLUDING ALL)")

    def _restart_numbers(self) -> None:
        """What a table numbered itself goes on after the largest number ever given, not the largest that is left."""
        given = dict(self._source.execute("SELECT name, seq FROM sqlite_sequence").fetchall())
        for table in self.tables:
            if len(table.key) != 1:
                continue
            column = table.columns[table.key[0]]
            ((sequence,),) = self._target.execute(
                "SELECT pg_get_serial_sequence(?, ?)", (table.name, column)
            ).fetchall() or [(None,)]
            if sequence is not None:
                self._target.execute(
                    f"SELECT setval(CAST(? AS TEXT), greatest(CAST(? AS INTEGER),"  # noqa: S608
                    f" coalesce((SELECT max({column}) FROM {table.name}), 0), 1))",
                    (sequence, given.get(table.name, 0)),
                )


def _selected(table: Table, after: Row | None, upto: Row | None, limit: int | None) -> tuple[str, list[Any]]:
    conditions, values = [], list[Any]()
    marks = "(" + ", ".join("?" * len(table.key)) + ")"
    if after is not None:
        conditions.append(f"{table.key_columns} > {marks}")
        values += after
    if upto is not None:
        conditions.append(f"{table.key_columns} <= {marks}")
        values += upto
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    order = ", ".join(table.columns[at] for at in table.key)
    most = "" if limit is None else f" LIMIT {limit}"
    return f"SELECT {', '.join(table.columns)} FROM {table.name}{where} ORDER BY {order}{most}", values  # noqa: S608


def _tables_of(source: sqlite3.Connection) -> Sequence[Table]:
    """Parents before their children."""
    names = source.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name"
    ).fetchall()
    found: dict[str, Table] = {}
    for (name,) in names:
        if name in OF_THE_STORE:
            continue
        columns = source.execute(f"PRAGMA table_info({name})").fetchall()
        key = sorted((place, at) for at, (_, _, _, _, _, place) in enumerate(columns) if place)
        parents = {row[2] for row in source.execute(f"PRAGMA foreign_key_list({name})").fetchall()}
        found[name] = Table(name, tuple(row[1] for row in columns), tuple(at for _, at in key), tuple(parents - {name}))
    ordered: list[Table] = []
    while len(ordered) < len(found):
        there = {each.name for each in ordered}
        ordered += [each for each in found.values() if each.name not in there and set(each.parents) <= there]
    return ordered
