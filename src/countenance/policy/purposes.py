"""What access keys are issued for: words that policies know, and that an operator can add to.

A purpose is a word of a controlled vocabulary, since a policy that names one has to mean what the key says. Keys from
before the vocabulary keep what they have, which no policy exempts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from countenance.errors import Error

BUILT_IN: Final[Mapping[str, str]] = {
    "general": "not said; no policy exempts it",
    "owner": "the operator's own work",
    "testing": "trying the software out, with images of consenting people or of nobody",
    "research": "measuring recognition, without effect on anybody",
    "identity-verification": "one person shown to be who they say, with their knowledge",
    "access-control": "opening doors and accounts to people who enrolled for it",
    "attendance": "who was at work",
    "workplace": "other uses about employees",
    "education": "uses about pupils and students",
    "photo-library": "sorting pictures of one's own",
    "missing-person": "to help identify or locate missing persons",
    "trafficking-victim": "to help identify or locate victims of trafficking",
    "public-safety": "public safety other than the investigation of a crime",
    "criminal-investigation": "the investigation of a crime",
    "border-control": "at borders and in migration",
    "remote-identification": "identifying people at a distance, afterwards",
    "real-time-identification": "identifying people at a distance, as they pass by",
}
"""Word -> what it means."""
SECTORS: Final[Mapping[str, str]] = {
    "police": "police and other bodies that investigate crimes",
    "public-safety": "fire brigades, rescue and disaster services",
    "border": "border guards, customs and migration offices",
    "military": "armed forces",
    "intelligence": "intelligence services",
    "justice": "courts, prosecutors and prisons",
    "government": "other public bodies",
    "security": "private security and investigation",
    "education": "schools and universities",
    "research": "research outside of them",
    "health": "hospitals, doctors, care",
    "finance": "banks and payment",
    "insurance": "insurers",
    "retail": "shops",
    "hospitality": "hotels, restaurants, events",
    "transport": "airports, railways, logistics",
    "industry": "manufacturing, energy, construction",
    "software": "software and its resale",
    "media": "press, broadcasting, archives",
    "charity": "charities and associations",
    "other": "none of these, as somebody found",
}
"""What an account's verified sector can be: a word that means the same to operators and to policies."""
EXEMPT: Final = frozenset({"missing-person", "trafficking-victim"})
"""Purposes that the moratorium exempts: two operators allow them to an account, one by one, before a key is issued."""
REAL_TIME: Final = "real-time-identification"
_WORD: Final = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST: Final = 64


class PurposeError(Error):
    """It is not a purpose of the vocabulary, or cannot become one."""


def check_sector(word: str) -> str:
    """The sector. Raises PurposeError when there is none of that name."""
    if word not in SECTORS:
        raise PurposeError(f"There is no sector {word[:40]!r}.", hint=f"there are {', '.join(SECTORS)}")
    return word


def check_word(word: str) -> str:
    """The word. Raises PurposeError when it cannot be one of the vocabulary."""
    if len(word) > LONGEST or not _WORD.fullmatch(word):
        raise PurposeError(
            f"{word[:40]!r} cannot be a purpose.", hint=f"lower-case words with hyphens, at most {LONGEST} characters"
        )
    return word
