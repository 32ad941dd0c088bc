"""How alike a party and a listed entry are: nomenklatura's logic-v2, as shipped and as a probe.

The only module that imports the extra `countenance[standing]`, and only when a `Scorer` is made: the rest of the
package can be read without it. Does not know where candidates come from, nor what a hit leads to.
"""

import hashlib
import json
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from countenance.errors import Error
from countenance.standing.listed import Identifier, ListedEntity, NameKind, Schema, ScreenedParty
from countenance.standing.matching.hit import Feature, entry_hash, party_hash
from countenance.standing.matching.identifiers import NATIONAL, SHORTEST, WORLDWIDE
from countenance.standing.matching.retrieval import CANDIDATES, plain

ALGORITHM = "logic-v2"
THRESHOLD = 0.70
"""From here on two entities match, in both tiers: SCORE_THRESHOLD of yente, the server around the same matcher."""
BLOCK: dict[str, dict[str, float]] = {"weights": {}, "config": {}}
"""logic-v2 as its authors ship it."""
SHELL: dict[str, dict[str, float]] = {
    "weights": {"country_mismatch": 0.0},
    "config": {"nm_extra_query_name": 0.2},
}
"""Reviews organisations: the shell probe. A shell has another country and more words than the one behind it ("X Europe
B.V."), so neither is held against the match. 0.2, not 0.3: docs/design/decisions/0012-screening.md has what both find
and cost."""
ABROAD: dict[str, dict[str, float]] = {"weights": {"country_mismatch": 0.0}, "config": {}}
"""Reviews where one side is a person: people move, but further names make another person, not a shell."""
DISTRIBUTIONS = ("nomenklatura", "followthemoney", "rigour")


