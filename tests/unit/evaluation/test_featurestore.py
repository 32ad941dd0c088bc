"""Features are extracted once, whatever stops the run, and by nobody else's eyes."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from tests.unit.evaluation.made_up import NumbersEngine

from countenance.evaluation import featurestore
from countenance.evaluation.dataset import Dataset, load
from countenance.evaluation.featurestore import StoreError, extract, forget
from countenance.recognition import Engine

REPOSITORY = Path(__file__).resolve().parents[3]


def images(folder: Path, count: int) -> Dataset:
    for n in range(count):
        path = folder / f"p{n % 3}" / f"{n:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"image {n}".encode())
    return load(folder)


def worked(engine: NumbersEngine, dataset: Dataset, store: Path, **how: object) -> featurestore.Features:
    return extract(engine, dataset, store, **how)  # type: ignore[arg-type]


def test_features_are_those_of_the_engine_and_lie_in_order(tmp_path: Path) -> None:
    dataset = images(tmp_path / "people", 20)
    engine, told = NumbersEngine(), []
    found = worked(engine, dataset, tmp_path / "store", jobs=4, progress=told.append)
    for at in range(20):
        shown = engine.analyse(dataset.path(at).read_bytes())
        assert found.matrix[at] == pytest.approx(engine.extract(shown, shown.faces)[0])
    assert isinstance(found.matrix, np.memmap)
    assert found.acquired.all()
    assert told[-1] == 20
    assert (found.resumed, found.restarted) == (0, None)


def test_what_has_no_face_has_a_reason(tmp_path: Path) -> None:
    dataset = images(tmp_path / "people", 3)
    for at, content in enumerate((b"none", b"bad", b"two")):
        dataset.path(at).write_bytes(content)
    found = worked(NumbersEngine(), dataset, tmp_path / "store")
    assert [each.reason for each in found.done] == ["no face found", "the image cannot be decoded", None]
    assert [each.faces for each in found.done] == [0, 0, 2]
    assert found.acquired.tolist() == [False, False, True]
    assert not found.matrix[:2].any()


def test_the_middle_face_is_another_than_the_largest(tmp_path: Path) -> None:
    dataset = images(tmp_path / "people", 1)
    dataset.path(0).write_bytes(b"two")
    largest = worked(NumbersEngine(), dataset, tmp_path / "a", face="largest").done[0].box
    middle = worked(NumbersEngine(), dataset, tmp_path / "b", face="middle").done[0].box
    assert largest == (0.0, 0.0, 0.5, 0.5)
    assert middle == (0.4, 0.4, 0.2, 0.2)


def test_a_second_run_extracts_only_what_changed(tmp_path: Path) -> None:
    dataset = images(tmp_path / "people", 10)
    before = np.array(worked(NumbersEngine(), dataset, tmp_path / "store").matrix)
    dataset.path(4).write_bytes(b"another image")
    again = NumbersEngine()
    found = worked(again, dataset, tmp_path / "store")
    assert again.seen == [b"another image"]
    assert found.resumed == 9
    changed = np.flatnonzero((found.matrix != before).any(axis=1))
    assert changed.tolist() == [4]


def test_another_model_face_or_list_starts_anew_and_says_why(tmp_path: Path) -> None:
    dataset = images(tmp_path / "people", 4)
    worked(NumbersEngine(), dataset, tmp_path / "store")
    assert "choice of face" in (worked(NumbersEngine(), dataset, tmp_path / "store", face="middle").restarted or "")
    other = NumbersEngine()
    other.model_version = "other"
    assert "the model" in (worked(other, dataset, tmp_path / "store", face="middle").restarted or "")
    assert len(other.seen) == 4
    more = images(tmp_path / "people", 5)
    assert "list of images" in (worked(other, more, tmp_path / "store", face="middle").restarted or "")


def test_a_damaged_end_is_done_again(tmp_path: Path) -> None:
    dataset = images(tmp_path / "people", 6)
    before = np.array(worked(NumbersEngine(), dataset, tmp_path / "store").matrix)
    lines = tmp_path / "store" / "images.jsonl"
    lines.write_bytes(lines.read_bytes()[:-7])  # a line that was cut off
    with (tmp_path / "store" / "features.f32").open("r+b") as rows:
        rows.seek(2 * 8 * 4)
        rows.write(b"\0" * 4)  # a row that never reached the disk
    again = NumbersEngine()
    found = worked(again, dataset, tmp_path / "store")
    assert len(again.seen) == 2
    assert found.resumed == 4
    assert (found.matrix == before).all()


def test_nobody_else_can_read_it_and_it_goes(tmp_path: Path) -> None:
    dataset = images(tmp_path / "people", 3)
    old = os.umask(0)
    try:
        worked(NumbersEngine(), dataset, tmp_path / "store")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o700
    for each in (tmp_path / "store").iterdir():
        assert stat.S_IMODE(each.stat().st_mode) == 0o600
    forget(tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_forgetting_removes_no_folder_that_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"x")
    forget(tmp_path)
    assert (tmp_path / "kept").exists()


@pytest.mark.parametrize("name", ["thesis.txt", "images.jsonl"])
def test_a_folder_of_somebody_elses_is_left_as_it_is(tmp_path: Path, name: str) -> None:
    dataset = images(tmp_path / "people", 3)
    store = tmp_path / "features"
    store.mkdir(mode=0o755)
    (store / name).write_bytes(b"years of work")
    with pytest.raises(StoreError, match="in use for something else"):
        worked(NumbersEngine(), dataset, store)
    assert [each.name for each in store.iterdir()] == [name]
    assert (store / name).read_bytes() == b"years of work"
    assert stat.S_IMODE(store.stat().st_mode) == 0o755


def test_forgetting_leaves_what_is_not_of_the_store(tmp_path: Path) -> None:
    worked(NumbersEngine(), images(tmp_path / "people", 3), tmp_path / "store")
    (tmp_path / "store" / "notes.txt").write_bytes(b"x")
    forget(tmp_path / "store")
    assert [each.name for each in (tmp_path / "store").iterdir()] == ["notes.txt"]


def test_a_store_that_another_run_writes_to_is_not_forgotten(tmp_path: Path) -> None:
    worked(NumbersEngine(), images(tmp_path / "people", 3), tmp_path / "store")
    with featurestore._owned(tmp_path / "store"):
        forget(tmp_path / "store")
    assert (tmp_path / "store" / "features.f32").exists()


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    dataset = images(tmp_path / "people", 3)
    with featurestore._owned(tmp_path / "store"), pytest.raises(StoreError, match="Another evaluation"):
        worked(NumbersEngine(), dataset, tmp_path / "store")


def test_images_in_work_are_a_window_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many images there are, so many are begun and not yet written at most."""
    dataset = images(tmp_path / "people", 200)
    begun, most = 0, 0
    one = featurestore._one

    def counted(engine: Engine, path: Path, image: int, face: str) -> object:
        nonlocal begun
        begun += 1
        return one(engine, path, image, face)

    def told(done: int) -> None:
        nonlocal most
        most = max(most, begun - done)

    monkeypatch.setattr(featurestore, "_one", counted)
    worked(NumbersEngine(), dataset, tmp_path / "store", jobs=3, progress=told)
    assert begun == 200
    assert most <= 3 * featurestore.WINDOW


