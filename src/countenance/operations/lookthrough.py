"""Who stands behind an account: what its declaration and recorded statements make a chain of, and where that leads.

Brings declarations (`accounts`), dated statements and the three tests (`standing.ownership`), and hits together. A node
of the graph is a text: an LEI, a register's number, or a name; somebody has several of these, and all of them are one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from countenance_audit import identifiers
from countenance_audit.errors import Malformed

from countenance.accounts import Declared, Party
from countenance.operations.subjects import CHAIN, FORMER, OWNER, PARTY, Subject, keys_of, subject_of
from countenance.standing.findings import Finding, digest, finding
from countenance.standing.listed import Identifier, Schema
from countenance.standing.matching import Hit, Tier
from countenance.standing.ownership import REGIMES, TESTS, Graph, Interval, Recorded, Statement, as_of
from countenance.standing.ownership.integrated import WARNING, integrated
from countenance.standing.ownership.interval import UNKNOWN, WHOLE
from countenance.standing.ownership.regimes import EU, OFAC, UK, Reached, hidden
from countenance.standing.ownership.statements import known

FORMER_DAYS: Final = 730
"""How long somebody who held something is still looked at: rule R10 asks for two years."""
_OF_REGIME: Final = {OFAC: "ofac", EU: "eu", UK: "uk"}
"""The first word of the names of lists that a regime's test is about. Other lists (the UN's, an operator's own) count
for all of them."""
OF_OWNERS: Final = (OWNER, CHAIN)
_HUNDREDTHS: Final = WHOLE // 10_000
"""Millionths in a hundredth of a per cent, which declarations give shares in."""


@dataclass(frozen=True, slots=True)
class Chains:
    """The statements on record at a moment.

    Attributes:
        recorded: each with when.
        parties: node -> {"name", "is_person", "jurisdiction", "identifiers"}, as the statements' sources describe it.
        documents: hashes of the documents of all statements.
    """

    recorded: tuple[Recorded, ...] = ()
    parties: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    documents: tuple[str, ...] = ()
    same: Mapping[str, str] = field(default_factory=dict)
    """Node -> the one that it is the same as: statements of one source name by LEI whom others name by a register."""

    def keys(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Keys of somebody, with the nodes that statements have for them."""
        return tuple(dict.fromkeys(one for each in keys for one in (each, self.same.get(each, each))))

    def on(self, day: date, known_at_us: int) -> list[Statement]:
        """What was true on a day by what was known at a moment."""
        return as_of(self.recorded, valid_on=day, known_at_us=known_at_us)

    def further(self, party: Party, found: Sequence[Subject], now_us: int) -> list[Subject]:
        """Whom statements name above a party, and its declaration does not."""
        graph = _graph(self.keys(_own(party)), self.on(day_of(now_us), now_us))
        named = {key for each in found for key in self.keys(each.keys)}
        above, new = set[str](), [PARTY, *sorted(named)]
        while new:
            for each in graph.into.get(new.pop(), ()):
                if each.owner not in above and each.owner != PARTY:
                    above.add(each.owner)
                    new.append(each.owner)
        return [self._subject(node, CHAIN) for node in sorted(above) if node not in named]

    def former(self, party: Party, found: Sequence[Subject], now_us: int) -> list[Subject]:
        """Who held something in a party, or in somebody found, until lately."""
        named = {key for each in found for key in self.keys(each.keys)}
        nodes = {each.owner for each in self.ended(party, named, now_us)}
        return [self._subject(node, FORMER) for node in sorted(nodes - named)]

    def ended(self, party: Party, named: set[str], now_us: int) -> list[Statement]:
        """Holdings in a party, or in nodes, that were over by a day, and not long."""
        until = day_of(now_us)
        since, own = until - timedelta(days=FORMER_DAYS), set(self.keys(_own(party)))
        return [
            each
            for each in known(self.recorded, now_us)
            if each.valid_to and since <= each.valid_to <= until and (each.owned in named or each.owned in own)
        ]

    def _subject(self, node: str, role: str) -> Subject:
        said = self.parties.get(node, {})
        schema = Schema.PERSON if said.get("is_person") else Schema.LEGAL_ENTITY
        name = str(said.get("name") or node.removeprefix("name:"))
        country = str(said.get("jurisdiction") or "").lower()[:2]
        found = [Identifier(*(str(part) for part in each)) for each in said.get("identifiers", ())]
        return subject_of(role, name, schema, found, (country,) if country else (), (node,))


def chains_of(documents: Iterable[tuple[int, str, Mapping[str, Any]]]) -> Chains:
    """From documents of statements: when each was recorded, its hash and content. Raises OwnershipError."""
    recorded, parties, hashes = [], dict[str, Mapping[str, Any]](), []
    for at_us, kept, content in documents:
        recorded.append(Recorded(_renamed(Statement.from_json(content["statement"]), _written), at_us))
        parties |= {_written(node): said for node, said in content.get("parties", {}).items()}
        hashes.append(kept)
    same = dict(_same(parties))
    recorded = [
        replace(each, statement=_renamed(each.statement, lambda node: same.get(node, node))) for each in recorded
    ]
    described = {same.get(node, node): said for node, said in parties.items()}
    return Chains(tuple(recorded), described, tuple(hashes), same)


