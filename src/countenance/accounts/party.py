"""The legal entity behind an account, as it declares itself: who it is, who owns, uses and pays, and what was agreed.

Knows what a declaration must say and in which form; does not know rows, entries or whether any of it is true (that is
for the screening to find out). Company names and identifiers are for good; names of natural persons are told apart,
because they go where they can be erased (PROOFS, section 2).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date
from hashlib import sha256
from typing import Any, Final

import idna
from countenance_audit import canonical, identifiers
from countenance_audit.errors import Malformed

from countenance.accounts.countries import jurisdiction
from countenance.accounts.values import AccountError

Identified = tuple[str, str, str]
"""Role, scheme and normal form of an identifier."""

TEXT_CHARACTERS: Final = 1_000
"""Of a purpose or another text; names have a limit of their own."""
MOST_INVOLVED: Final = 20
"""Owners, and end users: each is in the entry of every call."""
MOST_IDENTIFIERS: Final = 5
"""Of one of them."""
MOST_NAMES: Final = 5
"""Further names of a party: each is in the entry of every call."""
MOST_COUNTRIES: Final = 50
MOST_CALLS: Final = 10**12
WHOLE: Final = 10_000
"""100 % in hundredths of a per cent."""
ADDRESS_KINDS: Final = ("registered", "business", "representative", "residential")

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_EMAIL: Final = re.compile(r"[^@\s]{1,64}@[^@\s.]+(?:[.][^@\s.]+)+")
_PHONE: Final = re.compile(r"[+][0-9][0-9 ()./-]{5,28}")
_SHARE: Final = re.compile(r"([0-9]{1,3})(?:[.]([0-9]{1,2}))?")
_OF_INVOLVED: Final = ("lei", "reg", "domain")


class PartyError(AccountError):
    """A declaration lacks something, or says it in a form that is none."""


@dataclass(frozen=True, slots=True)
class Involved:
    """Somebody a party names: an owner, an end user, or who pays."""

    name: str
    is_person: bool = False
    """A natural person: the name can be erased."""
    identifiers: tuple[tuple[str, str], ...] = ()
    """Scheme and normal form."""
    share: int | None = None
    """Hundredths of a per cent, for owners."""
    country: str | None = None
    """Where it is, ISO 3166-1 alpha-2."""

    @classmethod
    def from_json(cls, value: object, where: str) -> Involved:
        """From {name, person, identifiers, share, country}, all but the name optional. Raises PartyError."""
        if not isinstance(value, Mapping) or value.keys() - {"name", "person", "identifiers", "share", "country"}:
            raise PartyError(
                f"{where} is not an object of name, person, identifiers, share and country.",
                hint='such as {"name": "Acme Holding B.V.", "identifiers": ["reg:NL-KVK:27124701"], "share": "25.5"}',
            )
        person, named = value.get("person", False), value.get("identifiers", [])
        if not isinstance(person, bool):
            raise PartyError(f"{where}: person is neither true nor false.")
        if not isinstance(named, Sequence) or isinstance(named, str) or len(named) > MOST_IDENTIFIERS:
            raise PartyError(f"{where}: identifiers is not a list of at most {MOST_IDENTIFIERS}.")
        found = tuple(_identifier(each, where) for each in named)
        return cls(
            _name(value.get("name"), f"{where}: the name"),
            person,
            found,
            _share(value.get("share"), where),
            _country(value["country"], where) if value.get("country") is not None else None,
        )

    def to_json(self, *, with_names: bool = True) -> dict[str, Any]:
        """The same, with every member but a country that is not known."""
        content: dict[str, Any] = {
            "name": self.name if with_names or not self.is_person else None,
            "person": self.is_person,
            "identifiers": [f"{scheme}:{value}" for scheme, value in self.identifiers],
            "share": None if self.share is None else f"{self.share // 100}.{self.share % 100:02d}",
        }
        return content if self.country is None else {**content, "country": self.country}

    def identified(self, role: str) -> Iterator[Identified]:
        """What identifies it, in a role; a person's name does not."""
        yield from ((role, scheme, value) for scheme, value in self.identifiers)
        if not self.is_person:
            yield role, "name", self.name


