"""Identifiers of parties: their schemes and the one form that each identifier has.

Knows how what somebody typed becomes the form that entries hold, and refuses what is no such identifier. Does not know
whose it is, whether it was verified, or any register's content. Entries hold normal forms only, so that equal parties
have equal identifiers, and whoever asks about a party finds the same text from its raw identifier (PROOFS, section 5).
Version 1; a change of any form is another version.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from countenance_audit.errors import Malformed

VERSION: Final = 1
"""Of all forms below; entries name none, as leaves of version 1 hold identifiers of version 1."""

WEAK: Final = frozenset({"name"})
"""Schemes that identify nobody for certain: many have one name, and one has many."""

NAME_CHARACTERS: Final = 200
REGISTER_CHARACTERS: Final = 64
"""Of a number in a register that has no form of its own here."""

_ACCOUNT: Final = re.compile(r"[0-9]{12}")  # as AWS account ids are
_LEI: Final = re.compile(r"[0-9A-Z]{18}[0-9]{2}")  # ISO 17442-1
_REGISTER: Final = re.compile(r"[A-Z]{2}-[A-Z0-9]{2,12}|RA[0-9]{6}")
_NUMBER: Final = re.compile(rf"[A-Z0-9][A-Z0-9./-]{{0,{REGISTER_CHARACTERS - 1}}}")
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")  # RFC 1035 section 2.3.1, RFC 1123 section 2.1
_DOMAIN_CHARACTERS: Final = 253  # RFC 1035 section 2.3.4: 255 octets on the wire
_NEVER_IN_NAMES: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""General categories of controls, lone surrogates and line separators; which characters these are never changes."""

SAME_REGISTER: Final[Mapping[str, str]] = {
    "RA000463": "NL-KVK",
    "RA000585": "GB-COH",
    "RA000586": "GB-COH",
    "RA000587": "GB-COH",
}
"""Codes of GLEIF's Registration Authorities List for registers that have a name here: one register, one name.
https://www.gleif.org/en/lei-data/lei-linking-to-registration-authorities"""


def normal(scheme: str, raw: str) -> str:
    """The normal form of an identifier as somebody wrote it.

    Raises:
        Malformed: an unknown scheme, or no identifier of it.
    """
    make = SCHEMES.get(scheme)
    if make is None:
        raise Malformed(f"{scheme[:40]!r} is no scheme of identifiers.", hint=f"one of {', '.join(SCHEMES)}")
    if type(raw) is not str:
        raise Malformed(f"An identifier of the scheme {scheme} is not a string.")
    return make(raw)


def check(scheme: Any, value: Any, where: str) -> None:
    """Refuses (Malformed) what is not the normal form of an identifier."""
    if type(scheme) is not str or type(value) is not str:
        raise Malformed(f"{where} has a scheme or value that is not a string.")
    if _normal(scheme, value) != value:
        raise Malformed(f"{where} is not in the form of the scheme {scheme}.")


_normal = lru_cache(4_096)(normal)
"""The entries of a log name the same few parties over and over."""


def parse(text: str) -> tuple[str, str]:
    """Scheme and normal form from `scheme:identifier`, such as `reg:NL-KVK:12345678`. Raises Malformed."""
    scheme, colon, raw = text.strip().partition(":")
    if not colon:
        raise Malformed(f"{text[:80]!r} is no identifier.", hint="write scheme:identifier, as in reg:NL-KVK:12345678")
    return scheme.lower(), normal(scheme.lower(), raw)


def account(raw: str) -> str:
    """12 digits."""
    if not _ACCOUNT.fullmatch(raw):
        raise Malformed("An account's id is 12 digits.")
    return raw


def lei(raw: str) -> str:
    """Upper case without spaces; the last two digits are ISO 7064 MOD 97-10 check digits (ISO 17442-1)."""
    value = "".join(raw.split()).upper()
    if not raw.isascii() or not _LEI.fullmatch(value):
        raise Malformed("An LEI has 20 characters: 18 letters and digits, then two check digits.")
    if int("".join(str(int(each, 36)) for each in value)) % 97 != 1:
        raise Malformed(f"The check digits of the LEI {value} are not its own.", hint="compare it with the certificate")
    return value


