"""Brightness, sharpness, pose and the reasons to refuse a face."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageFilter

from countenance.biometrics import BoundingBox, DetectedFace, Pose, Quality
from countenance.recognition.quality import _MEAN_FACE, LIMITS, measure, pose, rejection_reasons, risk, terms

BOX = (10.0, 10.0, 100.0, 100.0)


def texture() -> np.ndarray:
    """Structure of every size, as a face has it: blotches of 2 to 32 pixels."""
    random = np.random.default_rng(2)
    layers = [
        np.asarray(
            Image.fromarray(random.random((cells, cells), np.float32)).resize((120, 120), Image.Resampling.BICUBIC)
        )
        for cells in (60, 30, 15, 8, 4)
    ]
    grey = np.clip(np.mean(layers, axis=0) * 320 - 40, 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def test_brightness_rises_with_light() -> None:
    levels = [measure((texture() * share).astype(np.uint8), BOX).brightness for share in (0.1, 0.3, 0.6, 1.0)]
    assert levels == sorted(levels)
    assert measure(np.zeros((120, 120, 3), np.uint8), BOX).brightness == 0
    assert measure(np.full((120, 120, 3), 255, np.uint8), BOX).brightness == pytest.approx(100)


def test_sharpness_falls_with_blur() -> None:
    source = Image.fromarray(texture())
    values = [
        measure(np.asarray(source.filter(ImageFilter.GaussianBlur(radius))), BOX).sharpness for radius in (0, 1, 2, 4)
    ]
    assert values == sorted(values, reverse=True)
    assert values[0] > 1.5 * values[-1]
    assert measure(np.full((120, 120, 3), 90, np.uint8), BOX).sharpness == pytest.approx(0)


def test_only_the_face_is_measured() -> None:
    pixels = np.full((300, 300, 3), 255, np.uint8)
    pixels[100:200, 100:200] = 0
    assert measure(pixels, (100, 100, 100, 100)).brightness == 0


@pytest.mark.parametrize("box", [(-50.0, -50.0, 51.0, 51.0), (500.0, 500.0, 9.0, 9.0), (10.0, 10.0, 1.0, 1.0)])
def test_a_box_with_hardly_a_pixel_in_the_picture_measures_nothing(box: tuple[float, float, float, float]) -> None:
    assert measure(texture(), box) == Quality(brightness=0, sharpness=0)


def head(*, yaw: float = 0, pitch: float = 0, roll: float = 0) -> np.ndarray:
    """Landmarks of the mean face: yaw turns the nose to the viewer's right, pitch upwards, roll clockwise."""
    y, p, r = np.radians([yaw, pitch, -roll])
    about_y = np.array([[np.cos(y), 0, np.sin(y)], [0, 1, 0], [-np.sin(y), 0, np.cos(y)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(p), np.sin(p)], [0, -np.sin(p), np.cos(p)]])
    about_z = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    turned = _MEAN_FACE @ (about_z @ about_y @ about_x).T
    return turned[:, :2] * [2, -2] + [300, 200]


def test_a_frontal_head_has_no_pose() -> None:
    seen = pose(head())
    assert (abs(seen.roll), abs(seen.yaw), abs(seen.pitch)) < (1e-6, 1e-6, 1e-6)


@pytest.mark.parametrize("angle", [-40, -15, 15, 40])
def test_each_angle_has_its_sign_and_its_size(angle: float) -> None:
    assert pose(head(yaw=angle)).yaw == pytest.approx(angle, abs=8)
    assert abs(pose(head(yaw=angle)).roll) < 8
    assert pose(head(pitch=angle / 2)).pitch == pytest.approx(angle / 2, abs=6)
    assert pose(head(roll=angle)).roll == pytest.approx(angle, abs=1)


def test_a_nose_to_the_viewers_right_is_a_positive_yaw_and_one_upwards_a_positive_pitch() -> None:
    points = head()
    right, up = points.copy(), points.copy()
    right[2, 0] += 15
    up[2, 1] -= 15
    assert pose(right).yaw > 5
    assert pose(up).pitch > 5