@dataclass(frozen=True, slots=True)
class Address:
    """Where a party is, or says that it can be reached."""

    text: str
    country: str
    """ISO 3166-1 alpha-2."""
    kind: str = "business"
    """One of ADDRESS_KINDS."""

    @classmethod
    def from_json(cls, value: object, where: str) -> Address:
        """From {text, country, kind}, the kind optional. Raises PartyError."""
        if not isinstance(value, Mapping) or value.keys() - {"text", "country", "kind"}:
            raise PartyError(
                f"{where} is not an object of text, country and kind.",
                hint='such as {"text": "Keizersgracht 1, 1015 CC Amsterdam", "country": "NL", "kind": "registered"}',
            )
        kind = value.get("kind", "business")
        if kind not in ADDRESS_KINDS:
            raise PartyError(
                f"{where}: there is no such kind of address.", hint=f"there are {', '.join(ADDRESS_KINDS)}"
            )
        return cls(_text(value.get("text"), f"{where}: the text"), _country(value.get("country"), where), kind)

    def to_json(self) -> dict[str, Any]:
        """The same, with every member."""
        return {"text": self.text, "country": self.country, "kind": self.kind}


@dataclass(frozen=True, slots=True, kw_only=True)
class Party:
    """One version of a declaration. Make it with `from_json`."""

    legal_name: str
    jurisdiction: str
    """ISO 3166-1 alpha-2, or 3166-2: `NL`, `US-DE`."""
    sector: str
    end_use: str
    """What the account will be used for, as was agreed."""
    registration: str | None = None
    """REGISTER:NUMBER; this or the LEI is there."""
    lei: str | None = None
    domain: str | None = None
    """A-labels."""
    owners: tuple[Involved, ...] = ()
    end_users: tuple[Involved, ...] = ()
    """Whom it serves, when it does not use the answers itself."""
    payer: Involved | None = None
    """None: the party pays."""
    payment_reference: str | None = None
    signatory: str | None = None
    contract_sha256: str | None = None
    """Of the contract or order; the document is not kept here."""
    terms_version: str | None = None
    terms_sha256: str | None = None
    other_names: tuple[str, ...] = ()
    """Trade names, former names, names in other scripts."""
    incorporated_on: str | None = None
    """ISO 8601, to the day."""
    addresses: tuple[Address, ...] = ()
    used_in: tuple[str, ...] = ()
    """Countries in which the answers are used, ISO 3166-1 alpha-2; empty: where the party is."""
    email: str | None = None
    phone: str | None = None
    """Of whom to ask, in international form. Both may be a person's: they are not part of the digest."""
    monthly_calls: int | None = None
    """How many calls a month are expected, at most."""

    @classmethod
    def from_json(cls, content: object) -> Party:
        """Reads a declaration.

        Raises:
            PartyError: a member is unknown, missing or malformed; the hint says what to give.
        """
        if not isinstance(content, Mapping):
            raise PartyError("A party is declared as a JSON object.", hint=f"members: {', '.join(MEMBERS)}")
        if unknown := sorted(map(str, content.keys() - set(MEMBERS))):
            raise PartyError(f"A party has no {unknown[0][:40]!r}.", hint=f"members: {', '.join(MEMBERS)}")
        given = {name: value for name, value in content.items() if value not in (None, "", [])}
        missing = [name for name in ALWAYS if name not in given]
        if missing or not given.keys() & {"registration", "lei"}:
            raise PartyError(
                f"The party lacks {', '.join(missing) or 'a registration or an LEI'}.",
                hint=f"always give {', '.join(ALWAYS)}, and registration or lei",
            )
        where = jurisdiction(_text(given["jurisdiction"], "jurisdiction"))
        if where is None:
            raise PartyError(
                f"{str(given['jurisdiction'])[:20]!r} is no code of a country.", hint="ISO 3166: as in NL or US-DE"
            )
        return cls(
            legal_name=_name(given["legal_name"], "legal_name"),
            jurisdiction=where,
            sector=_text(given["sector"], "sector"),
            end_use=_text(given["end_use"], "end_use"),
            registration=_normal("reg", given.get("registration"), "registration"),
            lei=_normal("lei", given.get("lei"), "lei"),
            domain=_normal("domain", given.get("domain"), "domain"),
            owners=_involved(given.get("owners", []), "owners"),
            end_users=_involved(given.get("end_users", []), "end_users"),
            payer=Involved.from_json(given["payer"], "payer") if "payer" in given else None,
            payment_reference=_optional(given, "payment_reference"),
            signatory=_name(given["signatory"], "signatory") if "signatory" in given else None,
            contract_sha256=_hash(given, "contract_sha256"),
            terms_version=_optional(given, "terms_version"),
            terms_sha256=_hash(given, "terms_sha256"),
            other_names=tuple(_name(each, "other_names") for each in _list(given, "other_names", MOST_NAMES)),
            incorporated_on=_day(given, "incorporated_on"),
            addresses=tuple(
                Address.from_json(each, f"addresses[{at}]")
                for at, each in enumerate(_list(given, "addresses", MOST_INVOLVED))
            ),
            used_in=tuple(dict.fromkeys(_country(each, "used_in") for each in _list(given, "used_in", MOST_COUNTRIES))),
            email=_matching(given, "email", _EMAIL, "an address of electronic mail", "desk@example.org"),
            phone=_matching(given, "phone", _PHONE, "a telephone number in international form", "+31 20 123 4567"),
            monthly_calls=_whole(given, "monthly_calls"),
        )

    def to_json(self, *, with_names: bool = True) -> dict[str, Any]:
        """Every member, those of LATER only where something is said; without the names of persons, null stands in
        their place, and what may reach one of them is left out."""
        content: dict[str, Any] = {
            each.name: value
            for each in fields(self)
            if (value := getattr(self, each.name)) not in (None, ()) or each.name not in LATER
        }
        if self.addresses:
            content["addresses"] = [each.to_json() for each in self.addresses]
        for name in ("other_names", "used_in"):
            if name in content:
                content[name] = list(content[name])
        content["owners"] = [each.to_json(with_names=with_names) for each in self.owners]
        content["end_users"] = [each.to_json(with_names=with_names) for each in self.end_users]
        content["payer"] = self.payer.to_json(with_names=with_names) if self.payer else None
        if not with_names:
            content["signatory"] = None
            content.pop("email", None)
            content.pop("phone", None)
        return content

    def check_agreed(self) -> None:
        """Refuses (PartyError) a customer's declaration that does not say what was agreed, and who signed."""
        if missing := [name for name in AGREED if getattr(self, name) is None]:
            raise PartyError(
                f"The party lacks {', '.join(missing)}.",
                hint="every account but the owner's is opened under a contract and terms that somebody signed",
            )

    def digest(self) -> str:
        """SHA-256 of the canonical declaration without the names of persons, in hexadecimal."""
        return sha256(canonical.encode(self.to_json(with_names=False))).hexdigest()

    def identified(self) -> tuple[Identified, ...]:
        """Every identifier with its role, for entries; each once, in the order of roles."""
        return tuple(dict.fromkeys(self._identified()))

    def own(self) -> tuple[tuple[str, str], ...]:
        """Scheme and normal form of what identifies the party itself, its names included."""
        return (*self._own(), *(("name", each) for each in (self.legal_name, *self.other_names)))

    def is_same_entity(self, other: Party) -> bool:
        """Whether both are one legal entity: one LEI, one number in a register, or one legal name in a country."""
        mine, theirs = set(self._own()), set(other._own())
        shared = any(scheme != "domain" for scheme, _ in mine & theirs)
        return shared or (self.legal_name, self.jurisdiction) == (other.legal_name, other.jurisdiction)

    def names(self) -> tuple[str, ...]:
        """Natural persons, each once."""
        involved = [*self.owners, *self.end_users, *([self.payer] if self.payer else [])]
        persons = [each.name for each in involved if each.is_person]
        return tuple(dict.fromkeys([*([self.signatory] if self.signatory else []), *persons]))

    def details(self) -> dict[str, int | str]:
        """What an act's entry says of it beside the identifiers: what was agreed, and by which declaration."""
        said: dict[str, int | str] = {name: value for name in IN_DETAILS if (value := getattr(self, name)) is not None}
        return {**said, "owners": len(self.owners), "end_users": len(self.end_users), "party_sha256": self.digest()}

    def _identified(self) -> Iterator[Identified]:
        mine = Involved(self.legal_name, identifiers=tuple(self._own()))
        yield from mine.identified("party")
        yield from (("party", "name", each) for each in self.other_names)
        yield from (self.payer or mine).identified("payer")
        for each in self.owners:
            yield from each.identified("owner")
        for each in self.end_users:
            yield from each.identified("end-user")

    def _own(self) -> Iterator[tuple[str, str]]:
        for scheme, value in (("lei", self.lei), ("reg", self.registration), ("domain", self.domain)):
            if value is not None:
                yield scheme, value


