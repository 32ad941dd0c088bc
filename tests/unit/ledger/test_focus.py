"""The FOCUS 1.2 file: against the specification's own conformance model, and against a simulated month.

The model (focus_model-1.2.0.1.json, FinOps Foundation, CC BY 4.0) is not part of this repository; its rules are read
from the measuring data, and those tests skip where there are none. `Checker` below is no product code: it applies the
rules that can be applied to a file alone, and counts the others.
"""

from __future__ import annotations

import csv
import io
import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from countenance.ledger.counting import StatementError
from countenance.ledger.focus import COLUMNS, as_csv
from countenance.ledger.metering import METERED, MonthCounters, PriceTable, metered_units, month_of
from countenance.ledger.statement import Statement, check, decimal, leaves_sha256

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
ACCOUNTS = ("111122223333", "444455556666", "777788889999")
PURPOSES = ("door", 'staff, "night" shift', "<b>bank</b>", "")
GROUP_1 = [name for name in sorted(METERED) if not name.startswith(("Detect", "Recognize"))]
TABLE = PriceTable.load(
    f"""
    format = 1
    currency = "EUR"
    source = "a test: thresholds low enough to cross"
    retrieved = "2026-10-01"
    [[groups]]
    name = "one"
    operations = {json.dumps(GROUP_1)}
    tiers = [{{ up_to = 1_000, micro = 1_000 }}, {{ up_to = 4_000, micro = 801 }}, {{ micro = 399 }}]
    [[groups]]
    name = "two"
    operations = {json.dumps(sorted(METERED - set(GROUP_1)))}
    tiers = [{{ up_to = 500, micro = 250 }}, {{ micro = 1 }}]
    """
)


def micros(*moment: int) -> int:
    return (datetime(*moment, tzinfo=UTC) - EPOCH) // timedelta(microseconds=1)


Row = dict[str, str]
Opening = dict[str, Any]


def simulated(seed: int, entries: int) -> list[Opening]:
    """Accounting sections of the days around October 2026, priced as they come, in the order of leaves."""
    draw = random.Random(seed)
    counters = MonthCounters()
    begin, end = micros(2026, 9, 29), micros(2026, 11, 3)
    edges = [micros(2026, 10, 1), micros(2026, 11, 1), micros(2026, 10, 15)]
    times = [draw.randrange(begin, end) for _ in range(entries - 60)]
    times += [edge + shift for edge in edges for shift in range(-10, 10)]
    found: list[Opening] = []
    index = 0
    for time in sorted(times):
        index += draw.choice((1, 1, 1, 2, 300))
        account = draw.choices(ACCOUNTS, weights=(6, 3, 1))[0]
        operation = draw.choices(
            ("CompareFaces", "SearchFacesByImage", "IndexFaces", "DetectFaces", "SearchFaces", "ListFaces"),
            weights=(5, 5, 2, 3, 1, 1),
        )[0]
        party = [{"role": "customer", "scheme": "lei", "value": f"LEI{account[:4]}{time > edges[2]}"}]
        entry: dict[str, Any] = {
            "kind": "call",
            "time": time,
            "account": account,
            "party": [] if account == ACCOUNTS[2] else party,
            "purpose": draw.choice(PURPOSES),
            "operation": operation,
            "code": "OK",
            "currency": TABLE.currency,
            "price": TABLE.version,
            "decision": {"allowed": True},
            "details": {},
            "count": 1,
        }
        what = draw.randrange(1_000)
        if what < 60:
            entry |= {"code": "AccessDeniedException", "decision": {"allowed": False}}
        elif what < 110:
            entry |= {"code": "InvalidParameterException"}
        elif what < 125:
            count = draw.randrange(1, 5_000)
            entry |= {"kind": "throttled", "code": "ThrottlingException", "count": count, "decision": None}
        elif what < 130:
            details = {"credit_micro": draw.randrange(1, 90_000), "reason": f"outage {index}, part"}
            entry |= {"kind": "act", "operation": "credit", "details": details}
        elif what < 160:
            entry |= {"kind": "effect"}
        elif what < 165:
            entry |= {"kind": "unauthenticated", "account": "", "count": 500}
        units = metered_units(operation, entry["code"]) if entry["kind"] == "call" else 0
        amount = counters.charge(TABLE, account, operation, time, units)
        found.append({"index": index, "accounting": entry | {"units": units, "amount": amount}})
    return found


