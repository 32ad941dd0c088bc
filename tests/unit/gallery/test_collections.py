from __future__ import annotations

from pathlib import Path

import pytest
from tests.congruence.samples import ACCOUNT, MODEL, OTHER_ACCOUNT, World, enrolments, entry, name_id, unit_rows, world

from countenance.gallery import (
    CollectionExists,
    CollectionNotFound,
    ModelMismatch,
    ReferenceNotFound,
    TagLimitExceeded,
)


def test_a_collection_is_found_listed_and_counted(at_home: World) -> None:
    gallery = at_home.gallery
    for name in ("b", "a"):
        at_home.create(name)
    listed = gallery.collections(ACCOUNT, after_uid=None, limit=10)
    assert [each.collection_id for each in listed] == ["c", "b", "a"]
    assert [each.uid for each in listed] == sorted(each.uid for each in listed)
    assert gallery.collections(ACCOUNT, after_uid=listed[0].uid, limit=1) == [listed[1]]
    found = gallery.collection(ACCOUNT, "a")
    assert (found.model_version, found.dimension, found.face_count) == (MODEL, 16, 0)
    assert found.created_at.tzinfo is not None
    gallery.enrol(ACCOUNT, "a", enrolments([1, 2], unit_rows(2, 16, 1)), entry=entry())
    assert gallery.collection(ACCOUNT, "a").face_count == 2
    assert gallery.stats().references == 2
    assert gallery.stats().collections == 3


def test_a_second_one_of_the_same_name_is_refused_and_leaves_no_record(at_home: World) -> None:
    before = len(at_home.database.pending_outbox(100))
    with pytest.raises(CollectionExists):
        at_home.create("c")
    assert len(at_home.database.pending_outbox(100)) == before


def test_a_uid_is_never_used_again(at_home: World) -> None:
    first = at_home.gallery.collection(ACCOUNT, "c").uid
    at_home.gallery.delete_collection(ACCOUNT, "c", entry=entry("DeleteCollection"))
    at_home.create("c")
    assert at_home.gallery.collection(ACCOUNT, "c").uid > first


def test_accounts_do_not_see_each_other(at_home: World) -> None:
    gallery = at_home.gallery
    with pytest.raises(CollectionNotFound):
        gallery.collection(OTHER_ACCOUNT, "c")
    at_home.create("c", account_id=OTHER_ACCOUNT)
    rows = unit_rows(2, 16, 1)
    gallery.enrol(ACCOUNT, "c", enrolments(["mine"], rows[:1]), entry=entry())
    gallery.enrol(OTHER_ACCOUNT, "c", enrolments(["theirs"], rows[1:]), entry=entry())
    mine, theirs = name_id("mine"), name_id("theirs")
    for account, own, other in ((ACCOUNT, mine, theirs), (OTHER_ACCOUNT, theirs, mine)):
        found = gallery.identify(account, "c", rows, max_candidates=10)
        assert [[each.reference.face_id for each in each_probe] for each_probe in found] == [[own], [own]]
        assert [
            each.face_id for _, each in gallery.references(account, "c", after_seq=None, limit=9, face_ids=None)
        ] == [own]
        assert gallery.references(account, "c", after_seq=None, limit=9, face_ids=[other]) == []
        with pytest.raises(ReferenceNotFound):
            gallery.reference(account, "c", other)
        with pytest.raises(ReferenceNotFound):
            gallery.features_of(account, "c", other)
        assert gallery.erase(account, "c", [other], entry=entry(account_id=account)) == []
    assert gallery.delete_collection(ACCOUNT, "c", entry=entry()) == 1
    assert gallery.collection(OTHER_ACCOUNT, "c").face_count == 1


def test_every_method_says_when_there_is_no_collection(at_home: World) -> None:
    gallery = at_home.gallery
    rows = unit_rows(1, 16, 1)
    calls = [
        lambda: gallery.collection(ACCOUNT, "no"),
        lambda: gallery.delete_collection(ACCOUNT, "no", entry=entry()),
        lambda: gallery.enrol(ACCOUNT, "no", enrolments([1], rows), entry=entry()),
        lambda: gallery.references(ACCOUNT, "no", after_seq=None, limit=1, face_ids=None),
        lambda: gallery.reference(ACCOUNT, "no", name_id(1)),
        lambda: gallery.erase(ACCOUNT, "no", [name_id(1)], entry=entry()),
        lambda: gallery.features_of(ACCOUNT, "no", name_id(1)),
        lambda: gallery.identify(ACCOUNT, "no", rows, max_candidates=1),
        lambda: gallery.tags(ACCOUNT, "no"),
        lambda: gallery.tag(ACCOUNT, "no", {"a": "b"}, entry=entry()),
        lambda: gallery.untag(ACCOUNT, "no", ["a"], entry=entry()),
    ]
    for call in calls:
        with pytest.raises(CollectionNotFound):
            call()


