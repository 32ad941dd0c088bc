"""A month's statement: what counts, its invariant, and its renderings."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from countenance.ledger.counting import StatementError
from countenance.ledger.metering import PriceTable
from countenance.ledger.statement import CAVEAT, Statement, check, decimal, leaves_sha256, month_end

ACCOUNT, OTHER = "111122223333", "444455556666"
TABLE = PriceTable.load()


def micros(*moment: int) -> int:
    return (datetime(*moment, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


NOON = micros(2026, 10, 5, 12)


def opening(index: int, **members: Any) -> dict[str, Any]:
    entry = {
        "kind": "call",
        "time": NOON + index,
        "account": ACCOUNT,
        "party": [{"role": "customer", "scheme": "lei", "value": "5493001KJTIIGC8Y1R12"}],
        "purpose": "door",
        "operation": "CompareFaces",
        "code": "OK",
        "units": 1,
        "amount": 1_000,
        "currency": "USD",
        "price": TABLE.version,
        "decision": {"allowed": True},
        "details": {},
        "count": 1,
    }
    return {"index": index, "accounting": entry | members}


DENIED: Mapping[str, Any] = {"code": "AccessDeniedException", "units": 0, "amount": 0, "decision": {"allowed": False}}
FAILED: Mapping[str, Any] = {"code": "InvalidParameterException", "units": 0, "amount": 0}
OPENINGS = [
    opening(3),
    opening(4),
    opening(5, purpose="bank"),
    opening(6, operation="ListFaces", units=0, amount=0),
    opening(7, **DENIED),
    opening(8, **FAILED),
    opening(9, kind="throttled", code="ThrottlingException", units=0, amount=0, count=40, decision=None),
    opening(10, kind="effect", operation="IndexFaces", units=0, amount=0),
    opening(11, kind="act", units=0, amount=0, operation="credit", details={"credit_micro": 700, "reason": "outage"}),
    opening(12, kind="act", units=0, amount=0, operation="account.create"),
    opening(13, account=OTHER),
    opening(14, time=micros(2026, 11, 1)),
    opening(15, time=micros(2026, 11, 1) - 1),
    opening(16, time=micros(2026, 10, 1) - 1),
    opening(17, time=micros(2026, 10, 1)),
    opening(18, kind="unauthenticated", account="", count=900),
]


def of(openings: list[dict[str, Any]], **more: Any) -> Statement:
    return Statement.of(openings, ACCOUNT, "2026-10", **more)


def test_rows_lines_and_totals() -> None:
    statement = of(OPENINGS, tree_size=100)
    found = {(row.purpose, row.operation): row for row in statement.rows}
    door = found["door", "CompareFaces"]
    assert (door.calls, door.units, door.amount, door.denied, door.failed) == (46, 4, 4_000, 1, 41)
    assert (door.leaves, door.leaves_sha256) == (7, leaves_sha256([3, 4, 7, 8, 9, 15, 17]))
    assert found["bank", "CompareFaces"].amount == 1_000
    assert (found["door", "ListFaces"].calls, found["door", "ListFaces"].amount) == (1, 0)
    totals = statement.totals
    assert (totals.leaves, totals.calls, totals.units, totals.denied, totals.failed) == (10, 48, 5, 1, 41)
    assert (totals.charges, totals.credits, totals.due) == (5_000, 700, 4_300)
    assert [line.amount for line in statement.lines] == [5_000, 0, -700]
    assert statement.lines[-1].text == "Credit: outage"
    assert statement.party == (("customer", "lei", "5493001KJTIIGC8Y1R12"),)
    assert check(statement, OPENINGS, prices=TABLE) == []


def test_a_denial_is_told_by_the_code_or_by_the_decision() -> None:
    """A policy's denial may be worded as another error; a refusal before the policies has no decision."""
    worded = opening(1, **{**DENIED, "code": "ResourceNotFoundException"})
    early = opening(2, **{**DENIED, "decision": None})
    assert (of([worded, early]).totals.denied, of([worded, early]).totals.failed) == (2, 0)


def test_leaf_indices_are_hashed_as_eight_bytes_in_order() -> None:
    expected = hashlib.sha256(bytes(7) + b"\x02" + bytes(6) + b"\x01\x00").hexdigest()
    assert leaves_sha256([256, 2]) == expected


def test_the_order_of_openings_does_not_matter() -> None:
    shuffled = list(OPENINGS)
    random.Random(5).shuffle(shuffled)
    assert of(shuffled).as_json() == of(OPENINGS).as_json()


def test_an_empty_month() -> None:
    statement = of([])
    assert (statement.rows, statement.lines, statement.totals.due, statement.currency) == ((), (), 0, "")
    assert "none named" in statement.as_table()
    assert check(statement, []) == []
    assert check(statement, [opening(1)]) != []


def test_credits_may_exceed_charges() -> None:
    openings = [opening(1, kind="act", details={"credit_micro": 5, "reason": "goodwill"})]
    assert of(openings).totals.due == -5
    assert "-0.000005" in of(openings).as_table()


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ([opening(1), opening(1)], "given twice"),
        ([opening(1), opening(2, currency="EUR")], "EUR, USD"),
        ([opening(1, amount=1.0)], "`amount`"),
        ([opening(1, units=True)], "`units`"),
        ([opening(1, units=-1)], "`units`"),
        ([opening(1, purpose=None)], "`purpose`"),
        ([opening(1, party="x")], "`party`"),
        ([opening(1, party=[{"role": "customer"}])], "`scheme`"),
        ([opening(1, count=2)], "stands for 2"),
        ([opening(1, time="now")], "`time`"),
        ([opening(1, time=2**53)], "`time`"),
        ([opening(1, kind="act", details={"credit_micro": -5, "reason": ""})], "credit_micro"),
        ([opening(1, kind="act", details={"credit_micro": 0, "reason": ""})], "credit of nothing"),
        ([opening(1, kind="act", details={"credit_micro": 1})], "reason"),
        ([{"index": 1}], "no accounting"),
        ([{"accounting": opening(1)["accounting"]}], "`index`"),
    ],
)
def test_what_cannot_be_counted_is_refused(wrong: list[dict[str, Any]], says: str) -> None:
    with pytest.raises(StatementError, match=says):
        of(wrong)


