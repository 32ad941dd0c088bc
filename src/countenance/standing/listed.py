"""What an entry of a sanctions list is, whichever publisher's format it came in.

Knows names, identifiers and dates of listed persons, organisations and ships. Does not know formats (`lists/`), scores
(`matching/`) or who is being screened for what.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Schema(StrEnum):
    """Kinds of listed or screened thing; words of the FollowTheMoney model, so that every list speaks one language."""

    PERSON = "Person"
    COMPANY = "Company"
    ORGANIZATION = "Organization"
    LEGAL_ENTITY = "LegalEntity"  # a person or an organisation: the list does not say which
    VESSEL = "Vessel"
    AIRPLANE = "Airplane"


class NameKind(StrEnum):
    """How far a list stands behind a name."""

    PRIMARY = "primary"
    ALIAS = "alias"
    WEAK = "weak"  # OFAC's "weak a.k.a.", the UN's "Low" quality: never blocks alone


@dataclass(frozen=True, slots=True)
class Name:
    """One name as the list writes it, in whatever script."""

    text: str
    kind: NameKind = NameKind.PRIMARY


@dataclass(frozen=True, slots=True)
class Identifier:
    """A number somebody issued.

    `scheme` is a property name of the FollowTheMoney model: leiCode, registrationNumber, innCode, ogrnCode, taxNumber,
    imoNumber, swiftBic, passportNumber, idNumber, ... ; `country` is an ISO 3166-1 alpha-2 code in lower case, or "".
    """

    scheme: str
    value: str
    country: str = ""


@dataclass(frozen=True, slots=True)
class ListedEntity:
    """One entry of one snapshot of a list.

    Countries are ISO 3166-1 alpha-2 codes in lower case; dates are ISO 8601 as precise as the list is ("1962",
    "1962-03", "1962-03-05"). `parents` and `subsidiaries` are names as the list gives them (the UK list's columns).
    """

    list_id: str
    """Which list: ofac-sdn, ofac-nonsdn, un, eu-fsf, uk-sl, or the name an operator gave a FollowTheMoney file."""
    entry_id: str
    """The list's own id of the entry, stable from snapshot to snapshot: OFAC's ent_num, the UK's Unique ID."""
    schema: Schema
    names: tuple[Name, ...]
    """At least one; the first is the primary name."""
    countries: tuple[str, ...] = ()
    identifiers: tuple[Identifier, ...] = ()
    addresses: tuple[str, ...] = ()
    birth_dates: tuple[str, ...] = ()
    programmes: tuple[str, ...] = ()
    """Programme or regime codes under which it is listed."""
    listed_on: str = ""
    remarks: str = ""
    parents: tuple[str, ...] = ()
    subsidiaries: tuple[str, ...] = ()
    sanctioned: bool = True
    """False for entries of a FollowTheMoney file that are related to a listed one, but not listed themselves."""


_RELATED: Final = re.compile(r"(?:parent|subsidiary) .+ of (\S+)")


def related(entity: ListedEntity) -> Iterator[ListedEntity]:
    """Companies that an entry names as its parent or its subsidiaries: to be looked for by name, and not sanctioned
    themselves, so that a person decides what they mean."""
    for what, names in (("parent", entity.parents), ("subsidiary", entity.subsidiaries)):
        for each in names:
            yield ListedEntity(
                entity.list_id,
                f"{what} {each} of {entity.entry_id}",
                Schema.ORGANIZATION,
                (Name(each),),
                programmes=entity.programmes,
                listed_on=entity.listed_on,
                sanctioned=False,
            )


def entry_of(entry_id: str) -> str:
    """The list's own id of an entry, also of one that `related` made of it."""
    found = _RELATED.fullmatch(entry_id)
    return found[1] if found else entry_id


@dataclass(frozen=True, slots=True)
class ScreenedParty:
    """What of a party is compared with listed entries: an account's party, an owner, an end user, a reseller, a payer.

    `party_id` is any text that is the same for the same content and differs otherwise (the matcher caches by it).
    """

    party_id: str
    schema: Schema
    names: tuple[str, ...]
    countries: tuple[str, ...] = ()
    identifiers: tuple[Identifier, ...] = ()
    addresses: tuple[str, ...] = ()
    birth_dates: tuple[str, ...] = ()
