"""CreateCollection, DescribeCollection, ListCollections, DeleteCollection."""

from __future__ import annotations

from typing import Any

from countenance.gallery import Collection, ModelMismatch
from countenance.operations.context import Invocation
from countenance.operations.faults import LimitReached
from countenance.operations.identifiers import CollectionArn

DEFAULT_PAGE = 1000
"""Rows in a page when the call names no MaxResults (or 0, which the service model allows). Amazon's API
reference states no default for ListCollections; 1,000 is what its other listings default to."""


def comparable_collection(call: Invocation, collection_id: str) -> Collection:
    """The collection, made sure of before an image is worked on: it exists and is of the model that runs.

    Raises:
        CollectionNotFound: the account has none of this name.
        ModelMismatch: its templates are of another model version; features of this one mean nothing among them.
    """
    collection = call.service.gallery.collection(call.account_id, collection_id)
    running = call.service.engine.model_version
    if collection.model_version != running:
        raise ModelMismatch(
            f"The collection is of face model {collection.model_version} and this server runs {running}; "
            "index its images into a new collection."
        )
    return collection


def _arn(call: Invocation, collection_id: str) -> CollectionArn:
    return CollectionArn(call.service.region, call.account_id, collection_id)


def create_collection(call: Invocation, params: dict[str, Any]) -> dict[str, Any]:
    """Makes an empty collection, pinned to the model version now in use."""
    collection_id = params["CollectionId"]
    tags = params.get("Tags") or {}
    engine = call.service.engine
    most = call.service.most(call.account_id, "collections")
    if most is not None and len(call.service.gallery.collections(call.account_id, after_uid=None, limit=most)) >= most:
        raise LimitReached(f"The account has {most} collections, which is its quota.")
    collection = call.service.gallery.create_collection(
        call.account_id,
        collection_id,
        model_version=engine.model_version,
        dimension=engine.dimension,
        tags=tags,
        entry=call.entry({"collection_id": collection_id, "model_version": engine.model_version, "tags": len(tags)}),
    )
    return {
        "StatusCode": 200,
        "CollectionArn": _arn(call, collection_id).without_scheme(),
        "FaceModelVersion": collection.model_version,
    }


def describe_collection(call: Invocation, params: dict[str, Any]) -> dict[str, Any]:
    """How many faces, which model, since when."""
    collection = call.service.gallery.collection(call.account_id, params["CollectionId"])
    return {
        "FaceCount": collection.face_count,
        "UserCount": collection.user_count,
        "FaceModelVersion": collection.model_version,
        "CollectionARN": str(_arn(call, collection.collection_id)),
        "CreationTimestamp": collection.created_at,
    }


def list_collections(call: Invocation, params: dict[str, Any]) -> dict[str, Any]:
    """A page of the account's collections in the order in which they were made."""
    limit = params.get("MaxResults") or DEFAULT_PAGE
    token = params.get("NextToken")
    scope = (call.account_id, call.operation)
    after = call.service.cursors.read(token, *scope, at=call.at) if token is not None else None
    # One more than asked for tells whether there is a next page without a second query.
    found: list[Collection] = call.service.gallery.collections(call.account_id, after_uid=after, limit=limit + 1)
    page = found[:limit]
    result: dict[str, Any] = {
        "CollectionIds": [collection.collection_id for collection in page],
        "FaceModelVersions": [collection.model_version for collection in page],
    }
    if len(found) > limit:
        result["NextToken"] = call.service.cursors.issue(page[-1].uid, *scope, at=call.at)
    return result


def delete_collection(call: Invocation, params: dict[str, Any]) -> dict[str, Any]:
    """Destroys the collection's key and everything in it."""
    collection_id = params["CollectionId"]
    call.service.gallery.delete_collection(
        call.account_id, collection_id, entry=call.entry({"collection_id": collection_id})
    )
    return {"StatusCode": 200}
