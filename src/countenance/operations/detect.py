"""DetectFaces."""

from __future__ import annotations

from typing import Any

from countenance.operations.attributes import estimated
from countenance.operations.context import Invocation
from countenance.operations.images import analyse
from countenance.operations.render import face_detail


def detect_faces(call: Invocation, params: dict[str, Any]) -> dict[str, Any]:
    """Every face of an image with what was measured on it; an image without a face is an empty list.

    Attributes that are asked for and not estimated here are left out of the answer, as the service model allows, and
    listed in docs/reference/compatibility.md; none is invented.
    """
    analysis = analyse(call, params["Image"])
    attributes = estimated(call, analysis, analysis.faces, params.get("Attributes"))
    return {"FaceDetails": [face_detail(*each) for each in zip(analysis.faces, attributes, strict=True)]}
