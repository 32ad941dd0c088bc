"""Which collections' indexes are in memory, and who may touch them when.

Searches of one collection run side by side; a change waits for them and holds new ones back (readers and one
writer, the writer first, so that a stream of searches cannot starve it). The changes of this process arrive in
the writer thread of the store, in the order of their commits, each with the collection's revision. An index is
loaded from one snapshot of the store, whose revision says which of those changes it already contains; changes
that arrive while it loads are kept and applied before it is lent, so a load holds no commit back and no change is
applied twice or missed.

Other processes may write to the store as well. A search says which revision it saw there; an index that is behind
it is caught up from the store's list of changes before it is lent, or loaded anew where the list does not reach
back. So whatever was acknowledged before a search began, by whomever, is found by it. Whenever something does not
fit, the index is dropped, and the next search loads it again: the store is right, the index is a copy.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from countenance.gallery.gathering import Gathering
from countenance.gallery.index import Index

_LOG = logging.getLogger(__name__)

SMALL_COLLECTION = 2_000  # references: loads in about ten milliseconds, so it may leave memory when idle
_FOLLOWS = 4  # tries, of which each loses to a commit of this process at the most
KEEP_SMALL = 2_048  # small collections kept in memory, the least recently searched leave first


@dataclass(frozen=True, slots=True)
class Change:
    """What one committed transaction did to the references of one collection."""

    uid: int
    revision: int
    """The collection's revision after it."""
    added: NDArray[np.uint8]
    """(n, 16) face ids that were not there before."""
    added_templates: NDArray[np.float16]
    replaced: NDArray[np.uint8]
    replaced_templates: NDArray[np.float16]
    removed: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Loaded:
    """An index made from one snapshot of the store."""

    index: Index
    revision: int


class _Gate:
    """A readers-writer lock that lets a waiting writer in before later readers. Not reentrant."""

    def __init__(self) -> None:
        self._changed = threading.Condition(threading.Lock())
        self._readers = 0
        self._waiting_writers = 0
        self._is_written = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        with self._changed:
            while self._is_written or self._waiting_writers:
                self._changed.wait()
            self._readers += 1
        try:
            yield
        finally:
            with self._changed:
                self._readers -= 1
                if self._readers == 0:
                    self._changed.notify_all()

    @contextmanager
    def writing(self) -> Iterator[None]:
        with self._changed:
            self._waiting_writers += 1
            while self._is_written or self._readers:
                self._changed.wait()
            self._waiting_writers -= 1
            self._is_written = True
        try:
            yield
        finally:
            with self._changed:
                self._is_written = False
                self._changed.notify_all()


CatchUp = Callable[[int, int], "Change | None"]
"""(uid, revision) -> what brings an index from that revision to the store's present; None: load it anew."""


def _cannot(_uid: int, _revision: int) -> Change | None:
    return None


class _Place:
    """One collection's place on the shelf."""

    __slots__ = ("gate", "loaded", "loading", "meanwhile")

    def __init__(self) -> None:
        self.gate = _Gate()
        self.loaded: Loaded | None = None
        self.loading = threading.Lock()
        """One load or catching up at a time; never awaited by the writer thread."""
        self.meanwhile: list[Change] | None = None
        """What was committed since the running load began; None when none runs, or when what it reads is in doubt."""

    def take(self, change: Change) -> None:
        """Apply a commit that is the next one. One beyond it means that another process wrote between: the index stays
        behind until the next search catches it up. Under the gate, as a writer."""
        if self.loaded is not None and change.revision == self.loaded.revision + 1:
            self.loaded = _changed(self.loaded, change)


