"""How a collection comes to another model: templates are staged beside it, and take its place in one transaction.

Functions over an open connection; whoever calls them decides about transactions. Until the switch nothing reads what is
staged, so a migration that is stopped leaves the collection as it was, and the next one goes on where it stopped.
FaceIds, users and the order of enrolment stay: a FaceId names a face that somebody enrolled, and clients have it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from countenance.gallery import records
from countenance.gallery.faults import (
    FacesWithoutCrops,
    TemplateCorrupt,
)
from countenance.gallery.sealing import CollectionSeal, to_template
from countenance.gallery.values import (
    Collection,
    KeptCrop,
)
from countenance.store import Connection

CROP_SHAPE = (112, 112, 3)
"""Of what is kept: the crop that every model here makes its features of (recognition.alignment.CROP)."""
LEVEL = 6
"""Of zlib, its default. Differences of neighbouring pixels, down and across, are packed: 17 KB on average for crops of
LFW, where the pixels themselves take 33 of their 37."""


def packed(crop: NDArray[np.uint8]) -> bytes:
    """A crop as it is sealed.

    Raises:
        ValueError: not 112 x 112 x 3 bytes.
    """
    if crop.shape != CROP_SHAPE or crop.dtype != np.uint8:
        raise ValueError("a crop has 112 x 112 x 3 bytes")
    down = np.diff(crop, axis=0, prepend=np.uint8(0))  # modulo 256, so nothing is lost
    return zlib.compress(np.diff(down, axis=1, prepend=np.uint8(0)).tobytes(), LEVEL)


def keep(connection: Connection, seal: CollectionSeal, ref_id: int, face_id: bytes, crop: bytes) -> None:
    """Keep a packed crop of a reference, in the place of another if there is one."""
    connection.execute(
        "INSERT INTO reference_crops (ref_id, crop) VALUES (?, ?)"
        " ON CONFLICT (ref_id) DO UPDATE SET crop = excluded.crop",
        (ref_id, seal.seal_crop(face_id, crop)),
    )


def has_crop(connection: Connection, ref_id: int) -> bool:
    """Whether a reference's crop is kept."""
    return connection.execute("SELECT 1 FROM reference_crops WHERE ref_id = ?", (ref_id,)).fetchone() is not None


def forget_crops(connection: Connection, uid: int) -> int:
    """Remove every crop of a collection, and what was made of crops and is not in force; returns how many crops."""
    bounds = records.ref_id_range(uid)
    connection.execute("DELETE FROM staged_templates WHERE ref_id BETWEEN ? AND ?", bounds)
    return connection.execute("DELETE FROM reference_crops WHERE ref_id BETWEEN ? AND ?", bounds).rowcount


def unstaged(
    connection: Connection, collection: Collection, seal: CollectionSeal, model_version: str, limit: int
) -> list[KeptCrop]:
    """References whose crop is kept and that have no template of this model staged, in the order of enrolment."""
    rows = connection.execute(
        "SELECT r.face_id, c.crop FROM reference_crops c JOIN enrolled_references r USING (ref_id)"
        " LEFT JOIN staged_templates s ON s.ref_id = c.ref_id AND s.model_version = ?"
        " WHERE c.ref_id BETWEEN ? AND ? AND s.ref_id IS NULL ORDER BY c.ref_id LIMIT ?",
        (model_version, *records.ref_id_range(collection.uid), limit),
    ).fetchall()
    return [KeptCrop(records.id_text(face_id), _opened(seal, face_id, sealed)) for face_id, sealed in rows]


def _opened(seal: CollectionSeal, face_id: bytes, sealed: bytes) -> NDArray[np.uint8]:
    try:
        steps = np.frombuffer(zlib.decompress(seal.open_crop(face_id, sealed)), np.uint8).reshape(CROP_SHAPE)
        return np.cumsum(np.cumsum(steps, axis=1, dtype=np.uint8), axis=0, dtype=np.uint8)
    except (zlib.error, ValueError):
        raise TemplateCorrupt("A stored crop is no crop.", hint=f"the reference is {face_id.hex()}") from None


def stage(
    connection: Connection,
    collection: Collection,
    seal: CollectionSeal,
    model_version: str,
    face_ids: Sequence[str],
    features: NDArray[np.float32],
) -> int:
    """Put templates beside the collection; those whose reference or crop went meanwhile are left out. Returns how
    many."""
    other, count = seal.of_model(model_version), 0
    for face_id, template in zip(records.known_id_bytes(face_ids), to_template(features), strict=True):
        row = connection.execute(
            "SELECT ref_id FROM enrolled_references JOIN reference_crops USING (ref_id) WHERE uid = ? AND face_id = ?",
            (collection.uid, face_id),
        ).fetchone()
        if row is None:
            continue
        connection.execute(
            "INSERT INTO staged_templates (ref_id, model_version, template) VALUES (?, ?, ?) ON CONFLICT (ref_id)"
            " DO UPDATE SET model_version = excluded.model_version, template = excluded.template",
            (row[0], model_version, other.seal(face_id, template.tobytes())),
        )
        count += 1
    return count


def without(connection: Connection, uid: int, model_version: str) -> list[bytes]:
    """The face ids that have no template of this model staged."""
    rows = connection.execute(
        "SELECT r.face_id FROM enrolled_references r LEFT JOIN staged_templates s"
        " ON s.ref_id = r.ref_id AND s.model_version = ? WHERE r.ref_id BETWEEN ? AND ? AND s.ref_id IS NULL"
        " ORDER BY r.ref_id",
        (model_version, *records.ref_id_range(uid)),
    ).fetchall()
    return [row[0] for row in rows]


def switch(connection: Connection, collection: Collection, model_version: str, dimension: int) -> int:
    """Have the staged templates take the place of the collection's. Returns how many.

    Raises:
        FacesWithoutCrops: a reference has none staged; nothing was changed.
    """
    left = without(connection, collection.uid, model_version)
    if left:
        raise FacesWithoutCrops(f"{len(left)} faces of the collection have no crop.")
    first, last = records.ref_id_range(collection.uid)
    count = connection.execute(
        "UPDATE enrolled_references SET template ="
        " (SELECT s.template FROM staged_templates s WHERE s.ref_id = enrolled_references.ref_id)"
        " WHERE ref_id BETWEEN ? AND ?",
        (first, last),
    ).rowcount
    connection.execute("DELETE FROM staged_templates WHERE ref_id BETWEEN ? AND ?", (first, last))
    connection.execute(
        "UPDATE collections SET model_version = ?, dimension = ?, revision = revision + 1,"
        " user_revision = user_revision + 1 WHERE uid = ?",
        (model_version, dimension, collection.uid),
    )
    return count
