"""Crops that were kept, and a collection that comes to another model by them: whole, or not at all."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.congruence.samples import ACCOUNT, AT, MODEL, World, enrolments, entry, name_id, unit_rows, world

from countenance.gallery import Enrolment, FacesWithoutCrops, TemplateCorrupt
from countenance.gallery.migrating import packed

OTHER = "other-1.0"
WIDE = 24


def crop(name: object) -> np.ndarray:
    seed = int.from_bytes(str(name).encode()[:6])
    return np.random.default_rng(seed).integers(0, 256, (112, 112, 3)).astype(np.uint8)


def faces(names: list[str], *, seed: int = 1, crops: bool = True) -> list[Enrolment]:
    made = enrolments(names, unit_rows(len(names), 16, seed))
    return [replace(each, crop=crop(name) if crops else None) for each, name in zip(made, names, strict=True)]


def carried(opened: World, limit: int = 2) -> None:
    """Stage everything whose crop is kept: features are made of the crops' bytes."""
    while kept := opened.gallery.unstaged(ACCOUNT, "c", OTHER, limit=limit):
        rows = np.stack([features(each.crop) for each in kept])
        assert opened.gallery.stage(ACCOUNT, "c", OTHER, [each.face_id for each in kept], rows) == len(kept)


def features(pixels: np.ndarray) -> np.ndarray:
    row = pixels.reshape(-1)[:WIDE].astype(np.float32) - 127.5
    return row / np.linalg.norm(row)


def nothing_forbids(connection: sqlite3.Connection) -> None:
    """No legal hold."""


def migrate(
    opened: World,
    *,
    erases_rest: bool = False,
    may_erase: Callable[[sqlite3.Connection], None] = nothing_forbids,
) -> tuple[int, tuple[str, ...]]:
    done = opened.gallery.migrate(
        ACCOUNT,
        "c",
        model_version=OTHER,
        dimension=WIDE,
        erases_rest=erases_rest,
        may_erase=may_erase,
        entry=entry("collection.migrate"),
    )
    return done.references, done.erased


def rows_of(opened: World, table: str) -> int:
    with opened.database.reading() as connection:
        return int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def test_a_collection_comes_to_another_model_with_its_face_ids_and_users(at_home: World) -> None:
    gallery, names = at_home.gallery, ["a", "b", "c", "d", "e"]
    gallery.enrol(ACCOUNT, "c", faces(names), entry=entry())
    gallery.create_user(ACCOUNT, "c", "ann", at=AT, entry=entry(), once=None)
    gallery.associate(
        ACCOUNT, "c", "ann", [name_id("a"), name_id("b")], is_same=lambda score: True, entry=entry(), once=None
    )
    before = [reference for _, reference in gallery.references(ACCOUNT, "c", after_seq=None, limit=9, face_ids=None)]
    assert len(gallery.identify(ACCOUNT, "c", unit_rows(1, 16, 1), max_candidates=9)[0]) == 5
    carried(at_home)
    assert migrate(at_home) == (5, ())
    found = gallery.collection(ACCOUNT, "c")
    assert (found.model_version, found.dimension, found.face_count, found.user_count) == (OTHER, WIDE, 5, 1)
    after = [reference for _, reference in gallery.references(ACCOUNT, "c", after_seq=None, limit=9, face_ids=None)]
    assert after == [replace(each, model_version=OTHER) for each in before]
    for name in names:
        best = gallery.identify(ACCOUNT, "c", features(crop(name))[None], max_candidates=1)[0][0]
        assert best.reference.face_id == name_id(name)
        assert best.comparison_score == pytest.approx(1, abs=1e-3)
    (users,) = gallery.identify_users(ACCOUNT, "c", features(crop("a"))[None], max_candidates=5)
    assert [each.user.user_id for each in users] == ["ann"]
    assert rows_of(at_home, "staged_templates") == 0
    assert rows_of(at_home, "reference_crops") == 5, "for the model after that"