MEMBERS: Final = tuple(each.name for each in fields(Party))
ALWAYS: Final = ("legal_name", "jurisdiction", "sector", "end_use")
AGREED: Final = ("signatory", "contract_sha256", "terms_version", "terms_sha256")
"""What every account but the owner's has: PROOFS section 7, account opening."""
LATER: Final = frozenset({"other_names", "incorporated_on", "addresses", "used_in", "email", "phone", "monthly_calls"})
"""Members that declarations did not have at first: the digest of one that says none of them is what it was."""
IN_DETAILS: Final = (
    "legal_name",
    "jurisdiction",
    "sector",
    "end_use",
    "payment_reference",
    "contract_sha256",
    "terms_version",
    "terms_sha256",
)


def _list(given: Mapping[str, object], name: str, most: int) -> Sequence[object]:
    value = given.get(name, [])
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > most:
        raise PartyError(f"{name} is not a list of at most {most}.")
    return value


def _country(value: object, what: str) -> str:
    found = jurisdiction(value) if isinstance(value, str) else None
    if found is None or len(found) != 2:
        raise PartyError(f"{what}: {str(value)[:20]!r} is no code of a country.", hint="ISO 3166-1 alpha-2: as in NL")
    return found


def _day(given: Mapping[str, object], name: str) -> str | None:
    if name not in given:
        return None
    text = _text(given[name], name)
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise PartyError(f"{name}: {text[:20]!r} is no day.", hint="as in 2021-05-01") from None


