"""What red flags and rules of nexus look at, for one account: what it declares, who stands behind it, how it is used.

Brings declarations (`accounts`), subjects, chains and hits together as `standing.rules.Facts`; what rules make of them
is decided there.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, Final

from countenance.accounts import Declared, Party
from countenance.operations.lookthrough import OF_OWNERS, Chains, day_of, graph_of
from countenance.operations.subjects import FORMER, PARTY, Subject
from countenance.standing.listed import ListedEntity
from countenance.standing.matching import Hit
from countenance.standing.ownership import Interval
from countenance.standing.ownership.integrated import integrated
from countenance.standing.rules import Facts, Place, Somebody, Usage
from countenance.standing.rules.checks import folded

USAGE_DAYS: Final = 30
"""How far back usage is looked at: a month, which is also how long a screening counts."""
ALIKE: Final = 0.8
"""Of the words and numbers that two addresses have together, how many both must have to be taken for the same."""
LEAST_WORDS: Final = 3


class Addresses:
    """Addresses of listed entries, to find those that are like a declared one."""

    def __init__(self, entities: Iterable[ListedEntity]) -> None:
        self._known: list[tuple[frozenset[str], str]] = []
        self._by_number: dict[str, list[int]] = defaultdict(list)
        for each in entities:
            for address in each.addresses:
                words = _words(address)
                if len(words) < LEAST_WORDS:
                    continue
                for word in words:
                    if any(letter.isdigit() for letter in word):
                        self._by_number[word].append(len(self._known))
                self._known.append((words, f"{each.names[0].text} ({each.list_id} {each.entry_id})"))

    def like(self, address: str, country: str) -> tuple[str, ...]:
        """Entries with such an address, named; only addresses with a number in them are compared."""
        words = _words(address)
        numbers = [word for word in words if any(letter.isdigit() for letter in word)]
        near = {at for word in numbers for at in self._by_number.get(word, ())}
        found = {
            self._known[at][1]
            for at in near
            if len(both := words & self._known[at][0]) >= LEAST_WORDS
            and len(both) >= ALIKE * min(len(words), len(self._known[at][0]))
        }
        return tuple(sorted(found))


@dataclass(frozen=True, slots=True)
class Around:
    """What is the same for every account that is screened at one time.

    Attributes:
        shared: folded address -> accounts that declare it.
        listed: addresses of listed entries; None when nobody declares any.
        usage: account -> answered calls of late.
        labels_of: texts that an account gave.
    """

    shared: Mapping[str, frozenset[str]] = field(default_factory=dict)
    listed: Addresses | None = None
    usage: Mapping[str, Usage] = field(default_factory=dict)
    labels_of: Callable[[str], Sequence[str]] = lambda account: ()


def facts_of(
    account: str,
    declared: Declared,
    found: Sequence[Subject],
    hits: Mapping[str, Sequence[Hit]],
    chains: Chains,
    around: Around,
    *,
    sector: str,
    countries: tuple[str, ...],
    now_us: int,
) -> Facts:
    """The facts about an account.

    Args:
        found: whom the declaration and the chains name, former holders too.
        hits: those of each, by the first of its keys.
        sector: as verified.
        countries: that calls came from, and no declaration said.
    """
    party, graph = declared.party, graph_of(declared, found, chains, now_us)
    listed = {who.key: who.name for who in found if who.role in (*OF_OWNERS, FORMER) and hits.get(who.key)}
    keys = {key for who in found if who.key in listed for key in chains.keys(who.keys)}
    ended = chains.ended(party, {key for who in found for key in chains.keys(who.keys)}, now_us)
    places = [Place(each.text, each.country, each.kind) for each in party.addresses]
    return Facts(
        day=day_of(now_us),
        name=party.legal_name,
        country=party.jurisdiction[:2],
        declared_sector=party.sector,
        end_use=party.end_use,
        sector=sector,
        incorporated_on=date.fromisoformat(party.incorporated_on) if party.incorporated_on else None,
        domain=party.domain or "",
        email=party.email or "",
        phone=party.phone or "",
        addresses=tuple(places),
        used_in=party.used_in,
        end_users=tuple(Somebody(who.name, _country(who)) for who in found if who.role == "end-user"),
        owners=tuple(Somebody(who.name, _country(who)) for who in found if who.role in OF_OWNERS),
        payer=party.payer.name if party.payer else "",
        graph=graph,
        node=PARTY,
        listed=listed,
        ended=tuple(each for each in ended if each.owner in keys),
        near={listed[key]: share for key in listed if (share := _share(graph, key)) is not None},
        shared={
            each.text: len(others)
            for each in places
            if (others := around.shared.get(folded(each.text), frozenset()) - {account})
        },
        listed_addresses={
            each.text: entries
            for each in places
            if around.listed is not None and (entries := around.listed.like(each.text, each.country))
        },
        called_from=countries,
        usage=around.usage.get(account),
        monthly_calls=party.monthly_calls,
        labels=tuple(around.labels_of(account)),
    )


def facts_of_use(
    account: str, party: Party | None, around: Around, *, countries: tuple[str, ...], now_us: int
) -> Facts:
    """What is looked at of the owner's account: how it is used, and nothing else."""
    return Facts(
        day=day_of(now_us),
        name=party.legal_name if party else account,
        country=party.jurisdiction[:2] if party else "",
        declared_sector=party.sector if party else "",
        end_use=party.end_use if party else "",
        addresses=tuple(Place(each.text, each.country, each.kind) for each in party.addresses) if party else (),
        used_in=party.used_in if party else (),
        called_from=countries,
        usage=around.usage.get(account),
        monthly_calls=party.monthly_calls if party else None,
        labels=tuple(around.labels_of(account)),
    )


def usage_of(answered: Iterable[tuple[str, int, int]]) -> dict[str, Usage]:
    """Account -> usage, of accounts with hours since 1970 and how many calls were answered in each."""
    hours: dict[str, list[int]] = {}
    days: dict[str, set[int]] = defaultdict(set)
    for account, hour, count in answered:
        hours.setdefault(account, [0] * 24)[hour % 24] += count
        days[account].add(hour // 24)
    return {account: Usage(tuple(found), len(days[account]), USAGE_DAYS) for account, found in hours.items()}


def shared_addresses(parties: Iterable[tuple[str, Party]]) -> dict[str, frozenset[str]]:
    """Folded address -> accounts whose parties declare it, of (account, party) pairs."""
    found: dict[str, set[str]] = defaultdict(set)
    for account, party in parties:
        for each in party.addresses:
            found[folded(each.text)].add(account)
    return {address: frozenset(accounts) for address, accounts in found.items()}


def _share(graph: Any, holder: str) -> Interval | None:
    return integrated(graph, holder).get(PARTY)


def _country(who: Subject) -> str:
    return who.screened.countries[0].upper() if who.screened.countries else ""


def _words(address: str) -> frozenset[str]:
    return frozenset(_split(unicodedata.normalize("NFKD", address).casefold()))


def _split(text: str) -> Iterator[str]:
    bare = "".join(each for each in text if not unicodedata.combining(each))
    yield from re.findall(r"\w+", bare)
