"""One party against all listed entries.

Puts the parts together: `retrieval` and `identifiers` say which entries are worth scoring, `scoring` scores them, and a
hit says why. Does not know where lists or parties come from, nor what a hit does to an account.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from countenance.standing.listed import ListedEntity, Schema, ScreenedParty
from countenance.standing.matching.hit import Feature, Hit, Tier, entry_hash, party_hash
from countenance.standing.matching.identifiers import Key, keys
from countenance.standing.matching.retrieval import CANDIDATES, TrigramIndex, shares_words, words
from countenance.standing.matching.scoring import THRESHOLD, Prepared, Scorer

SAME_IDENTIFIER = 1.0
"""Score of a hit by an identifier: it is the same number or it is not."""

UNSPECIFIED = (Schema.LEGAL_ENTITY, Schema.VESSEL, Schema.AIRPLANE)
"""Kinds that are compared as they are declared: one that says nothing, and two that no party is."""


@dataclass(frozen=True, slots=True)
class Screened:
    """What one screening compared and found: enough to know, after a list changed, what need not be compared again.

    A score depends on the two contents and on the scorer alone. So a pair that was compared under the same
    `scorer_key`, with the same `party_hash`, has the outcome it had.
    """

    party_id: str
    party_hash: str
    scorer_key: str
    compared: tuple[str, ...]
    """Hashes of the entries that were scored, sorted."""
    hits: tuple[Hit, ...]
    """The worst first: by tier, then score, then list and entry."""


class Screener:
    """Every listed entry, indexed. Immutable; one thread at a time, since the matcher's caches are not for several.

    Making one takes seconds for 18,000 entries; a screening takes milliseconds. Entries are taken in the order of
    their list and id, so the order in which they are handed in changes nothing.

    Raises:
        MatcherMissing: the extra is not installed.
    """

    def __init__(self, entities: Iterable[ListedEntity]) -> None:
        self.scorer = Scorer()
        self.entities = sorted(entities, key=lambda entity: (entity.list_id, entity.entry_id, entry_hash(entity)))
        self._hashes = [entry_hash(entity) for entity in self.entities]
        self._index = TrigramIndex(self.entities, self.scorer.latin)
        self._prepared: dict[int, Prepared] = {}
        self._words: dict[int, list[frozenset[str]]] = {}
        self._certain: dict[Key, list[int]] = defaultdict(list)
        self._loose: dict[Key, list[int]] = defaultdict(list)
        for place, entity in enumerate(self.entities):
            found = keys(entity.identifiers, entity.countries)
            for key in found.certain:
                self._certain[key].append(place)
            for key in found.loose:
                self._loose[key].append(place)

    @cached_property
    def scorer_key(self) -> str:
        """What a score depends on beside the two contents."""
        return f"{self.scorer.name} {self.scorer.config_hash}"

    def screen(self, party: ScreenedParty) -> tuple[Hit, ...]:
        """Hits of one party, the worst first; of nothing but the party and the entries.

        An entry that has one of the party's identifiers blocks whatever its name. Otherwise the entries most like one
        of the party's names are scored: from the threshold on under the default configuration they block, under the
        shell probe they are for review. Entries that are themselves not sanctioned are for review at most, and so are
        those of another kind than the party is declared to be, which are compared where they share half of their words.
        """
        return self.compare(party).hits

    def compare(self, party: ScreenedParty, before: Screened | None = None) -> Screened:
        """Hits of one party, without scoring a pair again whose outcome `before` has.

        The result is the same with and without `before`: candidates are always looked for anew.
        """
        key = party_hash(party)
        kept: dict[str, Hit] = {}
        compared: set[str] = set()
        if before is not None and before.party_hash == key and before.scorer_key == self.scorer_key:
            compared = set(before.compared)
            kept = {hit.entry_hash: hit for hit in before.hits}
        shared = self._same_identifiers(party)
        asked: _Asked | None = None
        hits: list[Hit] = []
        scored: set[str] = set()
        for place in self._candidates(party, shared):
            entry = self._hashes[place]
            scored.add(entry)
            if entry in compared:
                hit = kept.get(entry)
            else:
                asked = asked or self._asked(party, key)
                hit = self._score(asked, place, shared.get(place, []))
            if hit is not None:  # entries of one content are one comparison, and a hit each
                hits.append(replace(hit, list_id=self.entities[place].list_id, entry_id=self.entities[place].entry_id))
        hits.sort(key=lambda hit: (hit.tier is not Tier.BLOCK, -hit.score, hit.list_id, hit.entry_id, hit.entry_hash))
        return Screened(party.party_id, key, self.scorer_key, tuple(sorted(scored)), tuple(hits))

    def _same_identifiers(self, party: ScreenedParty) -> dict[int, list[Feature]]:
        """Entries that have one of the party's numbers, and which; with none for those only worth scoring."""
        found: dict[int, list[Feature]] = {}
        own = keys(party.identifiers, party.countries)
        for key in sorted(own.certain):
            for place in self._certain.get(key, ()):
                feature = Feature("same_identifier", 1.0, SAME_IDENTIFIER, f"{key[0]} is the same", key[-1], key[-1])
                found.setdefault(place, []).append(feature)
        for key in sorted(own.loose):
            for place in self._loose.get(key, ()):
                found.setdefault(place, [])
        return found

    def _candidates(self, party: ScreenedParty, shared: dict[int, list[Feature]]) -> list[int]:
        return sorted({*shared, *(place for place, _ in self._index.top(party.names, CANDIDATES))})

    def _asked(self, party: ScreenedParty, key: str) -> "_Asked":
        unspecified = party if party.schema in UNSPECIFIED else replace(party, schema=Schema.LEGAL_ENTITY)
        names = [frozenset(words(name, self.scorer.latin)) for name in party.names]
        return _Asked(party, key, self.scorer.party(party), self.scorer.party(unspecified), names)

    def _score(self, asked: "_Asked", place: int, shared: Sequence[Feature]) -> Hit | None:
        entity = self.entities[place]
        if place not in self._prepared:
            self._prepared[place] = self.scorer.listed(entity)
        listed, party = self._prepared[place], asked.declared
        is_other_kind = not shared and not self.scorer.is_comparable(asked.party.schema, entity.schema)
        if is_other_kind:
            # Who declares a company as a person would otherwise never be found.
            if place not in self._words:
                self._words[place] = [frozenset(words(name.text, self.scorer.latin)) for name in entity.names]
            if not shares_words(asked.names, self._words[place]):
                return None
            party = asked.unspecified
            kinds = (str(asked.party.schema), str(entity.schema))
            shared = [Feature("other_kind", 1.0, 0.0, "declared as another kind than is listed", *kinds)]
        elif not shared and not self.scorer.may_match(party, listed):
            return None
        found = blocking = self.scorer.block(party, listed)
        tier, score = Tier.BLOCK, SAME_IDENTIFIER
        if is_other_kind or not shared:
            if is_other_kind or blocking.score < THRESHOLD:
                tier, reviewing = Tier.REVIEW, self.scorer.review(party, listed)
                found = max(reviewing, blocking, key=lambda comparison: comparison.score)
            score = found.score
            if score < THRESHOLD:
                return None
        return Hit(
            list_id=entity.list_id,
            entry_id=entity.entry_id,
            tier=tier if entity.sanctioned else Tier.REVIEW,
            score=score,
            block_score=0.0 if is_other_kind else blocking.score,
            party_name=found.party_name,
            listed_name=found.listed_name,
            features=(*shared, *found.features),
            party_hash=asked.key,
            entry_hash=self._hashes[place],
            scorer=self.scorer.name,
            config_hash=self.scorer.config_hash,
        )


@dataclass(frozen=True, slots=True)
class _Asked:
    """A party as it is compared with one candidate after the other."""

    party: ScreenedParty
    key: str
    declared: Prepared
    unspecified: Prepared
    """As a person or an organisation, whichever the listed one is."""
    names: list[frozenset[str]]
