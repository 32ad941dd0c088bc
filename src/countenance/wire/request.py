"""From the body of a request to Python values, by the input shape of its operation.

Knows JSON and the wire form of every shape kind; does not know constraints (`constraints`) nor signatures.
Source: AWS JSON 1.1 protocol (smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html). Texts of the
refusals: `docs/reference/errors.md`, "Requests that cannot be read".

The parser is the standard library's, because it can be told of duplicate keys, of NaN and of long numbers
before they become values.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime
from typing import Any, Final, NoReturn

import pybase64

from countenance.wire import model
from countenance.wire.faults import Fault
from countenance.wire.http import HttpRequest
from countenance.wire.model import Shape

MAX_SEPARATORS: Final = 65_536
"""Commas and opening brackets a body may hold: sixteen times the largest list of the model (4096 FaceIds).
Bounds what parsing costs in memory; base64 and identifiers contain none of them."""

MAX_DEPTH: Final = 64
"""Nesting a body may have; the deepest input of the model is below ten."""

_FEW: Final = 64
"""After so many, the rest is counted byte by byte: a call for each takes as long as 200 bytes do, and a body may be
nothing else."""

_INTEGER_BITS: Final = {"integer": 31, "long": 63}
# The grammar is AWS's.
_TARGET: Final = {"integer": "an Integer", "long": "a Long", "boolean": "an Boolean"}


def operation_of(request: HttpRequest) -> str:
    """The operation that the request names.

    Raises:
        Fault: UnknownOperationException.
    """
    targets = request.values("x-amz-target")
    if request.method != "POST":
        raise Fault("UnknownOperationException", "Requests are sent with POST.", 404)
    kinds = {value.partition(";")[0].strip().lower() for value in request.values("content-type")}
    if kinds != {model.JSON_CONTENT_TYPE}:
        raise Fault("UnknownOperationException", f"Content-Type has to be {model.JSON_CONTENT_TYPE}.", 404)
    if len(targets) != 1:
        raise Fault("UnknownOperationException", "Exactly one X-Amz-Target header is required.")
    prefix, _, name = targets[0].partition(".")
    if prefix != model.TARGET_PREFIX or name not in model.service().operations:
        raise Fault("UnknownOperationException", "X-Amz-Target names no operation of this service.")
    return name


def decode(operation: str, body: bytes) -> dict[str, Any]:
    """The parameters of `operation`: blobs as bytes, timestamps as aware datetimes, numbers of the shape.

    Members the shape lacks are ignored; a null is the same as an absent member. Constraints are not checked.

    Raises:
        Fault: SerializationException.
    """
    document = _parse(body)
    if isinstance(document, list):
        raise _serialization("Start of list found where not expected")
    if not isinstance(document, dict):
        raise _serialization("The request body is not a JSON object.")
    return _structure(model.input_shape(operation), document)


def _parse(body: bytes) -> Any:
    openings = _count(body, b"[") + _count(body, b"{")
    if openings + _count(body, b",") > MAX_SEPARATORS:
        raise _serialization("The request body has too many elements.")
    if openings > MAX_DEPTH and _depth(body) > MAX_DEPTH:
        raise _serialization("The request body is nested too deeply.")
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise _serialization("The request body is not UTF-8.") from None
    try:
        return _DECODER.decode(text)
    except ValueError:
        # JSONDecodeError quotes the document: nothing of it is passed on.
        raise _serialization("The request body is not valid JSON.") from None


def _count(body: bytes, wanted: bytes) -> int:
    """How often a byte occurs. Most bodies are one long blob with a few of these: `find` skips it with memchr, where
    `count` looks at byte after byte (docs/performance.md)."""
    at, found = body.find(wanted), 0
    while at >= 0:
        found += 1
        if found == _FEW:
            return found + body.count(wanted, at + 1)
        at = body.find(wanted, at + 1)
    return found


def _depth(body: bytes) -> int:
    """Deepest nesting of brackets outside strings. Right for every valid document; others fail later."""
    deepest = depth = 0
    for found in _BRACKETS.finditer(body):
        character = body[found.start()]
        if character in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        elif character in b"]}":
            depth -= 1
    return deepest


# Possessive, and a string need not end: every byte is looked at once, whatever is in the body.
_BRACKETS: Final = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[\[\]{}]', re.DOTALL)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _serialization("The request body has an object with the same key twice.")
    return found


def _whole(literal: str) -> int | float:
    # Twenty characters hold every 64-bit integer. A longer literal keeps its magnitude only, which is all
    # that a range check needs, and costs no big-number arithmetic.
    return int(literal) if len(literal) <= 20 else _real(literal)


def _real(literal: str) -> float:
    number = float(literal)
    if not math.isfinite(number):
        raise _serialization("The request body has a number out of range.")
    return number


def _constant(literal: str) -> NoReturn:
    raise _serialization(f"{literal} is not JSON.")


_DECODER: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_whole, parse_float=_real, parse_constant=_constant, strict=True
)


def _structure(shape: Shape, value: dict[str, Any]) -> dict[str, Any]:
    members = shape.members
    return {name: _value(members[name], item) for name, item in value.items() if item is not None and name in members}


def _value(shape: Shape, value: Any) -> Any:
    kind = shape.kind
    if isinstance(value, str):
        if kind == "string":
            return _string(value)
        if kind == "blob":
            return _blob(value)
    elif isinstance(value, bool):
        if kind == "boolean":
            return value
    elif isinstance(value, (int, float)):
        if kind in _INTEGER_BITS:
            return _integer(shape, value)
        if kind in ("float", "double"):
            return float(value)
        if kind == "timestamp":
            return _timestamp(value)
    elif isinstance(value, list):
        if kind == "list" and shape.element is not None:
            element = shape.element
            return [_value(element, item) for item in value if item is not None]
    elif isinstance(value, dict):
        if kind == "structure":
            return _structure(shape, value)
        if kind == "map" and shape.value is not None:
            inner = shape.value
            return {_string(key): _value(inner, item) for key, item in value.items() if item is not None}
    raise _serialization(_mismatch(kind, value))


def _mismatch(kind: str, value: Any) -> str:
    """What AWS says when the JSON type does not fit the shape."""
    if isinstance(value, list):
        return "Start of list found where not expected"
    if isinstance(value, dict):
        return "Start of structure or map found where not expected."
    if kind == "list":
        return "Expected list or null"
    if kind == "map":
        return "Expected map or null"
    if kind == "structure":
        return "Expected null"
    if isinstance(value, bool):
        found = "TRUE_VALUE" if value else "FALSE_VALUE"
    else:
        found = "STRING_VALUE" if isinstance(value, str) else "NUMBER_VALUE"
    return f"{found} can not be converted to {_TARGET.get(kind, f'a {kind.capitalize()}')}"


def _string(value: str) -> str:
    if not value.isascii():
        try:
            value.encode("utf-8")
        except UnicodeEncodeError:
            raise _serialization("The request body has a string that is not Unicode text.") from None
    return value


def _integer(shape: Shape, value: int | float) -> int:
    if value != int(value) or not -(1 << _INTEGER_BITS[shape.kind]) <= value < 1 << _INTEGER_BITS[shape.kind]:
        raise _serialization(_mismatch(shape.kind, value))
    return int(value)


def _timestamp(value: int | float) -> datetime:
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError):
        raise _serialization("The request body has a timestamp out of range.") from None


def _blob(value: str) -> bytes:
    """Base64 of RFC 4648 section 4, padded, without line breaks: what every SDK sends."""
    if len(value) % 4:
        raise _serialization(
            "The value can not be converted to a Blob: "
            f"Base64 encoded length is expected a multiple of 4 bytes but found: {len(value)}"
        )
    try:
        # Not binascii's: it takes 0.4 ms for 100 KB and holds the interpreter's lock all the while.
        data = pybase64.b64decode(value, validate=True)
    except ValueError:  # binascii.Error is one
        raise _serialization("The value can not be converted to a Blob: Invalid Base64 character") from None
    # Unused bits of the last character have to be zero, so that one blob has one spelling.
    tail = pybase64.b64encode(data[len(data) - (len(data) % 3 or 3) :]).decode()
    if value and not value.endswith(tail):
        raise _serialization("The value can not be converted to a Blob: Invalid last non-pad Base64 character detected")
    return data


def _serialization(text: str) -> Fault:
    return Fault("SerializationException", text)
