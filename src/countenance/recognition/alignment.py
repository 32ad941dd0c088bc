"""Five landmarks -> the upright 112 x 112 crop that the features were trained on.

Knows geometry only. The similarity transform (rotation, one scale, shift) with the least squared error is
Umeyama's closed form (S. Umeyama, "Least-squares estimation of transformation parameters between two point
patterns", IEEE PAMI 13(4), 1991); the template of five points is the one published with ArcFace (J. Deng et al.,
"ArcFace", CVPR 2019, reference code of InsightFace) that SFace was trained on as well.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

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


def similarity_transform(points: Points) -> NDArray[np.float64]:
    """The 2 x 3 matrix that carries `points` (5 x 2, pixels) onto the template with the least squared error."""
    source, target = points.mean(axis=0), TEMPLATE.mean(axis=0)
    centred = points - source
    covariance = (TEMPLATE - target).T @ centred / len(points)
    left, singular, right = np.linalg.svd(covariance)
    mirror = np.array([1.0, np.sign(np.linalg.det(left) * np.linalg.det(right)) or 1.0])
    rotation = left @ np.diag(mirror) @ right
    spread = float((centred**2).sum() / len(points))
    scale = float((singular * mirror).sum()) / spread if spread > 0 else 0.0
    linear = scale * rotation
    return np.column_stack([linear, target - linear @ source])


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
    transform = similarity_transform(points)
    scale = np.hypot(transform[0, 0], transform[1, 0])
    height, width = pixels.shape[:2]
    if not scale > 0:
        return np.zeros((CROP, CROP, 3), np.uint8)
    inverse = np.linalg.inv(np.vstack([transform, [0, 0, 1]]))[:2]
    corners = np.array([[0, 0], [CROP, 0], [0, CROP], [CROP, CROP]]) @ inverse[:, :2].T + inverse[:, 2]
    left, top = np.floor(corners.min(axis=0)).astype(int) - 2
    right, bottom = np.ceil(corners.max(axis=0)).astype(int) + 3
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if right - left < 2 or bottom - top < 2:
        return np.zeros((CROP, CROP, 3), np.uint8)
    source = Image.fromarray(pixels[top:bottom, left:right])
    shift = np.array([left, top], np.float64)
    # Bilinear sampling reads four pixels: a face much larger than the crop is averaged down first, or every
    # second pixel would be skipped and fine structure turn into noise.
    shrink = max(1, int(1 / scale))
    if shrink > 1:
        source = source.reduce(shrink)
    # Pillow maps output pixel centres (x + 0.5, y + 0.5) to input positions counted from the pixel's corner.
    linear = inverse[:, :2]
    offset = (inverse[:, 2] - shift - linear @ [0.5, 0.5] + 0.5) / shrink
    linear = linear / shrink
    coefficients = (linear[0, 0], linear[0, 1], offset[0], linear[1, 0], linear[1, 1], offset[1])
    warped = source.transform(
        (CROP, CROP), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR, fillcolor=(0, 0, 0)
    )
    return np.asarray(warped)
