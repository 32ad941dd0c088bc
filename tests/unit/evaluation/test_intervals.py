"""Rates, and what their intervals promise."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from tests.unit.evaluation.made_up import LINE, crowd, labels, pairs, searches, unit

from countenance.evaluation.comparisons import compare, units_of
from countenance.evaluation.dataset import Dataset
from countenance.evaluation.intervals import Resampling, bounds, drawn, population, rate, resampled
from countenance.evaluation.rates import SIMILARITIES, Rates


def resampling(
    features: np.ndarray, dataset: Dataset, usable: np.ndarray | None = None, **kept: int
) -> tuple[Resampling, int, Rates]:
    usable = np.ones(len(features), np.bool_) if usable is None else usable
    units = units_of(dataset)
    thresholds = [LINE.comparison_score(each) for each in SIMILARITIES]
    compared = compare(features, usable, dataset, thresholds, **kept)
    many = Resampling(
        compared, units.of_image, population(dataset, units.of_image, units.count, units.are_subjects, usable)
    )
    return many, units.count, Rates(compared, many, LINE, units=units.count, rounds=200, seed=1)


def herd(people: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two images of each person, of whom one in five is like many others."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((people, 6))
    centres[:, 0] += 2.0 * (rng.random(people) < 0.2)
    whose = np.repeat(np.arange(people), 2).astype(np.int32)
    return unit(centres[whose] + 0.3 * rng.standard_normal((whose.size, 6))), whose


def copied(features: np.ndarray, whose: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The images of people drawn again, copies under their own names; and whose copies they are."""
    rows, names, originals = [], [], []
    name = 0
    for person, times in enumerate(weights.astype(int)):
        for _ in range(times):
            mine = np.flatnonzero(whose == person)
            rows.append(features[mine])
            names += [name] * mine.size
            originals += [person] * mine.size
            name += 1
    return np.concatenate(rows), np.array(names), np.array(originals)


@pytest.mark.parametrize("form", ["labels", "searches"])
def test_a_round_is_what_comparing_the_people_drawn_gives(form: str) -> None:
    features, whose = crowd(25, 4, seed=11)
    in_gallery = np.arange(len(whose)) % 2 == 0
    dataset = labels(whose) if form == "labels" else searches(whose, in_gallery)
    many, units, _ = resampling(features, dataset)
    weights = next(drawn(units, 1, 5))
    drawn_features, names, originals = copied(features, whose, weights[0])
    i, j = np.triu_indices(len(names), 1)
    if form == "searches":
        roles = np.concatenate(
            [in_gallery[whose == person] for person in range(units) for _ in range(int(weights[0, person]))]
        )
        i, j = np.nonzero(~roles[:, None] & roles[None, :])
    scores = np.einsum("ij,ij->i", drawn_features[i], drawn_features[j])
    genuine, impostor = names[i] == names[j], originals[i] != originals[j]
    for threshold in (0.3, 0.6):
        fmr = (scores[impostor] >= threshold).mean()
        fnmr = (scores[genuine] < threshold).mean()
        assert many.false_matches(weights, threshold)[0] == pytest.approx(fmr, abs=1e-9)
        assert many.false_non_matches(weights, threshold, with_failures=False)[0] == pytest.approx(fnmr, abs=1e-9)


def test_the_projection_agrees_with_exact_weights() -> None:
    """The projection leaves out what is of second order, which vanishes as people become many: with 200 they agree to
    0.91, with 800 to 0.98, with 2,000 to 0.99."""
    features, whose = herd(800, 2)
    many, units, _ = resampling(features, labels(whose))
    threshold = 0.5  # an edge of the grid, where nothing is interpolated
    exact = resampled(lambda w: many.false_matches(w, threshold)[:, None], units, 300, 3)[:, 0]
    projected = resampled(lambda w: many.false_matches(w, threshold, project=True)[:, None], units, 300, 3)[:, 0]
    assert np.corrcoef(exact, projected)[0, 1] > 0.97
    for one, other in zip(bounds(exact), bounds(projected), strict=True):
        assert one == pytest.approx(other, rel=0.05)