def _written(node: str) -> str:
    """A node as declarations give it, however a source or an operator wrote it: an identifier in its normal form, where
    it has one, and a name without case."""
    scheme, _, value = node.partition(":")
    if scheme == "name":
        return f"name:{value.casefold()}"
    try:
        return f"{scheme}:{identifiers.normal(scheme, value)}"
    except Malformed:
        return node


def _same(parties: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Nodes that their description has an LEI for."""
    for node, said in parties.items():
        for scheme, value, *_ in said.get("identifiers", ()):
            if scheme == "leiCode" and node != f"lei:{value}":
                yield node, f"lei:{value}"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look through the owners of a party showed.

    Attributes:
        notes: what nobody has to judge: effective shares, and how much nobody is named for.
        rests_on: the algorithms.
    """

    findings: list[Finding]
    notes: list[dict[str, Any]]
    rests_on: tuple[str, ...]


def seen_through(
    declared: Declared, found: Sequence[Subject], hits: Mapping[str, Sequence[Hit]], chains: Chains, now_us: int
) -> Seen:
    """What the three tests say of an account's party.

    Args:
        found: whom the declaration and the chains name.
        hits: those of each, by the first of its keys.
    """
    graph = graph_of(declared, found, chains, now_us)
    findings, notes = [], []
    listed_anywhere = set()
    for regime in REGIMES:
        listed = {}
        for who in found:
            about = [each for each in hits[who.key] if _is_of(regime, each.list_id)]
            if about and who.role in OF_OWNERS:
                tiers = {each.tier for each in about}
                listed[who.key] = str(Tier.BLOCK if Tier.BLOCK in tiers else Tier.REVIEW)
        listed_anywhere |= set(listed)
        for each in TESTS[regime](graph, listed, day_of(now_us)):
            if each.node == PARTY:
                findings.append(_finding(regime, each, found, hits))
    for holder in sorted(listed_anywhere):
        share = integrated(graph, holder).get(PARTY)
        if share is not None:
            in_band = share.high >= WARNING[0] and share.low < WARNING[1]
            notes.append({"kind": "effective share", "of": holder, "share": share.to_json(), "is_in_band": in_band})
    notes.append({"kind": "ownership that nobody is named for", "share": hidden(graph, PARTY).to_json()})
    return Seen(findings, notes, REGIMES)


def graph_of(declared: Declared, found: Sequence[Subject], chains: Chains, now_us: int) -> Graph:
    """Who holds what above an account's party, which is the node PARTY; everybody else is their first key."""
    statements = [*_declared(declared, found), *chains.on(day_of(now_us), now_us)]
    return _one_node_each(_graph(chains.keys(_own(declared.party)), statements), found, chains)


def _finding(regime: str, reached: Reached, found: Sequence[Subject], hits: Mapping[str, Sequence[Hit]]) -> Finding:
    root = reached.chain[0].owner
    name = next((who.name for who in found if who.key == root), root)
    share = f" of {reached.share}" if reached.share is not None else ""
    title = f"{regime}: {reached.ground}{share}, through {len(reached.chain)} statements from {name}"
    explained = {
        "regime": regime,
        "ground": reached.ground,
        "share": reached.share.to_json() if reached.share else None,
        "chain": [each.to_json() for each in reached.chain],
        "listed": [
            {"list_id": each.list_id, "entry_id": each.entry_id, "name": each.listed_name} for each in hits[root]
        ],
    }
    rests_on = [regime, *(digest(each.to_json()) for each in reached.chain)]
    rests_on += sorted(
        {each.entry_hash for each in hits[root]} | {f"{each.scorer} {each.config_hash}" for each in hits[root]}
    )
    tier = Tier.BLOCK if reached.effect == "block" else Tier.REVIEW
    return finding("ownership", f"ownership/{regime}/{root}", tier, title, f"owner {name}", explained, rests_on)


def _declared(declared: Declared, found: Sequence[Subject]) -> list[Statement]:
    """Owners as the declaration has them; a share that it does not give may be any."""
    made = []
    keys = {who.name: who.key for who in found if who.role == OWNER}
    for at, each in enumerate(declared.party.owners):
        share = UNKNOWN if each.share is None else Interval(each.share * _HUNDREDTHS, each.share * _HUNDREDTHS)
        source = f"declaration {declared.party.digest()[:16]}"
        made.append(Statement(f"owner {at}", keys[each.name], PARTY, "shareholding", share, source=source))
    return made


def _graph(keys: Iterable[str], statements: Iterable[Statement]) -> Graph:
    """Statements about the party under whatever it is called are about PARTY."""
    own = set(keys)
    return Graph(_renamed(each, lambda node: PARTY if node in own else node) for each in statements)


def _own(party: Party) -> tuple[str, ...]:
    return keys_of(party.legal_name, [("lei", party.lei), ("reg", party.registration)])


def _one_node_each(graph: Graph, found: Sequence[Subject], chains: Chains) -> Graph:
    first = {key: who.key for who in found if who.role != PARTY for key in chains.keys(who.keys)}
    return Graph(_renamed(each, lambda node: first.get(node, node)) for each in graph.statements)


def _renamed(each: Statement, name: Any) -> Statement:
    owner, owned = name(each.owner), name(each.owned)
    return each if (owner, owned) == (each.owner, each.owned) else replace(each, owner=owner, owned=owned)


def _is_of(regime: str, list_id: str) -> bool:
    of = list_id.partition("-")[0]
    return of == _OF_REGIME[regime] or of not in _OF_REGIME.values()


def day_of(at_us: int) -> date:
    """The day of a moment, UTC."""
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).date()
