"""CreateUser, DeleteUser, ListUsers, AssociateFaces, DisassociateFaces, SearchUsers, SearchUsersByImage."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import numpy as np
from countenance_audit import canonical

from countenance.gallery import Collection, NotAssociated, Once, User, Why
from countenance.operations.collections import comparable_collection
from countenance.operations.context import Invocation
from countenance.operations.faults import NotOneOfTwo
from countenance.operations.images import analyse_bytes, image_bytes
from countenance.operations.render import face_detail, reasons
from countenance.operations.search import DEFAULT_SIMILARITY, FACE_IDS_NAMED, SCORE_SLACK
from countenance.recognition.quality import rejection_reasons

DEFAULT_ASSOCIATION: Final = 75.0
"""UserMatchThreshold of AssociateFaces when the call names none (API reference, AssociateFaces)."""
DEFAULT_USERS: Final = 500
"""Users returned when the call names no MaxUsers or MaxResults: the most that one call may return (API reference)."""
REASONS: Final[Mapping[Why, str]] = {
    Why.NOT_FOUND: "FACE_NOT_FOUND",
    Why.OTHER_USER: "ASSOCIATED_TO_A_DIFFERENT_USER",
    Why.LOW_MATCH: "LOW_MATCH_CONFIDENCE",
}
"""UnsuccessfulFaceAssociationReason and UnsuccessfulFaceDisassociationReason."""
CREATED: Final = "CREATED"
ACTIVE: Final = "ACTIVE"


def create_user(call: Invocation, params: dict[str, Any]) -> dict[str, Any]:
    """Makes a user without faces."""
    call.service.governance.progress.refuse_erased(call.account_id, params["UserId"])
    _named(call, params["UserId"])
    call.service.gallery.create_user(
        call.account_id,
        params["CollectionId"],
        params["UserId"],
        at=call.at,
        entry=call.entry({"collection_id": params["CollectionId"]}),
        once=_once(call, params),
        most=call.service.most(call.account_id, "users"),
    )
    return {}


def delete_user(call: Invocation, params: dict[str, Any]) -> dict[str, Any]:
    """Deletes a user; its faces stay in the collection."""
    _named(call, params["UserId"])
    call.service.gallery.delete_user(
        call.account_id,
        params["CollectionId"],
        params["UserId"],
        entry=call.entry({"collection_id": params["CollectionId"]}),
        once=_once(call, params),
    )
    return {}


def list_users(call: Invocation, params: dict[str, Any]) -> dict[str, Any]:
    """A page of a collection's users in the order in which they were made."""
    gallery, cursors = call.service.gallery, call.service.cursors
    collection = gallery.collection(call.account_id, params["CollectionId"])
    limit = params.get("MaxResults") or DEFAULT_USERS
    scope = (call.account_id, call.operation, collection.collection_id, str(collection.uid))
    token = params.get("NextToken")
    after = cursors.read(token, *scope, at=call.at) if token is not None else None
    found = gallery.users(call.account_id, collection.collection_id, after_seq=after, limit=limit + 1)
    page = found[:limit]
    result: dict[str, Any] = {"Users": [_user(each) for each in page]}
    if len(found) > limit:
        result["NextToken"] = cursors.issue(page[-1].seq, *scope, at=call.at)
    return result


def associate_faces(call: Invocation, params: dict[str, Any]) -> dict[str, Any]:
    """Puts faces under a user: those of nobody that are like what the user has."""
    gallery, calibration = call.service.gallery, call.service.engine.calibration
    comparable_collection(call, params["CollectionId"])
    call.service.governance.progress.refuse_erased(call.account_id, params["UserId"])
    threshold = float(params.get("UserMatchThreshold", DEFAULT_ASSOCIATION))
    _named(call, params["UserId"])
    done = gallery.associate(
        call.account_id,
        params["CollectionId"],
        params["UserId"],
        list(dict.fromkeys(params["FaceIds"])),
        is_same=lambda score: calibration.similarity(score) >= threshold,
        entry=call.entry({"collection_id": params["CollectionId"]}),
        once=_once(call, params),
    )
    call.trace.face_ids += done.face_ids
    return {
        "AssociatedFaces": [{"FaceId": each} for each in done.face_ids],
        "UnsuccessfulFaceAssociations": [_refused(call, each) for each in done.refused],
        "UserStatus": _status(done.user_faces),
    }


def disassociate_faces(call: Invocation, params: dict[str, Any]) -> dict[str, Any]:
    """Takes faces from a user; they stay in the collection."""
    _named(call, params["UserId"])
    done = call.service.gallery.disassociate(
        call.account_id,
        params["CollectionId"],
        params["UserId"],
        list(dict.fromkeys(params["FaceIds"])),
        entry=call.entry({"collection_id": params["CollectionId"]}),
        once=_once(call, params),
    )
    call.trace.face_ids += done.face_ids
    return {
        "DisassociatedFaces": [{"FaceId": each} for each in done.face_ids],
        "UnsuccessfulFaceDisassociations": [_refused(call, each) for each in done.refused],
        "UserStatus": _status(done.user_faces),
    }


