"""Parameters generated from botocore's own reading of the service model, never from ours."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import botocore.session
import pytest
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StructureShape

TEXTS: dict[str, tuple[str, str, str]] = {
    # pattern: a fitting text, a character that may be appended to it for ever, a text that does not fit
    "^[a-zA-Z0-9-_]+$": ("a", "a", "a b"),
    "[a-zA-Z0-9_.\\-]+": ("a", "a", "a b"),
    "[a-zA-Z0-9_.\\-:]+": ("a", ":", "a b"),
    "[a-zA-Z0-9_.\\-:+=\\/]+": ("a", "/", "a b"),
    "[a-zA-Z0-9-_. ()':,;?]+": ("a", " ", "a\u00e9"),
    "[A-Za-z0-9\u00e0\u00e2\u00e8\u00e7\u00f1\u00f3'-_(). ]*": ("", "\u00e8", "\u4e00"),
    "[0-9A-Za-z]*": ("", "Z", "-"),
    "[0-9A-Za-z\\.\\-_]*": ("", ".", "/"),
    "[0-9A-Fa-f]+": ("0", "F", "G"),
    "[0-9\\.]+": ("7.0", "0", "x"),
    "^[0-9]+$": ("1", "9", "1a"),
    "\\S*": ("", "/", " "),
    ".*\\S.*": ("a", " ", " "),
    ".{1,}": ("a", "b", "\n"),
    "^\\{.*\\}$": ("{}", "", "{"),
    "[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+": ("{", "\u00ff", "\u0100"),
    "^[a-z0-9](-*[a-z0-9])*": ("a", "z", "-"),
    "^[A-Za-z0-9][A-Za-z0-9:_/+=,@.-]{0,2048}$": ("a", "/", "/a"),
    "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}": (
        "11111111-2222-5333-8444-55555555abcd",
        "",
        "11111111-2222-5333-8444-55555555ABCD",
    ),
    "^(0|[1-9]\\d{0,2})\\.(0|[1-9]\\d{0,2})\\.(0|[1-9]\\d{0,2})$": ("1.0.10", "", "1.0"),
    "^(?!aws:)[\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*$": ("\u65e5\u672c \u00e9", "\u00df", "aws:owner"),
    "^([\\p{L}\\p{Z}\\p{N}_.:/=+\\-@]*)$": ("", "\u0663", "#"),
    "(^arn:[a-z\\d-]+:rekognition:[a-z\\d-]+:\\d{12}:project\\/[a-zA-Z0-9_.\\-]{1,255}\\/dataset"
    "\\/(train|test)\\/[0-9]+$)": (
        "arn:aws:rekognition:eu-west-2:111122223333:project/p/dataset/train/1",
        "1",
        "arn:aws:rekognition:eu-west-2:\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661\u0661"
        ":project/p/dataset/train/1",
    ),
    "(^arn:[a-z\\d-]+:rekognition:[a-z\\d-]+:\\d{12}:project\\/[a-zA-Z0-9_.\\-]{1,255}\\/[0-9]+$)": (
        "arn:aws:rekognition:eu-west-2:111122223333:project/p/1",
        "1",
        "arn:aws:rekognition:eu-west-2:111122223333:project/p/x",
    ),
    "(^arn:[a-z\\d-]+:rekognition:[a-z\\d-]+:\\d{12}:project\\/[a-zA-Z0-9_.\\-]{1,255}\\/version"
    "\\/[a-zA-Z0-9_.\\-]{1,255}\\/[0-9]+$)": (
        "arn:aws:rekognition:eu-west-2:111122223333:project/p/version/v/1",
        "1",
        "arn:aws:rekognition:eu-west-2:111122223333:project/p/version/v",
    ),
    "(^arn:[a-z\\d-]+:rekognition:[a-z\\d-]+:\\d{12}:streamprocessor\\/.+$)": (
        "arn:aws:rekognition:eu-west-2:111122223333:streamprocessor/s",
        "s",
        "arn:aws:rekognition:eu-west-2:111122223333:streamprocessor",
    ),
    "(^arn:([a-z\\d-]+):kinesis:([a-z\\d-]+):\\d{12}:.+$)": (
        "arn:aws:kinesis:eu-west-2:111122223333:s",
        "s",
        "arn:aws:kinesis:eu-west-2:1:s",
    ),
    "(^arn:([a-z\\d-]+):kinesisvideo:([a-z\\d-]+):\\d{12}:.+$)": (
        "arn:aws:kinesisvideo:eu-west-2:111122223333:s",
        "s",
        "arn:aws:kinesis:eu-west-2:111122223333:s",
    ),
    "arn:aws:iam::\\d{12}:role/?[a-zA-Z_0-9+=,.@\\-_/]+": (
        "arn:aws:iam::111122223333:role/r",
        "r",
        "arn:aws:iam::111122223333:user/r",
    ),
    "(^arn:aws:sns:.*:\\w{12}:.+$)": (
        "arn:aws:sns:eu-west-2:111122223333:t",
        "t",
        "arn:aws:sns:eu-west-2:\u00e911122223333:t",
    ),
}


@dataclass(frozen=True)
class Broken:
    """One constraint of one operation's input, with parameters that keep it and parameters that break it."""

    name: str
    inside: dict[str, Any] | None
    outside: dict[str, Any]
    text: str


