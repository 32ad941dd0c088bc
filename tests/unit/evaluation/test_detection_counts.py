from __future__ import annotations

from countenance.biometrics import BoundingBox
from countenance.evaluation import count_boxes, count_points

SIZE = (200, 100)
LEFT = BoundingBox(0.0, 0.0, 0.5, 1.0)
RIGHT = BoundingBox(0.5, 0.0, 0.5, 1.0)
WHOLE = BoundingBox(0.0, 0.0, 1.0, 1.0)


def test_points_belong_to_the_boxes_that_contain_them() -> None:
    count = count_points([LEFT, RIGHT], [(50, 50), (150, 50)], SIZE)
    assert (count.labelled, count.found, count.missed, count.extra) == (2, 2, 0, 0)
    count = count_points([LEFT], [(50, 50), (150, 50)], SIZE)
    assert (count.found, count.missed, count.extra) == (1, 1, 0)


def test_one_box_serves_one_label() -> None:
    count = count_points([WHOLE], [(50, 50), (150, 50)], SIZE)
    assert (count.found, count.missed) == (1, 1)


def test_the_pairing_is_the_largest_there_is() -> None:
    # Greedy pairing would give the left point the whole box and leave the right point without one.
    count = count_points([WHOLE, LEFT], [(50, 50), (150, 50)], SIZE)
    assert count.found == 2


def test_boxes_without_a_label_are_extra() -> None:
    assert count_points([LEFT, RIGHT], [], SIZE).extra == 2
    assert count_points([], [], SIZE).labelled == 0


def test_boxes_match_by_centre() -> None:
    label = (60.0, 20.0, 140.0, 80.0)
    assert count_boxes([BoundingBox(0.3, 0.1, 0.4, 0.9)], [label], SIZE).found == 1
    assert count_boxes([BoundingBox(0.75, 0.1, 0.2, 0.9)], [label], SIZE).found == 0
