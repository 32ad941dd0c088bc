"""TagResource, UntagResource, ListTagsForResource. Collections are the resources that carry tags here."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from countenance.gallery import CollectionNotFound
from countenance.operations.context import Invocation
from countenance.operations.faults import ResourceNotFound
from countenance.operations.identifiers import parse_collection_arn


@contextmanager
def _collection(call: Invocation, arn: str) -> Iterator[str]:
    """The id in an ARN of this caller; what is done with it may find that there is no such collection.

    One answer for "another account's", "another region's" and "nobody's", so that ids cannot be probed.
    """
    parsed = parse_collection_arn(arn)
    if parsed is None or parsed.account_id != call.account_id or parsed.region != call.service.region:
        raise ResourceNotFound("The ARN names nothing of this account.")
    try:
        yield parsed.collection_id
    except CollectionNotFound:
        raise ResourceNotFound("The ARN names no collection.") from None


def tag_resource(call: Invocation, params: dict[str, Any]) -> dict[str, Any]:
    """Adds tags, replacing the values of keys that are there."""
    tags = params["Tags"]
    with _collection(call, params["ResourceArn"]) as collection_id:
        call.service.gallery.tag(
            call.account_id,
            collection_id,
            tags,
            entry=call.entry({"collection_id": collection_id, "tags": len(tags)}),
        )
    return {}


def untag_resource(call: Invocation, params: dict[str, Any]) -> dict[str, Any]:
    """Removes tags; keys that are not there are not an error."""
    keys = params["TagKeys"]
    with _collection(call, params["ResourceArn"]) as collection_id:
        call.service.gallery.untag(
            call.account_id,
            collection_id,
            keys,
            entry=call.entry({"collection_id": collection_id, "tags": len(keys)}),
        )
    return {}


def list_tags_for_resource(call: Invocation, params: dict[str, Any]) -> dict[str, Any]:
    """Every tag of a collection."""
    with _collection(call, params["ResourceArn"]) as collection_id:
        return {"Tags": call.service.gallery.tags(call.account_id, collection_id)}