def search_users(call: Invocation, params: dict[str, Any]) -> dict[str, Any]:
    """The users most similar to another user or to one face of the collection."""
    gallery, collection_id = call.service.gallery, params["CollectionId"]
    collection = comparable_collection(call, collection_id)
    user_id, face_id = params.get("UserId"), params.get("FaceId")
    if (user_id is None) == (face_id is None):
        raise NotOneOfTwo("Request has invalid parameters: either UserId or FaceId is given.")
    result: dict[str, Any] = {"UserMatches": [], "FaceModelVersion": collection.model_version}
    if user_id is not None:
        _named(call, user_id)
        result["SearchedUser"] = {"UserId": user_id}
        probe = gallery.features_of_user(call.account_id, collection_id, user_id)
    else:
        call.trace.face_ids.append(str(face_id))
        result["SearchedFace"] = {"FaceId": face_id}
        probe = gallery.features_of(call.account_id, collection_id, str(face_id))
    _searched(call, collection)
    if probe is not None:
        result["UserMatches"] = _identify(call, params, probe, exclude=user_id)
    return result


def search_users_by_image(call: Invocation, params: dict[str, Any]) -> dict[str, Any]:
    """The users most similar to the largest face of an image. An image without one is answered with no match."""
    engine = call.service.engine
    collection = comparable_collection(call, params["CollectionId"])
    image = image_bytes(call, params["Image"])
    analysis = analyse_bytes(call, image)
    level = params.get("QualityFilter", "NONE")
    usable, unsearched = [], []
    for found in analysis.faces:
        against = rejection_reasons(found, image_width=analysis.width, image_height=analysis.height, level=level)
        if against:
            unsearched.append({"FaceDetails": face_detail(found), "Reasons": reasons(against)})
        else:
            usable.append(found)
    unsearched += [{"FaceDetails": face_detail(found), "Reasons": ["FACE_NOT_LARGEST"]} for found in usable[1:]]
    result: dict[str, Any] = {
        "UserMatches": [],
        "FaceModelVersion": collection.model_version,
        "UnsearchedFaces": unsearched,
    }
    _searched(call, collection)
    if usable:
        result["SearchedFace"] = {"FaceDetail": face_detail(usable[0])}
        result["UserMatches"] = _identify(call, params, engine.extract(analysis, usable[:1])[0])
        if result["UserMatches"]:
            call.trace.matched_image = image
    return result


def _identify(
    call: Invocation, params: dict[str, Any], probe: np.ndarray, *, exclude: str | None = None
) -> list[dict[str, Any]]:
    calibration = call.service.engine.calibration
    threshold = float(params.get("UserMatchThreshold", DEFAULT_SIMILARITY))
    (found,) = call.service.gallery.identify_users(
        call.account_id,
        params["CollectionId"],
        probe[np.newaxis, :],
        max_candidates=params.get("MaxUsers", DEFAULT_USERS),
        # Only spares the gallery work: the decision below is made on the Similarity itself.
        minimum_score=calibration.comparison_score(threshold) - SCORE_SLACK,
        exclude_user_id=exclude,
    )
    scored = [(calibration.similarity(each.comparison_score), each.user) for each in found]
    matched = [(similarity, user) for similarity, user in scored if similarity >= threshold]
    call.trace.details["matches"] = len(matched)
    for _, user in matched[:FACE_IDS_NAMED]:
        _named(call, user.user_id)
    return [{"Similarity": similarity, "User": _user(user)} for similarity, user in matched]


def _searched(call: Invocation, collection: Collection) -> None:
    call.trace.details["matches"] = 0
    call.trace.reference_database = {
        "collection": collection.collection_id,
        "model": collection.model_version,
        "references": collection.user_count,
    }


def _user(user: User) -> dict[str, Any]:
    return {"UserId": user.user_id, "UserStatus": _status(user.faces)}


def _status(faces: int) -> str:
    """Aggregation is done when the call is answered, so no user is ever UPDATING."""
    return ACTIVE if faces else CREATED


def _refused(call: Invocation, each: NotAssociated) -> dict[str, Any]:
    refused: dict[str, Any] = {"FaceId": each.face_id, "Reasons": [REASONS[each.why]]}
    if each.user_id:
        refused["UserId"] = each.user_id
    if each.score is not None:
        refused["Confidence"] = call.service.engine.calibration.similarity(each.score)
    return refused


def _named(call: Invocation, user_id: str) -> None:
    """User ids are what a deployer calls people by, as external image ids are: in the person section only."""
    if user_id not in call.trace.external_image_ids:
        call.trace.external_image_ids.append(user_id)


def _once(call: Invocation, params: Mapping[str, Any]) -> Once | None:
    token = params.get("ClientRequestToken")
    if token is None:
        return None
    said = {name: value for name, value in params.items() if name != "ClientRequestToken"}
    if "UserMatchThreshold" in said:
        said["UserMatchThreshold"] = repr(float(said["UserMatchThreshold"]))  # canonical JSON has no fractions
    return Once(call.account_id, token, sha256(canonical.encode([call.operation, said])).digest(), call.at)
