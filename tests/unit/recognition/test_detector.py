"""Finding faces: geometry, the network's outputs read cell by cell, and which canvases are looked at."""

from __future__ import annotations

import math

import numpy as np
import pytest

from countenance.recognition import detector
from countenance.recognition.closeup import CLOSEUP
from countenance.recognition.detector import CANVASES, Detector, decode, fit, plan
from countenance.recognition.found import Found, suppress

CANVAS = (96, 160)


def random_outputs(seed: int) -> list[np.ndarray]:
    """Twelve tensors as YuNet's, one cell in ten sure of a face."""
    random = np.random.default_rng(seed)
    cells = [(CANVAS[0] // stride) * (CANVAS[1] // stride) for stride in detector.STRIDES]
    sure = [random.random((1, n, 1)) < 0.1 for n in cells]
    cls = [np.where(s, random.uniform(0.5, 1.1, s.shape), random.uniform(-0.1, 0.5, s.shape)) for s in sure]
    obj = [np.where(s, random.uniform(0.5, 1.1, s.shape), random.uniform(-0.1, 0.5, s.shape)) for s in sure]
    box = [random.normal(0, 0.7, (1, n, 4)) for n in cells]
    kps = [random.normal(0, 2, (1, n, 10)) for n in cells]
    return [each.astype(np.float32) for each in (*cls, *obj, *box, *kps)]


def slow_iou(a: list[float], b: list[float]) -> float:
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(across, 0.0) * max(down, 0.0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def slow_decode(outputs: list[np.ndarray]) -> list[tuple[float, list[float], list[list[float]]]]:
    """The same rules as loops over rows and columns."""
    faces = []
    for level, stride in enumerate((8, 16, 32)):
        cell = 0
        for row in range(CANVAS[0] // stride):
            for column in range(CANVAS[1] // stride):
                cls, obj = (float(outputs[level + kind][0, cell, 0]) for kind in (0, 3))
                score = math.sqrt(min(max(cls, 0.0), 1.0) * min(max(obj, 0.0), 1.0))
                if score >= detector.SCORE_THRESHOLD:
                    dx, dy, dw, dh = (float(each) for each in outputs[6 + level][0, cell])
                    width, height = math.exp(dw) * stride, math.exp(dh) * stride
                    left, top = (column + dx) * stride - width / 2, (row + dy) * stride - height / 2
                    raw = outputs[9 + level][0, cell]
                    points = [
                        [(float(raw[2 * k]) + column) * stride, (float(raw[2 * k + 1]) + row) * stride]
                        for k in range(5)
                    ]
                    faces.append((score, [left, top, width, height], points))
                cell += 1
    faces.sort(key=lambda each: -each[0])
    kept: list[tuple[float, list[float], list[list[float]]]] = []
    for face in faces:
        if all(slow_iou(face[1], other[1]) <= 0.3 for other in kept):
            kept.append(face)
    return kept


@pytest.mark.parametrize("seed", range(6))
def test_reading_the_outputs_agrees_with_a_slow_reading(seed: int) -> None:
    outputs = random_outputs(seed)
    found, expected = decode(outputs, CANVAS), slow_decode(outputs)
    assert len(found) == len(expected) > 3
    # Cells whose two probabilities are both clipped to 1 tie; compare as sets, in one order.
    order = np.lexsort((found.boxes[:, 0], -found.scores.round(5)))
    expected.sort(key=lambda each: (-round(each[0], 5), each[1][0]))
    np.testing.assert_allclose(found.scores[order], [each[0] for each in expected], atol=1e-5)
    np.testing.assert_allclose(found.boxes[order], [each[1] for each in expected], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found.points[order], [each[2] for each in expected], rtol=1e-4, atol=1e-3)


def test_no_sure_cell_is_no_face() -> None:
    assert len(decode([each * 0 for each in random_outputs(0)], CANVAS)) == 0


def found(*faces: tuple[float, float, float, float, float]) -> Found:
    rows = np.array(faces, np.float64).reshape(-1, 5)
    return Found(rows[:, :4], rows[:, 4], np.zeros((len(rows), 5, 2)))


def test_of_overlapping_boxes_the_best_stays() -> None:
    kept = suppress(found((0, 0, 10, 10, 0.8), (1, 0, 10, 10, 0.9), (50, 50, 10, 10, 0.7)))
    assert kept.scores.tolist() == [0.9, 0.7]


def test_suppression_is_not_transitive() -> None:
    # The middle box falls to the first; the third overlaps only the fallen one and stays.
    kept = suppress(found((0, 0, 10, 10, 0.9), (5, 0, 10, 10, 0.8), (10, 0, 10, 10, 0.75)))
    assert kept.boxes[:, 0].tolist() == [0, 10]


def test_the_limit_itself_is_no_overlap() -> None:
    # 13 wide, shifted by 7: intersection 6 x 13, union 20 x 13, ratio exactly 0.3.
    assert len(suppress(found((0, 0, 13, 13, 0.9), (7, 0, 13, 13, 0.8)))) == 2
    assert len(suppress(found((0, 0, 13, 13, 0.9), (6.9, 0, 13, 13, 0.8)))) == 1


def test_there_are_eight_canvases_and_a_small_one_for_close_ups_and_all_fit_the_network() -> None:
    assert len(CANVASES) == len(set(CANVASES)) <= 9
    assert all(height % 32 == 0 and width % 32 == 0 for height, width in CANVASES)


def test_whatever_the_size_only_known_canvases_are_used() -> None:
    random = np.random.default_rng(3)
    used = set()
    for _ in range(5000):
        width, height = (int(each) for each in np.exp(random.uniform(np.log(80), np.log(9000), 2)))
        canvases = plan(width, height)
        assert 1 <= len(canvases) <= 3
        assert set(canvases) <= set(CANVASES)
        assert canvases[-1] == detector.THUMBNAIL
        used |= set(canvases)
    assert used == set(CANVASES) - {CLOSEUP}


@pytest.mark.parametrize("size", [(512, 384), (384, 512), (640, 480), (640, 427), (480, 640), (640, 640), (300, 500)])
def test_pictures_up_to_640_are_searched_at_their_own_size(size: tuple[int, int]) -> None:
    width, height = size
    first = plan(width, height)[0]
    assert first[0] >= height
    assert first[1] >= width


@pytest.mark.parametrize("size", [(1920, 1080), (1080, 1920), (4000, 6000)])
def test_a_face_of_40_pixels_in_1920_keeps_enough_of_them(size: tuple[int, int]) -> None:
    height, width = plan(*size)[1]
    scale = min(width / size[0], height / size[1])
    assert 40 * max(size) / 1920 * scale >= 15


def test_fitting_keeps_the_shape_and_never_enlarges() -> None:
    pixels = np.full((1080, 1920, 3), 200, np.uint8)
    image, scale = fit(pixels, (736, 960))
    assert image.shape == (1, 736, 960, 3)
    assert scale == pytest.approx(0.5)
    assert image[0, :540].min() == 200
    assert image[0, 540:].max() == 0
    image, scale = fit(pixels[:100, :90], (256, 256))
    assert scale == 1
    np.testing.assert_array_equal(image[0, :100, :90], pixels[:100, :90])


class FakeSession:
    """Sees one face where a white square is: all that the geometry of turning needs."""

    runtime = "fake"

    def __init__(self, sure_when_top_left: bool) -> None:
        self.looked_at: list[tuple[int, ...]] = []
        self.sure_when_top_left = sure_when_top_left

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        self.looked_at.append(images.shape)
        height, width = images.shape[1:3]
        cells = [(height // stride) * (width // stride) for stride in detector.STRIDES]
        cls, obj, box, kps = ([np.zeros((1, n, k), np.float32) for n in cells] for k in (1, 1, 4, 10))
        rows, columns = np.nonzero(images[0, :, :, 0] > 128)
        at = int(rows.mean() // 32) * (width // 32) + int(columns.mean() // 32)
        upright = rows.mean() < 100 and columns.mean() < 100
        sure = 0.95 if upright == self.sure_when_top_left else 0.85
        cls[2][0, at] = obj[2][0, at] = sure
        box[2][0, at] = (0.5, 0.5, 0, 0)
        kps[2][0, at] = 0.5
        return [*cls, *obj, *box, *kps]

    def close(self) -> None:
        self.looked_at = []


def corner(top: int, left: int) -> np.ndarray:
    pixels = np.zeros((250, 250, 3), np.uint8)
    pixels[top : top + 32, left : left + 32] = 255
    return pixels


def test_a_sure_face_ends_the_search() -> None:
    session = FakeSession(sure_when_top_left=True)
    faces, rotated = Detector(session).find(corner(0, 0))
    of_the_picture = [shape for shape in session.looked_at if shape[1:3] != CLOSEUP]
    assert (len(faces), rotated, len(of_the_picture)) == (1, 0, 1)


@pytest.mark.parametrize(("top", "left", "rotated"), [(218, 0, 90), (218, 218, 180), (0, 218, 270)])
def test_an_unsure_face_is_looked_for_turned_and_carried_back(top: int, left: int, rotated: int) -> None:
    faces, turned = Detector(FakeSession(sure_when_top_left=True)).find(corner(top, left))
    assert turned == rotated
    assert faces.scores[0] == pytest.approx(0.95)
    centre = faces.boxes[0, :2] + faces.boxes[0, 2:] / 2
    assert np.abs(centre - [left + 16, top + 16]).max() < 3
    assert np.abs(faces.points[0] - [left + 16, top + 16]).max() < 3


class Doubtful:
    """Answers every look with the same unsure face."""

    runtime = "fake"

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        same = np.zeros_like(images)
        same[0, :32, :32] = 255
        return FakeSession(sure_when_top_left=False).run(same)

    def close(self) -> None:
        pass


def test_turning_that_is_no_better_is_not_adopted() -> None:
    faces, rotated = Detector(Doubtful()).find(corner(0, 0))
    assert (len(faces), rotated) == (1, 0)


class Crowd:
    """Sees 300 faces, none of them surely, and nothing from close up."""

    runtime = "fake"

    def __init__(self) -> None:
        self.close_ups = 0

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        height, width = images.shape[1:3]
        self.close_ups += (height, width) == CLOSEUP
        cells = [(height // stride) * (width // stride) for stride in detector.STRIDES]
        cls, obj, box, kps = ([np.zeros((1, n, k), np.float32) for n in cells] for k in (1, 1, 4, 10))
        if (height, width) != CLOSEUP:
            cls[2][:] = obj[2][:] = 0.85
            box[2][:] = (0.5, 0.5, -0.1, -0.1)
            kps[2][:] = np.tile([0.3, 0.3, 0.7, 0.3, 0.5, 0.5, 0.35, 0.7, 0.65, 0.7], 1)
        return [*cls, *obj, *box, *kps]

    def close(self) -> None:
        pass


def test_a_crowd_gets_a_bounded_number_of_close_ups_and_all_its_faces() -> None:
    session = Crowd()
    faces, _ = Detector(session).find(np.zeros((480, 640, 3), np.uint8))
    assert len(faces) == 300
    assert detector.LOOKS <= session.close_ups < detector.LOOKS + 16
