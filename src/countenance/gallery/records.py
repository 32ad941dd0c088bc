"""References and collections as rows of the database, and back.

Ids are UUIDs in their lower-case text form outside and 16 bytes inside; the two sort alike. Times are whole
microseconds since 1970 in UTC. A reference's row id packs the collection's uid over its sequence number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from countenance.biometrics import BoundingBox, Reference
from countenance.gallery.values import (
    Collection,
)

SEQ_BITS = 36  # 68 thousand million enrolments in a collection, 134 million collections, in SQLite's 63 bits

COLLECTION_COLUMNS = (
    "account_id, collection_id, uid, model_version, dimension, created_at, face_count, user_count, revision, "
    "user_revision"
)
REFERENCE_COLUMNS = (
    "face_id, image_id, external_image_id, box_left, box_top, box_width, box_height, detection_confidence, enrolled_at"
)

REFERENCE_TOLD = (
    f"{REFERENCE_COLUMNS}, CASE WHEN user_seq IS NULL THEN NULL ELSE (SELECT user_id FROM collection_users u"  # noqa: S608
    " WHERE u.uid = enrolled_references.uid AND u.seq = enrolled_references.user_seq) END"
)
"""What is told of a reference: besides what is stored of it, the user it belongs to."""

# by hand: the class uuid.UUID takes most of the time of a large search or enrolment
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def ref_id(uid: int, seq: int) -> int:
    """The row id of a collection's reference."""
    return (uid << SEQ_BITS) | seq


def ref_id_range(uid: int) -> tuple[int, int]:
    """The first and the last row id that a collection can have."""
    return uid << SEQ_BITS, ((uid + 1) << SEQ_BITS) - 1


def seq_of(row_id: int) -> int:
    """The sequence number in a row id."""
    return row_id & ((1 << SEQ_BITS) - 1)


def to_microseconds(at: datetime) -> int:
    """Whole microseconds since 1970 of an aware time."""
    return (at - _EPOCH) // _MICROSECOND


def from_microseconds(at: int) -> datetime:
    """The aware UTC time."""
    return _EPOCH + timedelta(microseconds=at)


def id_bytes(text: str) -> bytes:
    """The 16 bytes of a FaceId or ImageId.

    Raises:
        ValueError: not a UUID in lower-case text form with hyphens.
    """
    if not _UUID.fullmatch(text):
        raise ValueError("an id is a UUID in lower case with hyphens")
    return bytes.fromhex(text.replace("-", ""))


def known_id_bytes(texts: Iterable[str]) -> list[bytes]:
    """The 16 bytes of those ids that can exist at all, each once, in the order given."""
    found: dict[bytes, None] = {}
    for text in texts:
        try:
            found[id_bytes(text)] = None
        except ValueError:
            continue
    return list(found)


def id_text(value: bytes) -> str:
    """The text form of 16 bytes."""
    digits = value.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def id_rows(ids: Iterable[bytes]) -> NDArray[np.uint8]:
    """(n, 16) bytes for an index."""
    return np.frombuffer(b"".join(ids), np.uint8).reshape(-1, 16)


def collection_of(row: tuple[Any, ...]) -> Collection:
    """The collection of a row of `COLLECTION_COLUMNS`."""
    account_id, collection_id, uid, model_version, dimension, created_at, face_count, user_count, *revisions = row
    return Collection(
        account_id=account_id,
        collection_id=collection_id,
        uid=uid,
        model_version=model_version,
        dimension=dimension,
        created_at=from_microseconds(created_at),
        face_count=face_count,
        user_count=user_count,
        revision=revisions[0],
        user_revision=revisions[1],
    )


def reference_of(row: tuple[Any, ...], model_version: str) -> Reference:
    """The reference of a row of `REFERENCE_TOLD`."""
    face_id, image_id, external_image_id, left, top, width, height, confidence, enrolled_at, user_id = row
    return Reference(
        face_id=id_text(face_id),
        image_id=id_text(image_id),
        external_image_id=external_image_id,
        box=BoundingBox(left, top, width, height),
        detection_confidence=confidence,
        model_version=model_version,
        enrolled_at=from_microseconds(enrolled_at),
        user_id=user_id,
    )


def reference_columns(reference: Reference) -> tuple[bytes, bytes, str | None, float, float, float, float, float, int]:
    """The values of `REFERENCE_COLUMNS`.

    Raises:
        ValueError: an id is not a UUID.
    """
    box = reference.box
    return (
        id_bytes(reference.face_id),
        id_bytes(reference.image_id),
        reference.external_image_id,
        float(box.left),
        float(box.top),
        float(box.width),
        float(box.height),
        float(reference.detection_confidence),
        to_microseconds(reference.enrolled_at),
    )
