"""What a false match rate means for a search: how many strangers' references it may be expected to return.

Knows arithmetic; knows no features and no data set. What is measured is in `identification`; this is for galleries that
are larger than whatever was measured on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from countenance.evaluation.calibrating import EXTRAPOLATED, POINTS

RELIED_ON: Final = (*(each for each in POINTS if each[0] >= 80), EXTRAPOLATED)
"""Similarities that clients set as thresholds (Amazon's default is 80), and the false match rates they stand for."""
GALLERIES: Final = (100, 10_000, 1_000_000)
"""References in a gallery: a door, a town, a country's register."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """A search for somebody who is not enrolled, at one Similarity and in one gallery."""

    similarity: float
    fmr: float
    gallery: int
    """References searched."""

    @property
    def false_candidates(self) -> float:
        """Expected references of other people at or above the Similarity: FMR times references.

        An expectation adds up whether or not comparisons depend on each other, so this needs no independence.
        """
        return self.fmr * self.gallery

    @property
    def most_fpir(self) -> float:
        """An upper bound on the share of such searches that return anybody, 1 - (1 - FMR)^N.

        It is FPIR itself if all comparisons are independent. Those of one probe are not: some probes have a higher
        false match rate than others, and as 1 - (1 - p)^N is concave in p, its mean over probes is at most its value at
        the mean rate (Jensen). References have to be of different people, drawn independently.
        """
        return -math.expm1(self.gallery * math.log1p(-self.fmr))

    def to_json(self) -> dict[str, Any]:
        """As documents have it."""
        return {
            "similarity": self.similarity,
            "fmr": self.fmr,
            "gallery": self.gallery,
            "false_candidates": float(f"{self.false_candidates:.6g}"),
            "most_fpir": float(f"{self.most_fpir:.6g}"),
        }


def expected(
    points: Iterable[tuple[float, float]] = RELIED_ON, galleries: Iterable[int] = GALLERIES
) -> list[Expectation]:
    """For each Similarity with its false match rate (below 1) and each number of references, what to expect."""
    sizes = tuple(galleries)
    return [Expectation(similarity, fmr, gallery) for similarity, fmr in points for gallery in sizes]
