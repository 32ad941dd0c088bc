"""Taking things out again so that they are gone: references one by one, collections as a whole.

Deleting a collection is one short transaction, whatever its size: the wrapped key is overwritten in place,
the collection's row goes, and from then on nobody can name it or open its templates. Small collections lose
their rows in the same transaction. The rows of a large one are removed in portions by a thread of their own,
between other people's changes; what is left to do is written in the table `erasures`, so a crash only delays
it. The write-ahead log is cut to nothing after the key is gone and again after the last row.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from countenance.gallery import changes, migrating, records, tokens, users
from countenance.gallery.enrolment import placeholders, portions
from countenance.gallery.values import (
    Collection,
)
from countenance.store import Connection, Database, DatabaseError

_LOG = logging.getLogger(__name__)

REFERENCES: Final = "references"
COLLECTION: Final = "collection"
CROPS: Final = "crops"
"""Kinds of notes about erasures: see `store.erasures`."""
_DIGEST_BYTES: Final = 16

ROWS_AT_ONCE = 1_000  # removed in one transaction: some tens of milliseconds for other writers to wait


def erase_references(connection: Connection, uid: int, face_ids: Sequence[bytes]) -> tuple[list[bytes], int]:
    """Remove rows; returns the face ids that were there, in the order given, and the collection's revision."""
    present: set[bytes] = set()
    for portion in portions(face_ids):
        marks = placeholders(len(portion))
        present.update(
            row[0]
            for row in connection.execute(
                f"DELETE FROM enrolled_references WHERE uid = ? AND face_id IN ({marks}) "  # noqa: S608
                "RETURNING face_id",
                (uid, *portion),
            ).fetchall()
        )
    if present:
        connection.execute(
            "UPDATE collections SET face_count = face_count - ?, revision = revision + 1 WHERE uid = ?",
            (len(present), uid),
        )
    (revision,) = connection.execute("SELECT revision FROM collections WHERE uid = ?", (uid,)).fetchone()
    return [face_id for face_id in face_ids if face_id in present], revision


def erase_collection(connection: Connection, collection: Collection) -> bool:
    """Destroy the key and the name of a collection; returns whether rows are left for the sweeper."""
    uid = collection.uid
    destroy(connection, uid)
    tokens.forget(connection, collection.account_id)
    if collection.face_count <= ROWS_AT_ONCE and not changes.forget(connection, uid, ROWS_AT_ONCE):
        connection.execute("DELETE FROM enrolled_references WHERE ref_id BETWEEN ? AND ?", records.ref_id_range(uid))
        return False
    connection.execute("INSERT INTO erasures (uid) VALUES (?)", (uid,))
    return True


def destroy(connection: Connection, uid: int) -> None:
    """Destroy the key and the row of a collection, and its users; its references are for whoever calls."""
    # The same length as before: SQLite then overwrites the bytes where they are.
    connection.execute("UPDATE collection_keys SET wrapped = zeroblob(length(wrapped)) WHERE uid = ?", (uid,))
    connection.execute("DELETE FROM collection_users WHERE uid = ?", (uid,))
    connection.execute("DELETE FROM collections WHERE uid = ?", (uid,))


@dataclass(frozen=True, slots=True)
class Erased:
    """References that were taken out of a collection of a name, known by digests alone."""

    account_id: str
    collection_id: str
    digests: frozenset[bytes]

    def has(self, face_id: str) -> bool:
        """Whether a reference is among them; ids in lower case with hyphens."""
        return bool(self.digests) and (
            _digest(self.account_id, self.collection_id, records.id_bytes(face_id)) in self.digests
        )


def note_of_references(collection: Collection, face_ids: Sequence[bytes]) -> dict[str, Any]:
    """What is noted of erased references outside the database: digests, which say nothing to who has not the ids."""
    return {
        "kind": REFERENCES,
        "account": collection.account_id,
        "collection": collection.collection_id,
        "faces": [_digest(collection.account_id, collection.collection_id, each).hex() for each in face_ids],
    }


def note_of_collection(collection: Collection) -> dict[str, Any]:
    """What is noted of a deleted collection."""
    return {
        "kind": COLLECTION,
        "account": collection.account_id,
        "collection": collection.collection_id,
        "uid": collection.uid,
    }


def note_of_crops(collection: Collection) -> dict[str, Any]:
    """What is noted of a collection whose crops were erased."""
    return {**note_of_collection(collection), "kind": CROPS}


