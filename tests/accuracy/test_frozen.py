"""A change in accuracy is a difference to a committed result. `make accuracy` prints the figures; minutes."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
FROZEN: dict[str, Any] = json.loads((HERE / "frozen.json").read_text())
CHECK: dict[str, Any] = json.loads((HERE / "calibration_check.json").read_text())
CALIBRATION = ROOT / "src/countenance/recognition/packs/yunet-sface/calibration.json"
MANIFEST = CALIBRATION.with_name("manifest.json")


def test_the_frozen_result_meets_the_target() -> None:
    assert FROZEN["verification"]["devtest_right"] >= 0.99 * FROZEN["verification"]["devtest_pairs"]
    assert FROZEN["verification"]["without_a_face"] == 0


def test_the_calibration_was_fitted_on_the_model_it_ships_with() -> None:
    assert json.loads(CALIBRATION.read_text())["model_version"] == json.loads(MANIFEST.read_text())["version"]
    assert FROZEN["face_model"] == json.loads(MANIFEST.read_text())["version"]


def test_the_calibration_makes_its_four_promises() -> None:
    points = {point["similarity"]: point for point in json.loads(CALIBRATION.read_text())["points"]}
    assert [points[each]["fmr"] for each in (80.0, 90.0, 99.0, 99.9)] == [1e-4, 3e-5, 1e-5, 1e-6]
    assert points[99.9]["extrapolated"]
    scores = [points[each]["comparison_score"] for each in sorted(points)]
    assert scores == sorted(set(scores))


@pytest.mark.parametrize("similarity", [80.0, 90.0, 99.0, 99.9])
def test_on_people_it_was_not_fitted_on_the_promise_lies_in_the_interval(similarity: float) -> None:
    (point,) = [each for each in CHECK["points"] if each["similarity"] == similarity]
    assert point["fmr"]["low"] <= point["promised_fmr"] <= point["fmr"]["high"]


def test_leaving_out_what_is_of_low_quality_leaves_fewer_misses() -> None:
    quality = json.loads((HERE / "quality.json").read_text())
    curve = quality["curves"]["quality measure"]
    assert curve == sorted(curve, reverse=True)
    assert curve[-1] < 0.25 * curve[0]
    refused = [level["missed_of_refused"] for level in quality["levels"]]
    kept = [level["missed_of_kept"] for level in quality["levels"]]
    assert refused == sorted(refused, reverse=True)
    assert kept == sorted(kept, reverse=True)
    assert all(level["risk"] < level["missed_of_refused"] for level in quality["levels"])


def test_a_figure_that_leaves_its_interval_is_told() -> None:
    differences = runpy.run_path(str(ROOT / "scripts/accuracy.py"))["differences"]
    assert differences(FROZEN, FROZEN) == []
    worse = deepcopy(FROZEN)
    worse["verification"]["devtest_right"] -= 20
    worse["all_pairs"]["at_similarity"][1]["fnmr"]["value"] += 0.05
    worse["all_pairs"]["at_fpir"][0]["fnir"] = None
    worse["detection"][0]["found"] -= 1
    told = differences(FROZEN, worse)
    assert len(told) == 4
    assert any("FNMR of all pairs at similarity 80" in each for each in told)


@pytest.mark.slow
def test_a_new_measurement_stays_within_the_frozen_intervals(test_data: Path) -> None:
    done = subprocess.run([sys.executable, ROOT / "scripts" / "accuracy.py"], check=False, timeout=3000)
    assert done.returncode == 0
