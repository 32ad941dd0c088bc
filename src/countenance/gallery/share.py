"""Which references a node indexes, where a large collection is spread over several.

The references of every collection fall into `of` parts by their face id. A face id that is made here is random already
(UUIDv5 of a keyed hash of the image), and those that an archive brings along are random UUIDs mostly, so that their
first two bytes serve as the hash. Whoever brings ids of another kind gets parts of unequal size, and no wrong answer.

A search is answered when every part of one partition was asked: parts of two partitions overlap and are never mixed.
What users are compared by is small, and whole on every node.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from countenance.gallery.faults import GalleryError
from countenance.gallery.records import ref_id_range
from countenance.gallery.shelf import Change
from countenance.store import Connection

MOST_PARTS: Final = 256
"""With 65,536 values of the hash, parts then differ by 0.4 % at the most."""
_VALUES: Final = 1 << 16
_WORDS: Final = re.compile(r"([1-9][0-9]{0,2})/([1-9][0-9]{0,2})")


class ShareError(GalleryError):
    """A part is not written as N/OF."""


@dataclass(frozen=True, slots=True)
class Share:
    """Part `number` of `of`, counted from 1."""

    number: int = 1
    of: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of <= MOST_PARTS:
            raise ShareError(f"There is no part {self.number} of {self.of}.", hint=f"1/2, 2/2, up to {MOST_PARTS}")

    @classmethod
    def parse(cls, text: str) -> Share:
        """From `1/2`; from nothing, everything. Raises ShareError."""
        if not text:
            return WHOLE
        found = _WORDS.fullmatch(text)
        if found is None:
            raise ShareError(f"{text[:20]!r} is no part.", hint="such as 1/2: the first of two")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @property
    def is_whole(self) -> bool:
        """Whether it is everything."""
        return self.of == 1

    def siblings(self) -> list[Share]:
        """All parts of the partition that this one is of."""
        return [Share(number, self.of) for number in range(1, self.of + 1)]

    def has(self, face_id: bytes) -> bool:
        """Whether a reference is in the part."""
        return int.from_bytes(face_id[:2], "big") * self.of // _VALUES == self.number - 1

    def among(self, face_ids: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which of (n, 16) ids are in the part."""
        values = face_ids[:, 0].astype(np.int64) * 256 + face_ids[:, 1]
        return np.asarray(values * self.of // _VALUES == self.number - 1, np.bool_)

    def of_change(self, change: Change) -> Change:
        """What of a change concerns the part; its revision stays."""
        if self.is_whole:
            return change
        added, replaced = self.among(change.added), self.among(change.replaced)
        return replace(
            change,
            added=change.added[added],
            added_templates=change.added_templates[added],
            replaced=change.replaced[replaced],
            replaced_templates=change.replaced_templates[replaced],
            removed=change.removed[self.among(change.removed)],
        )

    def count(self, connection: Connection, uid: int, total: int) -> int:
        """How many of a collection's references are in the part; reads every id for it, but of everything.

        Args:
            total: how many the collection has.
        """
        if self.is_whole:
            return total
        rows = connection.execute(
            "SELECT substr(face_id, 1, 2), count(*) FROM enrolled_references WHERE ref_id BETWEEN ? AND ? GROUP BY 1",
            ref_id_range(uid),
        ).fetchall()
        return sum(int(count) for start, count in rows if self.has(bytes(start)))


WHOLE: Final = Share()


def are_covered(shares: Iterable[Share]) -> bool:
    """Whether nodes that have these parts can answer a search: all parts of one partition are there."""
    there = set(shares)
    return any(set(each.siblings()) <= there for each in there)


def lacking(shares: Iterable[Share]) -> list[Share]:
    """What nobody has of the partition that lacks the least; empty when they are covered, or nobody has anything."""
    there = set(shares)
    left = [[each for each in one.siblings() if each not in there] for one in sorted(there, key=str)]
    return min(left, key=len, default=[])
