from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from countenance_audit import leaf
from countenance_audit.canonical import encode
from countenance_audit.errors import Malformed, Rejected
from countenance_audit.members import ACCOUNTING
from tests.unit.audit.samples import accounting, person


def test_the_leaf_is_computed_as_the_specification_says_it() -> None:
    opening = leaf.make_opening(accounting(), person())

    def section(name: bytes, salt: bytes | None, content: Any) -> bytes:
        written = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
        return hashlib.sha256(b"countenance/section/v1\n" + name + b"\n" + (salt or b"") + written).digest()

    sections = section(b"accounting", opening.accounting_salt, accounting()) + section(
        b"person", opening.person_salt, person()
    )
    assert opening.leaf() == b"\x01" + hashlib.sha256(b"countenance/leaf/v1\n" + sections).digest()
    assert opening.leaf()[1:] == leaf.commitment(
        accounting(), opening.accounting_salt, person(), opening.person_salt or b""
    )


def test_an_erased_person_section_leaves_the_leaf_as_it_was() -> None:
    opening = leaf.make_opening(accounting(), person())
    erased = opening.without_person()
    assert erased.person is None
    assert erased.person_salt is None
    assert erased.leaf() == opening.leaf()
    assert erased.without_person() == erased
    assert leaf.Opening.from_json(encode(erased.to_json())) == erased
    assert leaf.Opening.from_json(opening.to_json()) == opening
    leaf.check_opening(erased, opening.leaf())
    assert person()["names"][0] not in json.dumps(erased.to_json())


def test_leaves_do_not_show_whether_a_person_is_concerned() -> None:
    without, with_person = leaf.make_opening(accounting()), leaf.make_opening(accounting(), person())
    assert without.person == {}
    assert len(without.leaf()) == len(with_person.leaf()) == 33
    assert without.leaf() != leaf.make_opening(accounting()).leaf()


def test_salts_come_from_the_given_source() -> None:
    asked: list[int] = []

    def source(count: int) -> bytes:
        asked.append(count)
        return bytes([len(asked)]) * count

    opening = leaf.make_opening(accounting(), random=source)
    assert asked == [32, 32]
    assert opening.accounting_salt != opening.person_salt


def test_an_opening_of_another_leaf_is_rejected() -> None:
    opening = leaf.make_opening(accounting())
    with pytest.raises(Rejected):
        leaf.check_opening(opening, leaf.make_opening(accounting()).leaf())
    with pytest.raises(Rejected):
        leaf.check_opening(opening, leaf.public({"v": 1, "kind": "stop", "time": 1, "reason": ""}))
    with pytest.raises(Malformed):
        leaf.check_opening(opening, b"\x02")


@pytest.mark.parametrize("name", sorted(ACCOUNTING))
def test_every_accounting_member_is_needed_and_has_a_type(name: str) -> None:
    content = accounting()
    del content[name]
    with pytest.raises(Malformed, match=name):
        leaf.make_opening(content)
    with pytest.raises(Malformed, match=name):
        leaf.make_opening(accounting(**{name: 1.5}))


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": "fees"},
        {"units": True},
        {"units": -1},
        {"count": 0},
        {"account": "１２３４５６７８９０１２"},
        {"request": "A" * 64},
        {"request": "0" * 64 + "\n"},
        {"party": [{"role": "customer", "scheme": "lei"}]},
        {"reference_database": {"collection": "a", "model": "b"}},
        {"decision": {"allowed": 1, "policies": [], "policy_set": "", "request": {}, "entities": []}},
        {"verified_by": ""},
        {"extra": 1},
    ],
)
def test_wrong_members_are_malformed(changes: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        leaf.make_opening(accounting(**changes))


def test_floats_hide_nowhere() -> None:
    opening = leaf.make_opening(accounting(details={"a": [1.0]}))
    with pytest.raises(Malformed):
        opening.leaf()


@pytest.mark.parametrize("kind", ["policy", "list"])
def test_kinds_whose_members_are_not_fixed_take_any(kind: str) -> None:
    octets = leaf.public({"v": 1, "kind": kind, "time": 5, "sha256": "x"})
    parsed = leaf.parse(octets)
    assert isinstance(parsed, leaf.Public)
    assert (parsed.kind, parsed.time) == (kind, 5)


@pytest.mark.parametrize("octets", [b"", b"\x00", b"\x01", b"{", b"{}", b"[]", b"\x01" * 34, b"{" * 70_000])
def test_other_bytes_are_no_leaf(octets: bytes) -> None:
    with pytest.raises(Malformed):
        leaf.parse(octets)
