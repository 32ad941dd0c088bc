"""From the Image member of a request to an analysed image.

Exactly one of Bytes and S3Object is given (`wire.constraints` saw to it). Everything that looks at pixels
goes through here, so that both doors have the same limits.
"""

from __future__ import annotations

import hashlib
from typing import Any

from countenance.biometrics import DetectedFace
from countenance.operations.context import Invocation
from countenance.recognition import Analysis
from countenance.recognition.quality import rejection_reasons

MAX_FACES = 100
"""DetectFaces, CompareFaces and IndexFaces look at the 100 largest faces (API reference of each)."""


def image_bytes(call: Invocation, image: dict[str, Any]) -> bytes:
    """The bytes of an Image structure, fetched when it names an S3 object."""
    if (given := image.get("Bytes")) is not None:
        return bytes(given)
    place = image["S3Object"]
    return call.service.source.fetch(call.account_id, place["Bucket"], place["Name"], place.get("Version"))


def analyse(call: Invocation, image: dict[str, Any]) -> Analysis:
    """Finds the faces of an Image structure, largest first."""
    return analyse_bytes(call, image_bytes(call, image))


def analyse_bytes(call: Invocation, given: bytes) -> Analysis:
    """Finds the faces of an image, largest first."""
    call.trace.images.append(hashlib.sha256(given).digest())  # also when it turns out to be no image
    return call.service.engine.analyse(given, max_faces=MAX_FACES)


def faces_of_quality(analysis: Analysis, level: str) -> list[DetectedFace]:
    """The faces that pass a QualityFilter, largest first."""
    return [
        face
        for face in analysis.faces
        if not rejection_reasons(face, image_width=analysis.width, image_height=analysis.height, level=level)
    ]
