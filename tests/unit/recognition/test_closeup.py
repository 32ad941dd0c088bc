"""Close-ups: a face is read upright and at one size, however it leans, and what was doubtful is decided there."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
from PIL import Image

from countenance.recognition import Engine
from countenance.recognition.alignment import TEMPLATE
from countenance.recognition.closeup import CLOSEUP, READ, SIDE, closer, look, roll_of
from countenance.recognition.found import Found, nothing

MIDDLE = np.array([79.5, 79.5])
BOX = np.array([60.0, 40.0, 40.0, 50.0])


def leaning(degrees: float, size: float = 1.0) -> np.ndarray:
    """The template's five points round the middle of a close-up, leaning clockwise."""
    turn = math.radians(degrees)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return np.asarray((TEMPLATE - TEMPLATE.mean(axis=0)) @ rotation.T * size + MIDDLE)


def seen(points: np.ndarray, score: float, side: float = SIDE, shift: float = 0.0) -> Found:
    box = np.array([[MIDDLE[0] + shift - side / 2, MIDDLE[1] - side / 2, side, side]])
    return Found(box, np.array([score]), points[None] + [shift, 0])


@pytest.mark.parametrize("degrees", [-170, -90, -30, 0, 12.5, 45, 135])
def test_a_lean_is_read_off_the_five_points(degrees: float) -> None:
    assert roll_of(leaning(degrees)) == pytest.approx(degrees, abs=1e-6)


@pytest.mark.parametrize("roll", [0.0, 30.0, -100.0])
def test_what_a_look_shows_is_carried_back_to_the_picture(roll: float) -> None:
    found = look(lambda window: seen(leaning(0), 0.9), np.zeros((200, 200, 3), np.uint8), BOX, roll)
    assert found is not None
    np.testing.assert_allclose(found.points.mean(axis=0), BOX[:2] + BOX[2:] / 2, atol=1e-6)
    assert roll_of(found.points) == pytest.approx(roll, abs=1e-6)
    # The box is 50 pixels high, which the canvas shows at 80.
    assert np.ptp(found.points @ [math.cos(math.radians(roll)), math.sin(math.radians(roll))]) == pytest.approx(
        np.ptp(TEMPLATE[:, 0]) * 50 / SIDE, rel=0.05
    )


@pytest.mark.parametrize("other", [nothing(), seen(leaning(0), 0.9, side=30), seen(leaning(0), 0.9, shift=40)])
def test_another_face_in_the_window_is_not_taken_for_this_one(other: Found) -> None:
    assert look(lambda window: other, np.zeros((200, 200, 3), np.uint8), BOX, 0.0) is None


@pytest.mark.parametrize(("box", "roll"), [(BOX * [1, 1, 0, 0], 0.0), (BOX * [1, 1, np.inf, 1], 0.0), (BOX, math.nan)])
def test_what_has_no_extent_or_no_place_is_not_looked_at(box: np.ndarray, roll: float) -> None:
    assert look(lambda window: pytest.fail("looked"), np.zeros((200, 200, 3), np.uint8), box, roll) is None


def test_of_two_faces_in_the_window_the_surer_one_that_is_here_counts() -> None:
    here, beside = seen(leaning(0), 0.7), seen(leaning(0), 0.95, shift=45)
    both = Found(*(np.concatenate(pair) for pair in ((here.boxes, beside.boxes), (here.scores, beside.scores))),
                 np.concatenate((here.points, beside.points)))  # fmt: skip
    found = look(lambda window: both, np.zeros((200, 200, 3), np.uint8), BOX, 0.0)
    assert found is not None
    assert found.score == 0.7


class UnderReading:
    """Reads a lean as the network does: only a share of it, and less surely the more a face leans."""

    def __init__(self, picture: np.ndarray) -> None:
        self.picture = picture
        self.looks = 0

    def __call__(self, window: np.ndarray) -> Found:
        self.looks += 1
        assert window.shape == (*CLOSEUP, 3)
        # The picture is white to the right of a line through the face, which leans as the face does.
        y, x = np.nonzero(window[40:120, 40:120, 0] > 128)
        across, down = x.mean() - 39.5, y.mean() - 39.5
        lean = math.degrees(math.atan2(down, across))
        return seen(leaning(lean * READ), 0.95 - abs(lean) / 400)


def half_white(degrees: float) -> np.ndarray:
    y, x = np.mgrid[:200, :200] - 80.0
    y += 15
    turn = math.radians(degrees)
    return np.repeat((((x * math.cos(turn) + y * math.sin(turn)) > 0) * 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("degrees", [-60.0, -25.0, 0.0, 10.0, 40.0, 70.0])
def test_a_leaning_face_is_turned_until_it_is_upright_though_leans_are_read_too_small(degrees: float) -> None:
    picture = half_white(degrees)
    see = UnderReading(picture)
    found = closer(see, picture, BOX, leaning(degrees * READ, 0.5), sure_from=0.9)
    assert found is not None
    assert abs(roll_of(found.points) - degrees) < 6
    assert see.looks <= 1 + 3 + 3 * 4


def leant(portrait: bytes, degrees: float) -> bytes:
    out = io.BytesIO()
    Image.open(io.BytesIO(portrait)).convert("RGB").rotate(degrees, Image.Resampling.BICUBIC).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("degrees", [-45, -20, 20, 45])
def test_a_leaning_face_has_the_features_of_the_upright_one(engine: Engine, portrait: bytes, degrees: int) -> None:
    upright, other = engine.analyse(portrait), engine.analyse(leant(portrait, degrees))
    assert len(other.faces) == 1
    # Pillow turns anticlockwise.
    assert other.faces[0].pose.roll - upright.faces[0].pose.roll == pytest.approx(-degrees, abs=8)
    assert float(engine.extract(upright, upright.faces)[0] @ engine.extract(other, other.faces)[0]) > 0.85
