"""False candidates expected of a false match rate, held against searches that were drawn."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from countenance.cli.evaluation_summary import percent
from countenance.evaluation.expectation import GALLERIES, RELIED_ON, Expectation, expected


def test_every_similarity_that_is_relied_on_is_told_for_every_gallery() -> None:
    told = expected()
    assert [(each.similarity, each.gallery) for each in told] == [
        (similarity, gallery) for similarity, _ in RELIED_ON for gallery in GALLERIES
    ]
    assert [similarity for similarity, _ in RELIED_ON] == [80.0, 90.0, 99.0, 99.9]
    assert GALLERIES == (100, 10_000, 1_000_000)
    by = {(each.similarity, each.gallery): each for each in told}
    assert by[80.0, 10_000].false_candidates == pytest.approx(1)
    assert by[80.0, 10_000].most_fpir == pytest.approx(1 - (1 - 1e-4) ** 10_000)
    assert by[99.9, 1_000_000].false_candidates == pytest.approx(1)
    assert by[80.0, 1_000_000].to_json() == {
        "similarity": 80.0,
        "fmr": 1e-4,
        "gallery": 1_000_000,
        "false_candidates": 100.0,
        "most_fpir": 1.0,
    }


def test_a_rate_that_is_lost_in_a_double_of_one_is_not_lost_here() -> None:
    assert Expectation(99.0, 1e-18, 100).most_fpir == pytest.approx(1e-16, rel=1e-9)
    assert Expectation(100.0, 0.0, 100).most_fpir == 0


def test_the_guide_has_these_numbers() -> None:
    lines = (Path(__file__).parents[3] / "docs/guides/calibrate.md").read_text("utf-8").splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("SIMILARITY") and "REFERENCES" in line)
    for at, (similarity, _) in enumerate(RELIED_ON, start + 1):
        told = [
            f"{each.false_candidates:g} ({percent(each.most_fpir)})" for each in expected([RELIED_ON[at - start - 1]])
        ]
        assert re.split(r"\s{2,}", lines[at]) == [f"{similarity:g}", percent(dict(RELIED_ON)[similarity]), *told]


@pytest.mark.parametrize("alike", [0.0, 1.0, 2.0])
def test_searches_have_that_many_false_candidates_and_no_more_of_them_have_any(alike: float) -> None:
    """Probes whose false match rates differ, the more the greater `alike` is."""
    rng = np.random.default_rng(1)
    rates = 1e-3 * np.exp(alike * rng.standard_normal(100_000) - alike**2 / 2)
    rates = np.minimum(rates, 1.0)
    told = Expectation(80.0, float(rates.mean()), 1_000)
    found = rng.binomial(told.gallery, rates)
    assert found.mean() == pytest.approx(told.false_candidates, rel=0.05)
    fpir = float((found > 0).mean())
    assert fpir <= told.most_fpir + 0.005
    if alike == 0:
        assert fpir == pytest.approx(told.most_fpir, abs=0.005)
    else:
        assert fpir < told.most_fpir - 0.02
