"""What screening finds: a hit, and why it is one.

Knows plain data, so that a hit can be kept, shown and hashed without the matcher. Does not know how it was found.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from countenance.standing.listed import Identifier, ListedEntity, ScreenedParty


class Tier(StrEnum):
    """What a hit does."""

    BLOCK = "block"  # certain enough to stop an account until a person decides
    REVIEW = "review"  # opens a case


@dataclass(frozen=True, slots=True)
class Feature:
    """One thing that was compared, and what it did to the score.

    `score` is 0 to 1, `weight` what it was multiplied by; a negative weight speaks against the hit. `party` and
    `listed` are the two values compared, where the feature compares values.
    """

    name: str
    score: float
    weight: float
    detail: str = ""
    party: str = ""
    listed: str = ""


@dataclass(frozen=True, slots=True)
class Hit:
    """One party looks like one listed entry.

    Scores are 0 to 1, rounded to six decimals. The three hashes fix what the hit rests on: a hit whose hashes are those
    of a judged one is the judged one.

    The explanation names one pair of names that has the score. Where several pairs have it, which one is named may
    differ from process to process; `outcome` never does.
    """

    list_id: str
    entry_id: str
    tier: Tier
    score: float
    """Under the configuration of its tier; 1 where an identifier is the same."""
    block_score: float
    """Under the configuration that blocks: of a hit in review, how far it was from blocking. 0 where the two are
    of kinds that it does not compare."""
    party_name: str
    """The pair of names that was found alike; empty where an identifier alone was."""
    listed_name: str
    features: tuple[Feature, ...]
    party_hash: str
    entry_hash: str
    scorer: str
    """Algorithm and versions: of the matcher, its data model, its name analysis and its transliteration."""
    config_hash: str

    @property
    def outcome(self) -> tuple[str, ...]:
        """All that follows from party, entry and scorer alone: what to compare and to hash."""
        return (
            self.list_id,
            self.entry_id,
            str(self.tier),
            f"{self.score:.6f}",
            f"{self.block_score:.6f}",
            self.party_hash,
            self.entry_hash,
            self.scorer,
            self.config_hash,
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**asdict(self), "tier": str(self.tier), "features": [asdict(feature) for feature in self.features]}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Hit":
        """What `as_json` wrote."""
        features = tuple(Feature(**feature) for feature in values["features"])
        return cls(**{**values, "tier": Tier(values["tier"]), "features": features})


def entry_hash(entity: ListedEntity) -> str:
    """SHA-256 in hexadecimal of all of an entry that scoring reads; remarks and programmes are not read."""
    return _digest(
        str(entity.schema),
        [[name.text, str(name.kind)] for name in entity.names],
        entity.countries,
        entity.identifiers,
        entity.addresses,
        entity.birth_dates,
        entity.sanctioned,
    )


def party_hash(party: ScreenedParty) -> str:
    """SHA-256 in hexadecimal of all of a party that scoring reads; its id is not read."""
    return _digest(
        str(party.schema), party.names, party.countries, party.identifiers, party.addresses, party.birth_dates
    )


def _digest(*values: Any) -> str:
    text = json.dumps(values, ensure_ascii=True, separators=(",", ":"), default=_plain)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, Identifier):
        return [value.scheme, value.value, value.country]
    raise TypeError(type(value).__name__)
