"""Every rule of the service model that a request's values have to keep, worded as AWS words it.

Knows shapes, their limits and the text of a violation; does not know what a value means. botocore checks
required members and minimum lengths only, so all of it is checked here.
Sources of the wording and of the choice of code: `docs/reference/errors.md`, "Validation".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import islice
from typing import Any, Final

import regex

from countenance.wire import model
from countenance.wire.faults import Fault
from countenance.wire.model import Shape

_NUMBERS: Final = frozenset({"integer", "long", "float", "double"})
_SCALARS: Final = _NUMBERS | {"string", "boolean", "timestamp", "blob"}

MAX_ECHO: Final = 256
"""Characters of a refused value that are sent back. (AWS sends all of it; a caller knows what it sent.)"""

MAX_VIOLATIONS: Final = 100
"""Violations that are listed; their number is always the whole one."""

_PATTERN_TIMEOUT_S: Final = 0.1
"""Longest time one pattern may take on one value. The model's patterns are linear; a later one may not be."""

_PATTERN_SLACK: Final = 4096
"""A value this much longer than its own maximum is refused for its length; its pattern is not tried."""


def check(operation: str, params: Mapping[str, Any]) -> None:
    """Accepts `params` (as `request.decode` gives them) only if they keep every rule of the operation.

    Raises:
        Fault: with all violations in one text.
    """
    shape = model.input_shape(operation)
    violations = list(_structure(shape, params, ""))
    if violations:
        raise refusal(violations)
    for member, inner in shape.members.items():
        if inner.name == "Image" and member in params:
            _check_image(params[member])


def refusal(violations: list[str]) -> Fault:
    """The fault for constraint violations: the one place that chooses its code.

    AWS's framework refuses them before Rekognition sees the request, with ValidationException, a code that
    no operation of the model declares. Rekognition itself answers InvalidParameterException for what the
    model cannot express.
    """
    count = len(violations)
    noun = "error" if count == 1 else "errors"
    listed = "; ".join(violations[:MAX_VIOLATIONS])
    return Fault("ValidationException", f"{count} validation {noun} detected: {listed}")


def _check_image(image: Mapping[str, Any]) -> None:
    """An image is given as bytes or as an S3 object, never as neither and never as both."""
    if ("Bytes" in image) == ("S3Object" in image):
        raise Fault("InvalidParameterException", "Request has invalid parameters")
    if "S3Object" in image and not {"Bucket", "Name"} <= image["S3Object"].keys():
        raise Fault("InvalidS3ObjectException", "Request has invalid S3 object.")


def _structure(shape: Shape, value: Mapping[str, Any], path: str) -> Iterator[str]:
    for name in shape.required:
        if name not in value:
            yield _violation("null", _join(path, name), "Member must not be null")
    for name, item in value.items():
        yield from _value(shape.members[name], item, _join(path, name))


def _join(path: str, member: str) -> str:
    name = member[:1].lower() + member[1:]
    return f"{path}.{name}" if path else name


def _value(shape: Shape, value: Any, path: str) -> Iterator[str]:
    for rule in _broken(shape, value):
        yield _violation(_shown(shape, value), path, rule)
    if shape.kind == "structure":
        yield from _structure(shape, value, path)
    elif shape.kind == "list" and shape.element is not None:
        if shape.element.kind in _SCALARS:
            yield from _scalars(shape.element, value, path)
        else:
            for number, item in enumerate(value, 1):
                yield from _value(shape.element, item, f"{path}.{number}.member")
    elif shape.kind == "map" and shape.key is not None and shape.value is not None:
        yield from _map(shape.key, shape.value, value, path)


def _scalars(element: Shape, value: list[Any], path: str) -> Iterator[str]:
    """A list of strings or numbers is named once, with all rules of its elements, as AWS does."""
    if any(_is_broken(element, item) for item in value):
        rule = f"Member must satisfy constraint: [{', '.join(_rules(element))}]"
        yield _violation(_shown_list(element, value), path, rule)


def _map(key: Shape, inner: Shape, value: Mapping[str, Any], path: str) -> Iterator[str]:
    """A broken key or value of a map lists the rules of its shape once, as AWS does."""
    shown = _shown_map(value)
    if any(_is_broken(key, name) for name in value):
        yield _violation(shown, path, f"Map keys must satisfy constraint: [{', '.join(_rules(key))}]")
    if any(_is_broken(inner, item) for item in value.values()):
        yield _violation(shown, path, f"Map value must satisfy constraint: [{', '.join(_rules(inner))}]")


def _is_broken(shape: Shape, value: Any) -> bool:
    return next(_broken(shape, value), None) is not None


