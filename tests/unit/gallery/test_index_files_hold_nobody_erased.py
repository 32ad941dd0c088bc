"""What files of an index hold of a face that was erased before they were made, and who makes them when."""

from __future__ import annotations

import fcntl
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.congruence.samples import ACCOUNT, World, name_id
from tests.unit.gallery.test_index_files import (
    COUNT,
    ROWS,
    answers,
    check,
    enrol,
    erase,
    filled,
    folder_of,
    keep,
    kept_world,
    overwrite,
    segments_in,
    truth,
    uid_of,
)
from tests.unit.gallery.test_index_files import loads as loads

from countenance.gallery import index_files, index_manifest, records, segment_file
from countenance.gallery.segment_file import SegmentFile
from countenance.gallery.segment_format import PAGE

ERASED = [3, 4, 250]


def grown(opened: World) -> None:
    """A collection that was small when it was loaded, and is one segment in memory."""
    opened.create()
    enrol(opened, range(50))
    answers(opened)
    enrol(opened, range(50, COUNT))
    with opened.gallery._shelves.references.holding(uid_of(opened)) as loaded:
        assert loaded is not None
        while loaded.index.index.tidy():  # type: ignore[attr-defined]
            pass
        assert len(loaded.index.index.segments) == 1  # type: ignore[attr-defined]


def features_in(opened: World, folder: Path) -> NDArray[np.float64]:
    """What whoever has the key reads of features in the files, as vectors of length 1; zeros where nothing is."""
    with opened.database.reading() as connection:
        seal = opened.gallery._seal(connection, opened.gallery.collection(ACCOUNT, "c"))
    found = []
    for path in segments_in(folder):
        file = segment_file.open_file(path, seal)
        codes = file.codes()[-file.header.rows * file.header.dimension :].reshape(file.header.rows, -1)
        found.append(codes.astype(np.float64) - segment_file.ERASED_CODE)
        file.map()
        rows = [file.row(at) for at in range(file.header.rows)]
        found.append(np.stack([np.frombuffer(each or bytes(2 * codes.shape[1]), "<f2") for each in rows]))
    vectors = np.concatenate(found)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1), 1e-9)[:, None]


def likeness(vectors: NDArray[np.float64], face: int) -> float:
    """The largest cosine of a face's features with what is in the files."""
    return float((vectors @ ROWS[face]).max())


def test_codes_of_faces_erased_before_are_in_no_new_file(tmp_path: Path, loads: list[int]) -> None:
    with kept_world(tmp_path) as opened:
        grown(opened)
        erase(opened, *ERASED)
        enrol(opened, [7], shift=600)
        assert keep(opened)
        vectors = features_in(opened, tmp_path)
        assert likeness(vectors, 5) > 0.99
        assert likeness(vectors, 607) > 0.99
        for face in (*ERASED, 7):
            assert likeness(vectors, face) < 0.95
        assert answers(opened) == truth(opened)
    check(tmp_path, loads, from_files=True)


def test_codes_of_faces_erased_in_files_are_not_written_again_from_memory(tmp_path: Path) -> None:
    with kept_world(tmp_path) as opened:
        grown(opened)
        assert keep(opened)
        erase(opened, *ERASED)
        opened.gallery._shelves.drop_files(uid_of(opened))
        assert keep(opened)
        vectors = features_in(opened, tmp_path)
        assert likeness(vectors, 5) > 0.99
        for face in ERASED:
            assert likeness(vectors, face) < 0.95


def test_the_faces_of_these_tests_are_told_apart() -> None:
    other = ROWS @ ROWS.T - 2 * np.eye(len(ROWS), dtype=np.float32)
    assert other[[*ERASED, 7]].max() < 0.95


