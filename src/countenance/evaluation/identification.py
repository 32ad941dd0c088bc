"""Errors of open-set identification, as NIST's FRTE 1:N has them.

FPIR(T) is the share of searches for people who are not in the gallery that return somebody at or above T. FNIR(N, 1, T)
is the share of searches for people who are in it whose own reference scores below T or is not the best. A probe without
a face is a miss when its person is enrolled, and no search otherwise. A person's score is the best of their references.

Intervals resample the people searched for; the galleries stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from countenance.evaluation.comparisons import no_lower
from countenance.evaluation.dataset import Dataset
from countenance.evaluation.intervals import NONE, Rate, Values, Weights, rate, resampled, share
from countenance.evaluation.rates import FEWEST_ERRORS
from countenance.evaluation.searching import Scores, Searches, search
from countenance.recognition import Calibration

SIMILARITIES: Final = (80.0, 90.0, 99.0, 99.9)
FPIRS: Final = (0.01, 0.001)
SIZES: Final = (100, 1_000, 10_000, 100_000)
DRAWS: Final = 10
"""Random galleries of each size below the full one."""


@dataclass(frozen=True, slots=True)
class AtThreshold:
    """Both error rates at one Similarity."""

    similarity: float
    fpir: Rate
    fnir: Rate


@dataclass(frozen=True, slots=True)
class AtFpir:
    """FNIR where FPIR is at most this; None when too few searches would be falsely answered to tell."""

    fpir: float
    similarity: float | None
    fnir: float | None
    low: float | None
    high: float | None
    method: str = NONE
    """Whence the interval; see `Rate`."""


@dataclass(frozen=True, slots=True)
class OfGallery:
    """Galleries of one size."""

    size: int
    """People enrolled."""
    draws: int
    mated: int
    """Searches for somebody enrolled, in all draws."""
    non_mated: int
    rank_one: Rate
    """Share of mated searches whose own reference comes first, at any score; `errors` counts those."""
    at: tuple[AtThreshold, ...]
    at_fpir: tuple[AtFpir, ...]
    curve: tuple[tuple[float, float, float], ...]
    """Similarity, FPIR, FNIR."""

    def to_json(self) -> dict[str, Any]:
        return {
            "size": self.size,
            "draws": self.draws,
            "mated_searches": self.mated,
            "non_mated_searches": self.non_mated,
            "rank_one": self.rank_one.to_json(),
            "at_similarity": [
                {"similarity": each.similarity, "fpir": each.fpir.to_json(), "fnir": each.fnir.to_json()}
                for each in self.at
            ],
            "at_fpir": [
                {
                    "fpir": each.fpir,
                    "similarity": each.similarity,
                    "fnir": None
                    if each.fnir is None
                    else {"value": each.fnir, "low": each.low, "high": each.high, "method": each.method},
                }
                for each in self.at_fpir
            ],
            "curve": [{"similarity": s, "fpir": p, "fnir": n} for s, p, n in self.curve],
        }


@dataclass(frozen=True, slots=True)
class Missed:
    """A search that did not find the person, in the full gallery."""

    probe: int
    reference: int
    """The person's most alike reference, or the first when there is no score."""
    score: float | None
    first: int | None
    """The reference that came first, when it was of somebody else."""
    first_score: float | None


@dataclass(frozen=True, slots=True)
class Identification:
    """All sizes, smallest first, and what was missed at Similarity 80 in the full gallery."""

    galleries: tuple[OfGallery, ...]
    missed: tuple[Missed, ...]
    missed_in_all: int
    unacquired_references: int
    """Failures to enrol (FTE)."""
    unacquired_probes: int


