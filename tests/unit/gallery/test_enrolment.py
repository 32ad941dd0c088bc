from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.congruence.samples import ACCOUNT, AT, BOX, World, enrolments, entry, name_id, reference, unit_rows, world

from countenance.biometrics import BoundingBox
from countenance.gallery import Enrolment


def listed(opened: World) -> list[str]:
    found = opened.gallery.references(ACCOUNT, "c", after_seq=None, limit=10_000, face_ids=None)
    return [each.face_id for _, each in found]


def test_references_come_back_as_they_were_given(at_home: World) -> None:
    given = [
        reference("a", external_image_id="Renée.jpg", box=BoundingBox(-0.01, 0.1, 0.3, 0.4), detection_confidence=98.7),
        reference("b"),
    ]
    rows = unit_rows(2, 16, 1)
    answer = at_home.gallery.enrol(
        ACCOUNT, "c", [Enrolment(each, row) for each, row in zip(given, rows, strict=True)], entry=entry()
    )
    assert answer == given
    assert [at_home.gallery.reference(ACCOUNT, "c", each.face_id) for each in given] == given
    stored = at_home.gallery.features_of(ACCOUNT, "c", name_id("a"))
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(stored, rows[0].astype(np.float16).astype(np.float32))


def test_listing_is_by_order_of_enrolment_in_pages(at_home: World) -> None:
    names = list(range(25))
    at_home.gallery.enrol(ACCOUNT, "c", enrolments(names, unit_rows(25, 16, 1)), entry=entry())
    seen: list[str] = []
    after: int | None = None
    while page := at_home.gallery.references(ACCOUNT, "c", after_seq=after, limit=10, face_ids=None):
        assert len(page) <= 10
        after = page[-1][0]
        seen += [each.face_id for _, each in page]
    assert seen == [name_id(name) for name in names]
    some = [name_id(20), "not-an-id", name_id("absent"), name_id(3), name_id(3)]
    found = at_home.gallery.references(ACCOUNT, "c", after_seq=None, limit=10, face_ids=some)
    assert [each.face_id for _, each in found] == [name_id(3), name_id(20)]
    rest = at_home.gallery.references(ACCOUNT, "c", after_seq=found[0][0], limit=10, face_ids=some)
    assert [each.face_id for _, each in rest] == [name_id(20)]


def test_the_same_face_again_is_no_second_reference(at_home: World) -> None:
    faces = enrolments(["a", "b"], unit_rows(2, 16, 1))
    first = at_home.gallery.enrol(ACCOUNT, "c", faces, entry=entry())
    again = at_home.gallery.enrol(ACCOUNT, "c", faces, entry=entry(request_id="again"))
    assert again == first
    assert at_home.gallery.collection(ACCOUNT, "c").face_count == 2
    assert [each.request_id for _, each in at_home.database.pending_outbox(9)][-1] == "again"


def test_the_same_face_twice_in_one_call_is_one_reference(at_home: World) -> None:
    (face,) = enrolments(["a"], unit_rows(1, 16, 1))
    answer = at_home.gallery.enrol(ACCOUNT, "c", [face, face], entry=entry())
    assert [each.face_id for each in answer] == [name_id("a")] * 2
    assert at_home.gallery.collection(ACCOUNT, "c").face_count == 1


def test_a_face_that_moved_a_little_keeps_its_face_id_and_takes_the_new_measurements(at_home: World) -> None:
    rows = unit_rows(2, 16, 1)
    image = {"image_id": name_id("photo"), "external_image_id": "photo.jpg"}
    at_home.gallery.enrol(ACCOUNT, "c", enrolments(["a"], rows[:1], **image), entry=entry())
    moved = BoundingBox(BOX.left + 0.01, BOX.top, BOX.width, BOX.height)
    later = AT.replace(year=2027)
    (answer,) = at_home.gallery.enrol(
        ACCOUNT,
        "c",
        enrolments(["a moved"], rows[1:], box=moved, detection_confidence=50.0, enrolled_at=later, **image),
        entry=entry(),
    )
    assert answer.face_id == name_id("a")
    assert (answer.box, answer.detection_confidence, answer.enrolled_at) == (moved, 50.0, AT)
    assert listed(at_home) == [name_id("a")]
    assert at_home.gallery.reference(ACCOUNT, "c", name_id("a")) == answer
    best = at_home.gallery.identify(ACCOUNT, "c", rows[1:], max_candidates=1)[0][0]
    assert best.comparison_score > 0.999


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"external_image_id": "other.jpg"}, 2),
        ({"external_image_id": None}, 2),
        ({"image_id": name_id("other photo")}, 2),
        ({"box": BoundingBox(BOX.left + 0.06, BOX.top, BOX.width, BOX.height)}, 2),  # overlap 0.61
        ({"box": BoundingBox(BOX.left + 0.04, BOX.top, BOX.width, BOX.height)}, 1),  # overlap 0.72
    ],
)
def test_what_makes_it_another_reference(at_home: World, changes: dict[str, object], count: int) -> None:
    rows = unit_rows(2, 16, 1)
    image = {"image_id": name_id("photo"), "external_image_id": "photo.jpg"}
    at_home.gallery.enrol(ACCOUNT, "c", enrolments(["a"], rows[:1], **image), entry=entry())
    at_home.gallery.enrol(ACCOUNT, "c", enrolments(["b"], rows[1:], **(image | changes)), entry=entry())
    assert at_home.gallery.collection(ACCOUNT, "c").face_count == count


