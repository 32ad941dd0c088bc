"""What the checks of rules look at: plain values about one account's party, put together by whoever knows them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from countenance.standing.ownership import Graph, Interval, Statement


@dataclass(frozen=True, slots=True)
class Somebody:
    """An owner or an end user. The country is ISO 3166-1 alpha-2 in upper case, "" when nobody says."""

    name: str
    country: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """An address; the kind is one of `accounts.party.ADDRESS_KINDS`."""

    text: str
    country: str
    kind: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Answered calls of the last days.

    Attributes:
        hours: how many in each hour of the day, UTC; 24.
        days: on how many days there was one.
        span_days: what "the last days" are.
    """

    hours: tuple[int, ...]
    days: int
    span_days: int

    @property
    def calls(self) -> int:
        """All of them."""
        return sum(self.hours)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """About one account's party, on a day. Texts are "" where nothing is said; countries are in upper case.

    Attributes:
        sector: as two operators verified it.
        declared_sector: in the party's own words.
        owners: as declared, and whom statements name above.
        graph: statements that hold on the day; `node` is the party in it.
        listed: owners of the graph with a hit, by node, with their names.
        ended: holdings of listed owners that are over.
        near: listed owner -> effective share.
        shared: address -> how many other accounts have it.
        listed_addresses: address -> the listed entries that have it, as texts.
        called_from: countries that calls came from, whatever was declared.
        labels: texts that the account gave: values of tags.
    """

    day: date
    name: str
    country: str
    declared_sector: str
    end_use: str
    sector: str = ""
    incorporated_on: date | None = None
    domain: str = ""
    email: str = ""
    phone: str = ""
    addresses: tuple[Place, ...] = ()
    used_in: tuple[str, ...] = ()
    end_users: tuple[Somebody, ...] = ()
    owners: tuple[Somebody, ...] = ()
    payer: str = ""
    graph: Graph = field(default_factory=lambda: Graph(()))
    node: str = "party"
    listed: Mapping[str, str] = field(default_factory=dict)
    ended: tuple[Statement, ...] = ()
    near: Mapping[str, Interval] = field(default_factory=dict)
    shared: Mapping[str, int] = field(default_factory=dict)
    listed_addresses: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    called_from: tuple[str, ...] = ()
    usage: Usage | None = None
    monthly_calls: int | None = None
    labels: tuple[str, ...] = ()

    def fitting(self) -> frozenset[str]:
        """Countries that it says it is, or is used, in."""
        return fitting(self.country, self.used_in, [each.country for each in self.addresses])

    def countries(self, of: str) -> Iterator[tuple[str, str]]:
        """Country and whose it is, of a part of the facts: party, owner, end-user, address, used-in or call."""
        if of == "party":
            yield self.country, self.name
        elif of in ("owner", "end-user"):
            yield from ((each.country, each.name) for each in (self.owners if of == "owner" else self.end_users))
        elif of == "address":
            yield from ((each.country, each.text) for each in self.addresses)
        elif of == "used-in":
            yield from ((each, "its use") for each in self.used_in)
        elif of == "call":
            yield from ((each, "calls") for each in self.called_from)


def fitting(country: str, used_in: Any, of_addresses: Any) -> frozenset[str]:
    """Countries that a party says it is, or is used, in."""
    return frozenset(each for each in (country[:2], *used_in, *of_addresses) if each)
