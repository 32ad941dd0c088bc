"""Which AWS error a domain error becomes. Total: a test walks every subclass of `Error` that a call can raise.

Anything not in the table is a bug and answers InternalServerError without a word of its own. Messages of the
table are the ones Amazon documents where it documents one; a domain error's own message is used only where it
was written to be shown to a caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from countenance.errors import Error
from countenance.gallery import (
    CollectionExists,
    CollectionNotFound,
    ModelMismatch,
    ReferenceNotFound,
    TagLimitExceeded,
    TokenInUse,
    TooManyFaces,
    TooManyUsers,
    UserExists,
    UserNotFound,
)
from countenance.operations.pagination import InvalidCursor
from countenance.operations.progress import BeingErased
from countenance.recognition import Busy, ImageTooLarge, ImageTooSmall, ImageUnreadable
from countenance.sources import ObjectNotAvailable, ObjectTooLarge, SourceBusy
from countenance.store import DatabaseBusy
from countenance.wire.faults import Fault


class NoFaceInImage(Error):
    """A search by image found nothing to search with."""


class NoFaceInComparison(Error):
    """The source or the target of a comparison has no face (of the quality asked for)."""


class ResourceNotFound(Error):
    """No resource of this caller has this ARN."""


class NotOneOfTwo(Error):
    """Two parameters were given, or none, where one of them is to be."""


class LimitReached(Error):
    """An account, or a collection of its, has as many as the quotas let it have."""


OWN_MESSAGE = None
"""In the table: the domain error's own message is what the caller gets. Names in braces are parameters."""

FAULTS: dict[type[Error], tuple[str, str | None]] = {
    CollectionNotFound: ("ResourceNotFoundException", "The collection id: {CollectionId} does not exist"),
    CollectionExists: ("ResourceAlreadyExistsException", "The collection id: {CollectionId} already exists"),
    ResourceNotFound: ("ResourceNotFoundException", "The resource: {ResourceArn} does not exist"),
    ReferenceNotFound: ("InvalidParameterException", "faceId was not found in the collection."),
    ModelMismatch: ("InvalidParameterException", OWN_MESSAGE),
    TagLimitExceeded: ("ServiceQuotaExceededException", OWN_MESSAGE),
    UserNotFound: ("ResourceNotFoundException", OWN_MESSAGE),
    UserExists: ("ConflictException", "The user id: {UserId} already exists"),
    LimitReached: ("ServiceQuotaExceededException", OWN_MESSAGE),
    TooManyFaces: ("ServiceQuotaExceededException", OWN_MESSAGE),
    TooManyUsers: ("ServiceQuotaExceededException", OWN_MESSAGE),
    TokenInUse: ("IdempotentParameterMismatchException", OWN_MESSAGE),
    NotOneOfTwo: ("InvalidParameterException", OWN_MESSAGE),
    InvalidCursor: ("InvalidPaginationTokenException", OWN_MESSAGE),
    NoFaceInImage: ("InvalidParameterException", OWN_MESSAGE),
    NoFaceInComparison: ("InvalidParameterException", OWN_MESSAGE),
    ImageTooLarge: ("ImageTooLargeException", "Image size is too large"),
    ImageTooSmall: ("InvalidParameterException", "Request has invalid parameters"),
    ImageUnreadable: ("InvalidImageFormatException", "Request has invalid image format"),
    BeingErased: ("AccessDeniedException", OWN_MESSAGE),
    DatabaseBusy: ("ThrottlingException", "Slow down; sudden increase in rate of requests."),
    Busy: ("ThrottlingException", "Slow down; sudden increase in rate of requests."),
    ObjectNotAvailable: (
        "InvalidS3ObjectException",
        "Unable to get object metadata from S3. Check object key, region and/or access permissions.",
    ),
    SourceBusy: ("ProvisionedThroughputExceededException", "S3 download limit exceeded."),
    ObjectTooLarge: ("ImageTooLargeException", "Image size is too large"),
}


def fault_for(error: Error, params: Mapping[str, Any]) -> Fault | None:
    """The fault that a domain error becomes, or None when it must not be told to a caller.

    Args:
        params: the call's parameters, which some messages name.
    """
    for kind in type(error).__mro__:
        if kind in FAULTS:
            code, message = FAULTS[kind]
            return Fault(code, message.format_map(_Named(params)) if message is not None else error.message)
    return None


class _Named(dict[str, Any]):
    """A parameter that the call does not have is left as its name: a message must not become a failure."""

    def __missing__(self, name: str) -> str:
        return f"({name})"
