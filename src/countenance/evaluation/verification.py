"""Error rates of 1:1 comparison from genuine and impostor comparison scores.

ISO/IEC 19795-1:2021: the false match rate (FMR) is the share of impostor comparisons at or above the decision
threshold, the false non-match rate (FNMR) that of genuine ones below it. Intervals are Wilson's score
intervals; they treat comparisons as independent, which pairs that share a person are not, so they are a little
too narrow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Z_95 = 1.959963984540054
"""The 97.5th percentile of the normal distribution: two-sided 95 % intervals."""

Scores = NDArray[np.floating]


@dataclass(frozen=True, slots=True)
class ErrorRate:
    """A counted share with its 95 % interval."""

    errors: int
    of: int

    @property
    def value(self) -> float:
        """The share itself; not a number when nothing was counted."""
        return self.errors / self.of if self.of else math.nan

    def interval(self) -> tuple[float, float]:
        """Wilson, E. B. (1927), score interval; (0, 1) when nothing was counted."""
        if not self.of:
            return 0.0, 1.0
        share, n, z2 = self.value, self.of, Z_95 * Z_95
        centre = (share + z2 / (2 * n)) / (1 + z2 / n)
        half = Z_95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n)) / (1 + z2 / n)
        return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True, slots=True)
class RatesAt:
    """Both error rates at one decision threshold."""

    threshold: float
    fmr: ErrorRate
    fnmr: ErrorRate


def rates_at(threshold: float, genuine: Scores, impostor: Scores) -> RatesAt:
    """FMR and FNMR when a comparison score at or above `threshold` is a match."""
    return RatesAt(
        threshold=threshold,
        fmr=ErrorRate(int((impostor >= threshold).sum()), impostor.size),
        fnmr=ErrorRate(int((genuine < threshold).sum()), genuine.size),
    )


def accuracy_at(threshold: float, genuine: Scores, impostor: Scores) -> ErrorRate:
    """Share of comparisons decided rightly, as LFW reports it (here `errors` counts the right ones)."""
    right = int((genuine >= threshold).sum() + (impostor < threshold).sum())
    return ErrorRate(right, genuine.size + impostor.size)


def best_threshold(genuine: Scores, impostor: Scores) -> float:
    """The threshold with the most right decisions: midway between scores, the middle one of equals."""
    scores = np.unique(np.concatenate([genuine, impostor]))
    middles = (scores[:-1] + scores[1:]) / 2
    right = np.searchsorted(np.sort(impostor), middles) - np.searchsorted(np.sort(genuine), middles)
    best = np.flatnonzero(right == right.max())
    return float(middles[best[len(best) // 2]])


def equal_error_rate(genuine: Scores, impostor: Scores) -> float:
    """The rate at which FMR and FNMR meet."""
    thresholds = np.unique(np.concatenate([genuine, impostor]))
    fmr = 1 - np.searchsorted(np.sort(impostor), thresholds) / impostor.size
    fnmr = np.searchsorted(np.sort(genuine), thresholds) / genuine.size
    at = int(np.argmin(np.abs(fmr - fnmr)))
    return float((fmr[at] + fnmr[at]) / 2)


def threshold_at_fmr(fmr: float, impostor_descending: Scores, impostors: int) -> float:
    """The lowest threshold whose FMR is at most `fmr`.

    Args:
        impostor_descending: the highest impostor scores, best first; at least `fmr * impostors + 1` of them.
        impostors: how many impostor comparisons were made in all.
    """
    allowed = math.floor(fmr * impostors)
    if allowed >= impostor_descending.size:
        raise ValueError(f"{impostor_descending.size} scores are too few for an FMR of {fmr} over {impostors}")
    return float(np.nextafter(np.float64(impostor_descending[allowed]), np.inf))
