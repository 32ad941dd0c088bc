"""Maps, secrets and usage of days as rows of the store.

Knows SQL; does not know how maps are made. Functions that take a connection run in the writer thread, inside its
transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256

from countenance_audit.periodmap import PeriodMap, Usage
from countenance_audit.usage import Identifier

from countenance.errors import Error
from countenance.store import Connection, Database

LEAVES_IN_A_STATEMENT = 65_536
"""Rows read at once, so that a reader does not hold the write-ahead log for long."""


class PeriodError(Error):
    """A day has no map, or one cannot be made or proved from."""


def forget(connection: Connection, account: str, before: str) -> None:
    """Remove what was used under an account before a day, and under identifiers that nobody but it had: its openings
    are gone, and this was derived from them."""
    connection.execute(
        "DELETE FROM period_usage WHERE (origin, day, leaves) IN (SELECT origin, day, leaves FROM period_usage"
        " WHERE scheme = 'account' AND value = ? AND day < ?)",
        (account, before),
    )


class Rows:
    """The rows of one origin. Reading is safe from any thread."""

    def __init__(self, database: Database, origin: str) -> None:
        self._database = database
        self._origin = origin

    def leaves_of_kind(self, kind: str, after: int = -1) -> list[tuple[int, bytes]]:
        """Index and octets of the public leaves of a kind after one, in order."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT idx, leaf FROM log_leaves WHERE idx > ? AND substr(leaf, 1, 1) = x'7b' AND instr(leaf, ?) > 0"
                " ORDER BY idx",
                (after, f'"kind":"{kind}"'.encode()),
            ).fetchall()
        return [(row[0], bytes(row[1])) for row in rows]

    def public_leaves(self, start: int, end: int) -> list[tuple[int, bytes]]:
        """Index and octets of the public leaves from `start` up to `end`, in order."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT idx, leaf FROM log_leaves WHERE idx >= ? AND idx < ? AND substr(leaf, 1, 1) = x'7b'"
                " ORDER BY idx",
                (start, end),
            ).fetchall()
        return [(row[0], bytes(row[1])) for row in rows]

    def openings(
        self, start: int, end: int, portion: int = LEAVES_IN_A_STATEMENT
    ) -> Iterator[tuple[int, bytes, str | None]]:
        """Index, leaf, and the accounting section as it is stored or None, of leaves from `start` up to `end`."""
        for first in range(start, end, portion):
            with self._database.reading() as connection:
                yield from connection.execute(
                    "SELECT l.idx, l.leaf, o.accounting FROM log_leaves l LEFT JOIN log_openings o ON o.idx = l.idx"
                    " WHERE l.idx >= ? AND l.idx < ? ORDER BY l.idx",
                    (first, min(end, first + portion)),
                ).fetchall()

    def are_open(self, start: int, end: int) -> bool:
        """Whether every opaque leaf from `start` up to `end` has its accounting section."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT 1 FROM log_leaves l LEFT JOIN log_openings o ON o.idx = l.idx"
                " WHERE l.idx >= ? AND l.idx < ? AND substr(l.leaf, 1, 1) <> x'7b' AND o.accounting IS NULL LIMIT 1",
                (start, end),
            ).fetchone()
        return row is None

    # -- secrets

    def secrets(self) -> dict[str, bytes]:
        """First day -> wrapped secret."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT day, wrapped FROM period_keys WHERE origin = ?", (self._origin,))
            return {row[0]: bytes(row[1]) for row in rows.fetchall()}

    def keep_secret(self, connection: Connection, day: str, wrapped: bytes) -> None:
        """One more secret; one of a leaf that was never written gives way."""
        connection.execute(
            "INSERT INTO period_keys (origin, day, wrapped) VALUES (?, ?, ?)"
            " ON CONFLICT (origin, day) DO UPDATE SET wrapped = excluded.wrapped",
            (self._origin, day, wrapped),
        )

    # -- maps

    def keep_map(
        self,
        connection: Connection,
        day: str,
        revision: int,
        made: PeriodMap,
        usage: Mapping[Identifier, Usage],
    ) -> None:
        """A map, and the usage that it commits to in the place of what an older one did."""
        connection.execute(
            "INSERT INTO period_maps (origin, day, revision, leaves, tree) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (origin, day, revision) DO UPDATE SET leaves = excluded.leaves, tree = excluded.tree",
            (self._origin, day, revision, made.leaves, made.tree),
        )
        connection.execute("DELETE FROM period_usage WHERE origin = ? AND day = ?", (self._origin, day))
        connection.executemany(
            "INSERT INTO period_usage (origin, day, scheme, value, calls, units, amount, leaves)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (self._origin, day, scheme, value, each.calls, each.units, each.amount, each.leaves)
                for (scheme, value), each in usage.items()
            ),
        )

    def map_of(self, day: str, revision: int) -> PeriodMap | None:
        """A map that can prove."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT leaves, tree FROM period_maps WHERE origin = ? AND day = ? AND revision = ?",
                (self._origin, day, revision),
            ).fetchone()
        return None if row is None else PeriodMap(bytes(row[0]), bytes(row[1]))

    def file_of(self, day: str, revision: int) -> bytes | None:
        """A map as it is published."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT leaves FROM period_maps WHERE origin = ? AND day = ? AND revision = ?",
                (self._origin, day, revision),
            ).fetchone()
        return None if row is None else bytes(row[0])

    def usage(self, day: str, scheme: str, value: str) -> Usage | None:
        """What an identifier's value in the latest map of a day hides; None without use."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT calls, units, amount, leaves FROM period_usage"
                " WHERE origin = ? AND day = ? AND scheme = ? AND value = ?",
                (self._origin, day, scheme, value),
            ).fetchone()
        return None if row is None else Usage(*row)

    def used(self, day: str) -> dict[Identifier, Usage]:
        """Everything in the latest map of a day."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT scheme, value, calls, units, amount, leaves FROM period_usage WHERE origin = ? AND day = ?",
                (self._origin, day),
            ).fetchall()
        return {(row[0], row[1]): Usage(*row[2:]) for row in rows}

    def units_of(self, accounts: Iterable[str], days: Sequence[str]) -> dict[str, int]:
        """Account -> units on some days. Reads nothing of other accounts: a day has many more."""
        found = {}
        with self._database.reading() as connection:
            for account in accounts:
                rows = (
                    connection.execute(
                        "SELECT units FROM period_usage"
                        " WHERE origin = ? AND day = ? AND scheme = 'account' AND value = ?",
                        (self._origin, day, account),
                    ).fetchone()
                    for day in days
                )
                found[account] = sum(row[0] for row in rows if row is not None)
        return found

    def days_of(self, account: str) -> list[str]:
        """Days on which an account used the service, in order."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT day FROM period_usage WHERE origin = ? AND scheme = 'account' AND value = ? ORDER BY day",
                (self._origin, account),
            ).fetchall()
        return [row[0] for row in rows]

    # -- what others said

    def keep_statement(self, day: str, note: bytes) -> str:
        """A statement of a monitor or an auditor; its SHA-256."""
        digest = sha256(note).hexdigest()
        self._database.maintain(
            lambda connection: connection.execute(
                "INSERT INTO period_statements (sha256, origin, day, note) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (digest, self._origin, day, note),
            ).close()
        )
        return digest

    def statements(self, day: str) -> list[bytes]:
        """Those whose last day is this one."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT note FROM period_statements WHERE origin = ? AND day = ? ORDER BY sha256", (self._origin, day)
            ).fetchall()
        return [bytes(row[0]) for row in rows]