def test_roll_goes_all_the_way_round() -> None:
    assert abs(pose(head(roll=180)).roll) == pytest.approx(180, abs=1)
    assert pose(head(roll=90)).roll == pytest.approx(90, abs=1)


GOOD = DetectedFace(
    box=BoundingBox(0.2, 0.2, 0.2, 0.2),
    detection_confidence=95,
    landmarks=(),
    pose=Pose(0, 0, 0),
    quality=Quality(brightness=60, sharpness=80),
    pixel_box=(200, 200, 200, 200),
)
BEYOND = {
    "extreme_pose": replace(GOOD, pose=Pose(0, -80, 0)),
    "low_brightness": replace(GOOD, quality=Quality(2, 80)),
    "low_sharpness": replace(GOOD, quality=Quality(60, 2)),
    "low_confidence": replace(GOOD, detection_confidence=65),
    "small_bounding_box": replace(GOOD, box=BoundingBox(0, 0, 0.015, 0.015)),
}
"""What is like nothing that was measured: a face with one flaw beyond all."""


def reasons(face: DetectedFace, level: str) -> tuple[str, ...]:
    return rejection_reasons(face, image_width=1000, image_height=1000, level=level)


def risk_of(face: DetectedFace) -> float:
    return float(risk(terms(face, image_width=1000, image_height=1000)[None])[0])


@pytest.mark.parametrize("level", ["NONE", "LOW", "MEDIUM", "HIGH", "AUTO"])
def test_a_good_face_passes_every_level(level: str) -> None:
    assert reasons(GOOD, level) == ()


@pytest.mark.parametrize("flaw", BEYOND)
def test_what_is_beyond_everything_measured_is_refused_at_every_level_and_told_why(flaw: str) -> None:
    for level in ("LOW", "AUTO", "MEDIUM", "HIGH"):
        assert reasons(BEYOND[flaw], level) == (flaw,)
    assert reasons(BEYOND[flaw], "NONE") == ()


def test_levels_refuse_by_how_likely_a_face_is_missed() -> None:
    faces = [
        replace(GOOD, detection_confidence=80 + score / 2, pose=Pose(0, yaw, 0))
        for score in range(0, 31, 2)
        for yaw in (0, 20, 40, 60)
    ]
    for level, limit in LIMITS.items():
        refused = [bool(reasons(face, level)) for face in faces]
        assert refused == [risk_of(face) > limit for face in faces]
        assert any(refused)
        assert not all(refused)
    assert [bool(reasons(face, "AUTO")) for face in faces] == [bool(reasons(face, "LOW")) for face in faces]


def test_whatever_a_level_refuses_a_stricter_one_does() -> None:
    random = np.random.default_rng(4)
    for _ in range(500):
        side = float(random.uniform(0.02, 0.3))
        face = replace(
            GOOD,
            detection_confidence=float(random.uniform(80, 95)),
            pose=Pose(0, float(random.uniform(-70, 70)), float(random.uniform(-50, 50))),
            quality=Quality(float(random.uniform(5, 90)), float(random.uniform(5, 95))),
            box=BoundingBox(0, 0, side, side),
        )
        passed = [not reasons(face, level) for level in ("HIGH", "MEDIUM", "LOW")]
        assert passed == sorted(passed)


def test_the_less_surely_it_is_seen_the_likelier_a_face_is_missed() -> None:
    risks = [risk_of(replace(GOOD, detection_confidence=score)) for score in (94, 92, 90, 88, 86)]
    assert risks == sorted(risks)
    assert risks[-1] > 4 * risks[0]


def test_two_flaws_and_none_make_a_face_of_low_quality() -> None:
    face = replace(GOOD, quality=Quality(brightness=1, sharpness=1))
    assert reasons(face, "LOW") == ("low_brightness", "low_sharpness", "low_face_quality")
    unnamed = replace(GOOD, detection_confidence=90.1, pose=Pose(0, 29, 24), quality=Quality(21, 31))
    assert reasons(unnamed, "HIGH") == ("low_face_quality",)
