"""Which listed entities are worth scoring: an index of the trigrams of their names.

Knows letters. Does not know what a match is: it ranks, and `scoring` decides. Needs numpy alone; how scripts other than
Latin are written in Latin letters is handed in, since the extra knows it (`scoring.Scorer.latin`).
"""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import numpy.typing as npt

from countenance.standing.listed import ListedEntity

CANDIDATES = 50
"""Entities scored for each name of a party. Recall at 50 is what issue "Standing" sets and `python -m bench screening`
measures; yente, the server around the same matcher, takes at least 20 (its MATCH_CANDIDATES)."""

WORD = re.compile(r"[^\W_]+")
JOINED = str.maketrans("", "", ".'’")

Latin = Callable[[str], str]
"""Text in any script -> text in Latin letters, as far as it can be done."""


def as_it_is(text: str) -> str:
    """No transliteration: names meet names of their own script only. For use without the extra."""
    return text


def plain(text: str) -> str:
    """A name without what only looks: letters of other forms (full width, bold, ligatures) as the letters they are."""
    return text if text.isascii() else unicodedata.normalize("NFKC", text)


def words(text: str, latin: Latin = as_it_is) -> list[str]:
    """The words of a name in small letters, without accents and punctuation, in the order they are written in."""
    if not text.isascii():
        text = latin(plain(text))
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        text = "".join(letter for letter in decomposed if not unicodedata.combining(letter))
    # Dots and apostrophes join what they part: B.V. is one word, and so is O'Brien.
    return WORD.findall(text.casefold().translate(JOINED))


def shares_words(names: Iterable[frozenset[str]], others: Iterable[frozenset[str]]) -> bool:
    """Whether some name and some other have half of all their words in common. Depends on the two alone."""
    listed = list(others)
    return any(2 * len(one & other) >= len(one | other) > 0 for one in names for other in listed)


def trigrams(text: str, latin: Latin = as_it_is) -> set[str]:
    """Three letters at a time of each word with a blank before and after it; so the order of words does not count."""
    return {gram for word in words(text, latin) for gram in _of_word(word)}


def _of_word(word: str) -> list[str]:
    padded = f" {word} "
    return [padded[at : at + 3] for at in range(len(word))]


class TrigramIndex:
    """Trigrams of every name of every entity, weighted by how rare they are. Immutable; lives in memory only.

    A name's similarity to a listed one is the cosine of their sets of trigrams, each trigram weighted by the logarithm
    of how many names there are for one that has it; an entity's is that of its most similar name. Entities are ranked
    by similarity and, where that is the same, by their place in `entities`.

    Args:
        entities: what to find. A result names their places in this sequence.
        latin: how text is transliterated, for listed names as for those looked for.
    """

    def __init__(self, entities: Sequence[ListedEntity], latin: Latin = as_it_is) -> None:
        self._latin = latin
        self._ids: dict[str, int] = {}
        owners: list[int] = []
        sizes: list[int] = []
        cells: list[int] = []
        of_word: dict[str, list[int]] = {}  # listed names share most of their words
        for place, entity in enumerate(entities):
            seen: set[frozenset[str]] = set()
            for name in entity.names:
                parts = frozenset(words(name.text, latin))
                if not parts or parts in seen:
                    continue
                seen.add(parts)
                found: set[int] = set()
                for word in parts:
                    if word not in of_word:
                        of_word[word] = [self._ids.setdefault(gram, len(self._ids)) for gram in _of_word(word)]
                    found.update(of_word[word])
                owners.append(place)
                sizes.append(len(found))
                cells.extend(found)
        owner = np.array(owners, np.int64)
        self._names = len(owners)
        # Names of one entity are neighbours, so that the best of them is one reduction away.
        self._first = np.flatnonzero(np.diff(owner, prepend=-1)) if self._names else np.zeros(0, np.int64)
        self._owner = owner[self._first] if self._names else owner
        grams_of = np.array(cells, np.int64)
        name_of = np.repeat(np.arange(self._names), np.array(sizes, np.int64))
        order = np.argsort(grams_of, kind="stable")
        self._postings = name_of[order].astype(np.int32)
        counts = np.bincount(grams_of, minlength=len(self._ids))
        self._starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        self._weights = np.log1p(self._names / np.maximum(counts, 1)) ** 2
        lengths = np.bincount(name_of, weights=self._weights[grams_of], minlength=self._names)
        self._scale = 1.0 / np.sqrt(np.maximum(lengths, 1e-12))
        self._unseen = float(np.log1p(self._names)) ** 2

    def __len__(self) -> int:
        """Names in the index."""
        return self._names

    def top(self, names: Iterable[str], k: int = CANDIDATES) -> list[tuple[int, float]]:
        """The entities most like one of the names: (place, similarity of 0 to 1), the most similar first.

        Each name has `k` candidates of its own: further names, which a party declares itself, push none out.
        """
        best: dict[int, float] = {}
        for name in names:
            similar = self._similarities(name)
            if similar is None:
                continue
            for at in _largest(similar, k):
                place, value = int(self._owner[at]), float(similar[at])
                if value > best.get(place, 0.0):
                    best[place] = value
        return sorted(best.items(), key=lambda found: (-found[1], found[0]))

    def _similarities(self, name: str) -> npt.NDArray[np.float64] | None:
        """For each entity that has names; None when nothing is alike."""
        grams = sorted(trigrams(name, self._latin))
        known = [self._ids[gram] for gram in grams if gram in self._ids]
        if not known:
            return None
        spans = [self._postings[self._starts[gram] : self._starts[gram + 1]] for gram in known]
        weights = self._weights[known]
        shared = np.bincount(
            np.concatenate(spans),
            weights=np.repeat(weights, [len(span) for span in spans]),
            minlength=self._names,
        )
        length = float(weights.sum()) + (len(grams) - len(known)) * self._unseen
        similar: npt.NDArray[np.float64] = np.maximum.reduceat(shared * self._scale, self._first)
        similar /= np.sqrt(length)
        return similar


def _largest(values: npt.NDArray[np.float64], k: int) -> npt.NDArray[np.int64]:
    """Places of the `k` largest values above 0; of equal ones at the edge, the first."""
    if len(values) <= k:
        return np.flatnonzero(values > 0.0)
    edge = np.partition(values, len(values) - k)[len(values) - k]
    above = np.flatnonzero(values > edge)
    level = np.flatnonzero(values == edge)[: k - len(above)] if edge > 0.0 else np.zeros(0, np.int64)
    return np.concatenate([above, level])
