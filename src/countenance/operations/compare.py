"""CompareFaces."""

from __future__ import annotations

from typing import Any

from countenance.operations.context import Invocation
from countenance.operations.faults import NoFaceInComparison
from countenance.operations.images import analyse, faces_of_quality
from countenance.operations.render import bounding_box, compared_face

DEFAULT_SIMILARITY = 80.0
"""SimilarityThreshold when the call names none (API reference, CompareFaces)."""


def compare_faces(call: Invocation, params: dict[str, Any]) -> dict[str, Any]:
    """The largest face of the source against every face of the target, most similar first."""
    engine = call.service.engine
    level = params.get("QualityFilter", "NONE")
    threshold = float(params.get("SimilarityThreshold", DEFAULT_SIMILARITY))

    source = analyse(call, params["SourceImage"])
    source_faces = faces_of_quality(source, level)
    target = analyse(call, params["TargetImage"])
    target_faces = faces_of_quality(target, level)
    if not source_faces or not target_faces:
        raise NoFaceInComparison("Request has invalid parameters")

    probe = engine.extract(source, source_faces[:1])[0]
    scores = engine.extract(target, target_faces) @ probe
    compared = [
        (engine.calibration.similarity(float(score)), face) for score, face in zip(scores, target_faces, strict=True)
    ]
    # Sorting is stable: equally similar faces stay largest first.
    compared.sort(key=lambda pair: pair[0], reverse=True)
    call.trace.details["matches"] = sum(similarity >= threshold for similarity, _ in compared)
    return {
        "SourceImageFace": {
            "BoundingBox": bounding_box(source_faces[0].box),
            "Confidence": source_faces[0].detection_confidence,
        },
        "FaceMatches": [
            {"Similarity": similarity, "Face": compared_face(face)}
            for similarity, face in compared
            if similarity >= threshold
        ],
        "UnmatchedFaces": [compared_face(face) for similarity, face in compared if similarity < threshold],
    }
