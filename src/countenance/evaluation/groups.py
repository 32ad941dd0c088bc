"""Which group each comparison is of, and how many there are of each: what labels of people or of comparisons say.

Knows no threshold and no rate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from countenance.evaluation.comparisons import Comparisons, Kept
from countenance.evaluation.dataset import SEARCHES, Dataset
from countenance.evaluation.intervals import Values, Weights

UNSTATED: Final = "not stated"
MOST_VALUES: Final = 60
"""Values of a column that are told at all, the commonest first: a column with more is no grouping."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A column, comparison by comparison: what each side of kept and failed ones is, and how many there are."""

    values: tuple[str, ...]
    subjects: tuple[int | None, ...]
    high: NDArray[np.int64]
    """Of each kept impostor comparison the cell of the matrix: low value * values + high value; -1 left out."""
    low: NDArray[np.int64]
    """Of each genuine comparison that was kept its value; -1 for one between two values."""
    impostors: Callable[[Weights], Values]
    """Weights -> rounds x cells."""
    genuines: Callable[[Weights], Values]
    """Weights -> rounds x values, those without a face included."""
    missed: Callable[[Weights], Values]
    """Weights -> rounds x values: genuine comparisons without a face."""


def labelled(
    dataset: Dataset,
    compared: Comparisons,
    acquired: NDArray[np.bool_],
    of_image: NDArray[np.int32],
    units: int,
    column: str,
) -> tuple[Labelled, int]:
    """A column's labels, and how many values of it are left out as too rare.

    Args:
        of_image: the unit of each image.
        units: how many units there are.
    """
    codes, values, left_out = _codes(dataset, column)
    if dataset.same.size:
        return _of_pairs(dataset, compared, acquired, of_image, codes, values), left_out
    return _of_images(dataset, compared, acquired, of_image, units, codes, values), left_out


def _codes(dataset: Dataset, column: str) -> tuple[NDArray[np.int64], tuple[str, ...], int]:
    """Of each subject, or of each side of each listed comparison, its value's number; -1 for the rare ones."""
    if dataset.same.size:
        said = [each or UNSTATED for pair in dataset.pair_groups[column] for each in pair]
    else:
        said = [each or UNSTATED for each in dataset.groups[column]]
    names, places, counts = np.unique(np.array(said, dtype=object), return_inverse=True, return_counts=True)
    common = np.argsort(-counts, kind="stable")[:MOST_VALUES]
    common = np.sort(common)
    number = np.full(len(names), -1, np.int64)
    number[common] = np.arange(len(common))
    codes = number[places]
    if dataset.same.size:
        codes = codes.reshape(-1, 2)
    return codes, tuple(str(names[each]) for each in common), len(names) - len(common)


def _cell(one: NDArray[np.int64], other: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    cell = np.minimum(one, other) * count + np.maximum(one, other)
    return np.where((one < 0) | (other < 0), -1, cell)


def _of_images(
    dataset: Dataset,
    compared: Comparisons,
    acquired: NDArray[np.bool_],
    of_image: NDArray[np.int32],
    units: int,
    codes: NDArray[np.int64],
    values: tuple[str, ...],
) -> Labelled:
    of = codes[of_image]
    count = len(values)
    member = np.equal(codes[:, None], np.arange(count)).astype(np.float64)

    def images(chosen: NDArray[np.bool_]) -> Values:
        return np.bincount(of_image[chosen], minlength=units).astype(np.float64)

    if dataset.form == SEARCHES:
        assert dataset.in_gallery is not None  # of this form
        ours, theirs = images(acquired & ~dataset.in_gallery), images(acquired & dataset.in_gallery)
    else:
        ours = theirs = images(acquired)
    made = compared.genuine_of_unit.sum(1).astype(np.float64)

    def impostors(weights: Weights) -> Values:
        a = (weights * ours) @ member
        b = (weights * theirs) @ member
        own = (weights * ours * weights * theirs) @ member
        cells = np.zeros((len(weights), count * count))
        for x in range(count):
            for y in range(x, count):
                if dataset.form == SEARCHES:
                    made_here = a[:, x] * b[:, y] + (a[:, y] * b[:, x] if x != y else -own[:, x])
                else:
                    made_here = a[:, x] * a[:, y] if x != y else (a[:, x] ** 2 - own[:, x]) / 2
                cells[:, x * count + y] = made_here
        return cells

    return Labelled(
        values=values,
        subjects=tuple(int(each) for each in member.sum(0)),
        high=_cell(of[compared.highest.first], of[compared.highest.second], count),
        low=of[compared.lowest.first],
        impostors=impostors,
        genuines=lambda weights: (weights * (made + compared.unacquired_of_unit)) @ member,
        missed=lambda weights: (weights * compared.unacquired_of_unit) @ member,
    )


def _of_pairs(
    dataset: Dataset,
    compared: Comparisons,
    acquired: NDArray[np.bool_],
    of_image: NDArray[np.int32],
    codes: NDArray[np.int64],
    values: tuple[str, ...],
) -> Labelled:
    count = len(values)
    usable = acquired[dataset.first] & acquired[dataset.second]
    first, second = of_image[dataset.first], of_image[dataset.second]
    cells = _cell(codes[:, 0], codes[:, 1], count)
    place = {pair: at for at, pair in enumerate(zip(dataset.first.tolist(), dataset.second.tolist(), strict=True))}

    def lines(kept: Kept) -> NDArray[np.int64]:
        both = zip(kept.first.tolist(), kept.second.tolist(), strict=True)
        return np.fromiter((place[each] for each in both), np.int64, kept.scores.size)

    within = np.where(codes[:, 0] == codes[:, 1], codes[:, 0], -1)
    are_subjects = dataset.knows_subjects

    def weighed(
        chosen: NDArray[np.bool_], number: NDArray[np.int64], size: int, *, is_genuine: bool
    ) -> Callable[[Weights], Values]:
        rows = np.flatnonzero(chosen & (number >= 0))

        def count_up(weights: Weights) -> Values:
            return np.stack(
                [
                    np.bincount(
                        number[rows],
                        each[first[rows]] * (1.0 if is_genuine and are_subjects else each[second[rows]]),
                        minlength=size,
                    )
                    for each in weights
                ]
            )

        return count_up

    return Labelled(
        values=values,
        subjects=(None,) * count,
        high=cells[lines(compared.highest)],
        low=within[lines(compared.lowest)],
        impostors=weighed(usable & ~dataset.same, cells, count * count, is_genuine=False),
        genuines=weighed(dataset.same, within, count, is_genuine=True),
        missed=weighed(dataset.same & ~usable, within, count, is_genuine=True),
    )
