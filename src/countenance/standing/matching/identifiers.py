"""Numbers that say who somebody is, whatever the name.

Knows which numbers are certain and how they are written. Does not know names or scores.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from countenance.standing.listed import Identifier

WORLDWIDE = ("leiCode", "innCode", "ogrnCode", "imoNumber")
"""Issued once in the world, or by one country to one holder: the same number is the same holder.

ISO 17442 (LEI), Russia's tax number and register number, IMO's ship and company numbers."""
NATIONAL = ("registrationNumber", "taxNumber", "vatCode", "uscCode", "idNumber", "passportNumber")
"""Mean somebody only together with the country that issued them."""
SHORTEST = 5
"""Letters and digits of the shortest national number that is looked for: lists have register numbers like "12"."""
NOT_ALPHANUMERIC = re.compile(r"[\W_]+")
OGRN_LENGTHS = (13, 15)
LEI_LENGTH = 20

Key = tuple[str, ...]


@dataclass(slots=True)
class Keys:
    """What the numbers of one holder are found by."""

    certain: set[Key] = field(default_factory=set)
    """(scheme, value) and (scheme, country, value): the same key is the same holder."""
    loose: set[Key] = field(default_factory=set)
    """(scheme, value) of national numbers, whatever the country: worth scoring."""


def keys(identifiers: Iterable[Identifier], countries: Iterable[str]) -> Keys:
    """The keys of a holder's numbers. One without a country of its own is taken to be of the holder's `countries`."""
    found = Keys()
    homes = tuple(countries)
    for identifier in identifiers:
        value = NOT_ALPHANUMERIC.sub("", identifier.value).upper()
        if identifier.scheme == "imoNumber":
            value = value.removeprefix("IMO")
        if not value.strip("0"):
            continue
        if identifier.scheme in WORLDWIDE:
            found.certain.add((identifier.scheme, value))
        elif identifier.scheme in NATIONAL:
            if scheme := recognised(value):
                found.certain.add((scheme, value))  # lists and people write an OGRN or an LEI into other fields
            if len(value := value.lstrip("0")) < SHORTEST:  # leading zeros get lost in spreadsheets
                continue
            found.loose.add((identifier.scheme, value))
            places = (identifier.country,) if identifier.country else homes
            found.certain.update((identifier.scheme, place, value) for place in places)
    return found


def recognised(value: str) -> str:
    """The worldwide scheme that a value's own check digits show it to be of, or "". An INN's prove too little."""
    if len(value) == LEI_LENGTH and value.isascii() and value.isalnum() and value[-2:].isdigit():
        digits = "".join(str(int(letter, 36)) for letter in value)
        return "leiCode" if int(digits) % 97 == 1 else ""  # ISO 7064 MOD 97-10, as ISO 17442 has it
    if len(value) in OGRN_LENGTHS and value.isascii() and value.isdigit() and value[0] in "1235":
        # The last digit is the rest of the others by 11 (13 digits) or 13 (15), and of that its last digit.
        return "ogrnCode" if int(value[:-1]) % (len(value) - 2) % 10 == int(value[-1]) else ""
    return ""
