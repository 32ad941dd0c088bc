"""What an index looks like from outside, and whether it answers as the database would.

The oracle scores every stored row with the canonical function, in portions, from one snapshot of the database. A
served index may be older than that snapshot; what was touched between the two is left out on both sides.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from countenance.gallery import changes, records
from countenance.gallery import collections as collection_rows
from countenance.gallery.comparison import Ranking, comparison_scores, rank
from countenance.gallery.faults import GalleryError
from countenance.gallery.index import FaissIndex, Index, NumpyIndex, QuantisedIndex, TieredIndex
from countenance.gallery.sealing import CollectionSeal, from_template
from countenance.gallery.shelves import Shelves
from countenance.gallery.values import Collection
from countenance.store import Connection, Database, Keyring, in_portions

PROBES: Final = 32
DEPTH: Final = 100
"""Candidates compared of each probe."""
TRIES: Final = 10
NAMED: Final = 20
"""FaceIds told of each kind of difference; the numbers say how many there are."""
_AT_ONCE: Final = 4_096


class IndexBusy(GalleryError):
    """The collection changes faster than it can be looked at."""


@dataclass(frozen=True, slots=True)
class IndexState:
    """One collection's index, a moment's picture."""

    references: int
    revision: int
    tier: str | None
    """`lazy`, `exact` or `quantised`; None while it is not in memory."""
    loaded_revision: int | None
    rows: int
    segments: int
    tail: int
    """Rows that no segment has yet."""
    tombstones: int
    """Rows of segments that are gone."""
    memory_bytes: int
    files: int
    disk_bytes: int
    files_revision: int | None
    """Revision that the files are of; None: there are none, or none of use."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a comparison of an index with the database found."""

    references: int
    revision: int
    probes: int
    missing: int
    """References that the index lacks."""
    surplus: int
    """Ids that the index has and the database has not."""
    differing: int
    """Probes that the two answer differently."""
    named: tuple[str, ...]
    """FaceIds of the first of each."""

    @property
    def agrees(self) -> bool:
        """Whether there is no difference."""
        return not (self.missing or self.surplus or self.differing)


def describe(database: Database, keyring: Keyring, shelves: Shelves, account_id: str, collection_id: str) -> IndexState:
    """Raises CollectionNotFound."""
    with database.reading(snapshot=True) as connection:
        found = collection_rows.find(connection, account_id, collection_id)
        seal = collection_rows.seal_of(connection, keyring, found)
    kept = shelves.files.kept(found, seal)
    with shelves.references.holding(found.uid) as loaded:
        index = None if loaded is None else loaded.index
        inner = index.index if isinstance(index, TieredIndex) else index
        segments = inner.segments if isinstance(inner, QuantisedIndex) else []
        return IndexState(
            references=found.face_count,
            revision=found.revision,
            tier=None if index is None else index.tier if isinstance(index, TieredIndex) else "exact",
            loaded_revision=None if loaded is None else loaded.revision,
            rows=0 if index is None else len(index),
            segments=len(segments),
            tail=inner.tail_length if isinstance(inner, QuantisedIndex) else 0,
            tombstones=sum(int(np.count_nonzero(~alive)) for _, alive in segments),
            memory_bytes=0 if index is None else index.nbytes,
            files=0 if kept is None else kept.files,
            disk_bytes=0 if kept is None else kept.size,
            files_revision=None if kept is None else kept.revision,
        )


def verify(database: Database, keyring: Keyring, shelves: Shelves, account_id: str, collection_id: str) -> Verified:
    """Compare the served index with an exact search over the database's rows.

    Raises:
        CollectionNotFound: also when it is deleted meanwhile.
        IndexBusy: see there.
        TemplateCorrupt: a row does not open.
    """
    with database.reading(snapshot=True) as connection:
        found = collection_rows.find(connection, account_id, collection_id)
        seal = collection_rows.seal_of(connection, keyring, found)
        names, probes = _sample(connection, found, seal)
    for _ in range(TRIES):
        served = _served(shelves, found, probes)
        if served is None:
            continue
        rankings, face_ids, revision = served
        with database.reading(snapshot=True) as connection:
            present = collection_rows.find_by_uid(connection, found.uid)
            between = changes.since(connection, present, seal, revision)
            if between is None or present.model_version != found.model_version:
                continue
            touched = {bytes(each) for each in between.removed}
            stored, oracle = _scan(connection, present, seal, probes, touched)
        mine = {bytes(each) for each in face_ids} - touched
        theirs = {bytes(each) for each in stored}
        missing, surplus = theirs - mine, mine - theirs
        differing = [
            name
            for name, ranking, expected in zip(names, rankings, oracle, strict=True)
            if not _is_same(ranking, expected, touched)
        ]
        first = [*sorted(missing)[:NAMED], *sorted(surplus)[:NAMED], *differing[:NAMED]]
        return Verified(
            references=present.face_count,
            revision=present.revision,
            probes=len(names),
            missing=len(missing),
            surplus=len(surplus),
            differing=len(differing),
            named=tuple(records.id_text(each) for each in dict.fromkeys(first)),
        )
    raise IndexBusy("The collection changes faster than its index can be compared.", hint="try again when it rests")


