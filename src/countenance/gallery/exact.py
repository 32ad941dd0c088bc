"""Searching the templates of one collection in memory: the contract, and two exact ways to meet it.

`NumpyIndex` scores every row with the canonical function: it is slow, obviously right, and what every other
index is tested against. `FaissIndex` lets a faster scan choose the rows worth scoring, then scores those
canonically (`selection`), so both give the same ids in the same order with the same scores, bit for bit.

An index is not safe against changes during a search. `shelf` keeps searches and changes apart.
"""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from countenance.gallery.chosen_scan import alone
from countenance.gallery.comparison import Ranking, comparison_scores, rank
from countenance.gallery.rows import TemplateRows
from countenance.gallery.segments import Block, MemoryRows
from countenance.gallery.selection import Part, Probes, Scan
from countenance.gallery.shared_scan import cores, pool, shared

faiss: Any
try:
    faiss = importlib.import_module("faiss")
except ImportError:  # platforms without a wheel: the same answers, more slowly
    faiss = None

_SCAN_FROM_ROWS = 256  # below it a scan costs more than scoring every row
_SPARE = 16  # rows fetched beyond what is asked, so that rounding at the last place rarely needs a second scan
_SHARED_FROM_PROBES = 5  # measured: a shared scan of fp16 rows costs four of FAISS's, for up to thirty-two probes
_APART_FROM_FEATURES = 4_000_000  # rows times dimension: below, a scan takes less than waking a thread for it
_MOST_CHOSEN = 4_096  # rows a probe, beyond which FAISS's selection costs more than a shared scan


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

    @property
    def rows(self) -> TemplateRows:
        """The rows themselves; valid until the next change."""
        return self._rows

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
    """Exact fp16 rows: FAISS's inner-product scan for a probe or a few, one shared scan for a batch.

    Args:
        threads: how many threads one call of FAISS may use. One: a single probe is scanned by one thread
            whatever is set, and more would let every worker of a server start a team of its own.
    """

    def __init__(self, dimension: int, *, threads: int = 1) -> None:
        if faiss is None:
            raise RuntimeError("FAISS is not installed; use NumpyIndex")
        self._threads = threads
        self._rows = TemplateRows(dimension)
        self._chooser: Any = None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def nbytes(self) -> int:
        return self._rows.nbytes

    @property
    def rows(self) -> TemplateRows:
        """The rows themselves; valid until the next change."""
        return self._rows

    def reserve(self, count: int) -> None:
        self._rows.reserve(count)
        self._chooser = None

    def add(self, face_ids: NDArray[np.uint8], templates: NDArray[np.float16]) -> None:
        self._rows.append(face_ids, templates)
        self._chooser = None

    def replace(self, face_ids: NDArray[np.uint8], templates: NDArray[np.float16]) -> None:
        self._rows.replace(face_ids, templates)

    def remove(self, face_ids: NDArray[np.uint8]) -> int:
        removed = self._rows.remove(face_ids)
        self._chooser = None
        return removed

    def search(self, probes: NDArray[np.float32], count: int) -> list[Ranking]:
        rows = self._rows
        if len(rows) < _SCAN_FROM_ROWS or count == 0:
            return [_score_all(rows, probe, count) for probe in probes]
        ready, part = Probes(probes), self.part()
        if len(probes) >= _SHARED_FROM_PROBES or count > _MOST_CHOSEN:
            return shared([part], ready, count)
        return chosen([part], ready, count, _SPARE, threads=self._threads)

    def part(self) -> Part:
        """All rows, to be searched together with others; valid until the next change."""
        rows = self._rows
        # Searches run side by side: two may make a chooser each, and either serves.
        chooser = self._chooser
        if chooser is None:
            chooser = self._chooser = chooser_of(rows.templates, None)
        scan = Scan(0, rows.templates, None, chooser)
        return Part(MemoryRows(rows.face_ids, rows.templates), [scan], None, len(rows))


def chosen(parts: list[Part], probes: Probes, count: int, spare: int, *, threads: int = 1) -> list[Ranking]:
    """`chosen_scan.alone`, each of several probes in a thread of its own where there is enough to do.

    Args:
        threads: how many one call of FAISS may use.
    """

    def one(at: int) -> Ranking:
        use_threads(threads)
        return alone(parts, Probes(probes.exact[at : at + 1]), count, spare)[0]

    features = probes.exact.shape[1] * sum(part.living for part in parts)
    if len(probes) < 2 or features < _APART_FROM_FEATURES or cores() < 2:
        use_threads(threads)
        return alone(parts, probes, count, spare)
    waiting = [pool().submit(one, at) for at in range(1, len(probes))]
    rankings = [one(0)]
    for at, each in enumerate(waiting, 1):
        rankings.append(one(at) if each.cancel() else each.result())
    return rankings


def chooser_of(data: NDArray[Any], block: Block | None) -> Any:
    """FAISS's index over (n, dimension) fp16 rows, or over the codes of a block, where they lie.

    The array has to outlive it. None where FAISS is not installed.
    """
    if faiss is None:
        return None
    kinds = faiss.ScalarQuantizer
    kind = kinds.QT_fp16 if block is None else kinds.QT_8bit_direct_signed
    chooser = faiss.IndexScalarQuantizer(data.shape[1], kind, faiss.METRIC_INNER_PRODUCT)
    memory = data.view(np.uint8)
    # What MaybeOwnedVector::create_view does; it asks for a shared_ptr that Python cannot make.
    codes = chooser.codes
    codes.is_owned = False
    codes.view_data = codes.c_ptr = faiss.swig_ptr(memory)
    codes.view_size = codes.c_size = memory.size
    chooser.ntotal = len(data)
    chooser.is_trained = True
    return chooser


def _score_all(rows: TemplateRows, probe: NDArray[np.float32], count: int) -> Ranking:
    if count == 0:
        return Ranking([], [])
    return rank(rows.face_ids, comparison_scores(rows.templates, probe), count)


_of_thread = threading.local()


def use_threads(count: int) -> None:
    """FAISS's thread count belongs to the calling thread: set in the main thread it reaches no worker."""
    if faiss is not None and getattr(_of_thread, "count", None) != count:
        faiss.omp_set_num_threads(count)
        _of_thread.count = count
