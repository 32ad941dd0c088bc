"""Whom a declaration names, as screenings take them: the party, its owners, whom it serves, who pays and who signed.

Brings declarations (`accounts`) and screening (`standing`) together; knows neither lists nor hits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from countenance.accounts import Party
from countenance.accounts.party import Involved
from countenance.standing.findings import digest
from countenance.standing.listed import Identifier, Schema, ScreenedParty

REGISTERS: Final = {"RU-OGRN": "ogrnCode", "RU-INN": "innCode"}
"""Registers whose numbers have a property of their own in the FollowTheMoney model; others are registration numbers."""
PARTY: Final = "party"
OWNER: Final = "owner"
CHAIN: Final = "chain"
FORMER: Final = "former"


@dataclass(frozen=True, slots=True)
class Subject:
    """Somebody who is screened for an account.

    Attributes:
        role: party, owner, end-user, payer or signatory; "chain" of whom only statements name, "former" of who held
            something in the chain until lately.
        name: as declared.
        keys: what stands for them in statements of ownership; see `keys_of`.
    """

    role: str
    name: str
    keys: tuple[str, ...]
    screened: ScreenedParty

    @property
    def key(self) -> str:
        """The first of the keys."""
        return self.keys[0]


def subjects(party: Party) -> list[Subject]:
    """Whom a declaration names, the party first; each of them once in a role."""
    return list({(each.role, each.key): each for each in _subjects(party)}.values())


def _subjects(party: Party) -> Iterator[Subject]:
    own = [("lei", party.lei), ("reg", party.registration)]
    country = party.jurisdiction[:2].lower()
    yield _subject(PARTY, party.legal_name, Schema.LEGAL_ENTITY, own, (country,), party.other_names)
    for role, several in ((OWNER, party.owners), ("end-user", party.end_users)):
        for each in several:
            yield _involved(role, each)
    if party.payer is not None:
        yield _involved("payer", party.payer)
    if party.signatory is not None:
        yield _subject("signatory", party.signatory, Schema.PERSON, [], ())


def _involved(role: str, each: Involved) -> Subject:
    schema = Schema.PERSON if each.is_person else Schema.LEGAL_ENTITY
    return _subject(role, each.name, schema, each.identifiers, (each.country.lower(),) if each.country else ())


def _subject(
    role: str,
    name: str,
    schema: Schema,
    named: Iterable[tuple[str, str | None]],
    countries: tuple[str, ...],
    others: tuple[str, ...] = (),
) -> Subject:
    named = list(named)
    found = [one for scheme, value in named if value and (one := identifier_of(scheme, value)) is not None]
    homes = countries or tuple(sorted({each.country for each in found if each.country}))
    return subject_of(role, name, schema, found, homes, keys_of(name, named), others)


def subject_of(
    role: str,
    name: str,
    schema: Schema,
    identifiers: Sequence[Identifier],
    countries: tuple[str, ...],
    keys: tuple[str, ...],
    others: tuple[str, ...] = (),
) -> Subject:
    """Somebody, with an id for the matcher that is the same for the same content."""
    said = [str(schema), name, list(countries), [[each.scheme, each.value, each.country] for each in identifiers]]
    if others:
        said.append(list(others))
    screened = ScreenedParty(digest(said), schema, (name, *others), countries, tuple(identifiers))
    return Subject(role, name, keys, screened)


def identifier_of(scheme: str, value: str) -> Identifier | None:
    """An identifier of a declaration as lists have them; None for one that no list has (a domain)."""
    if scheme == "lei":
        return Identifier("leiCode", value)
    if scheme == "reg":
        register, _, number = value.partition(":")
        country = register[:2].lower() if "-" in register else ""
        return Identifier(REGISTERS.get(register, "registrationNumber"), number, country)
    return None


def keys_of(name: str, named: Iterable[tuple[str, str | None]]) -> tuple[str, ...]:
    """What stands for somebody in a chain of ownership: the LEI, the register's number, and the name, in this order."""
    known = [(scheme, value) for scheme, value in named if value]
    found = [f"{wanted}:{value}" for wanted in ("lei", "reg") for scheme, value in known if scheme == wanted]
    return (*found, f"name:{name.casefold()}")