def _sample(
    connection: Connection, collection: Collection, seal: CollectionSeal
) -> tuple[list[bytes], NDArray[np.float32]]:
    """Stored features, chosen at random, each at most once."""
    first, _ = records.ref_id_range(collection.uid)
    (next_seq,) = connection.execute("SELECT next_seq FROM collections WHERE uid = ?", (collection.uid,)).fetchone()
    chosen: dict[bytes, bytes] = {}
    for _ in range(PROBES):
        row = connection.execute(
            "SELECT face_id, template FROM enrolled_references WHERE ref_id BETWEEN ? AND ? ORDER BY ref_id LIMIT 1",
            (first + secrets.randbelow(next_seq), first + next_seq),
        ).fetchone()
        if row is not None:
            chosen[row[0]] = seal.open(row[0], row[1])
    rows = [from_template(each).astype(np.float32) for each in chosen.values()]
    return list(chosen), np.stack(rows) if rows else np.empty((0, collection.dimension), np.float32)


def _served(
    shelves: Shelves, collection: Collection, probes: NDArray[np.float32]
) -> tuple[list[Ranking], NDArray[np.uint8], int] | None:
    """Rankings, all face ids, and the revision that they are of; None when the index left memory meanwhile."""
    with shelves.references.lent(collection.uid, collection.revision):
        pass
    with shelves.references.holding(collection.uid) as loaded:
        if loaded is None or loaded.revision < collection.revision:
            return None
        return loaded.index.search(probes, DEPTH), _ids_of(loaded.index), loaded.revision


def _ids_of(index: Index) -> NDArray[np.uint8]:
    inner = index.index if isinstance(index, TieredIndex) else index
    if isinstance(inner, FaissIndex | NumpyIndex):
        return inner.rows.face_ids.copy()
    if isinstance(inner, QuantisedIndex):
        segments, face_ids, _ = inner.snapshot()
        return np.concatenate([*(segment.rows.face_ids[alive] for segment, alive in segments), face_ids])
    raise TypeError("an index of an unknown kind")


def _scan(
    connection: Connection,
    collection: Collection,
    seal: CollectionSeal,
    probes: NDArray[np.float32],
    touched: set[bytes],
) -> tuple[NDArray[np.uint8], list[Ranking]]:
    """All face ids but the touched ones, and the best of them for each probe."""
    best = [Ranking([], []) for _ in probes]
    everything: list[NDArray[np.uint8]] = [np.empty((0, 16), np.uint8)]
    everything_stored = "SELECT face_id, template FROM enrolled_references WHERE ref_id BETWEEN ? AND ?"
    for rows in in_portions(connection, everything_stored, records.ref_id_range(collection.uid), _AT_ONCE):
        kept = [(face_id, seal.open(face_id, sealed)) for face_id, sealed in rows if face_id not in touched]
        if not kept:
            continue
        ids = records.id_rows(face_id for face_id, _ in kept)
        templates = from_template(b"".join(template for _, template in kept)).reshape(len(kept), -1)
        everything.append(ids)
        best = [
            _better(old, rank(ids, comparison_scores(templates, probe), DEPTH))
            for old, probe in zip(best, probes, strict=True)
        ]
    return np.concatenate(everything), best


def _better(one: Ranking, other: Ranking) -> Ranking:
    pairs: Iterable[tuple[float, bytes]] = (
        (-score, face_id)
        for ranking in (one, other)
        for face_id, score in zip(ranking.face_ids, ranking.scores, strict=True)
    )
    ordered = sorted(pairs)[:DEPTH]
    return Ranking([face_id for _, face_id in ordered], [-score for score, _ in ordered])


def _is_same(served: Ranking, expected: Ranking, touched: set[bytes]) -> bool:
    kept = [
        (face_id, score)
        for face_id, score in zip(served.face_ids, served.scores, strict=True)
        if face_id not in touched
    ]
    wanted = list(zip(expected.face_ids, expected.scores, strict=True))
    if len(served.face_ids) < DEPTH:  # all that the index has
        return kept == wanted
    return kept == wanted[: len(kept)]
