"""What registers publish becomes statements; and a chain becomes a picture."""

from __future__ import annotations

import json
from datetime import date
from typing import Any
from xml.etree.ElementTree import fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countenance.standing.ownership import Interval, OwnershipError, Statement, psc
from countenance.standing.ownership.drawing import svg

CHAIN = [
    Statement("1", "name:a & <b>", "reg:LU-RCS:1", "shareholding", Interval.exactly("60"), source="an extract"),
    Statement("2", "reg:LU-RCS:1", "party", "votingRights", Interval(250_000, 500_000, low_open=True), source="x"),
]


def record(**more: Any) -> str:
    data = {
        "kind": "corporate-entity-person-with-significant-control",
        "etag": "e1",
        "name": "HOLDING LIMITED",
        "natures_of_control": ["ownership-of-shares-25-to-50-percent", "voting-rights-75-to-100-percent-as-firm"],
        "notified_on": "2016-04-06",
        "identification": {"registration_number": "1234567", "country_registered": "England And Wales"},
    }
    return json.dumps({"company_number": "07654321", "data": {**data, **more}})


def test_each_nature_of_control_is_a_statement_with_its_band() -> None:
    (shares, votes), parties = psc.read([record(), ""])
    assert (shares.owner, shares.owned) == ("reg:GB-COH:01234567", "reg:GB-COH:07654321")
    assert (shares.interest, shares.share) == ("shareholding", Interval(250_000, 500_000, low_open=True))
    assert (votes.interest, votes.share) == ("votingRights", Interval(750_000, 1_000_000))
    assert (shares.valid_from, shares.valid_to) == (date(2016, 4, 6), None)
    assert parties[shares.owner]["name"] == "HOLDING LIMITED"
    assert parties[shares.owner]["identifiers"] == [["registrationNumber", "1234567", "gb"]]


@pytest.mark.parametrize(
    ("nature", "interest", "share"),
    [
        ("ownership-of-shares-50-to-75-percent", "shareholding", Interval(500_000, 750_000, True, True)),
        ("ownership-of-shares-50-to-75-percent-as-trust", "shareholding", Interval(500_000, 750_000, True, True)),
        ("right-to-appoint-and-remove-directors", "appointmentOfBoard", None),
        ("significant-influence-or-control-as-firm", "otherInfluenceOrControl", None),
        ("something-new", "unknownInterest", None),
    ],
)
def test_natures(nature: str, interest: str, share: Interval | None) -> None:
    ((found,), _) = psc.read([record(natures_of_control=[nature])])
    assert (found.interest, found.share) == (interest, share)


def test_who_is_kept_secret_and_who_is_nobody_are_unknown() -> None:
    for kind in ("super-secure-person-with-significant-control", "persons-with-significant-control-statement"):
        ((found,), _) = psc.read([record(kind=kind, ceased_on="2020-01-01", statement="no-individual")])
        assert (found.interest, found.owner.startswith("unknown:")) == ("unknownInterest", True)
        assert found.valid_to == date(2020, 1, 1)
    assert psc.read(['{"data": {"kind": "totals#persons-of-significant-control-snapshot"}}']) == ([], {})
    ((person,), parties) = psc.read(
        [record(kind="individual-person-with-significant-control", name="A  Person", identification=None,
                natures_of_control=["voting-rights-25-to-50-percent"])]
    )  # fmt: skip
    assert (person.owner, parties[person.owner]["is_person"]) == ("name:a person", True)


@pytest.mark.parametrize(
    "line", ["{", "[]", "1", '{"data": 1, "company_number": "1"}', record(notified_on="soon"), record(name="")]
)
def test_what_is_no_record_is_refused(line: str) -> None:
    with pytest.raises(OwnershipError):
        psc.read([line])


@given(st.text(max_size=80))
def test_any_line_is_read_or_refused(line: str) -> None:
    try:
        psc.read([line])
    except OwnershipError as error:
        assert error.message  # noqa: PT017 -- nothing else may be raised


def test_a_picture_is_whole_and_the_same_every_time() -> None:
    picture = svg(CHAIN, listed={"name:a & <b>"}, title="A <chain>", names={"party": "The\x00 Party " * 9})
    assert picture == svg(CHAIN, listed=["name:a & <b>"], title="A <chain>", names={"party": "The\x00 Party " * 9})
    root = fromstring(picture)
    texts = [each.text or "" for each in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "name:a & <b>" in texts
    assert "shareholding 60 %" in texts
    assert "votingRights over 25 to 50 %" in texts
    assert sum("Party" in each for each in texts) > 1  # wrapped
    boxes = [each.get("stroke") for each in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert boxes == [None, "#b00020", "#456", "#456"]
    assert "http" not in picture.replace("http://www.w3.org/2000/svg", "")
    assert fromstring(svg([], listed=[], title="")).tag.endswith("svg")
