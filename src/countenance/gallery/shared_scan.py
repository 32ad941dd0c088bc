"""The exact ranking of a batch of probes from one scan of everything.

Blocks of rows are multiplied with all probes at once (`products`) and compared with the floors reached so far; blocks
are shared out among threads, and so are the floors. No second scan is needed, however many rows tie.

While a block is multiplied and compared other threads run; what is done in Python for each block is kept to a few
calls, and the rows found are looked at when enough have come together.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from countenance.gallery.comparison import Ranking
from countenance.gallery.selection import Kept, Part, Probes, Scan, clipped, everything, floor_of, settled

_PRODUCTS_AT_ONCE: Final = 524_288
"""Rows times probes, 4 bytes each: with the rows they stay in the share of the third-level cache that a core has, and
what a block costs in Python is small beside them."""
_ROWS_LEAST, _ROWS_MOST = 1_024, 16_384
_SHARED_FROM: Final = 8_388_608
"""Products below which starting a second thread costs more than it saves: about 3 ms of one thread."""
_COMPARED_AT_ONCE: Final = 8_192
_MOST_THREADS: Final = 8
_TIGHTEN_FROM: Final = 4_096
_HOPELESS: Final = 65_536
"""Rows of one probe that cannot be told apart: beyond it they are all scored canonically, in little memory."""
_HOPELESS_SHARE: Final = 4  # times those asked for, if that is more


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Rows that are multiplied in one call."""

    scan: int
    start: int
    end: int