class Values:
    """Makes parameters and results for the operations of a service model."""

    def __init__(self, service: ServiceModel) -> None:
        self.service = service

    def input(self, operation: str) -> StructureShape:
        return self.service.operation_model(operation).input_shape

    def full(self, shape: Shape, depth: int = 0) -> Any:
        """A value that has every member and keeps every constraint. `depth` varies the values."""
        if isinstance(shape, StructureShape):
            members = shape.members
            if shape.name == "Image":
                # One of the two, never both.
                members = {name: members[name] for name in [("Bytes", "S3Object")[depth % 2]]}
            return {name: self.full(member, depth + 1) for name, member in members.items()}
        if isinstance(shape, ListShape):
            count = min(max(shape.metadata.get("min", 0), 2), shape.metadata.get("max", 2))
            return [self.full(shape.member, depth + number) for number in range(count)]
        if isinstance(shape, MapShape):
            return {self.full(shape.key, depth): self.full(shape.value, depth)}
        return self.scalar(shape, depth)

    def scalar(self, shape: Shape, depth: int = 0) -> Any:
        low, high = shape.metadata.get("min", 0), shape.metadata.get("max")
        kind = shape.type_name
        if kind == "string":
            return shape.enum[depth % len(shape.enum)] if shape.enum else self.text(shape, max(low, 1))
        if kind in ("integer", "long"):
            return min(low + depth, high) if high is not None else low + depth
        if kind in ("float", "double"):
            return low + 0.25 if high is None else (low + high) / 2 + 0.125
        if kind == "boolean":
            return depth % 2 == 0
        if kind == "blob":
            return bytes(range(max(low, 5) + depth))
        assert kind == "timestamp", kind
        return datetime(2026, 11, 22, 20, 41, 30, 125_000, UTC)

    def text(self, shape: Shape, length: int) -> str:
        """A text of `length` characters if the pattern has one, else the nearest it has."""
        stem, pad, _ = self.pattern(shape)
        return stem + pad * max(0, length - len(stem))

    @staticmethod
    def pattern(shape: Shape) -> tuple[str, str, str]:
        pattern = shape.metadata.get("pattern")
        return TEXTS[pattern] if pattern else ("", "x", "")

    def broken(self, operation: str) -> Iterator[Broken]:
        """Every constraint of the operation's input."""
        yield from self._broken(operation, self.input(operation), ())

    def _broken(self, operation: str, shape: Shape, path: tuple[str | int, ...]) -> Iterator[Broken]:
        for rule, inside, outside in self._rules(shape):
            text = f"{_where(path)} failed to satisfy constraint: {rule}"
            kept = None if inside is None else self._with(operation, path, inside)
            yield Broken(f"{_where(path)} {rule}", kept, self._with(operation, path, outside), text)
        if isinstance(shape, StructureShape):
            for name in shape.required_members:
                lacking = self._with(operation, (*path, name), None)
                text = f"Value null {_where((*path, name))} failed to satisfy constraint: Member must not be null"
                yield Broken(f"{_where((*path, name))} required", self._with(operation, path, ...), lacking, text)
            for name, member in shape.members.items():
                yield from self._broken(operation, member, (*path, name))
        elif isinstance(shape, ListShape):
            if isinstance(shape.member, (StructureShape, ListShape, MapShape)):
                yield from self._broken(operation, shape.member, (*path, 0))
            else:
                for rule, inside, outside in self._rules(shape.member):
                    # Every rule of the element is listed, whichever is broken.
                    text = f"{_where(path)} failed to satisfy constraint: Member must satisfy constraint: ["
                    kept = None if inside is None else self._with(operation, (*path, 0), inside)
                    yield Broken(f"{_where(path)}[] {rule}", kept, self._with(operation, (*path, 0), outside), text)
        elif isinstance(shape, MapShape):
            for which, inner in (("keys", shape.key), ("value", shape.value)):
                for rule, inside, outside in self._rules(inner):
                    good = self.scalar(shape.value if which == "keys" else shape.key)
                    text = f"{_where(path)} failed to satisfy constraint: Map {which} must satisfy constraint: ["
                    pairs = [
                        None if item is None else ({item: good} if which == "keys" else {good: item})
                        for item in (inside, outside)
                    ]
                    kept = None if pairs[0] is None else self._with(operation, path, pairs[0])
                    yield Broken(f"{_where(path)} {which} {rule}", kept, self._with(operation, path, pairs[1]), text)

    def _rules(self, shape: Shape) -> Iterator[tuple[str, Any, Any]]:
        """(rule as AWS words it, a value at its bound or None, a value beyond it) of the shape itself."""
        low, high, kind = shape.metadata.get("min"), shape.metadata.get("max"), shape.type_name
        if kind in ("integer", "long", "float", "double"):
            step = 1 if kind in ("integer", "long") else 0.5
            if low is not None:
                yield f"Member must have value greater than or equal to {low}", low, low - step
            if high is not None:
                yield f"Member must have value less than or equal to {high}", high, high + step
            return
        if low:
            rule = f"Member must have length greater than or equal to {low}"
            yield rule, self._sized(shape, low), self._sized(shape, low - 1, exact=True)
        if high is not None:
            rule = f"Member must have length less than or equal to {high}"
            yield rule, self._sized(shape, high), self._sized(shape, high + 1, exact=True)
        if "pattern" in shape.metadata:
            stem, _, bad = self.pattern(shape)
            good = self.text(shape, max(low or 0, len(stem)))
            yield f"Member must satisfy regular expression pattern: {shape.metadata['pattern']}", good, bad
        if getattr(shape, "enum", None):
            rule = f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"
            yield rule, shape.enum[-1], "NO_SUCH_VALUE"

    def _sized(self, shape: Shape, size: int, *, exact: bool = False) -> Any:
        """A value of the given length; None when the pattern has none and `exact` is not asked for."""
        if isinstance(shape, ListShape):
            return [self.full(shape.member) for _ in range(size)]
        if isinstance(shape, MapShape):
            return {f"key{number}": self.scalar(shape.value) for number in range(size)}
        if shape.type_name == "blob":
            return bytes(size)
        value = self.text(shape, size)
        if len(value) == size:
            return value
        return ("x" * size) if exact else None

    def _with(self, operation: str, path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
        """Valid parameters with `value` at `path`; None takes the member out, ... leaves it as it is."""
        shape: Shape = self.input(operation)
        params: Any = self.full(shape)
        holder = params
        for number, step in enumerate(path):
            last = number == len(path) - 1
            if isinstance(shape, StructureShape):
                if shape.name == "Image" and step not in holder:
                    holder.clear()
                    holder[step] = self.full(shape.members[step])
                shape = shape.members[step]
            else:
                assert isinstance(shape, ListShape)
                shape = shape.member
            if not last:
                holder = holder[step]
            elif value is None:
                del holder[step]
            elif value is not ...:
                holder[step] = value
        return params


def _where(path: tuple[str | int, ...]) -> str:
    steps = [f"{step + 1}.member" if isinstance(step, int) else step[0].lower() + step[1:] for step in path]
    return f"at '{'.'.join(steps)}'"


@pytest.fixture(scope="session")
def values() -> Values:
    return Values(botocore.session.get_session().get_service_model("rekognition"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "operation" in metafunc.fixturenames:
        model = botocore.session.get_session().get_service_model("rekognition")
        metafunc.parametrize("operation", model.operation_names)
