"""Users: several references of one person under one name, compared by one vector that is made of all of them.

Functions over an open connection; whoever calls them decides about transactions. What a user is compared by is computed
from its references' templates whenever they change or an index is loaded; no row holds it, so nothing of an erased
reference stays in one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray

from countenance.gallery import records
from countenance.gallery.aggregation import aggregate
from countenance.gallery.enrolment import placeholders, portions
from countenance.gallery.faults import (
    TooManyFaces,
    UserExists,
    UserNotFound,
)
from countenance.gallery.sealing import CollectionSeal, from_template
from countenance.gallery.shelf import Change
from countenance.gallery.values import (
    MAX_FACES_OF_A_USER,
    Associated,
    Collection,
    NotAssociated,
    User,
    Why,
)
from countenance.store import Connection, IntegrityErrors

_KEY_BYTES = 16
_COLUMNS = (
    "seq, user_id, created_at, (SELECT count(*) FROM enrolled_references r"
    " WHERE r.uid = collection_users.uid AND r.user_seq = collection_users.seq)"
)


@dataclass(frozen=True, slots=True)
class Touched:
    """Users whose references change in a transaction, and whether each had any before."""

    had: Mapping[int, bool]


def key_of(seq: int) -> bytes:
    """What an index has for a user."""
    return seq.to_bytes(_KEY_BYTES)


def seq_of(key: bytes) -> int:
    """The user of an index's key."""
    return int.from_bytes(key)


def create(connection: Connection, collection: Collection, user_id: str, at: datetime) -> User:
    """Raises UserExists."""
    (seq,) = connection.execute("SELECT next_user FROM collections WHERE uid = ?", (collection.uid,)).fetchone()
    try:
        connection.execute(
            "INSERT INTO collection_users (uid, seq, user_id, created_at) VALUES (?, ?, ?, ?)",
            (collection.uid, seq, user_id, records.to_microseconds(at)),
        )
    except IntegrityErrors:
        raise UserExists("The collection has this user already.") from None
    connection.execute(
        "UPDATE collections SET next_user = next_user + 1, user_count = user_count + 1 WHERE uid = ?",
        (collection.uid,),
    )
    return User(seq, user_id, at, 0)


def find(connection: Connection, uid: int, user_id: str) -> User:
    """Raises UserNotFound."""
    row = connection.execute(
        f"SELECT {_COLUMNS} FROM collection_users WHERE uid = ? AND user_id = ?",  # noqa: S608 -- a constant
        (uid, user_id),
    ).fetchone()
    if row is None:
        raise UserNotFound(f"The user id: {user_id} does not exist")
    return _user(row)


def listed(connection: Connection, uid: int, after_seq: int, limit: int) -> list[User]:
    """In the order of creation, those after `after_seq`."""
    rows = connection.execute(
        f"SELECT {_COLUMNS} FROM collection_users WHERE uid = ? AND seq > ? ORDER BY seq LIMIT ?",  # noqa: S608
        (uid, after_seq, limit),
    )
    return [_user(row) for row in rows.fetchall()]


def of_seqs(connection: Connection, uid: int, seqs: Sequence[int]) -> dict[int, User]:
    """Users by their sequence numbers; those that are gone are left out."""
    found: dict[int, User] = {}
    for portion in portions(seqs):  # type: ignore[arg-type]
        marks = placeholders(len(portion))
        rows = connection.execute(
            f"SELECT {_COLUMNS} FROM collection_users WHERE uid = ? AND seq IN ({marks})",  # noqa: S608
            (uid, *portion),
        )
        found |= {row[0]: _user(row) for row in rows.fetchall()}
    return found


def delete(connection: Connection, uid: int, user: User) -> None:
    """Its references stay, and belong to nobody."""
    connection.execute("UPDATE enrolled_references SET user_seq = NULL WHERE uid = ? AND user_seq = ?", (uid, user.seq))
    connection.execute("DELETE FROM collection_users WHERE uid = ? AND seq = ?", (uid, user.seq))
    connection.execute("UPDATE collections SET user_count = user_count - 1 WHERE uid = ?", (uid,))


def associate(
    connection: Connection,
    collection: Collection,
    seal: CollectionSeal,
    user: User,
    face_ids: Sequence[bytes],
    is_same: Callable[[float], bool],
) -> Associated:
    """Puts references under a user, those that are like what it has.

    Args:
        is_same: whether a comparison score means the same person; asked only of a user that has a reference.

    Raises:
        TooManyFaces: the user would have more than `MAX_FACES_OF_A_USER`.
    """
    stored = _stored(connection, collection.uid, face_ids)
    vector = vectors(connection, collection, seal, [user.seq]).get(user.seq)
    accepted, refused = [], []
    for face_id in face_ids:
        if face_id not in stored:
            refused.append(NotAssociated(records.id_text(face_id), Why.NOT_FOUND))
            continue
        owner, sealed = stored[face_id]
        if owner == user.seq:
            continue
        if owner is not None:
            refused.append(
                NotAssociated(records.id_text(face_id), Why.OTHER_USER, _name(connection, collection, owner))
            )
            continue
        if vector is not None:
            score = float(np.dot(vector, from_template(seal.open(face_id, sealed)).astype(np.float32)))
            if not is_same(score):
                refused.append(NotAssociated(records.id_text(face_id), Why.LOW_MATCH, user.user_id, score))
                continue
        accepted.append(face_id)
    if user.faces + len(accepted) > MAX_FACES_OF_A_USER:
        raise TooManyFaces(f"A user has at most {MAX_FACES_OF_A_USER} faces.")
    _mark(connection, collection.uid, accepted, user.seq)
    changed = tuple(records.id_text(each) for each in accepted)
    return Associated(changed, tuple(refused), user.faces + len(accepted))


