"""Searching the templates of one collection in memory: the contract, and two exact ways to meet it.

`NumpyIndex` scores every row with the canonical function: it is slow, obviously right, and what every other
index is tested against. `FaissIndex` lets FAISS's fp16 scan choose the rows worth scoring, then scores those
canonically; when rounding could have hidden a row that belongs into the answer it widens the choice until it
cannot, so both give the same ids in the same order with the same scores, bit for bit.

An index is not safe against changes during a search: FAISS crashes when rows are added meanwhile. `shelf`
keeps searches and changes apart.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from countenance.gallery.comparison import Ranking, comparison_scores, rank, score_error_bound
from countenance.gallery.rows import TemplateRows, allocate_array

faiss: Any
try:
    faiss = importlib.import_module("faiss")
except ImportError:  # platforms without a wheel: the same answers, more slowly
    faiss = None

_SCAN_FROM_ROWS = 256  # below it a FAISS object (10 kB, measured) costs more than scoring every row
_SPARE = 16  # rows fetched beyond what is asked, so that rounding at the last place rarely needs a second scan
_WIDEN = 4
_WIDEST = 16_384  # beyond it FAISS's selection costs more than scoring every row


class Index(Protocol):
    """Exact search over the templates of one collection."""

    def __len__(self) -> int: ...

    @property
    def nbytes(self) -> int:
        """Memory held by rows and ids."""
        ...

    def reserve(self, count: int) -> None:
        """Make room for this many rows in all."""
        ...

    def add(self, face_ids: NDArray[np.uint8], templates: NDArray[np.float16]) -> None:
        """Add rows whose face ids, (n, 16) bytes, are not there yet; templates (n, dimension)."""
        ...

    def replace(self, face_ids: NDArray[np.uint8], templates: NDArray[np.float16]) -> None:
        """Give rows that are there other templates."""
        ...

    def remove(self, face_ids: NDArray[np.uint8]) -> int:
        """Drop rows; returns how many were there."""
        ...

    def search(self, probes: NDArray[np.float32], count: int) -> list[Ranking]:
        """For each probe of (n, dimension) float32 the best `count` rows by canonical score, ties by id."""
        ...


IndexFactory = Callable[[int], Index]
"""dimension -> an empty index."""


class NumpyIndex:
    """Scores every row. The oracle, and what is used where FAISS is not installed."""

    def __init__(self, dimension: int) -> None:
        self._rows = TemplateRows(dimension)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def nbytes(self) -> int:
        return self._rows.nbytes

    def reserve(self, count: int) -> None:
        self._rows.reserve(count)

    def add(self, face_ids: NDArray[np.uint8], templates: NDArray[np.float16]) -> None:
        self._rows.append(face_ids, templates)

    def replace(self, face_ids: NDArray[np.uint8], templates: NDArray[np.float16]) -> None:
        self._rows.replace(face_ids, templates)

    def remove(self, face_ids: NDArray[np.uint8]) -> int:
        return self._rows.remove(face_ids)

    def search(self, probes: NDArray[np.float32], count: int) -> list[Ranking]:
        return [_score_all(self._rows, probe, count) for probe in probes]


class FaissIndex:
    """FAISS's exact fp16 inner-product scan over rows that lie in FAISS's own memory, once.

    Args:
        threads: how many threads one call of FAISS may use. One: a single probe is scanned by one thread
            whatever is set, and more would let every worker of a server start a team of its own.
    """

    def __init__(self, dimension: int, *, threads: int = 1) -> None:
        if faiss is None:
            raise RuntimeError("FAISS is not installed; use NumpyIndex")
        self._threads = threads
        self._scan: Any = None
        self._retired: Any = None
        self._rows = TemplateRows(dimension, allocate=self._allocate)
        self._error = score_error_bound(dimension)

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def nbytes(self) -> int:
        return self._rows.nbytes

    def reserve(self, count: int) -> None:
        self._rows.reserve(count)
        self._publish()

    def add(self, face_ids: NDArray[np.uint8], templates: NDArray[np.float16]) -> None:
        self._rows.append(face_ids, templates)
        self._publish()

    def replace(self, face_ids: NDArray[np.uint8], templates: NDArray[np.float16]) -> None:
        self._rows.replace(face_ids, templates)

    def remove(self, face_ids: NDArray[np.uint8]) -> int:
        removed = self._rows.remove(face_ids)
        self._publish()
        return removed

    def search(self, probes: NDArray[np.float32], count: int) -> list[Ranking]:
        rows = self._rows
        width = min(count + _SPARE, len(rows))
        if self._scan is None or width > _WIDEST or width == 0 or count == 0:
            return [_score_all(rows, probe, count) for probe in probes]
        _use_threads(self._threads)
        scanned, positions = self._scan.search(np.ascontiguousarray(probes, np.float32), width)
        return [self._settle(probe, count, scanned[at], positions[at]) for at, probe in enumerate(probes)]

    def _settle(
        self,
        probe: NDArray[np.float32],
        count: int,
        scanned: NDArray[np.float32],
        positions: NDArray[np.int64],
    ) -> Ranking:
        """The exact ranking, from FAISS's choice when that is certain, from a wider one when not."""
        rows = self._rows
        while True:
            ranking = rank(rows.face_ids[positions], comparison_scores(rows.templates[positions], probe), count)
            # A row that was not chosen scores at most this, in whatever order it is summed.
            unseen_at_most = min(float(scanned[-1]) + self._error, 1.0)
            if len(positions) == len(rows) or ranking.scores[-1] > unseen_at_most:
                return ranking
            width = min(len(positions) * _WIDEN, len(rows))
            if width > _WIDEST:
                return _score_all(rows, probe, count)
            found = self._scan.search(probe[None, :].astype(np.float32), width)
            scanned, positions = found[0][0], found[1][0]

    def _allocate(self, capacity: int, dimension: int) -> NDArray[np.float16]:
        self._retired = self._scan  # its memory is read from until the rows have moved
        if capacity < _SCAN_FROM_ROWS:
            self._scan = None
            return allocate_array(capacity, dimension)
        scan = faiss.IndexScalarQuantizer(dimension, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        # A fresh vector takes exactly what it is resized to, where a growing one doubles.
        scan.codes.resize(capacity * dimension * 2)
        memory = faiss.rev_swig_ptr(scan.codes.data(), capacity * dimension * 2)
        self._scan = scan
        return np.asarray(memory.view(np.float16).reshape(capacity, dimension))

    def _publish(self) -> None:
        self._retired = None
        if self._scan is not None:
            self._scan.ntotal = len(self._rows)


def default_index(dimension: int) -> Index:
    """The fastest exact index that this installation has."""
    return NumpyIndex(dimension) if faiss is None else FaissIndex(dimension)


def _score_all(rows: TemplateRows, probe: NDArray[np.float32], count: int) -> Ranking:
    if count == 0:
        return Ranking([], [])
    return rank(rows.face_ids, comparison_scores(rows.templates, probe), count)


_of_thread = threading.local()


def _use_threads(count: int) -> None:
    """FAISS's thread count belongs to the calling thread: set in the main thread it reaches no worker."""
    if getattr(_of_thread, "count", None) != count:
        faiss.omp_set_num_threads(count)
        _of_thread.count = count
