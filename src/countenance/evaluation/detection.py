"""Faces found against faces labelled, photograph by photograph.

A labelled face is found when some box of the detector belongs to it: a box that contains the labelled point, or
one whose centre and the labelled box's are close. Each box serves one label, and the other way round.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from countenance.biometrics import BoundingBox

CENTRE_DISTANCE = 0.5
"""Centres at most this share of the labelled box's longer side apart. Overlap would punish labels of another
convention: dlib's boxes are square and cut the forehead and chin that YuNet's include."""

L = TypeVar("L")

Labelled = tuple[float, float] | tuple[float, float, float, float]
"""A point (x, y) or a box (left, top, right, bottom), in pixels."""


@dataclass(frozen=True, slots=True)
class PhotoCount:
    """One photograph's outcome."""

    labelled: int
    found: int
    """Labelled faces that were found."""
    extra: int
    """Boxes that belong to no label."""

    @property
    def missed(self) -> int:
        return self.labelled - self.found


def count_points(
    boxes: Sequence[BoundingBox], points: Sequence[tuple[float, float]], size: tuple[int, int]
) -> PhotoCount:
    """A point belongs to a box that contains it.

    Args:
        size: width and height of the photograph in pixels.
    """
    width, height = size

    def fits(box: BoundingBox, point: tuple[float, float]) -> bool:
        x, y = point[0] / width, point[1] / height
        return box.left <= x <= box.left + box.width and box.top <= y <= box.top + box.height

    return _count(boxes, points, fits)


def count_boxes(
    boxes: Sequence[BoundingBox], labels: Sequence[tuple[float, float, float, float]], size: tuple[int, int]
) -> PhotoCount:
    """A labelled box belongs to a box whose centre is near its own."""
    width, height = size

    def fits(box: BoundingBox, label: tuple[float, float, float, float]) -> bool:
        left, top, right, bottom = label
        across = (box.left + box.width / 2) * width - (left + right) / 2
        down = (box.top + box.height / 2) * height - (top + bottom) / 2
        return float(np.hypot(across, down)) <= CENTRE_DISTANCE * max(right - left, bottom - top)

    return _count(boxes, labels, fits)


def _count(boxes: Sequence[BoundingBox], labels: Sequence[L], fits: Callable[[BoundingBox, L], bool]) -> PhotoCount:
    allowed = np.array([[fits(box, label) for box in boxes] for label in labels], bool).reshape(len(labels), len(boxes))
    pairs = _largest_pairing(allowed)
    return PhotoCount(labelled=len(labels), found=pairs, extra=len(boxes) - pairs)


def _largest_pairing(allowed: NDArray[np.bool_]) -> int:
    """The most rows that can each have a column of their own (augmenting paths, Kuhn 1955)."""
    owner: dict[int, int] = {}

    def place(row: int, tried: set[int]) -> bool:
        for column in np.flatnonzero(allowed[row]).tolist():
            if column in tried:
                continue
            tried.add(column)
            if column not in owner or place(owner[column], tried):
                owner[column] = row
                return True
        return False

    return sum(place(row, set()) for row in range(allowed.shape[0]))
