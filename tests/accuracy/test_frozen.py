"""A change in accuracy is a difference to a committed result. Minutes; `make accuracy` prints the figures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from countenance.evaluation import ErrorRate

HERE = Path(__file__).parent
FROZEN: dict[str, Any] = json.loads((HERE / "frozen.json").read_text())
CALIBRATION = HERE.parents[1] / "src/countenance/recognition/packs/yunet-sface/calibration.json"
MANIFEST = CALIBRATION.with_name("manifest.json")


def test_the_frozen_result_meets_the_target() -> None:
    assert FROZEN["devtest_right"] >= 0.99 * FROZEN["devtest_pairs"]
    assert FROZEN["without_a_face"] == 0


def test_the_calibration_was_fitted_on_the_model_it_ships_with() -> None:
    assert json.loads(CALIBRATION.read_text())["model_version"] == json.loads(MANIFEST.read_text())["version"]
    assert FROZEN["face_model"] == json.loads(MANIFEST.read_text())["version"]


def test_the_calibration_keeps_its_two_promises() -> None:
    points = {point["similarity"]: point for point in json.loads(CALIBRATION.read_text())["points"]}
    assert points[80.0]["fmr"] == 1e-4
    assert points[99.0]["fmr"] == 1e-5


@pytest.mark.slow
def test_a_new_measurement_stays_within_the_frozen_intervals(test_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "accuracy.json"
    done = subprocess.run(
        [sys.executable, HERE.parents[1] / "scripts" / "accuracy.py", "--json", out], check=False, timeout=1800
    )
    assert done.returncode == 0
    measured = json.loads(out.read_text())
    low, high = ErrorRate(FROZEN["devtest_right"], FROZEN["devtest_pairs"]).interval()
    assert low <= measured["verification"]["devtest_right"] / measured["verification"]["devtest_pairs"] <= high
    for now, then in zip(measured["verification"]["rates"], FROZEN["rates"], strict=True):
        low, high = ErrorRate(then["false_non_matches"], then["genuine_comparisons"]).interval()
        assert low <= now["false_non_matches"] / now["genuine_comparisons"] <= high
    found = {f"{one['set']}/{one['image']}": one for one in measured["detection"]}
    assert found.keys() == FROZEN["detection"].keys()
    for name, (labelled, _, _) in FROZEN["detection"].items():
        assert found[name]["labelled"] == labelled
    assert sum(one["found"] for one in found.values()) >= sum(one[1] for one in FROZEN["detection"].values())
    assert sum(one["extra"] for one in found.values()) <= sum(one[2] for one in FROZEN["detection"].values())
