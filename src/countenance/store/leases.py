"""Who of several processes is here, and which of them does what only one may do at a time.

A duty goes to whoever holds its lease: a row with a holder, a term that grows whenever it changes hands, and until when
it holds by the database's clock. The holder renews it long before it ends; when it dies, the next one that looks takes
it. Two guards keep a holder from acting that was stopped meanwhile (SIGSTOP, a suspended machine, a long garbage
collection): it asks its own monotonic clock before it begins anything, and whatever it writes is checked in the
transaction that writes it, by the term, with every other writer kept out. So nothing is done twice, whatever clocks
say: clocks only decide how soon another one takes over.

A database of one process has neither rows nor a thread for this: that process does everything.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Final

from countenance.errors import Error
from countenance.store.database import Database
from countenance.store.failures import FenceBroken
from countenance.store.sql import Connection

UPKEEP: Final = "upkeep"
"""Checkpoints, heartbeats, witnesses, maps of days, retention, lists and screenings, timestamps."""
LEASE_S: Final = 5.0
"""How long a lease holds without being renewed: a holder that died is replaced within this time and a renewal's."""
RENEW_S: Final = 1.5
"""How often it is renewed, and each process says that it is here: three times before a lease would end."""
GONE_S: Final = 30.0
"""A process that said nothing for so long is forgotten."""
ALIVE_S: Final = LEASE_S
"""One that said something within this time counts when it is asked whether anybody is here."""

TOLD: Final = (
    "role",
    "state",
    "version",
    "process",
    "face_model",
    "collections_loaded",
    "references_loaded",
    "index_bytes",
    "part",
    "url",
    "behind",
    "is_listening",
)
"""What is shown of that which processes say of themselves; the rest is for one another."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Node:
    """A process that has the database open.

    Attributes:
        told: what it says of itself.
        seen_us: how long ago it said so, microseconds, by the database's clock.
        here_us: how long it has been here.
        duties: what it holds a lease of.
    """

    node: str
    told: Mapping[str, Any]
    seen_us: int
    here_us: int
    duties: tuple[str, ...]

    @property
    def is_live(self) -> bool:
        """Whether it said something lately."""
        return self.seen_us < ALIVE_S * 1_000_000

    def shown(self) -> dict[str, Any]:
        """For people and programs; plain values of JSON, times in seconds."""
        return {
            "node": self.node,
            **{name: self.told[name] for name in TOLD if name in self.told},
            "is_live": self.is_live,
            "seen_s": round(self.seen_us / 1_000_000, 1),
            "here_s": round(self.here_us / 1_000_000, 1),
            "duties": list(self.duties),
        }


class Lease:
    """One duty, as this process sees it. Safe to use from any thread."""

    def __init__(self, database: Database, duty: str, *, length_s: float) -> None:
        self.duty = duty
        self._database = database
        self._length_s = length_s
        self._term = 0
        self._until = 0.0 if database.is_shared else float("inf")
        self._renewed = (0, 0.0)
        self.taken: list[Callable[[], None]] = []
        """Called when the duty came here, in the thread that looks after leases; must not take long."""

    @property
    def term(self) -> int:
        """Of the last time that it was here; 0 for never."""
        return self._term

    def is_held(self) -> bool:
        """Whether the duty is this process's, by its own clock, which goes on while the process is stopped."""
        return time.monotonic() < self._until

    def fenced(self) -> AbstractContextManager[None]:
        """A context inside which this thread writes nothing once another process took the duty over; what it would have
        written raises FenceBroken."""
        if not self._database.is_shared:
            return nullcontext()
        return self._database.fenced(self._check)

    def _check(self, connection: Connection) -> None:
        row = connection.execute("SELECT holder, term FROM store_lease WHERE duty = ?", (self.duty,)).fetchone()
        if row is None or (row[0], row[1]) != (self._database.node, self._term):
            self._until = 0.0
            raise FenceBroken(f"Another process looks after {self.duty} by now; nothing was changed.")

    def renew(self, connection: Connection, now_us: int, began: float) -> bool:
        """Take it when it is free, or hold it for longer; whether it is here. In an open transaction.

        Args:
            now_us: by the database's clock.
            began: by this process's, before the transaction.
        """
        node = self._database.node
        row = connection.execute(
            "SELECT holder, term, until_us FROM store_lease WHERE duty = ?", (self.duty,)
        ).fetchone()
        until_us = now_us + int(self._length_s * 1_000_000)
        if row is None:
            term = 1
        elif row[0] == node and row[1] == self._term:
            term = self._term
        elif row[2] <= now_us or row[0] == node:
            term = int(row[1]) + 1
        else:
            self._until = 0.0
            return False
        connection.execute(
            "INSERT INTO store_lease (duty, holder, term, until_us) VALUES (?, ?, ?, ?) ON CONFLICT (duty)"
            " DO UPDATE SET holder = excluded.holder, term = excluded.term, until_us = excluded.until_us",
            (self.duty, node, term, until_us),
        )
        self._renewed = (term, began + self._length_s)
        return True

    def renewed(self) -> None:
        """What `renew` did is durable."""
        before, (self._term, self._until) = self._term, self._renewed
        if before != self._term:
            _log.info("this process looks after %s from now on (term %d)", self.duty, self._term)
            for act in self.taken:
                act()

    def let_go(self, connection: Connection) -> None:
        """Let others take it at once. In an open transaction."""
        self._until = 0.0
        connection.execute(
            "UPDATE store_lease SET until_us = 0 WHERE duty = ? AND holder = ? AND term = ?",
            (self.duty, self._database.node, self._term),
        )


