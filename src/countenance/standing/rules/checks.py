"""The checks that rules name: each looks at facts for one thing, and says what it found.

A check gives (key, fact, detail) triples. The key tells apart findings of one rule that are judged each by itself; the
fact is a sentence that stays the same for as long as what it rests on does; the detail has figures that move. A change
of what a check finds is a new `rule.CHECKS_VERSION`.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Any, Final
from zoneinfo import ZoneInfo

from countenance.standing.ownership.interval import WHOLE, Interval
from countenance.standing.ownership.regimes import Graph
from countenance.standing.ownership.statements import HIDDEN, OWNING
from countenance.standing.rules.facts import Facts

Found = tuple[str, str, Mapping[str, Any]]
Terms = Mapping[str, Any]
MONTH_DAYS: Final = 30
_CYRILLIC: Final = re.compile(r"[\u0400-\u052f]")


@dataclass(frozen=True, slots=True)
class Check:
    """A check, and the types of what it asks for."""

    run: Callable[[Facts, Terms], Iterator[Found]]
    terms: Mapping[str, type]


def incorporated(facts: Facts, terms: Terms) -> Iterator[Found]:
    """R1: in one of some countries, since a day."""
    day = facts.incorporated_on
    if day is not None and day > terms["since"] and facts.country[:2] in terms["countries"]:
        yield "", f"incorporated on {day} in {facts.country}", {}


def missing(facts: Facts, terms: Terms) -> Iterator[Found]:
    """R2: nobody says who owns it, whom it serves, or what for."""
    if not facts.owners and not facts.graph.into.get(facts.node):
        yield "", "nobody is named as an owner", {}
    if len(facts.end_use) < terms["shortest_end_use"]:
        yield "", f"the end use is said in {len(facts.end_use)} characters: {facts.end_use!r}", {}
    if not facts.end_users and (word := _word_in(facts.end_use, terms["resale"])):
        yield "", f"the end use says {word!r}, and no end user is named", {}


def presence(facts: Facts, terms: Terms) -> Iterator[Found]:
    """R3: no domain, or mail at one that anybody has."""
    if not facts.domain:
        yield "", "it declares no domain", {}
    at = facts.email.rpartition("@")[2].lower()
    if at in terms["personal"]:
        yield "", f"mail is to be sent to an address at {at}", {}
    elif at and facts.domain and not _is_within(at, facts.domain) and not _is_within(facts.domain, at):
        yield "", f"mail is to be sent to {at}, which is not {facts.domain}", {}


def telephone(facts: Facts, terms: Terms) -> Iterator[Found]:
    """R4: the number's country is none that it says it is in."""
    regions = _regions_of(facts.phone) if facts.phone else ()
    if facts.phone and not facts.fitting() & set(regions):
        yield "", f"the telephone number is of {', '.join(regions) or 'no country'}", {}


def line_of_business(facts: Facts, terms: Terms) -> Iterator[Found]:
    """R5: words in what it says it does."""
    if word := _word_in(facts.declared_sector, terms["words"]):
        yield "", f"its declared sector is {facts.declared_sector!r}, which has {word!r}", {}


def listed_address(facts: Facts, terms: Terms) -> Iterator[Found]:
    """R6: listed parties have the same address."""
    for address, entries in sorted(facts.listed_addresses.items()):
        yield address, f"{address} is also an address of {'; '.join(entries)}", {}


def state_users(facts: Facts, terms: Terms) -> Iterator[Found]:
    """R7: end users that are arms of a state, of an account that is none."""
    if facts.sector in terms["states"]:
        return
    for each in facts.end_users:
        if word := _word_in(each.name, terms["words"]):
            yield each.name, f"the end user {each.name} has {word!r} in its name", {}
    if word := _word_in(facts.end_use, terms["words"]):
        yield "", f"the end use says {word!r}", {}


def called_from(facts: Facts, terms: Terms) -> Iterator[Found]:
    """R8: countries of calls that it does not say it is in."""
    said = facts.fitting()
    for each in facts.called_from:
        if each not in said:
            yield each, f"calls came from {each}; it says it is in {', '.join(sorted(said))}", {}