def test_not_a_month() -> None:
    for month in ("2026-13", "2026-1", "2026-10-01", ""):
        with pytest.raises(StatementError, match="not a month"):
            Statement.of([], ACCOUNT, month)
    assert month_end("2026-12") == "2027-01-01T00:00:00Z"
    assert month_end("2026-02") == "2026-03-01T00:00:00Z"


def test_a_zero_amount_in_another_currency_is_no_second_currency() -> None:
    statement = of([opening(1, currency="EUR"), opening(2, operation="ListFaces", units=0, amount=0)])
    assert statement.currency == "EUR"


def test_check_names_what_was_changed() -> None:
    statement = of(OPENINGS, tree_size=100)
    rows, lines, totals = statement.rows, statement.lines, statement.totals
    door = next(row for row in rows if row.purpose == "door" and row.units)
    for forged in (
        replace(statement, rows=tuple(replace(row, amount=row.amount + 1) if row is door else row for row in rows)),
        replace(statement, rows=rows[1:]),
        replace(statement, rows=(*rows, rows[0])),
        replace(statement, rows=tuple(replace(row, purpose="police") if row is door else row for row in rows)),
        replace(statement, rows=tuple(replace(row, denied=0) if row is door else row for row in rows)),
        replace(statement, lines=lines[:-1]),
        replace(statement, lines=(replace(lines[0], units=0), *lines[1:])),
        replace(statement, totals=replace(totals, due=totals.due - 1)),
        replace(statement, totals=replace(totals, failed=0)),
        replace(statement, party=()),
        replace(statement, currency="EUR"),
        replace(statement, tree_size=18),
        replace(statement, tree_size=17),
    ):
        differences = check(forged, OPENINGS)
        assert bool(differences) is (forged.tree_size != 18)
    gift = [opening(20, kind="act", details={"credit_micro": 1, "reason": "late"})]
    assert check(of(gift, tree_size=20), gift) == ["leaf 20 is not in a tree of 20"]
    assert check(statement, OPENINGS[1:]) != []
    assert check(statement, [*OPENINGS, opening(99)]) != []
    assert check(statement, [*OPENINGS, OPENINGS[0]]) == ["Leaf 3 is given twice."]


def test_check_sees_charges_that_should_not_be() -> None:
    denied = [opening(1, **{**DENIED, "units": 1, "amount": 1_000})]
    assert check(of(denied), denied) == ["leaf 1: a denied call has 1 units at 1000"]
    dear = [opening(1, amount=1_001)]
    assert check(of(dear), dear) == []
    assert "1001 micro-units charged, the tiers give 1000" in check(of(dear), dear, prices=TABLE)[0]
    free = [opening(1, operation="ListFaces")]
    assert check(of(free), free, prices=TABLE) == ["group none: 1000 micro-units charged, the tiers give 0"]
    older = [opening(1, price="0" * 64)]
    assert "another price table" in check(of(older), older, prices=TABLE)[0]


def test_amounts_are_printed_exactly() -> None:
    assert [decimal(n) for n in (0, 1, -1, 1_000_000, -1_234_567)] == [
        "0.000000",
        "0.000001",
        "-0.000001",
        "1.000000",
        "-1.234567",
    ]
    assert decimal(2**53 - 1) == "9007199254.740991"


def test_json_is_canonical_and_has_no_floats() -> None:
    octets = of(OPENINGS, tree_size=100).as_json()
    value = json.loads(octets, parse_float=lambda text: pytest.fail(text))
    assert json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() == octets
    assert value["totals"]["due"] == 4_300
    assert value["tree_size"] == 100
    assert value["party"] == [{"role": "customer", "scheme": "lei", "value": "5493001KJTIIGC8Y1R12"}]
    assert "tree_size" not in json.loads(of(OPENINGS).as_json())


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert {name for name, _ in attrs} <= {"class", "lang", "charset", "http-equiv", "content"}
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


def test_renderings_say_everything_and_run_nothing() -> None:
    evil = "</td><script>alert('\"&')</script>\x1b]0;title\x07"
    party = [{"role": evil, "scheme": "lei", "value": "x" + evil}]
    openings = [
        opening(1, purpose=evil, operation=evil, price=evil, party=party, units=0, amount=0),
        opening(2, kind="act", details={"credit_micro": 1, "reason": evil}),
    ]
    statement = of(openings, tree_size=77)
    page = _Tags()
    page.feed(statement.as_html())
    assert page.tags == {"html", "head", "meta", "title", "style", "body", "h1", "table", "tr", "th", "td", "p"}
    table = statement.as_table()
    assert "\x1b" not in table
    assert "\x07" not in table
    for text in (page.text, table):
        for wanted in (ACCOUNT, "2026-10-01T00:00:00Z to 2026-11-01T00:00:00Z", "77", "alert(", CAVEAT, "-0.000001"):
            assert wanted in text
    assert evil[:30] in page.text