def test_a_reopened_gallery_has_it_so_and_an_index_of_the_new_size(tmp_path: Path) -> None:
    with world(tmp_path) as opened:
        opened.create()
        opened.gallery.enrol(ACCOUNT, "c", faces(["a", "b"]), entry=entry())
        carried(opened)
        migrate(opened)
    with world(tmp_path) as opened:
        opened.create("d")
        opened.gallery.enrol(ACCOUNT, "d", enrolments(["a"], unit_rows(1, 16, 3)), entry=entry())
        assert len(opened.gallery.identify(ACCOUNT, "c", features(crop("b"))[None], max_candidates=9)[0]) == 2
        assert len(opened.gallery.identify(ACCOUNT, "d", unit_rows(1, 16, 3), max_candidates=9)[0]) == 1


def test_until_all_is_there_the_collection_is_what_it_was(tmp_path: Path) -> None:
    with world(tmp_path) as opened:
        opened.create()
        opened.gallery.enrol(ACCOUNT, "c", faces(["a", "b", "c"]), entry=entry())
        kept = opened.gallery.unstaged(ACCOUNT, "c", OTHER, limit=2)
        opened.gallery.stage(
            ACCOUNT, "c", OTHER, [each.face_id for each in kept], np.stack([features(each.crop) for each in kept])
        )
        with pytest.raises(FacesWithoutCrops):
            migrate(opened)
    with world(tmp_path) as opened:  # stopped halfway
        found = opened.gallery.collection(ACCOUNT, "c")
        assert (found.model_version, found.dimension) == (MODEL, 16)
        probe = unit_rows(3, 16, 1)
        for at, name in enumerate("abc"):
            (best, *_) = opened.gallery.identify(ACCOUNT, "c", probe[at : at + 1], max_candidates=1)[0]
            assert best.reference.face_id == name_id(name)
        left = opened.gallery.unstaged(ACCOUNT, "c", OTHER, limit=9)
        assert [each.face_id for each in left] == [name_id("c")], "what was done is not done again"
        carried(opened)
        assert migrate(opened) == (3, ())


def test_faces_without_a_crop_stop_it_or_are_erased(at_home: World) -> None:
    gallery = at_home.gallery
    gallery.enrol(ACCOUNT, "c", [*faces(["a"]), *faces(["b", "c"], seed=2, crops=False)], entry=entry())
    for name in ("a", "b"):
        gallery.create_user(ACCOUNT, "c", name, at=AT, entry=entry(), once=None)
        gallery.associate(ACCOUNT, "c", name, [name_id(name)], is_same=lambda score: True, entry=entry(), once=None)
    carried(at_home)
    assert gallery.without_crops(ACCOUNT, "c", OTHER) == [name_id("b"), name_id("c")]
    with pytest.raises(FacesWithoutCrops, match="2 faces"):
        migrate(at_home)
    assert gallery.collection(ACCOUNT, "c").model_version == MODEL
    assert migrate(at_home, erases_rest=True) == (1, (name_id("b"), name_id("c")))
    found = gallery.collection(ACCOUNT, "c")
    assert (found.face_count, found.user_count) == (1, 1)
    assert [each.user_id for each in gallery.users(ACCOUNT, "c", after_seq=None, limit=9)] == ["a"]


def test_what_forbids_erasing_is_asked_in_the_transaction_that_erases(at_home: World) -> None:
    gallery = at_home.gallery
    gallery.enrol(ACCOUNT, "c", [*faces(["a"]), *faces(["b"], seed=2, crops=False)], entry=entry())
    carried(at_home)
    asked: list[bool] = []

    def forbids(connection: sqlite3.Connection) -> None:
        asked.append(connection.in_transaction)
        raise FacesWithoutCrops("a hold")

    with pytest.raises(FacesWithoutCrops, match="a hold"):
        migrate(at_home, erases_rest=True, may_erase=forbids)
    assert asked == [True]
    found = gallery.collection(ACCOUNT, "c")
    assert (found.model_version, found.face_count) == (MODEL, 2)


def test_what_was_made_of_crops_goes_with_them(at_home: World) -> None:
    """A migration that was given up, or is under way, leaves no second templates once the crops are forgotten."""
    gallery = at_home.gallery
    gallery.enrol(ACCOUNT, "c", faces(["a", "b"]), entry=entry())
    kept = gallery.unstaged(ACCOUNT, "c", OTHER, limit=9)
    rows = np.stack([features(each.crop) for each in kept])
    assert gallery.stage(ACCOUNT, "c", OTHER, [each.face_id for each in kept], rows) == 2
    assert gallery.forget_crops(ACCOUNT, "c", entry=entry("crops.erase")) == 2
    assert rows_of(at_home, "staged_templates") == 0
    assert gallery.stage(ACCOUNT, "c", OTHER, [each.face_id for each in kept], rows) == 0
    assert rows_of(at_home, "staged_templates") == 0
    with pytest.raises(FacesWithoutCrops, match="2 faces"):
        migrate(at_home)


