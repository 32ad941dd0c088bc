"""Five landmarks -> the upright 112 x 112 crop that the features were trained on.

Knows geometry only. The similarity transform (rotation, one scale, shift) with the least squared error is
Umeyama's closed form (S. Umeyama, "Least-squares estimation of transformation parameters between two point
patterns", IEEE PAMI 13(4), 1991); the template of five points is the one published with ArcFace (J. Deng et al.,
"ArcFace", CVPR 2019, reference code of InsightFace) that SFace was trained on as well.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from countenance.recognition.resampling import shrunk, warped

CROP: Final = 112
"""Side of the crop in pixels."""

TEMPLATE: Final[NDArray[np.float64]] = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)
"""Eye, eye, nose tip, mouth corner, mouth corner, the viewer's left first, in pixels of the crop."""

Points = NDArray[np.float64]


def similarity_transform(points: Points, template: Points = TEMPLATE) -> NDArray[np.float64]:
    """The 2 x 3 matrix that carries `points` (5 x 2, pixels) onto the template with the least squared error."""
    # A rotation with a scale is one complex factor in the plane, and its least squares a quotient of two sums. That
    # is Umeyama's solution without its general case: mirror images are left out, as there.
    source = points[:, 0] + 1j * points[:, 1]
    middle = source.mean()
    centred = source - middle
    spread = float((centred.real**2 + centred.imag**2).sum())
    target = template[:, 0] + 1j * template[:, 1]
    aim = target.mean()
    factor = complex(centred.conj() @ (target - aim)) / spread if spread > 0 else 0j
    shift = aim - factor * middle
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def magnification(points: Points) -> float:
    """Crop pixels per picture pixel; above 1 the picture has fewer pixels on the face than the crop wants."""
    transform = similarity_transform(points)
    return float(np.hypot(transform[0, 0], transform[1, 0]))


def crop(pixels: NDArray[np.uint8], points: Points) -> NDArray[np.uint8]:
    """Cut one face out, upright and at the template's scale.

    Args:
        pixels: H x W x 3.
        points: 5 x 2 in pixels of `pixels`, pixel centres at whole numbers.

    Returns:
        uint8 112 x 112 x 3; black where the picture ends.
    """
    inverse = inverse_of(similarity_transform(points))
    return np.zeros((CROP, CROP, 3), np.uint8) if inverse is None else cut(pixels, inverse, CROP)


def inverse_of(transform: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """The 2 x 3 matrix that undoes a similarity transform; None when it has no extent."""
    determinant = transform[0, 0] ** 2 + transform[1, 0] ** 2
    if not determinant > 0:
        return None
    linear = np.array([[transform[0, 0], transform[1, 0]], [transform[0, 1], transform[0, 0]]]) / determinant
    return np.column_stack([linear, -linear @ transform[:, 2]])


def cut(pixels: NDArray[np.uint8], inverse: NDArray[np.float64], side: int) -> NDArray[np.uint8]:
    """A square of the picture, turned.

    Args:
        pixels: H x W x 3.
        inverse: 2 x 3, a similarity transform from positions in the square to positions in `pixels`.
        side: pixels of the square.

    Returns:
        uint8 side x side x 3; black where the picture ends.
    """
    height, width = pixels.shape[:2]
    linear, offset = inverse[:, :2], inverse[:, 2]
    corners = np.array([[0, 0], [side, 0], [0, side], [side, side]]) @ linear.T + offset
    # Bilinear sampling reads four pixels: a face much larger than the crop is averaged down first.
    by = max(1, int(math.hypot(linear[0, 0], linear[1, 0])))
    left, top = np.floor(corners.min(axis=0)).astype(int) - 2 * by
    right, bottom = np.ceil(corners.max(axis=0)).astype(int) + 3 * by
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if right - left < 2 * by or bottom - top < 2 * by:
        return np.zeros((side, side, 3), np.uint8)
    source = shrunk(pixels[top:bottom, left:right], by)
    # The centre of a block of pixels 0 to by - 1 lies at (by - 1) / 2.
    offset = (offset - [left, top] - (by - 1) / 2) / by
    return warped(source, np.column_stack([linear / by, offset]), side)
