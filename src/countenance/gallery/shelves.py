"""The gallery's indexes: how they are loaded, how they follow the store, when they are dropped, and which of them are
kept on disk.

Files hold nothing that the store does not (`index_files`). They are made by a thread of their own, for collections
that are quantised and large enough, and whatever goes wrong with them costs time at the next start and no answer.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from countenance.gallery import changes, loading
from countenance.gallery import collections as collection_rows
from countenance.gallery.enrolment import placeholders
from countenance.gallery.faults import CollectionNotFound, GalleryError
from countenance.gallery.index import IndexFactory, QuantisedIndex, TieredIndex
from countenance.gallery.index_files import IndexFiles, Part
from countenance.gallery.keeper import Keeper
from countenance.gallery.sealed_rows import SealedRows
from countenance.gallery.sealing import CollectionSeal, from_template
from countenance.gallery.share import WHOLE, Share
from countenance.gallery.shelf import Change, Loaded, Shelf
from countenance.gallery.values import Collection
from countenance.store import AfterCommitError, Database, DatabaseError, Keyring, KeyringError

FILES_FROM: Final = 200_000
"""References from which on an index is kept on disk: reading as many rows from the database takes seconds."""
_AT_ONCE: Final = 500  # collections in one statement
KEPT_FOR_S: Final = 12 * 3600
"""Files are brought up to date at least so often while their collection changes, well before the list of changes no
longer reaches back to them (changes.KEEP_ERASED_S)."""

_LOG = logging.getLogger(__name__)


class Shelves:
    """One shelf for collections' references and one for what their users are compared by. Safe from any thread.

    Args:
        folder: where indexes are kept; made when the first one is.
        files_from: references from which on; 0: none is.
        share: which references of each collection this node indexes.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        *,
        factory: IndexFactory,
        keep_small: int,
        folder: Path,
        files_from: int = FILES_FROM,
        share: Share = WHOLE,
    ) -> None:
        self.share = share
        self._database = database
        self._keyring = keyring
        self._factory = factory
        self._files_from = files_from
        self.files = IndexFiles(folder, share)
        self.references = Shelf(self._load, self._catch_up, keep_small=keep_small)
        self.users = Shelf(self._load_users, self._catch_up_users, keep_small=keep_small)
        self._kept: dict[int, tuple[int, float]] = {}
        """uid -> revision that its files are of, and when that was found out."""
        self._cleared: dict[int, int] = {}
        """uid -> revision up to which erased faces were overwritten in its files, whoever erased them."""
        self._keeping = threading.Lock()
        self._keeper = Keeper(self._keep_all)

    def apply(self, change: Change | None, of_users: Change | None) -> None:
        """Bring what is loaded up to a commit. In the writer thread of the store, commit by commit."""
        if change is not None:
            self.references.apply(self.share.of_change(change))
            self._see_growth(change.uid, 0)
        if of_users is not None:
            self.users.apply(of_users)

    def _see_growth(self, uid: int, coming: int) -> None:
        """A collection that was small when it was loaded is kept on disk from when it is large."""
        if self._files_from and self.references.rows_of(uid) + coming >= self._files_from:
            self._keeper.start()

    def forget(self, uid: int) -> None:
        """Drop a collection's indexes from memory."""
        self.references.forget(uid)
        self.users.forget(uid)

    def erase_from_files(self, uid: int, face_ids: Sequence[bytes]) -> None:
        """Overwrite references in the files, durably, after their erasure was committed.

        Raises:
            AfterCommitError: they are in there still.
        """
        if not face_ids or not self.files.has(uid):
            return
        try:
            with self._database.reading(snapshot=True) as connection:
                found = collection_rows.find_by_uid(connection, uid)
                seal = collection_rows.seal_of(connection, self._keyring, found)
            self.files.erase(found, seal, face_ids, self._rows_in_files(uid))
        except CollectionNotFound:
            self.drop_files(uid)
        except OSError as failure:
            _LOG.error("erased faces could not be overwritten in the files of an index: %s", failure)
            raise AfterCommitError(
                "The faces are erased, but a file that has them, sealed, could not be overwritten.",
                hint=f"Remove the folder index/{uid} of the data folder; it is made anew.",
            ) from failure

    def _rows_in_files(self, uid: int) -> list[SealedRows]:
        with self.references.holding(uid) as loaded:
            index = None if loaded is None else _quantised(loaded.index)
            return [] if index is None else [s.rows for s, _ in index.segments if isinstance(s.rows, SealedRows)]

    def drop_files(self, uid: int) -> None:
        """Give up a collection's files.

        Raises:
            AfterCommitError: they are there still.
        """
        self._kept.pop(uid, None)
        self._cleared.pop(uid, None)
        try:
            self.files.drop(uid)
        except OSError as failure:
            _LOG.error("files of an index could not be removed: %s", failure)
            raise AfterCommitError(
                "The change was stored, but the files of an index could not be removed.",
                hint=f"Remove the folder index/{uid} of the data folder.",
            ) from failure

    def clear_files(self) -> None:
        """At the start: give up files of collections that are gone or have become small."""
        uids = self.files.uids()
        if not uids or not self.files.may_keep():
            return
        with self._database.reading() as connection:
            rows = connection.execute("SELECT uid, face_count FROM collections").fetchall()
        large = {uid for uid, count in rows if self._files_from and count >= self._files_from}
        for uid in uids:
            if uid not in large:
                with suppress(AfterCommitError):  # told in the server's log: a start does not fail for it
                    self.drop_files(uid)

    def follow(self, uids: frozenset[int] | None) -> None:
        """Take in what other processes did, where something of the collection is in memory or in files.

        Args:
            uids: of which collections something was heard; None: look at all.

        Raises:
            DatabaseError: the database cannot be read.
        """
        here = {*self.references.uids(), *self.users.uids(), *self.files.uids()}
        wanted = sorted(here if uids is None else here & uids)
        stored = self._stored_revisions(wanted)
        for uid in wanted:
            try:
                self._follow_indexes(uid, stored.get(uid))
            except (GalleryError, KeyringError, AfterCommitError, OSError) as failure:
                _LOG.warning("collection %d could not be followed: %s", uid, failure)

    def _follow_indexes(self, uid: int, revisions: tuple[int, int] | None) -> None:
        if revisions is None:  # it was deleted
            self.forget(uid)
            self.drop_files(uid)
            return
        self.references.follow(uid, revisions[0])
        self.users.follow(uid, revisions[1])
        if self.files.has(uid) and self.files.may_keep():  # else another process of this machine sees to them
            self._follow(uid)

    def behind(self) -> int:
        """How many revisions loaded indexes are behind what is stored, altogether."""
        total = 0
        for at, shelf in enumerate((self.references, self.users)):
            loaded = shelf.revisions()
            stored = self._stored_revisions(sorted(loaded))
            total += sum(max(0, stored[uid][at] - revision) for uid, revision in loaded.items() if uid in stored)
        return total

    def _stored_revisions(self, uids: Sequence[int]) -> dict[int, tuple[int, int]]:
        """Of references and of users, of those of the collections that there are."""
        found: dict[int, tuple[int, int]] = {}
        with self._database.reading() as connection:
            for start in range(0, len(uids), _AT_ONCE):
                portion = uids[start : start + _AT_ONCE]
                rows = connection.execute(
                    "SELECT uid, revision, user_revision FROM collections"  # noqa: S608 -- only placeholders
                    f" WHERE uid IN ({placeholders(len(portion))})",
                    tuple(portion),
                ).fetchall()
                found.update((row[0], (row[1], row[2])) for row in rows)
        return found

    def compare(self) -> None:
        """Drop what is not at the store's revision, after a commit that may or may not have taken effect."""
        self.references.compare(lambda uid: self._revision_of(uid, "revision"))
        self.users.compare(lambda uid: self._revision_of(uid, "user_revision"))

    def totals(self) -> tuple[int, int, int]:
        """Loaded collections, their rows and their bytes."""
        collections, rows, size = (sum(two) for two in zip(self.references.totals(), self.users.totals(), strict=True))
        return collections, rows, size

    def close(self) -> None:
        """End the thread that makes files."""
        self.files.stop()
        self._keeper.stop()
        self.files.close()

    def keep(self, uid: int, *, is_due: bool = False) -> bool:
        """Bring the files of a loaded collection up to date if that is due; returns whether files were written.

        Args:
            is_due: whether or not it is.

        Raises:
            OSError: the disk is full or fails; the search goes on without.
        """
        with self._keeping:
            return self._keep(uid, is_due=is_due)

    def _keep(self, uid: int, *, is_due: bool) -> bool:
        with self.references.holding(uid) as loaded:
            index = None if loaded is None else _quantised(loaded.index)
            if loaded is None or index is None or not self._files_from or len(index) < self._files_from:
                return False
        if not self.files.may_keep():
            return False
        while index.tidy():  # or what is being put in order would be written in pieces
            pass
        with self.references.holding(uid) as loaded:
            if loaded is None or _quantised(loaded.index) is not index:
                return False
            revision = loaded.revision
            is_due = is_due or self._is_due(uid, index, revision)
            if not is_due:
                return False
            segments, face_ids, templates = index.snapshot()
        with self._database.reading(snapshot=True) as connection:
            found = collection_rows.find_by_uid(connection, uid)
            seal = collection_rows.seal_of(connection, self._keyring, found)
            mark = changes.mark_of(connection, uid, revision)
        if mark is None:
            return False  # another revision will be there by the next time

        def gone_since() -> Sequence[bytes]:
            change = self._since(uid, revision, changes.Of.REFERENCES)
            if change is None:
                raise TooOldError("The index files took so long that the list of changes does not reach back.")
            return _gone(change)

        kept, moved = self.files.keep(
            found,
            seal,
            [Part(segment, alive) for segment, alive in segments],
            (face_ids, templates),
            revision=revision,
            mark=mark,
            stored=self._stored_of(uid),
            gone_since=gone_since,
        )
        for segment, rows in moved:
            index.read_from(segment, rows)
        self._kept[uid] = kept.revision, time.monotonic()
        _LOG.info("the index of collection %d is in %d files, %d MB", uid, kept.files, kept.size >> 20)
        return True

    def _is_due(self, uid: int, index: QuantisedIndex, revision: int) -> bool:
        if uid not in self._kept or not self.files.has(uid):
            return True
        if any(not isinstance(each.rows, SealedRows) for each, _ in index.segments):
            return True
        kept, at = self._kept[uid]
        behind = revision - kept
        return behind > changes.kept_revisions(len(index)) // 2 or (behind > 0 and time.monotonic() - at > KEPT_FOR_S)

    def _keep_all(self) -> bool:
        """Whether an index is on its way into memory, so that it should be looked at again soon."""
        is_loading = False
        for uid in self.files.uids() if self.files.may_keep() else ():
            try:
                self._follow(uid)
            except (OSError, DatabaseError, GalleryError) as failure:
                _LOG.warning("faces erased elsewhere are still in index files of collection %d: %s", uid, failure)
                is_loading = True
        for uid in self.references.uids():
            with self.references.holding(uid) as loaded:
                is_loading = is_loading or loaded is None
            try:
                self.keep(uid)
            except (OSError, DatabaseError, GalleryError) as failure:
                _LOG.warning("the index of collection %d is not kept on disk: %s", uid, failure)
        return is_loading

    def _follow(self, uid: int) -> None:
        """Overwrite what other nodes erased, which have files of their own."""
        with self._database.reading(snapshot=True) as connection:
            try:
                found = collection_rows.find_by_uid(connection, uid)
            except CollectionNotFound:
                found = None
            if found is not None:
                if self._cleared.get(uid) == found.revision:
                    return
                seal = collection_rows.seal_of(connection, self._keyring, found)
                kept = None if uid in self._cleared else self.files.kept(found, seal)
                since = self._cleared.get(uid, found.revision if kept is None else kept.revision)
                change = changes.since(connection, found, seal, since)
        if found is None or change is None:
            self.drop_files(uid)
            return
        self.files.erase(found, seal, _gone(change), self._rows_in_files(uid))
        self._cleared[uid] = found.revision

    def _revision_of(self, uid: int, column: str) -> int | None:
        with self._database.reading() as connection:
            row = connection.execute(f"SELECT {column} FROM collections WHERE uid = ?", (uid,)).fetchone()  # noqa: S608
        return None if row is None else int(row[0])

    def _load(self, uid: int) -> Loaded:
        with self._database.reading(snapshot=True) as connection:
            found = collection_rows.find_by_uid(connection, uid)
            seal = collection_rows.seal_of(connection, self._keyring, found)
            is_large = bool(self._files_from) and found.face_count >= self._files_from
            if is_large and self.files.has(uid):
                kept = self.files.open(found, seal, self._stored_of(uid))
                mark = None if kept is None else changes.mark_of(connection, uid, kept.revision)
                change = None
                if kept is not None and mark == kept.mark:
                    change = changes.since(connection, found, seal, kept.revision)
                index = None
                if kept is not None and change is not None:
                    expected = self.share.count(connection, uid, found.face_count)
                    index = self._index_of(found, kept.parts, self.share.of_change(change), expected)
                if kept is not None and change is not None and index is not None:
                    try:
                        self.files.erase(found, seal, _gone(change))  # of erasures that a crash interrupted
                    except OSError as failure:
                        _LOG.error("erased faces could not be overwritten in the files of an index: %s", failure)
                    self._kept[uid] = kept.revision, time.monotonic()
                    self._cleared[uid] = found.revision
                    self._keeper.wake()
                    return Loaded(index, found.revision)
                if kept is not None:
                    _LOG.warning("index files of collection %d are of another past or too old: made anew", uid)
                    with suppress(AfterCommitError):  # told in the server's log
                        self.drop_files(uid)
            loaded = loading.references_index(connection, found, seal, self._factory, self.share)
        if is_large:
            self._keeper.wake()
        return loaded

    def _index_of(
        self, collection: Collection, parts: Sequence[Part], change: Change, expected: int
    ) -> TieredIndex | None:
        """An index of the parts, caught up; None when it would be none of files, or not of as many as expected."""
        index = self._factory(collection.dimension)
        index.reserve(expected)
        quantised = _quantised(index)
        if not isinstance(index, TieredIndex) or quantised is None:
            return None
        for part in parts:
            quantised.adopt(part.segment, part.alive)
        if len(change.removed):
            index.remove(change.removed)
        if len(change.added):
            index.add(change.added, change.added_templates)
        return index if len(index) == expected else None

    def _load_users(self, uid: int) -> Loaded:
        with self._database.reading(snapshot=True) as connection:
            found = collection_rows.find_by_uid(connection, uid)
            seal = collection_rows.seal_of(connection, self._keyring, found)
            return loading.users_index(connection, found, seal, self._factory)

    def _catch_up(self, uid: int, revision: int) -> Change | None:
        change = self._since(uid, revision, changes.Of.REFERENCES)
        if change is not None:
            self._see_growth(uid, len(change.added))
            with suppress(AfterCommitError):  # told in the server's log: a search does not fail for it
                self.erase_from_files(uid, _gone(change))  # of another process: this one's are done with its answer
                if self._cleared.get(uid, -1) >= revision:
                    self._cleared[uid] = change.revision
        return None if change is None else self.share.of_change(change)

    def _catch_up_users(self, uid: int, revision: int) -> Change | None:
        return self._since(uid, revision, changes.Of.USERS)

    def _since(self, uid: int, revision: int, of: changes.Of) -> Change | None:
        with self._database.reading(snapshot=True) as connection:
            found = collection_rows.find_by_uid(connection, uid)
            seal = collection_rows.seal_of(connection, self._keyring, found)
            return changes.since(connection, found, seal, revision, of)

    def _stored_of(self, uid: int) -> _Stored:
        return _Stored(self._database, self._keyring, uid)


class TooOldError(GalleryError):
    """A file was overtaken by changes while it was written."""


class _Stored:
    """Looks rows up in the database, by face id."""

    def __init__(self, database: Database, keyring: Keyring, uid: int) -> None:
        self._database, self._keyring, self._uid = database, keyring, uid

    def __call__(self, face_ids: Sequence[bytes]) -> Mapping[bytes, NDArray[np.float16]]:
        with self._database.reading() as connection:
            try:
                found = collection_rows.find_by_uid(connection, self._uid)
                seal: CollectionSeal = collection_rows.seal_of(connection, self._keyring, found)
            except CollectionNotFound:
                return {}
            rows = changes.templates(connection, self._uid, face_ids)
        return {face_id: from_template(seal.open(face_id, sealed)) for face_id, sealed in rows}


def _quantised(index: object) -> QuantisedIndex | None:
    if isinstance(index, TieredIndex) and isinstance(index.index, QuantisedIndex):
        return index.index
    return None


def _gone(change: Change) -> list[bytes]:
    """What a catching up removes and does not add: what was erased."""
    there = {bytes(each) for each in change.added}
    return [each for each in map(bytes, change.removed) if each not in there]
