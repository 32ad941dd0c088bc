"""All comparisons of a data set, counted as they stream by: 100,000 images are five thousand million of them.

Comparison scores are products of unit features in float32, as CompareFaces computes them. What is kept has a size that
does not grow with the number of comparisons: counts of scores in bins, counts for each unit on a coarser grid, and the
scores that matter one by one, which are the highest of different people and the lowest of the same.

A unit is what intervals resample: a person, or an image where nobody says whose it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from countenance.evaluation.dataset import FOLDER, LABELS, PAIRS, SEARCHES, Dataset

BINS: Final = 4096
"""Of scores in [-1, 1), each 1/2048 wide; one more holds scores of 1 and above, which are identical images."""
GRID: Final = 256
"""The same for each unit, each 1/128 wide."""
KEPT: Final = 2_000_000
"""Highest scores of different people kept one by one: all above an FMR of 1 in 2,500 among 5 thousand million."""
KEPT_GENUINE: Final = 2_000_000
"""Lowest scores of the same person kept one by one."""
BLOCK: Final = 1024
"""Images on each side of a product that is in memory at once: 4 MB of scores, which a core's cache holds."""


@dataclass(frozen=True, slots=True)
class Kept:
    """Scores one by one, with the two images of each."""

    scores: NDArray[np.float32]
    first: NDArray[np.int32]
    second: NDArray[np.int32]
    complete: bool
    """Whether these are all there are."""

    @property
    def edge(self) -> float:
        """Every score beyond this one, in the direction that was kept, is among them."""
        return float(self.scores[-1])


@dataclass(frozen=True, slots=True)
class Comparisons:
    """What all comparisons of one data set gave."""

    impostor_bins: NDArray[np.int64]
    """BINS + 1 counts of scores of different people."""
    genuine_bins: NDArray[np.int64]
    highest: Kept
    """Scores of different people, highest first."""
    lowest: Kept
    """Scores of the same person, lowest first."""
    impostor_of_unit: NDArray[np.uint32]
    """Units x (GRID + 1): comparisons with others that a unit takes part in, by score."""
    genuine_of_unit: NDArray[np.uint32]
    """Units x (GRID + 1): of a person with themselves; of images as units, those that it takes part in."""
    unacquired_of_unit: NDArray[np.int64]
    """Genuine comparisons that an image without a face takes part in, by unit."""
    unacquired_genuine: int
    unacquired_impostor: int
    at_or_above: dict[float, int]
    """Scores of different people at or above each threshold that was asked for: exact counts."""
    below: dict[float, int]
    """Scores of the same person below each threshold that was asked for."""

    @property
    def impostors(self) -> int:
        """Comparisons of different people that gave a score."""
        return int(self.impostor_bins.sum())

    @property
    def genuines(self) -> int:
        """Comparisons of a person with themselves that gave a score."""
        return int(self.genuine_bins.sum())


@dataclass(frozen=True, slots=True)
class Units:
    """What intervals resample."""

    of_image: NDArray[np.int32]
    count: int
    are_subjects: bool


def units_of(dataset: Dataset) -> Units:
    """People where the data set says whose each image is, images otherwise."""
    if dataset.knows_subjects:
        return Units(dataset.subject_of, len(dataset.subjects), True)
    return Units(np.arange(len(dataset.images), dtype=np.int32), len(dataset.images), False)


def compare(
    features: NDArray[np.float32],
    acquired: NDArray[np.bool_],
    dataset: Dataset,
    thresholds: Sequence[float],
    *,
    progress: Callable[[float], None] = lambda share: None,
    kept: int = KEPT,
    kept_genuine: int = KEPT_GENUINE,
) -> Comparisons:
    """Make every comparison that a data set asks for.

    Args:
        features: images x dimension, unit length.
        acquired: which images have features.
        thresholds: comparison scores at which to count exactly.
        progress: told the share that is done.
        kept: highest scores of different people to keep; twice as many are in memory.
        kept_genuine: lowest scores of the same person to keep.
    """
    if dataset.form == PAIRS:
        # Listed comparisons are in memory anyway: all of them are kept.
        counted = _Counted(units_of(dataset), thresholds, len(dataset.same), len(dataset.same))
        for at, (first, second, same) in enumerate(_pairs(dataset, acquired)):
            scores = np.einsum("ij,ij->i", features[first], features[second]).astype(np.float32)
            counted.add(scores, first, second, same)
            progress(min(1.0, (at + 1) * BLOCK * 64 / len(dataset.same)))
        counted.miss_pairs(dataset, acquired)
        return counted.result()
    counted = _Counted(units_of(dataset), thresholds, kept, kept_genuine)
    rows, columns = _sides(dataset, acquired)
    is_triangle = dataset.form in (FOLDER, LABELS)
    steps = [(r, c) for r in range(0, len(rows), BLOCK) for c in range(r if is_triangle else 0, len(columns), BLOCK)]
    for at, (r, c) in enumerate(steps):
        first, second = rows[r : r + BLOCK], columns[c : c + BLOCK]
        counted.add_block(features[first] @ features[second].T, first, second, is_diagonal=is_triangle and r == c)
        progress((at + 1) / len(steps))
    counted.miss_cross(dataset, acquired)
    return counted.result()


