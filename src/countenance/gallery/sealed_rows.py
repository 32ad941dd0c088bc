"""A segment's rows in a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from cryptography.exceptions import InvalidTag
from numpy.typing import NDArray

from countenance.gallery.segment_file import SegmentFile

Stored = Callable[[Sequence[bytes]], Mapping[bytes, NDArray[np.float16]]]
"""Face ids -> their templates in the database; those that are gone are left out."""


class SealedRows:
    """A segment's rows in a file, which is mapped; of each search only those that it asks for are opened.

    Args:
        face_ids: those of the file, in memory; they stay as they are when rows are erased in the file, as the index
            has its own note of that.
        stored: where the row of a reference is looked for when the file's does not open.
    """

    __slots__ = ("_dimension", "_stored", "face_ids", "file")

    def __init__(self, file: SegmentFile, face_ids: NDArray[np.uint8], stored: Stored) -> None:
        file.map()
        self.file = file
        self.face_ids = face_ids
        self._dimension = file.header.dimension
        self._stored = stored

    def __len__(self) -> int:
        return len(self.face_ids)

    @property
    def nbytes(self) -> int:
        """Memory held: the ids."""
        return self.face_ids.nbytes

    def templates(self, positions: NDArray[np.intp]) -> NDArray[np.float16]:
        """(k, dimension) rows at these positions. A row that another process erases meanwhile is one of zeros."""
        rows = np.zeros((len(positions), self._dimension), "<f2")
        torn: dict[bytes, int] = {}
        for at, position in enumerate(positions.tolist()):
            try:
                row = self.file.row(position)
            except InvalidTag:
                torn[self.face_ids[position].tobytes()] = at
                continue
            if row is not None:
                rows[at] = np.frombuffer(row, "<f2")
        if torn:  # being erased this moment, or damaged: the database has what is true
            for face_id, template in self._stored(list(torn)).items():
                rows[torn[face_id]] = template
        return rows
