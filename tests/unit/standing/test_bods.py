"""The Beneficial Ownership Data Standard, read and written; against its schema and examples where they are at hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countenance.standing.ownership import Interval, OwnershipError, Recorded, Statement, as_of, bods
from countenance.standing.ownership.statements import INTERESTS

LEI = "529900T8BM49AURSDO55"
KVK = {"scheme": "NL-KVK", "id": "27124701"}


def said(
    kind: str, record: str, details: dict[str, Any], when: str = "2020-01-01", status: str = "new"
) -> dict[str, Any]:
    return {
        "statementId": f"{record}-{when}-{status}".ljust(32, "0"),
        "declarationSubject": "a",
        "statementDate": when,
        "publicationDetails": {"publicationDate": when, "bodsVersion": "0.4", "publisher": {"name": "Register"}},
        "recordId": record,
        "recordStatus": status,
        "recordType": kind,
        "recordDetails": {"isComponent": False, **details},
    }


def entity(record: str, name: str = "", **more: Any) -> dict[str, Any]:
    return said("entity", record, {"entityType": {"type": "registeredEntity"}, "name": name or record.upper(), **more})


def holds(record: str, owner: Any, owned: str, *interests: dict[str, Any], **more: Any) -> dict[str, Any]:
    when, status = more.pop("when", "2020-01-01"), more.pop("status", "new")
    details = {"subject": owned, "interestedParty": owner, "interests": list(interests), **more}
    return said("relationship", record, details, when, status)


def shares(**share: Any) -> dict[str, Any]:
    return {"type": "shareholding", "directOrIndirect": "direct", "share": share}


def read(*statements: dict[str, Any]) -> tuple[list[Statement], bods.Parties]:
    return bods.read(json.dumps(statements).encode())


def test_records_become_nodes_by_their_best_identifier() -> None:
    found, parties = read(
        entity(
            "a",
            "A B.V.",
            identifiers=[{"scheme": "NL-KVK", "id": "27124701"}],
            jurisdiction={"name": "x", "code": "NL"},
        ),
        entity("b", "B", identifiers=[{"scheme": "GB-COH", "id": "03977902"}, {"scheme": "XI-LEI", "id": LEI}]),
        entity(
            "c", "C  Ltd", identifiers=[{"scheme": "NL-KVK", "id": "not a number"}, {"schemeName": "own", "id": "7"}]
        ),
        said(
            "person",
            "d",
            {"personType": "knownPerson", "names": [{"fullName": "Ada"}, {"type": "legal", "fullName": "Ada B"}]},
        ),
        holds("1", "b", "a", shares(exact=60)),
        holds("2", "c", "a", shares(exact=20)),
        holds("3", "d", "a", shares(exact=20)),
    )
    assert [(each.owner, each.owned) for each in found] == [
        (f"lei:{LEI}", "reg:NL-KVK:27124701"),
        ("name:c ltd", "reg:NL-KVK:27124701"),
        ("name:ada b", "reg:NL-KVK:27124701"),
    ]
    assert parties["reg:NL-KVK:27124701"] == {
        "name": "A B.V.",
        "is_person": False,
        "jurisdiction": "NL",
        "identifiers": [["registrationNumber", "27124701", "nl"]],
    }
    assert parties[f"lei:{LEI}"]["identifiers"] == [
        ["leiCode", LEI, ""],
        ["registrationNumber", "03977902", "gb"],
    ]
    assert parties["name:ada b"]["is_person"]
    assert {each.source for each in found} == {"BODS, Register"}
    assert len({each.source_sha256 for each in found}) == 1


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        ({"exact": 42.085}, Interval(420_850, 420_850)),
        ({"exact": 33.333333}, Interval(333_333, 333_334)),
        ({"minimum": 25, "exclusiveMaximum": 50}, Interval(250_000, 500_000, high_open=True)),
        ({"exclusiveMinimum": 50, "exclusiveMaximum": 75}, Interval(500_000, 750_000, True, True)),
        ({"minimum": 75}, Interval(750_000, 1_000_000)),
        ({"maximum": 25}, Interval(0, 250_000)),
        ({"exact": 50, "minimum": 25, "maximum": 75}, Interval(500_000, 500_000)),
        ({}, None),
        (None, None),
    ],
)
def test_shares(share: Any, expected: Interval | None) -> None:
    (found,), _ = read(entity("a"), entity("b"), holds("1", "b", "a", {"type": "shareholding", "share": share}))
    assert found.share == expected


def test_each_interest_is_a_statement() -> None:
    found, _ = read(
        entity("a"),
        entity("b"),
        holds(
            "1",
            "b",
            "a",
            {"type": "votingRights", "directOrIndirect": "indirect", "startDate": "2017", "endDate": "2019"},
            {"type": "appointmentOfBoard", "directOrIndirect": "unknown", "startDate": "2017-05", "endDate": "2019-05"},
            {"directOrIndirect": "direct", "endDate": "2019-05-06T00:00:00Z"},
        ),
        holds("2", "b", "a"),
    )
    assert [(each.interest, each.is_direct, each.valid_from, each.valid_to) for each in found] == [
        ("votingRights", False, date(2017, 1, 1), date(2020, 1, 1)),
        ("appointmentOfBoard", None, date(2017, 5, 1), date(2019, 6, 1)),
        ("unknownInterest", True, None, date(2019, 5, 6)),
        ("unknownInterest", None, None, None),
    ]


def test_nobody_who_is_named_is_unknown_and_no_two_are_the_same() -> None:
    found, parties = read(
        entity("a"),
        said("person", "b", {"personType": "anonymousPerson", "names": [{"fullName": "Hidden"}]}),
        said("entity", "c", {"entityType": {"type": "unknownEntity"}}),
        holds("1", "b", "a", shares(exact=30)),
        holds("2", "c", "a", shares(exact=30)),
        holds("3", {"reason": "subjectUnableToConfirmOrIdentifyBeneficialOwner"}, "a", shares(exact=40)),
    )
    owners = [each.owner for each in found]
    assert len(set(owners)) == 3
    assert all(each.startswith("unknown:") for each in owners)
    assert [each.interest for each in found] == ["shareholding", "shareholding", "unknownInterest"]
    assert "Hidden" not in json.dumps([each.to_json() for each in found])
    assert parties["name:a"]["name"] == "A"


def on(found: list[Statement], day: str) -> list[str]:
    recorded = [Recorded(each, 1) for each in found]
    return [str(each.share) for each in as_of(recorded, valid_on=date.fromisoformat(day), known_at_us=2)]


def test_a_later_statement_about_a_record_takes_over_and_a_closed_one_ends_it() -> None:
    found, _ = read(
        entity("a"),
        entity("b"),
        holds("1", "b", "a", shares(exact=40), when="2021-06-01", status="updated"),
        holds("1", "b", "a", shares(exact=60) | {"startDate": "2018-01-01"}),
        holds("1", "b", "a", shares(exact=40), when="2023-01-01", status="closed"),
    )
    days = ("2017-12-31", "2018-01-01", "2021-05-31", "2021-06-01", "2022-12-31", "2023-01-01")
    assert [on(found, day) for day in days] == [[], ["60 %"], ["60 %"], ["40 %"], ["40 %"], []]
    late = holds("1", "b", "a", shares(exact=80) | {"startDate": "2019-01-01"}, when="2021-06-01", status="updated")
    found, _ = read(entity("a"), entity("b"), holds("1", "b", "a", shares(exact=60)), late)
    assert [on(found, day) for day in ("2018-12-31", "2019-01-01", "2021-06-01")] == [
        ["60 %"],
        ["60 %", "80 %"],
        ["80 %"],
    ]


def test_an_indirect_relationship_does_not_count_beside_its_components() -> None:
    whole = holds(
        "3",
        "c",
        "a",
        {"type": "shareholding", "directOrIndirect": "indirect", "share": {"exact": 30}},
        componentRecords=["b", "1", "2"],
    )
    parts = [holds("1", "b", "a", shares(exact=60)), holds("2", "c", "b", shares(exact=50))]
    found, _ = read(entity("a"), entity("b"), entity("c"), *parts, whole)
    assert [(each.owner, each.owned) for each in found] == [("name:b", "name:a"), ("name:c", "name:b")]
    vague = holds("2", "c", "b", {"directOrIndirect": "unknown"})
    found, _ = read(entity("a"), entity("b"), entity("c"), parts[0], vague, whole)
    assert [(each.owner, each.owned, each.is_direct) for each in found][-1] == ("name:c", "name:a", False)
    found, _ = read(entity("a"), entity("c"), whole)
    assert len(found) == 1


def test_json_lines_are_read_too() -> None:
    several = [entity("a"), entity("b"), holds("1", "b", "a", shares(exact=60))]
    found, parties = bods.read("\n".join(map(json.dumps, several)).encode())
    expected, same_parties = read(*several)
    assert [essence(each) for each in found] == [essence(each) for each in expected]
    assert parties == same_parties


@pytest.mark.parametrize(
    "content",
    [
        b"[",
        b"7",
        b"[7]",
        b"\xff\xfe",
        b"[" * 100_000,
        json.dumps([{"statementId": "x"}]).encode(),
        json.dumps([{**entity("a"), "recordType": "thing"}]).encode(),
        json.dumps([{**entity("a"), "recordStatus": "gone"}]).encode(),
        json.dumps([{**entity("a"), "statementDate": "yesterday"}]).encode(),
        json.dumps([{**entity("a"), "statementDate": "2021-13-01"}]).encode(),
        json.dumps([{**entity("a"), "recordDetails": []}]).encode(),
        json.dumps([entity("a"), {**holds("a", "b", "c")}]).encode(),
        json.dumps([entity("a", names=7), holds("1", 7, "a")]).encode(),
        json.dumps([holds("1", "b", "a", shares(exact=101))]).encode(),
        json.dumps([holds("1", "b", "a", shares(exact="50"))]).encode(),
        json.dumps([holds("1", "b", "a", shares(exact=True))]).encode(),
        json.dumps([holds("1", "b", "a", shares(minimum=60, maximum=40))]).encode(),
        json.dumps([holds("1", "b", "a", {"type": "love"})]).encode(),
        json.dumps([holds("1", "b", "a", shares(exact=1) | {"startDate": 7})]).encode(),
        json.dumps([holds("1", "b", "a", interests=7)]).encode(),
        json.dumps([holds("1", "b", "a", componentRecords=7)]).encode(),
        b'[{"statementId": ' + b"9" * 5_000 + b"}]",
    ],
)
def test_what_is_none_of_the_standard_is_refused_in_its_own_words(content: bytes) -> None:
    with pytest.raises(OwnershipError):
        bods.read(content)


# -- writing

NODES = ("name:a b.v.", "reg:GB-COH:03977902", f"lei:{LEI}", "unknown:x", "name:b")
INTERVALS = st.tuples(st.integers(0, 1_000_000), st.integers(0, 1_000_000), st.booleans(), st.booleans()).map(
    lambda each: Interval(min(each[:2]), max(each[:2]), each[2] and each[0] != each[1], each[3] and each[0] != each[1])
)
DAYS = st.none() | st.dates(date(1990, 1, 1), date(2030, 1, 1))


@st.composite
def statements(draw: st.DrawFn) -> Statement:
    days = sorted((each for each in (draw(DAYS), draw(DAYS)) if each), key=str)
    return Statement(
        draw(st.text("abc", min_size=1, max_size=3)),
        draw(st.sampled_from(NODES)),
        draw(st.sampled_from(NODES[:3])),
        draw(st.sampled_from(INTERESTS)),
        draw(st.none() | INTERVALS),
        draw(st.none() | st.booleans()),
        days[0] if days else None,
        days[1] if len(days) > 1 else None,
        "own",
        joint=draw(st.sampled_from(["", "pact of 2020"])),
    )


def essence(each: Statement) -> tuple[Any, ...]:
    unknown = "unknown:" if each.owner.startswith("unknown:") else each.owner
    return (unknown, each.owned, each.interest, each.share, each.is_direct, each.valid_from, each.valid_to, each.joint)


@given(st.lists(statements(), max_size=8, unique_by=lambda each: each.id))
def test_what_is_written_reads_back_the_same(given_ones: list[Statement]) -> None:
    parties = {"name:a b.v.": {"name": "A B.V.", "is_person": False, "jurisdiction": "NL", "identifiers": []}}
    made = bods.write(given_ones, parties, publisher="Us", published=date(2026, 1, 2))
    found, described = bods.read(json.dumps(made).encode())
    assert sorted(map(essence, found), key=str) == sorted(map(essence, given_ones), key=str)
    assert len({each["statementId"] for each in made}) == len(made)
    if any("name:a b.v." in (each.owner, each.owned) for each in given_ones):
        assert described["name:a b.v."] == parties["name:a b.v."]


@pytest.fixture(scope="module")
def standard(shared_data: Path) -> Path:
    if not (shared_data / "bods").is_dir():
        pytest.skip(f"no BODS: {shared_data / 'bods'} is missing; set COUNTENANCE_TEST_DATA")
    return shared_data / "bods"


def files(folder: Path) -> Iterator[Path]:
    yield from sorted(folder.rglob("*.json"))


def test_what_is_written_is_valid(standard: Path) -> None:
    from jsonschema import Draft202012Validator
    from referencing import Registry, Resource

    schemas = [json.loads(each.read_text("utf-8")) for each in standard.glob("schema/*-record.json")]
    schemas.append(json.loads((standard / "schema/components.json").read_text("utf-8")))
    registry: Any = Registry().with_resources([(each["$id"], Resource.from_contents(each)) for each in schemas])
    statement = json.loads((standard / "schema/statement.json").read_text("utf-8"))
    check = Draft202012Validator(statement, registry=registry)
    given_ones = [
        Statement(str(at), owner, "reg:GB-COH:03977902", interest, share, None, date(2020, 1, 1), None, "own")
        for at, (owner, interest, share) in enumerate(
            [
                ("name:ada b", "shareholding", Interval(333_333, 333_334)),
                (f"lei:{LEI}", "votingRights", Interval(250_000, 500_000, True, True)),
                ("unknown:x", "unknownInterest", None),
            ]
        )
    ]
    parties = {"name:ada b": {"name": "Ada B", "is_person": True}}
    made = bods.write(given_ones, parties, publisher="Us", published=date(2026, 1, 2))
    assert len(made) == 7
    assert [each.message for each in check.iter_errors(made)] == []
    assert [each.message for each in check.iter_errors([{**made[0], "recordId": 7}])] != []


def test_examples_of_the_standard_are_read(standard: Path) -> None:
    read_ones = 0
    for file in (*files(standard / "examples"), *files(standard / "v04_fixtures")):
        found, _ = bods.read(file.read_bytes())
        read_ones += len(found)
    assert read_ones > 50
    circular, _ = bods.read(next(standard.rglob("10-circular-ownership.json")).read_bytes())
    assert {each.owner for each in circular} == {each.owned for each in circular}
    anonymous, _ = bods.read(next(standard.rglob("11-anonymous-person.json")).read_bytes())
    assert [(each.owner[:8], each.interest) for each in anonymous] == [("unknown:", "unknownInterest")]
    indirect, _ = bods.read((standard / "examples/indirect-ownership.json").read_bytes())
    assert [str(each.share) for each in indirect] == ["60 %", "None", "30 %"]


def test_invalid_statements_of_the_standard_are_refused_or_harmless(standard: Path) -> None:
    refused = 0
    for file in files(standard / "tests/data/invalid-statements"):
        said_there = json.loads(file.read_text("utf-8"))
        content = json.dumps(said_there if isinstance(said_there, list) else [said_there]).encode()
        try:
            bods.read(content)
        except OwnershipError:
            refused += 1
    assert refused > 15
