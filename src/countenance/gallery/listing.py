"""Pages of a collection's references, in the order of enrolment. Functions over one snapshot of the database."""

from __future__ import annotations

from collections.abc import Sequence

from countenance.biometrics import Reference
from countenance.gallery import enrolment, records, users
from countenance.gallery.values import Collection
from countenance.store import Connection


def references(
    connection: Connection,
    collection: Collection,
    after_seq: int | None,
    limit: int,
    face_ids: Sequence[str] | None,
    user_id: str | None,
) -> list[tuple[int, Reference]]:
    """Places and references; see `Gallery.references`. Raises UserNotFound."""
    first, last = records.ref_id_range(collection.uid)
    if after_seq is not None:
        first = records.ref_id(collection.uid, after_seq) + 1
    seq = None if user_id is None else users.find(connection, collection.uid, user_id).seq
    columns = f"SELECT ref_id, {records.REFERENCE_TOLD} FROM enrolled_references"  # noqa: S608 -- a constant
    if face_ids is None and seq is None:
        rows = connection.execute(
            f"{columns} WHERE ref_id BETWEEN ? AND ? ORDER BY ref_id LIMIT ?", (first, last, limit)
        ).fetchall()
    elif face_ids is None:
        rows = connection.execute(
            f"{columns} WHERE uid = ? AND user_seq = ? AND ref_id >= ? ORDER BY ref_id LIMIT ?",
            (collection.uid, seq, first, limit),
        ).fetchall()
    else:
        rows = []
        for portion in enrolment.portions(records.known_id_bytes(face_ids)):
            marks = enrolment.placeholders(len(portion))
            rows += connection.execute(
                f"{columns} WHERE uid = ? AND face_id IN ({marks}) AND ref_id >= ? AND (? IS NULL OR user_seq = ?)",
                (collection.uid, *portion, first, seq, seq),
            ).fetchall()
        rows = sorted(rows)[:limit]
    return [(records.seq_of(row[0]), records.reference_of(row[1:], collection.model_version)) for row in rows]
