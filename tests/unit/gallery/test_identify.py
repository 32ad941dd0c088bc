from __future__ import annotations

import numpy as np
import pytest
from tests.congruence.samples import ACCOUNT, World, enrolments, entry, name_id, unit_rows

from countenance.gallery import comparison


def found(opened: World, probes: np.ndarray, **options: object) -> list[list[tuple[str, float]]]:
    answer = opened.gallery.identify(ACCOUNT, "c", probes, **({"max_candidates": 10} | options))  # type: ignore[arg-type]
    return [[(each.reference.face_id, each.comparison_score) for each in ranking] for ranking in answer]


@pytest.fixture
def full(at_home: World) -> World:
    at_home.gallery.enrol(ACCOUNT, "c", enrolments(range(40), unit_rows(40, 16, 1)), entry=entry())
    return at_home


def test_scores_are_the_canonical_ones_in_descending_order(full: World) -> None:
    probe = unit_rows(1, 16, 2)
    templates = unit_rows(40, 16, 1).astype(np.float16)
    scores = comparison.comparison_scores(templates, probe[0])
    expected = sorted(((name_id(at), float(scores[at])) for at in range(40)), key=lambda pair: (-pair[1], pair[0]))
    assert found(full, probe, max_candidates=40) == [expected]
    assert found(full, probe, max_candidates=7) == [expected[:7]]


def test_the_threshold_is_inclusive_and_comes_after_the_best_were_taken(full: World) -> None:
    probe = unit_rows(1, 16, 2)
    (ranking,) = found(full, probe)
    third = ranking[2][1]
    assert found(full, probe, minimum_score=third) == [ranking[:3]]
    assert found(full, probe, minimum_score=np.nextafter(np.float32(third), np.float32(1))) == [ranking[:2]]
    assert found(full, probe, minimum_score=1.0) == [[]]


def test_an_excluded_face_is_replaced_by_the_next_one(full: World) -> None:
    probe = full.gallery.features_of(ACCOUNT, "c", name_id(5))[None, :]
    (ranking,) = found(full, probe, max_candidates=6)
    assert ranking[0][0] == name_id(5)
    assert found(full, probe, max_candidates=5, exclude_face_id=name_id(5)) == [ranking[1:]]
    assert found(full, probe, max_candidates=5, exclude_face_id="no such id") == [ranking[:5]]


def test_ties_are_ordered_by_face_id(at_home: World) -> None:
    row = unit_rows(1, 16, 3)
    at_home.gallery.enrol(ACCOUNT, "c", enrolments(range(50), np.repeat(row, 50, axis=0)), entry=entry())
    (ranking,) = found(at_home, row, max_candidates=10)
    assert [face_id for face_id, _ in ranking] == sorted(name_id(at) for at in range(50))[:10]
    assert len({score for _, score in ranking}) == 1


def test_no_probes_no_candidates_wanted_and_an_empty_collection(full: World) -> None:
    assert found(full, np.empty((0, 16), np.float32)) == []
    assert found(full, unit_rows(2, 16, 2), max_candidates=0) == [[], []]
    full.create("empty")
    assert full.gallery.identify(ACCOUNT, "empty", unit_rows(2, 16, 2), max_candidates=3) == [[], []]


@pytest.mark.parametrize("wrong", [-1, 4097])
def test_more_candidates_than_the_contract_allows_are_refused(full: World, wrong: int) -> None:
    with pytest.raises(ValueError, match="max_candidates"):
        found(full, unit_rows(1, 16, 2), max_candidates=wrong)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 1.0])
def test_probes_that_are_no_features_are_refused(full: World, value: float) -> None:
    with pytest.raises(ValueError, match="finite and of length 1"):
        found(full, np.full((1, 16), value, np.float32))


def test_a_score_does_not_depend_on_what_is_scored_with_it() -> None:
    templates = unit_rows(5000, 128, 4).astype(np.float16)
    probe = unit_rows(1, 128, 5)[0]
    together = comparison.comparison_scores(templates, probe)
    for at in (0, 1, 2047, 2048, 4999):
        alone = comparison.comparison_scores(templates[at : at + 1], probe)
        assert alone[0].tobytes() == together[at].tobytes()
    scattered = np.asfortranarray(templates)[::-1]
    np.testing.assert_array_equal(comparison.comparison_scores(scattered, probe)[::-1], together)


@pytest.mark.parametrize("dimension", [1, 2, 3, 7, 100, 128, 129, 512])
def test_a_score_is_the_inner_product_within_the_stated_bound(dimension: int) -> None:
    templates = unit_rows(200, dimension, 6).astype(np.float16)
    probe = unit_rows(1, dimension, 7)[0]
    exact = templates.astype(np.float64) @ probe.astype(np.float64)
    difference = np.abs(comparison.comparison_scores(templates, probe) - np.clip(exact, -1, 1))
    assert difference.max() <= comparison.score_error_bound(dimension)


def test_a_face_against_itself_is_never_above_one() -> None:
    row = np.full(16, 0.2502, np.float32)  # its fp16 form has a length a little above 1
    assert comparison.comparison_scores(row[None, :].astype(np.float16) * np.float16(1.01), row)[0] == 1.0
