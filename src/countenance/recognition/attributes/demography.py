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


def age_range(probabilities: NDArray[np.float32], *, half_width: float, per_year: float) -> AgeRange:
    """The years around the expected age.

    Args:
        probabilities: 81, one an age.
        half_width: years on each side, for somebody aged nothing.
        per_year: years more on each side for every year of age; errors grow with age.
    """
    age = expected_age(probabilities)
    reach = half_width + per_year * age
    return AgeRange(low=max(0, round(age - reach)), high=round(age + reach))


def gender(probabilities: NDArray[np.float32], *, temperature: float) -> Label:
    """The likelier of two, and its probability after the logits are divided by a temperature, in [50, 100].

    A temperature above 1 takes back confidence that the network has not earned (C. Guo et al., "On calibration of
    modern neural networks", ICML 2017).
    """
    female, male = np.clip(np.asarray(probabilities, np.float64).ravel(), 1e-9, 1)
    odds = (np.log(male) - np.log(female)) / temperature
    likelier = 1 / (1 + np.exp(-abs(odds)))
    return Label(GENDERS[int(odds > 0)], 100 * float(likelier))
