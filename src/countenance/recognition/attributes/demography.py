"""Age and gender: how old a face looks, and which of two genders it looks like, by two networks of dlib's.

Knows what the networks give back and how sure one may be of it; knows no files and no runtime. Neither says who
somebody is: they repeat what people wrote under photographs.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from countenance.biometrics import AgeRange, Label

AGE_SIDE: Final = 64
GENDER_SIDE: Final = 32

OLDEST: Final = 80
"""Years that the last of the network's 81 classes stands for; older faces look 80 to it."""

_YEARS: Final = np.concatenate([[0.25], np.arange(1, OLDEST + 1)])
"""Years that each class stands for, as in the package's manifest: 0 is a quarter of a year."""

GENDERS: Final = ("female", "male")
"""The network's classes, in its order."""


def expected_age(probabilities: NDArray[np.float32]) -> float:
    """The mean of the network's distribution over 81 ages, in years."""
    return float(np.asarray(probabilities, np.float64).ravel() @ _YEARS)


def age_range(probabilities: NDArray[np.float32], *, below: float, above: float, per_year: float) -> AgeRange:
    """The range around the expected age; see `range_around`."""
    return range_around(expected_age(probabilities), below=below, above=above, per_year=per_year)


def range_around(age: float, *, below: float, above: float, per_year: float) -> AgeRange:
    """The years in which a stated share of people of an estimated age are (docs/accuracy.md).

    Args:
        age: as estimated.
        below: years that the range reaches down, for somebody aged nothing.
        above: years that it reaches up: the network takes people for younger than they are.
        per_year: years more on each side for every year of age.
    """
    return AgeRange(low=max(0, round(age - below - per_year * age)), high=round(age + above + per_year * age))


def gender(probabilities: NDArray[np.float32], *, temperature: float) -> Label:
    """The likelier of two, and its probability after the logits are divided by a temperature, in [50, 100].

    A temperature above 1 takes back confidence that the network has not earned (C. Guo et al., "On calibration of
    modern neural networks", ICML 2017).
    """
    female, male = np.clip(np.asarray(probabilities, np.float64).ravel(), 1e-9, 1)
    odds = (np.log(male) - np.log(female)) / temperature
    likelier = 1 / (1 + np.exp(-abs(odds)))
    return Label(GENDERS[int(odds > 0)], 100 * float(likelier))
