"""Expressions: which of seven a face shows, by a network trained on FER2013.

Knows the network's classes; knows no files and no runtime. An expression is what a face looks like and not what
somebody feels.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from countenance.biometrics import Label

EXPRESSIONS: Final = ("angry", "disgusted", "fear", "happy", "sad", "surprised", "calm")
"""The network's classes in its order: anger, disgust, fear, happiness, sadness, surprise and none of them (FER2013)."""


def emotions(probabilities: NDArray[np.float32]) -> tuple[Label, ...]:
    """All seven, the likeliest first; their confidences are the network's probabilities and add up to 100."""
    values = 100 * np.asarray(probabilities, np.float64).ravel()
    return tuple(Label(EXPRESSIONS[each], float(values[each])) for each in np.argsort(-values, kind="stable"))
