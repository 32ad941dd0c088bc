"""The ledger as the rest of the server uses it: calls recorded, receipts given, checkpoints and heartbeats kept up.

Knows when something has to be written; `log` knows how. Does not know what a face is, and takes images only as hashes.
A thread publishes a checkpoint at most `CHECKPOINT_S` after a leaf, writes a heartbeat every `HEARTBEAT_S`, and sums
up what gets no leaf of its own: requests that failed authentication, and calls refused for load (PROOFS, sections 1
and 4).
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from countenance_audit.usage import day_of

from countenance.errors import Error
from countenance.ledger import receipt
from countenance.ledger.entry import Opaque, Place, Public, accounting, microseconds
from countenance.ledger.log import Log
from countenance.ledger.metering import MonthCounters, PriceTable, metered_units, month_of
from countenance.ledger.periods import Periods
from countenance.ledger.statement import Statement
from countenance.ledger.witnessing import Witnessing
from countenance.store import FenceBroken
from countenance.store.leases import Presence, held

CHECKPOINT_S: Final = 10.0
"""A new leaf is in a checkpoint after this many seconds at most; PROOFS section 4 allows 60."""
HEARTBEAT_S: Final = 300.0
"""PROOFS section 4: every 5 minutes."""
SUMMARY_S: Final = 60.0
"""How often requests that failed authentication are summed up into one entry, if there were any."""
FOLD_S: Final = 1.0
"""Calls refused for load are folded into one entry per key, operation and second."""
PROBE_S: Final = 5.0
"""How often a ledger that could not be written is tried again with a heartbeat, so that it recovers without calls."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A call that is in the log."""

    place: Place
    receipt: str
    """The text of the receipt header."""


@dataclass(frozen=True, slots=True)
class _Refusals:
    """What throttled calls of one second have in common."""

    account: str
    access_key: str
    holder: str
    party: tuple[tuple[str, str, str], ...]
    purpose: str
    operation: str
    second: int