def _violation(shown: str, path: str, rule: str) -> str:
    return f"Value {shown} at '{path}' failed to satisfy constraint: {rule}"


def _rules(shape: Shape) -> list[str]:
    """All rules of a scalar shape, broken or not."""
    measure = "value" if shape.kind in _NUMBERS else "length"
    rules = []
    if shape.maximum is not None:
        rules.append(f"Member must have {measure} less than or equal to {shape.maximum}")
    if shape.minimum is not None:
        rules.append(f"Member must have {measure} greater than or equal to {shape.minimum}")
    if shape.pattern is not None:
        rules.append(f"Member must satisfy regular expression pattern: {shape.pattern}")
    if shape.enum:
        rules.append(f"Member must satisfy enum value set: [{', '.join(shape.enum)}]")
    return rules


def _broken(shape: Shape, value: Any) -> Iterator[str]:
    """The rules of `shape` itself that `value` breaks."""
    kind = shape.kind
    if kind in _NUMBERS:
        if shape.maximum is not None and value > shape.maximum:
            yield f"Member must have value less than or equal to {shape.maximum}"
        if shape.minimum is not None and value < shape.minimum:
            yield f"Member must have value greater than or equal to {shape.minimum}"
    elif kind in ("string", "blob", "list", "map"):
        if shape.maximum is not None and len(value) > shape.maximum:
            yield f"Member must have length less than or equal to {shape.maximum}"
        if shape.minimum is not None and len(value) < shape.minimum:
            yield f"Member must have length greater than or equal to {shape.minimum}"
        if shape.pattern is not None and not _fits(shape, value):
            yield f"Member must satisfy regular expression pattern: {shape.pattern}"
        if shape.enum and value not in shape.enum:
            yield f"Member must satisfy enum value set: [{', '.join(shape.enum)}]"


def _fits(shape: Shape, value: str) -> bool:
    if shape.maximum is not None and len(value) > shape.maximum + _PATTERN_SLACK:
        return True
    try:
        return compiled(shape.pattern or "").fullmatch(value, timeout=_PATTERN_TIMEOUT_S) is not None
    except TimeoutError:
        return False


@cache
def compiled(pattern: str) -> regex.Pattern[str]:
    """A pattern of the model, to be matched against a whole value."""
    return regex.compile(_java(pattern))


def _java(pattern: str) -> str:
    """`pattern` with Java's meaning of `\\d`, `\\w`, `\\S` and `.`, which is narrower than Python's.

    Java takes them as ASCII unless told otherwise and lets a dot stop at five line terminators
    (java.util.regex.Pattern). `regex`'s own ASCII flag would also empty `\\p{L}`.
    """
    answer: list[str] = []
    inside = False
    for piece in regex.findall(r"\\.|.", pattern, regex.DOTALL):
        if piece in _ASCII_CLASSES:
            answer.append(_ASCII_CLASSES[piece] if inside else f"[{_ASCII_CLASSES[piece]}]")
        elif piece == r"\S" and not inside:
            answer.append(r"[^ \t\n\x0b\f\r]")
        elif piece == "." and not inside:
            answer.append(r"[^\n\r\u0085\u2028\u2029]")
        else:
            inside = (inside or piece == "[") and piece != "]"
            answer.append(piece)
    return "".join(answer)


_ASCII_CLASSES: Final = {r"\d": "0-9", r"\w": "a-zA-Z_0-9"}


def _shown(shape: Shape, value: Any) -> str:
    """A value as AWS's Java prints it."""
    if shape.kind == "blob":
        return f"'java.nio.HeapByteBuffer[pos=0 lim={len(value)} cap={len(value)}]'"
    if shape.kind == "list":
        return _shown_list(shape.element, value)
    if shape.kind == "map":
        return _shown_map(value)
    return _quoted(str(value))


def _shown_list(element: Shape | None, value: list[Any]) -> str:
    # Only as many as can be shown; structures and blobs are not printed at all.
    if element is None or element.kind not in _SCALARS or element.kind == "blob":
        return "'[...]'" if value else "'[]'"
    return _quoted(f"[{', '.join(str(item)[: MAX_ECHO + 1] for item in value[:MAX_ECHO])}]")


def _shown_map(value: Mapping[str, Any]) -> str:
    pairs = (f"{key[: MAX_ECHO + 1]}={str(item)[: MAX_ECHO + 1]}" for key, item in islice(value.items(), MAX_ECHO))
    return _quoted("{" + ", ".join(pairs) + "}")


def _quoted(text: str) -> str:
    return f"'{text}'" if len(text) <= MAX_ECHO else f"'{text[:MAX_ECHO]}...'"
