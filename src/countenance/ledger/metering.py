"""What a call counts for and what it costs: units, tiers, and the running count of a month.

Knows operations by name, whole numbers of micro-units (1 USD = 1,000,000) and UTC months. Does not know leaves,
statements, images or a store: who appends the entry asks here first, and rebuilds the counters from the entries
after a restart. No floating point anywhere.

What counts as an image is what Amazon's FAQ says under "How does Amazon Rekognition count the number of images
processed?" (https://aws.amazon.com/rekognition/faqs/, Billing): the image of an operation that takes one; of
CompareFaces' two only the source image; one per call of an operation that charges without taking an image
(SearchFaces); nothing for the rest.
"""

from __future__ import annotations

import hashlib
import threading
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from countenance_audit.canonical import encode
from countenance_audit.errors import Malformed

from countenance.errors import Error

METERED: Final = frozenset(
    {
        # One image in, one unit (FAQ: "counts the actual number of images analyzed"). CompareFaces: "only the
        # source image is counted". The pricing page's groups name the same operations.
        "CompareFaces",
        "DetectFaces",
        "DetectLabels",
        "DetectModerationLabels",
        "DetectProtectiveEquipment",
        "DetectText",
        "IndexFaces",
        "RecognizeCelebrities",
        "SearchFacesByImage",
        "SearchUsersByImage",
        # No image in, each call one unit (FAQ: "SearchFaces belongs to this category"). The operations on users
        # came later than the copy of the FAQ that was read; they are taken to count as SearchFaces does.
        "AssociateFaces",
        "DisassociateFaces",
        "SearchFaces",
        "SearchUsers",
    }
)
"""Operations of which each successful call is one unit."""

FREE: Final = frozenset(
    {
        # FAQ: "ListFaces, DeleteFaces, CreateCollection, DeleteCollection, and ListCollections - do not count
        # towards images processed", as "the remaining APIs"; the others are remaining ones too.
        "CreateCollection",
        "CreateUser",
        "DeleteCollection",
        "DeleteFaces",
        "DeleteUser",
        "DescribeCollection",
        "ListCollections",
        "ListFaces",
        "ListTagsForResource",
        "ListUsers",
        "TagResource",
        "UntagResource",
    }
)
"""Operations that never cost anything. What is in neither set is not metered either; a test keeps every operation
that the server answers in one of them."""

SUCCESS: Final = "OK"
"""The code of an entry whose call was answered (docs/reference/leaf.md)."""

_PRICES: Final = Path(__file__).with_name("prices.toml")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FORMAT: Final = 1


class MeteringError(Error):
    """A price table cannot be read, or a count or a time makes no sense."""


def metered_units(operation: str, code: str) -> int:
    """How many units a call counts for: 1 or 0.

    Args:
        operation: as in the service model; unknown ones count for nothing.
        code: `OK`, or the error's code. A denied or failed call is a call with 0 units: nothing was answered.
    """
    return 1 if code == SUCCESS and operation in METERED else 0


def month_of(time_us: int) -> str:
    """The UTC month (`YYYY-MM`) of a time in microseconds since 1970.

    Raises:
        MeteringError: before 1970 or after 9999.
    """
    return day_of(time_us)[:7]


def day_of(time_us: int) -> str:
    """The UTC day (`YYYY-MM-DD`) of a time in microseconds since 1970.

    Raises:
        MeteringError: before 1970 or after 9999.
    """
    if time_us < 0:
        raise MeteringError("A time before 1970 belongs to no month.")
    try:
        return (_EPOCH + timedelta(microseconds=time_us)).date().isoformat()
    except OverflowError:
        raise MeteringError("A time after 9999 belongs to no month.") from None


@dataclass(frozen=True, slots=True)
class Tier:
    """One step of a price group."""

    up_to: int | None
    """The month's units that this tier reaches to; None in the last."""
    micro: int
    """Price of a unit, in micro-units."""


