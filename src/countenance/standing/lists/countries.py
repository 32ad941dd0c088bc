"""Countries' names, as publishers of lists write them in English, and their ISO 3166-1 alpha-2 codes.

`countries.tsv`: a code in lower case, a tab, and names between semicolons: the usual English ones (as in the Unicode
CLDR), and the spellings that OFAC's, the UN's and the UK's lists use besides. Case, accents, punctuation, "the" and
"of" make no difference. Kosovo is xk, which is not of ISO's but used by all of them.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache, lru_cache
from importlib.resources import files
from typing import Final

_NOT_LETTERS: Final = re.compile(r"[^a-z]+")
_LEFT_OUT: Final = frozenset({"the", "of"})


@cache
def _codes() -> dict[str, str]:
    found: dict[str, str] = {}
    for line in (files("countenance.standing.lists") / "countries.tsv").read_text("utf-8").splitlines():
        code, _, names = line.partition("\t")
        found |= dict.fromkeys(names.split("; "), code)
    return found


def code_of(name: str) -> str:
    """The code of a country by its name or by itself, in lower case; "" for what is none or not known."""
    plain = _plain(name)
    if len(plain) == 2 and plain in _known():
        return plain
    return _codes().get(plain, "")


@cache
def _known() -> frozenset[str]:
    return frozenset(_codes().values())


@lru_cache(4_096)
def _plain(name: str) -> str:
    apart = unicodedata.normalize("NFKD", name.replace("&", " and ").replace("'", "").replace("\u2019", ""))
    bare = "".join(each for each in apart if not unicodedata.combining(each)).lower()
    return " ".join(word for word in _NOT_LETTERS.sub(" ", bare).split() if word not in _LEFT_OUT)