def killed_before_the_manifest(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were published and are named by no manifest, as a kill leaves them."""

    class Killed(BaseException):
        pass

    def kill(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, kept_world(folder) as opened:
        patch.setattr(index_manifest, "write", kill)
        patch.setattr(SegmentFile, "discard", lambda self: None)
        opened.create()
        enrol(opened, range(COUNT))
        with pytest.raises(Killed):
            keep(opened)
    assert segments_in(folder)
    assert not (folder_of(folder) / "manifest").exists()


def test_files_published_before_a_kill_do_not_outlive_an_erasure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loads: list[int]
) -> None:
    killed_before_the_manifest(tmp_path, monkeypatch)
    with kept_world(tmp_path) as opened:
        (path,) = segments_in(tmp_path)
        with path.open("rb") as held:  # who has it open reads no key in it either
            erase(opened, 3)
            assert not path.exists()
            assert held.read(PAGE) == bytes(PAGE)
        assert keep(opened)
        wanted = records.id_bytes(name_id(3))
        assert wanted not in {bytes(each) for each in ids_in(opened, tmp_path)}
    check(tmp_path, loads, from_files=True)


def ids_in(opened: World, folder: Path) -> NDArray[np.uint8]:
    with opened.database.reading() as connection:
        seal = opened.gallery._seal(connection, opened.gallery.collection(ACCOUNT, "c"))
    return np.concatenate([segment_file.open_file(path, seal).face_ids() for path in segments_in(folder)])


def test_a_published_file_that_is_taken_back_has_no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held = []

    def fail(folder: Path, *_: object) -> None:
        held.extend(each.open("rb") for each in folder.glob("*.segment"))
        raise OSError("no space")

    with kept_world(tmp_path) as opened:
        opened.create()
        enrol(opened, range(COUNT))
        monkeypatch.setattr(index_manifest, "write", fail)
        with pytest.raises(OSError, match="no space"):
            keep(opened)
        (file,) = held
        with file:
            assert file.read(PAGE) == bytes(PAGE)
        assert not segments_in(tmp_path)


def test_a_collection_that_becomes_large_in_memory_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with kept_world(tmp_path) as opened, kept_world(tmp_path) as other:
        started: list[World] = []
        monkeypatch.setattr(opened.gallery._shelves._keeper, "start", lambda: started.append(opened))
        monkeypatch.setattr(other.gallery._shelves._keeper, "start", lambda: started.append(other))
        opened.create()
        enrol(opened, range(50))
        assert answers(opened) == answers(other)
        assert started == []
        enrol(opened, range(50, COUNT))
        assert started == [opened]
        assert answers(other) == truth(opened)
        assert started == [opened, other]


def test_files_that_cannot_be_removed_cost_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loads: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path)
    overwrite(segments_in(tmp_path)[0], 5_000)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(index_files, "_remove_others", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    check(tmp_path, loads, from_files=False)
    assert "could not be removed" in caplog.text


def test_threads_that_ask_at_once_whether_they_may_keep_are_told_the_same(tmp_path: Path) -> None:
    for at in range(50):
        files = index_files.IndexFiles(tmp_path / str(at))
        together = threading.Barrier(4)

        def ask(files: index_files.IndexFiles = files, together: threading.Barrier = together) -> bool:
            together.wait()
            return files.may_keep()

        with ThreadPoolExecutor(4) as pool:
            assert all(each.result() for each in [pool.submit(ask) for _ in range(4)])
        files.close()


def test_a_lock_on_a_folder_that_is_no_longer_there_is_none(tmp_path: Path) -> None:
    files = index_files.IndexFiles(tmp_path)
    folder = tmp_path / "1"
    folder.mkdir()
    got: list[int] = []

    def wait() -> None:
        with files._locked(1, fcntl.LOCK_EX) as held:
            assert held is not None
            got.append(held.stat().st_ino)
            with pytest.raises(BlockingIOError):
                lock(folder)

    def lock(path: Path) -> None:
        handle = os.open(path, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(handle)

    with ThreadPoolExecutor(1) as pool, files._locked(1, fcntl.LOCK_EX):
        waiting = pool.submit(wait)
        deadline = time.monotonic() + 20
        while handles_on(folder) < 2:  # it has the folder open, and waits
            assert time.monotonic() < deadline
            time.sleep(0.001)
        folder.rename(tmp_path / "gone")
        folder.mkdir()
        assert got == []
    waiting.result()
    assert got == [folder.stat().st_ino]


def handles_on(folder: Path) -> int:
    """How many open files of this process are that folder."""
    count = 0
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            count += os.path.samestat(each.stat(), folder.stat())
    return count


@pytest.mark.parametrize("at", [0, 1])
def test_files_that_are_given_up_while_they_are_written_are_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loads: list[int], at: int
) -> None:
    draft, made = segment_file.draft, 0
    with kept_world(tmp_path) as opened:
        grown(opened)
        enrol(opened, range(COUNT, COUNT + 20))

        def dropped(*args, **more):  # type: ignore[no-untyped-def]
            nonlocal made
            file = draft(*args, **more)
            if made == at:
                opened.gallery._shelves.drop_files(uid_of(opened))
            made += 1
            return file

        monkeypatch.setattr(segment_file, "draft", dropped)
        with pytest.raises(OSError):  # noqa: PT011 -- whichever step finds it out
            keep(opened)
        assert not any((tmp_path / "index").glob("*/*"))
        assert keep(opened)
        assert answers(opened) == truth(opened)
    check(tmp_path, loads, from_files=True)


def test_a_draft_that_is_begun_meanwhile_does_not_fail_an_erasure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path)
    overwrite(segments_in(tmp_path)[0], 5_000)
    sync = index_files.sync_folder

    def begin(folder: Path) -> None:
        sync(folder)
        (folder / "00.draft").write_bytes(b"")

    with kept_world(tmp_path) as opened:
        monkeypatch.setattr(index_files, "sync_folder", begin)
        erase(opened, 3)
        assert [each.name for each in folder_of(tmp_path).iterdir()] == ["00.draft"]
