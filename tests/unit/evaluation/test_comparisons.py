"""What is counted while streaming is what counting everything at once gives."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from tests.unit.evaluation.made_up import crowd, labels, pairs, searches

from countenance.evaluation import comparisons
from countenance.evaluation.comparisons import BINS, GRID, Comparisons, compare
from countenance.evaluation.dataset import Dataset

THRESHOLDS = [0.2, 0.5, 0.7351]


def brute(features: np.ndarray, usable: np.ndarray, whose: np.ndarray, dataset: Dataset) -> tuple[np.ndarray, ...]:
    """Scores, both images and whether they are of one person, of every comparison."""
    i, j = np.triu_indices(len(whose), 1)
    if dataset.in_gallery is not None:
        i, j = np.nonzero(~dataset.in_gallery[:, None] & dataset.in_gallery[None, :])
    made = usable[i] & usable[j]
    i, j = i[made], j[made]
    return (features @ features.T)[i, j], i, j, whose[i] == whose[j]


def check(found: Comparisons, scores: np.ndarray, i: np.ndarray, j: np.ndarray, same: np.ndarray) -> None:
    edges = np.append(np.arange(BINS + 1) / (BINS // 2) - 1, np.inf)
    # Products of blocks may differ from one product in the last bit, which moves a score across an edge now and then.
    assert np.abs(found.impostor_bins - np.histogram(scores[~same], edges)[0]).sum() <= 4
    assert np.abs(found.genuine_bins - np.histogram(scores[same], edges)[0]).sum() <= 4
    assert found.impostors == int((~same).sum())
    assert found.genuines == int(same.sum())
    for threshold in THRESHOLDS:
        assert found.at_or_above[threshold] == int((scores[~same] >= threshold).sum())
        assert found.below[threshold] == int((scores[same] < threshold).sum())
    best = np.sort(scores[~same])[::-1][: found.highest.scores.size]
    assert found.highest.scores == pytest.approx(best, abs=1e-6)
    assert found.lowest.scores == pytest.approx(np.sort(scores[same])[: found.lowest.scores.size], abs=1e-6)
    by_pair = {frozenset(pair): score for *pair, score in zip(i.tolist(), j.tolist(), scores.tolist(), strict=True)}
    for kept in (found.highest, found.lowest):
        for a, b, score in zip(kept.first.tolist(), kept.second.tolist(), kept.scores.tolist(), strict=True):
            assert by_pair[frozenset((a, b))] == pytest.approx(score, abs=1e-6)


@pytest.mark.parametrize("block", [7, 64, 1024])
@pytest.mark.parametrize("form", ["labels", "searches"])
def test_streaming_counts_what_brute_force_counts(monkeypatch: pytest.MonkeyPatch, block: int, form: str) -> None:
    monkeypatch.setattr(comparisons, "BLOCK", block)
    features, whose = crowd(40, 5, seed=3)
    usable = np.random.default_rng(1).random(len(whose)) > 0.1
    in_gallery = np.random.default_rng(2).random(len(whose)) > 0.6
    dataset = labels(whose) if form == "labels" else searches(whose, in_gallery)
    found = compare(features, usable, dataset, THRESHOLDS, kept=500, kept_genuine=50)
    every = brute(features, usable, whose, dataset)
    check(found, *every)
    scores, i, j, same = every
    assert not found.highest.complete
    assert found.highest.scores.size == 500
    assert found.lowest.scores.size == 50
    everything = brute(features, np.ones_like(usable), whose, dataset)
    assert found.unacquired_genuine == int(everything[3].sum() - same.sum())
    assert found.unacquired_impostor == int((~everything[3]).sum() - (~same).sum())
    # Each comparison of different people counts once for either of them, each of one person once.
    for person in (0, 17, 39):
        mine = ((whose[i] == person) | (whose[j] == person)) & ~same
        assert found.impostor_of_unit[person].sum() == mine.sum()
        assert found.genuine_of_unit[person].sum() == (same & (whose[i] == person)).sum()
        edge = GRID * 3 // 4  # a score of 0.5
        assert abs(int(found.impostor_of_unit[person, edge:].sum()) - int((scores[mine] >= 0.5).sum())) <= 1


def test_listed_comparisons_are_counted_one_by_one() -> None:
    features, whose = crowd(30, 4, seed=5)
    rng = np.random.default_rng(7)
    i, j = np.triu_indices(len(whose), 1)
    chosen = rng.random(i.size) < 0.2
    i, j = i[chosen], j[chosen]
    usable = rng.random(len(whose)) > 0.1
    dataset = pairs(i, j, whose[i] == whose[j])
    found = compare(features, usable, dataset, THRESHOLDS)
    made = usable[i] & usable[j]
    scores = np.einsum("ij,ij->i", features[i], features[j])
    check(found, scores[made], i[made], j[made], (whose[i] == whose[j])[made])
    assert found.highest.complete
    assert found.unacquired_genuine == int((~made & (whose[i] == whose[j])).sum())


def test_a_score_of_one_and_above_is_in_the_last_bin() -> None:
    features = np.zeros((2, 8), np.float32)
    features[:, 0] = np.float32(1) + np.finfo(np.float32).eps
    found = compare(features, np.ones(2, np.bool_), labels(np.array([0, 1])), [1.0])
    assert found.impostor_bins[-1] == 1
    assert found.at_or_above[1.0] == 1


def test_memory_does_not_grow_with_comparisons() -> None:
    """Four times the images are sixteen times the comparisons; what is held grows with the images, and little."""

    def peak(people: int) -> int:
        features, whose = crowd(people, 2, dimension=16)
        tracemalloc.start()
        compare(features, np.ones(len(whose), np.bool_), labels(whose), [0.5], kept=10_000, kept_genuine=1_000)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    small, large = peak(1_000), peak(4_000)
    units = 3_000 * (GRID + 1) * 4 * 2  # counts by person
    assert large < small * 1.6 + units
    assert large < 8_000**2 * 4 / 2  # half of one matrix of scores