def replay_references(connection: Connection, notes: Sequence[Mapping[str, Any]]) -> int:
    """Erase again the references that an older database brought back; returns how many there were."""
    erased: dict[tuple[str, str], set[bytes]] = {}
    for note in notes:
        digests = erased.setdefault((note["account"], note["collection"]), set())
        digests.update(bytes.fromhex(each) for each in note["faces"])
    count = 0
    for (account_id, collection_id), digests in erased.items():
        row = connection.execute(
            "SELECT uid FROM collections WHERE account_id = ? AND collection_id = ?", (account_id, collection_id)
        ).fetchone()
        if row is None:
            continue
        first, last = records.ref_id_range(row[0])
        found = [
            face_id
            for (face_id,) in connection.execute(
                "SELECT face_id FROM enrolled_references WHERE ref_id BETWEEN ? AND ?", (first, last)
            )
            if _digest(account_id, collection_id, face_id) in digests
        ]
        before = users.touched(connection, row[0], found)
        count += len(erase_references(connection, row[0], found)[0])
        users.forget_empty(connection, row[0], before)
        tokens.forget(connection, account_id)
    return count


def replay_collections(connection: Connection, notes: Sequence[Mapping[str, Any]]) -> int:
    """Delete again the collections that an older database brought back; returns how many there were."""
    count = 0
    for note in notes:
        row = connection.execute(
            f"SELECT {records.COLLECTION_COLUMNS} FROM collections"  # noqa: S608 -- a constant
            " WHERE uid = ? AND account_id = ? AND collection_id = ?",
            (note["uid"], note["account"], note["collection"]),
        ).fetchone()
        if row is not None:
            erase_collection(connection, records.collection_of(row))
            count += 1
    return count


def replay_crops(connection: Connection, notes: Sequence[Mapping[str, Any]]) -> int:
    """Erase again the crops that an older database brought back; returns how many there were."""
    count = 0
    for note in notes:
        row = connection.execute(
            "SELECT uid FROM collections WHERE uid = ? AND account_id = ? AND collection_id = ?",
            (note["uid"], note["account"], note["collection"]),
        ).fetchone()
        if row is not None:
            count += migrating.forget_crops(connection, row[0])
    return count


def _digest(account_id: str, collection_id: str, face_id: bytes) -> bytes:
    """16 bytes: enough that of 2^40 erased ids none is taken for another by chance (2^-48)."""
    named = f"countenance/erased/v1\n{account_id}\n{collection_id}\n".encode()
    return sha256(named + face_id).digest()[:_DIGEST_BYTES]


def sweep_portion(connection: Connection) -> bool:
    """Remove some rows of one deleted collection; returns whether there was anything to do."""
    row = connection.execute("SELECT uid FROM erasures ORDER BY uid LIMIT 1").fetchone()
    if row is None:
        return False
    first, last = records.ref_id_range(row[0])
    if changes.forget(connection, row[0], ROWS_AT_ONCE):
        return True
    removed = connection.execute(
        "DELETE FROM enrolled_references WHERE ref_id IN "
        "(SELECT ref_id FROM enrolled_references WHERE ref_id BETWEEN ? AND ? LIMIT ?)",
        (first, last, ROWS_AT_ONCE),
    ).rowcount
    if removed < ROWS_AT_ONCE:
        connection.execute("DELETE FROM erasures WHERE uid = ?", row)
    return True


class Sweeper:
    """The thread that finishes deletions; it runs only while there is something to finish."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wanted = False
        self._stopping = threading.Event()

    def wake(self) -> None:
        """See to it that what is in `erasures` now will be removed."""
        with self._lock:
            self._wanted = True
            if self._thread is None and not self._stopping.is_set():
                self._thread = threading.Thread(target=self._run, name="countenance-sweeper", daemon=True)
                self._thread.start()

    def wait(self) -> None:
        """Block until nothing is left, or `stop` was called."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def stop(self) -> None:
        """End after the current portion; what is left is done after the next start."""
        self._stopping.set()
        self.wait()

    def _run(self) -> None:
        while True:
            with self._lock:
                if not self._wanted or self._stopping.is_set():
                    self._thread = None
                    return
                self._wanted = False
            try:
                self._sweep()
            except DatabaseError as failure:
                # the next deletion or the next start takes it up again
                _LOG.warning("removing the rows of a deleted collection stopped: %s", failure)

    def _sweep(self) -> None:
        has_removed = False
        while not self._stopping.is_set() and self._database.maintain(sweep_portion):
            has_removed = True
        if has_removed:
            self._database.truncate_wal()
