"""SearchFaces and SearchFacesByImage."""

from __future__ import annotations

from typing import Any

import numpy as np

from countenance.biometrics import Candidate
from countenance.operations.collections import comparable_collection
from countenance.operations.context import Invocation
from countenance.operations.faults import NoFaceInImage
from countenance.operations.images import analyse_bytes, faces_of_quality, image_bytes
from countenance.operations.render import bounding_box, face

DEFAULT_SIMILARITY = 80.0
"""FaceMatchThreshold when the call names none (API reference, SearchFaces and SearchFacesByImage)."""
SCORE_SLACK = 1e-4
"""Margin on the pre-selection by comparison score, above the rounding of a calibration curve and its inverse."""
FACE_IDS_NAMED = 100
"""Matches named in a search's entry, the best first: 4 KB. `matches` says how many there were."""
DEFAULT_CANDIDATES = 4096
"""Faces returned when the call names no MaxFaces: the most that one call may return (API reference)."""


def search_faces(call: Invocation, params: dict[str, Any]) -> dict[str, Any]:
    """The faces of a collection that are most similar to one of its own, without that one."""
    gallery = call.service.gallery
    collection_id, face_id = params["CollectionId"], params["FaceId"]
    collection = comparable_collection(call, collection_id)  # what a score means is known of the running model only
    call.trace.face_ids.append(face_id)
    probe = gallery.features_of(call.account_id, collection_id, face_id)
    matches = _identify(call, params, probe[np.newaxis, :], exclude_face_id=face_id)[0]
    return {
        "SearchedFaceId": face_id,
        "FaceMatches": matches,
        "FaceModelVersion": collection.model_version,
    }


def search_faces_by_image(call: Invocation, params: dict[str, Any]) -> dict[str, Any]:
    """The faces of a collection most similar to the largest face of an image, or to all of its faces.

    With the extension header, `FaceMatches` holds the best match of every enrolled face over all faces of the
    image, and `CountenanceSearchedFaces` the same per face, so that SDKs (which drop members they do not know)
    see the union and other clients the detail.
    """
    engine = call.service.engine
    collection = comparable_collection(call, params["CollectionId"])
    image = image_bytes(call, params["Image"])
    analysis = analyse_bytes(call, image)
    faces = faces_of_quality(analysis, params.get("QualityFilter", "NONE"))
    if not faces:
        raise NoFaceInImage("There are no faces in the image. Should be at least 1.")
    searched = faces if call.search_all_faces else faces[:1]
    matches = _identify(call, params, engine.extract(analysis, searched))
    if any(matches):
        call.trace.matched_image = image
    result: dict[str, Any] = {
        "SearchedFaceBoundingBox": bounding_box(searched[0].box),
        "SearchedFaceConfidence": searched[0].detection_confidence,
        "FaceMatches": matches[0],
        "FaceModelVersion": collection.model_version,
    }
    if call.search_all_faces:
        result["FaceMatches"] = _union(matches)[: params.get("MaxFaces", DEFAULT_CANDIDATES)]
        result["CountenanceSearchedFaces"] = [
            {
                "SearchedFaceBoundingBox": bounding_box(found.box),
                "SearchedFaceConfidence": found.detection_confidence,
                "FaceMatches": of_face,
            }
            for found, of_face in zip(searched, matches, strict=True)
        ]
    return result


def _identify(
    call: Invocation, params: dict[str, Any], probes: np.ndarray, *, exclude_face_id: str | None = None
) -> list[list[dict[str, Any]]]:
    calibration = call.service.engine.calibration
    threshold = float(params.get("FaceMatchThreshold", DEFAULT_SIMILARITY))
    found: list[list[Candidate]] = call.service.gallery.identify(
        call.account_id,
        params["CollectionId"],
        probes,
        max_candidates=params.get("MaxFaces", DEFAULT_CANDIDATES),
        # Only spares the gallery work: the decision below is made on the Similarity itself.
        minimum_score=calibration.comparison_score(threshold) - SCORE_SLACK,
        exclude_face_id=exclude_face_id,
    )
    collection = call.service.gallery.collection(call.account_id, params["CollectionId"])
    call.trace.reference_database = {
        "collection": collection.collection_id,
        "model": collection.model_version,
        "references": collection.face_count,
    }
    answer: list[list[dict[str, Any]]] = []
    for candidates in found:
        scored = [(calibration.similarity(one.comparison_score), one.reference) for one in candidates]
        answer.append(
            [
                {"Similarity": similarity, "Face": face(reference)}
                for similarity, reference in scored
                if similarity >= threshold
            ]
        )
    matched = [match["Face"]["FaceId"] for matches in answer for match in matches]
    call.trace.details["matches"] = len(matched)
    call.trace.face_ids += matched[:FACE_IDS_NAMED]
    return answer


def _union(matches: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    best: dict[str, dict[str, Any]] = {}
    for match in (one for of_face in matches for one in of_face):
        face_id = match["Face"]["FaceId"]
        if face_id not in best or match["Similarity"] > best[face_id]["Similarity"]:
            best[face_id] = match
    return sorted(best.values(), key=lambda match: (-match["Similarity"], match["Face"]["FaceId"]))