class Ledger:
    """Records calls. Safe to use from any thread; `close` it before the database."""

    def __init__(
        self,
        log: Log,
        start: Mapping[str, Any] | None = None,
        *,
        witnessing: Witnessing | None = None,
        floor_years: int = 10,
        periods: Periods | None = None,
        presence: Presence | None = None,
    ) -> None:
        """Begin to keep the ledger.

        Args:
            log: the open log.
            start: members of the public start entry; None for work on the host, which starts no server.
            floor_years: for how long accounting sections are kept whatever is asked.
            witnessing: brings each checkpoint to its witnesses; None: there are none.
            periods: makes the maps of days; None: none are made.
            presence: where several processes share the log, the first that comes writes the start entry and the last
                that goes the stop entry; checkpoints and heartbeats are the duty of one of them; what each of them has
                to sum up is its own.
        """
        self.log = log
        self.floor_years = floor_years
        self.periods = periods
        self._presence = presence
        self._lease = None if presence is None else presence.upkeep
        self.prices = PriceTable.load()
        self._counters = MonthCounters()
        self._counters.restore(log.storage.usage())
        self._is_serving = start is not None
        self._failed = False
        self._lock = threading.Lock()
        self._unauthenticated: Counter[str] = Counter()
        self._throttled: dict[_Refusals, tuple[int, int]] = {}
        self._wake = threading.Event()
        self._stopping = False
        if start is not None:
            begun = Public({"kind": "start", "origin": log.origin, **start})
            if presence is None:
                self.log.append(begun)
            else:
                self.log.write(presence.join, lambda is_first: begun if is_first else None)
        self.log.publish()
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)
        self.witnessing = witnessing or Witnessing(log, None)
        if self._is_serving:
            self._thread.start()
            self.witnessing.start()

    @property
    def healthy(self) -> bool:
        """Whether the last attempt to write succeeded."""
        return not self._failed

    def record(self, entry: Opaque, also: Callable[[Any], None] | None = None) -> Recorded:
        """Make a call durable and sign its receipt; the call may be answered after that and not before.

        Args:
            also: gets the connection of the entry's transaction, for what is to be durable together with it.

        Raises:
            DatabaseError: it is not in the log, so there must be no answer.
        """
        said = entry.accounting
        account, operation, began = said["account"], said["operation"], said["time"]
        units = metered_units(operation, said["code"])
        amount = self._counters.charge(self.prices, account, operation, began, units)
        said.update(units=units, amount=amount, currency=self.prices.currency, price=self.prices.version)
        if units:
            entry.usage = (account, self.prices.group(operation), month_of(began), units)
            entry.price = lambda already: self.prices.price(operation, units, already)
        try:
            place = self.log.append(entry, also)
        except Exception:
            self._counters.withdraw(self.prices, account, operation, began, units)
            self._failed = True
            raise
        if entry.already is not None and entry.usage is not None:
            self._counters.reach(*entry.usage[:3], entry.already + units)
        self._failed = False
        signed = receipt.signed(self.log.signer, place, said["request_id"], said["request"], said["response"])
        return Recorded(place, signed)

    def count_unauthenticated(self, code: str) -> None:
        """Count a request that belongs to nobody; it is in the next summary."""
        with self._lock:
            self._unauthenticated[code] += 1

    def fold_throttled(
        self,
        *,
        account: str,
        access_key: str,
        holder: str,
        party: tuple[tuple[str, str, str], ...],
        purpose: str,
        operation: str,
        at: datetime,
    ) -> None:
        """Count a call that was refused for load; its second's entry follows."""
        moment = microseconds(at)
        key = _Refusals(account, access_key, holder, party, purpose, operation, moment // 1_000_000)
        with self._lock:
            count, first = self._throttled.get(key, (0, moment))
            self._throttled[key] = (count + 1, first)

    def statement(self, account: str, month: str) -> tuple[Statement, list[dict[str, Any]]]:
        """What an account used in a UTC month (`YYYY-MM`) by the latest checkpoint, and the openings it is made of.

        Raises:
            StatementError: the month is none, or an opening contradicts itself.
        """
        size, _ = self.log.publish()
        openings = list(self.log.storage.entries.accountings(account, size))
        return Statement.of(openings, account, month, tree_size=size), openings

    def close(self) -> None:
        """Write what is still to be summed up, the stop entry and a last checkpoint."""
        if self._is_serving:
            self._stopping = True
            self._wake.set()
            self._thread.join()
            self.witnessing.stop()
            self._attempt(self._sum_up)
            self._attempt(self._leave)
        self._attempt(self._publish)

    def _leave(self) -> bool:
        ended = Public({"kind": "stop", "reason": "asked to stop"})
        if self._presence is None:
            return self._append(ended)
        self._presence.halt()
        self.log.write(self._presence.leave, lambda is_last: ended if is_last else None)
        return True

    def _run(self) -> None:
        now = time.monotonic()
        due = {
            "fold": now + FOLD_S,
            "check": now + CHECKPOINT_S,
            "sum": now + SUMMARY_S,
            "beat": now + HEARTBEAT_S,
            "probe": now + PROBE_S,
        }
        while not self._stopping:
            self._wake.wait(max(0.0, min(due.values()) - time.monotonic()))
            if self._stopping:
                return
            now = time.monotonic()
            if now >= due["fold"]:
                due["fold"] = now + FOLD_S
                self._attempt(self._write_throttled)
            if now >= due["sum"]:
                due["sum"] = now + SUMMARY_S
                self._attempt(self._write_unauthenticated)
            if now >= due["beat"]:
                due["beat"] = now + HEARTBEAT_S
                self._attempt(lambda: self._if_held(self._beat))
            if now >= due["check"]:
                due["check"] = now + CHECKPOINT_S
                self._attempt(lambda: self._if_held(self._publish))
            if now >= due["probe"]:
                due["probe"] = now + PROBE_S
                if self._failed:
                    self._attempt(self._probe)

    def _if_held(self, act: Callable[[], bool]) -> bool:
        try:
            with held(self._lease) as is_ours:
                return act() if is_ours else False
        except FenceBroken as error:
            _log.info("%s", error)
            return False

    def _probe(self) -> bool:
        """Writes something: a heartbeat, or where those are another process's, nothing that stays."""
        if self._lease is None or self._lease.is_held():
            return self._beat()
        self.log.write(lambda _: None, lambda _: None)
        return True

    def _attempt(self, act: Callable[[], bool]) -> None:
        """Do something that says whether it wrote; only what was written shows that writing works."""
        try:
            if act():
                self._failed = False
        except (OSError, Error) as error:
            self._failed = True
            _log.error("the ledger cannot be written: %s", error)
        except Exception:  # noqa: BLE001 -- the thread that publishes and beats must not die of a bug
            self._failed = True
            _log.exception("the ledger cannot be written")

    def _append(self, entry: Opaque | Public) -> bool:
        self.log.append(entry)
        return True

    def _publish(self) -> bool:
        self.log.publish()
        return False  # nothing was written when there was nothing new

    def reach_today(self) -> None:
        """Writes a heartbeat when the log has no leaf of today (UTC) yet: a day ends with the first leaf of a later
        one, which nobody else writes on a host whose server is off."""
        if day_of(self.log.last_time) < day_of(self.log.now_us()):
            self._beat()

    def _beat(self) -> bool:
        return self._append(Public({"kind": "heartbeat", "cosigned": self.witnessing.cosigned}))

    def _sum_up(self) -> bool:
        throttled, unauthenticated = self._write_throttled(), self._write_unauthenticated()
        return throttled or unauthenticated

    def _write_throttled(self) -> bool:
        with self._lock:
            waiting, self._throttled = self._throttled, {}
        written = False
        try:
            while waiting:
                key, (count, first) = next(iter(waiting.items()))
                entry = accounting(
                    kind="throttled",
                    time=first,
                    operation=key.operation,
                    request_id=str(uuid.uuid4()),
                    account=key.account,
                    access_key=key.access_key,
                    holder=key.holder,
                    party=key.party,
                    purpose=key.purpose,
                    code="ThrottlingException",
                    status=400,
                    count=count,
                )
                written = self._append(Opaque(entry))
                del waiting[key]
        finally:
            with self._lock:  # what could not be written is counted with what came since
                for key, (count, first) in waiting.items():
                    more, _ = self._throttled.get(key, (0, first))
                    self._throttled[key] = (count + more, first)
        return written

    def _write_unauthenticated(self) -> bool:
        with self._lock:
            waiting, self._unauthenticated = self._unauthenticated, Counter()
        if not waiting:
            return False
        entry = accounting(
            kind="unauthenticated",
            time=time.time_ns() // 1000,
            operation="",
            request_id=str(uuid.uuid4()),
            code="",
            status=0,
            details=dict(waiting),
            count=waiting.total(),
        )
        try:
            return self._append(Opaque(entry))
        except BaseException:
            with self._lock:
                self._unauthenticated.update(waiting)
            raise
