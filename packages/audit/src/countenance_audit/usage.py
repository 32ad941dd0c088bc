"""What of the entries of a day goes into its map: rows, who is answerable for them, and the sums.

Knows the accounting section (docs/reference/leaf.md); does not know keys, trees or where openings come from. The
server builds its maps with this and an auditor rebuilds them with the same, so that equality means something.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from countenance_audit import forms
from countenance_audit.errors import Malformed, Rejected
from countenance_audit.members import day
from countenance_audit.periodmap import Usage, leaves_sha256

COUNTED: Final = frozenset({"call", "throttled"})
"""Kinds of entries that are use: denied and failed calls and those refused for load are, with zero units."""
ATTRIBUTED: Final = "period.attribute"
"""The act that says who stood behind an account on days that are past."""
DAY_US: Final = 86_400_000_000

_EPOCH: Final = date(1970, 1, 1)

Identifier = tuple[str, str]
"""Scheme, and the form of it that maps have (`keyed`)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One counted entry.

    Attributes:
        keyed: its account, and the party as the entry has it.
    """

    index: int
    account: str
    calls: int
    units: int
    amount: int
    currency: str
    keyed: frozenset[Identifier]


@dataclass(frozen=True, slots=True)
class Attribution:
    """Late knowledge: identifiers of who stood behind an account on the days from `first` to `last`, both included."""

    index: int
    account: str
    keyed: frozenset[Identifier]
    first: str
    last: str


@dataclass(frozen=True, slots=True)
class Totals:
    """Of all counted entries of a day, over accounts."""

    calls: int
    units: int
    amount: int
    currency: str
    """Of the amounts; of the rows when nothing was charged; empty without rows."""


@lru_cache(4_096)
def keyed(scheme: str, value: str) -> frozenset[Identifier]:
    """The forms of an identifier that maps have, from the one that entries have."""
    return frozenset((scheme, form) for form in forms.of(scheme, value))


def row(index: int, accounting: Mapping[str, Any]) -> Row | None:
    """What an entry counts for; None when it is no use, or nobody's.

    Args:
        accounting: as `members.check_accounting` accepts it: that of every `leaf.Opening`.

    Raises:
        Malformed: one call says that it stands for several.
    """
    if accounting["kind"] not in COUNTED or not accounting["account"]:
        return None
    if accounting["kind"] == "call" and accounting["count"] != 1:
        raise Malformed(f"Leaf {index}: one call says that it stands for {accounting['count']}.")
    account = accounting["account"]
    return Row(
        index,
        account,
        accounting["count"],
        accounting["units"],
        accounting["amount"],
        accounting["currency"],
        _keyed(accounting["party"]) | {("account", account)},
    )


def attribution(index: int, accounting: Mapping[str, Any]) -> Attribution | None:
    """What an act adds to what is known of past days; None when it is another entry.

    Raises:
        Malformed: it is such an act and lacks something.
    """
    if accounting["kind"] != "act" or accounting["operation"] != ATTRIBUTED:
        return None
    details = accounting["details"]
    first, last = details.get("from"), details.get("until")
    day(first, f"Leaf {index}: from")
    day(last, f"Leaf {index}: until")
    party = _keyed(accounting["party"])
    if not accounting["account"] or not party or first > last:
        raise Malformed(f"Leaf {index}: the act names no account, no identifier or no days.")
    return Attribution(index, accounting["account"], party, first, last)


def tally(rows: Iterable[Row], late: Iterable[Attribution], on: str) -> tuple[dict[Identifier, Usage], Totals]:
    """The usage of each identifier on a day, and the sums over accounts.

    Args:
        late: all attributions that were known; those of other days do nothing.
        on: the day.

    Raises:
        Rejected: amounts of the day are in two currencies.
    """
    more: dict[str, set[Identifier]] = defaultdict(set)
    for each in late:
        if each.first <= on <= each.last:
            more[each.account] |= each.keyed
    sums: dict[Identifier, tuple[int, int, int]] = {}
    leaves: dict[Identifier, list[int]] = defaultdict(list)
    paid_in: set[str] = set()
    named: set[str] = set()
    calls = units = amount = 0
    for given in rows:
        (paid_in if given.amount else named).add(given.currency)
        calls, units, amount = calls + given.calls, units + given.units, amount + given.amount
        for identifier in given.keyed | more.get(given.account, set()):
            before = sums.get(identifier, (0, 0, 0))
            sums[identifier] = before[0] + given.calls, before[1] + given.units, before[2] + given.amount
            leaves[identifier].append(given.index)
    if len(paid_in) > 1:
        raise Rejected(f"The day {on} has amounts in {', '.join(sorted(paid_in))}; they cannot be added up.")
    usage = {each: Usage(*total, leaves=leaves_sha256(leaves[each])) for each, total in sums.items()}
    return usage, Totals(calls, units, amount, min(paid_in or named or {""}))


def _keyed(party: Iterable[Mapping[str, Any]]) -> frozenset[Identifier]:
    return frozenset[Identifier]().union(*(keyed(each["scheme"], each["value"]) for each in party))


def day_of(time_us: int) -> str:
    """The UTC day of a moment in microseconds since 1970.

    Raises:
        Malformed: it is beyond the calendar.
    """
    try:
        return (_EPOCH + timedelta(days=time_us // DAY_US)).isoformat()
    except OverflowError:
        raise Malformed(f"{time_us} is no time of the calendar.") from None


def start_of(on: str) -> int:
    """The first microsecond of a day since 1970."""
    return (date.fromisoformat(on) - _EPOCH).days * DAY_US


def next_day(on: str, days: int = 1) -> str:
    """The day after, or `days` later."""
    return (date.fromisoformat(on) + timedelta(days=days)).isoformat()


def days_between(first: str, on: str) -> int:
    """How many days after the first one another is; negative when it is before."""
    return (date.fromisoformat(on) - date.fromisoformat(first)).days


def days_from(first: str, last: str) -> list[str]:
    """All days from one to another, both included; none when the first is later."""
    return [next_day(first, each) for each in range(days_between(first, last) + 1)]


def moment(time_us: int) -> str:
    """A time as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(time_us // 1_000_000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
