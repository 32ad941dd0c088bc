"""From house values to AWS structures: the one place where ISO words turn into Amazon's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from countenance.biometrics import Attributes, BoundingBox, DetectedFace, Landmark, Reference
from countenance.operations.attributes import rendered

LANDMARK_TYPES = {
    "eye_left": "eyeLeft",
    "eye_right": "eyeRight",
    "nose": "nose",
    "mouth_left": "mouthLeft",
    "mouth_right": "mouthRight",
    "left_eye_brow_left": "leftEyeBrowLeft",
    "left_eye_brow_right": "leftEyeBrowRight",
    "left_eye_brow_up": "leftEyeBrowUp",
    "right_eye_brow_left": "rightEyeBrowLeft",
    "right_eye_brow_right": "rightEyeBrowRight",
    "right_eye_brow_up": "rightEyeBrowUp",
    "left_eye_left": "leftEyeLeft",
    "left_eye_right": "leftEyeRight",
    "left_eye_up": "leftEyeUp",
    "left_eye_down": "leftEyeDown",
    "right_eye_left": "rightEyeLeft",
    "right_eye_right": "rightEyeRight",
    "right_eye_up": "rightEyeUp",
    "right_eye_down": "rightEyeDown",
    "nose_left": "noseLeft",
    "nose_right": "noseRight",
    "mouth_up": "mouthUp",
    "mouth_down": "mouthDown",
    "left_pupil": "leftPupil",
    "right_pupil": "rightPupil",
    "upper_jawline_left": "upperJawlineLeft",
    "mid_jawline_left": "midJawlineLeft",
    "chin_bottom": "chinBottom",
    "mid_jawline_right": "midJawlineRight",
    "upper_jawline_right": "upperJawlineRight",
}
"""All of Amazon's LandmarkType, the five that DEFAULT holds first; left and right are the viewer's."""

REASONS = {
    "extreme_pose": "EXTREME_POSE",
    "low_brightness": "LOW_BRIGHTNESS",
    "low_sharpness": "LOW_SHARPNESS",
    "low_confidence": "LOW_CONFIDENCE",
    "small_bounding_box": "SMALL_BOUNDING_BOX",
    "low_face_quality": "LOW_FACE_QUALITY",
}
"""Reasons of a rejection, as the service model's Reason enum has them."""


def bounding_box(box: BoundingBox) -> dict[str, float]:
    """BoundingBox: ratios of the whole image; may reach past its border."""
    return {"Width": box.width, "Height": box.height, "Left": box.left, "Top": box.top}


def reasons(words: Iterable[str]) -> list[str]:
    """Reasons of UnindexedFace."""
    return [REASONS[word] for word in words]


def landmarks(points: Iterable[Landmark]) -> list[dict[str, Any]]:
    """Landmarks: ratios of the whole image."""
    return [{"Type": LANDMARK_TYPES[point.kind], "X": point.x, "Y": point.y} for point in points]


def compared_face(found: DetectedFace) -> dict[str, Any]:
    """ComparedFace; the members it shares with FaceDetail under DEFAULT attributes.

    Emotions and Smile, which the structure has too, are RecognizeCelebrities': the description of CompareFaces lists
    what it gives, without them.
    """
    return {
        "BoundingBox": bounding_box(found.box),
        "Confidence": found.detection_confidence,
        "Landmarks": landmarks(found.landmarks),
        "Pose": {"Roll": found.pose.roll, "Yaw": found.pose.yaw, "Pitch": found.pose.pitch},
        "Quality": {"Brightness": found.quality.brightness, "Sharpness": found.quality.sharpness},
    }


def face_detail(found: DetectedFace, attributes: Attributes | None = None) -> dict[str, Any]:
    """FaceDetail with the DEFAULT attributes, and what else was estimated."""
    detail = compared_face(found)
    if attributes is not None:
        detail["Landmarks"] += landmarks(attributes.landmarks)
        detail |= rendered(attributes)
    return detail


def face(reference: Reference) -> dict[str, Any]:
    """Face: the stored record."""
    rendered: dict[str, Any] = {
        "FaceId": reference.face_id,
        "BoundingBox": bounding_box(reference.box),
        "ImageId": reference.image_id,
        "Confidence": reference.detection_confidence,
        "IndexFacesModelVersion": reference.model_version,
    }
    if reference.external_image_id is not None:
        rendered["ExternalImageId"] = reference.external_image_id
    if reference.user_id is not None:
        rendered["UserId"] = reference.user_id
    return rendered
