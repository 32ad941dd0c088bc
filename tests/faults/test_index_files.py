"""Files of an index, and `kill -9` between any two steps of writing them or of erasing in them; a disk that is full."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from countenance.gallery import changes, loading, records, segment_file
from countenance.gallery.index import NumpyIndex
from countenance.gallery.segment_format import SegmentFileUnusable
from tests.congruence.samples import ACCOUNT, World, name_id

from . import keeping

MOST_STEPS = 60


def run(folder: Path, what: str, step: int) -> bool:
    """Whether it got to the end."""
    child = subprocess.run(
        [sys.executable, keeping.__file__, str(folder), what, str(step)], capture_output=True, text=True, check=False
    )
    assert child.returncode in (0, -9), child.stderr
    return "done" in child.stdout


def faults_in(folder: Path) -> list[str]:
    """What is wrong after a start: answers that are not the database's, erased faces in a file."""
    faults: list[str] = []
    with keeping.kept_world(folder) as opened:
        probes = keeping.ROWS[[0, 3, 250, keeping.COUNT + 1]]
        found = opened.gallery.identify(ACCOUNT, "c", probes, max_candidates=100)
        with opened.database.reading(snapshot=True) as connection:
            collection = opened.gallery.collection(ACCOUNT, "c")
            seal = opened.gallery._seal(connection, collection)
            there = {row[0] for row in connection.execute("SELECT face_id FROM enrolled_references").fetchall()}
            oracle = loading.references_index(connection, collection, seal, NumpyIndex).index
        for told, expected in zip(found, oracle.search(probes, 100), strict=True):
            if [each.reference.face_id for each in told] != [records.id_text(each) for each in expected.face_ids]:
                faults.append("answers differ")
        for path in folder.glob("index/*/*.segment"):
            try:
                ids = segment_file.open_file(path, seal).face_ids()
            except SegmentFileUnusable:
                continue  # nobody can read it
            for name in keeping.ERASED:
                face_id = records.id_bytes(name_id(name))
                if face_id not in there and any(bytes(each) == face_id for each in ids):
                    faults.append(f"{path.name} has {name}, which is erased")
    return faults


@pytest.fixture(scope="module")
def beginning(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept") / "data"
    folder.mkdir()
    with keeping.kept_world(folder) as opened:
        opened.create()
        keeping.enrol(opened, range(keeping.COUNT))
        keeping.keep(opened)
    assert list(folder.glob("index/*/*.segment"))
    return folder


@pytest.mark.parametrize("what", ["erase", "keep"])
def test_a_kill_at_any_step_leaves_no_wrong_answer_and_no_erased_face(
    beginning: Path, tmp_path: Path, what: str
) -> None:
    for step in range(1, MOST_STEPS):
        folder = tmp_path / str(step)
        shutil.copytree(beginning, folder)
        is_done = run(folder, what, step)
        assert faults_in(folder) == [], f"after a kill at step {step}"
        shutil.rmtree(folder)
        if is_done:
            break
    print(f"{what}: killed at {step - 1} steps")
    assert is_done
    assert step > 5


def test_the_check_notices_what_it_is_there_for(
    beginning: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(beginning, folder)
    with monkeypatch.context() as patched, keeping.kept_world(folder) as opened:
        patched.setattr(opened.gallery._shelves, "erase_from_files", lambda *_: None)
        keeping.erase(opened)
    monkeypatch.setattr("countenance.gallery.shelves._gone", lambda change: [])
    assert [each.split(" ", 1)[1] for each in faults_in(folder)] == [
        "has 3, which is erased",
        "has 250, which is erased",
    ]
    since = changes.since

    def forgetful(*args):  # type: ignore[no-untyped-def]
        change = since(*args)
        assert change is not None
        nothing = np.empty((0, 16), np.uint8)
        return type(change)(
            change.uid, change.revision, nothing, change.replaced_templates, nothing, change.replaced_templates, nothing
        )

    monkeypatch.setattr(changes, "since", forgetful)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("countenance.gallery.shelves.TieredIndex.__len__", lambda _: keeping.COUNT - 2)
        assert "answers differ" in faults_in(folder)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder for the files of indexes on a file system of its own, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def full_world(opened: World) -> list[str]:
    found = opened.gallery.identify(ACCOUNT, "c", keeping.ROWS[:1], max_candidates=5)
    return [each.reference.face_id for each in found[0]]


def test_a_full_disk_costs_the_files_and_no_answer(small_disk: Path, tmp_path: Path) -> None:
    from countenance.gallery.index import tiered
    from tests.congruence.samples import world

    with world(tmp_path, index_factory=tiered(100), index_files_from=100, index_folder=small_disk / "index") as opened:
        opened.gallery._shelves._keeper.stop()
        opened.create()
        keeping.enrol(opened, range(keeping.COUNT))
        before = full_world(opened)
        uid = opened.gallery.collection(ACCOUNT, "c").uid
        (small_disk / "filler").write_bytes(bytes(40 << 10))
        with pytest.raises(OSError, match="space"):
            opened.gallery._shelves.keep(uid, is_due=True)
        assert opened.gallery._shelves._keep_all() is False  # the keeper's own thread says so in the log and goes on
        assert not list(small_disk.glob("index/*/*"))
        assert full_world(opened) == before
        keeping.erase(opened)
        assert name_id(3) not in full_world(opened)
        (small_disk / "filler").unlink()
        opened.gallery._shelves.keep(uid, is_due=True)
        assert list(small_disk.glob("index/*/*.segment"))
    shutil.rmtree(small_disk / "index")
