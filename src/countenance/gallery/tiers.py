"""Which index a collection gets: by its size, and by nothing else.

Up to `LAZY_UP_TO` rows an index is made at a search and may leave memory again (`shelf`); from `quantised_from` on
one byte per feature is scanned instead of two. All tiers give the same answers.
"""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from countenance.gallery import exact, products
from countenance.gallery.comparison import Ranking
from countenance.gallery.exact import FaissIndex, Index, IndexFactory, NumpyIndex
from countenance.gallery.gathering import GATHERED_FROM_FEATURES
from countenance.gallery.quantised import QuantisedIndex

Tier = Literal["lazy", "exact", "quantised"]

LAZY_UP_TO: Final = 2_000  # rows: `shelf.SMALL_COLLECTION`
_QUANTISED_FROM_FEATURES: Final = 64_000_000
"""Rows times dimension, 128 MB of fp16: 500,000 rows of 128 or 125,000 of 512 features, where an exact scan takes
four milliseconds of a core on a quick machine and ten on a busy one (`make bench`, section scale)."""
_DOWN_BELOW: Final = 0.5  # of what a collection moves up at: one that goes to and fro does not move each time


def quantised_from(dimension: int, setting: int | None = None) -> int:
    """From how many rows on a collection is quantised.

    Args:
        setting: what the operator set, in rows; None leaves it to what was measured.
    """
    return setting if setting is not None else max(1, _QUANTISED_FROM_FEATURES // dimension)


def tier_of(rows: int, dimension: int, setting: int | None = None) -> Tier:
    """The tier of a collection that is loaded with so many rows."""
    if rows >= quantised_from(dimension, setting):
        return "quantised"
    return "lazy" if rows <= LAZY_UP_TO else "exact"


class TieredIndex:
    """An `Index` that moves up when it grows and down when it has shrunk to half of that."""

    def __init__(self, dimension: int, *, quantise_from: int | None = None) -> None:
        self._dimension = dimension
        self._setting = quantise_from
        self._from = quantised_from(dimension, quantise_from)
        self._index: FaissIndex | NumpyIndex | QuantisedIndex = _exact(dimension)

    def __len__(self) -> int:
        return len(self._index)

    @property
    def nbytes(self) -> int:
        return self._index.nbytes

    @property
    def tier(self) -> Tier:
        """Which it has now."""
        if isinstance(self._index, QuantisedIndex):
            return "quantised"
        return "lazy" if len(self) <= LAZY_UP_TO else "exact"

    @property
    def index(self) -> FaissIndex | NumpyIndex | QuantisedIndex:
        """The index of its tier."""
        return self._index

    def reserve(self, count: int) -> None:
        if count >= self._from:
            self._move_up()
        if count * self._dimension >= GATHERED_FROM_FEATURES:
            products.prepare()
        self._index.reserve(count)

    def add(self, face_ids: NDArray[np.uint8], templates: NDArray[np.float16]) -> None:
        self._index.add(face_ids, templates)
        if len(self._index) >= self._from:
            self._move_up()

    def replace(self, face_ids: NDArray[np.uint8], templates: NDArray[np.float16]) -> None:
        self._index.replace(face_ids, templates)

    def remove(self, face_ids: NDArray[np.uint8]) -> int:
        removed = self._index.remove(face_ids)
        if isinstance(self._index, QuantisedIndex) and len(self._index) < self._from * _DOWN_BELOW:
            self._move_down(self._index)
        return removed

    def search(self, probes: NDArray[np.float32], count: int) -> list[Ranking]:
        return self._index.search(probes, count)

    def _move_up(self) -> None:
        """At once, without copying: the rows are scanned as before until their segment is made."""
        if not isinstance(self._index, QuantisedIndex):
            quantised = QuantisedIndex(self._dimension)
            quantised.take(self._index.rows)
            self._index = quantised

    def _move_down(self, quantised: QuantisedIndex) -> None:
        smaller = _exact(self._dimension)
        smaller.reserve(len(quantised))
        for face_ids, templates in quantised.living():
            smaller.add(face_ids, templates)
        self._index = smaller


def tiered(quantise_from: int | None = None) -> IndexFactory:
    """Makes indexes that follow their size.

    Args:
        quantise_from: rows from which on a collection is quantised; None leaves it to what was measured.
    """

    def make(dimension: int) -> Index:
        return TieredIndex(dimension, quantise_from=quantise_from)

    return make


def _exact(dimension: int) -> FaissIndex | NumpyIndex:
    """The fastest index of fp16 rows that this installation has."""
    return NumpyIndex(dimension) if exact.faiss is None else FaissIndex(dimension)
