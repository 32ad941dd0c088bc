"""How error rates differ between groups of people, after ISO/IEC 19795-10 and NIST's FRTE part 8.

FMR of a group is over comparisons within it, which is the question of a thief who looks like the victim; a matrix has
those between groups. A rate of which fewer than ten errors are expected at the rate of everybody is not told: it would
be chance. Thresholds are those whose impostor scores were all kept one by one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from countenance.evaluation.comparisons import Comparisons, Kept, no_lower
from countenance.evaluation.dataset import Dataset
from countenance.evaluation.groups import Labelled, labelled
from countenance.evaluation.intervals import Rate, Values, Weights, rate, resampled, share
from countenance.evaluation.rates import FEWEST_ERRORS

MOST_IN_MATRIX: Final = 12
"""Values of a column whose matrix is told; beyond that it cannot be read."""


@dataclass(frozen=True, slots=True)
class OfGroup:
    """One value of one column, at one threshold."""

    value: str
    subjects: int | None
    """None where nobody says whose the images are."""
    fmr: Rate
    fnmr: Rate
    fmr_is_telling: bool
    """Whether at least ten errors would be expected at the rate of everybody."""
    fnmr_is_telling: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "value": self.value,
            "subjects": self.subjects,
            "fmr": self.fmr.to_json() if self.fmr_is_telling else None,
            "fnmr": self.fnmr.to_json() if self.fnmr_is_telling else None,
            "impostor_comparisons": self.fmr.of,
            "genuine_comparisons": self.fnmr.of,
        }


@dataclass(frozen=True, slots=True)
class Inequity:
    """How far apart the groups are whose rates are telling; None where there are not two, or one has no errors."""

    worst: str | None
    best: str | None
    worst_to_best: float | None
    worst_to_mean: float | None
    """The highest rate over the geometric mean (NIST IR 8429)."""


@dataclass(frozen=True, slots=True)
class Differential:
    """One column at one Similarity."""

    column: str
    similarity: float
    groups: tuple[OfGroup, ...]
    fmr: Inequity
    fnmr: Inequity
    matrix: tuple[tuple[float | None, ...], ...] | None
    """FMR between each two groups, in their order; None where fewer than ten errors are expected."""
    left_out: int
    """Values beyond the commonest sixty."""

    def to_json(self) -> dict[str, Any]:
        def inequity(one: Inequity) -> dict[str, Any]:
            return {
                "worst": one.worst,
                "best": one.best,
                "worst_to_best": one.worst_to_best,
                "worst_to_geometric_mean": one.worst_to_mean,
            }

        return {
            "column": self.column,
            "similarity": self.similarity,
            "groups": [each.to_json() for each in self.groups],
            "fmr": inequity(self.fmr),
            "fnmr": inequity(self.fnmr),
            "fmr_between": None if self.matrix is None else [list(row) for row in self.matrix],
            "values_left_out": self.left_out,
        }


def differentials(
    dataset: Dataset,
    compared: Comparisons,
    acquired: NDArray[np.bool_],
    of_image: NDArray[np.int32],
    units: int,
    thresholds: Sequence[tuple[float, float]],
    *,
    rounds: int,
    seed: int,
) -> list[Differential]:
    """Every column at every Similarity.

    Args:
        of_image: the unit of each image.
        thresholds: Similarity and comparison score.
    """
    found = []
    for column in (*dataset.groups, *dataset.pair_groups):
        of_groups, left_out = labelled(dataset, compared, acquired, of_image, units, column)
        for similarity, threshold in thresholds:
            groups, matrix = _at(of_groups, compared, of_image, units, threshold, rounds, seed)
            found.append(
                Differential(
                    column=column,
                    similarity=similarity,
                    groups=groups,
                    fmr=_inequity([(each.value, each.fmr.value) for each in groups if each.fmr_is_telling]),
                    fnmr=_inequity([(each.value, each.fnmr.value) for each in groups if each.fnmr_is_telling]),
                    matrix=matrix,
                    left_out=left_out,
                )
            )
    return found


def is_kept(kept: Kept, threshold: float, *, highest: bool) -> bool:
    """Whether every score beyond a threshold was kept."""
    if kept.complete:
        return True
    return bool(kept.scores.size) and (threshold > kept.edge if highest else threshold <= kept.edge)


def _at(
    groups: Labelled,
    compared: Comparisons,
    of_image: NDArray[np.int32],
    units: int,
    threshold: float,
    rounds: int,
    seed: int,
) -> tuple[tuple[OfGroup, ...], tuple[tuple[float | None, ...], ...] | None]:
    count = len(groups.values)
    high = int(np.searchsorted(-compared.highest.scores, -no_lower(threshold), side="right"))
    low = int(np.searchsorted(compared.lowest.scores, no_lower(threshold), side="left"))
    cells, wrong = groups.high[:high], groups.low[:low]
    first, second = of_image[compared.highest.first[:high]], of_image[compared.highest.second[:high]]
    mine, mate = of_image[compared.lowest.first[:low]], of_image[compared.lowest.second[:low]]
    keep, left = cells >= 0, wrong >= 0
    cells, first, second = cells[keep], first[keep], second[keep]
    wrong, mine, mate = wrong[left], mine[left], mate[left]

    def errors(weights: Weights) -> tuple[Values, Values]:
        matched = [np.bincount(cells, each[first] * each[second], minlength=count * count) for each in weights]
        # Two images of one person are one unit, whose weight counts once; two units both have theirs.
        missed = [
            np.bincount(wrong, np.where(mine == mate, each[mine], each[mine] * each[mate]), minlength=count)
            for each in weights
        ]
        return np.stack(matched), np.stack(missed) + groups.missed(weights)

    own = np.arange(count) * count + np.arange(count)

    def shares(weights: Weights) -> Values:
        matched, missed = errors(weights)
        return np.concatenate(
            [
                share(matched[:, own], groups.impostors(weights)[:, own]),
                share(missed, groups.genuines(weights)),
            ],
            axis=1,
        )

    samples = resampled(shares, units, rounds, seed)
    once = np.ones((1, units))
    matched, missed = (each[0].round().astype(int) for each in errors(once))
    made, tried = (each[0].round().astype(int) for each in (groups.impostors(once), groups.genuines(once)))
    overall_fmr = high / compared.impostors if compared.impostors else 0.0
    every = compared.genuines + compared.unacquired_genuine
    overall_fnmr = (low + compared.unacquired_genuine) / every if every else 0.0
    told = tuple(
        OfGroup(
            value=value,
            subjects=groups.subjects[at],
            fmr=rate(int(matched[own[at]]), int(made[own[at]]), samples[:, at]),
            fnmr=rate(int(missed[at]), int(tried[at]), samples[:, count + at]),
            fmr_is_telling=bool(made[own[at]] * overall_fmr >= FEWEST_ERRORS),
            fnmr_is_telling=bool(tried[at] * overall_fnmr >= FEWEST_ERRORS),
        )
        for at, value in enumerate(groups.values)
    )
    matrix = None
    if 1 < count <= MOST_IN_MATRIX:
        matrix = tuple(
            tuple(
                float(matched[at] / made[at]) if made[at] * overall_fmr >= FEWEST_ERRORS else None
                for at in (min(x, y) * count + max(x, y) for y in range(count))
            )
            for x in range(count)
        )
    return told, matrix


def _inequity(rates: list[tuple[str, float]]) -> Inequity:
    if len(rates) < 2:
        return Inequity(None, None, None, None)
    worst, best = max(rates, key=lambda each: each[1]), min(rates, key=lambda each: each[1])
    if best[1] <= 0:
        return Inequity(worst[0], best[0], None, None)
    mean = math.exp(sum(math.log(each) for _, each in rates) / len(rates))
    return Inequity(worst[0], best[0], worst[1] / best[1], worst[1] / mean)
