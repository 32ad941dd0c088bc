from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import countenance.recognition
from countenance.recognition import Calibration, ModelPackError
from countenance.recognition.calibration import SAME_FEATURES

PACK = Path(countenance.recognition.__file__).parent / "packs" / "yunet-sface"
SHIPPED = json.loads((PACK / "calibration.json").read_text("utf-8"))


@pytest.fixture
def calibration() -> Calibration:
    return Calibration.load((PACK / "calibration.json").read_text("utf-8"))


def curve(*points: tuple[float, float]) -> str:
    return json.dumps({"points": [{"comparison_score": score, "similarity": value} for score, value in points]})


def test_the_shipped_curve_rises_strictly_from_0_to_100(calibration: Calibration) -> None:
    scores = np.append(np.linspace(-1, SAME_FEATURES, 20_001)[:-1], 1)
    similarities = [calibration.similarity(float(score)) for score in scores]
    assert (similarities[0], similarities[-1]) == (0, 100)
    assert all(lower < higher for lower, higher in pairwise(similarities))


def test_a_similarity_of_100_is_what_cannot_be_told_from_the_same_features(calibration: Calibration) -> None:
    assert calibration.similarity(SAME_FEATURES) == 100
    assert calibration.similarity(SAME_FEATURES - 1e-5) < 100
    assert calibration.comparison_score(100) == SAME_FEATURES
    rng = np.random.default_rng(3)
    features = rng.normal(size=(2_000, 128))
    features = (features / np.linalg.norm(features, axis=1, keepdims=True)).astype(np.float32)
    stored = features.astype(np.float16).astype(np.float32)
    assert (features * stored).sum(axis=1).min() > SAME_FEATURES


def test_the_inverse_is_exact(calibration: Calibration) -> None:
    for score in np.linspace(-1, 1, 4_001)[:-1]:
        assert calibration.comparison_score(calibration.similarity(float(score))) == pytest.approx(score, abs=1e-9)
    for similarity in np.linspace(0, 100, 4_001):
        assert calibration.similarity(calibration.comparison_score(float(similarity))) == pytest.approx(
            similarity, abs=1e-9
        )


def test_the_points_are_met_exactly(calibration: Calibration) -> None:
    for point in SHIPPED["points"]:
        assert calibration.similarity(point["comparison_score"]) == point["similarity"]


def test_rounding_beyond_the_ends_stays_in_range(calibration: Calibration) -> None:
    assert calibration.similarity(1.0000002) == 100
    assert calibration.similarity(-1.0000002) == 0


def test_it_names_the_model_version_that_it_was_fitted_for() -> None:
    assert SHIPPED["model_version"] == json.loads((PACK / "manifest.json").read_text("utf-8"))["version"]


def test_rarer_false_matches_mean_higher_similarities() -> None:
    rates = [point["fmr"] for point in SHIPPED["points"]]
    assert all(common > rare for common, rare in pairwise(rates))
    assert {point["similarity"]: point["fmr"] for point in SHIPPED["points"]}.items() >= {(80.0, 1e-4), (99.0, 1e-5)}


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"points": 3}',
        '{"points": [{"comparison_score": "x", "similarity": 0}]}',
        curve((0, 0)),
        curve((-1, 0), (0.5, 80), (0.4, 99), (1, 100)),
        curve((-1, 0), (0.4, 99), (0.5, 80), (1, 100)),
        curve((-1, 0), (0.5, 80), (0.5, 99), (1, 100)),
        curve((-1, 5), (1, 100)),
        curve((-1, 0), (1, 99)),
    ],
)
def test_what_is_not_such_a_curve_is_refused(text: str) -> None:
    with pytest.raises(ModelPackError, match="calibration"):
        Calibration.load(text)