def _sides(dataset: Dataset, acquired: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    if dataset.form == SEARCHES:
        assert dataset.in_gallery is not None  # of this form
        probes, references = acquired & ~dataset.in_gallery, acquired & dataset.in_gallery
        return np.flatnonzero(probes).astype(np.int32), np.flatnonzero(references).astype(np.int32)
    every = np.flatnonzero(acquired).astype(np.int32)
    return every, every


def _pairs(
    dataset: Dataset, acquired: NDArray[np.bool_]
) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.bool_]]]:
    for start in range(0, len(dataset.same), BLOCK * 64):
        part = slice(start, start + BLOCK * 64)
        first, second, same = dataset.first[part], dataset.second[part], dataset.same[part]
        usable = acquired[first] & acquired[second]
        yield first[usable], second[usable], same[usable]


def no_lower(threshold: float) -> np.float32:
    """The least float32 that is not below a threshold: comparing scores with it decides as with the threshold."""
    near = np.float32(threshold)
    return near if float(near) >= threshold else np.nextafter(near, np.float32(np.inf))


class _Best:
    """The highest of many scores; twice as many as are kept are in memory at most."""

    def __init__(self, kept: int) -> None:
        self._kept = kept
        self._floor = np.float32(-np.inf)
        self._parts: list[tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]] = []
        self._held = 0
        self._seen = 0

    def add(
        self, scores: NDArray[np.float32], pick: Callable[[NDArray[np.intp]], tuple[NDArray[np.int32], ...]]
    ) -> None:
        """Scores in any shape; `pick` gives both images of flat places among them."""
        flat = scores.reshape(-1)
        places = np.flatnonzero(flat > self._floor)
        if not places.size:
            return
        first, second = pick(places)
        self._parts.append((flat[places], first, second))
        self._held += places.size
        self._seen += places.size
        if self._held > 2 * self._kept:
            self._cut()

    def _cut(self) -> None:
        scores, first, second = self._joined()
        best = np.argpartition(scores, scores.size - self._kept)[-self._kept :]
        self._parts = [(scores[best], first[best], second[best])]
        self._held = self._kept
        self._floor = scores[best].min()

    def _joined(self) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int32]]:
        if not self._parts:
            return np.empty(0, np.float32), np.empty(0, np.int32), np.empty(0, np.int32)
        scores, first, second = (np.concatenate(each) for each in zip(*self._parts, strict=True))
        return scores, first, second

    def sorted(self, count: int, *, sign: int = 1) -> Kept:
        """Best first; equals in the order of images, whatever the blocks were."""
        scores, first, second = self._joined()
        order = np.lexsort((second, first, -scores))[: self._kept]
        return Kept(sign * scores[order], first[order], second[order], complete=order.size == count)


