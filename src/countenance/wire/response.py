"""From an operation's result to the body of the answer, by its output shape.

Knows the wire form of every shape kind. A result that does not fit the shape is a defect of the caller and
raises WireBug: nothing is sent that botocore would silently drop or misread.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from functools import cache
from typing import Any, Final

import orjson

from countenance.wire import model
from countenance.wire.faults import WireBug
from countenance.wire.http import HttpResponse
from countenance.wire.model import Shape

_SEARCHED_FACE: Final = ("SearchedFaceBoundingBox", "SearchedFaceConfidence", "FaceMatches")


@cache
def _answer_shape(operation: str) -> Shape:
    """The output shape with this server's own members added.

    SearchFacesByImage has `CountenanceSearchedFaces`: one element for every face of the image, each with the
    members that AWS answers for the largest face only. SDKs ignore members their model lacks.
    """
    shape = model.output_shape(operation)
    if operation != "SearchFacesByImage":
        return shape
    face = Shape(
        name="CountenanceSearchedFace",
        kind="structure",
        members={name: shape.members[name] for name in _SEARCHED_FACE},
    )
    faces = Shape(name="CountenanceSearchedFaceList", kind="list", element=face)
    return replace(shape, members={**shape.members, "CountenanceSearchedFaces": faces})


def encode(operation: str, result: Mapping[str, Any], request_id: str) -> HttpResponse:
    """The HTTP answer of a successful call. A member that is None is left out.

    Raises:
        WireBug: a member the shape lacks, a value of the wrong type or outside the enum, a number that is not
            finite, a time without a zone.
    """
    try:
        value = _encoded(_answer_shape(operation), result)
    except WireBug as bug:
        raise WireBug(f"{operation} can not answer {bug}") from None
    return HttpResponse(
        status=200,
        headers=(("content-type", model.JSON_CONTENT_TYPE), ("x-amzn-requestid", request_id)),
        body=orjson.dumps(value),
    )


def _encoded(shape: Shape, value: Any) -> Any:
    kind = shape.kind
    plain = _PLAIN.get(kind)
    if plain is not None:
        if type(value) in plain and _fits(shape, value):
            return value
    elif kind == "structure" and isinstance(value, Mapping):
        return _structure(shape, value)
    elif kind == "list" and isinstance(value, (list, tuple)) and shape.element is not None:
        element = shape.element
        return [_encoded(element, item) for item in value]
    elif kind == "map" and isinstance(value, Mapping) and shape.value is not None:
        inner = shape.value
        return {str(key): _encoded(inner, item) for key, item in value.items()}
    elif kind == "timestamp" and isinstance(value, datetime) and value.tzinfo is not None:
        # Epoch seconds; AWS sends milliseconds at most.
        return round(value.timestamp(), 3)
    elif kind == "blob" and isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode("ascii")
    shown = repr(value)[:40] if isinstance(value, (str, int, float)) else f"a {type(value).__name__}"
    raise WireBug(f"{shown} for {shape.name}")


# Exact types: a bool is no number here, and a NumPy scalar has lost its way.
_PLAIN: Final[Mapping[str, tuple[type, ...]]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "long": (int,),
    "float": (float, int),
    "double": (float, int),
}


def _fits(shape: Shape, value: Any) -> bool:
    if type(value) is float:
        return math.isfinite(value)
    return not shape.enum or value in shape.enum


def _structure(shape: Shape, value: Mapping[str, Any]) -> dict[str, Any]:
    members = shape.members
    answer = {}
    for name, item in value.items():
        if name not in members:
            raise WireBug(f"{name}, which {shape.name} lacks")
        if item is not None:
            try:
                answer[name] = _encoded(members[name], item)
            except WireBug as bug:
                raise WireBug(f"{bug} in {name}") from None
    return answer
