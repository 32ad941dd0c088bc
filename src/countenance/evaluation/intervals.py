"""Error rates with intervals that know that comparisons of one person are not independent.

A bootstrap over people (percentiles of 2.5 and 97.5 %): each round draws as many people as there are, with replacement.
A person drawn w times brings every comparison with themselves w times, and a comparison of two people counts
w_s * w_t times, as it would if they had been photographed again (Bolle, Ratha and Pankanti, "Error analysis of pattern
recognition systems: the subsets bootstrap", CVIU 93, 2004; Wu, Martin and Kacker of NIST on two layers of it). Copies
of one person are not compared with each other.

Comparisons that were kept one by one are weighted so exactly. Of the others only the counts of each person are known:
there w_s * w_t is replaced by w_s + w_t - 1, its projection (Hajek), which has the same first-order variance.

Where no error was seen, resampling sees none either: then the upper bound is 3/n (ISO/IEC 19795-1:2021, rule of three);
where nothing else was seen, the lower bound is 1 - 3/n. The rule takes what was counted for independent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from countenance.evaluation.comparisons import GRID, Comparisons, no_lower
from countenance.evaluation.dataset import SEARCHES, Dataset

BOOTSTRAP: Final = "bootstrap"
RULE_OF_THREE: Final = "rule of three"
NONE: Final = "none"

ROUNDS: Final = 500
"""Enough for percentiles of 2.5 and 97.5 (Efron and Tibshirani: 500 to 1,000)."""
BATCH: Final = 20
"""Rounds whose weights are in memory at once."""

Values = NDArray[np.float64]
Weights = NDArray[np.float64]
"""Rounds x units: how often each was drawn."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its 95 % interval."""

    value: float
    """Not a number when nothing was counted."""
    errors: int
    of: int
    low: float
    high: float
    method: str
    """Whence the interval: "bootstrap", "rule of three" (no error was seen, or nothing else) or "none"."""

    def to_json(self) -> dict[str, Any]:
        """As documents have it: what is not known is null."""
        return {
            "value": _or_none(self.value),
            "errors": self.errors,
            "of": self.of,
            "low": _or_none(self.low),
            "high": _or_none(self.high),
            "method": self.method,
        }


def _or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def drawn(units: int, rounds: int, seed: int) -> Iterator[Weights]:
    """The weights of all rounds, a batch at a time; the same for the same arguments."""
    rng = np.random.default_rng(seed)
    for start in range(0, rounds, BATCH):
        yield np.stack(
            [
                np.bincount(rng.integers(0, units, units), minlength=units).astype(np.float64)
                for _ in range(min(BATCH, rounds - start))
            ]
        )


def resampled(statistic: Callable[[Weights], Values], units: int, rounds: int, seed: int) -> Values:
    """What a statistic is in every round: rounds x whatever it gives for one.

    Args:
        statistic: rounds x units of weights -> rounds x values.
    """
    return np.concatenate([statistic(weights) for weights in drawn(units, rounds, seed)])


def rate(errors: int, of: int, samples: Values, *, repeats: int = 1) -> Rate:
    """The rate, with the percentiles of its resampled values.

    Args:
        repeats: how often each thing is among those counted, as searches are in galleries drawn again: copies make no
            bound closer.
    """
    if not of:
        return Rate(math.nan, 0, 0, math.nan, math.nan, NONE)
    if not errors:
        return Rate(0.0, 0, of, 0.0, min(1.0, 3 * repeats / of), RULE_OF_THREE)
    if errors == of:
        return Rate(1.0, errors, of, max(0.0, 1 - 3 * repeats / of), 1.0, RULE_OF_THREE)
    low, high = bounds(samples)
    return Rate(errors / of, errors, of, low, high, BOOTSTRAP)


def bounds(samples: Values) -> tuple[float, float]:
    """2.5th and 97.5th percentile; rounds in which nothing was counted are left out."""
    usable = samples[np.isfinite(samples)]
    if not usable.size:
        return math.nan, math.nan
    low, high = np.percentile(usable, [2.5, 97.5])
    return float(low), float(high)


