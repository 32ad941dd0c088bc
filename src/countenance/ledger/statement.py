"""A month's statement of one account: what was used, for which purpose, and what it costs.

Made of nothing but the accounting sections of opened leaves (docs/reference/leaf.md), so whoever holds the openings
makes the same statement. Knows rows, invoice lines, totals and their renderings; does not know how leaves are proved
to be in the log, how prices come about (`metering`), or who the account is beyond the identifiers in its entries.

The invariant, which `check` recomputes: opened leaves = rows = invoice lines = totals. Money is whole micro-units of
one currency (1 USD = 1,000,000).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from html import escape
from typing import Any, Final

from countenance_audit.canonical import encode

from countenance.errors import Error
from countenance.ledger.metering import SUCCESS, MeteringError, PriceTable, day_of

CAVEAT: Final = "Use is recorded by the operator and not signed by the customer."
"""What a reader of any rendering has to know."""

_MONTH: Final = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
_MICRO_DIGITS: Final = 6
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


@dataclass(frozen=True, slots=True)
class Row:
    """Calls of one purpose, operation and price."""

    purpose: str
    operation: str
    price: str
    calls: int
    units: int
    amount: int
    denied: int
    failed: int
    """Without the denied ones; throttled calls are failed calls."""
    leaves: int
    """How many leaves these are: fewer than the calls when a summary is among them."""
    leaves_sha256: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the invoice: an operation at a price, or a credit with a negative amount and no calls."""

    text: str
    calls: int
    units: int
    amount: int
    leaves_sha256: str


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over the month; the amounts in micro-units."""

    leaves: int
    calls: int
    units: int
    denied: int
    failed: int
    charges: int
    credits: int
    due: int
    """`charges` less `credits`; below 0 when more was credited than charged."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What an account used in a UTC month."""

    account: str
    month: str
    """YYYY-MM."""
    currency: str
    tree_size: int | None
    """Of the checkpoint that the leaves were proved against; None when it was not stated."""
    party: tuple[tuple[str, str, str], ...]
    """Every identifier (role, scheme, value) that an entry of the month names."""
    rows: tuple[Row, ...]
    lines: tuple[Line, ...]
    totals: Totals

    @classmethod
    def of(
        cls,
        openings: Iterable[Mapping[str, Any]],
        account: str,
        month: str,
        *,
        tree_size: int | None = None,
    ) -> Statement:
        """The statement of what is opened; other accounts' and other months' leaves are passed over.

        Args:
            openings: each with `index` and `accounting`, in any order; further members are not looked at.
            account: 12 digits.
            month: `YYYY-MM`, UTC.

        Raises:
            StatementError: as `count`.
        """
        counted = count(openings, account, month)
        rows = tuple(
            Row(purpose=key[0], operation=key[1], price=key[2], **_sums(uses))
            for key, uses in _grouped(counted.uses, "purpose", "operation", "price")
        )
        lines = [
            Line(
                text=f"{operation}, price table {price[:12] or 'none'}",
                calls=sum(use.calls for use in uses),
                units=sum(use.units for use in uses),
                amount=sum(use.amount for use in uses),
                leaves_sha256=leaves_sha256(use.index for use in uses),
            )
            for (operation, price), uses in _grouped(counted.uses, "operation", "price")
        ]
        lines += [
            Line(f"Credit: {credit.reason}", 0, 0, -credit.amount, leaves_sha256([credit.index]))
            for credit in counted.credits
        ]
        sums = _sums(counted.uses)
        credited = sum(credit.amount for credit in counted.credits)
        return cls(
            account=account,
            month=month,
            currency=counted.currency,
            tree_size=tree_size,
            party=tuple(sorted({identifier for use in counted.uses for identifier in use.party})),
            rows=rows,
            lines=tuple(lines),
            totals=Totals(
                leaves=sums["leaves"] + len(counted.credits),
                calls=sums["calls"],
                units=sums["units"],
                denied=sums["denied"],
                failed=sums["failed"],
                charges=sums["amount"],
                credits=credited,
                due=sums["amount"] - credited,
            ),
        )

    def as_json(self) -> bytes:
        """Canonical JSON (RFC 8785) of strings and integers; `tree_size` is left out when it was not stated."""
        members = {"v": 1, **asdict(self)}
        members["party"] = [dict(zip(("role", "scheme", "value"), each, strict=True)) for each in self.party]
        if self.tree_size is None:
            del members["tree_size"]
        return encode(members)

    def as_table(self) -> str:
        """Plain text for a terminal; characters that a terminal could act on are written as escapes."""
        head = [[_plain(name), _plain(value)] for name, value in self._facts()]
        parts = [
            _aligned(head, 2),
            _aligned([list(self._columns()), *([_plain(cell) for cell in row] for row in self._cells())], 3),
            _aligned([["Invoice line", "Calls", "Units", "Amount"], *self._line_cells(_plain)], 1),
            _aligned([[name, value] for name, value in self._sums()], 1),
            CAVEAT,
        ]
        return "\n\n".join(parts) + "\n"

    def as_html(self) -> str:
        """A page of its own, without anything fetched; every value is escaped."""
        lines: list[Sequence[str]] = [["Invoice line", "Calls", "Units", "Amount"], *self._line_cells(str)]
        title = escape(f"Statement {self.account} {self.month}")
        return "\n".join(
            [
                '<!doctype html><html lang="en"><head><meta charset="utf-8">',
                '<meta http-equiv="Content-Security-Policy" '
                "content=\"default-src 'none'; style-src 'unsafe-inline'\">",
                f"<title>{title}</title><style>body{{font:14px sans-serif;margin:2em}}table{{border-collapse:collapse;"
                "margin:1em 0}th,td{border:1px solid #999;padding:.2em .6em;text-align:left}"
                "td.n,th.n{text-align:right}</style></head><body>",
                f"<h1>{title}</h1>",
                _html_table([list(pair) for pair in self._facts()], 2, head=False),
                _html_table([self._columns(), *self._cells()], 3),
                _html_table(lines, 1),
                _html_table([list(pair) for pair in self._sums()], 1, head=False),
                f"<p>{escape(CAVEAT)}</p></body></html>",
                "",
            ]
        )

    def _facts(self) -> list[tuple[str, str]]:
        return [
            ("Account", self.account),
            *((f"Party, {role}", f"{scheme} {value}") for role, scheme, value in self.party or [("", "none", "named")]),
            ("Period", f"{month_start(self.month)} to {month_end(self.month)}, end not included"),
            ("Tree size", "not stated" if self.tree_size is None else str(self.tree_size)),
            ("Currency", self.currency or "none"),
        ]

    def _columns(self) -> Sequence[str]:
        return "Purpose", "Operation", "Price", "Calls", "Units", "Denied", "Failed", "Amount"

    def _cells(self) -> list[list[str]]:
        return [
            [row.purpose, row.operation, row.price[:12]]
            + [str(each) for each in (row.calls, row.units, row.denied, row.failed)]
            + [decimal(row.amount)]
            for row in self.rows
        ]

    def _line_cells(self, clean: Callable[[str], str]) -> list[list[str]]:
        return [[clean(each.text), str(each.calls), str(each.units), decimal(each.amount)] for each in self.lines]

    def _sums(self) -> list[tuple[str, str]]:
        money = {"charges", "credits", "due"}
        values = ((each.name, getattr(self.totals, each.name)) for each in fields(Totals))
        return [(name.capitalize(), decimal(value) if name in money else str(value)) for name, value in values]


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