@pytest.fixture(scope="module")
def openings() -> list[Opening]:
    return simulated(7, 20_000)


def focus(statement: Statement, opened: Iterable[Opening]) -> list[Row]:
    text = as_csv(statement, opened, operator="Example Operator GmbH", account_name="Example account")
    return list(csv.DictReader(io.StringIO(text)))


def micro(text: str) -> int:
    value = Decimal(text) * 10**6
    assert value == int(value)
    return int(value)


@pytest.mark.parametrize("account", ACCOUNTS)
@pytest.mark.parametrize("month", ["2026-09", "2026-10", "2026-11"])
def test_one_sum_in_leaves_rows_lines_totals_and_focus(openings: list[Opening], account: str, month: str) -> None:
    """Every sum once more, from the entries alone and by other means than the product's."""
    mine = [o for o in openings if o["accounting"]["account"] == account]
    mine = [o for o in mine if month_of(o["accounting"]["time"]) == month]
    calls = [o for o in mine if o["accounting"]["kind"] in ("call", "throttled")]
    credited = [o for o in mine if o["accounting"]["kind"] == "act"]
    charged: Counter[str] = Counter()
    for each in calls:
        group = "one" if each["accounting"]["operation"] in GROUP_1 else "two"
        charged[group] += each["accounting"]["units"]
    one, two = charged["one"], charged["two"]
    tiers = 1_000 * min(one, 1_000) + 801 * min(max(one - 1_000, 0), 3_000) + 399 * max(one - 4_000, 0)
    tiers += 250 * min(two, 500) + max(two - 500, 0)
    credit = sum(o["accounting"]["details"]["credit_micro"] for o in credited)
    number = sum(o["accounting"]["count"] for o in calls)
    if (account, month) == (ACCOUNTS[0], "2026-10"):
        assert one > 4_000, "every threshold is crossed"
        assert two > 500
        assert credited

    shuffled = list(openings)
    random.Random(month).shuffle(shuffled)
    statement = Statement.of(shuffled, account, month, tree_size=openings[-1]["index"] + 1)
    assert check(statement, shuffled, prices=TABLE) == []
    totals = statement.totals
    assert (totals.charges, totals.credits, totals.due) == (tiers, credit, tiers - credit)
    assert (totals.calls, totals.units, totals.leaves) == (number, one + two, len(mine) - _effects(mine))
    assert sum(row.amount for row in statement.rows) == tiers
    assert sum(row.calls for row in statement.rows) == number
    assert sum(line.amount for line in statement.lines) == tiers - credit
    assert sum(line.calls for line in statement.lines) == number

    rows = focus(statement, shuffled)
    for column in ("BilledCost", "EffectiveCost", "ListCost", "ContractedCost"):
        assert sum(micro(row[column]) for row in rows) == totals.due
    assert sum(int(row["x_Calls"]) for row in rows) == number
    assert sum(int(row["x_Leaves"]) for row in rows) == totals.leaves
    assert sum(Decimal(row["ConsumedQuantity"] or 0) for row in rows) == totals.units
    for outcome, total in (("denied", totals.denied), ("failed", totals.failed)):
        assert sum(int(row["x_Calls"]) for row in rows if row["x_Outcome"] == outcome) == total


def _effects(mine: list[Opening]) -> int:
    return sum(o["accounting"]["kind"] == "effect" for o in mine)


def test_focus_rows_are_days_operations_and_purposes(openings: list[Opening]) -> None:
    account, month = ACCOUNTS[0], "2026-10"
    statement = Statement.of(openings, account, month)
    by_row: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for each in openings:
        entry = each["accounting"]
        if entry["account"] == account and entry["kind"] in ("call", "throttled"):
            day = (EPOCH + timedelta(microseconds=entry["time"])).strftime("%Y-%m-%d")
            decided = {True: "allow", False: "deny", None: ""}[(entry["decision"] or {}).get("allowed")]
            price = decimal(entry["amount"])
            party = json.dumps([dict(sorted(p.items())) for p in entry["party"]], separators=(",", ":"))
            outcome = {"OK": "answered", "AccessDeniedException": "denied"}.get(entry["code"], "failed")
            key = (day, entry["operation"], entry["purpose"], decided, outcome, price, party)
            by_row[key].append(each["index"])
    written = {}
    for row in focus(statement, openings):
        if row["ChargeCategory"] == "Usage":
            key = (row["ChargePeriodStart"][:10], row["SkuId"], row["x_Purpose"], row["x_Decision"], row["x_Outcome"])
            written[(*key, row["ListUnitPrice"], row["x_Party"])] = row["x_LeafIndicesSha256"]
    expected = {key: leaves_sha256(indices) for key, indices in by_row.items() if key[0][:7] == month}
    assert written == expected
    assert len({key[:3] for key in written}) >= 31 * 5 * len(PURPOSES)


