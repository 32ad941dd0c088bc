"""What a collection became from revision to revision: how an index that is behind comes to the present.

Functions over an open connection; whoever calls them decides about transactions. Each transaction that makes a new
revision notes which ids it touched, sealed under the collection's key. Catching up looks those ids up as they are
now, so it costs one look per id however often it changed, and the list never holds a template.

The list is bounded. A collection keeps as many revisions as an eighth of its references, and a note that names erased
ids goes after a day. A gap in the list means that whoever stands before it loads the index anew; so does a revision
that is noted without ids, as where the templates of a whole collection were exchanged.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from enum import IntEnum
from typing import Final

import numpy as np

from countenance.gallery import records, users
from countenance.gallery.enrolment import placeholders, portions
from countenance.gallery.sealing import CollectionSeal, from_template
from countenance.gallery.shelf import Change
from countenance.gallery.values import Collection
from countenance.store import Connection

KEEP_LEAST: Final = 64
"""Revisions of a small collection: it loads in milliseconds anyway."""
KEEP_MOST: Final = 262_144
"""Revisions of a large one: some 25 MB of single enrolments, and seconds to catch up with."""
KEEP_SHARE: Final = 8
"""One revision kept for so many references: catching up with more of them costs about as much as loading."""
TOUCHED_LEAST: Final = 2_000
TOUCHED_SHARE: Final = 4
"""A quarter of the references is looked up one by one in the time in which all of them are read in order."""
KEEP_ERASED_S: Final = 24 * 3600
"""How long ids of erased references stay, sealed: every index that is searched meanwhile has lost them."""
PRUNE_EVERY: Final = 64
"""Revisions between two removals of old notes: a removal costs about as much as a note."""

_ID_BYTES: Final = 16
_MARK_BYTES: Final = 8
_INSERT: Final = (
    "INSERT INTO collection_changes (uid, of_users, revision, mark, at, erases, touched) VALUES (?, ?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (uid, of_users, revision) DO NOTHING"
)


class Of(IntEnum):
    """Which revision of a collection: each has an index of its own."""

    REFERENCES = 0
    USERS = 1


def revision_of(collection: Collection, of: Of) -> int:
    """The revision that a collection had when it was read."""
    return collection.user_revision if of is Of.USERS else collection.revision


def note(
    connection: Connection, collection: Collection, seal: CollectionSeal, change: Change, of: Of = Of.REFERENCES
) -> None:
    """Note a change in the transaction that makes it. One that changed nothing is not noted."""
    touched = b"".join((change.added.tobytes(), change.replaced.tobytes(), change.removed.tobytes()))
    if not touched:
        return
    sealed = seal.seal_touched(of, change.revision, touched)
    now = _now()
    erases = of is Of.REFERENCES and len(change.removed) > 0  # a user's number says nothing of anybody
    row = (change.uid, of.value, change.revision, os.urandom(_MARK_BYTES), now, int(erases), sealed)
    connection.execute(_INSERT, row)
    if change.revision % PRUNE_EVERY == 0:
        connection.execute(
            "DELETE FROM collection_changes WHERE uid = ? AND of_users = ? AND revision <= ?",
            (change.uid, of.value, change.revision - kept_revisions(collection.face_count)),
        )
        forget_erased(connection, now)


def kept_revisions(face_count: int) -> int:
    """How many of its latest revisions a collection keeps notes of."""
    return min(KEEP_MOST, max(KEEP_LEAST, face_count // KEEP_SHARE))


def begin(connection: Connection, uid: int, revision: int, of: Of = Of.REFERENCES) -> None:
    """Note a revision before which nothing can be caught up from."""
    connection.execute(_INSERT, (uid, of.value, revision, os.urandom(_MARK_BYTES), _now(), 0, None))


def begin_all(connection: Connection) -> None:
    """At the start: note where collections are that came there without a note, as by an older version or a restore."""
    for of, column in ((Of.REFERENCES, "revision"), (Of.USERS, "user_revision")):
        rows = connection.execute(
            f"SELECT uid, {column} FROM collections WHERE {column} > 0 AND NOT EXISTS"  # noqa: S608 -- fixed names
            " (SELECT 1 FROM collection_changes n WHERE n.uid = collections.uid AND n.of_users = ?"
            f" AND n.revision = collections.{column})",
            (of.value,),
        ).fetchall()
        for uid, revision in rows:
            begin(connection, uid, revision, of)
    forget_erased(connection, _now())


def forget_erased(connection: Connection, now: int | None = None) -> int:
    """Remove the notes that name erased ids and are a day old; returns how many.

    Args:
        now: microseconds since 1970; None: the clock's.
    """
    before = (_now() if now is None else now) - KEEP_ERASED_S * 1_000_000
    return connection.execute("DELETE FROM collection_changes WHERE erases = 1 AND at < ?", (before,)).rowcount


def forget(connection: Connection, uid: int, most: int) -> bool:
    """Remove up to about so many notes of a collection that is gone; returns whether some may be left."""
    row = connection.execute(
        "SELECT of_users, revision FROM collection_changes WHERE uid = ? ORDER BY of_users, revision LIMIT 1 OFFSET ?",
        (uid, most),
    ).fetchone()
    if row is None:
        connection.execute("DELETE FROM collection_changes WHERE uid = ?", (uid,))
        return False
    connection.execute(
        "DELETE FROM collection_changes WHERE uid = ? AND (of_users < ? OR (of_users = ? AND revision < ?))",
        (uid, row[0], *row),
    )
    return True


def mark_of(connection: Connection, uid: int, revision: int, of: Of = Of.REFERENCES) -> bytes | None:
    """What tells a revision from others of its number; None when it is no longer noted."""
    row = connection.execute(
        "SELECT mark FROM collection_changes WHERE uid = ? AND of_users = ? AND revision = ?", (uid, of.value, revision)
    ).fetchone()
    return None if row is None else bytes(row[0])


def since(
    connection: Connection,
    collection: Collection,
    seal: CollectionSeal,
    revision: int,
    of: Of = Of.REFERENCES,
) -> Change | None:
    """What brings an index from a revision to that of `collection`, both read from one snapshot.

    Every id that was touched is in `removed`, whether or not it is there, and those that are in the collection now are
    in `added`: an index drops the first and takes the second.

    Returns:
        None where the list does not reach back that far, or so much was touched that loading costs less.

    Raises:
        TemplateCorrupt: a note or a template does not open.
    """
    present = revision_of(collection, of)
    rows = connection.execute(
        "SELECT revision, touched FROM collection_changes WHERE uid = ? AND of_users = ? AND revision > ? "
        "AND revision <= ? ORDER BY revision",
        (collection.uid, of.value, revision, present),
    ).fetchall()
    if revision > present or len(rows) != present - revision or any(touched is None for _, touched in rows):
        return None
    ids: dict[bytes, None] = {}
    for at, sealed in rows:
        opened = seal.open_touched(of, at, sealed)
        ids.update(dict.fromkeys(opened[start : start + _ID_BYTES] for start in range(0, len(opened), _ID_BYTES)))
    touched_ids = list(ids)
    if len(touched_ids) > max(TOUCHED_LEAST, collection.face_count // TOUCHED_SHARE):
        return None
    if of is Of.USERS:
        now = users.vectors(connection, collection, seal, [users.seq_of(each) for each in touched_ids])
        found = {users.key_of(seq): vector.astype(np.float16) for seq, vector in now.items()}
    else:
        found = {
            face_id: from_template(seal.open(face_id, sealed))
            for face_id, sealed in templates(connection, collection.uid, touched_ids)
        }
    nothing = np.empty((0, collection.dimension), np.float16)
    return Change(
        uid=collection.uid,
        revision=present,
        added=records.id_rows(found),
        added_templates=np.stack(list(found.values())) if found else nothing,
        replaced=records.id_rows([]),
        replaced_templates=nothing,
        removed=records.id_rows(touched_ids),
    )


def templates(connection: Connection, uid: int, face_ids: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    """Face ids and sealed templates of those of the references that are there."""
    rows: list[tuple[bytes, bytes]] = []
    for portion in portions(face_ids):
        rows += connection.execute(
            "SELECT face_id, template FROM enrolled_references "  # noqa: S608 -- only placeholders
            f"WHERE uid = ? AND face_id IN ({placeholders(len(portion))})",
            (uid, *portion),
        ).fetchall()
    return rows


def _now() -> int:
    return time.time_ns() // 1_000