def identify(
    features: NDArray[np.float32],
    acquired: NDArray[np.bool_],
    dataset: Dataset,
    searches: Searches,
    calibration: Calibration,
    *,
    rounds: int,
    seed: int,
    progress: Callable[[float], None] = lambda share: None,
) -> Identification:
    """Search for every probe in galleries of several sizes."""
    full = len(searches.subjects)
    sizes = [*(size for size in SIZES if size < full), full]
    rng = np.random.default_rng([seed, 1])
    orders = [rng.permutation(full) for _ in range(DRAWS)] if len(sizes) > 1 else []
    galleries = {(size, draw): order[:size] for draw, order in enumerate(orders) for size in sizes[:-1]}
    galleries[full, 0] = np.arange(full)
    scores = search(features, acquired, searches, galleries, progress)
    units = len(dataset.subjects)
    found = []
    for size in sizes:
        draws = [draw for of, draw in galleries if of == size]
        found.append(_of_size(size, draws, galleries, scores, acquired, searches, calibration, units, rounds, seed))
    missed, count = _missed(features, acquired, searches, scores, calibration.comparison_score(80.0), full)
    return Identification(
        galleries=tuple(found),
        missed=missed,
        missed_in_all=count,
        unacquired_references=int((~acquired[searches.references]).sum()),
        unacquired_probes=int((~acquired[searches.probes]).sum()),
    )


def _of_size(
    size: int,
    draws: Sequence[int],
    galleries: dict[tuple[int, int], NDArray[np.intp]],
    scores: Scores,
    acquired: NDArray[np.bool_],
    searches: Searches,
    calibration: Calibration,
    units: int,
    rounds: int,
    seed: int,
) -> OfGallery:
    subject = searches.subject_of_probe
    usable = acquired[searches.probes]
    mated, non_mated = [], []
    for draw in draws:
        inside = np.isin(subject, searches.subjects[galleries[size, draw]])
        mated.append(inside)
        non_mated.append(~inside & usable)
    best = [scores.best_other[size, draw] for draw in draws]

    def count(chosen: Sequence[NDArray[np.bool_]]) -> NDArray[np.float64]:
        counts: Values = np.sum([np.bincount(subject[each], minlength=units) for each in chosen], axis=0)
        return counts.astype(np.float64)

    def misses(threshold: float) -> list[NDArray[np.bool_]]:
        least = no_lower(threshold)
        return [m & ((scores.mate < least) | (scores.mate <= b)) for m, b in zip(mated, best, strict=True)]

    first = [m & (scores.mate > b) for m, b in zip(mated, best, strict=True)]
    wrong, of = [first], [mated]
    for similarity in SIMILARITIES:
        threshold = calibration.comparison_score(similarity)
        wrong.append([n & (b >= no_lower(threshold)) for n, b in zip(non_mated, best, strict=True)])
        wrong.append(misses(threshold))
        of += [non_mated, mated]
    errors, every = (np.stack([count(each) for each in some], axis=1) for some in (wrong, of))
    samples = resampled(lambda weights: share(weights @ errors, weights @ every), units, rounds, seed)
    told = [
        rate(int(errors[:, n].sum()), int(every[:, n].sum()), samples[:, n], repeats=len(draws))
        for n in range(len(wrong))
    ]
    at = [AtThreshold(similarity, told[1 + 2 * n], told[2 + 2 * n]) for n, similarity in enumerate(SIMILARITIES)]
    lost = [np.where(scores.mate > b, scores.mate, -np.inf)[m] for m, b in zip(mated, best, strict=True)]
    alarms = [b[n] for n, b in zip(non_mated, best, strict=True)]
    fixed = [
        _at_fpir(fpir, alarms, lost, non_mated, mated, subject, calibration, units, rounds, seed) for fpir in FPIRS
    ]
    return OfGallery(
        size=size,
        draws=len(draws),
        mated=int(sum(int(each.sum()) for each in mated)),
        non_mated=int(sum(int(each.sum()) for each in non_mated)),
        rank_one=told[0],
        at=tuple(at),
        at_fpir=tuple(fixed),
        curve=_curve(np.concatenate(alarms), np.concatenate(lost), calibration),
    )