@dataclass(slots=True)
class _Task:
    """What the workers of one batch share."""

    parts: Sequence[Part]
    probes: Probes
    count: int
    scans: list[tuple[int, Scan]]
    """Each with the number of its part."""
    todo: list[_Stretch]
    """In turn, the last first."""
    shift: NDArray[np.float64]
    """(scans, probes), and so the next two: `Probes.terms`."""
    factor: NDArray[np.float64]
    error: NDArray[np.float64]
    floor: NDArray[np.float64]
    """(probes,) no row with an upper bound beneath it is in the answer."""
    hopeless: NDArray[np.bool_]
    """(probes,) which ones have too many rows that cannot be told apart."""
    version: int = 0
    """Changes with the floor."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, parts: Sequence[Part], probes: Probes, count: int) -> _Task:
        scans = [(number, scan) for number, part in enumerate(parts) for scan in part.scans]
        rows = min(max(_PRODUCTS_AT_ONCE // len(probes), _ROWS_LEAST), _ROWS_MOST)
        todo = [
            _Stretch(at, start, min(start + rows, len(scan.data)))
            for at, (_, scan) in enumerate(scans)
            for start in range(0, len(scan.data), rows)
        ]
        shift, factor, error = (np.stack(each) for each in zip(*(probes.terms(scan) for _, scan in scans), strict=True))
        floor = np.full(len(probes), -np.inf)
        return cls(
            parts, probes, count, scans, todo[::-1], shift, factor, error, floor, np.zeros(len(probes), np.bool_)
        )

    def next(self) -> _Stretch | None:
        with self.lock:
            return self.todo.pop() if self.todo else None

    def lift(self, floor: NDArray[np.float64]) -> None:
        with self.lock:
            np.maximum(self.floor, clipped(floor), out=self.floor)
            self.floor[self.hopeless] = np.inf
            self.version += 1

    def give_up(self, probes: NDArray[np.bool_]) -> None:
        with self.lock:
            self.hopeless |= probes
            self.floor[self.hopeless] = np.inf
            self.version += 1


def shared(parts: Sequence[Part], probes: Probes, count: int, *, threads: int | None = None) -> list[Ranking]:
    """The best `count` rows for each probe.

    Args:
        threads: how many may scan; None: as many as the cores, where there is enough to do.
    """
    living = sum(part.living for part in parts)
    count = min(count, living)
    if count == 0 or len(probes) == 0:
        return [Ranking([], [])] * len(probes)
    if threads is None:
        threads = cores() if living * len(probes) >= _SHARED_FROM else 1
    task = _Task.of(parts, probes, count)
    workers = [_Worker(task) for _ in range(min(threads, len(task.todo)))]
    waiting = [pool().submit(worker.run) for worker in workers[1:]]
    mine = workers[0].run()
    # One that other batches left no thread for has nothing to do any more.
    found = Kept.joined([mine, *(each.result() for each in waiting if not each.cancel())])
    task.lift(floor_of(found, count, len(probes)))
    rankings = settled(parts, probes, found.only(found.upper >= task.floor[found.probe]), count)
    for at in np.flatnonzero(task.hopeless):
        rankings[at] = everything(parts, probes.exact[at], count)
    return rankings


class _Worker:
    """Takes stretches until none is left, and keeps its own rows."""

    def __init__(self, task: _Task) -> None:
        self._task = task
        self._reach = np.empty(0, np.bool_)
        self._limits: NDArray[Any] = np.empty(0)
        self._limits_of: tuple[int, int] | None = None
        self._fresh: list[tuple[int, int, NDArray[np.intp], NDArray[Any]]] = []
        """Scan, first row's position in the part, places in the flat (rows, probes) products, and those products."""
        self._fresh_rows = 0
        self._kept = Kept.joined([])

    def run(self) -> Kept:
        while stretch := self._task.next():
            self._see(stretch)
        self._tighten()
        return self._kept

    def _see(self, stretch: _Stretch) -> None:
        task = self._task
        scan = task.scans[stretch.scan][1]
        products = task.probes.products(scan, stretch.start, stretch.end)
        if task.floor.min() == -np.inf:
            self._begin(stretch, products)
        hits = self._reaching(products, stretch.scan)
        if len(hits):
            self._fresh.append((stretch.scan, scan.start + stretch.start, hits, products.reshape(-1)[hits]))
            self._fresh_rows += len(hits)
            if self._fresh_rows > max(_TIGHTEN_FROM, len(self._kept.probe)):
                self._tighten()

    def _reaching(self, products: NDArray[Any], scan: int) -> NDArray[np.intp]:
        """Where in the flat (rows, probes) products one is at least its probe's limit.

        Several rows are compared as one long one: numpy's inner loop over a row of eight costs six times as much.
        """
        rows, probes = products.shape
        folded = max(1, _COMPARED_AT_ONCE // probes)
        whole = rows - rows % folded
        width = folded * probes
        if self._limits_of != (scan, self._task.version):
            self._limits_of = (scan, self._task.version)
            self._limits = np.tile(self._least(scan, products.dtype), folded)
        if len(self._reach) < rows * probes:  # a new one each time would be mapped and unmapped each time
            self._reach = np.empty(rows * probes, np.bool_)
        reach = self._reach[: rows * probes]
        flat = products.reshape(-1)
        head = flat[: whole * probes].reshape(-1, width)
        np.greater_equal(head, self._limits, out=reach[: whole * probes].reshape(-1, width))
        rest = flat[whole * probes :]
        np.greater_equal(rest, self._limits[: len(rest)], out=reach[whole * probes :])
        return np.flatnonzero(reach)

    def _least(self, scan: int, kind: np.dtype[Any]) -> NDArray[Any]:
        """(probes,) the least product that reaches the floor, rounded down so that none is lost."""
        task = self._task
        least = (task.floor - task.error[scan]) / task.factor[scan] + task.shift[scan]
        limits: NDArray[Any] = np.clip(np.floor(least), -(2.0**31), 2.0**31 - 1).astype(np.int32)
        if kind == np.float32:
            limits = np.nextafter(least.astype(np.float32), np.float32(-np.inf))
        return limits

    def _begin(self, stretch: _Stretch, products: NDArray[Any]) -> None:
        """A first floor from one stretch alone, so that it does not keep every row of it."""
        task = self._task
        number, scan = task.scans[stretch.scan]
        alive = task.parts[number].alive
        if alive is not None:
            products = products[alive[scan.start + stretch.start : scan.start + stretch.end]]
        if len(products) >= task.count:
            place = len(products) - task.count
            last = np.partition(products, place, axis=0)[place].astype(np.float64)
            task.lift((last - task.shift[stretch.scan]) * task.factor[stretch.scan] - task.error[stretch.scan])

    def _tighten(self) -> None:
        task = self._task
        kept = Kept.joined([self._kept, self._looked_at()])
        task.lift(floor_of(kept, task.count, len(task.probes)))
        kept = kept.only(kept.upper >= task.floor[kept.probe])
        too_many = np.bincount(kept.probe, minlength=len(task.probes)) > max(_HOPELESS, _HOPELESS_SHARE * task.count)
        if too_many.any():
            task.give_up(too_many)
            kept = kept.only(~task.hopeless[kept.probe])
        self._kept = kept

    def _looked_at(self) -> Kept:
        """The fresh rows that are alive, with their bounds."""
        fresh, self._fresh, self._fresh_rows = self._fresh, [], 0
        if not fresh:
            return Kept.joined([])
        task = self._task
        lengths = [len(hits) for _, _, hits, _ in fresh]
        rows, probe = np.divmod(np.concatenate([hits for _, _, hits, _ in fresh]), len(task.probes))
        scan = np.repeat([each for each, _, _, _ in fresh], lengths)
        position = rows + np.repeat([start for _, start, _, _ in fresh], lengths)
        part = np.array([number for number, _ in task.scans], np.intp)[scan]
        products = np.concatenate([values for _, _, _, values in fresh]).astype(np.float64)
        scores = (products - task.shift[scan, probe]) * task.factor[scan, probe]
        error = task.error[scan, probe]
        kept = Kept(probe, part, position, scores - error, scores + error)
        is_alive = np.ones(len(probe), np.bool_)
        for number in np.unique(part):
            alive = task.parts[number].alive
            if alive is not None:
                mine = part == number
                is_alive[mine] = alive[position[mine]]
        return kept if is_alive.all() else kept.only(is_alive)


@functools.cache
def cores() -> int:
    """How many threads one call may use."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, _MOST_THREADS)


@functools.cache
def pool() -> ThreadPoolExecutor:
    """Threads of all scans; whoever waits for one takes back what it has not begun."""
    return ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="gallery-scan")
