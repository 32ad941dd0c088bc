"""Leaves, openings, tiles and checkpoints as rows of the store.

Knows SQL and the tables of `schema/`; does not know what a leaf says, or how trees are made. Functions that take a
connection run in the writer thread, inside its transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Final

from countenance_audit import canonical
from countenance_audit.leaf import Opening

from countenance.errors import Error
from countenance.ledger.entries import Entries, opening_of, prefixes
from countenance.ledger.entry import OpeningRow
from countenance.ledger.tree import layers_of
from countenance.store import Connection, Database

TILES_IN_MEMORY: Final = 1_024
"""Complete tiles kept for proofs: 8 MiB of hashes."""


LAYERS_IN_MEMORY: Final = 256
"""Tiles of the upper levels kept with their nodes, 40 KB each: those of 16 million leaves."""
PORTION: Final = 65_536
"""Leaves looked at in one statement, so that a reader does not hold the write-ahead log for long."""


class LogDamaged(Error):
    """A row of the log is missing that its size says is there."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"The log is damaged: {what}.", hint="`countenance ledger fsck` lists what is missing or wrong"
        )


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key of the log as it is stored; the seed is wrapped under the master key."""

    number: int
    origin: str
    wrapped: bytes
    state: str


@dataclass(frozen=True, slots=True)
class ClosedLog:
    """A log that ended here; size and root are those of the largest checkpoint known to have been signed."""

    number: int
    origin: str
    size: int
    root: bytes
    reason: str


@dataclass(frozen=True, slots=True)
class Since:
    """What is looked at last, because it changes while the rest is looked at."""

    public: Sequence[bytes]
    """Public leaves that came meanwhile."""
    keys: Sequence[KeyRow]
    expired: int
    """Openings erased after their floor, in all logs here."""


class Storage:
    """The log's rows. Reading is safe from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        folder = resources.files("countenance.ledger") / "schema"
        scripts = sorted((each.name, each) for each in folder.iterdir() if each.name.endswith(".sql"))
        database.migrate("ledger", [each.read_text(encoding="utf-8") for _, each in scripts])
        self.entries = Entries(database)
        self._prefix = ""
        """Of the tables of this log. Statements name no others than those that `closed` tells."""
        self._remember()

    def _remember(self) -> None:
        self.tile = lru_cache(TILES_IN_MEMORY)(self._tile)
        self.layers = lru_cache(LAYERS_IN_MEMORY)(lambda level, n: layers_of(self.tile(level, n)))

    def of_closed(self, ended: ClosedLog) -> Storage:
        """The rows of a log that ended here: leaves, openings, tiles, keys and the latest checkpoint."""
        found = copy(self)
        found._prefix = f"closed{ended.number}_"
        found._remember()
        return found

    def size(self) -> int:
        """How many leaves there are."""
        with self._database.reading() as connection:
            (count, last) = connection.execute("SELECT count(*), max(idx) FROM log_leaves").fetchone()
        if count and last != count - 1:
            raise LogDamaged(f"{count} leaves, the last of them at index {last}")
        return int(count)

    def last_size(self) -> int:
        """How many leaves there are, by the last one's index alone."""
        with self._database.reading() as connection:
            (last,) = connection.execute(f"SELECT max(idx) FROM {self._prefix}log_leaves").fetchone()  # noqa: S608
        return 0 if last is None else int(last) + 1

    @staticmethod
    def size_in(connection: Connection) -> int:
        """How many leaves there are in what an open connection sees."""
        (last,) = connection.execute("SELECT max(idx) FROM log_leaves").fetchone()
        return 0 if last is None else int(last) + 1

    def last_told(self) -> int | None:
        """The index of the last leaf that says when it was made: a public one, or one with its opening. After a
        recovery from a mirror there may be millions without."""
        with self._database.reading() as connection:
            (opened,) = connection.execute("SELECT max(idx) FROM log_openings").fetchone()
            row = connection.execute(
                "SELECT idx FROM log_leaves WHERE idx > ? AND substr(leaf, 1, 1) = x'7b' ORDER BY idx DESC LIMIT 1",
                (-1 if opened is None else opened,),
            ).fetchone()
        return opened if row is None else int(row[0])

    def leaves(self, start: int, end: int) -> list[bytes]:
        """The leaves from `start` up to, not including, `end`."""
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT idx, leaf FROM {self._prefix}log_leaves WHERE idx >= ? AND idx < ? ORDER BY idx",  # noqa: S608
                (start, end),
            ).fetchall()
        if [row[0] for row in rows] != list(range(start, end)):
            raise LogDamaged(f"leaves are missing between {start} and {end - 1}")
        return [row[1] for row in rows]

    def public_leaves(self, size: int) -> Iterator[bytes]:
        """The leaves that are legible to everybody among the first `size`, in order."""
        for start in range(0, size, PORTION):
            with self._database.reading() as connection:
                rows = connection.execute(
                    f"SELECT leaf FROM {self._prefix}log_leaves"  # noqa: S608
                    " WHERE idx >= ? AND idx < ? AND substr(leaf, 1, 1) = x'7b' ORDER BY idx",
                    (start, min(start + PORTION, size)),
                ).fetchall()
            yield from (bytes(leaf) for (leaf,) in rows)

    def public_with(self, words: bytes) -> list[bytes]:
        """The leaves that are legible to everybody and have these bytes in them, in order."""
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT leaf FROM {self._prefix}log_leaves"  # noqa: S608
                " WHERE substr(leaf, 1, 1) = x'7b' AND instr(leaf, ?) > 0 ORDER BY idx",
                (words,),
            ).fetchall()
        return [bytes(leaf) for (leaf,) in rows]

    def since(self, size: int) -> Since:
        """What came after the first `size` leaves, and what there is by then, from one snapshot."""
        with self._database.reading(snapshot=True) as connection:
            public = connection.execute(
                "SELECT leaf FROM log_leaves WHERE idx >= ? AND substr(leaf, 1, 1) = x'7b' ORDER BY idx", (size,)
            ).fetchall()
            keys = connection.execute("SELECT number, origin, wrapped, state FROM log_keys ORDER BY number").fetchall()
            expired = [
                connection.execute(f"SELECT count(*) FROM {prefix}log_expired").fetchone()[0]  # noqa: S608
                for prefix in prefixes(connection)
            ]
        return Since([bytes(leaf) for (leaf,) in public], [KeyRow(*row) for row in keys], sum(expired))

    def openings(self, start: int, end: int) -> list[tuple[int, Opening]]:
        """The openings kept of leaves from `start` up to, not including, `end`."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT idx, accounting, accounting_salt, person, person_salt, person_hash"  # noqa: S608
                f" FROM {self._prefix}log_openings WHERE idx >= ? AND idx < ? ORDER BY idx",
                (start, end),
            ).fetchall()
        return [(row[0], opening_of(row[1:])) for row in rows]

    def rows(self, start: int, end: int) -> dict[int, tuple[Any, Any]]:
        """Index -> leaf, and the row of its opening or None, as they are stored: nothing is read into them yet."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT l.idx, l.leaf, o.accounting, o.accounting_salt, o.person, o.person_salt, o.person_hash, o.idx"  # noqa: S608
                f" FROM {self._prefix}log_leaves l LEFT JOIN {self._prefix}log_openings o ON o.idx = l.idx"
                " WHERE l.idx >= ? AND l.idx < ?",
                (start, end),
            ).fetchall()
        return {row[0]: (row[1], None if row[-1] is None else row[2:-1]) for row in rows}

    def opening(self, index: int) -> Opening | None:
        """What opens a leaf; None for a public leaf, or when there is none."""
        found = self.openings(index, index + 1)
        return found[0][1] if found else None

    def calls(self, request_id: str) -> list[tuple[int, Opening]]:
        """The leaves of one request, in order: effects first, the call itself last."""
        return [(index, opening) for _, index, opening in self.entries.calls(self._prefix, request_id)]

    def usage(self) -> list[tuple[str, str, str, int]]:
        """Units charged: account, price group, UTC month, units."""
        with self._database.reading() as connection:
            return connection.execute("SELECT account, price_group, month, units FROM log_usage").fetchall()

    def latest_checkpoint(self) -> bytes | None:
        """The largest checkpoint that was published."""
        with self._database.reading() as connection:
            row = connection.execute(
                f"SELECT note FROM {self._prefix}log_checkpoints ORDER BY size DESC LIMIT 1"  # noqa: S608
            ).fetchone()
        return row[0] if row else None

    def checkpoint_over(self, size: int) -> bytes | None:
        """The checkpoint of a size, when one was published."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT note FROM log_checkpoints WHERE size = ?", (size,)).fetchone()
        return bytes(row[0]) if row else None

    def checkpoints(self, limit: int) -> Iterator[bytes]:
        """The notes of the latest checkpoints, the newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT note FROM log_checkpoints ORDER BY size DESC LIMIT ?", (limit,)
            ).fetchall()
        return (bytes(row[0]) for row in rows)

    def latest_published(self) -> tuple[int, bytes] | None:
        """Size and note of the largest checkpoint that was published."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT size, note FROM log_checkpoints ORDER BY size DESC LIMIT 1").fetchone()
        return (int(row[0]), bytes(row[1])) if row else None

    def keep_checkpoint(self, size: int, note: bytes) -> None:
        """Keeps a checkpoint; one of the same size with more signatures takes its place."""
        self._database.maintain(lambda connection: keep_checkpoint(connection, size, note))

    def latest_timestamp(self) -> tuple[int, int] | None:
        """Size of the newest timestamped checkpoint, and the authority's time in microseconds since 1970."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT size, stamped_at FROM log_timestamps ORDER BY size DESC LIMIT 1"
            ).fetchone()
        return None if row is None else (row[0], row[1])

    def timestamps(self) -> list[int]:
        """Sizes of the checkpoints that have a timestamp, ascending."""
        with self._database.reading() as connection:
            return [row[0] for row in connection.execute("SELECT size FROM log_timestamps ORDER BY size").fetchall()]

    def timestamp(self, size: int) -> tuple[bytes, bytes] | None:
        """The note that was stamped, and the authority's answer."""
        with self._database.reading() as connection:
            row = connection.execute("SELECT note, answer FROM log_timestamps WHERE size = ?", (size,)).fetchone()
        return None if row is None else (bytes(row[0]), bytes(row[1]))

    def keep_timestamp(self, size: int, note: bytes, answer: bytes, stamped_at: int) -> None:
        """Keeps a timestamp; the first over a size stays, being the earliest."""
        self._database.maintain(
            lambda connection: connection.execute(
                "INSERT INTO log_timestamps (size, note, answer, stamped_at) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (size, note, answer, stamped_at),
            ).close()
        )

    def key_rows(self) -> list[KeyRow]:
        """Every key, the oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT number, origin, wrapped, state FROM {self._prefix}log_keys ORDER BY number"  # noqa: S608
            ).fetchall()
        return [KeyRow(*row) for row in rows]

    def expired(self, start: int, end: int) -> set[int]:
        """Of the leaves from `start` up to, not including, `end`: those whose opening was erased after its floor."""
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT idx FROM {self._prefix}log_expired WHERE idx >= ? AND idx < ?",  # noqa: S608
                (start, end),
            ).fetchall()
        return {row[0] for row in rows}

    def without_opening(self, size: int) -> list[int]:
        """Of the first `size` leaves: those that are not legible to everybody and have no opening, though none was
        erased after its floor."""
        found: list[int] = []
        for start in range(0, size, PORTION):
            with self._database.reading() as connection:
                rows = connection.execute(
                    f"SELECT l.idx FROM {self._prefix}log_leaves l"  # noqa: S608
                    f" LEFT JOIN {self._prefix}log_openings o ON o.idx = l.idx"
                    f" LEFT JOIN {self._prefix}log_expired e ON e.idx = l.idx"
                    " WHERE l.idx >= ? AND l.idx < ? AND o.idx IS NULL AND e.idx IS NULL"
                    " AND substr(l.leaf, 1, 1) <> x'7b' ORDER BY l.idx",
                    (start, min(start + PORTION, size)),
                ).fetchall()
            found += (index for (index,) in rows)
        return found

    def acts(self, start: int, end: int) -> set[int]:
        """Of the leaves from `start` up to, not including, `end`: those that the index of acts has."""
        with self._database.reading() as connection:
            rows = connection.execute(
                f"SELECT idx FROM {self._prefix}log_acts WHERE idx >= ? AND idx < ?",  # noqa: S608
                (start, end),
            ).fetchall()
        return {row[0] for row in rows}

    def owed(self) -> list[tuple[int, dict[str, Any]]]:
        """Public entries that the log still owes, in order."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT number, content FROM log_owed ORDER BY number").fetchall()
        return [(row[0], canonical.decode(row[1])) for row in rows]

    def closed(self) -> list[ClosedLog]:
        """Logs that ended here, the oldest first."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT number, origin, size, root, reason FROM log_closed ORDER BY number"
            ).fetchall()
        return [ClosedLog(*row) for row in rows]

    def _tile(self, level: int, n: int) -> bytes:
        with self._database.reading() as connection:
            row = connection.execute(
                f"SELECT hashes FROM {self._prefix}log_tiles WHERE level = ? AND n = ?",  # noqa: S608
                (level, n),
            ).fetchone()
        if row is None:
            raise LogDamaged(f"tile {n} of level {level} is missing")
        return bytes(row[0])


def checkpoint_in(connection: Connection, size: int) -> bytes | None:
    """The checkpoint of a size in what an open transaction sees."""
    row = connection.execute("SELECT note FROM log_checkpoints WHERE size = ?", (size,)).fetchone()
    return bytes(row[0]) if row else None


def keep_checkpoint(connection: Connection, size: int, note: bytes) -> None:
    """Keeps a checkpoint; one of the same size with more signatures takes its place."""
    connection.execute(
        "INSERT INTO log_checkpoints (size, note) VALUES (?, ?) ON CONFLICT (size) DO UPDATE SET note = excluded.note",
        (size, note),
    )


def units_in(connection: Connection, account: str, group: str, month: str) -> int:
    """How many units were charged to an account, in what an open transaction sees."""
    row = connection.execute(
        "SELECT units FROM log_usage WHERE account = ? AND price_group = ? AND month = ?", (account, group, month)
    ).fetchone()
    return int(row[0]) if row else 0


def insert(
    connection: Connection,
    first: int,
    leaves: Sequence[bytes],
    openings: Iterable[tuple[int, OpeningRow]],
    tiles: Iterable[tuple[int, int, bytes]],
    usage: Iterable[tuple[str, str, str, int]],
) -> None:
    """Writes leaves from index `first` on, with their openings, the tiles they complete and the units they charge."""
    charged: dict[tuple[str, str, str], int] = {}
    for account, group, month, units in usage:
        charged[account, group, month] = charged.get((account, group, month), 0) + units
    openings = list(openings)
    connection.executemany("INSERT INTO log_leaves (idx, leaf) VALUES (?, ?)", enumerate(leaves, first))
    connection.executemany(
        "INSERT INTO log_acts (account, idx) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(row.account_of_act, index) for index, row in openings if row.account_of_act is not None],
    )
    connection.executemany(
        "INSERT INTO log_openings (idx, request_id, accounting, accounting_salt, person, person_salt)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        ((index, *row[:-1]) for index, row in openings),
    )
    connection.executemany("INSERT INTO log_tiles (level, n, hashes) VALUES (?, ?, ?)", tiles)
    connection.executemany(
        "INSERT INTO log_usage (account, price_group, month, units) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (account, price_group, month) DO UPDATE SET units = log_usage.units + excluded.units",
        ((*key, units) for key, units in charged.items()),
    )