def _at_fpir(
    fpir: float,
    alarms: Sequence[NDArray[np.float32]],
    lost: Sequence[NDArray[np.float32]],
    non_mated: Sequence[NDArray[np.bool_]],
    mated: Sequence[NDArray[np.bool_]],
    subject: NDArray[np.int32],
    calibration: Calibration,
    units: int,
    rounds: int,
    seed: int,
) -> AtFpir:
    """The threshold is found over all draws, in every round anew."""
    scores, found = np.concatenate(alarms), np.concatenate(lost)
    if fpir * len(scores) / len(alarms) < FEWEST_ERRORS or not len(found):
        return AtFpir(fpir, None, None, None, None)
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    who = np.concatenate([subject[each] for each in non_mated])[order]
    mate = np.argsort(found, kind="stable")
    lowest, whose = found[mate], np.concatenate([subject[each] for each in mated])[mate]

    def threshold_and_rate(weights: Weights) -> Values:
        result = np.empty((len(weights), 2))
        for at, each in enumerate(weights):
            alarmed = np.cumsum(each[who])
            place = int(np.searchsorted(alarmed, fpir * alarmed[-1], side="right"))
            threshold = np.nextafter(ranked[min(place, len(ranked) - 1)], np.float32(np.inf))
            below = int(np.searchsorted(lowest, threshold, side="left"))
            every = each[whose].sum()
            result[at] = threshold, each[whose[:below]].sum() / every if every else np.nan
        return result

    threshold, value = threshold_and_rate(np.ones((1, units)))[0]
    samples = resampled(threshold_and_rate, units, rounds, seed)[:, 1]
    told = rate(round(float(value) * len(found)), len(found), samples, repeats=len(alarms))
    return AtFpir(fpir, calibration.similarity(float(threshold)), told.value, told.low, told.high, told.method)


def _curve(
    alarms: NDArray[np.float32], lost: NDArray[np.float32], calibration: Calibration
) -> tuple[tuple[float, float, float], ...]:
    if not alarms.size or not lost.size:
        return ()
    ranked, found = np.sort(alarms)[::-1], np.sort(lost)
    ranks = np.unique(np.geomspace(1, ranked.size, 100).astype(int))
    points = []
    for rank in ranks:
        threshold = ranked[rank - 1]
        if not np.isfinite(threshold):
            continue
        missed = float(np.searchsorted(found, threshold, side="left") / found.size)
        points.append((calibration.similarity(float(threshold)), float(rank / ranked.size), missed))
    return tuple(points)


MOST_MISSED: Final = 50
"""Missed searches that are told one by one."""


def _missed(
    features: NDArray[np.float32],
    acquired: NDArray[np.bool_],
    searches: Searches,
    scores: Scores,
    threshold: float,
    full: int,
) -> tuple[tuple[Missed, ...], int]:
    mated = np.isin(searches.subject_of_probe, searches.subjects)
    least = no_lower(threshold)
    wrong = np.flatnonzero(mated & ((scores.mate < least) | (scores.mate <= scores.best_other[full, 0])))
    order = wrong[np.argsort(scores.mate[wrong], kind="stable")]
    usable = np.flatnonzero(acquired[searches.references])
    told = []
    for at in order[:MOST_MISSED]:
        probe = int(searches.probes[at])
        own = np.flatnonzero(searches.subjects[searches.person] == searches.subject_of_probe[at])
        if not acquired[probe] or not usable.size:
            told.append(Missed(probe, int(searches.references[own[0]]), None, None, None))
            continue
        compared = features[searches.references[usable]] @ features[probe]
        is_own = np.isin(usable, own)
        mine = np.where(is_own, compared, -np.inf)
        best = int(np.argmax(compared))
        has_score = bool(np.isfinite(mine).any())
        told.append(
            Missed(
                probe=probe,
                reference=int(searches.references[usable[int(np.argmax(mine))] if has_score else own[0]]),
                score=float(mine.max()) if has_score else None,
                first=None if is_own[best] else int(searches.references[usable[best]]),
                first_score=None if is_own[best] else float(compared[best]),
            )
        )
    return tuple(told), len(wrong)
