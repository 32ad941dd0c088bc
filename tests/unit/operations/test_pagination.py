from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from countenance.operations.pagination import TOKEN_LIFE, Cursors, InvalidCursor

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SCOPE = ("123456789012", "ListFaces", "people", "7", "")
LONGEST_SCOPE = ("1" * 12, "ListTagsForResource", "c" * 255, "9" * 19, "f" * 64)


@pytest.fixture
def cursors() -> Cursors:
    return Cursors(bytes(range(32)))


def test_a_token_returns_its_position(cursors: Cursors) -> None:
    token = cursors.issue(2**63 - 1, *SCOPE, at=NOW)
    assert cursors.read(token, *SCOPE, at=NOW) == 2**63 - 1


def test_a_token_fits_the_service_models_limit(cursors: Cursors) -> None:
    assert len(cursors.issue(2**63 - 1, *LONGEST_SCOPE, at=NOW)) <= 255


@pytest.mark.parametrize("changed", range(len(SCOPE)))
def test_a_token_means_nothing_in_another_listing(cursors: Cursors, changed: int) -> None:
    token = cursors.issue(5, *SCOPE, at=NOW)
    other = [*SCOPE]
    other[changed] += "x"
    with pytest.raises(InvalidCursor):
        cursors.read(token, *other, at=NOW)


def test_neighbouring_fields_cannot_be_shifted_into_each_other(cursors: Cursors) -> None:
    token = cursors.issue(5, "ab", "c", at=NOW)
    with pytest.raises(InvalidCursor):
        cursors.read(token, "a", "bc", at=NOW)


def test_a_token_expires_after_24_hours(cursors: Cursors) -> None:
    token = cursors.issue(5, *SCOPE, at=NOW)
    assert cursors.read(token, *SCOPE, at=NOW + TOKEN_LIFE) == 5
    with pytest.raises(InvalidCursor):
        cursors.read(token, *SCOPE, at=NOW + TOKEN_LIFE + timedelta(seconds=1))


def test_every_flipped_bit_is_noticed(cursors: Cursors) -> None:
    token = cursors.issue(5, *SCOPE, at=NOW)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for place, character in enumerate(token.rstrip("=")):
        flipped = alphabet[alphabet.index(character) ^ 32]
        with pytest.raises(InvalidCursor):
            cursors.read(token[:place] + flipped + token[place + 1 :], *SCOPE, at=NOW)


@pytest.mark.parametrize("token", ["", "x", "é", "A" * 255, "====", "\ud800", " " * 40])
def test_rubbish_is_refused(cursors: Cursors, token: str) -> None:
    with pytest.raises(InvalidCursor):
        cursors.read(token, *SCOPE, at=NOW)


def test_another_servers_key_is_refused(cursors: Cursors) -> None:
    token = Cursors(b"x" * 32).issue(5, *SCOPE, at=NOW)
    with pytest.raises(InvalidCursor):
        cursors.read(token, *SCOPE, at=NOW)