KILLED = """
import sys
from pathlib import Path
from countenance.evaluation.dataset import load
from countenance.evaluation.featurestore import extract
from tests.unit.evaluation.made_up import NumbersEngine
extract(NumbersEngine(wait_s=0.02), load(Path(sys.argv[1])), Path(sys.argv[2]), jobs=2)
"""


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    dataset = images(tmp_path / "people", 120)
    store = tmp_path / "store"
    runs = 0
    for wanted in (15, 50):
        running = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path / "people"), str(store)],
            env=os.environ | {"PYTHONPATH": f"{REPOSITORY / 'src'}{os.pathsep}{REPOSITORY}"},
        )
        lines = store / "images.jsonl"
        deadline = time.monotonic() + 120
        while not lines.exists() or lines.read_bytes().count(b"\n") < wanted:
            assert running.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        running.send_signal(signal.SIGKILL)
        running.wait()
        runs += 1
    done = {json.loads(each)["image"] for each in lines.read_bytes().splitlines()[:-1]}
    assert 49 <= len(done) < 120
    engine = NumbersEngine()
    found = worked(engine, dataset, store)
    assert runs == 2
    assert found.resumed >= len(done)
    assert len(engine.seen) == 120 - found.resumed
    fresh = worked(NumbersEngine(), dataset, tmp_path / "fresh")
    assert (found.matrix == fresh.matrix).all()
    assert found.done == fresh.done
