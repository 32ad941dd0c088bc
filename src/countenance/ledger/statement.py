"""A month's statement of one account: what was used, for which purpose, and what it costs.

Made of nothing but the accounting sections of opened leaves (docs/reference/leaf.md), so whoever holds the openings
makes the same statement. Knows rows, invoice lines, totals and their renderings; does not know how leaves are proved
to be in the log, how prices come about (`metering`), or who the account is beyond the identifiers in its entries.

The invariant, which `check` recomputes: opened leaves = rows = invoice lines = totals. Money is whole micro-units of
one currency (1 USD = 1,000,000).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from html import escape
from typing import Any, Final

from countenance_audit.canonical import encode

from countenance.ledger.counting import StatementError, Use, count
from countenance.ledger.metering import PriceTable

CAVEAT: Final = "Use is recorded by the operator and not signed by the customer."
"""What a reader of any rendering has to know."""

_MICRO_DIGITS: Final = 6


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