def test_tags_are_set_kept_removed_and_limited(at_home: World) -> None:
    gallery = at_home.gallery
    assert gallery.tag(ACCOUNT, "c", {"b": "1", "a": ""}, entry=entry()) == {"a": "", "b": "1"}
    assert gallery.tag(ACCOUNT, "c", {"b": "2"}, entry=entry()) == {"a": "", "b": "2"}
    assert gallery.untag(ACCOUNT, "c", ["a", "unknown"], entry=entry()) == {"b": "2"}
    gallery.tag(ACCOUNT, "c", {f"t{at}": "x" for at in range(199)}, entry=entry())
    before = gallery.tags(ACCOUNT, "c")
    assert len(before) == 200
    with pytest.raises(TagLimitExceeded):
        gallery.tag(ACCOUNT, "c", {"one more": "x", "b": "3"}, entry=entry())
    assert gallery.tags(ACCOUNT, "c") == before
    assert gallery.tag(ACCOUNT, "c", {"b": "3"}, entry=entry())["b"] == "3"
    with pytest.raises(TagLimitExceeded):
        gallery.create_collection(
            ACCOUNT,
            "many",
            model_version=MODEL,
            dimension=16,
            tags={f"t{at}": "" for at in range(201)},
            entry=entry(),
        )
    with pytest.raises(CollectionNotFound):
        gallery.collection(ACCOUNT, "many")


def test_deleting_says_how_many_and_removes_everything(at_home: World) -> None:
    gallery = at_home.gallery
    gallery.enrol(ACCOUNT, "c", enrolments(range(7), unit_rows(7, 16, 1)), entry=entry())
    gallery.tag(ACCOUNT, "c", {"a": "b"}, entry=entry())
    assert gallery.delete_collection(ACCOUNT, "c", entry=entry("DeleteCollection")) == 7
    with pytest.raises(CollectionNotFound):
        gallery.collection(ACCOUNT, "c")
    at_home.create("c")
    assert gallery.tags(ACCOUNT, "c") == {}
    assert gallery.identify(ACCOUNT, "c", unit_rows(1, 16, 1), max_candidates=5) == [[]]


def test_a_large_deletion_is_over_at_once_and_finished_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("countenance.gallery.erasure.ROWS_AT_ONCE", 10)
    left = "SELECT count(*) FROM enrolled_references"
    with world(tmp_path) as opened:
        opened.gallery._sweeper.stop()  # the process dies before the thread gets to it
        opened.create()
        opened.gallery.enrol(ACCOUNT, "c", enrolments(range(55), unit_rows(55, 16, 1)), entry=entry())
        assert opened.gallery.delete_collection(ACCOUNT, "c", entry=entry()) == 55
        assert opened.gallery.stats().references == 0
        with pytest.raises(CollectionNotFound):
            opened.gallery.identify(ACCOUNT, "c", unit_rows(1, 16, 1), max_candidates=1)
        assert opened.database.read().execute(left).fetchone() == (55,)
        opened.create()
        opened.gallery.enrol(ACCOUNT, "c", enrolments(["new"], unit_rows(1, 16, 2)), entry=entry())
    with world(tmp_path) as opened:
        opened.gallery.finish_deletions()
        assert opened.database.read().execute(left).fetchone() == (1,)
        assert opened.database.read().execute("SELECT count(*) FROM erasures").fetchone() == (0,)
        assert opened.gallery.reference(ACCOUNT, "c", name_id("new")).face_id == name_id("new")


def test_models_do_not_mix(at_home: World) -> None:
    rows = unit_rows(2, 16, 1)
    with pytest.raises(ModelMismatch):
        at_home.gallery.enrol(ACCOUNT, "c", enrolments([1], rows[:1], model_version="another"), entry=entry())
    with pytest.raises(ModelMismatch):
        at_home.gallery.enrol(ACCOUNT, "c", enrolments([1], unit_rows(1, 8, 1)), entry=entry())
    with pytest.raises(ModelMismatch):
        at_home.gallery.identify(ACCOUNT, "c", unit_rows(1, 8, 1), max_candidates=1)
    assert at_home.gallery.collection(ACCOUNT, "c").face_count == 0