@dataclass(frozen=True, slots=True)
class PriceGroup:
    """Operations whose units are counted together."""

    name: str
    operations: tuple[str, ...]
    tiers: tuple[Tier, ...]

    def price(self, units: int, already: int) -> int:
        """What `units` cost after `already` of the same month, in micro-units: each at its own tier's price."""
        total, at, left = 0, already, units
        for tier in self.tiers:
            here = left if tier.up_to is None else max(0, min(left, tier.up_to - at))
            total += here * tier.micro
            at, left = at + here, left - here
        return total


@dataclass(frozen=True, slots=True)
class PriceTable:
    """The prices in force."""

    currency: str
    """ISO 4217."""
    groups: tuple[PriceGroup, ...]
    version: str
    """64 hexadecimal digits: SHA-256 of the table as canonical JSON (RFC 8785)."""
    source: str
    """Where the prices come from, in words."""

    @classmethod
    def load(cls, text: str | None = None) -> PriceTable:
        """The table of a TOML text; without one, Amazon's public tiers (`prices.toml`).

        Raises:
            MeteringError: not TOML, an unknown or missing member, a price that is not a whole number, tiers that
                do not rise, or a metered operation that has no price or two.
        """
        try:
            table = tomllib.loads(_PRICES.read_text(encoding="utf-8") if text is None else text)
            version = hashlib.sha256(encode(table)).hexdigest()
        except (OSError, ValueError) as failure:
            raise MeteringError(f"The price table cannot be read: {failure}.") from None
        except Malformed as failure:  # floats above all
            raise MeteringError(
                f"The price table holds what has no canonical form: {failure}",
                hint="prices are whole micro-units of the currency, dates are strings",
            ) from None
        _require(table, {"format", "currency", "source", "retrieved", "groups"}, "the table")
        currency, source, listed = table["currency"], table["source"], table["groups"]
        if table["format"] != _FORMAT:
            raise MeteringError(f"The price table has format {table['format']!r}, this version reads {_FORMAT}.")
        if not (isinstance(currency, str) and len(currency) == 3 and currency.isascii() and currency.isupper()):
            raise MeteringError("The price table's currency is not a code of ISO 4217.")
        if not isinstance(source, str) or not isinstance(listed, list):
            raise MeteringError("The price table's source is a text and its groups are an array of tables.")
        groups = tuple(_group(item) for item in listed)
        _check_cover(groups)
        return cls(currency=currency, groups=groups, version=version, source=source)

    def group(self, operation: str) -> str:
        """The name of an operation's price group; empty for what is not metered."""
        found = self._find(operation)
        return "" if found is None else found.name

    def price(self, operation: str, units: int, units_already_this_month: int) -> int:
        """What a call costs, in micro-units of `currency`.

        Args:
            units: from `metered_units`.
            units_already_this_month: the account's units in the operation's group, in the UTC month of the call,
                before this call.

        Raises:
            MeteringError: a negative count, or units of an operation that has no price.
        """
        if units < 0 or units_already_this_month < 0:
            raise MeteringError("Units are counted from 0 upwards.")
        if units == 0:
            return 0
        found = self._find(operation)
        if found is None:
            raise MeteringError(f"{operation} is not metered, it cannot cost {units} units.")
        return found.price(units, units_already_this_month)

    def _find(self, operation: str) -> PriceGroup | None:
        return next((group for group in self.groups if operation in group.operations), None)


def _group(item: object) -> PriceGroup:
    if not isinstance(item, dict):
        raise MeteringError("A price group is a table.")
    _require(item, {"name", "operations", "tiers"}, "a group")
    name, operations, tiers = item["name"], item["operations"], item["tiers"]
    if not isinstance(name, str) or not name:
        raise MeteringError("A price group has a name.")
    if not isinstance(operations, list) or not all(isinstance(operation, str) for operation in operations):
        raise MeteringError(f"The operations of group {name} are an array of names.")
    if not isinstance(tiers, list) or not tiers:
        raise MeteringError(f"Group {name} has no tiers.")
    steps: list[Tier] = []
    reached = 0
    for position, tier in enumerate(tiers):
        last = position == len(tiers) - 1
        if not isinstance(tier, dict) or set(tier) != ({"micro"} if last else {"up_to", "micro"}):
            raise MeteringError(
                f"Tier {position + 1} of group {name} is malformed.",
                hint="every tier has `up_to` and `micro`, the last only `micro`",
            )
        if any(type(value) is not int or value < 0 for value in tier.values()):
            raise MeteringError(f"Tier {position + 1} of group {name} holds something else than whole numbers.")
        if not last and tier["up_to"] <= reached:
            raise MeteringError(f"The tiers of group {name} do not rise.")
        reached = tier.get("up_to", reached)
        steps.append(Tier(up_to=tier.get("up_to"), micro=tier["micro"]))
    return PriceGroup(name=name, operations=tuple(operations), tiers=tuple(steps))


