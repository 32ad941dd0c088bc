from __future__ import annotations

import numpy as np
import pytest

from countenance.evaluation import (
    ErrorRate,
    accuracy_at,
    best_threshold,
    equal_error_rate,
    rates_at,
    threshold_at_fmr,
)

GENUINE = np.array([0.9, 0.8, 0.7, 0.4])
IMPOSTOR = np.array([0.5, 0.3, 0.2, 0.1, 0.0])


def test_rates_count_a_score_at_the_threshold_as_a_match() -> None:
    rates = rates_at(0.5, GENUINE, IMPOSTOR)
    assert (rates.fmr.errors, rates.fmr.of) == (1, 5)
    assert (rates.fnmr.errors, rates.fnmr.of) == (1, 4)
    assert rates_at(0.5001, GENUINE, IMPOSTOR).fmr.errors == 0


def test_the_best_threshold_decides_most_comparisons_rightly() -> None:
    threshold = best_threshold(GENUINE, IMPOSTOR)
    best = accuracy_at(threshold, GENUINE, IMPOSTOR).errors
    assert best == 8
    assert all(accuracy_at(other, GENUINE, IMPOSTOR).errors <= best for other in np.linspace(-1, 1, 2001))


def test_wilsons_interval_agrees_with_published_values() -> None:
    # Newcombe (1998), Statistics in Medicine 17:857-872, table I: 81/263, 15/148 and 0/20 by method 3.
    for errors, of, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        assert ErrorRate(errors, of).interval() == pytest.approx((low, high), abs=5e-5)


def test_nothing_counted_says_nothing() -> None:
    assert ErrorRate(0, 0).interval() == (0.0, 1.0)
    assert np.isnan(ErrorRate(0, 0).value)


def test_equal_error_rate_of_mirrored_scores() -> None:
    rng = np.random.default_rng(1)
    genuine = rng.normal(1, 1, 20_000)
    # Two unit normals two apart meet at one standard deviation: 15.87 %.
    assert equal_error_rate(genuine, genuine - 2) == pytest.approx(0.1587, abs=0.006)


def test_a_threshold_at_an_fmr_lets_no_more_through_and_is_the_lowest() -> None:
    scores = np.sort(np.random.default_rng(2).normal(size=10_000))[::-1]
    for fmr in (1e-1, 1e-3, 1e-4):
        threshold = threshold_at_fmr(fmr, scores, scores.size)
        allowed = int(fmr * scores.size)
        assert (scores >= threshold).sum() == allowed
        assert (scores >= np.nextafter(threshold, -9)).sum() == allowed + 1
    with pytest.raises(ValueError, match="too few"):
        threshold_at_fmr(0.5, scores[:10], 1000)
