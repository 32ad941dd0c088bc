"""Whether a Similarity keeps its promise on people that its calibration was not fitted on.

Knows features, identities and a calibration; knows no files. Intervals are bootstrapped over people (`intervals`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from countenance.evaluation.intervals import ROUNDS, Rate, Values, Weights, rate, resampled, share
from countenance.recognition.calibration import Calibration

_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Promise:
    """One Similarity, what it stands for, and what was seen."""

    similarity: float
    comparison_score: float
    promised: float
    """False match rate."""
    fmr: Rate
    fnmr: Rate

    @property
    def is_broken(self) -> bool:
        """Whether the rate promised lies below the whole interval of the one seen."""
        return self.promised < self.fmr.low

    def to_json(self) -> dict[str, Any]:
        """As documents have it."""
        return {
            "similarity": self.similarity,
            "comparison_score": round(self.comparison_score, 6),
            "promised_fmr": self.promised,
            "fmr": self.fmr.to_json(),
            "fnmr": self.fnmr.to_json(),
            "is_broken": self.is_broken,
        }


def halves(identities: NDArray[np.integer[Any]], seed: int = 0) -> NDArray[np.bool_]:
    """A random half of the people: True for each image of one of them."""
    people = np.unique(identities)
    chosen = np.random.default_rng(seed).permutation(people)[: len(people) // 2]
    return np.asarray(np.isin(identities, chosen), np.bool_)


def check(
    features: NDArray[np.float32],
    identities: NDArray[np.integer[Any]],
    calibration: Calibration,
    points: Sequence[tuple[float, float]],
    *,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> list[Promise]:
    """Every pair of images is compared, and both error rates counted at each Similarity.

    Args:
        features: images x dimension, unit length; images without a face left out.
        identities: whose each image is; nobody of them may be among those that the calibration was fitted on.
        calibration: what is checked.
        points: Similarity and the false match rate that it stands for.
    """
    people = np.unique(identities, return_inverse=True)[1]
    images = np.bincount(people).astype(np.float64)
    scores = np.array([calibration.comparison_score(similarity) for similarity, _ in points])
    genuine, owners, wrong = [], [], []
    for start in range(0, len(features), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(features)))
        compared = features[rows] @ features.T
        later = np.arange(len(features))[None, :] > np.arange(rows.start, rows.stop)[:, None]
        same = people[rows, None] == people[None, :]
        i, _ = np.nonzero(later & same)
        genuine.append(compared[later & same])
        owners.append(people[rows][i])
        i, j = np.nonzero(later & ~same & (compared >= scores.min()))
        wrong.append(np.column_stack([people[rows][i], people[j], compared[i, j]]))
    mated, owner, high = np.concatenate(genuine), np.concatenate(owners), np.concatenate(wrong)
    pairs = round((images.sum() ** 2 - (images**2).sum()) / 2)
    found = []
    for (similarity, promised), score in zip(points, scores, strict=True):
        first, second = high[high[:, 2] >= score, :2].astype(np.intp).T
        missed = np.bincount(owner[mated < score], minlength=len(images)).astype(np.float64)
        of_each = np.bincount(owner, minlength=len(images)).astype(np.float64)

        def fmr(weights: Weights, first: Any = first, second: Any = second) -> Values:
            drawn = weights * images
            of = (drawn.sum(axis=1) ** 2 - (drawn**2).sum(axis=1)) / 2
            return share((weights[:, first] * weights[:, second]).sum(axis=1), of)

        def fnmr(weights: Weights, missed: Any = missed, of_each: Any = of_each) -> Values:
            return share(weights @ missed, weights @ of_each)

        found.append(
            Promise(
                similarity=similarity,
                comparison_score=float(score),
                promised=promised,
                fmr=rate(len(first), pairs, resampled(fmr, len(images), rounds, seed)),
                fnmr=rate(int(missed.sum()), len(mated), resampled(fnmr, len(images), rounds, seed)),
            )
        )
    return found
