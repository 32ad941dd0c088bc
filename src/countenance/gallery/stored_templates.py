"""The gallery's half that concerns templates of another model and the crops that they are made of: see `sqlite`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from countenance.gallery import changes, enrolment, erasure, migrating, records, tokens, users
from countenance.gallery import collections as collection_rows
from countenance.gallery.stored_users import StoredUsers
from countenance.gallery.values import KeptCrop, Migrated
from countenance.store import Connection, Entry


class StoredTemplates(StoredUsers):
    """What a `Gallery` does when a collection comes to another model."""

    def unstaged(self, account_id: str, collection_id: str, model_version: str, *, limit: int) -> list[KeptCrop]:
        with self._database.reading(snapshot=True) as connection:
            found = collection_rows.find(connection, account_id, collection_id)
            return migrating.unstaged(connection, found, self._seal(connection, found), model_version, limit)

    def stage(
        self,
        account_id: str,
        collection_id: str,
        model_version: str,
        face_ids: Sequence[str],
        features: NDArray[np.float32],
    ) -> int:
        enrolment.check_length(features)

        def work(connection: Connection) -> int:
            found = collection_rows.find(connection, account_id, collection_id)
            seal = self._seal(connection, found)
            return migrating.stage(connection, found, seal, model_version, face_ids, features)

        return self._database.maintain(work)

    def without_crops(self, account_id: str, collection_id: str, model_version: str) -> list[str]:
        with self._database.reading(snapshot=True) as connection:
            found = collection_rows.find(connection, account_id, collection_id)
            return [records.id_text(each) for each in migrating.without(connection, found.uid, model_version)]

    def migrate(
        self,
        account_id: str,
        collection_id: str,
        *,
        model_version: str,
        dimension: int,
        erases_rest: bool,
        may_erase: Callable[[Connection], None],
        entry: Entry,
    ) -> Migrated:
        def work(connection: Connection) -> tuple[Migrated, int, int]:
            found = collection_rows.find(connection, account_id, collection_id)
            erased: list[bytes] = []
            gone = 0
            if erases_rest and (left := migrating.without(connection, found.uid, model_version)):
                may_erase(connection)
                before = users.touched(connection, found.uid, left)
                erased, _ = erasure.erase_references(connection, found.uid, left)
                self._database.erasures.note(connection, erasure.note_of_references(found, erased))
                tokens.forget(connection, account_id)
                gone = users.forget_empty(connection, found.uid, before)
            count = migrating.switch(connection, found, model_version, dimension)
            found = collection_rows.find_by_uid(connection, found.uid)
            for of in changes.Of:
                changes.begin(connection, found.uid, changes.revision_of(found, of), of)
            self._database.tell(connection, str(found.uid))
            return Migrated(count, tuple(records.id_text(each) for each in erased)), gone, found.uid

        done, _, uid = self._database.write(
            lambda done: entry.with_details(
                {
                    "references": done[0].references,
                    "removed": len(done[0].erased),
                    **({"users": done[1]} if done[1] else {}),
                }
            ),
            work,
            after_commit=lambda done: self._shelves.forget(done[2]),
        )
        self._shelves.drop_files(uid)
        self._database.truncate_wal()  # it has what the templates were before
        return done

    def forget_crops(self, account_id: str, collection_id: str, *, entry: Entry) -> int:
        def work(connection: Connection) -> int:
            found = collection_rows.find(connection, account_id, collection_id)
            count = migrating.forget_crops(connection, found.uid)
            if count:
                self._database.erasures.note(connection, erasure.note_of_crops(found))
            return count

        count = self._database.write(lambda count: entry.with_details({"crops": count}), work)
        self._database.truncate_wal()
        return count
