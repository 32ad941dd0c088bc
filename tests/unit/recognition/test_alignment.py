"""Five points -> the crop."""

from __future__ import annotations

import numpy as np
import pytest

from countenance.recognition.alignment import CROP, TEMPLATE, crop, magnification, similarity_transform


def carried(points: np.ndarray, scale: float, degrees: float, shift: tuple[float, float]) -> np.ndarray:
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * points @ turn.T + np.array(shift)


@pytest.mark.parametrize("degrees", [0, 17, -60, 90, 180])
@pytest.mark.parametrize("scale", [0.3, 1.0, 7.5])
def test_a_turned_and_scaled_template_is_carried_back_exactly(scale: float, degrees: float) -> None:
    points = carried(TEMPLATE, scale, degrees, (310, 205))
    transform = similarity_transform(points)
    np.testing.assert_allclose(points @ transform[:, :2].T + transform[:, 2], TEMPLATE, atol=1e-9)
    assert magnification(points) == pytest.approx(1 / scale)


def test_the_squared_error_is_the_least() -> None:
    points = TEMPLATE * 2 + np.random.default_rng(0).normal(0, 4, (5, 2))
    best = similarity_transform(points)

    def error(a: float, b: float, x: float, y: float) -> float:
        moved = points @ np.array([[a, -b], [b, a]]).T + [x, y]
        return float(((moved - TEMPLATE) ** 2).sum())

    own = (best[0, 0], best[1, 0], best[0, 2], best[1, 2])
    lowest = error(*own)
    for at in range(4):
        for step in (1e-3, -1e-3):
            near = list(own)
            near[at] += step
            assert error(*near) > lowest


def test_a_mirrored_face_is_not_mirrored_back() -> None:
    transform = similarity_transform(TEMPLATE * [-1, 1] + [112, 0])
    assert np.linalg.det(transform[:, :2]) > 0


@pytest.mark.parametrize(("scale", "degrees"), [(1.0, 0), (1.5, 20), (3.0, -35), (6.0, 90), (0.6, 10)])
def test_landmarks_of_a_picture_come_to_lie_on_the_template(scale: float, degrees: float) -> None:
    points = carried(TEMPLATE - 56, scale, degrees, (500, 450))
    rows, columns = np.mgrid[0:900, 0:1000]
    spread = max(2.0, 2.0 * scale)
    for own, wanted in zip(points, TEMPLATE, strict=True):
        bump = np.exp(-((columns - own[0]) ** 2 + (rows - own[1]) ** 2) / (2 * spread**2))
        pixels = np.repeat((bump * 255).astype(np.uint8)[:, :, None], 3, axis=2)
        cut = crop(pixels, points)[:, :, 0].astype(float)
        y, x = np.mgrid[0:CROP, 0:CROP]
        centre = (float((x * cut).sum() / cut.sum()), float((y * cut).sum() / cut.sum()))
        assert np.hypot(centre[0] - wanted[0], centre[1] - wanted[1]) < 0.35


def test_beyond_the_border_is_black() -> None:
    pixels = np.full((200, 200, 3), 255, np.uint8)
    cut = crop(pixels, TEMPLATE - [60, 0])
    assert cut[:, :50].max() == 0
    assert cut[20:90, 65:].min() == 255
    assert crop(pixels, TEMPLATE + 5000).max() == 0


def test_points_without_extent_give_a_black_crop() -> None:
    assert crop(np.full((200, 200, 3), 255, np.uint8), np.full((5, 2), 90.0)).max() == 0
