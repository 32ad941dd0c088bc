"""How two sets of features are compared and how scores are put in order: in one way, everywhere.

The comparison score is the inner product of the probe with the stored fp16 features, which is the cosine,
as both have length 1. It is summed in float32 along a fixed binary tree, one elementwise addition per level.
Elementwise IEEE 754 operations have one correct result, so a score is the same bits on every machine, in
every batch and whatever other rows are scored with it; a BLAS product or numpy's own sum promises neither.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_ROWS_AT_ONCE = 2048  # 1 MiB of float32 products at 128 features: stays in the second-level cache


@dataclass(frozen=True, slots=True)
class Ranking:
    """Face ids (16 bytes each) with their comparison scores, the best first."""

    face_ids: list[bytes]
    scores: list[float]


def comparison_scores(templates: NDArray[np.float16], probe: NDArray[np.float32]) -> NDArray[np.float32]:
    """The canonical score of each row of `templates` (n, d) fp16 with `probe` (d,) float32, in [-1, 1]."""
    scores = np.empty(len(templates), np.float32)
    for start in range(0, len(templates), _ROWS_AT_ONCE):
        products = templates[start : start + _ROWS_AT_ONCE].astype(np.float32)
        products *= probe
        scores[start : start + _ROWS_AT_ONCE] = _summed(products)
    return scores


def paired_scores(templates: NDArray[np.float16], probes: NDArray[np.float32]) -> NDArray[np.float32]:
    """The canonical score of each row of `templates` (n, d) with the probe in the same row of `probes` (n, d)."""
    scores = np.empty(len(templates), np.float32)
    for start in range(0, len(templates), _ROWS_AT_ONCE):
        products = templates[start : start + _ROWS_AT_ONCE].astype(np.float32)
        products *= probes[start : start + _ROWS_AT_ONCE]
        scores[start : start + _ROWS_AT_ONCE] = _summed(products)
    return scores


def _summed(products: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row's sum along the tree, in [-1, 1]; spoils what it is given."""
    width = products.shape[1]
    while width > 1:
        lower = width // 2
        products[:, :lower] += products[:, width - lower : width]
        width -= lower
    # fp16 rounding leaves lengths a little beyond 1, and so would a face compared with itself be
    return np.clip(products[:, 0], -1.0, 1.0)


def rank(face_ids: NDArray[np.uint8], scores: NDArray[np.float32], count: int) -> Ranking:
    """The best `count` of the rows: score descending, then face id ascending.

    Args:
        face_ids: (n, 16) bytes.
        scores: (n,) canonical scores.
    """
    if count < len(scores):
        # every row that ties with the last place must take part in the order
        last_place = np.partition(scores, len(scores) - count)[len(scores) - count]
        kept = np.flatnonzero(scores >= last_place)
        face_ids, scores = face_ids[kept], scores[kept]
    return ranked_by_probe(np.zeros(len(scores), np.intp), face_ids, scores, count, 1)[0]


def ranked_by_probe(
    probes: NDArray[np.intp],
    face_ids: NDArray[np.uint8],
    scores: NDArray[np.float32],
    count: int,
    probe_count: int,
) -> list[Ranking]:
    """The best `count` rows of each probe: score descending, then face id ascending.

    Args:
        probes: (n,) which probe a row was scored with, 0 to `probe_count` - 1.
        face_ids: (n, 16) bytes.
        scores: (n,) canonical scores.
    """
    words = np.ascontiguousarray(face_ids).view(">u8").astype(np.uint64)
    order = np.lexsort((words[:, 1], words[:, 0], -scores, probes))
    ends = np.searchsorted(probes[order], np.arange(probe_count + 1))
    rankings = []
    for start, end in pairwise(ends):
        chosen = order[start : min(end, start + count)]
        ids = face_ids[chosen].tobytes()
        rankings.append(Ranking([ids[at : at + 16] for at in range(0, len(ids), 16)], scores[chosen].tolist()))
    return rankings


def score_error_bound(dimension: int) -> float:
    """By how much two float32 summation orders of one inner product of unit vectors can differ.

    Higham, Accuracy and Stability of Numerical Algorithms, section 3.1: each is within d*u/(1-d*u) times the
    inner product of the absolute values, which is at most about 1; u = 2^-24. Two of them, and some room for
    lengths slightly beyond 1.
    """
    return 2.1 * dimension * 2.0**-24