def registration(raw: str) -> str:
    """`REGISTER:NUMBER`: the register's name or its GLEIF code, the number as that register writes it.

    A register's name is the ISO 3166-1 code of its country, a hyphen and its usual abbreviation. Numbers of registers
    without a form in `REGISTERS` are upper case without spaces: letters, digits, dot, hyphen, slash.
    """
    register, colon, number = raw.partition(":")
    register = register.strip().upper()
    if not raw.isascii() or not colon or not _REGISTER.fullmatch(register):
        raise Malformed(
            f"{raw[:80]!r} is no number in a register.",
            hint="write REGISTER:NUMBER; the register as in NL-KVK or GB-COH, or its GLEIF code as in RA000463",
        )
    register = SAME_REGISTER.get(register, register)
    number = "".join(number.split()).upper()
    make = REGISTERS.get(register)
    if make is not None:
        number = make(number)
    elif not _NUMBER.fullmatch(number):
        raise Malformed(
            f"The number in {register} is empty, longer than {REGISTER_CHARACTERS} characters or has others than A-Z, "
            "0-9, dot, hyphen and slash."
        )
    return f"{register}:{number}"


def domain(raw: str) -> str:
    """A host name of two labels or more, in lower case, A-labels for what is not ASCII, without a final dot.

    Which part of it can be registered is decided for maps (`forms.registrable`); entries keep what was declared.
    """
    value = raw.strip().lower().removesuffix(".")
    if not raw.strip().isascii():  # not `value`: the lower case of the Kelvin sign is ASCII
        raise Malformed("A domain is written in ASCII here.", hint="give its A-label, which begins with xn--")
    labels = value.split(".")
    if len(labels) < 2 or len(value) > _DOMAIN_CHARACTERS or labels[-1].isdigit():
        raise Malformed(f"{value[:80]!r} is no domain.", hint="such as example.org")
    for label in labels:
        if not _LABEL.fullmatch(label) or not _is_own_punycode(label):
            raise Malformed(f"{label[:70]!r} in {value[:80]!r} is no label of a domain.")
    return value


def name(raw: str) -> str:
    """Normalization Form C of Unicode 14.0, with single spaces; letters keep their case. Form C of assigned characters
    is the same in every later version (Unicode Standard Annex 15, stability policy); others stay as they are."""
    value = "".join(
        unicodedata.normalize("NFC", part) if is_assigned else part
        for is_assigned, part in _runs(" ".join(raw.split()))
    )
    if not 1 <= len(value) <= NAME_CHARACTERS:
        raise Malformed(f"A name has 1 to {NAME_CHARACTERS} characters.")
    if any(unicodedata.category(each) in _NEVER_IN_NAMES for each in value):
        raise Malformed("A name has a control character in it.")
    return value


def folded(value: str) -> str:
    """The form of a name that period maps have: letters and digits only, without case and without diacritics.

    Compatibility decomposition (NFKD), full case folding, NFKD again; then all but letters and numbers (general
    categories L* and N*) is left out, and one space separates what white space separated: `VisionLabs B.V.` and
    `VISIONLABS  BV` are `visionlabs bv`. A name without any of these stays as it is. The version is Unicode 14.0, that
    of the oldest Python that is supported: what it does not assign stays as it is and parts what stands around it,
    also where a later version knows better; what it assigns is the same in later ones
    (https://www.unicode.org/policies/stability_policy.html).

    Raises:
        Malformed: it is no name.
    """
    words = []
    for word in name(value).split(" "):
        words.append("".join(_letters(part) if is_assigned else part for is_assigned, part in _runs(word)))
    return " ".join(each for each in words if each) or value


def _letters(text: str) -> str:
    letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(each for each in letters if unicodedata.category(each)[0] in "LN")