def test_two_overlapping_faces_of_one_image_never_become_one(at_home: World) -> None:
    rows = unit_rows(4, 16, 1)
    photo = name_id("photo")
    near = BoundingBox(BOX.left + 0.02, BOX.top, BOX.width, BOX.height)
    pair = [
        Enrolment(reference("a", image_id=photo), rows[0]),
        Enrolment(reference("b", image_id=photo, box=near), rows[1]),
    ]
    at_home.gallery.enrol(ACCOUNT, "c", pair, entry=entry())
    assert listed(at_home) == [name_id("a"), name_id("b")]
    again = [
        Enrolment(reference("b2", image_id=photo, box=near), rows[3]),
        Enrolment(reference("a2", image_id=photo), rows[2]),
    ]
    answer = at_home.gallery.enrol(ACCOUNT, "c", again, entry=entry())
    assert [each.face_id for each in answer] == [name_id("b"), name_id("a")]
    # an exact FaceId is never taken away by a neighbour that overlaps it
    mixed = [Enrolment(reference("b3", image_id=photo), rows[3]), Enrolment(reference("a", image_id=photo), rows[2])]
    answer = at_home.gallery.enrol(ACCOUNT, "c", mixed, entry=entry())
    assert [each.face_id for each in answer] == [name_id("b"), name_id("a")]
    assert at_home.gallery.collection(ACCOUNT, "c").face_count == 2


@pytest.mark.parametrize(
    "features", [np.full(16, np.nan), np.full(16, np.inf), np.zeros(16), np.full(16, 0.3), np.ones((1, 16))]
)
def test_features_that_are_none_are_refused(at_home: World, features: np.ndarray) -> None:
    with pytest.raises(ValueError, match="features"):
        at_home.gallery.enrol(ACCOUNT, "c", [Enrolment(reference("a"), features)], entry=entry())


@pytest.mark.parametrize("face_id", ["", "a", name_id("a").upper(), name_id("a").replace("-", ""), name_id("a") + "\n"])
def test_an_id_that_is_no_uuid_is_refused(at_home: World, face_id: str) -> None:
    face = Enrolment(reference("a", face_id=face_id), unit_rows(1, 16, 1)[0])
    with pytest.raises(ValueError, match="UUID"):
        at_home.gallery.enrol(ACCOUNT, "c", [face], entry=entry())


def test_enrolling_nothing_is_recorded_and_changes_nothing(at_home: World) -> None:
    assert at_home.gallery.enrol(ACCOUNT, "c", [], entry=entry(request_id="empty")) == []
    assert [each.request_id for _, each in at_home.database.pending_outbox(9)][-1] == "empty"


def test_erasing_says_what_was_there_and_the_next_search_does_not_find_it(at_home: World) -> None:
    rows = unit_rows(5, 16, 1)
    at_home.gallery.enrol(ACCOUNT, "c", enrolments(range(5), rows), entry=entry())
    wanted = [name_id(3), "not-an-id", name_id("absent"), name_id(1), name_id(3)]
    assert at_home.gallery.erase(ACCOUNT, "c", wanted, entry=entry("DeleteFaces")) == [name_id(3), name_id(1)]
    assert at_home.gallery.erase(ACCOUNT, "c", wanted, entry=entry("DeleteFaces")) == []
    assert listed(at_home) == [name_id(0), name_id(2), name_id(4)]
    found = at_home.gallery.identify(ACCOUNT, "c", rows, max_candidates=5)
    assert {each.reference.face_id for ranking in found for each in ranking} == set(listed(at_home))
    assert at_home.gallery.collection(ACCOUNT, "c").face_count == 3


def test_an_index_in_memory_follows_every_change(at_home: World) -> None:
    rows = unit_rows(4, 16, 1)

    def found() -> set[str]:
        (ranking,) = at_home.gallery.identify(ACCOUNT, "c", rows[:1], max_candidates=9)
        assert at_home.gallery.stats().loaded_references == len(ranking)
        return {each.reference.face_id for each in ranking}

    assert found() == set()
    at_home.gallery.enrol(ACCOUNT, "c", enrolments([0, 1], rows[:2]), entry=entry())
    assert found() == {name_id(0), name_id(1)}
    at_home.gallery.enrol(ACCOUNT, "c", enrolments([2], rows[2:3]), entry=entry())
    assert found() == {name_id(0), name_id(1), name_id(2)}
    at_home.gallery.erase(ACCOUNT, "c", [name_id(1)], entry=entry())
    assert found() == {name_id(0), name_id(2)}
    at_home.gallery.enrol(ACCOUNT, "c", enrolments([2], rows[3:]), entry=entry())
    (best,) = at_home.gallery.identify(ACCOUNT, "c", rows[3:], max_candidates=1)[0]
    assert best.reference.face_id == name_id(2)
    assert best.comparison_score > 0.999


def test_a_face_can_come_back_after_it_was_erased(at_home: World) -> None:
    rows = unit_rows(1, 16, 1)
    for _ in range(2):
        at_home.gallery.enrol(ACCOUNT, "c", enrolments(["a"], rows), entry=entry())
        assert len(at_home.gallery.identify(ACCOUNT, "c", rows, max_candidates=5)[0]) == 1
        at_home.gallery.erase(ACCOUNT, "c", [name_id("a")], entry=entry())
        assert at_home.gallery.identify(ACCOUNT, "c", rows, max_candidates=5) == [[]]


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    rows = unit_rows(300, 16, 1)
    with world(tmp_path) as opened:
        opened.create()
        opened.gallery.enrol(ACCOUNT, "c", enrolments(range(300), rows), entry=entry())
        before = opened.gallery.identify(ACCOUNT, "c", rows[:5], max_candidates=20)
    with world(tmp_path) as opened:
        assert opened.gallery.identify(ACCOUNT, "c", rows[:5], max_candidates=20) == before
