"""A statement's month as FOCUS 1.2: the FinOps Open Cost and Usage Specification (focus.finops.org, CC BY 4.0).

Knows the specification's columns and how the counted leaves of a month become its charge rows. Does not know prices,
accounts' names or who runs the server: those are arguments. What is written was counted by `statement`, and the sum
over BilledCost is checked against the statement before anything is returned.

One row per UTC day, operation and purpose; such a row is split where its parts have nothing in common that could be
written once: the party, the outcome, the decision, the price table and the unit price (so each side of a tier's
threshold has a row, since ListUnitPrice times PricingQuantity has to be ListCost). Credits have rows of their own.

Columns: the mandatory ones, and of the conditional ones those whose condition holds here (measured usage, unit
prices, a public price list, named accounts). There are no sub-accounts, regions, commitments, negotiated prices,
provisioned resources or second currencies. Tags exist on collections, and no charge belongs to one, so Tags is left
out. Null is an empty field.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from typing import Any, Final

from countenance_audit.canonical import encode

from countenance.ledger.counting import Credit, StatementError, Use, count
from countenance.ledger.metering import day_of
from countenance.ledger.statement import Statement, decimal, leaves_sha256, month_end, month_start

SERVICE: Final = "Countenance"
"""ServiceName, and PublisherName: who makes the software, not who runs it."""

COLUMNS: Final = (
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceId",
    "InvoiceIssuerName",
    "ListCost",
    "ListUnitPrice",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceDetails",
    "SkuPriceId",
    # Columns of our own begin with x_ and come last (FOCUS 1.2, Column Handling).
    "x_Calls",
    "x_Decision",
    "x_LeafIndicesSha256",
    "x_Leaves",
    "x_Outcome",
    "x_Party",
    "x_Purpose",
)
"""In the order of the file: FOCUS' columns by name, then our own by name."""

# Values that FOCUS 1.2 allows in these columns.
_CATEGORY: Final = "AI and Machine Learning"
_SUBCATEGORY: Final = "Machine Learning"
_USAGE: Final = ("Usage", "Usage-Based")
_CREDIT: Final = ("Credit", "One-Time")
_UNIT: Final = "Images"
_METER: Final = "Images processed"

_Key = tuple[str, str, str, tuple[tuple[str, str, str], ...], str, str, str, int]


def as_csv(statement: Statement, openings: Iterable[Mapping[str, Any]], *, operator: str, account_name: str) -> str:
    """The month as CSV (RFC 4180's quoting, lines ended by a line feed), header first.

    Args:
        statement: says which account and month.
        openings: what it was made of.
        operator: who provides the service and issues the invoice. FOCUS wants both to be one: where another party
            takes the payment, BilledCost has to be 0.
        account_name: the account's display name.

    Raises:
        StatementError: as `statement.count`; a name is blank; the statement is not of these openings; or a call's
            amount is not its units times a whole unit price.
    """
    if not operator.strip() or not account_name.strip():
        raise StatementError("A FOCUS file names the operator and the account.")
    counted = count(openings, statement.account, statement.month)
    if (counted.uses or counted.credits) and not counted.currency:
        raise StatementError("The month's entries name no currency.")
    billed = sum(use.amount for use in counted.uses) - sum(credit.amount for credit in counted.credits)
    leaves = len(counted.uses) + len(counted.credits)
    if (billed, leaves, counted.currency) != (statement.totals.due, statement.totals.leaves, statement.currency):
        raise StatementError(
            f"The statement is of {statement.totals.leaves} leaves and {statement.totals.due} micro-units, "
            f"the openings are {leaves} leaves and {billed} micro-units."
        )
    common = {
        "BillingAccountId": statement.account,
        "BillingAccountName": account_name,
        "BillingCurrency": counted.currency,
        "BillingPeriodEnd": month_end(statement.month),
        "BillingPeriodStart": month_start(statement.month),
        "InvoiceId": f"{statement.account}-{statement.month}",
        "InvoiceIssuerName": operator,
        "ProviderName": operator,
        "PublisherName": SERVICE,
        "ServiceCategory": _CATEGORY,
        "ServiceName": SERVICE,
        "ServiceSubcategory": _SUBCATEGORY,
    }
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    groups: dict[_Key, list[Use]] = {}
    for use in counted.uses:
        groups.setdefault(_key(use), []).append(use)
    for key, uses in sorted(groups.items()):
        writer.writerow(common | _usage(key, uses))
    for credit in counted.credits:
        writer.writerow(common | _credit(credit))
    return text.getvalue()


def _key(use: Use) -> _Key:
    """What the calls of one row have in common."""
    unit_price, rest = divmod(use.amount, use.units) if use.units else (0, use.amount)
    if rest:
        raise StatementError(f"Leaf {use.index}: {use.units} units at {use.amount} micro-units have no unit price.")
    return (
        day_of(use.time),
        use.operation,
        use.purpose,
        use.party,
        use.outcome,
        use.decision,
        use.price,
        unit_price,
    )


def _usage(key: _Key, uses: list[Use]) -> dict[str, str]:
    day, operation, purpose, party, outcome, decision, price, unit_price = key
    cost = decimal(sum(use.amount for use in uses))
    quantity = _quantity(sum(use.units for use in uses))
    calls = sum(use.calls for use in uses)
    named = f" for {purpose}" if purpose else ""
    identifiers = [{"role": role, "scheme": scheme, "value": value} for role, scheme, value in party]
    return _charge(_USAGE, day, cost) | {
        "ChargeDescription": f"{operation}{named}: {calls} {outcome}",
        "ConsumedQuantity": quantity,
        "ConsumedUnit": _UNIT,
        "ListUnitPrice": decimal(unit_price),
        "PricingQuantity": quantity,
        "PricingUnit": _UNIT,
        "SkuId": operation,
        "SkuMeter": _METER,
        "SkuPriceDetails": encode({"x_PriceTable": price}).decode() if price else "",
        "SkuPriceId": f"{operation}/{decimal(unit_price)}/{price or 'none'}",
        "x_Calls": str(calls),
        "x_Decision": decision,
        "x_LeafIndicesSha256": leaves_sha256(use.index for use in uses),
        "x_Leaves": str(len(uses)),
        "x_Outcome": outcome,
        "x_Party": encode(identifiers).decode() if identifiers else "",
        "x_Purpose": purpose,
    }


def _credit(credit: Credit) -> dict[str, str]:
    return _charge(_CREDIT, day_of(credit.time), decimal(-credit.amount)) | {
        "ChargeDescription": f"Credit: {credit.reason}",
        "PricingQuantity": _quantity(1),
        "PricingUnit": "Credits",
        "x_Calls": "0",
        "x_LeafIndicesSha256": leaves_sha256([credit.index]),
        "x_Leaves": "1",
    }


def _charge(category: tuple[str, str], day: str, cost: str) -> dict[str, str]:
    """Without discounts and commitments the four costs are one. ChargeClass is null: a row never corrects a month
    that was invoiced, since a credit belongs to the month in which it is made."""
    return {
        "BilledCost": cost,
        "ChargeCategory": category[0],
        "ChargeFrequency": category[1],
        "ChargePeriodEnd": f"{date.fromisoformat(day) + timedelta(days=1)}T00:00:00Z",
        "ChargePeriodStart": f"{day}T00:00:00Z",
        "ContractedCost": cost,
        "EffectiveCost": cost,
        "ListCost": cost,
    }


def _quantity(number: int) -> str:
    """With a decimal point: readers that guess types from a CSV file take `12` for an integer, not a decimal."""
    return f"{number}.0"