def in_countries(facts: Facts, terms: Terms) -> Iterator[Found]:
    """R9 and nexus: some part of it is in one of some countries, and where words are asked for, its end use or sector
    has one."""
    words = terms.get("words")
    word = _word_in(f"{facts.end_use} {facts.declared_sector} {facts.sector}", words) if words else ""
    if words and not word:
        return
    said = f", and its end use or sector says {word!r}" if word else ""
    for of in terms["of"]:
        for country, whose in sorted(set(facts.countries(of))):
            if country[:2] in terms["countries"]:
                yield f"{of}/{whose}/{country[:2]}", f"{of} {whose}: {country[:2]}{said}", {}


def transferred(facts: Facts, terms: Terms) -> Iterator[Found]:
    """R10: holdings of listed owners that ended lately, and effective shares just under half."""
    since = facts.day - timedelta(days=terms["days"])
    for each in facts.ended:
        if each.valid_to is not None and since <= each.valid_to <= facts.day:
            yield each.id, f"a listed holder's share ended: {each}", {}
    low, high = terms["near"]
    for holder, share in sorted(facts.near.items()):
        if share.high >= low and share.low < high:
            yield holder, f"{share} ends up with {holder}, who is listed", {}


def address_kind(facts: Facts, terms: Terms) -> Iterator[Found]:
    """R11: addresses of representatives, of homes, or of several accounts."""
    for each in facts.addresses:
        if each.kind in terms["kinds"]:
            yield "", f"{each.text} is a {each.kind} address", {}
        if word := _word_in(each.text, terms["words"]):
            yield "", f"{each.text} has {word!r}", {}
        if facts.shared.get(each.text):
            yield "", f"{each.text} is also an address of other accounts", {"accounts": facts.shared[each.text]}


def layers(facts: Facts, terms: Terms) -> Iterator[Found]:
    """R12: how far up owners go, and interests that hide somebody."""
    depth = _depth(facts.graph, facts.node)
    if depth >= terms["layers"]:
        yield "", f"{depth} layers of owners", {}
    for each in _above(facts.graph, facts.node):
        if each.interest in ("nominee", "nominator"):
            yield "", f"{each.owner} is a {each.interest} in {each.owned}", {}


def undisclosed(facts: Facts, terms: Terms) -> Iterator[Found]:
    """R13: how much is named, where shares are said at all; and interests that nobody names."""
    stakes = facts.graph.stakes(facts.node, OWNING)
    named: Interval | None = None
    for each in stakes.values():
        named = each if named is None else named + each
    if named is not None and named.high < min(terms["least"], WHOLE):
        yield "", f"owners are named for {named} only", {}
    for statement in _above(facts.graph, facts.node):
        if statement.interest in HIDDEN - {"nominee", "nominator"} or statement.owner.startswith("unknown:"):
            yield "", f"{statement.owner} in {statement.owned}: {statement.interest}", {}


def payer(facts: Facts, terms: Terms) -> Iterator[Found]:
    """R14: who pays is neither the party nor one of its owners."""
    known = {facts.name.casefold(), *(each.name.casefold() for each in facts.owners)}
    if facts.payer and facts.payer.casefold() not in known:
        yield "", f"{facts.payer} pays", {}