def test_what_is_not_kept_is_projected() -> None:
    features, whose = crowd(100, 3, seed=2)
    few, *_ = resampling(features, labels(whose), kept=200)
    every, *_ = resampling(features, labels(whose))
    assert every.is_exact(0.0)
    assert not few.is_exact(0.0)
    assert few.is_exact(0.99)
    once = np.ones((1, 100))
    assert few.false_matches(once, 0.25)[0] == pytest.approx(every.false_matches(once, 0.25)[0], rel=1e-3)


def test_images_are_units_where_nobody_says_whose_they_are() -> None:
    features, whose = crowd(20, 3, seed=4)
    i, j = np.triu_indices(len(whose), 1)
    dataset = pairs(i, j, whose[i] == whose[j])
    assert not units_of(dataset).are_subjects
    many, units, _ = resampling(features, dataset)
    weights = next(drawn(units, 3, 1))
    scores, same = np.einsum("ij,ij->i", features[i], features[j]), whose[i] == whose[j]
    both = weights[:, i] * weights[:, j]
    fmr = (both * (~same & (scores >= 0.5))).sum(1) / (both * ~same).sum(1)
    fnmr = (both * (same & (scores < 0.5))).sum(1) / (both * same).sum(1)
    assert many.false_matches(weights, 0.5) == pytest.approx(fmr)
    assert many.false_non_matches(weights, 0.5, with_failures=False) == pytest.approx(fnmr)


def test_images_without_a_face_are_false_non_matches_and_no_false_matches() -> None:
    features, whose = crowd(30, 2, spread=0.05, seed=6)
    usable = np.ones(len(whose), np.bool_)
    usable[np.flatnonzero(whose < 3)[::2]] = False
    failed = len({int(each) for each in whose[~usable]})
    _, _, rates = resampling(features, labels(whose), usable)
    found = rates.at_similarity(80.0)
    assert (found.fnmr.errors, found.fnmr.of) == (failed, 30)
    assert (found.fnmr_acquired.errors, found.fnmr_acquired.of) == (0, 30 - failed)
    assert found.fnmr.low < failed / 30 < found.fnmr.high
    assert found.fmr.of == (len(usable.nonzero()[0]) * (usable.sum() - 1)) // 2 - (30 - failed)


def test_no_error_is_bounded_by_the_rule_of_three() -> None:
    found = rate(0, 300, np.zeros(500))
    assert (found.value, found.low, found.high, found.method) == (0.0, 0.0, 0.01, "rule of three")
    assert rate(0, 2, np.zeros(5)).high == 1.0
    assert rate(0, 300, np.zeros(5), repeats=10).high == pytest.approx(0.1)  # 30 searches, each in ten galleries
    every = rate(300, 300, np.ones(500))
    assert (every.value, every.low, every.high, every.method) == (1.0, 0.99, 1.0, "rule of three")
    assert rate(2, 2, np.ones(5)).low == 0.0
    empty = rate(0, 0, np.zeros(5)).to_json()
    assert empty["value"] is None
    assert empty["high"] is None


def test_draws_repeat_with_their_seed() -> None:
    one, same, other = (np.concatenate(list(drawn(50, 45, seed))) for seed in (1, 1, 2))
    assert one.shape == (45, 50)
    assert (one.sum(1) == 50).all()
    assert (one == same).all()
    assert (one != other).any()


def test_false_non_match_intervals_cover_the_truth_when_people_differ() -> None:
    """People whose comparisons fail together: 95 % intervals that take comparisons for independent would cover 60 %."""
    rng = np.random.default_rng(20)
    people, shots, runs = 120, 5, 60
    comparisons = shots * (shots - 1) // 2
    covered = naive = 0
    for _ in range(runs):
        chance = rng.beta(0.2, 1.8, people)  # mean 0.1, most people never, some often
        wrong = rng.random((people, comparisons)) < chance[:, None]
        errors, of = wrong.sum(1).astype(float), np.full(people, float(comparisons))
        samples = resampled(lambda w, e=errors, o=of: (w @ e / (w @ o))[:, None], people, 200, 1)[:, 0]
        found = rate(int(errors.sum()), int(of.sum()), samples)
        covered += found.low <= 0.1 <= found.high
        half = 1.96 * np.sqrt(found.value * (1 - found.value) / found.of)
        naive += abs(found.value - 0.1) <= half
    assert covered >= 0.85 * runs
    assert naive < 0.75 * runs


