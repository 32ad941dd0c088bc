"""The index of a large collection: immutable segments, a small exact tail, and marks on rows that are gone.

Every added row goes to the tail, fp16 rows that are scanned exactly, and is found by the next search. A full tail
is frozen, and a thread in the background makes it a segment (`segments`), whose one byte per feature is scanned in
half the time. Rows are never taken out of a segment: they are marked, and a segment with many marks is made anew
in the background. Until a segment stands in its place what it was made from is searched, so no search waits for it
and none sees a row twice or not at all. The answer is that of `NumpyIndex` throughout.

The lock is held for moments only, against the background alone; `shelf` keeps searches and changes apart.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from countenance.gallery.comparison import Ranking
from countenance.gallery.exact import chooser_of, chosen
from countenance.gallery.products import prepare
from countenance.gallery.rows import TemplateRows, positions_of
from countenance.gallery.segments import BLOCK_ROWS, MemoryRows, Segment, SegmentRows
from countenance.gallery.selection import Part, Probes, Scan
from countenance.gallery.shared_scan import shared

_LOG = logging.getLogger(__name__)

TAIL_ROWS: Final = 50_000  # half a millisecond of exact scan at 128 features, measured
DEAD_SHARE: Final = 0.2  # of a segment: scanned in vain, and kept in memory
SMALL_SEGMENTS: Final = 8  # fewer rows than a block each, before they become one
_SHARED_FROM_PROBES: Final = 3  # measured: a shared scan of codes costs two of FAISS's, for up to eight probes
_MOST_CHOSEN: Final = 1_024  # rows a probe and scan, beyond which FAISS's selection costs more than a shared scan
_SPARE: Final = 48
_SPARE_SHARE: Final = 3 / 8
"""Rows of a scan beyond those asked for, the greater of a number and a share of the dimension: the bounds of codes
reach over about four times as many rows as are asked for at 128 features and over sixteen times as many at 512,
measured; a second look at a scan costs more than these."""
_AT_ONCE: Final = 8_192

SegmentMaker = Callable[[NDArray[np.uint8], Iterator[NDArray[np.float16]], int], Segment]
"""(face ids, their templates in portions, dimension) -> the segment; may keep its rows where it likes."""


class _Held:
    """A segment, or a tail that will be one, and which of its rows there still are."""

    __slots__ = ("_nbytes", "alive", "dead", "rows", "scans", "segment")

    def __init__(
        self, rows: SegmentRows, scans: Sequence[Scan], nbytes: int, segment: Segment | None, alive: NDArray[np.bool_]
    ) -> None:
        self.rows = rows
        self.scans = scans
        self.segment = segment
        self.alive = alive
        self.dead = len(alive) - int(np.count_nonzero(alive))
        self._nbytes = nbytes

    @classmethod
    def of_segment(cls, segment: Segment, alive: NDArray[np.bool_]) -> _Held:
        scans = [Scan(each.start, each.codes, each, chooser_of(each.codes, each)) for each in segment.blocks]
        return cls(segment.rows, scans, segment.nbytes, segment, alive)

    @classmethod
    def of_tail(cls, tail: TemplateRows) -> _Held:
        scans = [Scan(0, tail.templates, None, chooser_of(tail.templates, None))]
        rows = MemoryRows(tail.face_ids, tail.templates)
        return cls(rows, scans, tail.nbytes, None, np.ones(len(tail), np.bool_))

    @property
    def living(self) -> int:
        return len(self.alive) - self.dead

    @property
    def nbytes(self) -> int:
        return self._nbytes + self.alive.nbytes

    def part(self) -> Part:
        return Part(self.rows, self.scans, self.alive if self.dead else None, self.living)

    def move(self, rows: SegmentRows) -> None:
        """The same rows, elsewhere."""
        assert self.segment is not None
        self.segment.rows = self.rows = rows
        self._nbytes = self.segment.nbytes

    def bury(self, face_ids: NDArray[np.uint8]) -> int:
        """Mark rows as gone; returns how many were there."""
        positions = positions_of(self.rows.face_ids, face_ids)
        positions = positions[self.alive[positions]]
        self.alive[positions] = False
        self.dead += len(positions)
        return len(positions)


class QuantisedIndex:
    """See the module. An `Index`.

    Args:
        make_segment: makes a segment of living rows, in the background's thread; the default keeps them in memory.
        tail_rows: how long the tail gets.
    """

    def __init__(
        self, dimension: int, *, make_segment: SegmentMaker = Segment.build, tail_rows: int = TAIL_ROWS
    ) -> None:
        self._dimension = dimension
        self._make_segment = make_segment
        self._tail_rows = tail_rows
        self._expected = 0
        self._held: tuple[_Held, ...] = ()
        self._tail = TemplateRows(dimension)
        self._tail_chooser: Any = None
        self._lock = threading.Lock()
        self._tidying = threading.Lock()

    def __len__(self) -> int:
        return sum(each.living for each in self._held) + len(self._tail)

    @property
    def nbytes(self) -> int:
        return sum(each.nbytes for each in self._held) + self._tail.nbytes

    @property
    def segments(self) -> list[tuple[Segment, NDArray[np.bool_]]]:
        """The segments that are ready, each with which of its rows there still are."""
        return [(each.segment, each.alive) for each in self._held if each.segment is not None]

    @property
    def tail_length(self) -> int:
        """Rows that no segment has yet."""
        return len(self._tail) + sum(each.living for each in self._held if each.segment is None)

    def adopt(self, segment: Segment, alive: NDArray[np.bool_] | None = None) -> None:
        """Take a ready segment in; none of its living rows may be here already."""
        if alive is None:
            alive = np.ones(len(segment), np.bool_)
        with self._lock:
            self._held = (*self._held, _Held.of_segment(segment, alive.copy()))

    def take(self, rows: TemplateRows) -> None:
        """Take rows in without copying them; whoever had them changes them no more."""
        with self._lock:
            self._freeze(rows)

    def reserve(self, count: int) -> None:
        """So many rows are on their way: the tail is let grow to a whole block meanwhile."""
        self._expected = count

    def add(self, face_ids: NDArray[np.uint8], templates: NDArray[np.float16]) -> None:
        with self._lock:
            self._append(face_ids, templates)

    def replace(self, face_ids: NDArray[np.uint8], templates: NDArray[np.float16]) -> None:
        with self._lock:
            for at in range(len(face_ids)):
                one = face_ids[at : at + 1]
                if len(positions_of(self._tail.face_ids, one)):
                    self._tail.replace(one, templates[at : at + 1])
                elif any(each.bury(one) for each in self._held):
                    self._append(one, templates[at : at + 1])
                else:
                    raise ValueError("a row to replace is not there")
            self._ask()

    def remove(self, face_ids: NDArray[np.uint8]) -> int:
        with self._lock:
            removed = self._tail.remove(face_ids)
            self._tail_chooser = None
            removed += sum(each.bury(face_ids) for each in self._held)
            self._ask()
        return removed

    def search(self, probes: NDArray[np.float32], count: int) -> list[Ranking]:
        parts = [each.part() for each in self._held]
        if len(self._tail):
            parts.append(self._tail_part())
        ready = Probes(probes)
        has_choosers = all(scan.chooser is not None for part in parts for scan in part.scans)
        if not has_choosers or len(probes) >= _SHARED_FROM_PROBES or count > _MOST_CHOSEN:
            return shared(parts, ready, count)
        return chosen(parts, ready, count, max(_SPARE, int(_SPARE_SHARE * self._dimension)))

    def living(self) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float16]]]:
        """Face ids and templates of all rows, in portions; nothing may change meanwhile."""
        for each in self._held:
            yield from _living(each, np.flatnonzero(each.alive))
        yield self._tail.face_ids, self._tail.templates

    def snapshot(self) -> tuple[list[tuple[Segment, NDArray[np.bool_]]], NDArray[np.uint8], NDArray[np.float16]]:
        """The segments, each with which of its rows there still are, and ids and templates of all other rows, copied;
        nothing may change meanwhile."""
        with self._lock:
            held, tail = self._held, self._tail
        segments = [(each.segment, each.alive.copy()) for each in held if each.segment is not None]
        loose = [each for each in held if each.segment is None]
        face_ids = np.concatenate([*(each.rows.face_ids[each.alive] for each in loose), tail.face_ids])
        templates = [each.rows.templates(np.flatnonzero(each.alive)) for each in loose]
        return segments, face_ids, np.concatenate([*templates, tail.templates])

    def read_from(self, segment: Segment, rows: SegmentRows) -> None:
        """Have a segment's rows read from elsewhere from now on; nothing when it is no longer here."""
        with self._lock:
            for each in self._held:
                if each.segment is segment:
                    each.move(rows)

    def tidy(self, *, purge: bool = False) -> bool:
        """Do one thing that the background would do; whether there was one.

        Args:
            purge: make every segment anew that has rows which are gone, however few.
        """
        with self._tidying:
            with self._lock:
                sources = self._untidy(DEAD_SHARE if not purge else 0.0)
                positions = [np.flatnonzero(each.alive) for each in sources]
            if not sources:
                return False
            made = self._made(sources, positions)
            with self._lock:
                left = tuple(each for each in self._held if each not in sources)
                if made is not None:
                    # Rows that went while it was made are marked where they are now.
                    alive = np.concatenate([each.alive[at] for each, at in zip(sources, positions, strict=True)])
                    left = (*left, _Held.of_segment(made, alive))
                self._held = left
        return True

    def _made(self, sources: list[_Held], positions: list[NDArray[np.intp]]) -> Segment | None:
        if not sum(map(len, positions)):
            return None
        prepare()  # here nobody waits for it
        pairs = list(zip(sources, positions, strict=True))
        face_ids = np.concatenate([each.rows.face_ids[at] for each, at in pairs])
        templates = (rows for each, at in pairs for _, rows in _living(each, at))
        return self._make_segment(face_ids, templates, self._dimension)

    def _untidy(self, dead_share: float) -> list[_Held]:
        """What should become one segment next. Under the lock."""
        for each in self._held:
            if each.segment is None or each.dead > dead_share * len(each.alive):
                return [each]
        small = [each for each in self._held if each.living < BLOCK_ROWS // 2]
        is_worth_it = len(small) >= SMALL_SEGMENTS or sum(each.living for each in small) >= BLOCK_ROWS
        return small if len(small) > 1 and is_worth_it else []

    def _append(self, face_ids: NDArray[np.uint8], templates: NDArray[np.float16]) -> None:
        self._tail.append(face_ids, templates)
        self._tail_chooser = None
        is_arriving = len(self) < self._expected
        if len(self._tail) >= (max(BLOCK_ROWS, self._tail_rows) if is_arriving else self._tail_rows):
            full, self._tail = self._tail, TemplateRows(self._dimension)
            self._freeze(full)

    def _freeze(self, rows: TemplateRows) -> None:
        if len(rows):
            self._held = (*self._held, _Held.of_tail(rows))
            self._ask()

    def _tail_part(self) -> Part:
        tail = self._tail
        chooser = self._tail_chooser
        if chooser is None:
            chooser = self._tail_chooser = chooser_of(tail.templates, None)
        rows = MemoryRows(tail.face_ids, tail.templates)
        return Part(rows, [Scan(0, tail.templates, None, chooser)], None, len(tail))

    def _ask(self) -> None:
        if self._untidy(DEAD_SHARE):
            _BACKGROUND.ask(self)


def _living(held: _Held, positions: NDArray[np.intp]) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float16]]]:
    for start in range(0, len(positions), _AT_ONCE):
        at = positions[start : start + _AT_ONCE]
        yield held.rows.face_ids[at], held.rows.templates(at)


class _Background:
    """One thread that tidies indexes, one after the other; started when there is something to tidy."""

    def __init__(self) -> None:
        self._asked: queue.SimpleQueue[QuantisedIndex] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def ask(self, index: QuantisedIndex) -> None:
        self._asked.put(index)
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="gallery-tidy", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            index = self._asked.get()
            try:
                while index.tidy():
                    pass
            except Exception:  # noqa: BLE001 - what it was to be made from is still searched
                _LOG.exception("a segment of an index could not be made; its rows stay searchable as they are")
            del index  # a dropped index must not stay in memory until the next one comes


_BACKGROUND: Final = _Background()