def usage(facts: Facts, terms: Terms) -> Iterator[Found]:
    """R15: hours, amounts and letters that do not fit what it says. A heuristic."""
    used = facts.usage
    if used is not None and used.calls >= terms["least_calls"] and used.days >= terms["least_days"]:
        at_home = [_share_at_night(used.hours, zone, terms["night"], facts.day) for zone in _zones(facts.fitting())]
        there = _share_at_night(used.hours, terms["elsewhere"], terms["night"], facts.day)
        if at_home and min(at_home) > terms["share_at_night"] and there < min(at_home):
            detail = {"at_night_percent": round(100 * min(at_home)), "there_percent": round(100 * there)}
            yield "", f"most calls come at night where it says it is, fewer at night in {terms['elsewhere']}", detail
    if used is not None and facts.monthly_calls is not None:
        a_month = used.calls * MONTH_DAYS // max(used.span_days, 1)
        if a_month > terms["more_than_said"] * facts.monthly_calls:
            said = f"many more calls than the {facts.monthly_calls} a month that were said"
            yield "", said, {"calls_a_month": a_month}
    if not facts.fitting() & set(terms["cyrillic"]) and any(_CYRILLIC.search(each) for each in facts.labels):
        yield "", "tags are written in Cyrillic letters", {}


CHECKS: Final[Mapping[str, Check]] = {
    "address_kind": Check(address_kind, {"kinds": list, "words": list}),
    "called_from": Check(called_from, {}),
    "in_countries": Check(in_countries, {"of": list, "countries": list, "words": list}),
    "incorporated": Check(incorporated, {"since": date, "countries": list}),
    "layers": Check(layers, {"layers": int}),
    "line_of_business": Check(line_of_business, {"words": list}),
    "listed_address": Check(listed_address, {}),
    "missing": Check(missing, {"shortest_end_use": int, "resale": list}),
    "payer": Check(payer, {}),
    "presence": Check(presence, {"personal": list}),
    "state_users": Check(state_users, {"states": list, "words": list}),
    "telephone": Check(telephone, {}),
    "transferred": Check(transferred, {"days": int, "near": list}),
    "undisclosed": Check(undisclosed, {"least": int}),
    "usage": Check(
        usage,
        {
            "least_calls": int,
            "least_days": int,
            "night": list,
            "share_at_night": float,
            "elsewhere": str,
            "more_than_said": int,
            "cyrillic": list,
        },
    ),
}
"""By the names that rules have for them."""


def folded(text: str) -> str:
    """For comparing: without case, and with one space where there is any."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _word_in(text: str, words: Any) -> str:
    """The first of some words that begins a word of a text; "" without one."""
    said = folded(text)
    return next((each for each in words if re.search(rf"(?<!\w){re.escape(each)}", said)), "")


@cache
def _regions_of(number: str) -> tuple[str, ...]:
    import phonenumbers

    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        return ()
    return tuple(phonenumbers.region_codes_for_country_code(parsed.country_code or 0))


@cache
def _zones(countries: frozenset[str]) -> tuple[str, ...]:
    """Zones of the time in countries; none where the extra, which knows them, is not installed."""
    try:
        from babel.core import get_global
    except ImportError:
        return ()
    known = get_global("territory_zones")
    return tuple(zone for each in sorted(countries) for zone in known.get(each, ()))


def _is_within(domain: str, other: str) -> bool:
    return domain == other or domain.endswith(f".{other}")


def _share_at_night(hours: tuple[int, ...], zone: str, night: Any, day: date) -> float:
    """Of calls by the hour, UTC, how many are at night in a zone."""
    begins, ends = night
    offset = ZoneInfo(zone).utcoffset(datetime.combine(day, time(12), UTC).replace(tzinfo=None)) or timedelta()
    ahead = round(offset.total_seconds() / 3600)
    at_night = sum(
        count for hour, count in enumerate(hours) if (local := (hour + ahead) % 24) >= begins or local < ends
    )
    return at_night / max(sum(hours), 1)


def _above(graph: Graph, node: str) -> Iterator[Any]:
    """Every statement on a way up from a node."""
    seen, new = {node}, [node]
    while new:
        for each in graph.into.get(new.pop(), ()):
            yield each
            if each.owner not in seen:
                seen.add(each.owner)
                new.append(each.owner)


def _depth(graph: Graph, node: str) -> int:
    """The longest of the shortest ways up: how many layers there are, whatever cycles."""
    seen, layer, depth = {node}, {node}, 0
    while layer := {each.owner for of in layer for each in graph.into.get(of, ())} - seen:
        seen |= layer
        depth += 1
    return depth
