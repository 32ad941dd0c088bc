"""Indexes kept on disk, so that a large collection need not be read row by row after every start.

    DIR/index/UID/manifest        sealed: the revision that the files are of, and which they are
    DIR/index/UID/ID.segment      see `segment_file`
    DIR/index/keeper              locked by the one process that makes files

The files are copies. Whatever is wrong with them they are given up and made anew from the database. A manifest names
the revision of the collection that its files are of; whoever opens them catches up from there with the database's list
of changes. The revision's mark is in it as well, so that files of another past, before a backup was put back, do not
pass for this one's.

Any process may read files and erase rows in them; one at a time, under a lock on the collection's folder. Erasing is
done after the erasure was committed and before anybody is told of it. New files are drafts until they are published
under that same lock, after the rows that were erased while they were written are erased in them, too.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from countenance.gallery import index_manifest, records, segment_file, segment_format
from countenance.gallery.index_manifest import MANIFEST, Manifest
from countenance.gallery.rows import positions_of
from countenance.gallery.sealed_rows import SealedRows, Stored
from countenance.gallery.sealing import CollectionSeal
from countenance.gallery.segment_file import SegmentFile
from countenance.gallery.segment_format import Header, SegmentFileUnusable
from countenance.gallery.segments import Segment
from countenance.gallery.share import WHOLE, Share
from countenance.gallery.values import Collection
from countenance.store import sync_folder

FOLDER: Final = "index"
KEEPER: Final = "keeper"

_ROWS_AT_ONCE: Final = 8_192

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """One segment and which of its rows there still are."""

    segment: Segment
    alive: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Opened:
    """What the files of a collection have."""

    parts: list[Part]
    revision: int
    mark: bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """What of a collection is on disk."""

    revision: int
    files: int
    rows: int
    size: int
    """Bytes."""


class IndexFiles:
    """The files of all collections under a folder. Safe from any thread and beside other processes.

    Args:
        share: which references they are of; those of others are made anew.
    """

    def __init__(self, folder: Path, share: Share = WHOLE) -> None:
        """Nothing is made until something is kept."""
        self._folder = folder
        self._share = str(share)
        self._keeper: int | None = None
        self._asking = threading.Lock()
        """Two threads that ask at once would each open the file, and one find it locked by the other."""
        self._is_stopping = False

    def may_keep(self) -> bool:
        """Whether this process is the one that makes files; the first that asks is, until it ends."""
        with self._asking:
            if self._keeper is None:
                self._keeper = self._locked_keeper()
            return self._keeper is not None

    def _locked_keeper(self) -> int | None:
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            handle = os.open(self._folder / KEEPER, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as failure:
            _LOG.warning("indexes cannot be kept on disk: %s", failure.strerror)
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            return None
        return handle

    def stop(self) -> None:
        """End a writing that runs, and begin none."""
        self._is_stopping = True

    def close(self) -> None:
        """Let another process make files."""
        if self._keeper is not None:
            os.close(self._keeper)
            self._keeper = None

    def open(self, collection: Collection, seal: CollectionSeal, stored: Stored) -> Opened | None:
        """What the files of a collection have; None where there are none, or none of use: those are removed where that
        can be done."""
        try:
            with self._locked(collection.uid, fcntl.LOCK_SH) as folder:
                if folder is None or (manifest := index_manifest.read(folder, collection.uid, seal)) is None:
                    return None
                if (manifest.model_version, manifest.dimension) != (collection.model_version, collection.dimension):
                    raise SegmentFileUnusable("The index files are of another model.")
                if manifest.share != self._share:
                    raise SegmentFileUnusable("The index files are of another part of the collection.")
                parts = [_open_part(folder / name, collection, seal, stored) for name in manifest.names]
                return Opened(parts, manifest.revision, manifest.mark)
        except (SegmentFileUnusable, OSError) as unusable:
            _LOG.warning("index files of collection %d are given up and made anew: %s", collection.uid, unusable)
            try:
                self.drop(collection.uid)
            except OSError as failure:  # a search does without them; erasures try again, and tell
                _LOG.error("index files of collection %d could not be removed: %s", collection.uid, failure)
            return None

    def keep(
        self,
        collection: Collection,
        seal: CollectionSeal,
        parts: Sequence[Part],
        tail: tuple[NDArray[np.uint8], NDArray[np.float16]],
        *,
        revision: int,
        mark: bytes,
        stored: Stored,
        gone_since: Callable[[], Sequence[bytes]],
    ) -> tuple[Kept, list[tuple[Segment, SealedRows]]]:
        """Bring the files to what an index has at a revision. Segments that are in files already keep them.

        Returns:
            what is on disk, and for each segment that was not, where its rows can be read from now on.

        Args:
            tail: rows that are in no segment yet: ids and templates.
            gone_since: asked under the lock: which references were erased after the revision.

        Raises:
            OSError: the disk is full or fails; what was there is there.
        """
        uid, folder = collection.uid, self._folder / str(collection.uid)
        self._folder.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        known = {each.name for each in folder.iterdir() if each.suffix == segment_format.SUFFIX}
        files: list[SegmentFile] = []
        drafts: list[tuple[SegmentFile, Segment | None]] = []
        try:
            for part in parts:
                rows = part.segment.rows
                if isinstance(rows, SealedRows) and rows.file.name in known:
                    files.append(rows.file)
                elif len(part.segment):
                    drafts.append((self._draft(folder, collection, seal, part, revision), part.segment))
            if len(tail[0]):
                built = Segment.build(tail[0], [tail[1]], collection.dimension)
                part = Part(built, np.ones(len(built), np.bool_))
                drafts.append((self._draft(folder, collection, seal, part, revision), None))
            with self._locked(uid, fcntl.LOCK_EX) as held:
                if held is None or not all(file.path.exists() for file, _ in drafts):
                    raise FileNotFoundError("the files were given up while they were written")
                gone = records.id_rows(gone_since())
                for file, _ in drafts:
                    file.erase(positions_of(file.face_ids(), gone).tolist())
                for part in parts:
                    rows = part.segment.rows
                    if isinstance(rows, SealedRows) and rows.file in files:
                        _erase_dead(segment_file.open_file(rows.file.path, seal), part.alive)
                for file, _ in drafts:
                    file.publish()
                names = tuple(each.name for each in (*files, *(file for file, _ in drafts)))
                manifest = Manifest(collection.model_version, collection.dimension, revision, mark, names, self._share)
                index_manifest.write(folder, uid, seal, manifest)
        except BaseException:
            for file, _ in drafts:
                file.discard()
            raise
        self._tidy(uid, names)
        everything = [*files, *(file for file, _ in drafts)]
        moved = [(segment, SealedRows(file, segment.rows.face_ids, stored)) for file, segment in drafts if segment]
        return _kept_of(revision, everything), moved

    def _draft(
        self, folder: Path, collection: Collection, seal: CollectionSeal, part: Part, revision: int
    ) -> SegmentFile:
        segment = part.segment
        codes = segment.codes()
        header = Header(
            collection.uid, collection.model_version, collection.dimension, revision, len(segment), codes.nbytes
        )
        face_ids = segment.rows.face_ids
        if not part.alive.all():
            face_ids = np.where(part.alive[:, None], face_ids, np.uint8(0))

        def templates() -> Iterator[NDArray[np.float16]]:
            for start in range(0, len(segment), _ROWS_AT_ONCE):
                if self._is_stopping:
                    raise InterruptedError("the server stops")
                yield segment.rows.templates(np.arange(start, min(start + _ROWS_AT_ONCE, len(segment))))

        return segment_file.draft(folder, seal, header, face_ids, codes, templates())

    def _tidy(self, uid: int, names: Sequence[str]) -> None:
        """Give up what newer files took the place of. What cannot be is tried again at the next erasure or writing."""
        try:
            with self._locked(uid, fcntl.LOCK_EX) as folder:
                if folder is not None:
                    _remove_others(folder, names)
        except OSError as failure:
            _LOG.warning("old index files of collection %d could not be removed: %s", uid, failure.strerror)

    def erase(
        self, collection: Collection, seal: CollectionSeal, face_ids: Sequence[bytes], known: Sequence[SealedRows] = ()
    ) -> int:
        """Overwrite references wherever the files have them, durably; returns how many rows that were.

        Files that cannot be overwritten are given up.

        Args:
            known: rows of files that are in memory already, so that their ids need not be read for it.

        Raises:
            OSError: they could not be given up, either.
        """
        if not face_ids:
            return 0
        try:
            with self._locked(collection.uid, fcntl.LOCK_EX) as folder:
                if folder is None:
                    return 0
                if (manifest := index_manifest.read(folder, collection.uid, seal)) is None:
                    _remove_others(folder, (), with_drafts=False)  # what was published before a crash has its key
                    return 0
                _remove_others(folder, manifest.names, with_drafts=False)
                in_memory = {each.file.name: each for each in known}
                wanted, count = records.id_rows(face_ids), 0
                for name in manifest.names:
                    if name in in_memory and not len(positions_of(in_memory[name].face_ids, wanted)):
                        continue
                    file = segment_file.open_file(folder / name, seal)
                    positions = positions_of(file.face_ids(), wanted).tolist()
                    file.erase(positions)
                    count += len(positions)
                return count
        except (SegmentFileUnusable, OSError) as failure:
            _LOG.warning("index files of collection %d are given up: %s", collection.uid, failure)
            self.drop(collection.uid)
            return 0

    def drop(self, uid: int) -> None:
        """Give up the files of a collection and remove them.

        Raises:
            OSError: some are still there, as they were.
        """
        with self._locked(uid, fcntl.LOCK_EX) as folder:
            if folder is None:
                return
            (folder / MANIFEST).unlink(missing_ok=True)
            _remove_others(folder, ())
            sync_folder(folder)
            with suppress(OSError):  # a draft was begun in it this moment: without a key, and never published
                folder.rmdir()

    def has(self, uid: int) -> bool:
        """Whether a collection has files, of use or not."""
        return (self._folder / str(uid)).is_dir()

    def uids(self) -> list[int]:
        """The collections that have files."""
        if not self._folder.is_dir():
            return []
        return sorted(int(each.name) for each in self._folder.iterdir() if each.name.isdecimal() and each.is_dir())

    def kept(self, collection: Collection, seal: CollectionSeal) -> Kept | None:
        """What of a collection is on disk; None where there is nothing, or nothing of use."""
        try:
            with self._locked(collection.uid, fcntl.LOCK_SH) as folder:
                if folder is None or (manifest := index_manifest.read(folder, collection.uid, seal)) is None:
                    return None
                files = [segment_file.open_file(folder / name, seal) for name in manifest.names]
                return _kept_of(manifest.revision, files)
        except (SegmentFileUnusable, OSError):
            return None

    @contextmanager
    def _locked(self, uid: int, how: int) -> Iterator[Path | None]:
        """The folder of a collection, None where there is none."""
        folder = self._folder / str(uid)
        while True:
            try:
                handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError):
                yield None
                return
            try:
                fcntl.flock(handle, how)
                if not _is_at(folder, handle):  # dropped by whom this waited for: a lock on nothing
                    continue
                yield folder
                return
            finally:
                os.close(handle)


def _is_at(folder: Path, handle: int) -> bool:
    """Whether an open folder is the one that has the name now."""
    try:
        return os.path.samestat(folder.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _kept_of(revision: int, files: Sequence[SegmentFile]) -> Kept:
    return Kept(revision, len(files), sum(each.header.rows for each in files), sum(each.size for each in files))


def _open_part(path: Path, collection: Collection, seal: CollectionSeal, stored: Stored) -> Part:
    file = segment_file.open_file(path, seal)
    header = file.header
    if (header.uid, header.model_version, header.dimension) != (
        collection.uid,
        collection.model_version,
        collection.dimension,
    ):
        raise SegmentFileUnusable("An index file is of another collection or model.")
    face_ids, codes = file.face_ids(), file.codes()
    rows = SealedRows(file, face_ids, stored)
    try:
        segment = Segment.from_codes(codes, rows, header.dimension)
    except ValueError:
        raise SegmentFileUnusable("The codes of an index file are of another version.") from None
    return Part(segment, np.asarray(rows.face_ids.any(axis=1), np.bool_))


def _erase_dead(file: SegmentFile, alive: NDArray[np.bool_]) -> None:
    """Rows that were replaced since the file was made: what took their place is in a newer one."""
    if not alive.all():
        file.erase(np.flatnonzero(~alive & file.face_ids().any(axis=1)).tolist())


def _remove_others(folder: Path, names: Sequence[str], *, with_drafts: bool = True) -> None:
    """Give up every file that is not named.

    Args:
        with_drafts: those that a crash left as well: for the process that makes them.
    """
    for path in sorted(folder.iterdir()):
        if path.name in names or path.name == MANIFEST:
            continue
        if path.suffix == segment_format.DRAFT and not with_drafts:
            continue
        if path.suffix == segment_format.SUFFIX:
            with path.open("r+b") as file:
                file.write(bytes(segment_format.PAGE))
                file.flush()
                os.fdatasync(file.fileno())
        path.unlink(missing_ok=True)
