"""One function per operation, dict in, dict out; the only place where AWS and ISO words meet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from countenance.operations.collections import (
    create_collection,
    delete_collection,
    describe_collection,
    list_collections,
)
from countenance.operations.compare import compare_faces
from countenance.operations.context import Caller, Invocation, Service
from countenance.operations.detect import detect_faces
from countenance.operations.faces import delete_faces, index_faces, list_faces
from countenance.operations.search import search_faces, search_faces_by_image
from countenance.operations.tags import list_tags_for_resource, tag_resource, untag_resource
from countenance.operations.users import (
    associate_faces,
    create_user,
    delete_user,
    disassociate_faces,
    list_users,
    search_users,
    search_users_by_image,
)

Operation = Callable[[Invocation, dict[str, Any]], dict[str, Any]]

OPERATIONS: dict[str, Operation] = {
    "AssociateFaces": associate_faces,
    "CompareFaces": compare_faces,
    "CreateCollection": create_collection,
    "CreateUser": create_user,
    "DeleteCollection": delete_collection,
    "DeleteFaces": delete_faces,
    "DeleteUser": delete_user,
    "DescribeCollection": describe_collection,
    "DetectFaces": detect_faces,
    "DisassociateFaces": disassociate_faces,
    "IndexFaces": index_faces,
    "ListCollections": list_collections,
    "ListFaces": list_faces,
    "ListTagsForResource": list_tags_for_resource,
    "ListUsers": list_users,
    "SearchFaces": search_faces,
    "SearchFacesByImage": search_faces_by_image,
    "SearchUsers": search_users,
    "SearchUsersByImage": search_users_by_image,
    "TagResource": tag_resource,
    "UntagResource": untag_resource,
}
"""Every operation this server answers; all others of the service model are refused by name."""

__all__ = ["OPERATIONS", "Caller", "Invocation", "Operation", "Service"]
