"""The exact ranking of a batch of probes from scans whose products are right to a known bound.

A scan tells of every row an approximate score and how far the canonical one may lie from it. The count-th best
lower bound found so far is a floor: a row whose upper bound is beneath it cannot be in the answer. What is left
when every row was seen is scored canonically, so the answer is that of `NumpyIndex`, bit for bit and tie by tie,
whatever a row was rounded to. No second scan is needed, however many rows tie.

`shared` multiplies blocks of rows with all probes at once (`products`) and shares them out among threads; `alone`
lets FAISS choose the best few of each scan for one or two probes, and widens the choice where rounding could have
hidden a row.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from countenance.gallery.comparison import Ranking, comparison_scores, paired_scores, rank, ranked_by_probe
from countenance.gallery.products import ByteProbes, HalfProbes
from countenance.gallery.segments import Block, SegmentRows

_PRODUCTS_AT_ONCE: Final = 131_072
"""Of 4 bytes, rows times probes: with the rows themselves they stay in a second-level cache of 1 MiB."""
_ROWS_LEAST, _ROWS_MOST = 1_024, 16_384
_SHARED_FROM: Final = 8_388_608
"""Products below which starting a second thread costs more than it saves: about 3 ms of one thread."""
_COMPARED_AT_ONCE: Final = 2_048
_MOST_THREADS: Final = 8
_TIGHTEN_FROM: Final = 4_096
_HOPELESS: Final = 65_536
"""Rows of one probe that cannot be told apart: beyond it they are all scored canonically, in little memory."""
_SETTLED_AT_ONCE: Final = 65_536
_WIDEN: Final = 4
_WIDEST: Final = 16_384
"""Rows chosen of one scan, beyond which FAISS's selection costs more than a scan of ours."""