def disassociate(connection: Connection, collection: Collection, user: User, face_ids: Sequence[bytes]) -> Associated:
    """Takes references from a user; they stay in the collection."""
    stored = _stored(connection, collection.uid, face_ids)
    taken, refused = [], []
    for face_id in face_ids:
        owner = stored[face_id][0] if face_id in stored else None
        if owner == user.seq:
            taken.append(face_id)
        elif owner is None:
            refused.append(NotAssociated(records.id_text(face_id), Why.NOT_FOUND))
        else:
            refused.append(
                NotAssociated(records.id_text(face_id), Why.OTHER_USER, _name(connection, collection, owner))
            )
    _mark(connection, collection.uid, taken, None)
    return Associated(tuple(records.id_text(each) for each in taken), tuple(refused), user.faces - len(taken))


def associated(connection: Connection, uid: int, face_ids: Sequence[bytes]) -> set[bytes]:
    """Those of the references that belong to a user."""
    return {face_id for face_id, (owner, _) in _stored(connection, uid, face_ids).items() if owner is not None}


def touched(connection: Connection, uid: int, face_ids: Sequence[bytes]) -> Touched:
    """The users of these references, before they change."""
    seqs = {owner for owner, _ in _stored(connection, uid, face_ids).values() if owner is not None}
    return Touched(dict.fromkeys(seqs, True))


def change(connection: Connection, collection: Collection, seal: CollectionSeal, before: Touched) -> Change | None:
    """What a transaction did to what users are compared by, at its end; None when it did nothing."""
    if not before.had:
        return None
    (revision,) = connection.execute(
        "UPDATE collections SET user_revision = user_revision + 1 WHERE uid = ? RETURNING user_revision",
        (collection.uid,),
    ).fetchone()
    now = vectors(connection, collection, seal, list(before.had))
    added = [seq for seq in now if not before.had[seq]]
    replaced = [seq for seq in now if before.had[seq]]
    removed = [seq for seq, had in before.had.items() if had and seq not in now]
    return Change(
        uid=collection.uid,
        revision=revision,
        added=records.id_rows(key_of(seq) for seq in added),
        added_templates=_rows(collection, now, added),
        replaced=records.id_rows(key_of(seq) for seq in replaced),
        replaced_templates=_rows(collection, now, replaced),
        removed=records.id_rows(key_of(seq) for seq in removed),
    )


def forget_empty(connection: Connection, uid: int, before: Touched) -> int:
    """Removes users whom an erasure left without a reference: their names say whose they were. Returns how many."""
    count = 0
    for seq, user in of_seqs(connection, uid, list(before.had)).items():
        if not user.faces:
            connection.execute("DELETE FROM collection_users WHERE uid = ? AND seq = ?", (uid, seq))
            count += 1
    if count:
        connection.execute("UPDATE collections SET user_count = user_count - ? WHERE uid = ?", (count, uid))
    return count


def vectors(
    connection: Connection, collection: Collection, seal: CollectionSeal, seqs: Sequence[int] | None = None
) -> dict[int, NDArray[np.float32]]:
    """What users are compared by; those without references are left out.

    Args:
        seqs: of these; None: of all.
    """
    found = {}
    for seq, members in groupby(_members(connection, collection.uid, seqs), key=itemgetter(0)):
        opened = [from_template(seal.open(face_id, sealed)) for _, face_id, sealed in members]
        found[seq] = aggregate(np.stack(opened).astype(np.float32))
    return found


def _members(connection: Connection, uid: int, seqs: Sequence[int] | None) -> Iterable[tuple[int, bytes, bytes]]:
    columns = "SELECT user_seq, face_id, template FROM enrolled_references WHERE uid = ? AND user_seq"
    if seqs is None:
        yield from connection.execute(f"{columns} IS NOT NULL ORDER BY user_seq, ref_id", (uid,))
        return
    for portion in portions(seqs):  # type: ignore[arg-type]
        marks = placeholders(len(portion))
        yield from connection.execute(
            f"{columns} IN ({marks}) ORDER BY user_seq, ref_id",
            (uid, *portion),
        )


def _stored(connection: Connection, uid: int, face_ids: Sequence[bytes]) -> dict[bytes, tuple[int | None, bytes]]:
    found: dict[bytes, tuple[int | None, bytes]] = {}
    for portion in portions(face_ids):
        marks = placeholders(len(portion))
        rows = connection.execute(
            f"SELECT face_id, user_seq, template FROM enrolled_references WHERE uid = ? AND face_id IN ({marks})",  # noqa: S608
            (uid, *portion),
        )
        found |= {row[0]: (row[1], row[2]) for row in rows.fetchall()}
    return found


def _mark(connection: Connection, uid: int, face_ids: Sequence[bytes], seq: int | None) -> None:
    connection.executemany(
        "UPDATE enrolled_references SET user_seq = ? WHERE uid = ? AND face_id = ?",
        [(seq, uid, each) for each in face_ids],
    )


def _name(connection: Connection, collection: Collection, seq: int) -> str:
    (name,) = connection.execute(
        "SELECT user_id FROM collection_users WHERE uid = ? AND seq = ?", (collection.uid, seq)
    ).fetchone()
    return str(name)


def _rows(collection: Collection, found: Mapping[int, NDArray[np.float32]], seqs: Sequence[int]) -> NDArray[np.float16]:
    if not seqs:
        return np.empty((0, collection.dimension), np.float16)
    return np.stack([found[seq] for seq in seqs]).astype(np.float16)


def _user(row: tuple[int, str, int, int]) -> User:
    return User(row[0], row[1], records.from_microseconds(row[2]), row[3])
