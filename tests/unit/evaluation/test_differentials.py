"""Groups against counting them one by one."""

from __future__ import annotations

import numpy as np
import pytest
from tests.unit.evaluation.made_up import LINE, crowd, labels, pairs, searches

from countenance.evaluation.comparisons import compare, units_of
from countenance.evaluation.dataset import Dataset
from countenance.evaluation.differentials import Differential, _inequity, differentials

SIMILARITY = 80.0
THRESHOLD = LINE.comparison_score(SIMILARITY)


def told(features: np.ndarray, usable: np.ndarray, dataset: Dataset) -> Differential:
    units = units_of(dataset)
    compared = compare(features, usable, dataset, [THRESHOLD])
    (found,) = differentials(
        dataset,
        compared,
        usable,
        units.of_image,
        units.count,
        [(SIMILARITY, THRESHOLD)],
        rounds=100,
        seed=1,
    )
    return found


@pytest.mark.parametrize("form", ["labels", "searches"])
def test_rates_within_and_between_groups(form: str) -> None:
    features, whose = crowd(90, 4, seed=1)
    group = tuple("north" if n < 50 else "south" if n < 87 else "" for n in range(90))
    usable = np.random.default_rng(1).random(len(whose)) > 0.05
    in_gallery = np.random.default_rng(2).random(len(whose)) > 0.5
    dataset = labels(whose, side=group) if form == "labels" else searches(whose, in_gallery, side=group)
    found = told(features, usable, dataset)
    assert [each.value for each in found.groups] == ["north", "not stated", "south"]
    assert [each.subjects for each in found.groups] == [50, 3, 37]
    i, j = np.triu_indices(len(whose), 1)
    if form == "searches":
        i, j = np.nonzero(~in_gallery[:, None] & in_gallery[None, :])
    of = np.array([each or "not stated" for each in group])[whose]
    made, same = usable[i] & usable[j], whose[i] == whose[j]
    scores = np.einsum("ij,ij->i", features[i], features[j])
    for each in found.groups:
        inside = (of[i] == each.value) & (of[j] == each.value)
        assert each.fmr.errors == (inside & ~same & made & (scores >= THRESHOLD)).sum()
        assert each.fmr.of == (inside & ~same & made).sum()
        assert each.fnmr.errors == (inside & same & (~made | (scores < THRESHOLD))).sum()
        assert each.fnmr.of == (inside & same).sum()
    assert found.groups[0].fmr.low < found.groups[0].fmr.value < found.groups[0].fmr.high
    assert not found.groups[1].fnmr_is_telling
    assert found.matrix is not None
    between = ((of[i] == "north") & (of[j] == "south")) | ((of[i] == "south") & (of[j] == "north"))
    truth = (scores[between & made] >= THRESHOLD).mean()
    assert found.matrix[0][2] == found.matrix[2][0] == pytest.approx(truth)
    document = found.to_json()
    assert document["groups"][1]["fnmr"] is None
    assert document["groups"][1]["genuine_comparisons"] == found.groups[1].fnmr.of


@pytest.mark.parametrize("knows_subjects", [True, False])
def test_groups_of_listed_comparisons(knows_subjects: bool) -> None:
    features, whose = crowd(60, 4, seed=3)
    rng = np.random.default_rng(5)
    i, j = np.triu_indices(len(whose), 1)
    chosen = rng.random(i.size) < 0.5
    i, j = i[chosen], j[chosen]
    usable = rng.random(len(whose)) > 0.05
    light = tuple((each, each) for each in rng.choice(["day", "night"], i.size).tolist())
    same = whose[i] == whose[j]
    found = told(features, usable, pairs(i, j, same, whose if knows_subjects else None, light=light))
    made = usable[i] & usable[j]
    scores = np.einsum("ij,ij->i", features[i], features[j])
    for each in found.groups:
        inside = np.array([one == each.value for one, _ in light])
        assert each.fmr.errors == (inside & ~same & made & (scores >= THRESHOLD)).sum()
        assert each.fmr.of == (inside & ~same & made).sum()
        assert each.fnmr.errors == (inside & same & (~made | (scores < THRESHOLD))).sum()
        assert each.fnmr.of == (inside & same).sum()
        assert each.fmr.low < each.fmr.value < each.fmr.high
        assert each.subjects is None


def test_ratios_of_the_worst() -> None:
    found = _inequity([("a", 0.01), ("b", 0.04), ("c", 0.02)])
    assert (found.worst, found.best) == ("b", "a")
    assert found.worst_to_best == pytest.approx(4.0)
    assert found.worst_to_mean == pytest.approx(2.0)
    assert _inequity([("a", 0.01)]).worst is None
    assert _inequity([("a", 0.0), ("b", 0.1)]).worst_to_best is None


def test_a_column_of_many_values_tells_the_commonest() -> None:
    features, whose = crowd(100, 2, seed=1)
    found = told(features, np.ones(200, np.bool_), labels(whose, code=tuple(str(n % 80) for n in range(100))))
    assert len(found.groups) == 60
    assert found.left_out == 20
    assert found.matrix is None
    assert {each.value for each in found.groups} >= {str(n) for n in range(20)}
