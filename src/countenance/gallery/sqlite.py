"""The gallery on the server's SQLite file, with an exact index in memory.

The database is the record; the index is a copy that a search may drop and load again. Every change is one
transaction of the store's writer thread together with its outbox entry, and reaches the index in that same
thread right after the commit, before the caller is answered: what was acknowledged is durable and is found.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from countenance.biometrics import Candidate, Reference
from countenance.gallery import (
    changes,
    enrolment,
    erasure,
    index_files,
    inspection,
    listing,
    moving,
    records,
    tokens,
    users,
)
from countenance.gallery import collections as collection_rows
from countenance.gallery.answering import Answering
from countenance.gallery.asking import Secrets
from countenance.gallery.erasure import Erased
from countenance.gallery.faults import ReferenceNotFound
from countenance.gallery.following import Following
from countenance.gallery.identify import identify
from countenance.gallery.index import IndexFactory, default_index
from countenance.gallery.inspection import IndexState, Verified
from countenance.gallery.moving import Arriving, Leaving
from countenance.gallery.node_client import NodeClient
from countenance.gallery.scatter import Directory, Scatter, announcement
from countenance.gallery.sealing import from_template
from countenance.gallery.share import WHOLE, Share
from countenance.gallery.shelf import KEEP_SMALL, SMALL_COLLECTION, Change
from countenance.gallery.shelves import FILES_FROM, Shelves
from countenance.gallery.stored_templates import StoredTemplates
from countenance.gallery.values import (
    Collection,
    Enrolment,
    GalleryStats,
    Holding,
    RebuildReport,
)
from countenance.store import AfterCommitError, Connection, Database, Entry, Keyring

_SCRIPTS = ("0001.sql", "0002.sql", "0003.sql", "0004.sql", "0005.sql")


class SqliteGallery(StoredTemplates):
    """A `Gallery`. Safe to use from any thread; close it before the database.

    Args:
        index_factory: makes the index of a collection; the default is exact on every installation.
        keep_small: how many small collections' indexes stay in memory.
        index_folder: where indexes of large collections are kept; None: beside the database.
        index_files_from: references from which on they are; 0: none is.
        share: which references this process indexes; it asks other nodes for the rest.
        client: how it asks them; needed where the share is not everything and anything is searched.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        *,
        index_factory: IndexFactory = default_index,
        keep_small: int = KEEP_SMALL,
        index_folder: Path | None = None,
        index_files_from: int = FILES_FROM,
        share: Share = WHOLE,
        client: NodeClient | None = None,
    ) -> None:
        """Bring the schema up to date and take up unfinished deletions.

        Raises:
            DatabaseError: the database is damaged or of a newer version.
            KeyringError: another master key made this database.
        """
        shelves = Shelves(
            database,
            keyring,
            factory=index_factory,
            keep_small=keep_small,
            folder=index_folder or database.folder / index_files.FOLDER,
            files_from=index_files_from,
            share=share,
        )
        super().__init__(database, keyring, shelves)
        self._sweeper = erasure.Sweeper(database)
        folder = resources.files("countenance.gallery") / "schema"
        scripts = [(folder / name).read_text(encoding="utf-8") for name in _SCRIPTS]
        database.migrate("gallery", scripts)
        collection_rows.check_master_key(database, keyring)
        database.keeps_keys_in("collection_keys")
        database.when_in_doubt(self._shelves.compare)
        database.maintain(lambda connection: moving.discard_all(connection, database))
        database.maintain(changes.begin_all)
        shelves.clear_files()
        self._sweeper.wake()
        secrets = Secrets(keyring)
        self._secrets = secrets
        self.directory = Directory(database, share, secrets)
        """Who else searches."""
        self.answering = Answering(secrets, database.node, shelves.references, share)
        """What other nodes get of this one."""
        self._scatter: Scatter | None = None
        if not share.is_whole:
            self._scatter = Scatter(self.directory, share, secrets, client or NodeClient())
        self._following = Following(database, shelves.follow)
        self._following.start()

    def create_collection(
        self,
        account_id: str,
        collection_id: str,
        *,
        model_version: str,
        dimension: int,
        tags: Mapping[str, str],
        entry: Entry,
    ) -> Collection:
        at = datetime.now(UTC)
        return self._database.write(
            entry,
            lambda connection: collection_rows.create(
                connection, self._keyring, account_id, collection_id, model_version, dimension, tags, at
            ),
        )

    def collection(self, account_id: str, collection_id: str) -> Collection:
        with self._database.reading() as connection:
            return collection_rows.find(connection, account_id, collection_id)

    def collections(self, account_id: str, *, after_uid: int | None, limit: int) -> list[Collection]:
        with self._database.reading() as connection:
            return collection_rows.listed(connection, account_id, after_uid, limit)

    def delete_collection(self, account_id: str, collection_id: str, *, entry: Entry) -> int:
        def work(connection: Connection) -> tuple[Collection, bool]:
            found = collection_rows.find(connection, account_id, collection_id)
            self._database.erasures.note(connection, erasure.note_of_collection(found))
            self._database.tell(connection, str(found.uid))
            return found, erasure.erase_collection(connection, found)

        collection, is_unfinished = self._database.write(
            lambda done: entry.with_details({"removed": done[0].face_count}),
            work,
            after_commit=lambda done: self._shelves.forget(done[0].uid),
        )
        if is_unfinished:
            self._sweeper.wake()
        self._database.truncate_wal()
        with suppress(AfterCommitError):  # the key is destroyed: what is left of them is noise
            self._shelves.drop_files(collection.uid)
        return collection.face_count

    def enrol(
        self, account_id: str, collection_id: str, enrolments: Sequence[Enrolment], *, entry: Entry
    ) -> list[Reference]:
        prepared = enrolment.prepare(enrolments)

        def work(connection: Connection) -> tuple[list[Reference], Change, Change | None]:
            found = collection_rows.find(connection, account_id, collection_id)
            enrolment.check_model(found, prepared)
            seal = self._seal(connection, found)
            references, change = enrolment.enrol(connection, found, seal, prepared)
            changes.note(connection, found, seal, change)
            self._database.tell(connection, str(found.uid))
            before = users.touched(connection, found.uid, [bytes(each) for each in change.replaced])
            return references, change, self._change_of_users(connection, found, before)

        references, _, _ = self._database.write(
            lambda done: entry.with_details({"added": len(done[1].added), "updated": len(done[1].replaced)}),
            work,
            after_commit=lambda done: self._shelves.apply(done[1], done[2]),
        )
        return references

    def references(
        self,
        account_id: str,
        collection_id: str,
        *,
        after_seq: int | None,
        limit: int,
        face_ids: Sequence[str] | None,
        user_id: str | None = None,
    ) -> list[tuple[int, Reference]]:
        with self._database.reading(snapshot=True) as connection:
            found = collection_rows.find(connection, account_id, collection_id)
            return listing.references(connection, found, after_seq, limit, face_ids, user_id)

    def reference(self, account_id: str, collection_id: str, face_id: str) -> Reference:
        found = self.references(account_id, collection_id, after_seq=None, limit=1, face_ids=[face_id])
        if not found:
            raise ReferenceNotFound("The collection has no such face.")
        return found[0][1]

    def erase(
        self,
        account_id: str,
        collection_id: str,
        face_ids: Sequence[str],
        *,
        entry: Entry,
        spares_users: bool = False,
    ) -> list[str]:
        wanted = records.known_id_bytes(face_ids)

        def work(connection: Connection) -> tuple[list[bytes], Change, Change | None, int]:
            found = collection_rows.find(connection, account_id, collection_id)
            spared = users.associated(connection, found.uid, wanted) if spares_users else set()
            wanted_here = [each for each in wanted if each not in spared]
            before = users.touched(connection, found.uid, wanted_here)
            erased, revision = erasure.erase_references(connection, found.uid, wanted_here)
            if erased:
                self._database.erasures.note(connection, erasure.note_of_references(found, erased))
            if erased and not spares_users:  # not the caller's own deleting, which may be tried again
                tokens.forget(connection, account_id)
            of_users = self._change_of_users(connection, found, before)
            gone = users.forget_empty(connection, found.uid, before)
            none, nothing = records.id_rows([]), np.empty((0, found.dimension), np.float16)
            change = Change(found.uid, revision, none, nothing, none, nothing, records.id_rows(erased))
            if erased:
                changes.note(connection, found, self._seal(connection, found), change)
                self._database.tell(connection, str(found.uid))
            return erased, change, of_users, gone

        erased, change, _, _ = self._database.write(
            lambda done: entry.with_details({"removed": len(done[0]), **({"users": done[3]} if done[3] else {})}),
            work,
            after_commit=lambda done: self._shelves.apply(done[1], done[2]),
        )
        self._shelves.erase_from_files(change.uid, erased)
        return [records.id_text(face_id) for face_id in erased]

    def features_of(self, account_id: str, collection_id: str, face_id: str) -> NDArray[np.float32]:
        with self._database.reading(snapshot=True) as connection:
            found = collection_rows.find(connection, account_id, collection_id)
            wanted = records.known_id_bytes([face_id])
            row = connection.execute(
                "SELECT template FROM enrolled_references WHERE uid = ? AND face_id = ?",
                (found.uid, wanted[0] if wanted else b""),
            ).fetchone()
            if row is None:
                raise ReferenceNotFound("The collection has no such face.")
            template = self._seal(connection, found).open(wanted[0], row[0])
        return from_template(template).astype(np.float32)

    def identify(
        self,
        account_id: str,
        collection_id: str,
        probes: NDArray[np.float32],
        *,
        max_candidates: int,
        minimum_score: float = -1.0,
        exclude_face_id: str | None = None,
    ) -> list[list[Candidate]]:
        found = self.collection(account_id, collection_id)
        return identify(
            self._database,
            self._shelves.references,
            found,
            probes,
            max_candidates=max_candidates,
            minimum_score=minimum_score,
            excluded=records.known_id_bytes([] if exclude_face_id is None else [exclude_face_id]),
            scatter=self._scatter,
        )

    def tags(self, account_id: str, collection_id: str) -> dict[str, str]:
        with self._database.reading(snapshot=True) as connection:
            found = collection_rows.find(connection, account_id, collection_id)
            return collection_rows.tags_of(connection, found.uid)

    def tag(self, account_id: str, collection_id: str, tags: Mapping[str, str], *, entry: Entry) -> dict[str, str]:
        def work(connection: Connection) -> dict[str, str]:
            found = collection_rows.find(connection, account_id, collection_id)
            return collection_rows.tag(connection, found.uid, tags)

        return self._database.write(entry, work)

    def untag(self, account_id: str, collection_id: str, names: Sequence[str], *, entry: Entry) -> dict[str, str]:
        def work(connection: Connection) -> dict[str, str]:
            found = collection_rows.find(connection, account_id, collection_id)
            return collection_rows.untag(connection, found.uid, names)

        return self._database.write(entry, work)

    def models(self) -> dict[str, int]:
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT model_version, count(*) FROM collections GROUP BY 1 ORDER BY 1"
            ).fetchall()
        return dict(rows)

    @contextmanager
    def leaving(self, account_id: str, collection_id: str) -> Iterator[Leaving]:
        with self._database.reading(snapshot=True) as connection:
            yield moving.leaving(connection, self._keyring, account_id, collection_id)

    @contextmanager
    def arriving(
        self, account_id: str, collection_id: str, *, model_version: str, dimension: int, created_at: datetime
    ) -> Iterator[Arriving]:
        arriving = Arriving(
            self._database,
            self._keyring,
            account_id,
            collection_id,
            model_version=model_version,
            dimension=dimension,
            created_at=created_at,
        )
        try:
            yield arriving
        finally:
            if not arriving.is_there and arriving.give_up():
                self._sweeper.wake()

    def erased_from(self, account_id: str, collection_id: str) -> Erased:
        with self._database.reading() as connection:
            return moving.erased_from(connection, account_id, collection_id)

    def stats(self) -> GalleryStats:
        with self._database.reading() as connection:
            count, faces = connection.execute(
                "SELECT count(*), coalesce(sum(face_count), 0) FROM collections WHERE account_id <> ?",
                (moving.NOBODY,),
            ).fetchone()
        loaded, rows, size = self._shelves.totals()
        return GalleryStats(
            collections=count,
            references=faces,
            loaded_collections=loaded,
            loaded_references=rows,
            index_bytes=size,
        )

    def holding(self) -> Holding:
        """Which part this process has, and how far it is behind. Reads the database."""
        return Holding(
            part=str(self._shelves.share),
            behind=self._shelves.behind(),
            is_listening=self._following.is_listening,
        )

    def announcement(self, url: str) -> Mapping[str, Any]:
        """What this process tells others, to be asked at this address; nowhere if it is empty. Reads the database."""
        return announcement(self._secrets, self._database.node, url, self.holding())

    def is_covered(self) -> bool:
        """Whether live nodes have all that this one has not. Reads the database."""
        return self.directory.is_covered()

    def warm(self) -> RebuildReport:
        started = time.perf_counter()
        with self._database.reading() as connection:
            rows = connection.execute("SELECT uid, face_count FROM collections ORDER BY uid").fetchall()
        large = [(uid, count) for uid, count in rows if count > SMALL_COLLECTION]
        for uid, _ in large:
            with self._shelves.references.lent(uid):
                pass
        return RebuildReport(
            collections=len(large),
            references=sum(count for _, count in large),
            seconds=time.perf_counter() - started,
            left_for_first_use=len(rows) - len(large),
        )

    def describe_index(self, account_id: str, collection_id: str) -> IndexState:
        return inspection.describe(self._database, self._keyring, self._shelves, account_id, collection_id)

    def verify_index(self, account_id: str, collection_id: str) -> Verified:
        return inspection.verify(self._database, self._keyring, self._shelves, account_id, collection_id)

    def finish_deletions(self) -> None:
        """Block until the rows of deleted collections are gone from the file."""
        self._sweeper.wake()
        self._sweeper.wait()

    def close(self) -> None:
        """End the threads that finish deletions and keep indexes; what they left is taken up by the next start."""
        self._following.stop()
        if self._scatter is not None:
            self._scatter.close()
        self._shelves.close()
        self._sweeper.stop()
