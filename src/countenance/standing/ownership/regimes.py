"""Three tests of who is owned or controlled by listed parties: OFAC's, the EU's and the UK's. They differ, and say so.

Each is a frozen algorithm with a name and a version, over statements that were true on a day. Shares are intervals: a
test that holds at the lower ends *blocks*, one that holds only at the upper ends has somebody *review* it. Facts for
engineers, not legal advice; docs/standing/ownership.md has the sources.

- OFAC (FAQ 398 to 402): blocked persons own 50 % or more, directly or indirectly and in the aggregate. Indirectly means
  through entities that are themselves owned so, each of which counts with its whole stake; products of percentages are
  not used (FAQ 401). Control does not count.
- EU (Best Practices): 50 % or more in the aggregate since July 2024, more than 50 % before; control is a presumption
  that can be rebutted, so it is for review.
- UK (regulation 7 of each instrument, as SI 2019/855): one person holds more than 50 % of shares or of votes, directly
  or indirectly, or may appoint or remove a majority of the board. Several persons' holdings are not added up unless
  they act under a joint arrangement (OFSI's guidance, 4.14). Whoever can be expected to have things done as they wish
  also controls: that is for review.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from countenance.standing.ownership.interval import HALF, NOTHING, PER_CENT, WHOLE, Interval
from countenance.standing.ownership.statements import CONTROLLING, OWNING, VOTING, Statement

OFAC, EU, UK = "ofac-50/1", "eu-50/1", "uk-50/1"
"""The algorithms, with their versions: a change of any is another version."""
REGIMES: Final = (OFAC, EU, UK)
EU_AT_LEAST_FROM: Final = date(2024, 7, 1)
"""The Council's Best Practices of July 2024 replaced "more than 50 %" by "50 % or more"."""
PRESUMED: Final = 30 * PER_CENT
"""From here on the largest holder is presumed to control: the share at which takeover law has a holder bid for the rest
(Rule 9 of the UK's City Code; Directive 2004/25/EC leaves it to members, most of which say the same). For review."""
BLOCK, REVIEW = "block", "review"


@dataclass(frozen=True, slots=True)
class Reached:
    """That a test reached somebody.

    Attributes:
        effect: BLOCK or REVIEW.
        ground: ownership or control.
        chain: the statements from a listed party to this node, in that order; of several holders, the largest's.
        share: held by listed parties, and by those reached before; None where the ground is control.
    """

    node: str
    regime: str
    effect: str
    ground: str
    chain: tuple[Statement, ...]
    share: Interval | None = None


class Graph:
    """Statements that were true on a day, by who is owned.

    Of the same holding said twice (by two sources, say), the higher share counts: a second opinion clears nobody.
    """

    def __init__(self, statements: Iterable[Statement]) -> None:
        self.statements = tuple(statements)
        self.into: dict[str, list[Statement]] = defaultdict(list)
        for each in self.statements:
            self.into[each.owned].append(each)

    def nodes(self) -> set[str]:
        """Everybody who is named."""
        return {each.owner for each in self.statements} | set(self.into)

    def stakes(self, owned: str, interests: frozenset[str]) -> dict[str, Interval]:
        """Owner -> share, in interests of some kinds. Treasury shares, held by the company itself, are left out."""
        found: dict[str, Interval] = {}
        for each in self.into.get(owned, ()):
            if each.interest in interests and each.share is not None and each.owner != owned:
                found[each.owner] = found[each.owner].hull(each.share) if each.owner in found else each.share
        return found

    def between(self, owner: str, owned: str) -> Statement:
        """The statement with the highest share of one holder in one company, or without any, the first."""
        found = [each for each in self.into[owned] if each.owner == owner]
        return max(found, key=lambda each: each.share.high if each.share else -1)


Holds = Callable[[Interval], bool]


def ofac(graph: Graph, listed: Mapping[str, str], day: date) -> list[Reached]:
    """OFAC's test. `listed`: node -> BLOCK when it is listed for certain, REVIEW when it may be."""
    return _aggregate(graph, listed, OFAC, lambda share: share.at_least(HALF), lambda share: share.maybe_at_least(HALF))


def eu(graph: Graph, listed: Mapping[str, str], day: date) -> list[Reached]:
    """The EU's test, as it stood on a day."""
    if day >= EU_AT_LEAST_FROM:
        owned = _aggregate(
            graph, listed, EU, lambda share: share.at_least(HALF), lambda share: share.maybe_at_least(HALF)
        )
    else:
        owned = _aggregate(graph, listed, EU, lambda share: share.over(HALF), lambda share: share.maybe_over(HALF))
    return _with_control(graph, listed, owned, EU)


def uk(graph: Graph, listed: Mapping[str, str], day: date) -> list[Reached]:
    """The UK's test."""
    found: dict[str, Reached] = {}
    for effect, over in ((BLOCK, Interval.over), (REVIEW, Interval.maybe_over)):
        roots = {node for node, certainty in listed.items() if certainty == BLOCK or effect == REVIEW}
        for parties in _acting(graph, roots):
            for each in _majority(graph, parties, effect, over):
                if each.node not in listed and each.node not in found:
                    found[each.node] = each
    return _with_control(graph, listed, list(found.values()), UK)