class _Counted:
    """Counts so far."""

    def __init__(self, units: Units, thresholds: Sequence[float], kept: int, kept_genuine: int) -> None:
        self._units = units
        self._thresholds = {each: no_lower(each) for each in thresholds}
        self._impostor_bins = np.zeros(BINS + 1, np.int64)
        self._genuine_bins = np.zeros(BINS + 1, np.int64)
        self._impostor_of_unit = np.zeros((units.count, GRID + 1), np.uint32)
        self._genuine_of_unit = np.zeros((units.count, GRID + 1), np.uint32)
        self._unacquired_of_unit = np.zeros(units.count, np.int64)
        self._unacquired = [0, 0]
        self._at_or_above = dict.fromkeys(thresholds, 0)
        self._below = dict.fromkeys(thresholds, 0)
        self._highest, self._lowest = _Best(kept), _Best(kept_genuine)

    def add_block(
        self, scores: NDArray[np.float32], first: NDArray[np.int32], second: NDArray[np.int32], *, is_diagonal: bool
    ) -> None:
        """A product of two lists of images; on the diagonal they are one list, and each pair counts once."""
        of = self._units.of_image
        same = of[first][:, None] == of[second][None, :]
        skip = same
        if is_diagonal:
            upper = np.triu(np.ones(scores.shape, np.bool_), 1)
            skip = same | ~upper
            same = same & upper
        if same.any():
            i, j = np.nonzero(same)
            self._add_genuine(scores[i, j], first[i], second[j])
        skipped = int(np.count_nonzero(skip))
        if skipped:
            scores[skip] = -1.0  # falls into the lowest bin, from which it is taken again
        bins = _bins(scores)
        fine = np.bincount(bins.reshape(-1), minlength=BINS + 1)
        fine[0] -= skipped
        self._impostor_bins += fine
        coarse = bins >> 4
        by_row = _by_line(coarse)
        by_column = _by_line(np.ascontiguousarray(coarse.T))
        if skipped:
            by_row[:, 0] -= np.count_nonzero(skip, axis=1)
            by_column[:, 0] -= np.count_nonzero(skip, axis=0)
        np.add.at(self._impostor_of_unit, of[first], by_row.astype(np.uint32))
        np.add.at(self._impostor_of_unit, of[second], by_column.astype(np.uint32))
        for threshold, least in self._thresholds.items():
            self._at_or_above[threshold] += int(np.count_nonzero(scores >= least))
        width = len(second)
        masked = np.where(skip, np.float32(-np.inf), scores) if skipped else scores
        self._highest.add(masked, lambda places: (first[places // width], second[places % width]))

    def add(
        self,
        scores: NDArray[np.float32],
        first: NDArray[np.int32],
        second: NDArray[np.int32],
        same: NDArray[np.bool_],
    ) -> None:
        """Comparisons one by one."""
        self._add_genuine(scores[same], first[same], second[same])
        scores, first, second = scores[~same], first[~same], second[~same]
        bins = _bins(scores)
        self._impostor_bins += np.bincount(bins, minlength=BINS + 1)
        for side in (first, second):
            np.add.at(self._impostor_of_unit, (self._units.of_image[side], bins >> 4), 1)
        for threshold, least in self._thresholds.items():
            self._at_or_above[threshold] += int(np.count_nonzero(scores >= least))
        self._highest.add(scores, lambda places: (first[places], second[places]))

    def _add_genuine(self, scores: NDArray[np.float32], first: NDArray[np.int32], second: NDArray[np.int32]) -> None:
        bins = _bins(scores)
        self._genuine_bins += np.bincount(bins, minlength=BINS + 1)
        # Two images of one person are one unit; as units of their own, both take part.
        for side in (first,) if self._units.are_subjects else (first, second):
            np.add.at(self._genuine_of_unit, (self._units.of_image[side], bins >> 4), 1)
        for threshold, least in self._thresholds.items():
            self._below[threshold] += int(np.count_nonzero(scores < least))
        self._lowest.add(-scores, lambda places: (first[places], second[places]))

    def miss_pairs(self, dataset: Dataset, acquired: NDArray[np.bool_]) -> None:
        """Count what could not be compared for want of a face."""
        failed = ~(acquired[dataset.first] & acquired[dataset.second])
        self._unacquired = [int((failed & dataset.same).sum()), int((failed & ~dataset.same).sum())]
        chosen = failed & dataset.same
        for side in (dataset.first,) if self._units.are_subjects else (dataset.first, dataset.second):
            np.add.at(self._unacquired_of_unit, self._units.of_image[side[chosen]], 1)

    def miss_cross(self, dataset: Dataset, acquired: NDArray[np.bool_]) -> None:
        """The same of all pairs."""
        of, count = dataset.subject_of, len(dataset.subjects)
        if dataset.form == SEARCHES:
            assert dataset.in_gallery is not None  # of this form
            probes, references = ~dataset.in_gallery, dataset.in_gallery
            of_all = np.bincount(of[probes], minlength=count) * np.bincount(of[references], minlength=count)
            made = np.bincount(of[probes & acquired], minlength=count) * np.bincount(
                of[references & acquired], minlength=count
            )
            every = int(probes.sum()) * int(references.sum())
            tried = int((probes & acquired).sum()) * int((references & acquired).sum())
        else:
            images, usable = np.bincount(of, minlength=count), np.bincount(of[acquired], minlength=count)
            of_all, made = images * (images - 1) // 2, usable * (usable - 1) // 2
            every = len(of) * (len(of) - 1) // 2
            tried = int(acquired.sum()) * (int(acquired.sum()) - 1) // 2
        self._unacquired_of_unit = of_all - made
        missed = int((of_all - made).sum())
        self._unacquired = [missed, every - tried - missed]

    def result(self) -> Comparisons:
        return Comparisons(
            impostor_bins=self._impostor_bins,
            genuine_bins=self._genuine_bins,
            highest=self._highest.sorted(int(self._impostor_bins.sum())),
            lowest=self._lowest.sorted(int(self._genuine_bins.sum()), sign=-1),
            impostor_of_unit=self._impostor_of_unit,
            genuine_of_unit=self._genuine_of_unit,
            unacquired_of_unit=self._unacquired_of_unit,
            unacquired_genuine=self._unacquired[0],
            unacquired_impostor=self._unacquired[1],
            at_or_above=self._at_or_above,
            below=self._below,
        )


def _bins(scores: NDArray[np.float32]) -> NDArray[np.int16]:
    """The bin of each score. Multiplying by a power of two is exact, so that bins have exact edges."""
    scaled = np.floor(scores * np.float32(BINS // 2))
    np.clip(scaled, -BINS // 2, BINS // 2, out=scaled)
    found: NDArray[np.int16] = scaled.astype(np.int16) + np.int16(BINS // 2)
    return found


def _by_line(coarse: NDArray[np.int16]) -> NDArray[np.int64]:
    lines = len(coarse)
    places = coarse + (np.arange(lines, dtype=np.int64) * (GRID + 1))[:, None]
    return np.bincount(places.reshape(-1), minlength=lines * (GRID + 1)).reshape(lines, GRID + 1)
