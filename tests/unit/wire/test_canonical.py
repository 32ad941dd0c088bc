"""The canonical request's parts, and the bounded store of signing keys."""

from __future__ import annotations

import gc

import pytest

from countenance.wire.canonical import SigningKeys, canonical_path, canonical_query, canonical_values, signing_key


@pytest.mark.parametrize(
    ("path", "canonical"),
    [
        ("", "/"),
        ("/", "/"),
        ("//", "/"),
        ("/a/../..", "/"),
        ("/a/./b/", "/a/b/"),
        ("/a%20b", "/a%2520b"),
        ("/-._~", "/-._~"),
        ("/a/..", "/"),
        ("/a/b/..", "/a/"),
    ],
)
def test_path(path: str, canonical: str) -> None:
    assert canonical_path(path) == canonical


@pytest.mark.parametrize(
    ("query", "canonical"),
    [
        ("", ""),
        ("a", "a="),
        ("b=2&a=1", "a=1&b=2"),
        ("a=2&a=1", "a=1&a=2"),
        ("a=%2f&b=+", "a=%2F&b=%2B"),
        ("a=b=c", "a=b%3Dc"),
        ("&&a=1&", "a=1"),
        ("X-Amz-Signature=00&a=1", "a=1"),
        ("a-=1&a=2", "a=2&a-=1"),
    ],
)
def test_query(query: str, canonical: str) -> None:
    assert canonical_query(query) == canonical


def test_values_are_trimmed_and_joined() -> None:
    assert canonical_values(["  a   b ", "c"]) == "a b,c"


def test_kept_keys_are_the_derived_ones() -> None:
    keys = SigningKeys(capacity=4)
    for _ in range(2):
        for region in ("eu-west-2", "us-east-1"):
            expected = signing_key("secret", "20150830", region, "rekognition")
            assert keys.key("secret", "20150830", region, "rekognition") == expected
    assert len(keys) == 2


def test_no_two_scopes_share_a_key() -> None:
    keys = SigningKeys(capacity=8)
    first = keys.key("secret", "2015083", "0eu", "rekognition")
    second = keys.key("secret", "20150830", "eu", "rekognition")
    assert first != second


def test_keys_are_bounded_and_the_oldest_goes() -> None:
    keys = SigningKeys(capacity=3)
    for day in range(10):
        keys.key("secret", f"2015083{day}", "eu-west-2", "rekognition")
    assert len(keys) == 3


def test_kept_keys_hold_no_secret() -> None:
    keys = SigningKeys(capacity=3)
    secret = "a-secret-that-nothing-else-holds"
    keys.key(secret, "20150830", "eu-west-2", "rekognition")
    seen: set[int] = set()
    queue: list[object] = [keys._keys, keys._salt]
    while queue:
        thing = queue.pop()
        if id(thing) not in seen:
            seen.add(id(thing))
            text = thing if isinstance(thing, bytes) else repr(thing).encode()
            assert secret.encode() not in text
            if not isinstance(thing, type):
                queue.extend(item for item in gc.get_referents(thing) if not isinstance(item, type))
