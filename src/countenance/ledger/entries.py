"""What entries say, over all logs here: those of an account, of a request, those that change something.

Knows the rows of openings; does not know what operations mean, nor the tree. Every log that ended has its tables under
a prefix (`prefixes`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from countenance_audit import canonical
from countenance_audit.leaf import Opening

from countenance.store import Connection, Database

HOUR_US: Final = 3_600_000_000
_END: Final = "CAST(json_extract(accounting, '$.end') AS INTEGER)"
PORTION: Final = 65_536
"""Openings looked at in one statement, so that a reader does not hold the write-ahead log for long."""


@dataclass(frozen=True, slots=True)
class KeptAct:
    """An act with its leaf, as they are stored."""

    place: tuple[int, int]
    """Orders acts of all logs here: the log's number (the present one's is the largest), and the index."""
    accounting: Mapping[str, Any]
    leaf: bytes
    row: tuple[str, bytes, str | None, bytes | None, bytes | None]

    def opening(self) -> Opening:
        """What opens its leaf. Raises Malformed."""
        return opening_of(self.row)


FROM_THE_START: Final = (-1, -1)
"""A place before every act's."""


class Entries:
    """The openings of all logs here. Safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def calls(self, prefix: str, request_id: str) -> list[tuple[bytes, int, Opening]]:
        """Leaf, index and opening of each entry of one request in one log, in order."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT leaf, idx, accounting, accounting_salt, person, person_salt, person_hash"  # noqa: S608
                f" FROM {prefix}log_openings JOIN {prefix}log_leaves USING (idx) WHERE request_id = ? ORDER BY idx",
                (request_id,),
            ).fetchall()
        return [(bytes(row[0]), row[1], opening_of(row[2:])) for row in rows]

    def calls_ever(self, request_id: str) -> list[tuple[bytes, Opening]]:
        """Leaf and opening of each entry of one request, those in logs that ended included."""
        with self._database.reading() as connection:
            all_logs = prefixes(connection)
        return [(leaf, opening) for prefix in all_logs for leaf, _, opening in self.calls(prefix, request_id)]

    def accountings(self, account: str, size: int) -> Iterator[dict[str, Any]]:
        """The index and accounting section of every opening of an account among the first `size` leaves, in order."""
        for start in range(0, size, PORTION):
            with self._database.reading() as connection:
                rows = connection.execute(
                    "SELECT idx, accounting FROM log_openings WHERE idx >= ? AND idx < ?"
                    " AND json_extract(accounting, '$.account') = ? ORDER BY idx",
                    (start, min(start + PORTION, size), account),
                ).fetchall()
            for index, accounting in rows:
                yield {"index": index, "accounting": canonical.decode(accounting)}

    def answered(self, since_us: int) -> Iterator[tuple[str, int, int]]:
        """Account, hour since 1970 and how many calls were answered in it, of the present log, from a time on; an hour
        can come in several parts.

        Args:
            since_us: microseconds since 1970. Entries are in the order of time: what came before is not looked at.
        """
        with self._database.reading() as connection:
            (last,) = connection.execute("SELECT max(idx) FROM log_openings").fetchone()
        for start in range((last or 0) // PORTION * PORTION, -1, -PORTION):
            with self._database.reading() as connection:
                rows = connection.execute(
                    f"SELECT json_extract(accounting, '$.account'), {_END} / {HOUR_US},"  # noqa: S608
                    f" count(*) FROM log_openings WHERE idx >= ? AND idx < ? AND {_END} >= ?"
                    " AND json_extract(accounting, '$.kind') = 'call' AND json_extract(accounting, '$.code') = 'OK'"
                    " GROUP BY 1, 2",
                    (start, start + PORTION, since_us),
                ).fetchall()
                first = connection.execute(
                    f"SELECT {_END} FROM log_openings WHERE idx >= ? ORDER BY idx LIMIT 1",  # noqa: S608
                    (start,),
                ).fetchone()
            yield from ((str(account), int(hour), int(count)) for account, hour, count in rows)
            if first is not None and first[0] is not None and first[0] < since_us:
                return

    def changes(self) -> Iterator[dict[str, Any]]:
        """The accounting section of every act and effect there is an opening of, in order, of logs that ended first."""
        for _, prefix in self._logs():
            with self._database.reading() as connection:
                (last,) = connection.execute(f"SELECT max(idx) FROM {prefix}log_openings").fetchone()  # noqa: S608
            for start in range(0, (last or 0) + 1, PORTION):
                with self._database.reading() as connection:
                    rows = connection.execute(
                        f"SELECT accounting FROM {prefix}log_openings"  # noqa: S608 -- the prefix is a number's
                        " WHERE idx >= ? AND idx < ? AND json_extract(accounting, '$.kind') IN ('act', 'effect')"
                        " ORDER BY idx",
                        (start, start + PORTION),
                    ).fetchall()
                yield from (canonical.decode(accounting) for (accounting,) in rows)

    def acts(self, account: str, operations: Sequence[str]) -> Iterator[KeptAct]:
        """Acts of an account, in order, of logs that ended first. Reads nothing but the account's acts."""
        marks = ",".join("?" * len(operations))
        condition = f"a.account = ? AND json_extract(accounting, '$.operation') IN ({marks})"
        yield from self._acts(condition, (account, *operations))

    def acts_named(self, operations: Sequence[str], after: tuple[int, int] = FROM_THE_START) -> Iterator[KeptAct]:
        """Acts of some operations, whatever they are about, in order, of logs that ended first; only those after one
        with this place, without reading those before."""
        marks = ",".join("?" * len(operations))
        yield from self._acts(f"json_extract(accounting, '$.operation') IN ({marks})", tuple(operations), after)

    def acts_of(self, request_id: str) -> Iterator[KeptAct]:
        """The acts of one request."""
        yield from self._acts("o.request_id = ?", (request_id,), order=("log_openings o", "log_acts a"))

    def _acts(
        self,
        condition: str,
        values: tuple[str, ...],
        after: tuple[int, int] = FROM_THE_START,
        *,
        order: tuple[str, str] = ("log_acts a", "log_openings o"),
    ) -> Iterator[KeptAct]:
        """In this order SQLite looks at them; acts are few among the openings, and openings of one request fewer."""
        first, second = order
        for number, prefix in self._logs():
            if number < after[0]:
                continue
            last = after[1] if number == after[0] else -1
            with self._database.reading() as connection:
                rows = connection.execute(
                    "SELECT o.idx, l.leaf, accounting, accounting_salt, person, person_salt, person_hash"  # noqa: S608
                    f" FROM {prefix}{first} CROSS JOIN {prefix}{second} CROSS JOIN {prefix}log_leaves l"
                    " WHERE o.idx = a.idx AND l.idx = a.idx AND a.account = json_extract(accounting, '$.account')"
                    f" AND a.idx > ? AND {condition} ORDER BY a.idx",
                    (last, *values),
                ).fetchall()
            for index, leaf, *row in rows:
                yield KeptAct((number, index), canonical.decode(row[0]), leaf, tuple(row))

    def _logs(self) -> list[tuple[int, str]]:
        """The prefix of the tables of each log with its number in time, the present one last."""
        with self._database.reading() as connection:
            return list(enumerate(prefixes(connection)))


def prefixes(connection: Connection) -> list[str]:
    """What the tables' names of each log begin with: those of logs that ended, the oldest first, and of this one."""
    closed = connection.execute("SELECT number FROM log_closed ORDER BY number").fetchall()
    return [*(f"closed{number}_" for (number,) in closed), ""]


def opening_of(row: tuple[str, bytes, str | None, bytes | None, bytes | None]) -> Opening:
    """An opening from its row: accounting, its salt, person, its salt, and the hash of an erased one."""
    accounting, accounting_salt, person, person_salt, person_hash = row
    return Opening(
        canonical.decode(accounting),
        accounting_salt,
        None if person is None else canonical.decode(person),
        person_salt,
        person_hash,
    )
