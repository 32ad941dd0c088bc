"""Open-set searches against going through them one by one."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.evaluation.made_up import LINE, crowd, labels, searches

from countenance.evaluation import searching
from countenance.evaluation.dataset import Dataset
from countenance.evaluation.identification import Identification, identify
from countenance.evaluation.searching import plan


def found_in(features: np.ndarray, usable: np.ndarray, dataset: Dataset, seed: int = 1) -> Identification:
    planned = plan(dataset, seed)
    assert planned is not None
    return identify(features, usable, dataset, planned, LINE, rounds=100, seed=seed)


def brute(
    features: np.ndarray, usable: np.ndarray, whose: np.ndarray, in_gallery: np.ndarray, threshold: float
) -> tuple[int, int, int, int, int]:
    """False positives and non-mated searches; misses, mated searches and those that came first."""
    enrolled = {int(each) for each in whose[in_gallery]}
    false = non_mated = missed = mated = first = 0
    for probe in np.flatnonzero(~in_gallery):
        best: dict[int, float] = {}
        for reference in np.flatnonzero(in_gallery & usable):
            score = float(features[probe] @ features[reference])
            best[int(whose[reference])] = max(best.get(int(whose[reference]), -2.0), score)
        own = best.pop(int(whose[probe]), -2.0)
        other = max(best.values(), default=-2.0)
        if int(whose[probe]) in enrolled:
            mated += 1
            is_first = usable[probe] and own > other
            first += is_first
            missed += not (is_first and own >= threshold)
        elif usable[probe]:
            non_mated += 1
            false += other >= threshold
    return false, non_mated, missed, mated, first


@pytest.mark.parametrize("batch", [5, 256])
def test_full_gallery_agrees_with_brute_force(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    monkeypatch.setattr(searching, "PROBES", batch)
    features, whose = crowd(40, 5, seed=1)
    rng = np.random.default_rng(4)
    usable = rng.random(len(whose)) > 0.08
    in_gallery = (rng.random(len(whose)) > 0.5) & (whose < 28)
    found = found_in(features, usable, searches(whose, in_gallery))
    full = found.galleries[-1]
    for at in full.at:
        threshold = LINE.comparison_score(at.similarity)
        false, non_mated, missed, mated, first = brute(features, usable, whose, in_gallery, threshold)
        assert (at.fpir.errors, at.fpir.of) == (false, non_mated)
        assert (at.fnir.errors, at.fnir.of) == (missed, mated)
        assert (full.rank_one.errors, full.rank_one.of) == (first, mated)
    assert full.at[0].fpir.errors > 0
    assert found.missed_in_all == full.at[0].fnir.errors
    assert found.unacquired_probes == int((~usable & ~in_gallery).sum())
    assert found.unacquired_references == int((~usable & in_gallery).sum())


def test_smaller_galleries_are_averages_over_draws() -> None:
    features, whose = crowd(250, 2, seed=2)
    in_gallery = np.zeros(len(whose), np.bool_)
    in_gallery[np.unique(whose, return_index=True)[1]] = True
    in_gallery &= whose < 200
    found = found_in(features, np.ones(len(whose), np.bool_), searches(whose, in_gallery))
    assert [each.size for each in found.galleries] == [100, 200]
    small, full = found.galleries
    assert small.draws == 10
    assert small.mated == 10 * 100
    assert small.non_mated == 10 * (100 + 100)  # whoever was left out, and both images of those who never were in
    assert small.at[0].fpir.value < full.at[0].fpir.value
    assert small.rank_one.value >= full.rank_one.value


def test_of_labels_half_of_the_people_are_enrolled_with_their_first_image() -> None:
    _, whose = crowd(30, 3)
    planned = plan(labels(whose), 1)
    assert planned is not None
    assert len(planned.subjects) == 15
    for reference, person in zip(planned.references, planned.person, strict=True):
        subject = planned.subjects[person]
        assert reference == np.flatnonzero(whose == subject)[0]
    assert len(planned.probes) == 90 - 15
    assert set(planned.probes.tolist()).isdisjoint(planned.references.tolist())
    other = plan(labels(whose), 2)
    assert other is not None
    assert other.subjects.tolist() != planned.subjects.tolist()


def test_the_rate_at_a_false_positive_rate() -> None:
    features, whose = crowd(1_500, 2, seed=3)
    in_gallery = np.zeros(len(whose), np.bool_)
    in_gallery[np.unique(whose, return_index=True)[1]] = True
    in_gallery &= whose < 400
    found = found_in(features, np.ones(len(whose), np.bool_), searches(whose, in_gallery))
    one, rarer = found.galleries[-1].at_fpir
    assert one.similarity is not None
    assert one.fnir is not None
    threshold = LINE.comparison_score(one.similarity)
    false, non_mated, missed, mated, _ = brute(features, np.ones(len(whose), np.bool_), whose, in_gallery, threshold)
    assert false / non_mated <= 0.01
    assert missed / mated == pytest.approx(one.fnir, abs=5e-3)
    assert one.low is not None
    assert one.high is not None
    assert one.low < one.fnir < one.high
    assert rarer.fnir is None  # 2,200 searches would be answered falsely twice


def test_where_no_search_missed_at_a_false_positive_rate_the_bound_is_that_of_the_rule() -> None:
    features = np.eye(1_400, dtype=np.float32)[np.arange(2_800) // 2]
    whose = np.arange(2_800) // 2
    in_gallery = (np.arange(2_800) % 2 == 0) & (whose < 60)
    one = found_in(features, np.ones(2_800, np.bool_), searches(whose, in_gallery)).galleries[-1].at_fpir[0]
    assert (one.fnir, one.low, one.high, one.method) == (0.0, 0.0, 3 / 60, "rule of three")


def test_a_person_whose_references_have_no_face_is_missed() -> None:
    features = np.eye(3, 8, dtype=np.float32)[[0, 0, 1, 2]]
    whose = np.array([0, 0, 1, 2])
    in_gallery = np.array([True, False, True, False])
    usable = np.array([False, True, True, True])
    found = found_in(features, usable, searches(whose, in_gallery))
    full = found.galleries[-1]
    assert (full.rank_one.errors, full.rank_one.of) == (0, 1)
    assert full.at[0].fnir.errors == 1
    assert found.missed[0].score is None
    assert (found.missed[0].probe, found.missed[0].reference) == (1, 0)