TESTS: Final[Mapping[str, Callable[[Graph, Mapping[str, str], date], list[Reached]]]] = {OFAC: ofac, EU: eu, UK: uk}


def _aggregate(graph: Graph, listed: Mapping[str, str], regime: str, certain: Holds, possible: Holds) -> list[Reached]:
    found: dict[str, Reached] = {}
    for effect, holds in ((BLOCK, certain), (REVIEW, possible)):
        # Monotone: whoever is reached stays so, so that it ends on cycles too.
        reached = {node for node, certainty in listed.items() if certainty == BLOCK or effect == REVIEW}
        reached |= set(found)
        growing = True
        while growing:
            growing = False
            for node in sorted(graph.into.keys() - reached):
                stakes = {who: share for who, share in graph.stakes(node, OWNING).items() if who in reached}
                total = _sum(stakes.values())
                if stakes and holds(total):
                    largest = max(sorted(stakes), key=lambda who: (stakes[who].low, stakes[who].high))
                    chain = (*_chain(found, largest), graph.between(largest, node))
                    found[node] = Reached(node, regime, effect, "ownership", chain, total)
                    reached.add(node)
                    growing = True
    return [each for each in found.values() if each.node not in listed]


def _acting(graph: Graph, roots: set[str]) -> Iterator[frozenset[str]]:
    """Each listed party alone, and those who act together under an arrangement."""
    together: dict[str, set[str]] = defaultdict(set)
    for each in graph.statements:
        if each.joint and each.owner in roots:
            together[each.joint].add(each.owner)
    yield from (frozenset({root}) for root in sorted(roots))
    yield from (frozenset(several) for _, several in sorted(together.items()) if len(several) > 1)


def _majority(
    graph: Graph, parties: frozenset[str], effect: str, over: Callable[[Interval, int], bool]
) -> Iterator[Reached]:
    """Whom some parties, acting as one, hold the majority of: their own stakes and those of whom they already do."""
    reached: dict[str, Reached] = {}
    growing = True
    while growing:
        growing = False
        for node in sorted(graph.into.keys() - parties - reached.keys()):
            holders = parties | reached.keys()
            for interests in (OWNING, VOTING):
                stakes = {who: share for who, share in graph.stakes(node, interests).items() if who in holders}
                total = _sum(stakes.values())
                if stakes and over(total, HALF):
                    largest = max(sorted(stakes), key=lambda who: (stakes[who].low, stakes[who].high))
                    made = Reached(
                        node, UK, effect, "ownership", (*_chain(reached, largest), graph.between(largest, node)), total
                    )
                    break
            else:
                boards = [
                    each for each in graph.into[node] if each.interest == "appointmentOfBoard" and each.owner in holders
                ]
                if not boards:
                    continue
                made = Reached(node, UK, effect, "control", (*_chain(reached, boards[0].owner), boards[0]))
            reached[node] = made
            growing = True
    yield from reached.values()


def _with_control(graph: Graph, listed: Mapping[str, str], owned: Sequence[Reached], regime: str) -> list[Reached]:
    """Adds, for review, whom listed parties and those reached may control."""
    found = {each.node: each for each in owned}
    reached = set(listed) | set(found)
    growing = True
    while growing:
        growing = False
        for node in sorted(graph.into.keys() - reached):
            controlling = next(_controlling(graph, node, reached), None)
            if controlling is not None:
                chain = (*_chain(found, controlling.owner), controlling)
                found[node] = Reached(node, regime, REVIEW, "control", chain)
                reached.add(node)
                growing = True
    return list(found.values())


def _controlling(graph: Graph, node: str, reached: set[str]) -> Iterator[Statement]:
    """Statements by which one of those reached controls a node, or is presumed to."""
    for each in graph.into[node]:
        if each.owner in reached and each.interest in CONTROLLING:
            yield each
    for interests in (VOTING, OWNING):
        stakes = graph.stakes(node, interests)
        # Its own subsidiaries vote as whoever controls it says: they are no counterweight to the largest holder.
        own = {who for who in stakes if _is_majority(graph.stakes(who, interests).get(node))}
        others = {who: share for who, share in stakes.items() if who not in own}
        for who in sorted(others):
            if who not in reached:
                continue
            share = others[who]
            rest = [other.high for name, other in others.items() if name != who]
            is_largest = all(share.high >= high for high in rest)
            is_presumed = share.maybe_at_least(PRESUMED) and is_largest and max(rest, default=0) < share.high
            if share.maybe_over(HALF) or is_presumed:
                yield graph.between(who, node)


def _is_majority(share: Interval | None) -> bool:
    return share is not None and share.over(HALF)


def _chain(found: Mapping[str, Reached], node: str) -> tuple[Statement, ...]:
    return found[node].chain if node in found else ()


def _sum(shares: Iterable[Interval]) -> Interval:
    total = NOTHING
    for each in shares:
        total = total + each
    return total


def hidden(graph: Graph, node: str) -> Interval:
    """How much of a node nobody is named for: what is declared of it, taken from the whole."""
    stakes = _sum(graph.stakes(node, OWNING).values())
    return Interval(WHOLE - stakes.high, WHOLE - stakes.low)