@dataclass(frozen=True, slots=True)
class Scan:
    """Consecutive rows of a part that are scanned with one scale."""

    start: int
    """Position of its first row in the part."""
    data: NDArray[Any]
    """(n, dimension) fp16 rows, or the codes of `block`."""
    block: Block | None
    chooser: Any = None
    """FAISS's index over the same memory, where FAISS is installed."""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that are searched together with others."""

    rows: SegmentRows
    scans: Sequence[Scan]
    alive: NDArray[np.bool_] | None = None
    """(n,) which rows there still are; None: all."""
    living: int = 0
    """How many those are."""


class Probes:
    """A batch of probes, made ready for the kinds of scans that come up."""

    def __init__(self, probes: NDArray[np.float32]) -> None:
        self.exact = np.ascontiguousarray(probes, np.float32)

    def __len__(self) -> int:
        return len(self.exact)

    @functools.cached_property
    def half(self) -> HalfProbes:
        return HalfProbes.of(self.exact)

    @functools.cached_property
    def byte(self) -> ByteProbes:
        return ByteProbes.of(self.exact)

    @functools.cached_property
    def levels(self) -> NDArray[np.float32]:
        """(probes, dimension) integers, as FAISS wants them for codes."""
        return np.ascontiguousarray(self.byte.columns.T.astype(np.float32))

    def terms(self, scan: Scan) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """(probes,) each: shift, factor and error; a score is (product - shift) * factor, give or take error."""
        if scan.block is None:
            zeros = np.zeros(len(self))
            return zeros, zeros + 1, zeros + self.half.error
        return self.byte.shifts, self.byte.scales * scan.block.scale, self.byte.errors(scan.block)

    def products(self, scan: Scan, start: int, end: int) -> NDArray[Any]:
        """(rows, probes) of a stretch of the scan."""
        kind: Any = self.half if scan.block is None else self.byte
        found: NDArray[Any] = kind.products(scan.data[start:end])
        return found


@dataclass(slots=True)
class _Kept:
    """Rows that may be in the answer."""

    probe: NDArray[np.intp]
    part: NDArray[np.intp]
    position: NDArray[np.intp]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]

    @classmethod
    def joined(cls, several: Sequence[_Kept]) -> _Kept:
        empty: list[NDArray[Any]] = [np.empty(0, np.intp)] * 3 + [np.empty(0, np.float64)] * 2
        columns: list[list[NDArray[Any]]] = [
            [each.probe, each.part, each.position, each.lower, each.upper] for each in several
        ] or [empty]
        return cls(*(np.concatenate(column) for column in zip(*columns, strict=True)))

    def only(self, chosen: NDArray[Any]) -> _Kept:
        return _Kept(
            self.probe[chosen], self.part[chosen], self.position[chosen], self.lower[chosen], self.upper[chosen]
        )


def shared(parts: Sequence[Part], probes: Probes, count: int, *, threads: int | None = None) -> list[Ranking]:
    """The best `count` rows for each probe, from one scan of everything.

    Args:
        threads: how many may scan; None: as many as the cores, where there is enough to do.
    """
    living = sum(part.living for part in parts)
    count = min(count, living)
    if count == 0 or len(probes) == 0:
        return [Ranking([], [])] * len(probes)
    stretches = list(_stretches(parts, len(probes)))
    floor = np.full(len(probes), -np.inf)
    hopeless = np.zeros(len(probes), np.bool_)
    if threads is None:
        threads = _cores() if living * len(probes) >= _SHARED_FROM else 1
    todo = iter(stretches)
    lock = threading.Lock()
    workers = [_Worker(parts, probes, count, floor, hopeless, todo, lock) for _ in range(min(threads, len(stretches)))]
    waiting = [_pool().submit(worker.run) for worker in workers[1:]]
    workers[0].run()
    found = _Kept.joined([workers[0].kept, *(each.result() for each in waiting)])
    np.maximum(floor, _clipped(_floor(found, count, len(probes))), out=floor)
    found = found.only((found.upper >= floor[found.probe]) & ~hopeless[found.probe])
    rankings = _settled(parts, probes, found, count)
    for at in np.flatnonzero(hopeless):
        rankings[at] = everything(parts, probes.exact[at], count)
    return rankings


class _Worker:
    """Takes stretches until none is left; the floor is shared with others, and each keeps its own rows."""

    def __init__(
        self,
        parts: Sequence[Part],
        probes: Probes,
        count: int,
        floor: NDArray[np.float64],
        hopeless: NDArray[np.bool_],
        todo: Iterator[tuple[int, Scan, int, int]],
        lock: threading.Lock,
    ) -> None:
        self._parts = parts
        self._probes = probes
        self._count = count
        self._floor = floor
        self._hopeless = hopeless
        self._todo = todo
        self._lock = lock
        self._scan: Scan | None = None
        self._terms: Any = None
        self._reach = np.empty(0, np.bool_)
        self._fresh: list[_Kept] = []
        self._fresh_rows = 0
        self.kept = _Kept.joined([])

    def run(self) -> _Kept:
        while True:
            with self._lock:
                stretch = next(self._todo, None)
            if stretch is None:
                self._tighten()
                return self.kept
            self._see(*stretch)

    def _see(self, number: int, scan: Scan, start: int, end: int) -> None:
        part = self._parts[number]
        if scan is not self._scan:
            self._scan, self._terms = scan, self._probes.terms(scan)
        shift, factor, error = self._terms
        products = self._probes.products(scan, start, end)
        alive = None if part.alive is None else part.alive[scan.start + start : scan.start + end]
        if self._floor.min() == -np.inf:
            self._begin(products if alive is None else products[alive], shift, factor, error)
        least = (self._floor - error) / factor + shift
        # Rounded down, so that none is lost; a probe that needs no more rows has a floor beyond every product.
        if products.dtype == np.float32:
            limits: NDArray[Any] = np.nextafter(least.astype(np.float32), np.float32(-np.inf))
        else:
            limits = np.clip(np.floor(least), -(2.0**31), 2.0**31 - 1).astype(np.int32)
        hits = self._reaching(products, limits)
        if not len(hits):
            return
        rows, probe = np.divmod(hits, len(self._probes))
        if alive is not None:
            is_living = alive[rows]
            hits, rows, probe = hits[is_living], rows[is_living], probe[is_living]
        scores = (products.ravel()[hits] - shift[probe]) * factor[probe]
        self._fresh.append(
            _Kept(
                probe,
                np.full(len(hits), number, np.intp),
                rows + (scan.start + start),
                scores - error[probe],
                scores + error[probe],
            )
        )
        self._fresh_rows += len(hits)
        if self._fresh_rows > max(_TIGHTEN_FROM, len(self.kept.probe)):
            self._tighten()

    def _reaching(self, products: NDArray[Any], limits: NDArray[Any]) -> NDArray[np.intp]:
        """Where in the flat (rows, probes) products one is at least its probe's limit.

        Several rows are compared as one long one: numpy's inner loop over a row of eight costs six times as much.
        """
        rows, probes = products.shape
        folded = max(1, _COMPARED_AT_ONCE // probes)
        whole = rows - rows % folded
        width = folded * probes
        if len(self._reach) < rows * probes:  # a new one each time would be mapped and unmapped each time
            self._reach = np.empty(rows * probes, np.bool_)
        reach = self._reach[: rows * probes]
        np.greater_equal(
            products[:whole].reshape(-1, width), np.tile(limits, folded), out=reach[: whole * probes].reshape(-1, width)
        )
        np.greater_equal(products[whole:], limits, out=reach[whole * probes :].reshape(-1, probes))
        return np.flatnonzero(reach)

    def _begin(self, products: NDArray[Any], shift: Any, factor: Any, error: Any) -> None:
        """A first floor from one stretch alone, so that it does not keep every row of it."""
        if len(products) < self._count:
            return
        place = len(products) - self._count
        last = np.partition(products, place, axis=0)[place].astype(np.float64)
        self._raise((last - shift) * factor - error)

    def _tighten(self) -> None:
        kept = _Kept.joined([self.kept, *self._fresh])
        self._fresh, self._fresh_rows = [], 0
        self._raise(_floor(kept, self._count, len(self._probes)))
        self.kept = kept.only(kept.upper >= self._floor[kept.probe])
        held = np.bincount(self.kept.probe, minlength=len(self._probes))
        if bool((held > max(_HOPELESS, _WIDEN * self._count)).any()):
            self._hopeless[held > max(_HOPELESS, _WIDEN * self._count)] = True
            self._floor[self._hopeless] = np.inf
            self.kept = self.kept.only(~self._hopeless[self.kept.probe])

    def _raise(self, floor: NDArray[np.float64]) -> None:
        # Another worker may do the same at this moment: a floor that is lost to it was only a little higher.
        np.maximum(self._floor, _clipped(floor), out=self._floor)
        self._floor[self._hopeless] = np.inf


def alone(parts: Sequence[Part], probes: Probes, count: int, spare: int) -> list[Ranking]:
    """The same for one probe or two, from FAISS's choice of each scan. Every scan has a chooser.

    Args:
        spare: rows chosen beyond `count`, so that rounding at the last place rarely needs a second look.
    """
    count = min(count, sum(part.living for part in parts))
    if count == 0:
        return [Ranking([], [])] * len(probes)
    scans = [(number, scan) for number, part in enumerate(parts) for scan in part.scans]
    chosen = [_choose(scan, probes, range(len(probes)), count + spare) for _, scan in scans]
    terms = [probes.terms(scan) for _, scan in scans]
    rankings = []
    for probe in range(len(probes)):
        choices = [
            _Choice.of(parts, number, scan, probe, (products[probe], positions[probe]), term)
            for (number, scan), (products, positions), term in zip(scans, chosen, terms, strict=True)
        ]
        while True:
            kept = _Kept.joined([each.kept for each in choices])
            floor = _clipped(_floor(kept, count, len(probes)))[probe]
            hidden = [at for at, each in enumerate(choices) if each.unseen_at_most >= floor]
            if not hidden:
                break
            for at in hidden:
                (number, scan), width = scans[at], choices[at].width * _WIDEN
                if width > _WIDEST:
                    return shared(parts, probes, count)
                products, positions = _choose(scan, probes, range(probe, probe + 1), width)
                choices[at] = _Choice.of(parts, number, scan, probe, (products[0], positions[0]), terms[at])
        rankings.append(_settled(parts, probes, kept.only(kept.upper >= floor), count)[probe])
    return rankings


@dataclass(frozen=True, slots=True)
class _Choice:
    """What FAISS chose of one scan for one probe."""

    kept: _Kept
    width: int
    unseen_at_most: float
    """No row that was not chosen scores more."""

    @classmethod
    def of(
        cls,
        parts: Sequence[Part],
        number: int,
        scan: Scan,
        probe: int,
        chosen: tuple[NDArray[np.float32], NDArray[np.int64]],
        terms: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]],
    ) -> _Choice:
        _, factor, error = terms  # FAISS takes the codes' offset off itself
        products, positions = chosen
        scores = products.astype(np.float64) * factor[probe]
        unseen = scores[-1] + error[probe] if len(scores) < len(scan.data) else -np.inf
        at = positions + scan.start
        alive = parts[number].alive
        if alive is not None:
            is_living = alive[at]
            scores, at = scores[is_living], at[is_living]
        same = np.full((2, len(at)), [[probe], [number]], np.intp)
        kept = _Kept(same[0], same[1], at, scores - error[probe], scores + error[probe])
        return cls(kept, len(products), float(unseen))


def everything(parts: Sequence[Part], probe: NDArray[np.float32], count: int) -> Ranking:
    """The same for one probe by scoring every living row canonically, in little memory."""
    ids, scores = np.empty((0, 16), np.uint8), np.empty(0, np.float32)
    for part in parts:
        for start in range(0, len(part.rows), _SETTLED_AT_ONCE):
            positions = np.arange(start, min(start + _SETTLED_AT_ONCE, len(part.rows)))
            if part.alive is not None:
                positions = positions[part.alive[positions]]
            ids = np.concatenate([ids, part.rows.face_ids[positions]])
            scores = np.concatenate([scores, comparison_scores(part.rows.templates(positions), probe)])
            best = rank(ids, scores, count)
            ids = np.frombuffer(b"".join(best.face_ids), np.uint8).reshape(-1, 16)
            scores = np.array(best.scores, np.float32)
    return rank(ids, scores, count)


def _choose(scan: Scan, probes: Probes, which: range, width: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """FAISS's best `width` rows: products without shift, and positions in the scan; (probes, width) each."""
    ready = probes.exact if scan.block is None else probes.levels
    found = scan.chooser.search(ready[which.start : which.stop], min(width, len(scan.data)))
    return found[0], found[1]