class Presence:
    """Says that this process is here, and looks after its leases, in a thread of its own.

    Args:
        database: whose other users are told.
        told: what to say of this process; plain values of JSON.
        replaces: whether a process of the same `role` that did not leave is dead for sure, as one worker of a parent is
            whom another follows: otherwise it would count as here for another few seconds.
    """

    def __init__(
        self,
        database: Database,
        told: Callable[[], Mapping[str, Any]] = dict,
        *,
        lease_s: float = LEASE_S,
        renew_s: float = RENEW_S,
        gone_s: float = GONE_S,
        replaces: bool = False,
    ) -> None:
        self.told = told
        self.upkeep = Lease(database, UPKEEP, length_s=lease_s)
        self._database = database
        self._renew_s, self._gone_us = renew_s, int(gone_s * 1_000_000)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="presence", daemon=True)
        self._failed = False
        self._replaces = replaces

    def start(self) -> None:
        """Take what is free, before this returns, and go on saying that this process is here."""
        if self._database.is_shared:
            self.look()
            self._thread.start()

    def tell(self, told: Callable[[], Mapping[str, Any]]) -> None:
        """Say this of this process, from now on."""
        self.told = told
        if self._database.is_shared:
            self.look()

    def join(self, connection: Connection) -> bool:
        """Be here, in an open transaction; whether nobody else is."""
        if not self._database.is_shared:
            return True
        now_us = self._database.clock_us(connection)
        is_alone = not self._others(connection, now_us)
        self._note(connection, now_us, json.dumps(self.told(), sort_keys=True))
        return is_alone

    def leave(self, connection: Connection) -> bool:
        """Be gone, in an open transaction, with others to take over at once; whether nobody else is here."""
        if not self._database.is_shared:
            return True
        self.upkeep.let_go(connection)
        connection.execute("DELETE FROM store_node WHERE node = ?", (self._database.node,))
        return not self._others(connection, self._database.clock_us(connection))

    def halt(self) -> None:
        """Say nothing more; what is held goes on being held until it is let go or ends."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def stop(self) -> None:
        """Leave; others take over at once."""
        self.halt()
        if not self._database.is_shared:
            return
        try:
            self._database.maintain(self.leave)
        except Error as error:  # the lease ends by itself
            _log.warning("the others were not told that this process ends: %s", error)

    def _run(self) -> None:
        while not self._stopping.wait(self._renew_s):
            self.look()

    def look(self) -> None:
        """Say that this process is here, with what it says of itself now, and look after what it holds."""
        try:
            told = json.dumps(self.told(), sort_keys=True, separators=(",", ":"))
            began = time.monotonic()
            is_held = self._database.maintain(lambda connection: self._say(connection, told, began))
            if is_held:
                self.upkeep.renewed()
            self._failed = False
        except Exception as error:  # noqa: BLE001 -- a thread that dies would leave its duties undone without a word
            if not self._failed:
                _log.error("this process cannot say that it is here, and tries again: %s", error)
            self._failed = True

    def _say(self, connection: Connection, told: str, began: float) -> bool:
        now_us = self._database.clock_us(connection)
        self._note(connection, now_us, told)
        connection.execute("DELETE FROM store_node WHERE seen_at < ?", (now_us - self._gone_us,))
        return self.upkeep.renew(connection, now_us, began)

    def _others(self, connection: Connection, now_us: int) -> int:
        row = connection.execute(
            "SELECT count(*) FROM store_node WHERE node <> ? AND seen_at >= ?",
            (self._database.node, now_us - int(ALIVE_S * 1_000_000)),
        ).fetchone()
        return int(row[0])

    def _note(self, connection: Connection, now_us: int, told: str) -> None:
        if self._replaces:
            connection.execute(
                "DELETE FROM store_node WHERE node <> ? AND json_extract(told, '$.role') = ?",
                (self._database.node, str(self.told().get("role"))),
            )
        connection.execute(
            "INSERT INTO store_node (node, told, seen_at, joined_at) VALUES (?, ?, ?, ?)"
            " ON CONFLICT (node) DO UPDATE SET told = excluded.told, seen_at = excluded.seen_at",
            (self._database.node, told, now_us, now_us),
        )


def nobody(connection: Connection) -> None:
    """Forget everybody, for who knows that nobody is here: whoever was did not leave in order."""
    connection.execute("DELETE FROM store_node")
    connection.execute("UPDATE store_lease SET until_us = 0")


def here(connection: Connection, database: Database) -> frozenset[str]:
    """The names of those who said lately that they are here, in an open transaction."""
    since_us = database.clock_us(connection) - int(ALIVE_S * 1_000_000)
    rows = connection.execute("SELECT node FROM store_node WHERE seen_at >= ?", (since_us,)).fetchall()
    return frozenset(node for (node,) in rows)


def nodes(database: Database) -> list[Node]:
    """Those that share the database and said so lately, the longest here first."""
    with database.reading(snapshot=True) as connection:
        now_us = database.clock_us(connection)
        rows = connection.execute("SELECT node, told, seen_at, joined_at FROM store_node").fetchall()
        leases = connection.execute("SELECT duty, holder FROM store_lease WHERE until_us > ?", (now_us,)).fetchall()
    held: dict[str, list[str]] = {}
    for duty, holder in leases:
        held.setdefault(holder, []).append(duty)
    rows.sort(key=lambda row: (row[3], row[0]))
    return [
        Node(node, json.loads(told), max(0, now_us - seen), max(0, now_us - joined), tuple(sorted(held.get(node, ()))))
        for node, told, seen, joined in rows
    ]


@contextmanager
def held(lease: Lease | None) -> Iterator[bool]:
    """Whether a duty is this process's; what the thread writes inside is fenced."""
    if lease is None:
        yield True
    elif not lease.is_held():
        yield False
    else:
        with lease.fenced():
            yield True
