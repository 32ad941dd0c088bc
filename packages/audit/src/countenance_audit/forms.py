"""The forms that identifiers have in maps: what is looked for when somebody asks about a party.

Knows which part of a domain can be registered and how spellings of a name are brought together; does not know what a
map is. Entries hold normal forms (`identifiers`), maps hold these. Both data files are pinned, as another list or
another version of Unicode would give other keys for the same party: they are part of version 1 of the schemes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Final

from countenance_audit import identifiers

SUFFIXES_FILE: Final = "public_suffixes.txt"
"""The Public Suffix List (https://publicsuffix.org/list/, MPL 2.0), both sections, as A-labels."""

LEGAL_FORMS: Final = (
    "ab", "ag", "aps", "as", "asa", "bhd", "bv", "bvba", "co", "company", "corp", "corporation", "doo", "eood", "eurl",
    "gmbh", "gmbhcokg", "inc", "incorporated", "jsc", "kft", "kg", "kgaa", "limited", "llc", "llp", "lp", "ltd", "ltda",
    "nv", "ohg", "ooo", "oy", "oyj", "ojsc", "pao", "plc", "pjsc", "pte", "pteltd", "pty", "ptyltd", "ao", "oao", "zao",
    "sa", "sab", "sarl", "sas", "sasu", "scrl", "sdnbhd", "se", "sl", "spa", "spzoo", "sro", "srl", "ug", "zrt",
    "ооо", "ао", "пао", "зао", "оао",
)  # fmt: skip
"""Legal forms, folded and without spaces, as a name may end with one: the commonest abbreviations of ISO 20275's list
(https://www.gleif.org/en/lei-data/code-lists/iso-20275-entity-legal-forms-code-list). For one that is missing here
there is one form fewer to find a name by."""

IN_FRONT: Final = frozenset(
    {"ab", "ao", "jsc", "oao", "ojsc", "ooo", "pao", "pjsc", "zao", "ао", "зао", "оао", "ооо", "пао"}
)
"""Those of them that are written in front of a name, too."""

_LONGEST: Final = 4
"""Words of a legal form at most: `sp z o o`."""


def of(scheme: str, value: str) -> tuple[str, ...]:
    """The forms that maps have of an identifier, all of which are looked for; one, or several of a name.

    Args:
        value: in the normal form of the scheme.

    Raises:
        Malformed: it is no name.
    """
    make = _FORMS.get(scheme)
    return (value,) if make is None else make(value)


@lru_cache(4_096)
def registrable(domain: str) -> str:
    """The part of a domain that somebody registered, by the Public Suffix List; all of it when it is a suffix."""
    rules, labels = _suffixes(), domain.split(".")
    length = 1  # the rule for what no other rule is about: *
    for at in range(len(labels)):
        rest = ".".join(labels[at:])
        if f"!{rest}" in rules:
            length = len(labels) - at - 1
            break
        if rest in rules or "*." + ".".join(labels[at + 1 :]) in rules:
            length = len(labels) - at
            break
    return ".".join(labels[-length - 1 :])


@lru_cache(4_096)
def spellings(name: str) -> tuple[str, ...]:
    """A name folded and without spaces, and the same without its legal form when it has one: `Acme B. V.` is `acmebv`
    and `acme`."""
    words = identifiers.folded(name).split(" ")
    found = {"".join(words)}
    for count in range(1, min(_LONGEST, len(words) - 1) + 1):
        if "".join(words[-count:]) in LEGAL_FORMS:
            found.add("".join(words[:-count]))
        if "".join(words[:count]) in IN_FRONT:
            found.add("".join(words[count:]))
    return tuple(sorted(found, key=lambda each: (-len(each), each)))


_FORMS: Final[Mapping[str, Callable[[str], tuple[str, ...]]]] = {
    "domain": lambda value: (registrable(value),),
    "name": spellings,
}


@cache
def _suffixes() -> frozenset[str]:
    text = Path(__file__).with_name(SUFFIXES_FILE).read_text("ascii")
    return frozenset(line for line in text.splitlines() if not line.startswith("//"))


__all__ = ["LEGAL_FORMS", "of", "registrable", "spellings"]
