"""Period maps: places, proofs, and what a malformed map could otherwise prove."""

from __future__ import annotations

from hashlib import sha256

import pytest
from countenance_audit import canonical, merkle, periodmap
from countenance_audit.errors import Malformed, Rejected
from countenance_audit.periodmap import FIRST, LAST, SENTINEL, PeriodMap, Place, Usage
from hypothesis import given
from hypothesis import strategies as st

USED = Usage(3, 2, 2_000, "ab" * 32)
keys = st.binary(min_size=32, max_size=32).filter(lambda key: key not in (FIRST, LAST))


def hashed(number: int) -> bytes:
    return sha256(b"%d" % number).digest()


def made(count: int) -> PeriodMap:
    return PeriodMap.of({hashed(each): sha256(b"value %d" % each).digest() for each in range(count)})


@given(st.sets(keys, max_size=40), keys)
def test_every_key_is_shown_to_be_there_or_not(present: set[bytes], asked: bytes) -> None:
    found = PeriodMap.of({key: USED.commitment(key) for key in present})
    found.check()
    places = found.find(asked)
    if asked in present:
        periodmap.verify_presence(asked, places[0], asked, USED, found.size, found.root)
        with pytest.raises(Rejected):
            periodmap.verify_absence(asked, places, found.size, found.root)
    else:
        periodmap.verify_absence(asked, places, found.size, found.root)
        with pytest.raises(Rejected):
            periodmap.verify_presence(asked, places[0], asked, USED, found.size, found.root)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5, 6, 7, 14, 30, 31, 100])
def test_each_leaf_has_a_proof_and_the_tree_is_rfc_6962_s(count: int) -> None:
    found = made(count)
    assert found.size == count + 2
    hashes = []
    for index in range(found.size):
        place = found.place(index)
        place.verify(found.size, found.root)
        assert Place.from_json(place.to_json()) == place
        data = b"\x20" + place.key + b"\x20" + sha256(place.value).digest()
        hashes.append(merkle.leaf_hash(data))
    assert merkle.root_of(hashes) == found.root
    again = PeriodMap(found.leaves, found.tree)
    assert again.root == found.root


def test_an_empty_day_shows_that_anybody_is_absent() -> None:
    empty = PeriodMap.of({})
    assert (empty.size, empty.key(0), empty.key(1), empty.value(0)) == (2, FIRST, LAST, SENTINEL)
    for key in (bytes(31) + b"\x01", b"\xff" * 31 + b"\xfe", hashed(1)):
        periodmap.verify_absence(key, empty.find(key), empty.size, empty.root)


def test_sentinels_are_nobody_s_keys() -> None:
    for key in (FIRST, LAST):
        with pytest.raises(Malformed):
            PeriodMap.of({key: SENTINEL})
        places = made(3).find(key) if key == FIRST else (made(3).place(3), made(3).place(4))
        with pytest.raises(Rejected):
            periodmap.verify_absence(key, places, 5, made(3).root)


def test_neighbours_that_are_none_do_not_show_absence() -> None:
    found = made(20)
    there = found.key(7)
    around = (found.place(6), found.place(8))
    with pytest.raises(Rejected, match="neighbours"):
        periodmap.verify_absence(there, around, found.size, found.root)
    absent = found.find(hashed(1_000))
    assert len(absent) == 2
    with pytest.raises(Rejected):
        periodmap.verify_absence(hashed(1_000), absent[::-1], found.size, found.root)
    with pytest.raises(Rejected):
        periodmap.verify_absence(hashed(1_000), absent, found.size, made(21).root)


@pytest.mark.parametrize(
    "order",
    [
        lambda leaves: [leaves[0], leaves[2], leaves[1], *leaves[3:]],
        lambda leaves: [leaves[0], leaves[1], leaves[1], *leaves[2:]],
        lambda leaves: leaves[1:],
        lambda leaves: leaves[:-1],
        lambda leaves: [leaves[0][:32] + b"\x01" * 32, *leaves[1:]],
    ],
    ids=["swapped", "twice", "without the first", "without the last", "a sentinel with a value"],
)
def test_a_map_that_is_not_strictly_sorted_between_sentinels_is_refused(order: object) -> None:
    leaves = made(6).leaves
    parts = [leaves[at : at + 64] for at in range(0, len(leaves), 64)]
    wrong = PeriodMap(b"".join(order(parts)))  # type: ignore[operator]
    with pytest.raises(Rejected):
        wrong.check()


def test_a_file_of_another_length_is_no_map() -> None:
    leaves = made(3).leaves
    for wrong in (b"", leaves[:64], leaves[:-1], leaves + b"\0"):
        with pytest.raises(Malformed):
            PeriodMap(wrong)
    with pytest.raises(Malformed):
        PeriodMap(leaves, made(4).tree)


@given(
    st.lists(
        st.tuples(*[st.text(st.characters(exclude_categories=["Cs"]), max_size=6)] * 4),
        min_size=2,
        max_size=2,
        unique=True,
    )
)
def test_what_keys_are_made_of_cannot_be_read_two_ways(fields: list[tuple[str, str, str, str]]) -> None:
    one, other = fields
    assert periodmap.alpha(*one) != periodmap.alpha(*other)


def test_what_a_key_is_made_of() -> None:
    made_of = periodmap.alpha("log.example", "2026-10-05", "lei", "X")
    assert made_of.hex() == (
        "000e" + b"countenance/v1".hex() + "000b" + b"log.example".hex() + "000a" + b"2026-10-05".hex()
        + "0003" + b"lei".hex() + "0001" + b"X".hex()
    )  # fmt: skip
    with pytest.raises(Malformed):
        periodmap.alpha("log.example", "2026-10-05", "lei", "X" * 65_536)


def test_a_usage_is_hidden_by_its_salt() -> None:
    salt = bytes(range(32))
    expected = sha256(b"countenance/usage/v1\n" + salt + canonical.encode(USED.to_json())).digest()
    assert USED.commitment(salt) == expected
    assert USED.commitment(bytes(32)) != expected
    with pytest.raises(Malformed):
        USED.commitment(b"")
    with pytest.raises(Malformed):
        Usage.from_json({**USED.to_json(), "calls": 0})
    assert Usage.from_json(USED.to_json()) == USED