def _stretches(parts: Sequence[Part], probes: int) -> Iterator[tuple[int, Scan, int, int]]:
    """Part, scan, first and last row in it: what one run of a kernel multiplies."""
    rows = min(max(_PRODUCTS_AT_ONCE // probes, _ROWS_LEAST), _ROWS_MOST)
    for number, part in enumerate(parts):
        for scan in part.scans:
            for start in range(0, len(scan.data), rows):
                yield number, scan, start, min(start + rows, len(scan.data))


def _floor(kept: _Kept, count: int, probes: int) -> NDArray[np.float64]:
    """(probes,) the count-th best lower bound of each; -inf where there are fewer."""
    order = np.lexsort((-kept.lower, kept.probe))
    bounds = np.searchsorted(kept.probe[order], np.arange(probes + 1))
    places = bounds[:-1] + count - 1
    is_full = places < bounds[1:]
    floor = np.full(probes, -np.inf)
    floor[is_full] = kept.lower[order[places[is_full]]]
    return floor


def _clipped(floor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Canonical scores end at 1 and -1, so rows beyond either are alike."""
    floor = np.minimum(floor, 1.0)
    return np.where(floor <= -1.0, -np.inf, floor)


def _settled(parts: Sequence[Part], probes: Probes, kept: _Kept, count: int) -> list[Ranking]:
    """Canonical scores of what may be in the answer, in order."""
    scores = np.empty(len(kept.probe), np.float32)
    face_ids = np.empty((len(kept.probe), 16), np.uint8)
    for number, part in enumerate(parts):
        mine = np.flatnonzero(kept.part == number)
        for start in range(0, len(mine), _SETTLED_AT_ONCE):
            some = mine[start : start + _SETTLED_AT_ONCE]
            # A row that several probes ask for is opened once.
            positions, back = np.unique(kept.position[some], return_inverse=True)
            templates = part.rows.templates(positions)[back]
            scores[some] = paired_scores(templates, probes.exact[kept.probe[some]])
            face_ids[some] = part.rows.face_ids[kept.position[some]]
    return ranked_by_probe(kept.probe, face_ids, scores, count, len(probes))


@functools.cache
def _cores() -> int:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(usable, _MOST_THREADS)


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="gallery-scan")
