"""Calibrations hold what they promise on the data that they were fitted on, and people are never on both sides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.conformance.in_process import face_at

from countenance.biometrics import Pose
from countenance.evaluation import estimation
from countenance.evaluation.estimation import COUNTERPARTS, Marked, Seen
from countenance.recognition.attributes import demography, mesh


def seen(identity: str, *, age: int = 40, male: float = 0.5, yaw: float = 0.0, turn: float = 0.0) -> Seen:
    """A face of one age for certain, whose open eyes are turned by so many degrees."""
    ages = np.zeros(81, np.float32)
    ages[age] = 1
    points = np.zeros((478, 2))
    for six, iris, left in ((mesh.LEFT_EYE, 468, 0.0), (mesh.RIGHT_EYE, 473, 200.0)):
        xs, ys = (0, 30, 70, 100, 70, 30), (0, -20, -20, 0, 20, 20)
        points[list(six)] = [(left + x, y) for x, y in zip(xs, ys, strict=True)]
        points[iris] = (left + 50 + 40 * np.sin(np.radians(turn)), 0)
    return Seen(
        identity=identity,
        face=replace(face_at(0.1, 0.1, 0.5), pose=Pose(0, yaw, 0)),
        ages=ages,
        genders=np.array([1 - male, male], np.float32),
        expressions=np.eye(7, dtype=np.float32)[3],
        mesh=mesh.Mesh(points, 1.0, np.zeros(52, np.float32)),
    )


def test_nobody_is_in_both_halves_and_everybody_in_one() -> None:
    people = [seen(f"person {number % 7}") for number in range(40)]
    fit, measure = estimation.halves(people)
    assert len(fit) + len(measure) == 40
    assert not {each.identity for each in fit} & {each.identity for each in measure}
    assert len({each.identity for each in fit}) == 4


@pytest.mark.parametrize("covered", [0.5, 0.8, 0.95])
def test_a_fitted_range_holds_its_share(covered: float) -> None:
    random = np.random.default_rng(3)
    known = random.uniform(5, 80, 4000)
    estimated = np.clip(known + random.normal(-3, 2 + 0.1 * known), 0, None)
    fitted = estimation.fit_range(estimated, known, covered=covered)
    assert fitted["above"] > fitted["below"]  # they look younger than they are
    ranges = [demography.range_around(each, **fitted) for each in estimated]
    held = np.mean([each.low <= age <= each.high for each, age in zip(ranges, known, strict=True)])
    assert held == pytest.approx(covered, abs=0.03)


@pytest.mark.parametrize("temperature", [1.0, 1.7, 3.0])
def test_a_temperature_is_found_again(temperature: float) -> None:
    random = np.random.default_rng(4)
    true_odds = random.normal(0, 2, 50_000)
    male = random.random(true_odds.size) < 1 / (1 + np.exp(-true_odds))
    assert estimation.fit_temperature(true_odds * temperature, male) == pytest.approx(temperature, abs=0.1)


def test_agreement_and_spread_are_of_people_with_several_photographs() -> None:
    people = [seen("a", age=30, male=0.9), seen("a", age=34, male=0.8), seen("a", age=38, male=0.2), seen("b", age=70)]
    assert estimation.spread_of_ages(people) == pytest.approx(4.0)
    assert estimation.agreement_of_genders(people) == pytest.approx(2 / 3)
    assert [each.identity for group in estimation.of_one_person(people) for each in group] == ["a"] * 3
    assert all(each.happy and each.has_open_eyes for each in people)


def test_the_leak_of_the_head_into_the_eyes_is_found() -> None:
    fitted = estimation.fit_gaze([seen("a", yaw=yaw, turn=0.25 * yaw) for yaw in (-40, -20, 0, 20, 40)])
    assert fitted == {"gaze": 0.0, "gaze_per_degree": 0.25, "gaze_rest": 0.0}


def test_errors_are_in_distances_of_the_labelled_eyes() -> None:
    labels = np.zeros((68, 2))
    labels[42:48] = [20.0, 0.0]
    found = np.zeros((478, 2))
    face = Marked(labels, found, seen("a").mesh)
    assert face.eyes_apart == 20
    labels[8] = [0.0, 10.0]
    assert face.off(8) == 0.5
    assert all(face.off(each) == 0 for each in COUNTERPARTS if each not in (8, 42, 45))
