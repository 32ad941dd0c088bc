"""What a declaration must say, the form it gets, and what of it can be erased."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.accounts.declarations import CUSTOMER, IDENTIFIED, OWNER

from countenance.accounts import Party, PartyError
from countenance.accounts.countries import jurisdiction


def test_a_declaration_is_what_was_said_in_normal_form() -> None:
    party = Party.from_json(
        CUSTOMER | {"lei": "529900 t8bm49aursdo55", "registration": "ra000463:2712 4701", "domain": "ACME.example."}
    )
    assert party == Party.from_json(CUSTOMER)
    assert party.identified() == IDENTIFIED
    assert Party.from_json(json.loads(json.dumps(party.to_json()))) == party


def test_the_party_pays_when_no_payer_is_named() -> None:
    party = Party.from_json({name: value for name, value in CUSTOMER.items() if name != "payer"})
    assert [each for each in party.identified() if each[0] == "payer"] == [
        ("payer", scheme, value) for role, scheme, value in party.identified() if role == "party"
    ]


def test_names_of_natural_persons_are_apart_and_change_no_digest() -> None:
    party = Party.from_json(CUSTOMER)
    assert party.names() == ("Sam Signatory", "Ada Owner")
    said = json.dumps([party.identified(), party.details(), party.to_json(with_names=False)])
    assert not any(name in said for name in party.names())
    owners = [CUSTOMER["owners"][0], {**CUSTOMER["owners"][1], "name": "Eve Owner"}]
    assert Party.from_json(CUSTOMER | {"owners": owners, "signatory": "Someone"}).digest() == party.digest()
    for change in ({"end_use": "another"}, {"owners": owners[:1]}, {"payment_reference": None}):
        assert Party.from_json(CUSTOMER | change).digest() != party.digest()


def test_what_was_agreed_is_in_the_details_of_an_act() -> None:
    details = Party.from_json(CUSTOMER).details()
    expected = ("contract_sha256", "terms_version", "terms_sha256", "end_use", "payment_reference", "sector")
    assert {name: details[name] for name in expected} == {name: CUSTOMER[name] for name in expected}
    assert (details["owners"], details["end_users"]) == (2, 1)


LATER = {
    "other_names": ["ACME", "Акме"],
    "incorporated_on": "2021-05-01",
    "addresses": [{"text": "Keizersgracht 1, Amsterdam", "country": "NL", "kind": "registered"}],
    "used_in": ["NL", "DE"],
    "monthly_calls": 1_000,
}
REACHED = {"email": "ada@acme.example", "phone": "+31 20 123 4567"}


def test_members_that_came_later_change_no_digest_of_a_declaration_without_them() -> None:
    """The digest is in entries that were written before them."""
    party = Party.from_json(CUSTOMER)
    assert party.to_json().keys().isdisjoint(LATER.keys() | REACHED.keys())
    full = Party.from_json(CUSTOMER | LATER | REACHED)
    assert full.to_json().items() >= (LATER | REACHED).items()
    assert Party.from_json(json.loads(json.dumps(full.to_json()))) == full
    for name, value in LATER.items():
        assert Party.from_json(CUSTOMER | {name: value}).digest() != party.digest()
    assert ("party", "name", "Акме") in full.identified()


def test_how_somebody_is_reached_is_not_in_entries() -> None:
    """A mail address or a number can be a person's."""
    party = Party.from_json(CUSTOMER | REACHED)
    assert party.digest() == Party.from_json(CUSTOMER).digest()
    said = json.dumps([party.identified(), party.details(), party.to_json(with_names=False)])
    assert not any(value in said for value in REACHED.values())


def test_a_domain_becomes_a_labels_by_idna_2008() -> None:
    assert Party.from_json(OWNER | {"domain": "Straße.example"}).domain == "xn--strae-oqa.example"


