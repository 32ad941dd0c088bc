"""What a user is compared by: one vector made of the features of several references of one person.

The mean of unit vectors, brought back to length 1, was chosen by measurement (docs/accuracy.md, "Users";
`scripts/aggregation.py` prints it).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def aggregate(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """One vector of length 1 for (n, dimension) float32 features of length 1, n at least 1.

    Features that cancel each other out have no mean; the first of them stands for all.
    """
    mean = features.mean(axis=0, dtype=np.float32)
    length = float(np.linalg.norm(mean))
    vector: NDArray[np.float32] = (mean / length if length > np.finfo(np.float32).eps else features[0]).astype(
        np.float32
    )
    return vector