def test_what_went_meanwhile_does_not_come_back(at_home: World) -> None:
    gallery = at_home.gallery
    gallery.enrol(ACCOUNT, "c", faces(["a", "b"]), entry=entry())
    kept = gallery.unstaged(ACCOUNT, "c", OTHER, limit=9)
    gallery.erase(ACCOUNT, "c", [name_id("a")], entry=entry())
    rows = np.stack([features(each.crop) for each in kept])
    assert gallery.stage(ACCOUNT, "c", OTHER, [each.face_id for each in kept], rows) == 1
    gallery.erase(ACCOUNT, "c", [name_id("b")], entry=entry())
    assert rows_of(at_home, "staged_templates") == 0
    assert migrate(at_home) == (0, ())


def test_crops_go_with_their_faces_and_collections(at_home: World) -> None:
    gallery = at_home.gallery
    gallery.enrol(ACCOUNT, "c", faces(["a", "b", "c"]), entry=entry())
    assert rows_of(at_home, "reference_crops") == 3
    gallery.erase(ACCOUNT, "c", [name_id("b")], entry=entry())
    assert [each.face_id for each in gallery.unstaged(ACCOUNT, "c", OTHER, limit=9)] == [name_id("a"), name_id("c")]
    assert gallery.forget_crops(ACCOUNT, "c", entry=entry("crops.erase")) == 2
    assert gallery.unstaged(ACCOUNT, "c", OTHER, limit=9) == []
    assert gallery.collection(ACCOUNT, "c").face_count == 2
    gallery.enrol(ACCOUNT, "c", faces(["a"]), entry=entry())  # the same again, which changes nothing else
    assert rows_of(at_home, "reference_crops") == 1
    gallery.delete_collection(ACCOUNT, "c", entry=entry())
    gallery.finish_deletions()
    assert rows_of(at_home, "reference_crops") == 0


def test_crops_of_a_large_deleted_collection_go_in_portions(at_home: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("countenance.gallery.erasure.ROWS_AT_ONCE", 2)
    at_home.gallery.enrol(ACCOUNT, "c", faces(["a", "b", "c", "d", "e"]), entry=entry())
    at_home.gallery.delete_collection(ACCOUNT, "c", entry=entry())
    at_home.gallery.finish_deletions()
    assert rows_of(at_home, "reference_crops") == 0


def test_no_crop_is_in_clear_and_none_opens_for_another_face(at_home: World) -> None:
    gallery = at_home.gallery
    flat = np.full((112, 112, 3), 77, np.uint8)
    gallery.enrol(ACCOUNT, "c", [replace(each, crop=flat) for each in faces(["a", "b"], crops=False)], entry=entry())
    at_home.database.truncate_wal()
    assert bytes([77]) * 64 not in at_home.bytes_on_disk()
    assert packed(flat)[:40] not in at_home.bytes_on_disk()

    def exchanged(connection: sqlite3.Connection) -> None:
        connection.execute(
            "UPDATE reference_crops SET crop = (SELECT crop FROM reference_crops ORDER BY ref_id DESC LIMIT 1)"
        )

    at_home.database.maintain(exchanged)
    with pytest.raises(TemplateCorrupt, match="crop"):
        gallery.unstaged(ACCOUNT, "c", OTHER, limit=9)


@pytest.mark.parametrize("wrong", [np.zeros((112, 112), np.uint8), np.zeros((112, 112, 3), np.float32)])
def test_what_is_no_crop_is_not_kept(at_home: World, wrong: np.ndarray) -> None:
    (face,) = faces(["a"], crops=False)
    with pytest.raises(ValueError, match="112 x 112"):
        at_home.gallery.enrol(ACCOUNT, "c", [replace(face, crop=wrong)], entry=entry())