def share(errors: Values, of: Values) -> Values:
    """Element by element; not a number where nothing was counted."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(of > 0, errors / of, np.nan)


@dataclass(frozen=True, slots=True)
class Population:
    """How many comparisons each unit takes part in, and hence how many there are in a round."""

    units: int
    are_subjects: bool
    images: NDArray[np.float64]
    """Acquired images of each unit; of gallery and probes, the probes."""
    references: NDArray[np.float64] | None
    """Of gallery and probes: acquired references of each unit."""
    pairs: tuple[NDArray[np.int32], NDArray[np.int32]] | None
    """Of listed comparisons: the units of all impostor ones that were made."""

    def impostors(self, weights: Weights) -> Values:
        """Weighted number of comparisons of different people in each round."""
        if self.pairs is not None:
            first, second = self.pairs
            return np.array([float(each[first] @ each[second]) for each in weights])
        ours = weights * self.images
        theirs = ours if self.references is None else weights * self.references
        made: Values = ours.sum(1) * theirs.sum(1) - (ours * theirs).sum(1)
        return made / 2 if self.references is None else made


def population(
    dataset: Dataset, of_image: NDArray[np.int32], units: int, are_subjects: bool, acquired: NDArray[np.bool_]
) -> Population:
    """Counted from the data set and what was acquired of it."""

    def count(chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
        return np.bincount(of_image[chosen], minlength=units).astype(np.float64)

    if dataset.same.size:
        made = acquired[dataset.first] & acquired[dataset.second] & ~dataset.same
        pairs = of_image[dataset.first[made]], of_image[dataset.second[made]]
        return Population(units, are_subjects, count(acquired), None, pairs)
    if dataset.form == SEARCHES:
        assert dataset.in_gallery is not None  # of this form
        return Population(
            units, are_subjects, count(acquired & ~dataset.in_gallery), count(acquired & dataset.in_gallery), None
        )
    return Population(units, are_subjects, count(acquired), None, None)


class Resampling:
    """FMR and FNMR at thresholds, in every round of a bootstrap over units.

    Args:
        compared: of all comparisons.
        of_image: the unit of each image.
        people: how many comparisons there are in a round.
    """

    def __init__(self, compared: Comparisons, of_image: NDArray[np.int32], people: Population) -> None:
        self._compared = compared
        self._people = people
        self._of_image = of_image
        self._first = of_image[compared.highest.first]
        self._second = of_image[compared.highest.second]
        self._tail = _tail(compared.impostor_of_unit)
        """Units x grid edges: comparisons with others at or above each edge."""
        self._under = _under(compared.genuine_of_unit)
        """Units x grid edges: genuine comparisons below each edge."""

    def is_exact(self, threshold: float) -> bool:
        """Whether all impostor scores at or above a threshold were kept one by one."""
        kept = self._compared.highest
        return kept.complete or (kept.scores.size > 0 and threshold > kept.edge)

    def false_matches(self, weights: Weights, threshold: float, *, project: bool = False) -> Values:
        """FMR at a threshold in each round.

        Args:
            project: by the projection even where the scores were kept.
        """
        if self.is_exact(threshold) and not project:
            scores = self._compared.highest.scores
            count = int(np.searchsorted(-scores, -no_lower(threshold), side="right"))
            first, second = self._first[:count], self._second[:count]
            errors = np.array([float(each[first] @ each[second]) for each in weights])
            return share(errors, self._people.impostors(weights))
        at = np.array([threshold])
        return self.projected(weights, at)[:, 0]

    def projected(self, weights: Weights, thresholds: Values) -> Values:
        """FMR at many thresholds in each round, by the projection: w_s + w_t - 1 for w_s * w_t."""
        tail = on_grid(self._tail, thresholds)
        every = self._tail[:, 0].astype(np.float64)
        errors = weights @ tail - tail.sum(0) / 2
        of = weights @ every - every.sum() / 2
        return np.clip(share(errors, of[:, None]), 0.0, 1.0)

    def false_non_matches(self, weights: Weights, threshold: float, *, with_failures: bool) -> Values:
        """FNMR at a threshold in each round.

        Args:
            with_failures: images without a face count as false non-matches; otherwise they are left out.
        """
        errors, of = self._genuine(weights, threshold)
        if with_failures:
            missed = self._weighed_failures(weights)
            errors, of = errors + missed, of + missed
        return share(errors, of)

    def non_matches_on_grid(self, weights: Weights, thresholds: Values) -> Values:
        """FNMR over what was acquired, at many thresholds in each round."""
        under = on_grid(self._under, thresholds)
        every = self._under[:, -1].astype(np.float64)
        if not self._people.are_subjects:
            errors, of = weights @ under - under.sum(0) / 2, weights @ every - every.sum() / 2
        else:
            errors, of = weights @ under, weights @ every
        return np.clip(share(errors, of[:, None]), 0.0, 1.0)

    def threshold_for(self, weights: Weights, fmr: float) -> Values:
        """The lowest score whose FMR is at most `fmr`, in each round: among the scores that were kept."""
        kept = self._compared.highest
        # Far more than a round can need: its number of such comparisons varies by some per cent.
        count = min(kept.scores.size, 4 * math.ceil(fmr * self._compared.impostors) + 1_000)
        first, second = self._first[:count], self._second[:count]
        allowed = fmr * self._people.impostors(weights)
        found = np.empty(len(weights))
        for at, each in enumerate(weights):
            total = np.cumsum(each[first] * each[second])
            place = int(np.searchsorted(total, allowed[at], side="right"))
            found[at] = kept.scores[min(place, count - 1)]
        return np.nextafter(found, np.inf)

    def _genuine(self, weights: Weights, threshold: float) -> tuple[Values, Values]:
        """Weighted errors among genuine comparisons that were made, and how many of them there are."""
        kept = self._compared.lowest
        per_unit = self._under[:, -1].astype(np.float64)
        if self._people.are_subjects:
            of = weights @ per_unit
            if kept.complete or (kept.scores.size and threshold <= kept.edge):
                count = int(np.searchsorted(kept.scores, no_lower(threshold), side="left"))
                wrong = np.bincount(self._of_image[kept.first[:count]], minlength=weights.shape[1])
                return weights @ wrong, of
            return (weights @ on_grid(self._under, np.array([threshold])))[:, 0], of
        first, second = self._of_image[kept.first], self._of_image[kept.second]
        count = int(np.searchsorted(kept.scores, no_lower(threshold), side="left"))
        errors = np.array([float(each[first[:count]] @ each[second[:count]]) for each in weights])
        every = np.array([float(each[first] @ each[second]) for each in weights])
        return errors, every

    def _weighed_failures(self, weights: Weights) -> Values:
        missed = weights @ self._compared.unacquired_of_unit
        # As units of their own, both images of a comparison have it in their counts: the projection, as above.
        return missed if self._people.are_subjects else missed - self._compared.unacquired_genuine


EDGES: Final[Values] = np.arange(GRID + 1) / (GRID // 2) - 1.0
"""Lower edges of the grid's bins."""


def on_grid(counts: NDArray[np.uint32], thresholds: Values) -> Values:
    """Counts at thresholds between the edges, along straight lines: units x thresholds."""
    places = np.clip((thresholds + 1.0) * (GRID // 2), 0, GRID)
    lower = np.minimum(places.astype(np.int64), GRID - 1)
    part = places - lower
    return np.asarray(counts[:, lower] * (1 - part) + counts[:, lower + 1] * part)


def _tail(counts: NDArray[np.uint32]) -> NDArray[np.uint32]:
    return np.cumsum(counts[:, ::-1], axis=1, dtype=np.uint32)[:, ::-1]


def _under(counts: NDArray[np.uint32]) -> NDArray[np.uint32]:
    under = np.zeros_like(counts)
    # Below an edge are the bins before it. The last column, below infinity, is all there are.
    np.cumsum(counts[:, :-2], axis=1, dtype=np.uint32, out=under[:, 1:-1])
    under[:, -1] = counts.sum(1)
    return under
