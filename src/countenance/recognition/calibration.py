"""comparison_score (a cosine) <-> Similarity in percent, and back.

Knows one monotone curve; knows nothing of faces. A cosine means nothing to whoever sets a threshold, and means
something else for every model. The curve is fixed by what its points promise: a Similarity of 80 is the score
that one in 10,000 pairs of different people reaches, 99 the one that one in 100,000 reaches, measured on the
pack's own scores (scripts/fit_calibration.py). Between the points it runs straight.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from countenance.recognition.faults import ModelPackError

SAME_FEATURES: Final = 1 - 2e-4
"""Features are stored as fp16, which changes the length of a unit vector of 128 numbers by 2.5e-5 (one standard
deviation of its sum of rounding errors, each up to 2^-11 of its number). A face compared with itself scores this or
more, eight such deviations, and has a Similarity of 100: clients who ask for 100 expect the identical image."""


@dataclass(frozen=True, slots=True)
class Calibration:
    """Piecewise linear, strictly rising from Similarity 0 to 100. Outside its points it stays at 0 or 100."""

    scores: tuple[float, ...]
    similarities: tuple[float, ...]
    note: str = ""
    sha256: str = ""
    """Of the text that it was read from: what it is told by in the log."""

    @classmethod
    def load(cls, text: str) -> Calibration:
        """Read the JSON that scripts/fit_calibration.py writes.

        Raises:
            ModelPackError: not such a file, or a curve that does not rise strictly from 0 to 100.
        """
        try:
            raw = json.loads(text)
            points = [(float(each["comparison_score"]), float(each["similarity"])) for each in raw["points"]]
            note = str(raw.get("fitted_on", ""))
        except (ValueError, KeyError, TypeError) as error:
            raise ModelPackError(f"the calibration cannot be read: {type(error).__name__}") from None
        rising = all(a[0] < b[0] and a[1] < b[1] for a, b in pairwise(points))
        if len(points) < 2 or not rising or points[0][1] != 0 or points[-1][1] != 100:
            raise ModelPackError("the calibration does not rise strictly from 0 to 100")
        digest = hashlib.sha256(text.encode()).hexdigest()
        return cls(tuple(each[0] for each in points), tuple(each[1] for each in points), note, digest)

    def similarity(self, score: float) -> float:
        """Similarity of a comparison score, in [0, 100]; what cannot be told from the same features is 100."""
        if score >= SAME_FEATURES:
            return self.similarities[-1]
        return _interpolate(score, self.scores, self.similarities)

    def comparison_score(self, similarity: float) -> float:
        """The lowest comparison score with this Similarity: the decision threshold that a percentage means."""
        return min(_interpolate(similarity, self.similarities, self.scores), SAME_FEATURES)


def _interpolate(value: float, xs: tuple[float, ...], ys: tuple[float, ...]) -> float:
    if value <= xs[0]:
        return ys[0]
    if value >= xs[-1]:
        return ys[-1]
    at = bisect_right(xs, value)
    share = (value - xs[at - 1]) / (xs[at] - xs[at - 1])
    return ys[at - 1] + share * (ys[at] - ys[at - 1])