def _matching(given: Mapping[str, object], name: str, form: re.Pattern[str], what: str, example: str) -> str | None:
    if name not in given:
        return None
    text = _text(given[name], name)
    if not form.fullmatch(text):
        raise PartyError(f"{name} is not {what}.", hint=f"as in {example}")
    return text


def _whole(given: Mapping[str, object], name: str) -> int | None:
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value <= MOST_CALLS:
        raise PartyError(f"{name} is not a whole number from 1 to {MOST_CALLS}.")
    return value


def _involved(value: object, what: str) -> tuple[Involved, ...]:
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > MOST_INVOLVED:
        raise PartyError(f"{what} is not a list of at most {MOST_INVOLVED}.")
    found = tuple(Involved.from_json(each, f"{what}[{at}]") for at, each in enumerate(value))
    if sum(each.share or 0 for each in found) > WHOLE:
        raise PartyError(f"The shares of {what} come to more than 100 %.")
    return found


def _identifier(value: object, where: str) -> tuple[str, str]:
    scheme, colon, raw = value.strip().partition(":") if isinstance(value, str) else ("", "", "")
    scheme = scheme.lower()
    if not colon or scheme not in _OF_INVOLVED:
        raise PartyError(
            f"{where}: {str(value)[:80]!r} is no identifier.",
            hint="lei:..., reg:REGISTER:NUMBER or domain:..., such as reg:NL-KVK:27124701",
        )
    normal = _normal(scheme, raw, where)
    assert normal is not None  # `raw` was given
    return scheme, normal


def _normal(scheme: str, raw: object, what: str) -> str | None:
    if raw is None:
        return None
    text = _text(raw, what)
    try:
        if scheme == "domain" and not text.isascii():
            # IDNA 2008 with the mapping of UTS 46, as browsers do it; the standard library's codec is IDNA 2003, to
            # which some names are other domains (straße.example became strasse.example).
            text = idna.encode(text.strip(), uts46=True).decode()
        return identifiers.normal(scheme, text)
    except Malformed as error:
        raise PartyError(f"{what}: {error.message}", hint=error.hint) from None
    except idna.IDNAError:
        raise PartyError(f"{what}: {text[:80]!r} is no domain.", hint="such as example.org") from None


def _name(value: object, what: str) -> str:
    try:
        return identifiers.name(_text(value, what))
    except Malformed as error:
        raise PartyError(f"{what}: {error.message}") from None


def _text(value: object, what: str) -> str:
    text = value.strip() if isinstance(value, str) else ""
    if not text or len(text) > TEXT_CHARACTERS or not text.isprintable():
        raise PartyError(f"{what} is not a text of 1 to {TEXT_CHARACTERS} printable characters.")
    return text


def _optional(given: Mapping[str, object], name: str) -> str | None:
    return _text(given[name], name) if name in given else None


def _hash(given: Mapping[str, object], name: str) -> str | None:
    if name not in given:
        return None
    text = _text(given[name], name).lower()
    if not _HASH.fullmatch(text):
        raise PartyError(
            f"{name} is no SHA-256 hash.", hint="64 hexadecimal digits; the command line takes the file too"
        )
    return text


def _share(value: object, where: str) -> int | None:
    if value is None:
        return None
    found = _SHARE.fullmatch(str(value)) if isinstance(value, str | int) and not isinstance(value, bool) else None
    hundredths = int(found[1]) * 100 + int((found[2] or "0").ljust(2, "0")) if found else -1
    if not 0 <= hundredths <= WHOLE:
        raise PartyError(f"{where}: the share is not a percentage.", hint='a text with at most two decimals: "25.5"')
    return hundredths