def _runs(text: str) -> Iterator[tuple[bool, str]]:
    """Parts of a text, by turns assigned by Unicode 14.0 and not."""
    if text.isascii():
        yield True, text
        return
    for is_assigned, part in groupby(text, lambda each: not _is_unassigned(ord(each))):
        yield is_assigned, "".join(part)


def _is_unassigned(character: int) -> bool:
    starts, ends = _unassigned()
    at = bisect_right(starts, character) - 1
    return at >= 0 and character <= ends[at]


@cache
def _unassigned() -> tuple[list[int], list[int]]:
    """Firsts and lasts of the ranges of characters that Unicode 14.0 does not assign (DerivedGeneralCategory, Cn)."""
    text = Path(__file__).with_name("unassigned_14_0.txt").read_text("ascii")
    ranges = [each.split("-") for each in text.split()]
    return [int(each[0], 16) for each in ranges], [int(each[-1], 16) for each in ranges]


def _is_own_punycode(label: str) -> bool:
    """Whether a label that claims to be an A-label (RFC 5890 section 2.3.2.1) decodes, and encodes back to itself."""
    if not label.startswith("xn--"):
        return label[2:4] != "--"  # RFC 5891 section 4.2.3.1: reserved
    try:
        decoded = label[4:].encode().decode("punycode")
        return not decoded.isascii() and decoded.encode("punycode").decode() == label[4:]
    except (UnicodeError, ValueError, OverflowError):
        return False


def _companies_house(number: str) -> str:
    # Eight characters: digits, or a prefix of two and six, with leading zeros (Companies House, URI customer guide).
    if found := re.fullmatch(r"([A-Z]{2})?([0-9]{1,8})", number):
        prefix, digits = found[1] or "", found[2]
        number = prefix + digits.zfill(8 - len(prefix))
    if not re.fullmatch(r"[0-9]{8}|[A-Z]{2}[0-9]{6}|[A-Z]{2}[0-9]{5}[A-Z]|R[0-9]{7}", number):
        raise Malformed(f"{number[:40]!r} is no number of Companies House.", hint="8 characters, such as 03456789")
    return number


def _kvk(number: str) -> str:
    if not re.fullmatch(r"[0-9]{8}", number):
        raise Malformed(f"{number[:40]!r} is no KVK number.", hint="8 digits")
    return number


def _siren(number: str) -> str:
    # Nine digits, the last a Luhn check digit (ISO/IEC 7812-1, annex B).
    doubled = (sum(divmod(2 * int(each), 10)) if at % 2 else int(each) for at, each in enumerate(number))
    if not re.fullmatch(r"[0-9]{9}", number) or sum(doubled) % 10:
        raise Malformed(f"{number[:40]!r} is no SIREN.", hint="9 digits, the last of which checks the others")
    return number


def _ogrn(number: str) -> str:
    # 13 digits for a legal entity, 15 for a sole trader (OGRNIP). The last is the last digit of the rest that the
    # others leave when divided by 11 or 13 (Order 165n of the Ministry of Finance of Russia of 30 October 2017).
    divisor = {13: 11, 15: 13}.get(len(number))
    if not re.fullmatch(r"[0-9]+", number) or divisor is None or int(number[:-1]) % divisor % 10 != int(number[-1]):
        raise Malformed(f"{number[:40]!r} is no OGRN.", hint="13 or 15 digits, the last of which checks the others")
    return number


REGISTERS: Final[Mapping[str, Callable[[str], str]]] = {
    "FR-SIREN": _siren,
    "GB-COH": _companies_house,
    "NL-KVK": _kvk,
    "RU-OGRN": _ogrn,
}
"""Registers whose numbers have a form of their own."""

SCHEMES: Final[Mapping[str, Callable[[str], str]]] = {
    "account": account,
    "lei": lei,
    "reg": registration,
    "domain": domain,
    "name": name,
}
"""What makes the normal form of each scheme."""
