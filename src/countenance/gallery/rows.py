"""The enrolled templates of one collection in memory: packed fp16 rows and their face ids, nothing else.

A row costs 2 * dimension + 16 bytes, and up to an eighth more for room to grow: 272 to 306 bytes at 128
features. There is no map from face id to row: erasing and replacing look for the id by scanning 16 bytes a
row (about a millisecond per million), which is cheaper than keeping 100 bytes of hash table per face.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_SMALLEST = 16  # rows of the first allocation
_GROWTH = 8  # grow by an eighth: little slack, and every row is copied about eight times in its life
_SHRINK_BELOW = 4  # give memory back when less than a quarter is used
_NEEDLES_AT_ONCE = 8  # below this a scan per id beats sorting them


class TemplateRows:
    """Rows in no particular order. One thread may change it while nobody reads it; see `shelf`."""

    def __init__(self, dimension: int) -> None:
        self._count = 0
        self._face_ids = np.empty((0, 16), np.uint8)
        self._templates = np.empty((0, dimension), np.float16)
        self.dimension = dimension

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Memory held, the room to grow included."""
        return self._face_ids.nbytes + self._templates.nbytes

    @property
    def face_ids(self) -> NDArray[np.uint8]:
        """(n, 16) bytes; valid until the next change."""
        return self._face_ids[: self._count]

    @property
    def templates(self) -> NDArray[np.float16]:
        """(n, dimension); valid until the next change."""
        return self._templates[: self._count]

    def reserve(self, count: int) -> None:
        """Make room for this many rows in all."""
        if count > len(self._templates):
            self._move_to(count)

    def append(self, face_ids: NDArray[np.uint8], templates: NDArray[np.float16]) -> None:
        """Add rows whose face ids are not there yet: (n, 16) bytes and (n, dimension) fp16."""
        end = self._count + len(face_ids)
        if templates.shape != (len(face_ids), self.dimension):
            raise ValueError("templates do not fit the index")
        if end > len(self._templates):
            self._move_to(max(_SMALLEST, end + end // _GROWTH))
        self._face_ids[self._count : end] = face_ids
        self._templates[self._count : end] = templates
        self._count = end

    def replace(self, face_ids: NDArray[np.uint8], templates: NDArray[np.float16]) -> None:
        """Give rows that are there other templates."""
        for face_id, template in zip(face_ids, templates, strict=True):
            (position,) = positions_of(self.face_ids, face_id[None, :])
            self._templates[position] = template

    def remove(self, face_ids: NDArray[np.uint8]) -> int:
        """Drop rows, the last row taking the place of each; returns how many were there."""
        positions = np.sort(positions_of(self.face_ids, face_ids))[::-1]
        for position in positions:
            self._count -= 1
            if position != self._count:
                self._face_ids[position] = self._face_ids[self._count]
                self._templates[position] = self._templates[self._count]
        if len(self._templates) > _SMALLEST and self._count < len(self._templates) // _SHRINK_BELOW:
            self._move_to(max(_SMALLEST, self._count + self._count // _GROWTH))
        return len(positions)

    def _move_to(self, capacity: int) -> None:
        face_ids = np.empty((capacity, 16), np.uint8)
        face_ids[: self._count] = self.face_ids
        templates = np.empty((capacity, self.dimension), np.float16)
        templates[: self._count] = self.templates
        self._face_ids, self._templates = face_ids, templates


def positions_of(face_ids: NDArray[np.uint8], wanted: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Where in (n, 16) face ids the wanted ones are, in no particular order; unknown ones are left out."""
    words = face_ids.view(np.uint64)
    needles = np.ascontiguousarray(wanted).view(np.uint64)
    if len(needles) <= _NEEDLES_AT_ONCE:
        found: list[NDArray[np.intp]] = []
        for first, second in needles:
            hits = np.flatnonzero(words[:, 0] == first)
            found.append(hits[words[hits, 1] == second])
        return np.unique(np.concatenate(found)) if found else np.empty(0, np.intp)
    hits = np.flatnonzero(np.isin(words[:, 0], needles[:, 0]))
    pairs = {bytes(row) for row in np.ascontiguousarray(wanted)}
    return np.array([hit for hit in hits if bytes(face_ids[hit]) in pairs], np.intp)
