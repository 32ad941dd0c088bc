"""Which comparison score each Similarity stands for: a model pack's calibration, from labelled images.

Every pair of images of different people is an impostor comparison. Similarity 80 is the score with a false match rate
of 1 in 10,000 among them and 99 that of 1 in 100,000; the other points follow the same idea, so that a higher
Similarity is always a rarer false match. 99.9, one in a million, is read off a curve through the rates that were
measured and not off the few scores that are that high, most of which are wrong labels.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from countenance.errors import Error
from countenance.evaluation.verification import threshold_at_fmr

POINTS: Final = (
    # Similarity and the false match rate it stands for. 80 and 99 are the two that Amazon's users copy: its
    # default threshold and the one its documentation recommends for law enforcement. The others fill the scale
    # in steps of a factor of about three to ten.
    (20.0, 1e-1),
    (40.0, 1e-2),
    (60.0, 1e-3),
    (80.0, 1e-4),
    (90.0, 3e-5),
    (99.0, 1e-5),
)
EXTRAPOLATED: Final = (99.9, 1e-6)
"""The point beyond what is measured."""
TAIL: Final = (1e-3, 1e-5)
"""False match rates between which the curve is fitted that 99.9 is read off: where there are ten scores and more for
each million pairs, and where it is the tail of the distribution and no longer its middle."""
STEPS: Final = 41
"""Rates in that range, evenly spaced by ratio, that the curve is fitted to."""
FEWEST: Final = 300_000
"""Impostor comparisons: with three times the inverse of the rarest rate, a score that none of them reached has at most
that rate with 95 % confidence (the rule of three; ISO/IEC 19795-1:2021, annex B). 775 images of different people."""
KEPT: Final = 2_000_000
"""Highest impostor scores kept while counting: more than the commonest point (1 in 10 of 12 million) needs."""
_BLOCK = 512


class TooFewImages(Error):
    """The rarest false matches cannot be told from so few images."""


def impostors(
    features: NDArray[np.float32], identities: NDArray[np.integer[Any]]
) -> tuple[NDArray[np.float64], int, float]:
    """The scores of all pairs of images of different people.

    Args:
        features: images x dimension, unit length.
        identities: whose each image is.

    Returns:
        The highest scores, descending; how many pairs there are; their lowest score.
    """
    best = np.empty(0, np.float32)
    count, lowest = 0, 1.0
    for start in range(0, len(features), _BLOCK):
        rows = slice(start, min(start + _BLOCK, len(features)))
        scores = features[rows] @ features.T
        later = np.arange(len(features))[None, :] > np.arange(rows.start, rows.stop)[:, None]
        chosen = scores[later & (identities[rows, None] != identities[None, :])]
        count += chosen.size
        lowest = min(lowest, float(chosen.min(initial=1.0)))
        best = np.concatenate([best, chosen])
        if best.size > KEPT:
            best = np.partition(best, best.size - KEPT)[-KEPT:]
    return np.sort(best)[::-1].astype(np.float64), count, lowest


def extrapolated(fmr: float, impostor_descending: NDArray[np.float64], impostors: int) -> float:
    """The score that has a rate rarer than can be measured, by the curve of measured rates continued.

    The logarithm of the rate is fitted by a parabola of the score, as it is one for a normal distribution's tail but
    for a slowly changing term; where that opens upwards, which no tail does, by a straight line.

    Args:
        fmr: below the rarer end of `TAIL`.
        impostor_descending: the highest impostor scores, best first.
        impostors: how many impostor comparisons were made in all.
    """
    rates = np.geomspace(*TAIL, STEPS)
    scores = np.array([threshold_at_fmr(float(rate), impostor_descending, impostors) for rate in rates])
    middle = scores.mean()
    bend, slope, level = np.polyfit(scores - middle, np.log(rates), 2)
    if bend >= 0:
        bend, (slope, level) = 0.0, np.polyfit(scores - middle, np.log(rates), 1)
    level -= np.log(fmr)
    if bend == 0:
        return float(middle - level / slope)
    return float(middle + (-slope - np.sqrt(slope**2 - 4 * bend * level)) / (2 * bend))


def fit(features: NDArray[np.float32], identities: NDArray[np.integer[Any]], **said: Any) -> dict[str, Any]:
    """A calibration as `Calibration.load` reads it.

    Args:
        features: images x dimension, unit length; images without a face left out.
        identities: whose each image is.
        said: what else the file says: on what it was fitted, of which weights.

    Raises:
        TooFewImages: there are fewer than `FEWEST` pairs of different people, or scores do not rise.
    """
    best, count, lowest = impostors(features, identities)
    if count < FEWEST:
        raise TooFewImages(
            f"{count:,} pairs of images of different people are too few: a Similarity of 99 is one false match in "
            f"100,000, which takes {FEWEST:,} pairs to measure.",
            hint="bring photographs of at least 800 people, such as LFW's",
        )
    points = [{"similarity": 0.0, "comparison_score": -1.0, "fmr": 1.0}]
    for similarity, fmr in POINTS:
        points.append(
            {"similarity": similarity, "comparison_score": round(threshold_at_fmr(fmr, best, count), 6), "fmr": fmr}
        )
    similarity, fmr = EXTRAPOLATED
    score = round(extrapolated(fmr, best, count), 6)
    points.append({"similarity": similarity, "comparison_score": score, "fmr": fmr, "extrapolated": True})
    points.append({"similarity": 100.0, "comparison_score": 1.0, "fmr": 0.0})
    scores = [each["comparison_score"] for each in points]
    if any(after <= before for before, after in pairwise(scores)):
        raise TooFewImages(
            "The scores of different people do not tell false match rates apart.",
            hint="are images of one person in two folders, or is this model no face model?",
        )
    return {
        **said,
        "images": len(features),
        "impostor_comparisons": count,
        "highest_impostor_scores": [round(float(score), 4) for score in best[:5]],
        "lowest_impostor_score": round(lowest, 4),
        "points": points,
    }
