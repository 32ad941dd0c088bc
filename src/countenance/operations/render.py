"""From house values to AWS structures: the one place where ISO words turn into Amazon's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from countenance.biometrics import BoundingBox, DetectedFace, Reference

LANDMARK_TYPES = {
    "eye_left": "eyeLeft",
    "eye_right": "eyeRight",
    "nose": "nose",
    "mouth_left": "mouthLeft",
    "mouth_right": "mouthRight",
}
"""The five of Amazon's LandmarkType that DEFAULT attributes hold; left and right are the viewer's."""

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


def compared_face(found: DetectedFace) -> dict[str, Any]:
    """ComparedFace; the members it shares with FaceDetail under DEFAULT attributes."""
    return {
        "BoundingBox": bounding_box(found.box),
        "Confidence": found.detection_confidence,
        "Landmarks": [{"Type": LANDMARK_TYPES[point.kind], "X": point.x, "Y": point.y} for point in found.landmarks],
        "Pose": {"Roll": found.pose.roll, "Yaw": found.pose.yaw, "Pitch": found.pose.pitch},
        "Quality": {"Brightness": found.quality.brightness, "Sharpness": found.quality.sharpness},
    }


def face_detail(found: DetectedFace) -> dict[str, Any]:
    """FaceDetail with the DEFAULT attributes, which is what this server measures."""
    return compared_face(found)


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
