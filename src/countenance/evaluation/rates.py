"""Errors of 1:1 comparison: at fixed Similarities, at fixed false match rates, and along the whole curve.

FMR is over the comparisons that gave a score: an image without a face is never falsely matched, and counting it would
make the rate look better. FNMR counts it as a false non-match; ISO/IEC 19795-1's FNMR, over what was acquired, is
beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from countenance.evaluation.comparisons import BINS, Comparisons, no_lower
from countenance.evaluation.intervals import EDGES, Rate, Resampling, Values, Weights, bounds, rate, resampled
from countenance.recognition import Calibration

SIMILARITIES: Final = (60.0, 80.0, 90.0, 99.0, 99.9)
FMRS: Final = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
FEWEST_ERRORS: Final = 10
"""Expected errors below which a rate is not told: with ten, its 95 % interval is within a factor of two about."""
_FINE: Final[Values] = np.arange(BINS + 1) / (BINS // 2) - 1.0
"""Lower edges of the bins of scores."""


@dataclass(frozen=True, slots=True)
class AtSimilarity:
    """Both error rates when a Similarity at or above this one is a match."""

    similarity: float
    threshold: float
    fmr: Rate
    fnmr: Rate
    """With images without a face as false non-matches."""
    fnmr_acquired: Rate
    """Over comparisons that gave a score."""

    def to_json(self) -> dict[str, Any]:
        return {
            "similarity": self.similarity,
            "comparison_score": self.threshold,
            "fmr": self.fmr.to_json(),
            "fnmr": self.fnmr.to_json(),
            "fnmr_acquired": self.fnmr_acquired.to_json(),
        }


@dataclass(frozen=True, slots=True)
class AtFmr:
    """The false non-match rate where the false match rate is at most this."""

    fmr: float
    expected: float
    """False matches that this rate means among the comparisons made."""
    threshold: float | None
    similarity: float | None
    fnmr: Rate | None
    """None when too few false matches are expected to find the threshold."""

    def to_json(self) -> dict[str, Any]:
        return {
            "fmr": self.fmr,
            "expected_false_matches": self.expected,
            "comparison_score": self.threshold,
            "similarity": self.similarity,
            "fnmr": None if self.fnmr is None else self.fnmr.to_json(),
        }


@dataclass(frozen=True, slots=True)
class EqualErrorRate:
    """Where FMR and FNMR meet, over comparisons that gave a score."""

    value: float
    threshold: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Point:
    """One point of the DET curve (ISO/IEC 19795-1)."""

    threshold: float
    fmr: float
    fnmr: float
    """With images without a face."""


class Rates:
    """Error rates of one set of comparisons.

    Args:
        rounds, seed: of the bootstrap.
        units: how many units it draws.
    """

    def __init__(
        self,
        compared: Comparisons,
        resampling: Resampling,
        calibration: Calibration,
        *,
        units: int,
        rounds: int,
        seed: int,
    ) -> None:
        self._compared = compared
        self._resampling = resampling
        self._calibration = calibration
        self._units, self._rounds, self._seed = units, rounds, seed

    def at_similarity(self, similarity: float) -> AtSimilarity:
        """Rates at a Similarity; its threshold has to be one that was counted exactly."""
        threshold = self._calibration.comparison_score(similarity)
        compared, many = self._compared, self._resampling
        below, missed = compared.below[threshold], compared.unacquired_genuine

        def both(weights: Weights) -> Values:
            return np.stack(
                [
                    many.false_matches(weights, threshold),
                    many.false_non_matches(weights, threshold, with_failures=True),
                    many.false_non_matches(weights, threshold, with_failures=False),
                ],
                axis=1,
            )

        samples = self._resampled(both)
        return AtSimilarity(
            similarity=similarity,
            threshold=threshold,
            fmr=rate(compared.at_or_above[threshold], compared.impostors, samples[:, 0]),
            fnmr=rate(below + missed, compared.genuines + missed, samples[:, 1]),
            fnmr_acquired=rate(below, compared.genuines, samples[:, 2]),
        )

    def at_fmr(self, fmr: float) -> AtFmr:
        """FNMR where FMR is at most `fmr`; its interval includes that the threshold is found on the same data."""
        compared, many = self._compared, self._resampling
        expected = fmr * compared.impostors
        missed = compared.unacquired_genuine
        if expected < FEWEST_ERRORS or not compared.genuines + missed:
            return AtFmr(fmr, expected, None, None, None)
        threshold = self.threshold_for(fmr)
        below = genuine_below(compared, threshold)
        kept = compared.highest
        is_kept = kept.complete or kept.scores.size > 1.5 * expected + 1_000

        def misses(weights: Weights) -> Values:
            if is_kept:
                # One threshold a round: the rate at each is asked for with that round's weights alone.
                found = many.threshold_for(weights, fmr)
                rows = [
                    many.false_non_matches(weights[at : at + 1], float(each), with_failures=True)
                    for at, each in enumerate(found)
                ]
                return np.stack(rows)
            return _crossing(many, weights, fmr, _near(threshold))[:, None]

        samples = self._resampled(misses)[:, 0]
        return AtFmr(
            fmr=fmr,
            expected=expected,
            threshold=threshold,
            similarity=self._calibration.similarity(threshold),
            fnmr=rate(below + missed, compared.genuines + missed, samples),
        )

    def threshold_for(self, fmr: float) -> float:
        """The lowest threshold whose FMR is at most `fmr`; where scores were not kept, the next edge of a bin."""
        compared = self._compared
        allowed = math.floor(fmr * compared.impostors)
        if allowed < compared.highest.scores.size:
            return float(np.nextafter(compared.highest.scores[allowed], np.float32(np.inf)))
        tail = np.cumsum(compared.impostor_bins[::-1])[::-1]
        return float(_FINE[int(np.argmax(tail <= allowed))])

    def equal_error_rate(self) -> EqualErrorRate | None:
        """None without comparisons of both kinds."""
        compared = self._compared
        if not compared.impostors or not compared.genuines:
            return None
        fmr = np.cumsum(compared.impostor_bins[::-1])[::-1] / compared.impostors
        fnmr = (np.cumsum(compared.genuine_bins) - compared.genuine_bins) / compared.genuines
        at = int(np.argmax(fnmr >= fmr)) if (fnmr >= fmr).any() else BINS
        before = max(at - 1, 0)
        gap = [float(fmr[each] - fnmr[each]) for each in (before, at)]
        part = 1.0 if gap[0] == gap[1] else gap[0] / (gap[0] - gap[1])
        value = float(fmr[before] + part * (fmr[at] - fmr[before]))
        threshold = float(_FINE[before] + part * (_FINE[at] - _FINE[before]))
        near = _near(threshold)
        samples = self._resampled(lambda weights: _crossing(self._resampling, weights, None, near)[:, None])[:, 0]
        low, high = bounds(samples)
        if value == 0.0:
            low, high = 0.0, min(1.0, 3 / compared.genuines)
        return EqualErrorRate(value, threshold, low, high)

    def curve(self) -> list[Point]:
        """Points of the DET curve, from strict thresholds to none, as far apart as can be seen."""
        compared = self._compared
        if not compared.impostors or not compared.genuines:
            return []
        ranks = np.unique(np.geomspace(1, max(1, min(compared.highest.scores.size, 10_000)), 80).astype(int)) - 1
        of_ranks = compared.highest.scores[ranks].astype(np.float64)
        floor = compared.highest.scores[ranks[-1]]
        thresholds = np.concatenate([of_ranks, _FINE[floor > _FINE][::-1]])
        tail = np.cumsum(compared.impostor_bins[::-1])[::-1]
        above = np.concatenate([ranks + 1, tail[: int((floor > _FINE).sum())][::-1]])
        missed, every = compared.unacquired_genuine, compared.genuines + compared.unacquired_genuine
        points: list[Point] = []
        for threshold, count in zip(thresholds, above, strict=True):
            below = genuine_below(compared, float(threshold))
            point = Point(float(threshold), int(count) / compared.impostors, (below + missed) / every)
            if not points or _apart(points[-1], point):
                points.append(point)
            if below == 0:
                break
        return points

    def _resampled(self, statistic: Any) -> Values:
        return resampled(statistic, self._units, self._rounds, self._seed)


def genuine_below(compared: Comparisons, threshold: float) -> int:
    """Genuine scores below a threshold: exact among those that were kept, else below the nearest edge of a bin."""
    kept = compared.lowest
    if kept.complete or (kept.scores.size and threshold <= kept.edge):
        return int(np.searchsorted(kept.scores, no_lower(threshold), side="left"))
    edge = int(np.clip(round((threshold + 1.0) * (BINS // 2)), 0, BINS))
    return int(compared.genuine_bins[:edge].sum())


def histogram(bins: NDArray[np.int64], width: int = 32) -> list[int]:
    """Counts in wider bins, of `width` of ours each: 32 makes 128 over [-1, 1). Scores of 1 and above join the last."""
    wide = bins[:-1].reshape(-1, width).sum(1)
    wide[-1] += bins[-1]
    return [int(each) for each in wide]


def _near(threshold: float) -> Values:
    """Edges of the grid among which rounds find a threshold: 40 of them, over 0.3 of the score."""
    middle = int(np.searchsorted(EDGES, threshold))
    return EDGES[max(0, middle - 20) : middle + 20]


def _crossing(many: Resampling, weights: Weights, fmr: float | None, edges: Values) -> Values:
    """FNMR of each round where FMR falls to `fmr`, or where both meet; along straight lines between edges."""
    matches, misses = many.projected(weights, edges), many.non_matches_on_grid(weights, edges)
    gap = matches - (misses if fmr is None else fmr)
    at = np.argmax(gap <= 0, axis=1)
    at = np.where((gap <= 0).any(axis=1), np.maximum(at, 1), len(edges) - 1)
    line = np.arange(len(weights))
    before, after = gap[line, at - 1], gap[line, at]
    part = np.clip(np.where(before == after, 1.0, before / np.where(before == after, 1.0, before - after)), 0.0, 1.0)
    found: Values = misses[line, at - 1] + part * (misses[line, at] - misses[line, at - 1])
    return found


_LEAST: Final = 1e-9
"""Rates are clipped to this before their deviates are taken, which are infinite at 0 and 1."""


def deviate(share: float) -> float:
    """The normal deviate of a rate: what DET axes are linear in (ISO/IEC 19795-1)."""
    return NormalDist().inv_cdf(min(max(share, _LEAST), 1 - _LEAST))


def _apart(one: Point, other: Point) -> bool:
    return abs(deviate(one.fmr) - deviate(other.fmr)) > 0.02 or abs(deviate(one.fnmr) - deviate(other.fnmr)) > 0.02
