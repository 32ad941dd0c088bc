"""Collections on their way to another server, and from one: with their templates, in the clear, between two seals.

A collection leaves from one snapshot of the database. One that arrives is written in portions into rows that belong to
no account, so that nobody can name, list or search it; one short transaction at the end gives it to its account, with
its entry. Until then whatever goes wrong takes the rows away again, and what a crash left is taken away at the next
start.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np

from countenance.biometrics import Reference
from countenance.gallery import changes, erasure, records
from countenance.gallery import collections as collection_rows
from countenance.gallery.enrolment import LENGTH_TOLERANCE
from countenance.gallery.faults import (
    CollectionExists,
    GalleryError,
    TooManyFaces,
)
from countenance.gallery.sealing import CollectionSeal, from_template
from countenance.gallery.values import (
    MAX_FACES_OF_A_USER,
    Collection,
    User,
)
from countenance.store import Connection, Database, Entry, IntegrityErrors, Keyring, leases

NOBODY: Final = ""
"""The account of a collection that has not arrived yet: no caller's."""
SUFFIX_BYTES: Final = 10
"""Random bytes behind the name of the process in what such a collection is called."""
AT_ONCE: Final = 500
"""Rows read, or written in one transaction: some ten milliseconds for other writers to wait."""

_INSERT: Final = (
    f"INSERT INTO enrolled_references ({records.REFERENCE_COLUMNS}, template, uid, ref_id, user_seq) "  # noqa: S608
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)


class NotAsAnArchiveHasIt(GalleryError):
    """What is to be put into an arriving collection cannot be in one."""


@dataclass(frozen=True, slots=True)
class Leaving:
    """A collection as it was at one moment. Valid as long as the snapshot that it is read from."""

    collection: Collection
    tags: Mapping[str, str]
    _connection: Connection
    _seal: CollectionSeal

    def users(self) -> Iterator[User]:
        """In the order of their creation."""
        after = 0
        query = "SELECT seq, user_id, created_at FROM collection_users WHERE uid = ? AND seq > ? ORDER BY seq LIMIT ?"
        while rows := self._connection.execute(query, (self.collection.uid, after, AT_ONCE)).fetchall():
            for seq, user_id, created_at in rows:
                yield User(seq, user_id, records.from_microseconds(created_at), 0)
            after = rows[-1][0]

    def references(self) -> Iterator[tuple[Reference, bytes]]:
        """References with their templates (fp16, little-endian), in the order of their enrolment.

        Raises:
            TemplateCorrupt: one does not open.
        """
        first, last = records.ref_id_range(self.collection.uid)
        query = (
            f"SELECT ref_id, {records.REFERENCE_TOLD}, face_id, template FROM enrolled_references "  # noqa: S608
            "WHERE ref_id BETWEEN ? AND ? ORDER BY ref_id LIMIT ?"
        )
        while rows := self._connection.execute(query, (first, last, AT_ONCE)).fetchall():
            for row in rows:
                reference = records.reference_of(row[1:-2], self.collection.model_version)
                yield reference, self._seal.open(row[-2], row[-1])
            first = rows[-1][0] + 1


def leaving(connection: Connection, keyring: Keyring, account_id: str, collection_id: str) -> Leaving:
    """A collection to be read from the snapshot of this connection. Raises CollectionNotFound."""
    found = collection_rows.find(connection, account_id, collection_id)
    tags = collection_rows.tags_of(connection, found.uid)
    return Leaving(found, tags, connection, collection_rows.seal_of(connection, keyring, found))


