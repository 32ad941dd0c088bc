"""One-to-many search: probes against a collection's index, answered with references and scores.

The index finds and scores face ids; the record of each comes from the database. A reference that is erased
between the two steps is left out of the answer: its erasure was not acknowledged when the search began.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from countenance.biometrics import Candidate, Reference
from countenance.gallery import records, users
from countenance.gallery.comparison import Ranking
from countenance.gallery.enrolment import LENGTH_TOLERANCE, placeholders, portions
from countenance.gallery.faults import (
    ModelMismatch,
)
from countenance.gallery.gathering import GATHERED_FROM_FEATURES, MOST_PROBES
from countenance.gallery.shelf import Shelf
from countenance.gallery.values import (
    MAX_CANDIDATES,
    Collection,
    UserCandidate,
)
from countenance.store import Database


def identify(
    database: Database,
    shelf: Shelf,
    collection: Collection,
    probes: NDArray[np.float32],
    *,
    max_candidates: int,
    minimum_score: float,
    excluded: list[bytes],
) -> list[list[Candidate]]:
    """The candidates of each probe; see `Gallery.identify`.

    Args:
        excluded: face ids that are not candidates, such as the probe's own.
    """
    chosen = ranked(
        shelf,
        collection,
        collection.revision,
        probes,
        max_candidates=max_candidates,
        minimum_score=minimum_score,
        excluded=excluded,
    )
    references = _references(database, collection, list({face_id for ranking in chosen for face_id, _ in ranking}))
    return [
        [Candidate(references[face_id], score) for face_id, score in ranking if face_id in references]
        for ranking in chosen
    ]


def identify_users(
    database: Database,
    shelf: Shelf,
    collection: Collection,
    probes: NDArray[np.float32],
    *,
    max_candidates: int,
    minimum_score: float,
    excluded: list[bytes],
) -> list[list[UserCandidate]]:
    """The users of each probe; see `Gallery.identify_users`.

    Args:
        shelf: that of what users are compared by.
        excluded: keys of users that are not candidates.
    """
    chosen = ranked(
        shelf,
        collection,
        collection.user_revision,
        probes,
        max_candidates=max_candidates,
        minimum_score=minimum_score,
        excluded=excluded,
    )
    seqs = list({users.seq_of(key) for ranking in chosen for key, _ in ranking})
    with database.reading() as connection:
        known = users.of_seqs(connection, collection.uid, seqs)
    return [
        [UserCandidate(known[users.seq_of(key)], score) for key, score in ranking if users.seq_of(key) in known]
        for ranking in chosen
    ]


def ranked(
    shelf: Shelf,
    collection: Collection,
    revision: int,
    probes: NDArray[np.float32],
    *,
    max_candidates: int,
    minimum_score: float,
    excluded: list[bytes],
) -> list[list[tuple[bytes, float]]]:
    """Keys and scores of the best of an index for each probe.

    Args:
        revision: what was committed when the search began, by whatever process: the index has at least this.
    """
    if not 0 <= max_candidates <= MAX_CANDIDATES:
        raise ValueError(f"max_candidates is between 0 and {MAX_CANDIDATES}")
    probes = np.ascontiguousarray(probes, np.float32)
    if probes.ndim != 2 or probes.shape[1] != collection.dimension:
        raise ModelMismatch("The probe has another dimension than the collection's features.")
    lengths = np.linalg.norm(probes, axis=1)
    if not bool(np.all(np.abs(lengths - 1.0) <= LENGTH_TOLERANCE)):  # false for NaN as well
        raise ValueError("probes are finite and of length 1")
    # one more than asked for each key that will be dropped
    count = max_candidates + len(excluded) if max_candidates else 0
    rankings = _searched(shelf, collection, revision, probes, count)
    # The threshold comes after the best were taken: FAISS's own range search is over twenty times slower.
    return [_chosen(ranking, max_candidates, minimum_score, set(excluded)) for ranking in rankings]


def _searched(
    shelf: Shelf, collection: Collection, revision: int, probes: NDArray[np.float32], count: int
) -> list[Ranking]:
    """Of a large collection, together with who searches it at the same moment."""
    if collection.face_count * collection.dimension >= GATHERED_FROM_FEATURES and 0 < len(probes) <= MOST_PROBES:
        return shelf.gathering.search(
            collection.uid, lambda least: shelf.lent(collection.uid, least), probes, count, revision
        )
    with shelf.lent(collection.uid, revision) as index:
        return index.search(probes, count)


def _chosen(ranking: Ranking, count: int, minimum_score: float, excluded: set[bytes]) -> list[tuple[bytes, float]]:
    kept = [
        (face_id, score)
        for face_id, score in zip(ranking.face_ids, ranking.scores, strict=True)
        if face_id not in excluded
    ]
    return [(face_id, score) for face_id, score in kept[:count] if score >= minimum_score]


def _references(database: Database, collection: Collection, face_ids: list[bytes]) -> dict[bytes, Reference]:
    found: dict[bytes, Reference] = {}
    with database.reading() as connection:
        for portion in portions(face_ids):
            marks = placeholders(len(portion))
            rows = connection.execute(
                f"SELECT {records.REFERENCE_TOLD} FROM enrolled_references "  # noqa: S608
                f"WHERE uid = ? AND face_id IN ({marks})",
                (collection.uid, *portion),
            ).fetchall()
            found.update((row[0], records.reference_of(row, collection.model_version)) for row in rows)
    return found