class MatcherMissing(Error):
    """The extra that compares names is not installed: nobody can be screened."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One pair under one configuration."""

    score: float
    party_name: str
    listed_name: str
    features: tuple[Feature, ...]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A party or an entry as the matcher takes it."""

    blocking: Any
    """Names as they are written, without weak aliases."""
    probing: Any
    """With weak aliases, and with names in scripts that the matcher does not read in Latin letters as well; the same
    object where there are none."""
    is_person: bool


class Scorer:
    """logic-v2 with its configurations. One thread at a time: the matcher caches by entity.

    Raises:
        MatcherMissing: the extra is not installed.
    """

    def __init__(self) -> None:
        try:
            import icu
            from followthemoney import model
            from nomenklatura.matching import ScoringConfig, get_algorithm
            from rigour.text.translit import ascii_text, should_ascii
        except ImportError as error:
            raise MatcherMissing(
                f"names cannot be compared: {error.name or error} is not installed",
                hint="install the extra: pip install 'countenance[standing]'; it compiles PyICU, which needs "
                "`apt-get install libicu-dev pkg-config g++`",
            ) from error
        self._model: Any = model
        self._ascii: Any = ascii_text
        self._is_read: Any = should_ascii
        self._algorithm: Any = get_algorithm(ALGORITHM)
        self._block = self._configured(ScoringConfig, BLOCK)
        self._shell = self._configured(ScoringConfig, SHELL)
        self._abroad = self._configured(ScoringConfig, ABROAD)
        versions = [f"{name}/{version(name)}" for name in DISTRIBUTIONS]
        self.name = " ".join([ALGORITHM, *versions, f"icu/{icu.ICU_VERSION}"])
        """Algorithm and versions."""
        self.config: dict[str, Any] = {
            "algorithm": ALGORITHM,
            "threshold": THRESHOLD,
            "candidates": CANDIDATES,
            "identifiers": {"worldwide": list(WORLDWIDE), "national": list(NATIONAL), "shortest": SHORTEST},
            "other_kinds": {"compared_as": str(Schema.LEGAL_ENTITY), "words_in_common": 0.5},
            "block": self._plain(self._block),
            "review": self._plain(self._shell),
            "review_persons": self._plain(self._abroad),
        }
        """All that decides what is a hit, defaults of the matcher included."""
        self.config_hash = hashlib.sha256(json.dumps(self.config, sort_keys=True).encode("ascii")).hexdigest()
        """SHA-256 in hexadecimal of `config`."""

    def latin(self, text: str) -> str:
        """Text in any script in Latin letters. Arabic and Hebrew lose their vowels."""
        return str(self._ascii(text))

    def listed(self, entity: ListedEntity) -> Prepared:
        """An entry, ready to be compared any number of times."""
        named = {kind: [name.text for name in entity.names if name.kind is kind] for kind in NameKind}
        facts = (entity.countries, entity.identifiers, entity.addresses, entity.birth_dates)
        key = entry_hash(entity)
        names = {"name": named[NameKind.PRIMARY], "alias": named[NameKind.ALIAS]}
        blocking = self._proxy(key, entity.schema, names, *facts)
        if not named[NameKind.WEAK]:
            return Prepared(blocking, blocking, entity.schema is Schema.PERSON)
        names["weakAlias"] = named[NameKind.WEAK]
        probing = self._proxy(f"{key}+weak", entity.schema, names, *facts)
        return Prepared(blocking, probing, entity.schema is Schema.PERSON)

    def party(self, party: ScreenedParty) -> Prepared:
        """A party, ready to be compared."""
        facts = (party.countries, party.identifiers, party.addresses, party.birth_dates)
        key, names = party_hash(party), list(party.names)
        blocking = self._proxy(key, party.schema, {"name": names}, *facts)
        latin = [self.latin(name) for name in names if not self._is_read(name)]
        probing = self._proxy(f"{key}+latin", party.schema, {"name": names + latin}, *facts) if latin else blocking
        return Prepared(blocking, probing, party.schema is Schema.PERSON)

    def block(self, party: Prepared, listed: Prepared) -> Comparison:
        """Under the configuration that blocks."""
        return self._compare(party.blocking, listed.blocking, self._block)

    def review(self, party: Prepared, listed: Prepared) -> Comparison:
        """Under the configuration that opens a case."""
        return self._compare(party.probing, listed.probing, self._reviewing(party, listed))

    def may_match(self, party: Prepared, listed: Prepared) -> bool:
        """Whether any comparison of names can reach the threshold.

        What reviews only takes away what speaks against a match, so what it leaves below the threshold the default
        configuration does, too: one comparison is enough, except where the two read different names.
        """
        compare, config = self._algorithm.compare, self._reviewing(party, listed)
        if compare(party.probing, listed.probing, config).score >= THRESHOLD:
            return True
        if listed.probing is listed.blocking and party.probing is party.blocking:
            return False
        return bool(compare(party.blocking, listed.blocking, self._block).score >= THRESHOLD)

    def is_comparable(self, schema: Schema, other: Schema) -> bool:
        """Whether the names of two kinds of thing are compared at all: a company's with a person's are not."""
        return schema == other or bool(self._model.get(str(schema)).can_match(self._model.get(str(other))))

    def _reviewing(self, party: Prepared, listed: Prepared) -> Any:
        return self._abroad if party.is_person or listed.is_person else self._shell

    def _compare(self, party: Any, listed: Any, config: Any) -> Comparison:
        result = self._algorithm.compare(party, listed, config)
        found = result.explanations
        names = found.get("name_match")
        matched = names is not None and names.score > 0.0
        features = tuple(
            Feature(
                feature.name,
                round(float(found[feature.name].score), 6),
                config.weights[feature.name],
                found[feature.name].detail or "",
                found[feature.name].query or "",
                found[feature.name].candidate or "",
            )
            for feature in self._algorithm.features
            if feature.name in found and found[feature.name].score > 0.0
        )
        party_name, listed_name = (names.query or "", names.candidate or "") if matched else ("", "")
        return Comparison(round(float(result.score), 6), party_name, listed_name, features)

    def _configured(self, configuration: Any, changes: dict[str, dict[str, float]]) -> Any:
        weights = {feature.name: feature.weight for feature in self._algorithm.features}
        defaults = {name: variable.default for name, variable in self._algorithm.CONFIG.items()}
        return configuration(
            weights={**weights, **changes["weights"]},
            config={**defaults, **changes["config"]},
        )

    @staticmethod
    def _plain(config: Any) -> dict[str, Any]:
        return {"weights": dict(config.weights), "config": dict(config.config)}

    def _proxy(
        self,
        key: str,
        schema: Schema,
        names: dict[str, list[str]],
        countries: tuple[str, ...],
        identifiers: tuple[Identifier, ...],
        addresses: tuple[str, ...],
        birth_dates: tuple[str, ...],
    ) -> Any:
        """An entity of the matcher's data model.

        Its id is the hash of its content: the matcher caches names by id, so one id for two contents would be compared
        under the names of the first.
        """
        known = self._model.get(str(schema)).properties
        written = {kind: [plain(text) for text in texts] for kind, texts in names.items()}
        properties: dict[str, list[str]] = {**written, "country": list(countries), "address": list(addresses)}
        if "birthDate" in known:
            properties["birthDate"] = list(birth_dates)
        for identifier in identifiers:
            scheme = identifier.scheme if identifier.scheme in known else "registrationNumber"
            properties.setdefault(scheme, []).append(identifier.value)
        filled = {name: values for name, values in properties.items() if values and name in known}
        return self._model.get_proxy({"id": key, "schema": str(schema), "properties": filled}, cleaned=False)