def check(
    statement: Statement, openings: Iterable[Mapping[str, Any]], *, prices: PriceTable | None = None
) -> list[str]:
    """What differs between a statement and the openings it claims to be of; empty when nothing does.

    Args:
        prices: when every charged call of the month names this table, the sums per price group are compared with
            what its tiers give for the month's units.
    """
    opened = list(openings)
    try:
        fresh = Statement.of(opened, statement.account, statement.month, tree_size=statement.tree_size)
        counted = count(opened, statement.account, statement.month)
    except StatementError as failure:
        return [failure.message]
    found = [
        f"{each.name}: {_short(getattr(statement, each.name))} stated, {_short(getattr(fresh, each.name))} opened"
        for each in fields(Statement)
        if each.name not in ("rows", "lines") and getattr(statement, each.name) != getattr(fresh, each.name)
    ]
    for what, stated, recomputed in (("row", statement.rows, fresh.rows), ("line", statement.lines, fresh.lines)):
        found += [f"{what} stated but not opened: {_short(each)}" for each in stated if each not in recomputed]
        found += [f"{what} opened but not stated: {_short(each)}" for each in recomputed if each not in stated]
        if len(stated) != len(recomputed):
            found.append(f"{len(stated)} {what}s stated, {len(recomputed)} opened")
    totals = statement.totals
    for name, rows_sum, lines_sum, total in (
        ("calls", sum(r.calls for r in statement.rows), sum(n.calls for n in statement.lines), totals.calls),
        ("units", sum(r.units for r in statement.rows), sum(n.units for n in statement.lines), totals.units),
        (
            "micro-units",
            sum(r.amount for r in statement.rows) - totals.credits,
            sum(n.amount for n in statement.lines),
            totals.due,
        ),
    ):
        if not rows_sum == lines_sum == total:
            found.append(f"{name}: {rows_sum} in rows, {lines_sum} in lines, {total} in the totals")
    for use in counted.uses:
        if use.outcome != "answered" and (use.units or use.amount):
            found.append(f"leaf {use.index}: a {use.outcome} call has {use.units} units at {use.amount}")
    if statement.tree_size is not None:
        indices = sorted([use.index for use in counted.uses] + [credit.index for credit in counted.credits])
        found += [f"leaf {n} is not in a tree of {statement.tree_size}" for n in indices if n >= statement.tree_size]
    return found + ([] if prices is None else _repriced(counted.uses, prices))