def test_the_owner_needs_no_contract_and_everybody_else_does() -> None:
    party = Party.from_json(OWNER)
    with pytest.raises(PartyError, match="signatory, contract_sha256, terms_version, terms_sha256"):
        party.check_agreed()
    Party.from_json(CUSTOMER).check_agreed()


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        ({"legal_name": None}, "lacks legal_name", "always give"),
        ({"registration": None, "lei": None}, "a registration or an LEI", "registration or lei"),
        ({"jurisdiction": "XX"}, "'XX'", "as in NL"),
        ({"jurisdiction": "NL-"}, "'NL-'", "as in NL"),
        ({"lei": "529900T8BM49AURSDO56"}, "check digits", "certificate"),
        ({"registration": "27124701"}, "no number in a register", "NL-KVK"),
        ({"registration": "NL-KVK:1"}, "KVK", "8 digits"),
        ({"domain": "localhost"}, "no domain", "example.org"),
        ({"domain": "_._.\u00fc"}, "no domain", "example.org"),
        ({"contract_sha256": "aa"}, "no SHA-256", "64 hexadecimal"),
        ({"contract": "aa"}, "no 'contract'", "members"),
        ({"sector": "x\ny"}, "printable", None),
        ({"signatory": 7}, "signatory", None),
        ({"owners": "Ada"}, "owners is not a list", None),
        ({"owners": ["Ada"]}, r"owners\[0\]", "identifiers"),
        ({"owners": [{"name": "Ada", "passport": "1"}]}, r"owners\[0\]", "identifiers"),
        ({"owners": [{"name": "Ada", "share": 25.5}]}, "percentage", "25.5"),
        ({"owners": [{"name": "Ada", "share": "101"}]}, "percentage", None),
        ({"owners": [{"name": "Ada", "share": "60"}, {"name": "Bo", "share": "40.01"}]}, "more than 100", None),
        ({"owners": [{"name": "Ada", "person": "yes"}]}, "person", None),
        ({"owners": [{"name": "Ada", "identifiers": ["vat:1"]}]}, "no identifier", "lei:"),
        ({"end_users": [{"name": "x"}] * 21}, "at most 20", None),
        ({"payer": {"name": "x", "identifiers": ["lei:1"]}}, "LEI", None),
        ({"payer": {"name": "x", "country": "NL-NH"}}, "no code of a country", "alpha-2"),
        ({"other_names": "x"}, "other_names is not a list", None),
        ({"other_names": ["x"] * 6}, "at most 5", None),
        ({"incorporated_on": "2021"}, "no day", "2021-05-01"),
        ({"addresses": ["x"]}, r"addresses\[0\]", "country"),
        ({"addresses": [{"text": "x", "country": "NL", "kind": "y"}]}, "no such kind", "residential"),
        ({"addresses": [{"text": "", "country": "NL"}]}, "text", None),
        ({"used_in": ["Holland"]}, "no code of a country", None),
        ({"email": "desk"}, "electronic mail", "desk@"),
        ({"email": "a" * 65 + "@x.example"}, "electronic mail", None),
        ({"phone": "020 123 4567"}, "telephone", "+31"),
        ({"monthly_calls": 0}, "whole number", None),
        ({"monthly_calls": True}, "whole number", None),
    ],
)
def test_what_is_wrong_is_said_with_what_to_give(change: dict[str, Any], message: str, hint: str | None) -> None:
    with pytest.raises(PartyError, match=message) as refused:
        Party.from_json(CUSTOMER | change)
    assert hint is None or hint in (refused.value.hint or "")


@pytest.mark.parametrize("content", [None, [], "Acme", 1])
def test_a_declaration_is_an_object(content: object) -> None:
    with pytest.raises(PartyError, match="JSON object"):
        Party.from_json(content)


def test_codes_of_countries() -> None:
    assert [jurisdiction(each) for each in ("nl", " US-DE ", "XK", "GB-ENG")] == ["NL", "US-DE", "XK", "GB-ENG"]
    assert [jurisdiction(each) for each in ("UK", "N", "", "NL-TOOLONG", "EU", "ZZ")] == [None] * 6
