"""Which square of the picture each network is given, from the face's box and its five landmarks.

Knows geometry only. Every network sees faces as it saw them in training: upright, and as large. Where it was trained on
another detector's boxes, the shift and the scale between those and ours were measured on 700 photographs of LFW (no
labels are needed for that).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from countenance.biometrics import DetectedFace
from countenance.recognition.alignment import cut, inverse_of, similarity_transform

MESH_SCALE: Final = 1.385
"""Side of the mesh's square in heights of our box, so that the mesh's own extent takes two thirds of it, as in
MediaPipe's tracking (side 1.5 times the extent, face_landmarks_detector_graph.cc)."""

EXPRESSION_SCALE: Final = 1.0
EXPRESSION_LIFT: Final = 0.077
"""OpenCV's Haar boxes with the margin that fer adds to them: as high as ours, with the middle higher by this share."""

DLIB_TEMPLATE: Final[NDArray[np.float64]] = np.array(
    [[0.2949, 0.2950], [0.7051, 0.2950], [0.5000, 0.5213], [0.3245, 0.6980], [0.6755, 0.6980]]
)
"""Where our five landmarks lie in the chips that dlib cuts with padding 0.2 by its own five (eye corners and the
bottom of the nose; get_face_chip_details in dlib's image_transforms/interpolation.h), in sides of the chip."""

_ORDER: Final = ("eye_left", "eye_right", "nose", "mouth_left", "mouth_right")


@dataclass(frozen=True, slots=True)
class Cut:
    """Pixels for a network, and how to get from them back to the picture."""

    pixels: NDArray[np.uint8]
    """side x side x 3."""
    inverse: NDArray[np.float64]
    """2 x 3, from pixels of the cut to pixels of the picture that it was cut from."""


def upright(pixels: NDArray[np.uint8], face: DetectedFace, side: int, *, scale: float, lift: float = 0.0) -> Cut:
    """A square around the face's box, turned so that the eyes are level.

    Args:
        pixels: H x W x 3.
        face: in ratios of that picture.
        side: pixels of the cut.
        scale: of its side, in heights of the box.
        lift: how far its middle lies above the box's, in heights of the box.
    """
    height, width = pixels.shape[:2]
    eyes = five_points(face, pixels)[:2]
    across = eyes[1] - eyes[0]
    angle = math.atan2(across[1], across[0])
    cosine, sine = math.cos(angle), math.sin(angle)
    tall = face.box.height * height
    middle = np.array([face.box.left + face.box.width / 2, face.box.top + face.box.height / 2]) * [width, height]
    middle += np.array([sine, -cosine]) * lift * tall
    linear = np.array([[cosine, -sine], [sine, cosine]]) * (tall * scale / side)
    # Pixel centres are at whole numbers: the middle of a square of n pixels is at (n - 1) / 2.
    inverse = np.column_stack([linear, middle - linear @ np.full(2, (side - 1) / 2)])
    return Cut(cut(pixels, inverse, side), inverse)


def dlib_chip(pixels: NDArray[np.uint8], face: DetectedFace, side: int) -> Cut:
    """The face as dlib's networks were given it."""
    transform = similarity_transform(five_points(face, pixels), DLIB_TEMPLATE * (side - 1))
    inverse = inverse_of(transform)
    if inverse is None:
        inverse = np.zeros((2, 3))
        return Cut(np.zeros((side, side, 3), np.uint8), inverse)
    return Cut(cut(pixels, inverse, side), inverse)


def five_points(face: DetectedFace, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The face's landmarks, 5 x 2, in pixels of the picture."""
    by_kind = {each.kind: each for each in face.landmarks}
    height, width = pixels.shape[:2]
    return np.array([[by_kind[kind].x * width, by_kind[kind].y * height] for kind in _ORDER])
