"""Passwords that are tried first: the operator's own name, the product's, and what fingers do without a head.

NIST SP 800-63B (revision 4), section 3.1.1.2, has a new password compared with a blocklist of commonly used and
expected ones, context-specific words such as the user's name and the service's among them, and has whoever chose one
told why it was refused. This is such a list, as rules: it needs no file and no network. It knows no words of any
language.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

PRODUCT: Final = "countenance"
FEWEST_PIECES: Final = 6
"""Of a password: a run along a row is one piece, every other character is one, too."""
SHORTEST_RUN: Final = 3
SHORTEST_PART: Final = 3
"""Characters of a name that is looked for within words; a shorter one is looked for as a word of its own."""
SHORTEST_BARE: Final = 6
"""Characters of a name that is looked for with signs and spaces left out; shorter ones are there by chance."""
_ROWS: Final = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890",
    "qwertyuiop[]",
    "qwertzuiop\u00fc+",
    "azertyuiop^$",
    "asdfghjkl;'",
    "qsdfghjklm",
    "zxcvbnm,./",
    "yxcvbnm,.-",
    "wxcvbn,;:!",
    "!@#$%^&*()",
    '!"\u00a7$%&/()=',
    "1q2w3e4r5t6y7u8i9o0p",
    "q1w2e3r4t5y6u7i8o9p0",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm",
)
"""The alphabet, the digits, and the rows of keyboards (US, German and French), along and across; read both ways."""
_RUNS: Final = frozenset(
    row[at : at + SHORTEST_RUN]
    for each in _ROWS
    for row in (each, each[::-1])
    for at in range(len(row) - SHORTEST_RUN + 1)
)
_PLAIN: Final = str.maketrans("013457@$!", "oieastasi")
"""Digits and signs that stand for letters."""
_SIGNS: Final = re.compile(r"[\W_]+")


def why_guessable(password: str, handle: str) -> str:
    """Why a password is among the first that somebody would try, as a sentence that does not repeat it; "" when it is
    not."""
    folded = unicodedata.normalize("NFKC", password).casefold()
    if _has(folded, handle):
        return "A password has not the operator's name in it."
    if _has(folded, PRODUCT):
        return "A password has not the name of this program in it."
    if _pieces(folded) < FEWEST_PIECES:
        return "A password is more than a repeated character, letters or digits in order, or rows of a keyboard."
    return ""


def _has(folded: str, name: str) -> bool:
    """Whether a name is in a text, also with digits for letters, and a longer one with other signs in it."""
    for text, wanted in ((folded, name), (folded.translate(_PLAIN), name.translate(_PLAIN))):
        bare = _SIGNS.sub("", wanted)
        is_there = wanted in text if len(wanted) >= SHORTEST_PART else wanted in _SIGNS.split(text)
        if is_there or (len(bare) >= SHORTEST_BARE and bare in _SIGNS.sub("", text)):
            return True
    return False


def _pieces(folded: str) -> int:
    """How many pieces a text has: from each place on a run, as long as it goes, or a character."""
    count = at = 0
    while at < len(folded):
        end = at + 1
        if _is_run(folded[at : at + SHORTEST_RUN]):
            end = at + SHORTEST_RUN
            while _is_run(folded[end + 1 - SHORTEST_RUN : end + 1]):
                end += 1
        count, at = count + 1, end
    return count


def _is_run(text: str) -> bool:
    return text in _RUNS or (len(text) == SHORTEST_RUN and len(set(text)) == 1)
