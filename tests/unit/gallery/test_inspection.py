from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest
from tests.congruence.samples import ACCOUNT, World, enrolments, entry, name_id, unit_rows, world

from countenance.gallery import CollectionNotFound, IndexBusy, IndexState, changes, records
from countenance.gallery.index import NumpyIndex, tiered
from countenance.gallery.shelf import Change

COUNT = 400
ROWS = unit_rows(COUNT + 100, 16, 41)


def enrol(opened: World, names: range) -> None:
    opened.gallery.enrol(ACCOUNT, "c", enrolments(list(names), ROWS[list(names)]), entry=entry())


def look(opened: World) -> IndexState:
    return opened.gallery.describe_index(ACCOUNT, "c")


@pytest.mark.parametrize("quantised_from", [100, 100_000])
def test_an_index_that_followed_every_change_agrees(tmp_path: Path, quantised_from: int) -> None:
    with world(tmp_path, index_factory=tiered(quantised_from)) as opened:
        opened.create()
        found = opened.gallery.verify_index(ACCOUNT, "c")
        assert (found.agrees, found.references, found.probes) == (True, 0, 0)
        enrol(opened, range(COUNT))
        opened.gallery.erase(ACCOUNT, "c", [name_id(each) for each in range(0, COUNT, 7)], entry=entry())
        enrol(opened, range(COUNT, COUNT + 30))
        found = opened.gallery.verify_index(ACCOUNT, "c")
        assert found.agrees, found
        assert found.references == opened.gallery.collection(ACCOUNT, "c").face_count
        assert found.probes > 20


def test_an_index_that_lacks_or_adds_a_face_or_has_another_template_does_not(tmp_path: Path) -> None:
    with world(tmp_path, index_factory=NumpyIndex) as opened:
        opened.create()
        enrol(opened, range(COUNT))
        collection = opened.gallery.collection(ACCOUNT, "c")
        books = opened.gallery._shelves.references
        nothing, none = np.empty((0, 16), np.float16), records.id_rows([])

        def only(change: Change) -> list[int]:
            books.forget(collection.uid)
            with books.lent(collection.uid):
                pass
            books.apply(change)
            with books.holding(collection.uid) as loaded:
                assert loaded is not None
                object.__setattr__(loaded, "revision", 1)  # so that it does not notice
            found = opened.gallery.verify_index(ACCOUNT, "c")
            assert found.agrees is False
            assert found.named
            return [found.missing, found.surplus, found.differing > 0]

        one = records.id_rows([records.id_bytes(name_id(5))])
        new = records.id_rows([records.id_bytes(name_id("new"))])
        row = ROWS[COUNT : COUNT + 1].astype(np.float16)
        assert only(Change(collection.uid, 2, none, nothing, none, nothing, one))[:2] == [1, 0]
        assert only(Change(collection.uid, 2, new, row, none, nothing, none))[:2] == [0, 1]
        many = records.id_rows([records.id_bytes(name_id(each)) for each in range(COUNT)])
        others = np.roll(ROWS[:COUNT], 1, axis=0).astype(np.float16)
        assert only(Change(collection.uid, 2, none, nothing, many, others, none)) == [0, 0, True]


def test_it_agrees_while_others_write(tmp_path: Path) -> None:
    with world(tmp_path, index_factory=tiered(100), synchronous="NORMAL") as opened:
        opened.create()
        enrol(opened, range(COUNT))
        stop = threading.Event()

        def write() -> None:
            at = 0
            while not stop.is_set():
                name = COUNT + at % 100
                enrol(opened, range(name, name + 1))
                opened.gallery.erase(ACCOUNT, "c", [name_id(name)], entry=entry())
                at += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            found = [opened.gallery.verify_index(ACCOUNT, "c") for _ in range(10)]
        finally:
            stop.set()
            writer.join()
        assert all(each.agrees for each in found), found
        assert len({each.revision for each in found}) > 1


def test_what_cannot_be_compared_is_said(at_home: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CollectionNotFound):
        at_home.gallery.verify_index(ACCOUNT, "none")
    with pytest.raises(CollectionNotFound):
        at_home.gallery.describe_index(ACCOUNT, "none")

    def never(connection: sqlite3.Connection, *args: object) -> None:
        return None

    monkeypatch.setattr(changes, "since", never)
    with pytest.raises(IndexBusy):
        at_home.gallery.verify_index(ACCOUNT, "c")


def test_an_index_is_described_in_memory_and_on_disk(tmp_path: Path) -> None:
    with world(tmp_path, index_factory=tiered(100), index_files_from=100) as opened:
        opened.create()
        enrol(opened, range(COUNT))
        state = look(opened)
        assert (state.references, state.revision, state.tier, state.rows, state.files) == (COUNT, 1, None, 0, 0)
        uid = opened.gallery.collection(ACCOUNT, "c").uid
        opened.gallery.identify(ACCOUNT, "c", ROWS[:1], max_candidates=1)
        assert opened.gallery._shelves.keep(uid, is_due=True)
    with world(tmp_path, index_factory=tiered(100), index_files_from=100) as opened:
        opened.gallery.identify(ACCOUNT, "c", ROWS[:1], max_candidates=1)
        opened.gallery.erase(ACCOUNT, "c", [name_id(1), name_id(2)], entry=entry())
        enrol(opened, range(COUNT, COUNT + 3))
        state = look(opened)
        assert (state.tier, state.rows, state.loaded_revision, state.revision) == ("quantised", COUNT + 1, 3, 3)
        assert (state.segments, state.tail, state.tombstones) == (1, 3, 2)
        assert (state.files, state.files_revision) == (1, 1)
        assert state.memory_bytes > 16 * COUNT
        assert state.disk_bytes == sum(path.stat().st_size for path in tmp_path.glob("index/*/*.segment"))


def test_a_small_one_is_lazy(at_home: World) -> None:
    enrol(at_home, range(3))
    at_home.gallery.identify(ACCOUNT, "c", ROWS[:1], max_candidates=1)
    assert look(at_home).tier == "lazy"