def leaves_sha256(indices: Iterable[int]) -> str:
    """SHA-256 over leaf indices, sorted, each as 8 bytes, most significant first."""
    return hashlib.sha256(b"".join(index.to_bytes(8) for index in sorted(indices))).hexdigest()


def decimal(micro: int) -> str:
    """An amount in micro-units as a decimal with six places, exactly."""
    whole, part = divmod(abs(micro), 10**_MICRO_DIGITS)
    return f"{'-' if micro < 0 else ''}{whole}.{part:0{_MICRO_DIGITS}d}"


def month_start(month: str) -> str:
    """The first moment of a month (`YYYY-MM`), as ISO 8601 in UTC."""
    return f"{month}-01T00:00:00Z"


def month_end(month: str) -> str:
    """The first moment after a month."""
    year, number = divmod(int(month[:4]) * 12 + int(month[5:]), 12)
    return month_start(f"{year:04d}-{number + 1:02d}")


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


def _grouped(uses: Iterable[Use], *names: str) -> list[tuple[tuple[str, ...], list[Use]]]:
    groups: dict[tuple[str, ...], list[Use]] = {}
    for use in uses:
        groups.setdefault(tuple(getattr(use, name) for name in names), []).append(use)
    return sorted(groups.items())


def _sums(uses: Sequence[Use]) -> dict[str, Any]:
    return {
        "calls": sum(use.calls for use in uses),
        "units": sum(use.units for use in uses),
        "amount": sum(use.amount for use in uses),
        "denied": sum(use.calls for use in uses if use.outcome == "denied"),
        "failed": sum(use.calls for use in uses if use.outcome == "failed"),
        "leaves": len(uses),
        "leaves_sha256": leaves_sha256(use.index for use in uses),
    }


def _repriced(uses: Iterable[Use], prices: PriceTable) -> list[str]:
    charged = [use for use in uses if use.units or use.amount]
    if any(use.price != prices.version for use in charged):
        return ["the tiers cannot be recomputed: the month names another price table"]
    found = []
    for group in sorted({prices.group(use.operation) for use in charged}):
        members = [use for use in charged if prices.group(use.operation) == group]
        amount = sum(use.amount for use in members)
        tiers = prices.price(members[0].operation, sum(use.units for use in members), 0) if group else 0
        if amount != tiers:
            found.append(f"group {group or 'none'}: {amount} micro-units charged, the tiers give {tiers}")
    return found


def _short(value: object) -> str:
    return repr(value)[:200]


def _plain(text: str) -> str:
    return "".join(each if each.isprintable() else f"\\u{{{ord(each):x}}}" for each in text)


def _aligned(cells: Sequence[Sequence[str]], left: int) -> str:
    """Columns padded to one width each: the first `left` to the left, the others, numbers, to the right."""
    widths = [max(len(row[column]) for row in cells) for column in range(len(cells[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    )


def _html_table(cells: Sequence[Sequence[str]], left: int, *, head: bool = True) -> str:
    rows = []
    for number, row in enumerate(cells):
        tag = "th" if head and number == 0 else "td"
        rows.append(
            "".join(
                f"<{tag}{' class=n' if column >= left else ''}>{escape(cell)}</{tag}>"
                for column, cell in enumerate(row)
            )
        )
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in rows) + "</table>"
