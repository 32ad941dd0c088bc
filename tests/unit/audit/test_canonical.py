from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from countenance_audit import canonical
from countenance_audit.errors import Malformed
from hypothesis import given
from hypothesis import strategies as st

strings = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-canonical.MAX_INTEGER, canonical.MAX_INTEGER) | strings,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(strings, inner, max_size=4),
    max_leaves=20,
)


@given(values)
def test_what_is_encoded_decodes_to_itself(value: Any) -> None:
    octets = canonical.encode(value)
    assert canonical.decode(octets) == value
    assert canonical.decode(octets.decode()) == value
    assert canonical.encode(canonical.decode(octets)) == octets


@given(values, st.data())
def test_no_other_bytes_decode_to_the_same_value(value: Any, data: st.DataObject) -> None:
    octets = bytearray(canonical.encode(value))
    at = data.draw(st.integers(0, len(octets) * 8 - 1))
    octets[at // 8] ^= 1 << at % 8
    try:
        other = canonical.decode(bytes(octets))
    except Malformed:
        return
    assert canonical.encode(other) == bytes(octets) != canonical.encode(value)


@given(st.binary(max_size=200))
def test_any_bytes_are_decoded_or_refused(octets: bytes) -> None:
    with contextlib.suppress(Malformed):
        assert canonical.encode(canonical.decode(octets)) == octets


@pytest.mark.parametrize(
    "value",
    [1.0, float("nan"), {1: 2}, {"a": b"x"}, {"a": {1, 2}}, 2**53, -(2**53), "\ud800", {"\udc00": 1}, object()],
)
def test_what_has_no_canonical_form_is_refused(value: Any) -> None:
    with pytest.raises(Malformed):
        canonical.encode(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(Malformed):
        canonical.encode(loop)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 1_000_000,
        '{"a":' * 500_000,
        "9" * 2_000_000,
        "-" + "9" * 2_000_000,
        '"' + '\\"' * 1_000_000,
        '"' * 999_999,
        "[" * 40 + '"\\"' * 500_000,
        "[" + "[]," * 300_000,
        "1e999999999",
    ],
    ids=range(9),
)
def test_hostile_text_is_refused_quickly(text: str) -> None:
    began = time.monotonic()
    with pytest.raises(Malformed):
        canonical.decode(text)
    assert time.monotonic() - began < 5


def test_longer_text_than_the_limit_is_refused() -> None:
    with pytest.raises(Malformed, match="longer than"):
        canonical.decode(b" " * (canonical.MAX_BYTES + 1))


def test_an_envelope_may_have_white_space_but_no_floats() -> None:
    assert canonical.read(' {"b": 1, "a": [ ]}\n') == {"b": 1, "a": []}
    for text in ('{"a": 1.0}', '{"a": 1, "a": 2}', "[" * 33 + "]" * 33):
        with pytest.raises(Malformed):
            canonical.read(text)
