"""What is answered when a call is refused: a code, a text and an HTTP status.

Two kinds exist: errors that an operation's model declares, and the common errors of AWS's JSON protocol
listed in `COMMON_FAULTS`. Nothing else may leave the server. Codes, statuses and texts with their sources:
`docs/reference/errors.md`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import orjson

from countenance.errors import Error
from countenance.wire import model
from countenance.wire.http import HttpResponse


class Fault(Error):
    """A refusal worded for the client.

    Args:
        code: exception name, as SDKs show it.
        message: text sent to the client.
        status: HTTP status.
        note: what the server log should say beside it; never sent.
    """

    def __init__(self, code: str, message: str, status: int = 400, *, note: str | None = None) -> None:
        super().__init__(message, hint=note)
        self.code = code
        self.status = status

    @property
    def note(self) -> str | None:
        """For the server log only."""
        return self.hint


class WireBug(Error):
    """The program handed the wire something the model does not allow: a defect here, never the client's."""


COMMON_FAULTS: Final[Mapping[str, frozenset[int]]] = MappingProxyType(
    {
        # Signature: see docs/reference/errors.md, "Signatures".
        "MissingAuthenticationTokenException": frozenset({400}),
        "IncompleteSignatureException": frozenset({400}),
        "InvalidSignatureException": frozenset({400}),
        "UnrecognizedClientException": frozenset({400}),
        # Request: "Requests that cannot be read".
        "UnknownOperationException": frozenset({400, 404}),
        "SerializationException": frozenset({400}),
        "RequestEntityTooLargeException": frozenset({413}),
        "ValidationException": frozenset({400}),
        # Declared by every operation of the model, listed because they also precede the operation.
        "AccessDeniedException": frozenset({400}),
        "ThrottlingException": frozenset({400}),
        "ProvisionedThroughputExceededException": frozenset({400}),
        "InternalServerError": frozenset({500}),
    }
)
"""The closed list of codes that any operation may answer, with the statuses each can have."""

DECLARED_STATUS: Final = 400
"""Every error the model declares is a client error except InternalServerError (AWS's own table)."""


def require_declared(operation: str | None, fault: Fault) -> Fault:
    """Hands `fault` back when the operation may answer it, with the status that belongs to its code.

    Args:
        operation: name from the model, or None when the request was refused before one was known.

    Raises:
        WireBug: neither the operation's model nor COMMON_FAULTS has this code with this status.
    """
    if fault.status in COMMON_FAULTS.get(fault.code, frozenset()):
        return fault
    declared = operation is not None and fault.code in model.errors(operation)
    if declared and fault.status == DECLARED_STATUS and fault.code != "InternalServerError":
        return fault
    raise WireBug(f"{operation or 'no operation'} can not answer {fault.code} with status {fault.status}.")


def fault_response(fault: Fault, request_id: str) -> HttpResponse:
    """The HTTP answer for `fault`.

    The text is sent as `message` and as `Message`: AWS's services differ in the capital, and clients read
    either.
    """
    body = {"__type": fault.code, "message": fault.message, "Message": fault.message}
    return HttpResponse(
        status=fault.status,
        headers=(("content-type", model.JSON_CONTENT_TYPE), ("x-amzn-requestid", request_id)),
        body=orjson.dumps(body),
    )
