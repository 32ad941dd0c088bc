"""Indexes kept on disk: what is opened from them answers as what was loaded from the database, or is made anew."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
from tests.congruence.samples import ACCOUNT, World, enrolments, entry, name_id, unit_rows, world

from countenance.gallery import changes, loading, records, segment_file
from countenance.gallery.index import NumpyIndex, tiered
from countenance.gallery.sealing import CollectionSeal
from countenance.gallery.shelf import Loaded

COUNT = 400
ROWS = unit_rows(900, 16, 21)
PROBES = unit_rows(6, 16, 22)


@contextmanager
def kept_world(folder: Path, *, keeps_by_itself: bool = False) -> Iterator[World]:
    with world(folder, synchronous="NORMAL", index_factory=tiered(100), index_files_from=100) as opened:
        if not keeps_by_itself:
            opened.gallery._shelves._keeper.stop()
        yield opened


def enrol(opened: World, names: range | list[int], shift: int = 0) -> None:
    opened.gallery.enrol(ACCOUNT, "c", enrolments(list(names), ROWS[[each + shift for each in names]]), entry=entry())


def erase(opened: World, *names: int) -> None:
    opened.gallery.erase(ACCOUNT, "c", [name_id(each) for each in names], entry=entry())


def uid_of(opened: World) -> int:
    return opened.gallery.collection(ACCOUNT, "c").uid


def keep(opened: World) -> bool:
    opened.gallery.identify(ACCOUNT, "c", PROBES, max_candidates=1)
    return opened.gallery._shelves.keep(uid_of(opened), is_due=True)


def filled(folder: Path) -> None:
    """A collection of COUNT faces, in files as they were then."""
    with kept_world(folder) as opened:
        opened.create()
        enrol(opened, range(COUNT))
        assert keep(opened)


def answers(opened: World) -> list[list[tuple[str, float]]]:
    found = opened.gallery.identify(ACCOUNT, "c", PROBES, max_candidates=500)
    return [[(each.reference.face_id, each.comparison_score) for each in one] for one in found]


def truth(opened: World) -> list[list[tuple[str, float]]]:
    """What an exact search over the database's rows answers."""
    with opened.database.reading(snapshot=True) as connection:
        found = opened.gallery.collection(ACCOUNT, "c")
        seal = opened.gallery._seal(connection, found)
        loaded = loading.references_index(connection, found, seal, NumpyIndex)
    rankings = loaded.index.search(PROBES, 500)
    return [
        [(records.id_text(face_id), score) for face_id, score in zip(each.face_ids, each.scores, strict=True)]
        for each in rankings
    ]


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collections that were loaded from the database, row by row."""
    seen: list[int] = []
    load = loading.references_index

    def counted(connection, collection, seal, factory, *share) -> Loaded:  # type: ignore[no-untyped-def]
        seen.append(collection.uid)
        return load(connection, collection, seal, factory, *share)

    monkeypatch.setattr(loading, "references_index", counted)
    return seen


def check(folder: Path, loads: list[int], *, from_files: bool) -> None:
    loads.clear()
    with kept_world(folder) as opened:
        told = answers(opened)
        assert bool(loads) is not from_files
        assert told == truth(opened)


def folder_of(folder: Path) -> Path:
    (found,) = [each for each in (folder / "index").iterdir() if each.is_dir()]
    return found


def segments_in(folder: Path) -> list[Path]:
    return sorted(folder_of(folder).glob("*.segment"))


def test_an_index_is_opened_from_its_files_and_answers_the_same(tmp_path: Path, loads: list[int]) -> None:
    filled(tmp_path)
    check(tmp_path, loads, from_files=True)
    assert {each.name for each in folder_of(tmp_path).iterdir()} == {
        "manifest",
        *(f.name for f in segments_in(tmp_path)),
    }
    for path in (tmp_path / "index", folder_of(tmp_path)):
        assert path.stat().st_mode & 0o77 == 0


def test_what_changed_since_is_caught_up_with(tmp_path: Path, loads: list[int]) -> None:
    filled(tmp_path)
    with kept_world(tmp_path) as opened:
        enrol(opened, range(COUNT, COUNT + 50))
        erase(opened, 3, 4, COUNT + 1)
        enrol(opened, [7, 8], shift=600)
    check(tmp_path, loads, from_files=True)


def test_only_what_is_new_is_written_and_replaced_rows_leave_the_files(tmp_path: Path, loads: list[int]) -> None:
    filled(tmp_path)
    before = segments_in(tmp_path)
    with kept_world(tmp_path) as opened:
        enrol(opened, range(COUNT, COUNT + 20))
        enrol(opened, [7], shift=600)
        assert keep(opened)
        after = segments_in(tmp_path)
        assert set(before) < set(after)
        with opened.database.reading() as connection:
            seal = opened.gallery._seal(connection, opened.gallery.collection(ACCOUNT, "c"))
        where = [bytes(each) for path in after for each in segment_file.open_file(path, seal).face_ids()]
        assert where.count(records.id_bytes(name_id(7))) == 1
        assert opened.gallery._shelves.keep(uid_of(opened)) is False  # nothing is due
        assert answers(opened) == truth(opened)
    check(tmp_path, loads, from_files=True)


def row_in(path: Path, seal: CollectionSeal, at: int) -> bytes | None:
    file = segment_file.open_file(path, seal)
    file.map()
    return file.row(at)


def test_an_erased_face_is_in_no_file_when_its_erasure_returns(tmp_path: Path, loads: list[int]) -> None:
    filled(tmp_path)
    with kept_world(tmp_path) as opened:
        answers(opened)
        with opened.database.reading() as connection:
            seal = opened.gallery._seal(connection, opened.gallery.collection(ACCOUNT, "c"))
        wanted = records.id_bytes(name_id(9))

        def places() -> list[tuple[Path, int]]:
            found = []
            for path in segments_in(tmp_path):
                ids = segment_file.open_file(path, seal).face_ids()
                found += [(path, at) for at, each in enumerate(ids) if bytes(each) == wanted]
            return found

        ((path, at),) = places()
        assert row_in(path, seal, at) == ROWS[9].astype(np.float16).tobytes()
        erase(opened, 9)
        assert places() == []
        assert row_in(path, seal, at) is None
        assert answers(opened) == truth(opened)
    check(tmp_path, loads, from_files=True)


def test_a_face_that_is_erased_while_files_are_written_is_not_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loads: list[int]
) -> None:
    with kept_world(tmp_path) as opened:
        opened.create()
        enrol(opened, range(COUNT))
        answers(opened)
        draft = segment_file.draft

        def slow(*args, **more):  # type: ignore[no-untyped-def]
            made = draft(*args, **more)
            if opened.gallery.collection(ACCOUNT, "c").face_count == COUNT:
                erase(opened, 11)
            return made

        monkeypatch.setattr(segment_file, "draft", slow)
        assert keep(opened)
        with opened.database.reading() as connection:
            seal = opened.gallery._seal(connection, opened.gallery.collection(ACCOUNT, "c"))
        for path in segments_in(tmp_path):
            ids = {bytes(each) for each in segment_file.open_file(path, seal).face_ids()}
            assert records.id_bytes(name_id(11)) not in ids
            assert records.id_bytes(name_id(12)) in ids
        assert answers(opened) == truth(opened)
    check(tmp_path, loads, from_files=True)


def test_nothing_of_a_face_is_in_any_file_in_the_clear(tmp_path: Path) -> None:
    filled(tmp_path)
    content = b"".join(path.read_bytes() for path in folder_of(tmp_path).iterdir())
    for name in (0, 1, 200, COUNT - 1):
        template = ROWS[name].astype(np.float16).tobytes()
        assert template not in content
        assert template[:8] not in content
        assert records.id_bytes(name_id(name)) not in content
        assert name_id(name).encode() not in content


def overwrite(path: Path, at: int, what: bytes = b"torn") -> None:
    with path.open("r+b") as raw:
        raw.seek(at)
        raw.write(what)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: overwrite(folder_of(folder) / "manifest", 20),
        lambda folder: (folder_of(folder) / "manifest").write_bytes(b""),
        lambda folder: overwrite(segments_in(folder)[0], 40),
        lambda folder: overwrite(segments_in(folder)[0], 5_000),
        lambda folder: overwrite(segments_in(folder)[0], 4_096 + COUNT * 16 + 2_000),
        lambda folder: truncate(segments_in(folder)[0]),
        lambda folder: segments_in(folder)[0].unlink(),
        lambda folder: segments_in(folder)[0].write_bytes(b""),
    ],
    ids=["manifest", "no manifest", "header", "ids", "codes", "cut", "missing", "empty"],
)
def test_a_torn_file_is_removed_and_made_anew(
    tmp_path: Path, loads: list[int], harm, caplog: pytest.LogCaptureFixture
) -> None:  # type: ignore[no-untyped-def]
    filled(tmp_path)
    before = segments_in(tmp_path)
    harm(tmp_path)
    check(tmp_path, loads, from_files=False)
    assert "made anew" in caplog.text
    assert not any(each.exists() for each in before)
    with kept_world(tmp_path) as opened:
        assert keep(opened)
    check(tmp_path, loads, from_files=True)


def test_a_torn_row_is_looked_up_in_the_database(tmp_path: Path, loads: list[int]) -> None:
    filled(tmp_path)
    path = segments_in(tmp_path)[0]
    overwrite(path, path.stat().st_size - 30)
    check(tmp_path, loads, from_files=True)


def test_files_of_another_collection_or_past_are_not_taken(tmp_path: Path, loads: list[int]) -> None:
    filled(tmp_path)
    shutil.copy(tmp_path / "countenance.db", tmp_path / "backup")
    with kept_world(tmp_path) as opened:
        enrol(opened, range(COUNT, COUNT + 10))
        assert keep(opened)
    shutil.copytree(folder_of(tmp_path), tmp_path / "copy")
    # the backup comes back, and goes another way to a revision of the same number
    shutil.copy(tmp_path / "backup", tmp_path / "countenance.db")
    with world(tmp_path, index_files_from=0) as opened:
        enrol(opened, range(COUNT + 100, COUNT + 105))
        assert opened.gallery.collection(ACCOUNT, "c").revision == 2
    shutil.copytree(tmp_path / "copy", tmp_path / "index" / "1")
    check(tmp_path, loads, from_files=False)


def test_another_collection_s_key_does_not_open_them(tmp_path: Path, loads: list[int]) -> None:
    filled(tmp_path)
    with kept_world(tmp_path) as opened:
        opened.create("other")
        opened.gallery.enrol(ACCOUNT, "other", enrolments(range(COUNT), ROWS[:COUNT]), entry=entry())
        other = opened.gallery.collection(ACCOUNT, "other").uid
        shutil.copytree(folder_of(tmp_path), tmp_path / "index" / str(other))
        loads.clear()
        opened.gallery._shelves.forget(other)
        opened.gallery.identify(ACCOUNT, "other", PROBES, max_candidates=1)
        assert loads == [other]


def test_files_that_the_list_of_changes_does_not_reach_are_made_anew(
    tmp_path: Path, loads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(changes, "PRUNE_EVERY", 1)
    monkeypatch.setattr(changes, "KEEP_MOST", 3)
    monkeypatch.setattr(changes, "KEEP_LEAST", 3)
    filled(tmp_path)
    with kept_world(tmp_path) as opened:
        for name in range(COUNT, COUNT + 6):
            enrol(opened, [name])
    check(tmp_path, loads, from_files=False)


def test_what_a_crash_left_is_removed_when_files_are_next_written(tmp_path: Path, loads: list[int]) -> None:
    filled(tmp_path)
    (folder_of(tmp_path) / "00.draft").write_bytes(b"x")
    shutil.copy(segments_in(tmp_path)[0], folder_of(tmp_path) / "00.segment")
    with kept_world(tmp_path) as opened:
        enrol(opened, [COUNT])
        assert keep(opened)
        assert not list(folder_of(tmp_path).glob("00.*"))
    check(tmp_path, loads, from_files=True)


def test_a_deleted_collection_s_files_are_gone_and_one_that_shrank_loses_them(tmp_path: Path) -> None:
    filled(tmp_path)
    with kept_world(tmp_path) as opened:
        answers(opened)
        opened.gallery.delete_collection(ACCOUNT, "c", entry=entry())
        assert not any((tmp_path / "index").glob("*/*"))
        opened.create()
        enrol(opened, range(COUNT))
        assert keep(opened)
        assert any((tmp_path / "index").glob("*/*"))
        erase(opened, *range(50, COUNT))
    with kept_world(tmp_path):
        assert not any((tmp_path / "index").glob("*/*"))


def test_small_collections_and_those_of_a_server_without_files_have_none(tmp_path: Path) -> None:
    with kept_world(tmp_path) as opened:
        opened.create()
        enrol(opened, range(90))
        assert keep(opened) is False
    with world(tmp_path, index_factory=tiered(100), index_files_from=0) as opened:
        enrol(opened, range(90, COUNT))
        assert keep(opened) is False
    assert not (tmp_path / "index").exists()


def test_one_process_makes_files_and_any_erases_in_them(tmp_path: Path, loads: list[int]) -> None:
    with kept_world(tmp_path) as one, kept_world(tmp_path) as other:
        one.create()
        enrol(one, range(COUNT))
        assert keep(one)
        assert keep(other) is False
        erase(other, 5)
        assert answers(one) == answers(other) == truth(one)
        with one.database.reading() as connection:
            seal = one.gallery._seal(connection, one.gallery.collection(ACCOUNT, "c"))
        for path in segments_in(tmp_path):
            ids = {bytes(each) for each in segment_file.open_file(path, seal).face_ids()}
            assert records.id_bytes(name_id(5)) not in ids
    check(tmp_path, loads, from_files=True)


def test_nodes_with_files_of_their_own_overwrite_what_others_erased(tmp_path: Path) -> None:
    def node(name: str) -> AbstractContextManager[World]:
        return world(
            tmp_path,
            synchronous="NORMAL",
            index_factory=tiered(100),
            index_files_from=100,
            index_folder=tmp_path / name,
        )

    def has(opened: World, name: str, face: int) -> bool:
        with opened.database.reading() as connection:
            seal = opened.gallery._seal(connection, opened.gallery.collection(ACCOUNT, "c"))
        ids = [segment_file.open_file(path, seal).face_ids() for path in (tmp_path / name).glob("*/*.segment")]
        assert ids
        return any(bytes(each) == records.id_bytes(name_id(face)) for each in np.concatenate(ids))

    with node("here") as one, node("there") as other:
        one.create()
        enrol(one, range(COUNT))
        assert keep(one)
        assert keep(other)
        erase(one, 5)
        assert not has(one, "here", 5)
        other.gallery._shelves._keep_all()  # what its keeper does every few seconds
        assert not has(other, "there", 5)
        erase(one, 6)
        assert answers(other) == truth(one)  # catching up overwrites them as well
        assert not has(other, "there", 6)
        one.gallery.delete_collection(ACCOUNT, "c", entry=entry())
        other.gallery._shelves._keep_all()
        assert not any((tmp_path / "there").glob("*/*"))


def test_a_server_that_stops_does_not_wait_for_files(tmp_path: Path, loads: list[int]) -> None:
    with kept_world(tmp_path) as opened:
        opened.create()
        enrol(opened, range(COUNT))
        answers(opened)
        opened.gallery._shelves.files.stop()
        with pytest.raises(InterruptedError):
            keep(opened)
        assert not any((tmp_path / "index").glob("*/*"))
    check(tmp_path, loads, from_files=False)


def test_the_keeper_writes_files_by_itself_after_a_load(tmp_path: Path, loads: list[int]) -> None:
    with kept_world(tmp_path, keeps_by_itself=True) as opened:
        opened.create()
        enrol(opened, range(COUNT))
        answers(opened)
        shelves = opened.gallery._shelves
        for _ in range(1_000):
            if uid_of(opened) in shelves._kept:
                break
            shelves._keeper._woken.wait(0.01)
        assert answers(opened) == truth(opened)
    check(tmp_path, loads, from_files=True)
