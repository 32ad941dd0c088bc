"""How good a face is for recognising somebody: brightness, sharpness, pose, and the reasons to refuse it.

Knows the pixels and five landmarks of one face. Scales and signs follow what clients of Amazon Rekognition see:
brightness and sharpness in [0, 100]; roll positive when the head leans clockwise in the picture, yaw positive
towards the viewer's right, pitch positive upwards (read off the samples in botocore's service model, whose
landmarks show the same heads).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from countenance.biometrics import DetectedFace, Pose, Quality
from countenance.recognition.resampling import shrunk

Points = NDArray[np.float64]

_LUMA: Final = np.array([0.299, 0.587, 0.114])
"""ITU-R BT.601, the weights of JPEG's own Y."""

_MEAN_FACE: Final[Points] = np.array(
    [
        [-31.5, 36.0, 0.0],
        [31.5, 36.0, 0.0],
        [0.0, 0.0, 26.0],
        [-26.0, -36.8, 2.0],
        [26.0, -36.8, 2.0],
    ]
)
"""Eyes, nose tip, mouth corners in millimetres, x to the viewer's right, y up, z towards the viewer."""
_FITTING: Final = np.linalg.pinv(_MEAN_FACE - _MEAN_FACE.mean(axis=0))
"""3 x 5: what is seen -> the affine camera with the least squared error."""

_MEASURED_SIDE: Final = 128
_SHARP: Final = 12.0


def measure(pixels: NDArray[np.uint8], box: tuple[float, float, float, float]) -> Quality:
    """Brightness and sharpness of a face.

    Args:
        pixels: H x W x 3, R G B.
        box: left, top, width, height in pixels of `pixels`; may reach outside.
    """
    height, width = pixels.shape[:2]
    left, top = max(0, math.floor(box[0])), max(0, math.floor(box[1]))
    right, bottom = min(width, math.ceil(box[0] + box[2])), min(height, math.ceil(box[1] + box[3]))
    if right - left < 3 or bottom - top < 3:
        return Quality(brightness=0.0, sharpness=0.0)
    face = pixels[top:bottom, left:right]
    shrink = max(1, math.ceil(max(face.shape[:2]) / _MEASURED_SIDE))
    if shrink > 1:
        face = shrunk(face, shrink)
    luma = face @ _LUMA
    contrast = float(luma.std()) + 1.0
    laplace = 4 * luma[1:-1, 1:-1] - luma[1:-1, 2:] - luma[1:-1, :-2] - luma[2:, 1:-1] - luma[:-2, 1:-1]
    edge = float(np.sqrt((laplace**2).mean())) / contrast
    return Quality(
        brightness=float(np.clip(luma.mean() / 2.55, 0, 100)),
        sharpness=float(100 * (1 - math.exp(-edge * _SHARP / 4))),
    )


def pose(points: Points) -> Pose:
    """Head rotation from five landmarks (5 x 2, pixels, y down), by scaled orthographic projection.

    The affine camera with the least squared error is found in closed form, then made a rotation (the first step
    of D. DeMenthon and L. Davis, "Model-based object pose in 25 lines of code", IJCV 15, 1995).
    """
    seen = (points - points.mean(axis=0)) * [1.0, -1.0]
    camera = (_FITTING @ seen).T
    first = camera[0] / (np.linalg.norm(camera[0]) + 1e-12)
    second = camera[1] / (np.linalg.norm(camera[1]) + 1e-12)
    u, _, v = np.linalg.svd(np.vstack([first, second]), full_matrices=False)
    first, second = u @ v
    forward = np.cross(first, second)
    # Columns of the rotation's third column: where the face's own z axis (out of the nose) points.
    nose = np.array([first[2], second[2], forward[2]])
    yaw = math.degrees(math.atan2(nose[0], nose[2]))
    pitch = math.degrees(math.asin(float(np.clip(nose[1], -1, 1))))
    eyes = points[1] - points[0]
    roll = math.degrees(math.atan2(eyes[1], eyes[0]))
    return Pose(roll=roll, yaw=yaw, pitch=pitch)


