"""Which rows may be in an answer, and in what order they are: the exact ranking from scans right to a known bound.

A scan tells of every row an approximate score and how far the canonical one may lie from it. The count-th best
lower bound found so far is a floor: a row whose upper bound is beneath it cannot be in the answer. What is left
when every row was seen is scored canonically, so the answer is that of `NumpyIndex`, bit for bit and tie by tie,
whatever a row was rounded to.

`shared_scan` sees every row for a batch of probes; `chosen_scan` lets FAISS choose the best few for one or two.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from countenance.gallery.comparison import Ranking, comparison_scores, paired_scores, rank, ranked_by_probe
from countenance.gallery.products import ByteProbes, HalfProbes
from countenance.gallery.segments import Block, SegmentRows

_SETTLED_AT_ONCE: Final = 65_536


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
class Kept:
    """Rows that may be in the answer."""

    probe: NDArray[np.intp]
    part: NDArray[np.intp]
    position: NDArray[np.intp]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]

    @classmethod
    def joined(cls, several: Sequence[Kept]) -> Kept:
        empty: list[NDArray[Any]] = [np.empty(0, np.intp)] * 3 + [np.empty(0, np.float64)] * 2
        columns: list[list[NDArray[Any]]] = [
            [each.probe, each.part, each.position, each.lower, each.upper] for each in several
        ] or [empty]
        return cls(*(np.concatenate(column) for column in zip(*columns, strict=True)))

    def only(self, chosen: NDArray[Any]) -> Kept:
        return Kept(
            self.probe[chosen], self.part[chosen], self.position[chosen], self.lower[chosen], self.upper[chosen]
        )


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


def floor_of(kept: Kept, count: int, probes: int) -> NDArray[np.float64]:
    """(probes,) the count-th best lower bound of each; -inf where there are fewer."""
    order = np.lexsort((-kept.lower, kept.probe))
    bounds = np.searchsorted(kept.probe[order], np.arange(probes + 1))
    places = bounds[:-1] + count - 1
    is_full = places < bounds[1:]
    floor = np.full(probes, -np.inf)
    floor[is_full] = kept.lower[order[places[is_full]]]
    return floor


def clipped(floor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Canonical scores end at 1 and -1, so rows beyond either are alike."""
    floor = np.minimum(floor, 1.0)
    return np.where(floor <= -1.0, -np.inf, floor)


def settled(parts: Sequence[Part], probes: Probes, kept: Kept, count: int) -> list[Ranking]:
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
