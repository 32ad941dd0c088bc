"""DetectFaces."""

from __future__ import annotations

from typing import Any

from countenance.operations.context import Invocation
from countenance.operations.images import analyse
from countenance.operations.render import face_detail


def detect_faces(call: Invocation, params: dict[str, Any]) -> dict[str, Any]:
    """Every face of an image with what was measured on it; an image without a face is an empty list.

    Attributes that this server does not estimate yet (age range, emotions and so on) are left out of the
    answer, as the service model allows, and listed in docs/reference/compatibility.md; none is invented.
    """
    analysis = analyse(call, params["Image"])
    return {"FaceDetails": [face_detail(face) for face in analysis.faces]}
