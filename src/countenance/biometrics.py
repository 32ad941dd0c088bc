"""The nouns of face recognition, in the words of ISO/IEC 2382-37:2022.

Plain values that every part of the server may hold: where a face is, what was measured on it, the stored
record of an enrolled face and what a search returns. They know no pixels, no SQL and no AWS word.

Geometry is in ratios of the upright image: x grows to the right from 0 to 1 over the width, y grows
downwards from 0 to 1 over the height. A box of a face that the image border cuts may reach outside [0, 1].
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class BoundingBox:
    """An upright rectangle around a face, as ratios of the image's width and height."""

    left: float
    top: float
    width: float
    height: float

    @property
    def area(self) -> float:
        """Share of the image that the box covers."""
        return max(self.width, 0.0) * max(self.height, 0.0)

    def iou(self, other: BoundingBox) -> float:
        """Intersection over union with another box of the same image, in [0, 1]."""
        across = min(self.left + self.width, other.left + other.width) - max(self.left, other.left)
        down = min(self.top + self.height, other.top + other.height) - max(self.top, other.top)
        if across <= 0 or down <= 0:
            return 0.0
        shared = across * down
        return shared / (self.area + other.area - shared)


@dataclass(frozen=True, slots=True)
class Landmark:
    """One anatomical point, as ratios of the image. Left and right are the viewer's, not the subject's."""

    kind: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Pose:
    """Head rotation in degrees, each in [-180, 180]: roll in the image plane, yaw sideways, pitch up and down."""

    roll: float
    yaw: float
    pitch: float


@dataclass(frozen=True, slots=True)
class Quality:
    """Measured on the face's own pixels; both in [0, 100], higher is brighter or sharper."""

    brightness: float
    sharpness: float


@dataclass(frozen=True, slots=True)
class DetectedFace:
    """One face found in one image."""

    box: BoundingBox
    detection_confidence: float
    """In [0, 100]."""
    landmarks: tuple[Landmark, ...]
    pose: Pose
    quality: Quality
    pixel_box: tuple[int, int, int, int]
    """Left, top, width and height in whole pixels of the upright image, for identifiers that must not wobble."""


@dataclass(frozen=True, slots=True)
class AgeRange:
    """Whole years, both ends included."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether something is so."""

    holds: bool
    confidence: float
    """That `holds` is right, in [50, 100]."""


@dataclass(frozen=True, slots=True)
class Label:
    """One class of several, and how sure the estimator is of it, in [0, 100]."""

    kind: str
    confidence: float


@dataclass(frozen=True, slots=True)
class EyeDirection:
    """Where the eyes look, against the head, in degrees: yaw towards the viewer's right, pitch upwards."""

    yaw: float
    pitch: float
    confidence: float
    """In [0, 100]."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """What was estimated about one face, of what was asked for; None and empty: not asked for, or not estimated here.

    Soft biometrics: they are worked out for one answer and kept nowhere.
    """

    age_range: AgeRange | None = None
    gender: Label | None = None
    """Of kind `female` or `male`: how the face looks to the estimator, and nothing about who somebody is."""
    emotions: tuple[Label, ...] = ()
    """Expressions, the likeliest first; of kind angry, disgusted, fear, happy, sad, surprised or calm."""
    smile: Judgement | None = None
    eyes_open: Judgement | None = None
    mouth_open: Judgement | None = None
    eye_direction: EyeDirection | None = None
    landmarks: tuple[Landmark, ...] = ()
    """Those that a detected face does not have already."""


@dataclass(frozen=True, slots=True)
class Reference:
    """The stored record of one enrolled face, without its template."""

    face_id: str
    image_id: str
    external_image_id: str | None
    box: BoundingBox
    detection_confidence: float
    model_version: str
    enrolled_at: datetime
    user_id: str | None = None
    """The user that it belongs to, if any."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A reference that an identification returned, with its comparison score (cosine, in [-1, 1])."""

    reference: Reference
    comparison_score: float
