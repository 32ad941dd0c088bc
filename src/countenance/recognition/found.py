"""Faces that a look found, as plain arrays: what detector networks' heads give and the detector merges.

Knows boxes, points and scores; knows no network and no picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

OVERLAP_LIMIT: Final = 0.3
"""Two boxes with a larger intersection over union are one face (FaceDetectorYN's default)."""
TOP: Final = 1000
"""Cells looked at per pass, best first: ten for each of the hundred faces that are returned."""


@dataclass(frozen=True, slots=True)
class Found:
    """Faces of one picture, in pixels of the array that was searched, best score first.

    boxes: n x 4, left, top, width, height. scores: n, in (0, 1]. points: n x 5 x 2.
    """

    boxes: Floats
    scores: Floats
    points: Floats

    def __len__(self) -> int:
        return len(self.scores)

    def surer_than(self, threshold: float) -> Found:
        """Those whose score reaches the threshold."""
        return self.take(np.flatnonzero(self.scores >= threshold))

    def magnified(self, by: float) -> Found:
        """The same faces on a picture so many times as large."""
        return Found(self.boxes * by, self.scores, self.points * by)

    def take(self, which: NDArray[np.intp]) -> Found:
        """These faces in this order."""
        return Found(self.boxes[which], self.scores[which], self.points[which])


def nothing() -> Found:
    """No face."""
    return Found(np.zeros((0, 4)), np.zeros(0), np.zeros((0, 5, 2)))


def suppress(found: Found, limit: float = OVERLAP_LIMIT) -> Found:
    """Keep the best of every group of overlapping boxes (greedy non-maximum suppression)."""
    order = np.argsort(-found.scores, kind="stable")[:TOP]
    found = found.take(order)
    left, top = found.boxes[:, 0], found.boxes[:, 1]
    right, bottom = left + found.boxes[:, 2], top + found.boxes[:, 3]
    area = found.boxes[:, 2] * found.boxes[:, 3]
    alive = np.ones(len(found), bool)
    kept: list[int] = []
    for at in range(len(found)):
        if not alive[at]:
            continue
        kept.append(at)
        across = np.clip(np.minimum(right, right[at]) - np.maximum(left, left[at]), 0, None)
        down = np.clip(np.minimum(bottom, bottom[at]) - np.maximum(top, top[at]), 0, None)
        shared = across * down
        alive &= shared <= limit * (area + area[at] - shared)
    return found.take(np.array(kept, np.intp))


def merged(passes: list[Found]) -> Found:
    return suppress(
        Found(
            np.concatenate([each.boxes for each in passes]),
            np.concatenate([each.scores for each in passes]),
            np.concatenate([each.points for each in passes]),
        )
    )