WEIGHTS: Final = (-1.381, -2.752, -0.637, -0.435, 0.613, -0.054, 0.215, -0.38, -0.243, -0.546, 0.328, 0.236, 0.511)
"""Of `terms`: logistic regression on DevTrain's people of LFW View 1 and degraded copies of their photographs
(scripts/quality.py prints them)."""

LIMITS: Final = {"LOW": 0.5, "MEDIUM": 0.25, "HIGH": 0.1}
"""How likely a face may be missed, at Similarity 80 and by a good reference, to pass: LOW refuses what is more likely
missed than not, MEDIUM what is missed once in four times, HIGH once in ten. What each refuses: docs/accuracy.md."""

_FLOORS: Final = {"confidence": 70, "side": 16, "yaw": 75, "pitch": 60, "bright": 4, "sharp": 4}
"""Beyond everything that the weights were fitted on: refused at every level."""
_BARS: Final[dict[str, dict[str, float]]] = {
    "LOW": {"confidence": 86, "side": 24, "yaw": 55, "pitch": 45, "bright": 12, "sharp": 10},
    "MEDIUM": {"confidence": 88, "side": 32, "yaw": 45, "pitch": 35, "bright": 16, "sharp": 20},
    "HIGH": {"confidence": 90, "side": 60, "yaw": 30, "pitch": 25, "bright": 20, "sharp": 30},
}
"""What is named as the reason for refusing a face, and refuses none by itself."""


def terms(face: DetectedFace, *, image_width: int, image_height: int) -> NDArray[np.float64]:
    """What the risk of missing a face is worked out of: 13 numbers.

    Detection confidence, yaw, pitch, brightness, sharpness and the pixels of the shorter side, each with its square and
    scaled to about 1. Turned further than the landmarks can tell, darker than black or larger than a crop, faces are as
    good as at the limit.
    """
    side = min(face.box.width * image_width, face.box.height * image_height)
    told = (
        (face.detection_confidence - 90) / 5,
        min(abs(face.pose.yaw), 80.0) / 45,
        min(abs(face.pose.pitch), 60.0) / 30,
        math.log(max(face.quality.brightness, 1.0) / 40),
        math.log(max(face.quality.sharpness, 1.0) / 50),
        math.log(min(max(side, 1.0), 112.0) / 80),
    )
    return np.array([1.0, *(power for each in told for power in (each, each**2))])


def risk(given: NDArray[np.float64]) -> NDArray[np.float64]:
    """How likely faces are missed: n x 13 of `terms` -> n shares. The quality measure, upside down."""
    return np.asarray(1 / (1 + np.exp(-given @ np.array(WEIGHTS))))


def _flaws(face: DetectedFace, side: float, bar: Mapping[str, float]) -> list[str]:
    found = {
        "extreme_pose": abs(face.pose.yaw) > bar["yaw"] or abs(face.pose.pitch) > bar["pitch"],
        "low_brightness": face.quality.brightness < bar["bright"],
        "low_sharpness": face.quality.sharpness < bar["sharp"],
        "low_confidence": face.detection_confidence < bar["confidence"],
        "small_bounding_box": side < bar["side"],
    }
    return [name for name, is_there in found.items() if is_there]


def rejection_reasons(face: DetectedFace, *, image_width: int, image_height: int, level: str) -> tuple[str, ...]:
    """Why a face is not good enough at a level of NONE, LOW, MEDIUM, HIGH or AUTO; empty when it is.

    A face is refused when the risk that it is missed is above the level's limit, or nothing like it was measured. The
    reasons are the flaws that it shows; one that shows none of them, or several, is of low quality.

    Args:
        face: as `Engine.analyse` returned it.
        image_width: pixels of the upright image.
        image_height: pixels of the upright image.
        level: AUTO is LOW.
    """
    if level == "NONE":
        return ()
    level = "LOW" if level == "AUTO" else level
    side = min(face.box.width * image_width, face.box.height * image_height)
    missed = risk(terms(face, image_width=image_width, image_height=image_height)[None])[0]
    if missed <= LIMITS[level] and not _flaws(face, side, _FLOORS):
        return ()
    reasons = _flaws(face, side, _BARS[level])
    return tuple(reasons) if len(reasons) == 1 else (*reasons, "low_face_quality")