class Shelf:
    """The loaded indexes.

    Args:
        load: makes the index of a collection, by uid, from one snapshot of the store; raises when there is
            no such collection any more.
        catch_up: reads what an index lacks, from one snapshot of the store; raises as `load` does.
        keep_small: how many small collections stay in memory.
    """

    def __init__(
        self, load: Callable[[int], Loaded], catch_up: CatchUp = _cannot, *, keep_small: int = KEEP_SMALL
    ) -> None:
        self.gathering = Gathering()
        self._load = load
        self._catch_up = catch_up
        self._keep_small = max(1, keep_small)  # with none, a loaded index would leave before it is searched
        self._lock = threading.Lock()  # guards the two dictionaries; never held while waiting for a gate
        self._places: dict[int, _Place] = {}
        self._small: OrderedDict[int, None] = OrderedDict()

    @contextmanager
    def lent(self, uid: int, revision: int = 0) -> Iterator[Index]:
        """The collection's index, loaded if need be, unchanged as long as the context lasts.

        Args:
            revision: that the caller saw in the store; the index has at least everything up to it.
        """
        while True:
            place = self._place(uid)
            with place.gate.reading():
                loaded = place.loaded
                if loaded is not None and loaded.revision >= revision:
                    self._touch(uid, loaded.index)
                    yield loaded.index
                    return
            try:
                if loaded is None:
                    self._fill(place, uid)
                else:
                    self._refresh(place, uid, revision)
            except BaseException:
                self.forget(uid)  # a deleted collection must not leave its place behind
                raise
            self._evict()

    @contextmanager
    def holding(self, uid: int) -> Iterator[Loaded | None]:
        """What is in memory of a collection, unchanged as long as the context lasts; nothing is loaded for it."""
        with self._lock:
            place = self._places.get(uid)
        if place is None:
            yield None
            return
        with place.gate.reading():
            yield place.loaded

    def uids(self) -> list[int]:
        """The collections that are in memory, or on their way there."""
        with self._lock:
            return sorted(self._places)

    def _fill(self, place: _Place, uid: int) -> None:
        with place.loading:
            with place.gate.writing():
                if place.loaded is not None:
                    return
                place.meanwhile = []
            try:
                loaded = self._load(uid)
            except BaseException:
                with place.gate.writing():
                    place.meanwhile = None
                raise
            with place.gate.writing():
                missed, place.meanwhile = place.meanwhile, None
                if missed is None:
                    return  # a commit was in doubt while the store was read: the caller loads again
                place.loaded = loaded
                for change in missed:
                    place.take(change)
                if place.loaded is not None:
                    self._touch(uid, place.loaded.index)

    def _refresh(self, place: _Place, uid: int, revision: int) -> None:
        """Catch a loaded index up; where that cannot be done it is dropped, and the caller loads it."""
        with place.loading:
            with place.gate.reading():
                behind = place.loaded
            if behind is None or behind.revision >= revision:
                return
            change = self._catch_up(uid, behind.revision)
            with place.gate.writing():
                if place.loaded is behind:  # otherwise a commit was applied, or it was dropped: the caller looks again
                    place.loaded = None if change is None else _changed(behind, change)

    def apply(self, change: Change) -> None:
        """Bring a loaded index up to a commit. Called in the writer thread of the store, commit by commit."""
        with self._lock:
            place = self._places.get(change.uid)
        if place is None:
            return
        with place.gate.writing():
            if place.meanwhile is not None:
                place.meanwhile.append(change)
            else:
                place.take(change)

    def follow(self, uid: int, revision: int) -> None:
        """Bring what is in memory of a collection up to a revision, loading it again where it cannot be caught up;
        nothing where nothing is in memory. Raises as `lent` does, and leaves the index for the next search to try."""
        with self._lock:
            place = self._places.get(uid)
        for _ in range(_FOLLOWS):
            if place is None:
                return
            with place.gate.reading():
                loaded = place.loaded
            if loaded is None or loaded.revision >= revision:
                return
            self._refresh(place, uid, revision)
            if place.loaded is None:
                with self.lent(uid, revision):
                    return

    def revisions(self) -> dict[int, int]:
        """The revision of each loaded index; a moment's picture."""
        with self._lock:
            loaded = {uid: place.loaded for uid, place in self._places.items()}
        return {uid: each.revision for uid, each in loaded.items() if each is not None}

    def forget(self, uid: int) -> None:
        """Drop a collection's index once the searches that use it have ended."""
        with self._lock:
            place = self._places.pop(uid, None)
            self._small.pop(uid, None)
        if place is not None:
            with place.gate.writing():
                place.loaded = None

    def compare(self, revision_of: Callable[[int], int | None]) -> None:
        """Drop every index that is not at the revision that the store has now. Called in the writer thread."""
        with self._lock:
            places = dict(self._places)
        for uid, place in places.items():
            with place.gate.writing():
                place.meanwhile = None  # a running load may have read a state that this commit ended
                loaded = place.loaded
            if loaded is not None and revision_of(uid) != loaded.revision:
                self.forget(uid)

    def totals(self) -> tuple[int, int, int]:
        """Loaded collections, their rows and their bytes; a moment's picture."""
        with self._lock:
            loaded = [place.loaded for place in self._places.values()]
        indexes = [each.index for each in loaded if each is not None]
        return len(indexes), sum(len(index) for index in indexes), sum(index.nbytes for index in indexes)

    def rows_of(self, uid: int) -> int:
        """Rows of a collection in memory; a moment's picture."""
        with self._lock:
            place = self._places.get(uid)
            loaded = None if place is None else place.loaded
        return 0 if loaded is None else len(loaded.index)

    def _place(self, uid: int) -> _Place:
        with self._lock:
            place = self._places.get(uid)
            if place is None:
                place = self._places[uid] = _Place()
            return place

    def _touch(self, uid: int, index: Index) -> None:
        with self._lock:
            if uid not in self._places:
                return
            if len(index) <= SMALL_COLLECTION:
                self._small[uid] = None
                self._small.move_to_end(uid)
            else:
                self._small.pop(uid, None)

    def _evict(self) -> None:
        while True:
            with self._lock:
                if len(self._small) <= self._keep_small:
                    return
                uid = next(iter(self._small))
            self.forget(uid)


def _changed(loaded: Loaded, change: Change) -> Loaded | None:
    """The index with one more change in it; None when it cannot take it, so that it is loaded again."""
    try:
        if len(change.removed):
            loaded.index.remove(change.removed)
        if len(change.replaced):
            loaded.index.replace(change.replaced, change.replaced_templates)
        if len(change.added):
            loaded.index.add(change.added, change.added_templates)
    except Exception:  # noqa: BLE001 - the change is stored; only the copy of it failed
        _LOG.exception("an index could not take a stored change; it is loaded again at its next use")
        return None
    return Loaded(loaded.index, change.revision)
