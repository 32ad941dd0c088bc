"""The face mesh: 478 points of one face, and what their geometry says of its eyes and its mouth.

Knows which point of the mesh is what (MediaPipe's canonical face model, modules/face_geometry/data); knows no files and
no runtime. Left and right are the viewer's: the mesh's own names are the subject's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from countenance.biometrics import EyeDirection, Judgement, Landmark, Pose

LANDMARKS: Final = {
    "left_eye_brow_left": 70,
    "left_eye_brow_right": 107,
    "left_eye_brow_up": 105,
    "right_eye_brow_left": 336,
    "right_eye_brow_right": 300,
    "right_eye_brow_up": 334,
    "left_eye_left": 33,
    "left_eye_right": 133,
    "left_eye_up": 159,
    "left_eye_down": 145,
    "right_eye_left": 362,
    "right_eye_right": 263,
    "right_eye_up": 386,
    "right_eye_down": 374,
    "nose_left": 98,
    "nose_right": 327,
    "mouth_up": 0,
    "mouth_down": 17,
    "left_pupil": 468,
    "right_pupil": 473,
    "upper_jawline_left": 127,
    "mid_jawline_left": 58,
    "chin_bottom": 152,
    "mid_jawline_right": 288,
    "upper_jawline_right": 356,
}
"""The 25 beyond the five of a detected face. Which point of the brow, the nostril, the lip or the jaw each means was
read off the 30 positions in the sample answer of `detect-faces` in the AWS CLI's reference: the upper edge of the brow,
the nostril's lower corner, the outer edge of the lips, the jaw at the height of the eyes and of the mouth."""

LEFT_EYE: Final = (33, 160, 158, 133, 153, 144)
RIGHT_EYE: Final = (362, 385, 387, 263, 373, 380)
"""Corner, two points of the upper lid, corner, two of the lower lid: the six of the eye aspect ratio."""
_IRISES: Final = ((33, 133, 468), (362, 263, 473))
"""Left corner, right corner, middle of the iris."""
_LIPS: Final = (78, 13, 308, 14)
"""Inner edge of the mouth: left corner, upper lip, right corner, lower lip."""

EYES_OPEN_FROM: Final = 0.10
MOUTH_OPEN_FROM: Final = 0.10
"""Ratios from which they count as open: chosen by looking at 700 photographs of LFW View 1, before measuring."""

EYEBALL: Final = 0.4
"""Radius of an eyeball in widths of the eye: 12 mm in 30 mm (I. Bekerman et al., "Variations in eyeball diameters of
the healthy adults", J. Ophthalmol. 2014; the corners of an adult's lids are 28 to 32 mm apart)."""

MOUTH_SMILES: Final = (44, 45)
"""mouthSmileLeft and mouthSmileRight among the 52 blendshapes."""

TOLERANCE: Final = 10.0
"""Degrees within which an eye direction counts as right when its confidence is worked out."""


@dataclass(frozen=True, slots=True)
class Mesh:
    """One face's points and blendshapes."""

    points: NDArray[np.float64]
    """478 x 2, pixels of the upright cut, y downwards."""
    presence: float
    """Probability that the cut shows a face, by the network."""
    blendshapes: NDArray[np.float32]
    """52, each in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Noise:
    """How far the mesh's measures are off, in standard deviations; see docs/accuracy.md."""

    eyes: float
    """Of the eye aspect ratio, mean of both eyes."""
    mouth: float
    """Of the mouth's opening over its width."""
    gaze: float
    """Of the eyes' direction, in degrees."""
    gaze_per_degree: float
    """How much of the head's yaw leaks into it."""
    gaze_rest: float
    """Pitch, in degrees, at which the mean of many people's eyes is found."""


def landmarks(points: NDArray[np.float64], width: int, height: int) -> tuple[Landmark, ...]:
    """The 25, from points in pixels of the picture (478 x 2)."""
    return tuple(
        Landmark(kind, float(points[at, 0]) / width, float(points[at, 1]) / height) for kind, at in LANDMARKS.items()
    )


def eye_aspect_ratio(points: NDArray[np.float64]) -> float:
    """Height over width of the open part of an eye, mean of both (T. Soukupova and J. Cech, "Real-time eye blink
    detection using facial landmarks", CVWW 2016)."""
    return (aspect(points[list(LEFT_EYE)]) + aspect(points[list(RIGHT_EYE)])) / 2


def mouth_opening(points: NDArray[np.float64]) -> float:
    """Distance of the lips over the mouth's width, both between inner edges."""
    left, upper, right, lower = points[list(_LIPS)]
    return math.dist(upper, lower) / max(math.dist(left, right), 1e-6)


def eyes_open(mesh: Mesh, noise: Noise) -> Judgement:
    """Whether the eyes are open; both count together."""
    return _beyond(eye_aspect_ratio(mesh.points), EYES_OPEN_FROM, noise.eyes)


def mouth_open(mesh: Mesh, noise: Noise) -> Judgement:
    """Whether the lips are apart; teeth seen in a smile are an open mouth."""
    return _beyond(mouth_opening(mesh.points), MOUTH_OPEN_FROM, noise.mouth)


def smile(mesh: Mesh) -> Judgement:
    """Whether the corners of the mouth are drawn up, by the blendshapes; their value is the confidence."""
    drawn = float(np.clip(mesh.blendshapes[list(MOUTH_SMILES)].mean(), 0, 1))
    return Judgement(drawn > 0.5, 100 * max(drawn, 1 - drawn))


def eye_direction(mesh: Mesh, pose: Pose, noise: Noise) -> EyeDirection | None:
    """Where the eyes look, from where the irises lie between the corners; None when the eyes are closed.

    Each eye's corners are a little nearer to the nose than its middle, which cancels in the mean of both.
    """
    if eye_aspect_ratio(mesh.points) <= EYES_OPEN_FROM:
        return None
    sideways, upwards = eye_turns(mesh.points).mean(axis=0)
    spread = math.hypot(noise.gaze, noise.gaze_per_degree * pose.yaw)
    return EyeDirection(
        yaw=float(sideways),
        pitch=float(upwards) - noise.gaze_rest,
        confidence=100 * math.erf(TOLERANCE / spread / math.sqrt(2)),
    )


def eye_turns(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each eye is turned against its lids: left and right eye x yaw and pitch, in degrees."""
    return np.array([_turned(*points[list(each)]) for each in _IRISES])


def aspect(six: NDArray[np.float64]) -> float:
    """Height over width of an eye, from its six points."""
    heights = math.dist(six[1], six[5]) + math.dist(six[2], six[4])
    return heights / 2 / max(math.dist(six[0], six[3]), 1e-6)


def _turned(left: NDArray[np.float64], right: NDArray[np.float64], iris: NDArray[np.float64]) -> tuple[float, float]:
    """Degrees to the viewer's right and upwards that an eyeball has to turn for its iris to be where it is."""
    across = right - left
    width = max(float(np.hypot(*across)), 1e-6)
    along = across / width
    shift = (iris - (left + right) / 2) / (width * EYEBALL)
    sideways, upwards = float(shift @ along), float(shift @ [along[1], -along[0]])
    return math.degrees(math.asin(min(1.0, max(-1.0, sideways)))), math.degrees(math.asin(min(1.0, max(-1.0, upwards))))


def _beyond(value: float, threshold: float, deviation: float) -> Judgement:
    """Whether a measure is above a threshold, and how probably the true one is on the same side, the error being
    normal."""
    above = (1 + math.erf((value - threshold) / deviation / math.sqrt(2))) / 2
    return Judgement(value > threshold, 100 * max(above, 1 - above))
