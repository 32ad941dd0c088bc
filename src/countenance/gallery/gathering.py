"""Concurrent searches of one collection share a scan.

The first search of a collection scans at once, and so do the next while there are cores for them. Those that come
then are gathered, and one of them leads the next scan, for all of them. So nobody waits where few search, and under
load a scan answers as many as came during the one before. Whoever is answered sees every change acknowledged before
it asked, since its scan begins after that.

After a scan for many the next leader waits for those who were just answered to ask again, `LONGEST_WAIT_S` at
most: without, the scans of a closed circle of callers are large and small by turns.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Final

import numpy as np
from numpy.typing import NDArray

from countenance.gallery.comparison import Ranking
from countenance.gallery.exact import Index
from countenance.gallery.shared_scan import cores

LONGEST_WAIT_S: Final = 0.002
_STILL_BUSY_S: Final = 0.010
"""After a shared scan: so long it may take until those whom it answered have all been woken."""
GATHERED_FROM_FEATURES: Final = 4_000_000
"""Rows times dimension, 31,250 rows of 128: below, a scan takes less than waking those who wait for it."""
MOST_PROBES: Final = 256
"""In one scan: its products take 64 MB a thread at the most."""
_MANY_CANDIDATES: Final = 256
"""Searches for more are not gathered with those for fewer, which would pay for their selection."""
_MOST_APART: Final = 4
"""Scans side by side: they share the memory's bandwidth, which few threads exhaust."""
_ENOUGH: Final = 0.9  # of those in the last scan: for the rest nobody waits

Lend = Callable[[int], AbstractContextManager[Index]]
"""Lends the index of the collection, at a revision or later; raises when there is none."""


class _Asked:
    """One search that waits, or leads."""

    __slots__ = ("answer", "count", "done", "gathers", "is_wide", "leads", "probes", "revision")

    def __init__(self, probes: NDArray[np.float32], count: int, revision: int) -> None:
        self.probes = probes
        self.count = count
        self.revision = revision
        self.is_wide = count > _MANY_CANDIDATES
        self.done = threading.Event()
        self.leads = False
        self.gathers = False
        """It leads for others as well."""
        self.answer: list[Ranking] | None = None


class _Queue:
    """Who scans a collection and who waits for it, or that the last shared scan ended a moment ago."""

    __slots__ = ("arrived", "ended_at", "is_shared", "last_size", "running", "waiting", "wanted")

    def __init__(self, lock: threading.Lock) -> None:
        self.running = 0
        """Scans. Whenever somebody waits there is one, whose end starts the next."""
        self.is_shared = False
        """One of them is for several searches."""
        self.waiting: list[_Asked] = []
        self.arrived = threading.Condition(lock)
        """Told when so many wait as the next leader wants."""
        self.wanted = 0
        self.last_size = 1
        self.ended_at = 0.0


class Gathering:
    """The searches of all collections of a shelf. Safe to use from any thread.

    Args:
        apart: how many searches of a collection may scan at once, each for itself; None: as the cores allow.
    """

    def __init__(self, *, apart: int | None = None) -> None:
        self._apart = min(cores(), _MOST_APART) if apart is None else apart
        self._lock = threading.Lock()
        self._queues: dict[int, _Queue] = {}
        """By uid, the collections that are scanned, or were scanned for several callers the last time."""

    def search(self, uid: int, lend: Lend, probes: NDArray[np.float32], count: int, revision: int = 0) -> list[Ranking]:
        """As `Index.search` of the index lent, together with whoever searches it now.

        Args:
            revision: that this search saw; the scan that answers it has at least that.
        """
        asked = _Asked(probes, count, revision)
        with self._lock:
            queue = self._queues.get(uid)
            if queue is None:
                self._queues[uid] = queue = _Queue(self._lock)
            if queue.running < self._apart and not queue.is_shared and not queue.waiting:
                asked.leads = True
                is_first_again = queue.running == 0 and queue.last_size > 1
                asked.gathers = is_first_again and time.monotonic() < queue.ended_at + _STILL_BUSY_S
                queue.is_shared = asked.gathers
                queue.running += 1
            else:
                queue.waiting.append(asked)
                if len(queue.waiting) == queue.wanted:
                    queue.arrived.notify()
        if not asked.leads:
            asked.done.wait()
        if asked.leads:
            return self._lead(uid, queue, lend, asked)
        if asked.answer is None:  # the scan failed: its leader has raised why, and this one finds out for itself
            with lend(revision) as index:
                return index.search(probes, count)
        return asked.answer

    def _lead(self, uid: int, queue: _Queue, lend: Lend, asked: _Asked) -> list[Ranking]:
        batch = [asked]
        try:
            if asked.gathers:
                batch = self._gather(queue, asked)
            probes = asked.probes if len(batch) == 1 else np.concatenate([each.probes for each in batch])
            with lend(max(each.revision for each in batch)) as index:
                rankings = index.search(probes, max(each.count for each in batch))
            at = 0
            for each in batch:
                mine, at = rankings[at : at + len(each.probes)], at + len(each.probes)
                each.answer = [_first(ranking, each.count) for ranking in mine]
        finally:
            self._hand_over(uid, queue, asked, len(batch))
            for each in batch:
                each.done.set()
        assert asked.answer is not None
        return asked.answer

    def _gather(self, queue: _Queue, asked: _Asked) -> list[_Asked]:
        """Whom this scan is for: the leader, and who waits and fits."""
        with self._lock:
            now = time.monotonic()
            until = now + LONGEST_WAIT_S if now < queue.ended_at + _STILL_BUSY_S else now
            queue.wanted = int(queue.last_size * _ENOUGH) - 1
            while len(queue.waiting) < queue.wanted:
                left = until - time.monotonic()
                if left <= 0 or not queue.arrived.wait(left):
                    break
            queue.wanted = 0
            batch, others, probes = [asked], [], len(asked.probes)
            for each in queue.waiting:
                if each.is_wide == asked.is_wide and probes + len(each.probes) <= MOST_PROBES:
                    batch.append(each)
                    probes += len(each.probes)
                else:
                    others.append(each)
            queue.waiting = others
        return batch

    def _hand_over(self, uid: int, queue: _Queue, asked: _Asked, size: int) -> None:
        """Who waits longest leads next, unless a shared scan runs whose end will see to it."""
        with self._lock:
            queue.running -= 1
            if asked.gathers:
                queue.is_shared = False
                queue.ended_at = time.monotonic()
            if not queue.is_shared:
                queue.last_size = size
                if queue.waiting:
                    following = queue.waiting.pop(0)
                    following.leads = following.gathers = queue.is_shared = True
                    queue.running += 1
                    following.done.set()
            if queue.running == 0 and size == 1:
                del self._queues[uid]


def _first(ranking: Ranking, count: int) -> Ranking:
    return Ranking(ranking.face_ids[:count], ranking.scores[:count])
