"""IndexFaces, ListFaces, DeleteFaces."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from countenance.biometrics import DetectedFace, Reference
from countenance.gallery import Enrolment
from countenance.operations.attributes import estimated
from countenance.operations.collections import DEFAULT_PAGE, comparable_collection
from countenance.operations.context import Invocation
from countenance.operations.faults import LimitReached
from countenance.operations.identifiers import face_id, image_id
from countenance.operations.images import analyse
from countenance.operations.render import face, face_detail, reasons
from countenance.recognition import Analysis
from countenance.recognition.quality import rejection_reasons


def index_faces(call: Invocation, params: dict[str, Any]) -> dict[str, Any]:
    """Enrols the faces of an image.

    The order of filtering is Amazon's: first the quality filter (AUTO unless the call says otherwise), then
    the smallest of what is left beyond MaxFaces. Every face not enrolled is reported with its reasons.
    """
    gallery, engine = call.service.gallery, call.service.engine
    collection = comparable_collection(call, params["CollectionId"])
    call.service.governance.progress.refuse_erased(call.account_id, params.get("ExternalImageId", ""))
    analysis = analyse(call, params["Image"])

    level = params.get("QualityFilter", "AUTO")
    usable: list[DetectedFace] = []
    unindexed: list[tuple[DetectedFace, list[str]]] = []
    for found in analysis.faces:
        against = rejection_reasons(found, image_width=analysis.width, image_height=analysis.height, level=level)
        if against:
            unindexed.append((found, reasons(against)))
        else:
            usable.append(found)
    if (most := params.get("MaxFaces")) is not None:
        unindexed += [(found, ["EXCEEDS_MAX_FACES"]) for found in usable[most:]]
        usable = usable[:most]

    # Before anything is stored: a call that is refused here for want of time leaves no references behind.
    of_unindexed = [found for found, _ in unindexed]
    attributes = estimated(call, analysis, [*usable, *of_unindexed], params.get("DetectionAttributes"))
    details = [face_detail(*each) for each in zip([*usable, *of_unindexed], attributes, strict=True)]

    enrolled: list[Reference] = []
    if usable:
        most = call.service.most(call.account_id, "faces")
        if most is not None and collection.face_count >= most:
            raise LimitReached(f"The collection has {most} faces, which is its quota.")
        crops: Sequence[NDArray[np.uint8] | None] = [None] * len(usable)
        if call.service.keeps_crops:
            features, kept = engine.extract_with_crops(analysis, usable)
            crops = list(kept)
        else:
            features = engine.extract(analysis, usable)
        references = _references(call, analysis, usable, params.get("ExternalImageId"))
        enrolled = gallery.enrol(
            call.account_id,
            collection.collection_id,
            [Enrolment(*each) for each in zip(references, features, crops, strict=True)],
            entry=call.entry(
                {
                    "collection_id": collection.collection_id,
                    "faces": len(references),
                    **({"crops": len(references)} if call.service.keeps_crops else {}),
                }
            ),
        )
        call.trace.face_ids += [reference.face_id for reference in enrolled]
        if params.get("ExternalImageId") is not None:
            call.trace.external_image_ids.append(params["ExternalImageId"])
    return {
        "FaceRecords": [
            {"Face": face(reference), "FaceDetail": detail}
            for reference, detail in zip(enrolled, details[: len(usable)], strict=True)
        ],
        "FaceModelVersion": collection.model_version,
        "UnindexedFaces": [
            {"Reasons": why, "FaceDetail": detail}
            for (_, why), detail in zip(unindexed, details[len(usable) :], strict=True)
        ],
    }


def _references(
    call: Invocation, analysis: Analysis, faces: list[DetectedFace], external_image_id: str | None
) -> list[Reference]:
    id_key = call.service.accounts.id_key(call.account_id)
    model_version = call.service.engine.model_version
    image = image_id(id_key, analysis.sha256)
    return [
        Reference(
            face_id=face_id(
                id_key,
                model_version=model_version,
                image_sha256=analysis.sha256,
                external_image_id=external_image_id,
                pixel_box=found.pixel_box,
            ),
            image_id=image,
            external_image_id=external_image_id,
            box=found.box,
            detection_confidence=found.detection_confidence,
            model_version=model_version,
            enrolled_at=call.at,
        )
        for found in faces
    ]


def list_faces(call: Invocation, params: dict[str, Any]) -> dict[str, Any]:
    """A page of a collection's faces in the order in which they were enrolled."""
    gallery, cursors = call.service.gallery, call.service.cursors
    collection = gallery.collection(call.account_id, params["CollectionId"])
    user_id = params.get("UserId")
    limit = params.get("MaxResults") or DEFAULT_PAGE
    wanted = params.get("FaceIds")
    filters = hashlib.sha256("\n".join([*(wanted or ()), f"user {user_id}"]).encode()).hexdigest()
    scope = (call.account_id, call.operation, collection.collection_id, str(collection.uid), filters)
    token = params.get("NextToken")
    after = cursors.read(token, *scope, at=call.at) if token is not None else None
    found = gallery.references(
        call.account_id, collection.collection_id, after_seq=after, limit=limit + 1, face_ids=wanted, user_id=user_id
    )
    page = found[:limit]
    result: dict[str, Any] = {
        "Faces": [face(reference) for _, reference in page],
        "FaceModelVersion": collection.model_version,
    }
    if len(found) > limit:
        result["NextToken"] = cursors.issue(page[-1][0], *scope, at=call.at)
    return result


def delete_faces(call: Invocation, params: dict[str, Any]) -> dict[str, Any]:
    """Erases faces; those that the collection does not hold, or that belong to a user, are reported, not refused."""
    wanted = list(dict.fromkeys(params["FaceIds"]))
    collection_id = params["CollectionId"]
    erased = call.service.gallery.erase(
        call.account_id,
        collection_id,
        wanted,
        entry=call.entry({"collection_id": collection_id, "asked": len(wanted)}),
        spares_users=True,
    )
    call.trace.face_ids += erased
    gone = set(erased)
    left = [face_id for face_id in wanted if face_id not in gone]
    kept = {
        reference.face_id: reference.user_id
        for _, reference in call.service.gallery.references(
            call.account_id, collection_id, after_seq=None, limit=len(left), face_ids=left
        )
    }
    return {
        "DeletedFaces": [face_id for face_id in wanted if face_id in gone],
        "UnsuccessfulFaceDeletions": [_not_deleted(face_id, kept.get(face_id)) for face_id in left],
    }


def _not_deleted(face_id: str, user_id: str | None) -> dict[str, Any]:
    if user_id is None:
        return {"FaceId": face_id, "Reasons": ["FACE_NOT_FOUND"]}
    return {"FaceId": face_id, "UserId": user_id, "Reasons": ["ASSOCIATED_TO_AN_EXISTING_USER"]}
