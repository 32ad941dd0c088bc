"""Canonical JSON: RFC 8785 without floating-point numbers.

Knows bytes and Python values; does not know what they mean. A value has one encoding, and `decode` takes that
encoding only, so that a hash over it commits to the value and to nothing else. Integers stay within
+-(2^53 - 1), which every JSON parser reads exactly (RFC 8785 section 3.2.2.3, RFC 7493 section 2.2); floats are
refused because their canonical form is the one hard part of RFC 8785.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, NoReturn

from countenance_audit.errors import Malformed

MAX_INTEGER: Final = 2**53 - 1
"""Largest integer, and the negative of the smallest (RFC 7493 section 2.2)."""

MAX_DEPTH: Final = 32
"""Deepest nesting of objects and arrays; a scalar alone has depth 0."""

MAX_BYTES: Final = 16 * 1024 * 1024
"""Longest text that is read: 16 MiB."""

_TOKENS: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[{]|[\]}]', re.DOTALL)
"""Strings (also unfinished ones, so that no input makes the scan quadratic) and brackets."""

_LONGEST_INTEGER: Final = len(str(-MAX_INTEGER))


def encode(value: object) -> bytes:
    """The canonical encoding of objects, arrays, strings, integers, booleans and null.

    Raises:
        Malformed: the value has no canonical encoding: a float, an integer beyond `MAX_INTEGER`, a name that is
            not a string, a lone surrogate, nesting beyond `MAX_DEPTH`, or another type.
    """
    ordered = _ordered(value, 0)
    try:
        return json.dumps(ordered, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise Malformed("A string holds half of a surrogate pair, which UTF-8 cannot express.") from None


def decode(data: bytes | str) -> Any:
    """The value of a canonical encoding.

    Raises:
        Malformed: not JSON, not canonical, or beyond the limits of `encode`.
    """
    value, octets = _loaded(data)
    if encode(value) != octets:
        raise Malformed(
            "The JSON text is not in canonical form.",
            hint="RFC 8785: names sorted, no white space, shortest escapes, no leading zeros.",
        )
    return value


def read(data: bytes | str) -> Any:
    """The value of JSON with the limits of `decode`, in any order and with white space: for envelopes, whose bytes
    nothing commits to.

    Raises:
        Malformed: not JSON, or beyond the limits of `encode`.
    """
    value, _ = _loaded(data)
    encode(value)
    return value


def _loaded(data: bytes | str) -> tuple[Any, bytes]:
    if len(data) > MAX_BYTES:
        raise Malformed(f"The JSON text is longer than {MAX_BYTES} bytes.")
    try:
        text = data if isinstance(data, str) else data.decode()
        octets = text.encode() if isinstance(data, str) else data
    except UnicodeError:
        raise Malformed("The JSON text is not UTF-8.") from None
    _check_depth(text)
    try:
        value = json.loads(
            text, parse_int=_integer, parse_float=_no_float, parse_constant=_no_float, object_pairs_hook=_object
        )
    except ValueError as failure:
        raise Malformed(f"Not JSON: {str(failure)[:200]}.") from None
    return value, octets


def _ordered(value: object, depth: int) -> object:
    """The same value with its names in order, each part of it checked."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return value
    if kind is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:  # type: ignore[operator]
            raise Malformed("An integer lies beyond 2^53 - 1, where JSON parsers differ.")
        return value
    if depth >= MAX_DEPTH and isinstance(value, (dict, list, tuple)):
        raise Malformed(f"The value is nested deeper than {MAX_DEPTH}.")
    if isinstance(value, dict):
        for name in value:
            if type(name) is not str:
                raise Malformed(f"A name in an object is {type(name).__name__}, not a string.")
        # Of ASCII names, which nearly all are, both orders are one, and a sort without a key takes a third of the time.
        names = sorted(value, key=None if "".join(value).isascii() else _utf16)
        return {name: _ordered(value[name], depth + 1) for name in names}
    if isinstance(value, (list, tuple)):
        return [_ordered(item, depth + 1) for item in value]
    if kind is float:
        raise Malformed("Floating-point numbers have no place here.", hint="Use integers in a smaller unit.")
    raise Malformed(f"A value of type {kind.__name__} has no canonical encoding.")


def _utf16(name: str) -> bytes:
    """What names are sorted by: UTF-16 code units (RFC 8785 section 3.2.3), not code points."""
    return name.encode("utf-16-be", "surrogatepass")


def _check_depth(text: str) -> None:
    """Refuses deep nesting before the parser, which is recursive, sees it."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return
    depth = 0
    for match in _TOKENS.finditer(text):
        first = text[match.start()]
        if first in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise Malformed(f"The JSON text is nested deeper than {MAX_DEPTH}.")
        elif first in "]}":
            depth -= 1


def _integer(digits: str) -> int:
    if len(digits) > _LONGEST_INTEGER:
        raise Malformed("An integer lies beyond 2^53 - 1, where JSON parsers differ.")
    return int(digits)


def _no_float(text: str) -> NoReturn:
    raise Malformed(f"Floating-point numbers have no place here: {text[:40]}.", hint="Use integers in a smaller unit.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise Malformed("A name appears twice in one object.")
    return found
