"""Which numbers settle who somebody is. Needs no extra."""

from __future__ import annotations

import pytest

from countenance.standing.listed import Identifier
from countenance.standing.matching.identifiers import keys, recognised

OGRN = "1027700132195"  # Sberbank's, on OFAC's list


def certain(scheme: str, value: str, country: str = "", homes: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    return keys([Identifier(scheme, value, country)], homes).certain


def test_worldwide_numbers_are_the_same_however_they_are_written() -> None:
    assert certain("imoNumber", "IMO 7406784") == certain("imoNumber", "7406784") == {("imoNumber", "7406784")}
    assert certain("innCode", "77-07 083893") == {("innCode", "7707083893")}


def test_a_number_is_recognised_in_the_wrong_field_by_its_check_digits() -> None:
    assert ("ogrnCode", OGRN) in certain("registrationNumber", OGRN)
    assert recognised(OGRN) == "ogrnCode"
    assert recognised(OGRN[:-1] + "6") == ""
    assert recognised("5493001KJTIIGC8Y1R12") == "leiCode"
    assert recognised("5493001KJTIIGC8Y1R13") == ""
    assert recognised("7707083893") == ""  # an INN: one number in ten passes for one


def test_a_national_number_is_certain_in_its_country_alone() -> None:
    assert certain("registrationNumber", "01234567", "nl") == {("registrationNumber", "nl", "1234567")}
    assert certain("registrationNumber", "01234567", "nl", ("gb",)) == {("registrationNumber", "nl", "1234567")}
    assert certain("registrationNumber", "1234567", homes=("gb", "nl")) == {
        ("registrationNumber", "gb", "1234567"),
        ("registrationNumber", "nl", "1234567"),
    }
    without = keys([Identifier("registrationNumber", "1234567")], ())
    assert without.certain == set()
    assert without.loose == {("registrationNumber", "1234567")}


@pytest.mark.parametrize("value", ["", "0000000", "12", "--", "0012"])
def test_what_is_no_number_is_no_key(value: str) -> None:
    found = keys([Identifier("registrationNumber", value, "nl"), Identifier("leiCode", value.strip("12"))], ("nl",))
    assert found.certain == found.loose == set()


def test_unknown_schemes_are_left_to_the_scorer() -> None:
    assert certain("dunsCode", "123456789", "us") == set()
