"""The gallery's half that concerns users: see `sqlite`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from countenance.gallery import changes, records, tokens, users
from countenance.gallery import collections as collection_rows
from countenance.gallery.faults import TooManyUsers
from countenance.gallery.identify import identify_users
from countenance.gallery.sealing import CollectionSeal
from countenance.gallery.shelf import Change
from countenance.gallery.shelves import Shelves
from countenance.gallery.users import Touched
from countenance.gallery.values import Associated, Collection, Once, User, UserCandidate
from countenance.store import Connection, Database, Entry, Keyring


class StoredUsers:
    """What a `Gallery` does with users, and what both halves are made of."""

    def __init__(self, database: Database, keyring: Keyring, shelves: Shelves) -> None:
        self._database = database
        self._keyring = keyring
        self._shelves = shelves

    def create_user(
        self,
        account_id: str,
        collection_id: str,
        user_id: str,
        *,
        at: datetime,
        entry: Entry,
        once: Once | None,
        most: int | None = None,
    ) -> None:
        def work(connection: Connection, found: Collection) -> tuple[Associated, None]:
            users.create(connection, found, user_id, at)
            if most is not None and found.user_count >= most:  # whoever is there already was told of as such
                raise TooManyUsers(f"The collection has {most} users, which is its quota.")
            return Associated((), ()), None

        self._once(account_id, collection_id, entry, once, work)

    def delete_user(
        self, account_id: str, collection_id: str, user_id: str, *, entry: Entry, once: Once | None
    ) -> None:
        def work(connection: Connection, found: Collection) -> tuple[Associated, Change | None]:
            user = users.find(connection, found.uid, user_id)
            users.delete(connection, found.uid, user)
            had = Touched({user.seq: True} if user.faces else {})
            return Associated((), ()), self._change_of_users(connection, found, had)

        self._once(account_id, collection_id, entry, once, work)

    def associate(
        self,
        account_id: str,
        collection_id: str,
        user_id: str,
        face_ids: Sequence[str],
        *,
        is_same: Callable[[float], bool],
        entry: Entry,
        once: Once | None,
    ) -> Associated:
        wanted = records.known_id_bytes(face_ids)

        def work(connection: Connection, found: Collection) -> tuple[Associated, Change | None]:
            user, seal = users.find(connection, found.uid, user_id), self._seal(connection, found)
            done = users.associate(connection, found, seal, user, wanted, is_same)
            had = Touched({user.seq: bool(user.faces)} if done.face_ids else {})
            return done, self._change_of_users(connection, found, had)

        return self._once(account_id, collection_id, entry, once, work)

    def disassociate(
        self,
        account_id: str,
        collection_id: str,
        user_id: str,
        face_ids: Sequence[str],
        *,
        entry: Entry,
        once: Once | None,
    ) -> Associated:
        wanted = records.known_id_bytes(face_ids)

        def work(connection: Connection, found: Collection) -> tuple[Associated, Change | None]:
            user = users.find(connection, found.uid, user_id)
            done = users.disassociate(connection, found, user, wanted)
            had = Touched({user.seq: True} if done.face_ids else {})
            return done, self._change_of_users(connection, found, had)

        return self._once(account_id, collection_id, entry, once, work)

    def users(self, account_id: str, collection_id: str, *, after_seq: int | None, limit: int) -> list[User]:
        with self._database.reading(snapshot=True) as connection:
            found = collection_rows.find(connection, account_id, collection_id)
            return users.listed(connection, found.uid, after_seq or 0, limit)

    def user(self, account_id: str, collection_id: str, user_id: str) -> User:
        with self._database.reading(snapshot=True) as connection:
            found = collection_rows.find(connection, account_id, collection_id)
            return users.find(connection, found.uid, user_id)

    def features_of_user(self, account_id: str, collection_id: str, user_id: str) -> NDArray[np.float32] | None:
        with self._database.reading(snapshot=True) as connection:
            found = collection_rows.find(connection, account_id, collection_id)
            user = users.find(connection, found.uid, user_id)
            return users.vectors(connection, found, self._seal(connection, found), [user.seq]).get(user.seq)

    def identify_users(
        self,
        account_id: str,
        collection_id: str,
        probes: NDArray[np.float32],
        *,
        max_candidates: int,
        minimum_score: float = -1.0,
        exclude_user_id: str | None = None,
    ) -> list[list[UserCandidate]]:
        with self._database.reading() as connection:
            found = collection_rows.find(connection, account_id, collection_id)
        excluded = []
        if exclude_user_id is not None:
            excluded.append(users.key_of(self.user(account_id, collection_id, exclude_user_id).seq))
        return identify_users(
            self._database,
            self._shelves.users,
            found,
            probes,
            max_candidates=max_candidates,
            minimum_score=minimum_score,
            excluded=excluded,
        )

    def _seal(self, connection: Connection, collection: Collection) -> CollectionSeal:
        return collection_rows.seal_of(connection, self._keyring, collection)

    def _change_of_users(self, connection: Connection, collection: Collection, before: Touched) -> Change | None:
        """What a transaction did to what users are compared by, at its end, noted."""
        if not before.had:
            return None
        seal = self._seal(connection, collection)
        change = users.change(connection, collection, seal, before)
        if change is not None:
            changes.note(connection, collection, seal, change, changes.Of.USERS)
        return change

    def _once(
        self,
        account_id: str,
        collection_id: str,
        entry: Entry,
        once: Once | None,
        work: Callable[[Connection, Collection], tuple[Associated, Change | None]],
    ) -> Associated:
        """Carries a change of users out, unless the client's token was answered before."""

        def all_of_it(connection: Connection) -> tuple[Associated, Change | None, bool]:
            found = collection_rows.find(connection, account_id, collection_id)
            if once is not None and (before := tokens.answered(connection, once)) is not None:
                return before, None, True
            done, change = work(connection, found)
            if once is not None:
                tokens.keep(connection, once, done)
            return done, change, False

        done, _, _ = self._database.write(
            lambda done: entry.with_details(
                {"changed": len(done[0].face_ids), "refused": len(done[0].refused), "repeated": int(done[2])}
            ),
            all_of_it,
            after_commit=lambda done: self._shelves.apply(None, done[1]),
        )
        return done
