"""What of an account's entries counts for a month: uses and credits, read strictly from openings.

Knows the accounting section of docs/reference/leaf.md; does not know rows, invoices or how a statement looks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from countenance.errors import Error
from countenance.ledger.metering import SUCCESS, MeteringError, day_of

_MONTH: Final = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
_DENIED: Final = "AccessDeniedException"  # the one code for a refusal by policy or standing (wire/faults.py)


class StatementError(Error):
    """No statement can be made: an opening is malformed, given twice, or in a second currency."""


@dataclass(frozen=True, slots=True)
class Use:
    """One counted leaf: a call, or a summary of throttled ones."""

    index: int
    time: int
    """Microseconds since 1970: when the call began, which decides the day and the month it counts for."""
    purpose: str
    operation: str
    price: str
    """Version of the price table."""
    party: tuple[tuple[str, str, str], ...]
    """Role, scheme and value of each identifier, as they were then."""
    outcome: str
    """`answered`, `denied` or `failed`."""
    decision: str
    """What the policies said: `allow`, `deny`, or empty when none is recorded."""
    calls: int
    units: int
    amount: int
    """Micro-units."""


@dataclass(frozen=True, slots=True)
class Credit:
    """A reduction, recorded as an act of its own."""

    index: int
    time: int
    amount: int
    """Micro-units, above 0."""
    reason: str


@dataclass(frozen=True, slots=True)
class Counted:
    """What counts for an account in a month, in the order of leaves."""

    uses: tuple[Use, ...]
    credits: tuple[Credit, ...]
    currency: str
    """ISO 4217; empty when nothing was counted."""


def count(openings: Iterable[Mapping[str, Any]], account: str, month: str) -> Counted:
    """What counts for an account and a month: kinds `call` and `throttled`, and acts that give a credit.

    Raises:
        StatementError: the month is none, an opening lacks a member or holds another type, an index comes twice, a
            credit is not above 0, or money is in two currencies.
    """
    if not _MONTH.fullmatch(month):
        raise StatementError(f"{month[:20]!r} is not a month.", hint="write it as 2026-10")
    seen: set[int] = set()
    uses: list[Use] = []
    credit: list[Credit] = []
    paid_in: set[str] = set()
    named: set[str] = set()
    for opening in openings:
        index = _integer(opening, "index", -1)
        entry = opening.get("accounting")
        if not isinstance(entry, Mapping):
            raise StatementError(f"Leaf {index} has no accounting section.")
        if index in seen:
            raise StatementError(f"Leaf {index} is given twice.")
        seen.add(index)
        kind = _text(entry, "kind", index)
        if _text(entry, "account", index) != account or kind not in ("call", "throttled", "act"):
            continue
        if _day(entry, index)[:7] != month:
            continue
        currency = _text(entry, "currency", index)
        if kind == "act":
            given = _credit(entry, index)
            if given is not None:
                credit.append(given)
                paid_in.add(currency)
            continue
        use = _use(entry, index, kind)
        uses.append(use)
        (paid_in if use.amount else named).add(currency)
    if len(paid_in) > 1:
        raise StatementError(f"The month has amounts in {', '.join(sorted(paid_in))}; they cannot be added up.")
    uses.sort(key=lambda use: use.index)
    credit.sort(key=lambda given: given.index)
    return Counted(tuple(uses), tuple(credit), min(paid_in or named or {""}))


def _use(entry: Mapping[str, Any], index: int, kind: str) -> Use:
    code, decision = _text(entry, "code", index), entry.get("decision")
    allowed = decision.get("allowed") if isinstance(decision, Mapping) else None
    said = "allow" if allowed is True else "deny" if allowed is False else ""
    denied = code == _DENIED or said == "deny"
    party = entry.get("party")
    if not isinstance(party, (list, tuple)) or not all(isinstance(each, Mapping) for each in party):
        raise StatementError(f"Leaf {index}: `party` is not an array of identifiers.")
    calls = _integer(entry, "count", index)
    if kind == "call" and calls != 1:
        raise StatementError(f"Leaf {index}: one call says that it stands for {calls}.")
    return Use(
        index=index,
        time=_integer(entry, "time", index),
        purpose=_text(entry, "purpose", index),
        operation=_text(entry, "operation", index),
        price=_text(entry, "price", index),
        party=tuple(
            sorted((_text(p, "role", index), _text(p, "scheme", index), _text(p, "value", index)) for p in party)
        ),
        outcome="denied" if denied else "answered" if code == SUCCESS and kind == "call" else "failed",
        decision=said,
        calls=calls,
        units=_integer(entry, "units", index),
        amount=_integer(entry, "amount", index),
    )


def _credit(entry: Mapping[str, Any], index: int) -> Credit | None:
    details = entry.get("details")
    if not isinstance(details, Mapping) or "credit_micro" not in details:
        return None
    amount = _integer(details, "credit_micro", index)
    if amount == 0:
        raise StatementError(f"Leaf {index}: a credit of nothing.")
    return Credit(index, _integer(entry, "time", index), amount, _text(details, "reason", index))


def _integer(members: Mapping[str, Any], name: str, index: int) -> int:
    value = members.get(name)
    if type(value) is not int or not 0 <= value < 2**53:  # the integers of leaves (docs/reference/leaf.md)
        raise StatementError(f"Leaf {index}: `{name}` is not a whole number from 0 upwards.")
    return value


def _text(members: Mapping[str, Any], name: str, index: int) -> str:
    value = members.get(name)
    if not isinstance(value, str):
        raise StatementError(f"Leaf {index}: `{name}` is not a text.")
    return value


def _day(entry: Mapping[str, Any], index: int) -> str:
    try:
        return day_of(_integer(entry, "time", index))
    except MeteringError as failure:
        raise StatementError(f"Leaf {index}: {failure.message}") from None