def _require(table: Mapping[str, Any], names: set[str], what: str) -> None:
    if set(table) != names:
        wrong = ", ".join(sorted(set(table) ^ names))
        raise MeteringError(f"Missing or unknown in {what} of prices: {wrong}.")


def _check_cover(groups: Iterable[PriceGroup]) -> None:
    """Every metered operation has one price, and nothing else has."""
    seen: set[str] = set()
    names: set[str] = set()
    for group in groups:
        if group.name in names:
            raise MeteringError(f"Two price groups are called {group.name}.")
        names.add(group.name)
        for operation in group.operations:
            if operation not in METERED:
                raise MeteringError(f"{operation} has a price but is not metered.")
            if operation in seen:
                raise MeteringError(f"{operation} has two prices.")
            seen.add(operation)
    missing = ", ".join(sorted(METERED - seen))
    if missing:
        raise MeteringError(f"No price for {missing}.")


class MonthCounters:
    """Units by account, price group and UTC month; safe to use from several threads.

    In memory only: after a restart `restore` is given what the ledger holds. Two calls priced at once must not
    read the same count, so pricing and counting are one step, `charge`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._units: dict[tuple[str, str, str], int] = {}

    def restore(self, rows: Iterable[tuple[str, str, str, int]]) -> None:
        """Forget everything and count these: account, group, month, units; rows of one key are added up.

        Raises:
            MeteringError: a negative number of units; the counters are then as before.
        """
        fresh: dict[tuple[str, str, str], int] = {}
        for account, group, month, units in rows:
            if units < 0:
                raise MeteringError("Units are counted from 0 upwards.")
            key = (account, group, month)
            fresh[key] = fresh.get(key, 0) + units
        with self._lock:
            self._units = fresh

    def rows(self) -> list[tuple[str, str, str, int]]:
        """What `restore` takes, in order."""
        with self._lock:
            return sorted((*key, units) for key, units in self._units.items())

    def units(self, account: str, group: str, month: str) -> int:
        """How many units were counted so far."""
        with self._lock:
            return self._units.get((account, group, month), 0)

    def reach(self, account: str, group: str, month: str, units: int) -> None:
        """Count at least so many: other processes charge, too."""
        key = (account, group, month)
        with self._lock:
            self._units[key] = max(units, self._units.get(key, 0))

    def charge(self, table: PriceTable, account: str, operation: str, time_us: int, units: int) -> int:
        """Count a call and say what it costs, in micro-units.

        Args:
            time_us: when the call began; its UTC month is the one it is counted in.
            units: from `metered_units`.

        Raises:
            MeteringError: as `PriceTable.price` and `month_of`; nothing is counted then.
        """
        key = (account, table.group(operation), month_of(time_us))
        with self._lock:
            already = self._units.get(key, 0)
            amount = table.price(operation, units, already)
            if units:
                self._units[key] = already + units
        return amount

    def withdraw(self, table: PriceTable, account: str, operation: str, time_us: int, units: int) -> None:
        """Undo `charge` for a call whose entry could not be written, and which was therefore not answered.

        Raises:
            MeteringError: more than was counted.
        """
        key = (account, table.group(operation), month_of(time_us))
        with self._lock:
            already = self._units.get(key, 0)
            if units < 0 or units > already:
                raise MeteringError("More units are withdrawn than were counted.")
            if units:
                self._units[key] = already - units
