"""GLEIF's level 2 data, in both of its forms."""

from __future__ import annotations

import io
from datetime import date
from typing import Any

import pytest

from countenance.standing.ownership import Interval, OwnershipError, Statement, gleif

A, B, C, D = "529900T8BM49AURSDO55", "213800D1EI4B9WTWWD28", "5493001KJTIIGC8Y1R12", "969500UP76J52A9OXU27"
Row = tuple[str, str, str, str, str, str, str]
ROWS: list[Row] = [
    (A, B, "IS_DIRECTLY_CONSOLIDATED_BY", "ACTIVE", "PUBLISHED", "2015-01-01T00:00:00Z", ""),
    (A, C, "IS_ULTIMATELY_CONSOLIDATED_BY", "ACTIVE", "PUBLISHED", "2015-01-01T00:00:00.000Z", ""),
    (B, C, "IS_DIRECTLY_CONSOLIDATED_BY", "INACTIVE", "RETIRED", "2010-01-01", "2018-05-31T00:00:00Z"),
    (D, C, "IS_INTERNATIONAL_BRANCH_OF", "ACTIVE", "LAPSED", "", ""),
    (D, A, "IS_DIRECTLY_CONSOLIDATED_BY", "ACTIVE", "ANNULLED", "", ""),
    (D, A, "IS_FUND-MANAGED_BY", "ACTIVE", "PUBLISHED", "", ""),
    (B, A, "IS_DIRECTLY_CONSOLIDATED_BY", "INACTIVE", "PUBLISHED", "2010-01-01", ""),
]
COLUMNS = (
    "Relationship.StartNode.NodeID,Relationship.StartNode.NodeIDType,Relationship.EndNode.NodeID,"
    "Relationship.EndNode.NodeIDType,Relationship.RelationshipType,Relationship.RelationshipStatus,"
    "Relationship.Period.1.startDate,Relationship.Period.1.endDate,Relationship.Period.1.periodType,"
    "Relationship.Period.2.startDate,Relationship.Period.2.endDate,Relationship.Period.2.periodType,"
    "Registration.RegistrationStatus"
)


def as_csv(rows: list[Row]) -> bytes:
    lines = [
        f'"{child}","LEI","{parent}","LEI","{kind}","{status}","2020-01-01","2020-12-31","ACCOUNTING_PERIOD",'
        f'"{start}","{end}","RELATIONSHIP_PERIOD","{registration}"'
        for child, parent, kind, status, registration, start, end in rows
    ]
    return "\n".join((COLUMNS, *lines, "")).encode()


def as_xml(rows: list[Row]) -> bytes:
    records = "".join(
        f"<rr:RelationshipRecord><rr:Relationship><rr:StartNode><rr:NodeID>{child}</rr:NodeID></rr:StartNode>"
        f"<rr:EndNode><rr:NodeID>{parent}</rr:NodeID></rr:EndNode><rr:RelationshipType>{kind}</rr:RelationshipType>"
        "<rr:RelationshipPeriods><rr:RelationshipPeriod><rr:StartDate>2020-01-01</rr:StartDate>"
        "<rr:PeriodType>ACCOUNTING_PERIOD</rr:PeriodType></rr:RelationshipPeriod>"
        f"<rr:RelationshipPeriod><rr:StartDate>{start}</rr:StartDate><rr:EndDate>{end}</rr:EndDate>"
        "<rr:PeriodType>RELATIONSHIP_PERIOD</rr:PeriodType></rr:RelationshipPeriod></rr:RelationshipPeriods>"
        f"<rr:RelationshipStatus>{status}</rr:RelationshipStatus></rr:Relationship><rr:Registration>"
        f"<rr:RegistrationStatus>{registration}</rr:RegistrationStatus></rr:Registration></rr:RelationshipRecord>"
        for child, parent, kind, status, registration, start, end in rows
    )
    root = 'xmlns:rr="http://www.gleif.org/data/schema/rr/2016"'
    return f"<?xml version='1.0'?><rr:RelationshipData {root}>{records}</rr:RelationshipData>".encode()


def essence(each: Statement) -> tuple[Any, ...]:
    return (each.owner, each.owned, each.interest, each.share, each.is_direct, each.valid_from, each.valid_to)


EXPECTED = [
    (f"lei:{B}", f"lei:{A}", "otherInfluenceOrControl", None, True, date(2015, 1, 1), None),
    (f"lei:{C}", f"lei:{A}", "otherInfluenceOrControl", None, False, date(2015, 1, 1), None),
    (f"lei:{C}", f"lei:{B}", "otherInfluenceOrControl", None, True, date(2010, 1, 1), date(2018, 5, 31)),
    (f"lei:{C}", f"lei:{D}", "shareholding", Interval(1_000_000, 1_000_000), True, None, None),
]


@pytest.mark.parametrize("form", [as_csv, as_xml])
def test_both_forms_say_the_same(form: Any) -> None:
    found = gleif.read(io.BytesIO(form(ROWS)))
    assert sorted(map(essence, found), key=str) == sorted(EXPECTED, key=str)
    assert {each.source for each in found} == {"GLEIF level 2"}
    again = gleif.read(io.BufferedReader(io.BytesIO(form(ROWS))))
    assert [each.id for each in again] == [each.id for each in found]


def test_only_chains_above_some() -> None:
    found = gleif.read(io.BytesIO(as_csv(ROWS)), [B.lower()])
    assert [essence(each) for each in found] == [EXPECTED[2]]
    assert len(gleif.read(io.BytesIO(as_csv(ROWS)), [A])) == 3
    cycle = [*ROWS, (C, A, "IS_DIRECTLY_CONSOLIDATED_BY", "ACTIVE", "PUBLISHED", "", "")]
    assert len(gleif.read(io.BytesIO(as_csv(cycle)), [A])) == 4


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"a,b\n1,2\n",
        as_csv(ROWS)[:-30],
        as_csv([(A[:-1] + "6", *ROWS[0][1:])]),
        as_csv([(*ROWS[0][:5], "soon", "")]),
        b"\xff\xfe,x\n",
        as_xml(ROWS)[:-30],
        as_xml([(A, "", *ROWS[0][2:])]),
        b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]><x>&a;</x>",
        as_xml(ROWS).replace(b"<rr:StartNode>", b"<rr:StartNode><rr:NodeID>x</rr:NodeID>"),
    ],
)
def test_what_is_none_of_it_is_refused(content: bytes) -> None:
    with pytest.raises(OwnershipError):
        gleif.read(io.BytesIO(content))


def test_a_lei_that_is_none_is_refused_before_anything_is_read() -> None:
    with pytest.raises(OwnershipError, match="no LEI"):
        gleif.read(io.BytesIO(as_csv(ROWS)), ["x"])