def test_false_match_intervals_cover_the_truth_when_people_differ() -> None:
    """Some people are like many others; the truth is what a crowd of very many people shows."""

    features, whose = herd(3_000, 1)
    truth_threshold = 0.6
    compared = compare(features, np.ones(len(whose), np.bool_), labels(whose), [truth_threshold], kept=10)
    truth = compared.at_or_above[truth_threshold] / compared.impostors
    covered, runs = 0, 50
    for run in range(runs):
        features, whose = herd(100, 100 + run)
        many, units, _ = resampling(features, labels(whose))
        low, high = bounds(
            resampled(lambda w, m=many: m.false_matches(w, truth_threshold)[:, None], units, 200, 1)[:, 0]
        )
        covered += low <= truth <= high
    assert covered >= 0.84 * runs


def test_a_rate_at_a_false_match_rate_wants_ten_expected_errors() -> None:
    features, whose = crowd(100, 3, seed=8)
    _, _, rates = resampling(features, labels(whose))
    told = rates.at_fmr(1e-3)
    assert told.expected == pytest.approx(300 * 299 / 2 * 1e-3 - 0.3)
    assert told.fnmr is not None
    assert told.threshold is not None
    scores = (features @ features.T)[np.triu_indices(300, 1)]
    same = (whose[:, None] == whose[None, :])[np.triu_indices(300, 1)]
    assert (scores[~same] >= told.threshold).mean() <= 1e-3
    assert told.fnmr.value == pytest.approx((scores[same] < told.threshold).mean(), abs=2e-3)
    assert told.fnmr.low < told.fnmr.value < told.fnmr.high
    assert rates.at_fmr(1e-4).fnmr is None


def test_rates_where_scores_are_not_kept_are_those_where_they_are() -> None:
    features, whose = crowd(150, 3, seed=9)
    _, _, every = resampling(features, labels(whose))
    _, _, few = resampling(features, labels(whose), kept=300)
    one, other = every.at_fmr(0.02), few.at_fmr(0.02)
    assert one.fnmr is not None
    assert other.fnmr is not None
    assert other.fnmr.value == pytest.approx(one.fnmr.value, abs=5e-3)
    assert other.fnmr.low == pytest.approx(one.fnmr.low, abs=0.03)
    assert other.fnmr.high == pytest.approx(one.fnmr.high, abs=0.03)


def test_the_equal_error_rate_and_the_curve() -> None:
    features, whose = crowd(150, 4, seed=10)
    _, _, rates = resampling(features, labels(whose))
    i, j = np.triu_indices(len(whose), 1)
    scores, same = np.einsum("ij,ij->i", features[i], features[j]), whose[i] == whose[j]
    grid = np.linspace(-1, 1, 4001)
    fmr = 1 - np.searchsorted(np.sort(scores[~same]), grid) / (~same).sum()
    fnmr = np.searchsorted(np.sort(scores[same]), grid) / same.sum()
    truth = fmr[np.argmin(np.abs(fmr - fnmr))]
    found = rates.equal_error_rate()
    assert found is not None
    assert found.value == pytest.approx(truth, abs=2e-3)
    assert found.low < found.value < found.high
    points = rates.curve()
    assert len(points) > 20
    for one, later in pairwise(points):
        assert one.threshold > later.threshold
        assert one.fmr <= later.fmr
        assert one.fnmr >= later.fnmr
    for each in points[::10]:
        assert each.fmr == pytest.approx((scores[~same] >= each.threshold).mean(), abs=1e-4)
        assert each.fnmr == pytest.approx((scores[same] < each.threshold).mean(), abs=2e-3)
