"""Amazon Rekognition's service model, read once from botocore and turned into small immutable shapes.

Knows which operations exist, what they take and give, and which errors each declares. It does not know how
a value is encoded (`request`, `response`) nor how a violation is worded (`constraints`).

Source: botocore `data/rekognition/2016-06-27/service-2.json.gz`. Only botocore's own data folder is read:
its default loader also looks in `~/.aws/models`, where a file of the operator's would silently change what
this server accepts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

from botocore.loaders import Loader

SERVICE: Final = "rekognition"
"""Signing name of the service (model metadata `endpointPrefix`; there is no separate `signingName`)."""

JSON_CONTENT_TYPE: Final = "application/x-amz-json-1.1"
"""Model metadata `protocol: json`, `jsonVersion: 1.1`."""


@dataclass(frozen=True, slots=True)
class Shape:
    """One shape of the model with its constraints.

    Attributes:
        kind: structure, list, map, string, integer, long, float, double, boolean, timestamp or blob.
        members: of a structure, in the order of the model.
        required: names of the members of a structure that must be present.
        element: of a list. `key`, `value`: of a map.
        minimum, maximum: length of a string, blob, list or map; value of a number.
        pattern: regular expression that a whole string has to match.
        enum: the values a string can take, in the order of the model; empty when it is free.
    """

    name: str
    kind: str
    members: dict[str, Shape] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    element: Shape | None = None
    key: Shape | None = None
    value: Shape | None = None
    minimum: float | None = None
    maximum: float | None = None
    pattern: str | None = None
    enum: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation: what it takes, what it gives, which errors its model declares."""

    name: str
    input: Shape
    output: Shape
    errors: frozenset[str]


@dataclass(frozen=True, slots=True)
class ServiceModel:
    """All operations, and the prefix of `X-Amz-Target`."""

    target_prefix: str
    operations: Mapping[str, Operation]


@cache
def service() -> ServiceModel:
    """The model; the first call costs some tens of milliseconds, the others nothing."""
    loader = Loader(extra_search_paths=[Loader.BUILTIN_DATA_PATH], include_default_search_paths=False)
    document: Mapping[str, Any] = loader.load_service_model(SERVICE, "service-2")
    shapes = document["shapes"]
    built: dict[str, Shape] = {}
    nothing = Shape(name="", kind="structure")
    operations = {}
    for name, operation in document["operations"].items():
        given, answered = operation.get("input"), operation.get("output")
        operations[name] = Operation(
            name=name,
            input=_shape(given["shape"], shapes, built) if given else nothing,
            output=_shape(answered["shape"], shapes, built) if answered else nothing,
            errors=frozenset(error["shape"] for error in operation.get("errors", ())),
        )
    return ServiceModel(target_prefix=document["metadata"]["targetPrefix"], operations=operations)


def _shape(name: str, shapes: Mapping[str, Any], built: dict[str, Shape]) -> Shape:
    if name in built:
        return built[name]
    raw = shapes[name]

    def inner(part: str) -> Shape | None:
        return _shape(raw[part]["shape"], shapes, built) if part in raw else None

    shape = Shape(
        name=name,
        kind=raw["type"],
        required=tuple(raw.get("required", ())),
        element=inner("member"),
        key=inner("key"),
        value=inner("value"),
        minimum=raw.get("min"),
        maximum=raw.get("max"),
        pattern=raw.get("pattern"),
        enum=tuple(raw.get("enum", ())),
    )
    # Registered before its members are built: a structure may contain itself, and every cycle passes
    # through a structure.
    built[name] = shape
    for member, reference in raw.get("members", {}).items():
        shape.members[member] = _shape(reference["shape"], shapes, built)
    return shape


TARGET_PREFIX: Final = service().target_prefix
"""`RekognitionService` (model metadata `targetPrefix`)."""


def operations() -> tuple[str, ...]:
    """Names of all operations, in the order of the model."""
    return tuple(service().operations)


def operation(name: str) -> Operation:
    """The operation called `name`; KeyError when the model has none."""
    return service().operations[name]


def input_shape(name: str) -> Shape:
    """What the operation takes: always a structure."""
    return operation(name).input


def output_shape(name: str) -> Shape:
    """What the operation answers: always a structure, without members where the operation answers nothing."""
    return operation(name).output


def errors(name: str) -> frozenset[str]:
    """Error codes that the model declares for the operation."""
    return operation(name).errors