def test_a_file_names_its_statement_or_is_not_written(openings: list[Opening]) -> None:
    statement = Statement.of(openings, ACCOUNTS[0], "2026-10")
    with pytest.raises(StatementError, match="The statement is of"):
        focus(statement, openings[: len(openings) // 2])
    with pytest.raises(StatementError, match="names the operator"):
        as_csv(statement, openings, operator=" ", account_name="x")
    broken = [{"index": 1, "accounting": openings[0]["accounting"] | {"kind": "call", "units": 2, "amount": 3}}]
    entry = broken[0]["accounting"]
    of_broken = Statement.of(broken, entry["account"], "2026-09")
    with pytest.raises(StatementError, match="no unit price"):
        focus(of_broken, broken)


def test_an_empty_month_is_a_header() -> None:
    text = as_csv(Statement.of([], ACCOUNTS[0], "2026-10"), [], operator="O", account_name="A")
    assert text == ",".join(COLUMNS) + "\n"


# --- the specification's own rules -------------------------------------------------------------------------------

SUPPORTED = frozenset(
    {"ACCOUNT_NAMING_SUPPORTED", "PUBLIC_PRICE_LIST_SUPPORTED", "UNIT_PRICING_SUPPORTED", "USAGE_MEASUREMENT_SUPPORTED"}
)
"""The model's conditions on a provider that hold here."""

MANDATORY = frozenset({"MUST", "MUST NOT"})

CONTRADICTORY = {
    "InvoiceId-C-004-C": "wants InvoiceId null always, against InvoiceId-C-005-C: the model lost both conditions",
}

NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?(E-?[0-9]+)?")
MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
UNIT = re.compile(r"[A-Z][A-Za-z]*( [A-Za-z]+)*(/[A-Z][a-z]+)?(-[A-Z][a-z]+)?")


class Checker:
    """Applies the model's rules to the rows of a file.

    A rule is applied, or it is one of: composite (its parts are applied), conditional on a provider or a column that is
    not here, a permission (MAY: nothing can violate it), or of a kind that the file alone cannot show.
    """

    def __init__(
        self, model: Mapping[str, Any], header: list[str], rows: list[Row], currencies: frozenset[str]
    ) -> None:
        self.rules: Mapping[str, Any] = model["ModelRules"]
        self.header, self.rows, self.currencies = header, rows, currencies
        self.counts: Counter[str] = Counter()
        self.violated: dict[str, str] = {}
        self.unheeded: dict[str, str] = {}
        self.left: list[str] = []
        of_format: dict[str, set[str]] = defaultdict(set)
        for rule in self.rules.values():
            requirement = rule["ValidationCriteria"]["Requirement"]
            if requirement.get("CheckFunction", "").startswith(("Format", "Type")):
                of_format[requirement["CheckFunction"]].add(requirement["ColumnName"])
        self.of_format = {name: sorted(columns & set(header)) for name, columns in of_format.items()}

    def run(self) -> Checker:
        for name, rule in self.rules.items():
            criteria = rule["ValidationCriteria"]
            keyword, wanted = criteria["Keyword"], criteria["Requirement"]
            column = rule["Reference"]
            if rule["Function"] == "Composite":
                self.counts["composite, by its parts"] += 1
            elif not set(rule["ApplicabilityCriteria"]) <= SUPPORTED or (
                rule["EntityType"] == "Column" and column not in self.header
            ):
                self.counts["not applicable"] += 1
            elif keyword == "MAY":
                self.counts["permission"] += 1
            elif name in CONTRADICTORY:
                self.counts["contradicts another rule"] += 1
            elif name in BY_HAND:
                self._note(name, keyword, BY_HAND[name](self))
            elif wanted:
                self._note(name, keyword, self._unmet(wanted, criteria["Condition"]))
            else:
                mandatory = "mandatory" if keyword in MANDATORY else "advice"
                self.counts[f"for a human or another system, {mandatory}"] += 1
                self.left.append(name)
        return self

    def _note(self, name: str, keyword: str, problem: str) -> None:
        if keyword in MANDATORY:
            self.counts["applied, mandatory"] += 1
            if problem:
                self.violated[name] = problem
        else:
            self.counts["applied, advice"] += 1
            if problem:
                self.unheeded[name] = problem

    def _unmet(self, wanted: Mapping[str, Any], condition: Mapping[str, Any]) -> str:
        if wanted["CheckFunction"] == "ColumnPresent":
            return "" if wanted["ColumnName"] in self.header else "the column is missing"
        if wanted["CheckFunction"] == "CheckDistinctCount":
            parents: dict[str, set[str]] = defaultdict(set)
            for row in self.rows:
                if row[wanted["ColumnAName"]]:
                    parents[row[wanted["ColumnAName"]]].add(row[wanted["ColumnBName"]])
            return next((key for key, each in parents.items() if len(each) != wanted["ExpectedCount"]), "")
        for number, row in enumerate(self.rows, 2):
            if (not condition or self._holds(condition, row)) and not self._holds(wanted, row):
                return f"line {number}: {wanted.get('ColumnName', wanted)} is {row.get(wanted.get('ColumnName', ''))!r}"
        return ""

    def _holds(self, wanted: Mapping[str, Any], row: Row) -> bool:
        function = wanted["CheckFunction"]
        if function in ("AND", "OR"):
            results = [self._holds(item, row) for item in wanted["Items"]]
            return all(results) if function == "AND" else any(results)
        if function == "ColumnByColumnEqualsColumnValue":
            factors = [row[wanted[name]] for name in ("ColumnAName", "ColumnBName", "ResultColumnName")]
            return "" in factors or Decimal(factors[0]) * Decimal(factors[1]) == Decimal(factors[2])
        if function in ("CheckSameValue", "CheckNotSameValue"):
            same = row[wanted["ColumnAName"]] == row[wanted["ColumnBName"]]
            return same is (function == "CheckSameValue")
        value = row.get(wanted["ColumnName"], "")
        if function in ("CheckValue", "CheckNotValue"):
            return self._is(value, wanted["Value"]) is (function == "CheckValue")
        if value == "":
            return function != "CheckDecimalValue"  # a null has no type and no format; nullability has rules of its own
        return bool(ON_VALUES[function](value, wanted, self))

    @staticmethod
    def _is(value: str, wanted: object) -> bool:
        if wanted is None:
            return value == ""
        if NUMBER.fullmatch(str(wanted)) and NUMBER.fullmatch(value):
            return Decimal(value) == Decimal(str(wanted))
        return value == str(wanted)

    def each(self, function: str, holds: Callable[[str], object]) -> str:
        """The first non-null value that does not hold, in the columns of a format or type."""
        for column in self.of_format[function]:
            for row in self.rows:
                if row[column] and not holds(row[column]):
                    return f"{column}: {row[column]!r}"
        return ""


def _moment(value: str) -> bool:
    try:
        return bool(MOMENT.fullmatch(value)) and datetime.fromisoformat(value).utcoffset() == timedelta(0)
    except ValueError:
        return False


def _flat(value: str) -> bool:
    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(found)) == len(found)
        return dict(found)

    try:
        members = json.loads(value, object_pairs_hook=pairs)
    except (ValueError, AssertionError):
        return False
    return isinstance(members, dict) and not any(isinstance(each, (dict, list)) for each in members.values())


ON_VALUES: dict[str, Callable[[str, Mapping[str, Any], Checker], object]] = {
    "TypeString": lambda value, rule, at: True,
    "FormatString": lambda value, rule, at: value.isprintable() and value.strip(),
    "TypeDecimal": lambda value, rule, at: NUMBER.fullmatch(value) and "." in value,
    "FormatNumeric": lambda value, rule, at: NUMBER.fullmatch(value),
    "CheckDecimalValue": lambda value, rule, at: NUMBER.fullmatch(value),
    "CheckGreaterOrEqualThanValue": lambda value, rule, at: Decimal(value) >= Decimal(str(rule["Value"])),
    "TypeDateTime": lambda value, rule, at: _moment(value),
    "FormatDateTime": lambda value, rule, at: _moment(value),
    "FormatKeyValue": lambda value, rule, at: _flat(value),
    "FormatUnit": lambda value, rule, at: UNIT.fullmatch(value),
    "FormatCurrency": lambda value, rule, at: re.fullmatch("[A-Z]{3}", value),
    "CheckNationalCurrency": lambda value, rule, at: value in at.currencies,
}


def _columns(at: Checker, holds: Callable[[str], object], *, own: bool) -> str:
    return next((name for name in at.header if name.startswith("x_") is own and not holds(name)), "")


def _ordered(at: Checker) -> str:
    own = [name.startswith("x_") for name in at.header]
    return "" if own == sorted(own) else "columns of FOCUS and of our own are mixed"


def _rows(at: Checker, holds: Callable[[Row], object]) -> str:
    return next((f"line {number}" for number, row in enumerate(at.rows, 2) if not holds(row)), "")


def _credits_match(column: str) -> Callable[[Checker], str]:
    return lambda at: _rows(at, lambda row: row["ChargeCategory"] != "Credit" or row[column] == row["BilledCost"])


def _numbers(holds: Callable[[str], object]) -> Callable[[Checker], str]:
    return lambda at: at.each("FormatNumeric", holds)


def _moments(at: Checker) -> str:
    return at.each("FormatDateTime", _moment)


def _products(at: Checker) -> str:
    return _rows(
        at,
        lambda row: (
            not row["ListUnitPrice"]
            or Decimal(row["ListUnitPrice"]) * Decimal(row["PricingQuantity"]) == Decimal(row["ListCost"])
        ),
    )


def _one_price_per_sku_price(at: Checker) -> str:
    prices: dict[str, set[str]] = defaultdict(set)
    for row in at.rows:
        prices[row["SkuPriceId"]].add(row["ListUnitPrice"])
    return next((key for key, each in prices.items() if key and len(each) != 1), "")


PASCAL = re.compile(r"([A-Z][a-z0-9]+)+")
BY_HAND: dict[str, Callable[[Checker], str]] = {
    "DateTimeFormat-A-001-M": _moments,
    "DateTimeFormat-A-002-M": _moments,
    "DateTimeFormat-A-004-M": _moments,
    "DateTimeFormat-A-005-M": _moments,
    "DateTimeFormat-A-006-M": _moments,
    "NumericFormat-A-002-M": _numbers(lambda value: NUMBER.fullmatch(value)),
    "NumericFormat-A-003-M": _numbers(lambda value: NUMBER.fullmatch(value)),
    "NumericFormat-A-004-M": _numbers(lambda value: "/" not in value),
    "NumericFormat-A-005-M": _numbers(lambda value: "e" not in value),
    "NumericFormat-A-006-M": _numbers(lambda value: "E+" not in value),
    "NumericFormat-A-007-M": _numbers(lambda value: not set(value) & set("+*/^()=")),
    "NumericFormat-A-008-M": _numbers(lambda value: not set(value) - set("-0123456789.E")),
    "NumericFormat-A-009-M": _numbers(lambda value: value.count(".") <= 1 and "," not in value),
    "NumericFormat-A-010-M": _numbers(lambda value: not value.startswith("+")),
    "NumericFormat-A-011-M": _numbers(lambda value: "(" not in value and value[1:].count("-") == value.count("E-")),
    "CurrencyFormat-A-001-C": lambda at: at.each("FormatCurrency", lambda value: re.fullmatch("[A-Z]{3}", value)),
    "StringHandling-A-001-M": lambda at: at.each("FormatString", lambda value: value.encode()),
    "StringHandling-A-007-M": lambda at: at.each("FormatString", lambda value: value.strip()),
    "KeyValueFormat-A-001-M": lambda at: at.each("FormatKeyValue", _flat),
    "KeyValueFormat-A-002-M": lambda at: at.each("FormatKeyValue", _flat),
    "KeyValueFormat-A-003-M": lambda at: at.each("FormatKeyValue", _flat),
    "KeyValueFormat-A-004-M": lambda at: at.each("FormatKeyValue", _flat),
    "NullHandling-A-002-M": lambda at: at.each(
        "TypeString",
        lambda value: value.strip().lower() not in ("", "null", "none", "n/a", "na", "not applicable", "nan"),
    ),
    "ColumnHandling-A-001-M": lambda at: _columns(at, PASCAL.fullmatch, own=False),
    "ColumnHandling-A-003-M": lambda at: _columns(at, str.isalnum, own=False),
    "ColumnHandling-A-005-O": lambda at: _columns(at, lambda name: len(name) <= 50, own=False),
    "ColumnHandling-A-010-M": lambda at: next(
        (n for n in at.header if not n.startswith("x_") and n not in {r["Reference"] for r in at.rules.values()}), ""
    ),
    "ColumnHandling-A-011-O": lambda at: _columns(at, lambda name: PASCAL.fullmatch(name[2:]), own=True),
    "ColumnHandling-A-012-O": _ordered,
    "ColumnHandling-A-013-O": _ordered,
    "ListCost-C-008-C": _credits_match("ListCost"),
    "EffectiveCost-C-010-C": _credits_match("EffectiveCost"),
    "ContractedCost-C-008-C": _credits_match("ContractedCost"),
    "PricingQuantity-C-009-C": _products,
    "SkuPriceId-C-014-C": _one_price_per_sku_price,
    "ConsumedQuantity-C-008-C": lambda at: _rows(
        at, lambda row: not row["ConsumedQuantity"] or NUMBER.fullmatch(row["ConsumedQuantity"])
    ),
    "ChargeClass-C-003-C": lambda at: _rows(at, lambda row: row["ChargeClass"] == ""),
    "BillingPeriodEnd-C-004-M": lambda at: _rows(at, lambda row: row["BillingPeriodEnd"][7:] == "-01T00:00:00Z"),
    "ChargePeriodEnd-C-004-M": lambda at: _rows(
        at, lambda row: row["ChargePeriodStart"] < row["ChargePeriodEnd"] <= row["BillingPeriodEnd"]
    ),
    "ChargePeriodStart-C-004-M": lambda at: _rows(
        at, lambda row: row["BillingPeriodStart"] <= row["ChargePeriodStart"]
    ),
    "SkuPriceDetails-C-017-C": lambda at: _rows(
        at, lambda row: all(key.startswith("x_") for key in re.findall(r'"(\w+)":', row["SkuPriceDetails"]))
    ),
}
"""Rules that the model has in words only and that the file alone shows, by their ids."""


@pytest.fixture(scope="module")
def model(test_data: Path) -> tuple[Mapping[str, Any], frozenset[str]]:
    folder = test_data / "focus"
    if not (folder / "focus_model-1.2.0.1.json").is_file():
        pytest.skip(f"no FOCUS 1.2 model: {folder}/focus_model-1.2.0.1.json is missing; set COUNTENANCE_TEST_DATA")
    rules = json.loads((folder / "focus_model-1.2.0.1.json").read_text(encoding="utf-8"))
    with (folder / "currency_codes.csv").open(encoding="utf-8", newline="") as codes:
        return rules, frozenset(row["currency_codes"] for row in csv.DictReader(codes))


def test_every_mandatory_rule_of_focus_holds(
    openings: list[Opening], model: tuple[Mapping[str, Any], frozenset[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row for account in ACCOUNTS for row in focus(Statement.of(openings, account, "2026-10"), openings)]
    assert {row["ChargeCategory"] for row in rows} == {"Usage", "Credit"}
    found = Checker(model[0], list(COLUMNS), rows, model[1]).run()
    with capsys.disabled():
        print(f"\nFOCUS 1.2 model, {len(found.rules)} rules over {len(rows)} rows:")
        for what, number in sorted(found.counts.items()):
            print(f"  {number:4d} {what}")
    assert found.violated == {}
    assert found.unheeded == {}
    assert sum(found.counts.values()) == len(found.rules)
    assert found.counts["applied, mandatory"] > 150
    assert set(BY_HAND) <= set(found.rules)


def test_the_sum_of_an_invoice_is_its_payable_amount(openings: list[Opening]) -> None:
    """BilledCost-C-007-M, the one rule that wants the invoice beside the file."""
    for account in ACCOUNTS:
        statement = Statement.of(openings, account, "2026-10")
        sums: Counter[str] = Counter()
        for row in focus(statement, openings):
            sums[row["InvoiceId"]] += micro(row["BilledCost"])
        assert sums == {f"{account}-2026-10": statement.totals.due}


@pytest.mark.parametrize(
    ("column", "value", "rule"),
    [
        ("BilledCost", "", "BilledCost-C-003-M"),
        ("BilledCost", "1,5", "BilledCost-C-002-M"),
        ("BilledCost", "+1.5", "NumericFormat-A-010-M"),
        ("ListCost", "99.0", "ListCost-C-009-C"),
        ("PricingQuantity", "12", "PricingQuantity-C-001-M"),
        ("PricingUnit", "", "PricingUnit-C-006-C"),
        ("ListUnitPrice", "-1.0", "ListUnitPrice-C-008-M"),
        ("ListUnitPrice", "", "ListUnitPrice-C-005-C"),
        ("ChargeCategory", "Use", "ChargeCategory-C-003-M"),
        ("ChargeCategory", "Purchase", "ConsumedQuantity-C-004-C"),
        ("ChargeClass", "Wrong", "ChargeClass-C-005-C"),
        ("ChargeFrequency", "Daily", "ChargeFrequency-C-003-M"),
        ("ServiceCategory", "Faces", "ServiceCategory-C-003-M"),
        ("ServiceSubcategory", "Compute", "ServiceSubcategory-C-003-M"),
        ("ServiceName", "", "ServiceName-C-003-M"),
        ("ServiceCategory", "Compute", "ServiceName-C-005-C"),
        ("BillingCurrency", "XXQ", "BillingCurrency-C-006-M"),
        ("BillingCurrency", "eur", "BillingCurrency-C-003-M"),
        ("BillingPeriodStart", "2026-10-01", "BillingPeriodStart-C-002-M"),
        ("BillingPeriodStart", "2026-13-01T00:00:00Z", "BillingPeriodStart-C-001-M"),
        ("ChargePeriodEnd", "2026-10-01T00:00:00+02:00", "DateTimeFormat-A-006-M"),
        ("BillingAccountName", "", "BillingAccountName-C-003-C"),
        ("InvoiceIssuerName", "Somebody else", "BilledCost-C-005-C"),
        ("InvoiceId", "", "InvoiceId-C-005-C"),
        ("SkuId", "Other", "SkuPriceId-C-008-M"),
        ("SkuPriceDetails", "price", "SkuPriceDetails-C-001-M"),
        ("SkuPriceDetails", '{"x_A":[1]}', "KeyValueFormat-A-004-M"),
        ("ProviderName", "n/a", "NullHandling-A-002-M"),
    ],
)
def test_the_checker_sees_a_wrong_value(
    openings: list[Opening],
    model: tuple[Mapping[str, Any], frozenset[str]],
    column: str,
    value: str,
    rule: str,
) -> None:
    some = [o for o in openings if o["accounting"]["account"] == ACCOUNTS[0]][3_000:3_400]
    rows = focus(Statement.of(some, ACCOUNTS[0], "2026-10"), some)
    assert Checker(model[0], list(COLUMNS), rows, model[1]).run().violated == {}
    charged = next(row for row in rows if row["BilledCost"] not in ("0.000000", ""))
    charged[column] = value
    assert rule in _violations(model, list(COLUMNS), rows)


def _violations(model: tuple[Mapping[str, Any], frozenset[str]], header: list[str], rows: list[Row]) -> set[str]:
    return set(Checker(model[0], header, rows, model[1]).run().violated)


def test_the_checker_sees_a_missing_and_a_foreign_column(
    openings: list[Opening], model: tuple[Mapping[str, Any], frozenset[str]]
) -> None:
    some = openings[3_000:3_400]
    rows = focus(Statement.of(some, ACCOUNTS[0], "2026-10"), some)
    header = [name for name in COLUMNS if name != "BillingCurrency"]
    assert _violations(model, header, rows) == {"CostAndUsage-D-035-M"}
    renamed = ["purpose" if name == "x_Purpose" else name for name in COLUMNS]
    assert {"ColumnHandling-A-001-M", "ColumnHandling-A-010-M"} <= _violations(model, renamed, rows)
