"""The transaction that puts the faces of an image into a collection.

A face is the same reference as a stored one when it has its FaceId, or when it comes from the same image
under the same external image id and the boxes overlap enough: the same picture analysed again may move a box
by a pixel, which changes the FaceId that is computed from it. Such a face keeps the stored FaceId, time and
place in the order, and takes the new measurements. Enrolling the very same thing again writes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from countenance.biometrics import BoundingBox, Reference
from countenance.gallery import migrating, records
from countenance.gallery.faults import (
    ModelMismatch,
)
from countenance.gallery.sealing import CollectionSeal, to_template
from countenance.gallery.shelf import Change
from countenance.gallery.values import (
    SAME_FACE_IOU,
    Collection,
    Enrolment,
)
from countenance.store import Connection

IDS_AT_ONCE = 500  # in one IN (...) list; SQLite allows 32,766 and plans short lists as key lookups
LENGTH_TOLERANCE = 1e-3  # how far from 1 the length of float32 features may be; fp16 rounding gives 5e-4

_INSERT = (
    f"INSERT INTO enrolled_references ({records.REFERENCE_COLUMNS}, template, uid, ref_id) "  # noqa: S608
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_UPDATE = (
    "UPDATE enrolled_references SET box_left = ?, box_top = ?, box_width = ?, box_height = ?, "
    "detection_confidence = ?, template = ? WHERE ref_id = ?"
)
_STORED = (
    f"SELECT ref_id, {records.REFERENCE_TOLD}, template FROM enrolled_references "  # noqa: S608
    "WHERE uid = ? AND"
)


@dataclass(frozen=True, slots=True)
class Prepared:
    """Enrolments checked and converted before the writer thread sees them."""

    references: list[Reference]
    columns: list[tuple[Any, ...]]
    templates: NDArray[np.float16]
    crops: list[bytes | None]
    """Packed, where they are to be kept."""


@dataclass(slots=True)
class _Stored:
    """A reference that is in the collection already."""

    ref_id: int
    reference: Reference
    sealed: bytes


@dataclass(slots=True)
class _Plan:
    """Which enrolment updates which stored reference; the others are new."""

    by_face: dict[bytes, _Stored] = field(default_factory=dict)
    updates: dict[int, bytes] = field(default_factory=dict)
    """Position of the enrolment -> face id of the stored reference."""


def prepare(enrolments: Sequence[Enrolment]) -> Prepared:
    """Convert to rows and fp16 templates.

    Raises:
        ValueError: features of different sizes, not finite or not of length 1, or an id that is no UUID.
    """
    if not enrolments:
        return Prepared([], [], np.empty((0, 0), np.float16), [])
    features = np.stack([np.asarray(each.features, np.float32) for each in enrolments])
    check_length(features)
    references = [each.reference for each in enrolments]
    crops = [None if each.crop is None else migrating.packed(each.crop) for each in enrolments]
    return Prepared(references, [records.reference_columns(each) for each in references], to_template(features), crops)


def check_length(features: NDArray[np.float32]) -> None:
    """Raises ValueError for features that are not rows of finite numbers, each of length 1."""
    if features.ndim != 2:
        raise ValueError("features have one dimension")
    lengths = np.linalg.norm(features, axis=1)
    if not bool(np.all(np.abs(lengths - 1.0) <= LENGTH_TOLERANCE)):  # false for NaN as well
        raise ValueError("features are finite and of length 1")


def check_model(collection: Collection, prepared: Prepared) -> None:
    """Refuse features that cannot be compared with the collection's.

    Raises:
        ModelMismatch: another model version or another dimension.
    """
    for reference in prepared.references:
        if reference.model_version != collection.model_version:
            raise ModelMismatch(
                "The collection was made with another version of the face model.",
                hint=f"The collection has {collection.model_version}, the server runs "
                f"{reference.model_version}. Create a new collection and enrol the images again.",
            )
    if prepared.references and prepared.templates.shape[1] != collection.dimension:
        raise ModelMismatch("The features have another dimension than the collection's.")


def enrol(
    connection: Connection, collection: Collection, seal: CollectionSeal, prepared: Prepared
) -> tuple[list[Reference], Change]:
    """Write inside the open transaction; returns the references in the order given, and what changed."""
    (next_seq, revision) = connection.execute(
        "SELECT next_seq, revision FROM collections WHERE uid = ?", (collection.uid,)
    ).fetchone()
    plan = _plan(connection, collection, prepared)
    answer = list(prepared.references)
    added: list[int] = []
    replaced: dict[bytes, int] = {}
    inserted_here: dict[bytes, int] = {}
    rows: list[tuple[Any, ...]] = []
    for at, columns in enumerate(prepared.columns):
        face_id: bytes = columns[0]
        if at in plan.updates:
            stored = plan.by_face[plan.updates[at]]
            answer[at] = _kept(stored.reference, prepared.references[at])
            is_new = _update(connection, seal, stored, answer[at], prepared.templates[at])
            if is_new:
                replaced[plan.updates[at]] = at
            crop = prepared.crops[at]
            if crop is not None and (is_new or not migrating.has_crop(connection, stored.ref_id)):
                migrating.keep(connection, seal, stored.ref_id, plan.updates[at], crop)
        elif face_id in inserted_here:
            answer[at] = prepared.references[inserted_here[face_id]]  # given twice in one call
        else:
            sealed = seal.seal(face_id, prepared.templates[at].tobytes())
            ref_id = records.ref_id(collection.uid, next_seq + len(rows))
            rows.append((*columns, sealed, collection.uid, ref_id))
            if (crop := prepared.crops[at]) is not None:
                migrating.keep(connection, seal, ref_id, face_id, crop)
            inserted_here[face_id] = at
            added.append(at)
    connection.executemany(_INSERT, rows)
    has_changed = bool(added or replaced)
    if has_changed:
        connection.execute(
            "UPDATE collections SET next_seq = next_seq + ?, face_count = face_count + ?, "
            "revision = revision + 1 WHERE uid = ?",
            (len(rows), len(rows), collection.uid),
        )
    change = Change(
        uid=collection.uid,
        revision=revision + has_changed,
        added=records.id_rows(prepared.columns[at][0] for at in added),
        added_templates=prepared.templates[added],
        replaced=records.id_rows(replaced),
        replaced_templates=prepared.templates[list(replaced.values())],
        removed=records.id_rows([]),
    )
    return answer, change


def portions(ids: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    """Lists short enough for one statement."""
    for start in range(0, len(ids), IDS_AT_ONCE):
        yield ids[start : start + IDS_AT_ONCE]


def placeholders(count: int) -> str:
    """The inside of an IN (...) list."""
    return ",".join("?" * count)


def _plan(connection: Connection, collection: Collection, prepared: Prepared) -> _Plan:
    plan = _Plan()

    def found(condition: str, *values: Any) -> None:
        for row in connection.execute(f"{_STORED} {condition}", (collection.uid, *values)):
            reference = records.reference_of(row[1:-1], collection.model_version)
            plan.by_face[row[1]] = _Stored(row[0], reference, row[-1])

    for portion in portions(list(dict.fromkeys(columns[0] for columns in prepared.columns))):
        found(f"face_id IN ({placeholders(len(portion))})", *portion)
    # Only what was enrolled from this image under this external image id: one picture of a crowd may be in the
    # collection under thousands of others.
    for image_id, external_image_id in dict.fromkeys((columns[1], columns[2]) for columns in prepared.columns):
        found("image_id = ? AND external_image_id IS NOT DISTINCT FROM ?", image_id, external_image_id)
    if not plan.by_face:
        return plan
    claimed: set[bytes] = set()
    for at, columns in enumerate(prepared.columns):
        if columns[0] in plan.by_face:
            plan.updates[at] = columns[0]
            claimed.add(columns[0])
    by_image: dict[tuple[str, str | None], list[bytes]] = {}
    for face_id, stored in plan.by_face.items():
        key = (stored.reference.image_id, stored.reference.external_image_id)
        by_image.setdefault(key, []).append(face_id)
    for at, reference in enumerate(prepared.references):
        if at in plan.updates:
            continue
        near = by_image.get((reference.image_id, reference.external_image_id), [])
        best = _best_overlap(reference.box, [(each, plan.by_face[each]) for each in near if each not in claimed])
        if best is not None:
            plan.updates[at] = best
            claimed.add(best)
    return plan


def _best_overlap(box: BoundingBox, stored: list[tuple[bytes, _Stored]]) -> bytes | None:
    best: tuple[float, bytes] | None = None
    for face_id, each in stored:
        overlap = box.iou(each.reference.box)
        # ties by the lower face id, so that the choice does not depend on the order of rows
        if overlap >= SAME_FACE_IOU and (
            best is None or overlap > best[0] or (overlap == best[0] and face_id < best[1])
        ):
            best = (overlap, face_id)
    return None if best is None else best[1]


def _kept(stored: Reference, given: Reference) -> Reference:
    return dataclasses.replace(stored, box=given.box, detection_confidence=given.detection_confidence)


def _update(
    connection: Connection,
    seal: CollectionSeal,
    stored: _Stored,
    reference: Reference,
    template: NDArray[np.float16],
) -> bool:
    """Write the new measurements if they differ; returns whether they did."""
    face_id = records.id_bytes(reference.face_id)
    fresh = template.tobytes()
    if reference == stored.reference and seal.open(face_id, stored.sealed) == fresh:
        return False
    sealed = seal.seal(face_id, fresh)
    box = reference.box
    connection.execute(
        _UPDATE,
        (box.left, box.top, box.width, box.height, reference.detection_confidence, sealed, stored.ref_id),
    )
    stored.reference, stored.sealed = reference, sealed
    return True