class Arriving:
    """A collection that is being put together. For one thread."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        account_id: str,
        collection_id: str,
        *,
        model_version: str,
        dimension: int,
        created_at: datetime,
    ) -> None:
        """Raises CollectionExists."""
        self._database = database
        self._account_id = account_id
        self._collection_id = collection_id
        self._dimension = dimension
        self._users: dict[str, list[int]] = {}
        """Name -> sequence number, and how many references it has."""
        self._next_user = 1
        self._count = 0
        self.is_there = False
        """Whether it was given to its account."""

        name = database.node + secrets.token_hex(SUFFIX_BYTES)

        def begin(connection: Connection) -> int:
            _refuse_existing(connection, account_id, collection_id)
            (uid,) = connection.execute(
                "INSERT INTO collections (account_id, collection_id, model_version, dimension, created_at) "
                "VALUES (?, ?, ?, ?, ?) RETURNING uid",
                (NOBODY, name, model_version, dimension, records.to_microseconds(created_at)),
            ).fetchone()
            wrapped = CollectionSeal.new_wrapped_key(keyring, account_id=account_id, uid=uid)
            connection.execute("INSERT INTO collection_keys (uid, wrapped) VALUES (?, ?)", (uid, wrapped))
            return int(uid)

        self._uid = database.maintain(begin)
        with database.reading() as connection:
            (wrapped,) = connection.execute(
                "SELECT wrapped FROM collection_keys WHERE uid = ?", (self._uid,)
            ).fetchone()
        self._seal = CollectionSeal.unwrapped(
            keyring,
            wrapped,
            account_id=account_id,
            uid=self._uid,
            collection_id=collection_id,
            model_version=model_version,
        )

    def add_users(self, users: Sequence[tuple[str, datetime]]) -> None:
        """Users in the order of their creation. Raises NotAsAnArchiveHasIt."""
        first = self._next_user
        for at, (user_id, _) in enumerate(users):
            if user_id in self._users:
                raise NotAsAnArchiveHasIt("A user is there twice.")
            self._users[user_id] = [first + at, 0]
        self._next_user += len(users)
        rows = [
            (self._uid, first + at, user_id, records.to_microseconds(created_at))
            for at, (user_id, created_at) in enumerate(users)
        ]
        self._database.maintain(
            lambda connection: connection.executemany(
                "INSERT INTO collection_users (uid, seq, user_id, created_at) VALUES (?, ?, ?, ?)", rows
            )
        )

    def add(self, references: Sequence[tuple[Reference, bytes]]) -> None:
        """References with their templates, in the order of their enrolment.

        Raises:
            NotAsAnArchiveHasIt: a template of another size or length, an id that is not a UUID or is there already, or
                a user who is not.
            TooManyFaces: of one user.
        """
        rows = []
        for at, (reference, template) in enumerate(references):
            self._check(template)
            try:
                columns = records.reference_columns(reference)
            except (ValueError, OverflowError) as wrong:
                raise NotAsAnArchiveHasIt(f"A reference cannot be one: {wrong}.") from None
            seq = self._seq_of(reference.user_id)
            place = records.ref_id(self._uid, self._count + at + 1)
            rows.append((*columns, self._seal.seal(columns[0], template), self._uid, place, seq))

        def insert(connection: Connection) -> None:
            try:
                connection.executemany(_INSERT, rows)
            except IntegrityErrors:
                raise NotAsAnArchiveHasIt("A FaceId is there twice.") from None

        self._database.maintain(insert)
        self._count += len(rows)

    def forget_empty(self, user_ids: Sequence[str]) -> int:
        """Takes away those of these users who have no reference; how many."""
        gone = [(self._uid, self._users.pop(each)[0]) for each in user_ids if self._users.get(each, [0, 1])[1] == 0]
        self._database.maintain(
            lambda connection: connection.executemany("DELETE FROM collection_users WHERE uid = ? AND seq = ?", gone)
        )
        return len(gone)

    def arrive(self, tags: Mapping[str, str], *, entry: Entry) -> Collection:
        """Gives it to its account, whole, with the entry of the act.

        Raises:
            CollectionExists: meanwhile another one was made under its name.
            TagLimitExceeded: more than `MAX_TAGS` tags.
        """

        def work(connection: Connection) -> Collection:
            _refuse_existing(connection, self._account_id, self._collection_id)
            connection.execute(
                "UPDATE collections SET account_id = ?, collection_id = ?, face_count = ?, next_seq = ?, "
                "user_count = ?, next_user = ?, revision = 1, user_revision = 1 WHERE uid = ?",
                (
                    self._account_id,
                    self._collection_id,
                    self._count,
                    self._count + 1,
                    len(self._users),
                    self._next_user,
                    self._uid,
                ),
            )
            for of in changes.Of:
                changes.begin(connection, self._uid, 1, of)
            if tags:
                collection_rows.tag(connection, self._uid, tags)
            return collection_rows.find(connection, self._account_id, self._collection_id)

        found = self._database.write(entry.with_details({"added": self._count, "users": len(self._users)}), work)
        self.is_there = True
        return found

    def give_up(self) -> bool:
        """Takes it away again; whether rows are left for the sweeper."""
        return self._database.maintain(lambda connection: _discard(connection, self._uid))

    def _check(self, template: bytes) -> None:
        values = from_template(template).astype(np.float32) if len(template) == 2 * self._dimension else None
        if values is None or not abs(float(np.linalg.norm(values)) - 1.0) <= LENGTH_TOLERANCE:  # false for NaN as well
            raise NotAsAnArchiveHasIt("A template is not of the collection's size, or its features not of length 1.")

    def _seq_of(self, user_id: str | None) -> int | None:
        if user_id is None:
            return None
        user = self._users.get(user_id)
        if user is None:
            raise NotAsAnArchiveHasIt("A reference belongs to a user who is not in the collection.")
        user[1] += 1
        if user[1] > MAX_FACES_OF_A_USER:
            raise TooManyFaces(f"A user has at most {MAX_FACES_OF_A_USER} faces.")
        return user[0]


def discard_all(connection: Connection, database: Database) -> int:
    """At the start: takes away what never arrived; how many collections. What is on its way to another process that is
    here stays: that one takes it away itself when it does not arrive."""
    here = leases.here(connection, database) if database.is_shared else frozenset()
    rows = connection.execute("SELECT uid, collection_id FROM collections WHERE account_id = ?", (NOBODY,)).fetchall()
    rows = [(uid,) for uid, name in rows if name[: -2 * SUFFIX_BYTES] not in here]
    for (uid,) in rows:
        _discard(connection, uid)
    return len(rows)


def erased_from(connection: Connection, account_id: str, collection_id: str) -> erasure.Erased:
    """Which references were taken out of an account's collection of this name for good, as far as is noted."""
    found: set[bytes] = set()
    cursor = connection.execute(
        "SELECT what FROM erased WHERE json_extract(what, '$.kind') = ? AND json_extract(what, '$.account') = ? "
        "AND json_extract(what, '$.collection') = ?",
        (erasure.REFERENCES, account_id, collection_id),
    )
    for (what,) in cursor.fetchall():
        note: dict[str, Any] = json.loads(what)
        found.update(bytes.fromhex(each) for each in note["faces"])
    return erasure.Erased(account_id, collection_id, frozenset(found))


def _refuse_existing(connection: Connection, account_id: str, collection_id: str) -> None:
    query = "SELECT 1 FROM collections WHERE account_id = ? AND collection_id = ?"
    if connection.execute(query, (account_id, collection_id)).fetchone() is not None:
        raise CollectionExists(
            f"The account has a collection {collection_id} already.",
            hint="an import makes a new collection: name another one with --as, or delete that one",
        )


def _discard(connection: Connection, uid: int) -> bool:
    row = connection.execute(
        f"SELECT {records.COLLECTION_COLUMNS} FROM collections WHERE uid = ? AND account_id = ?",  # noqa: S608
        (uid, NOBODY),
    ).fetchone()
    if row is None:
        return False
    # its face_count is not kept while it arrives: the sweeper removes rows in portions, however many there are
    erasure.destroy(connection, uid)
    connection.execute("INSERT INTO erasures (uid) VALUES (?)", (uid,))
    return True
