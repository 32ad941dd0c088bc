"""The power goes at a random moment: what was acknowledged before it is there after it.

A process works on a folder while every write, sync and change of a name is recorded. For random points of the
trace, the disk is rebuilt as a power cut at that point may have left it, and the gallery is opened on it. The
acknowledgements are in the same trace, so "before the cut" is exact. With synchronous=OFF the same test must
find losses, or it would prove nothing.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from countenance.store import DatabaseError, KeyringError
from tests.congruence.samples import world

from . import enrolling, powercut

ACKS = "acks"


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("no C compiler (gcc) on Linux to build the recorder of file system calls")
    library = tmp_path_factory.mktemp("recorder") / "recorder.so"
    source = Path(__file__).with_name("recorder.c")
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o", library, source, "-ldl", "-lpthread"],
        check=True,
    )
    return library


def recorded(recorder: Path, folder: Path, *, seed: int, images: int, synchronous: str) -> list[powercut.Event]:
    """The trace of one process that enrols, erases and deletes collections from three threads, then closes."""
    folder.mkdir()
    trace = folder.with_suffix(".trace")
    subprocess.run(
        [sys.executable, enrolling.__file__, folder, folder / ACKS, str(seed), "3", str(images), synchronous],
        check=True,
        env=os.environ | {"LD_PRELOAD": str(recorder), "RECORDED_FOLDER": str(folder), "RECORDED_TRACE": str(trace)},
    )
    return list(powercut.events(trace))


def cut(events: list[powercut.Event], folder: Path, target: Path, at: int, seed: int) -> list[str]:
    """Rebuild the disk as of event number `at`, open the gallery on it; returns what is wrong with it."""
    disk, said = powercut.Disk(str(folder)), b""
    for event in events[:at]:
        if event.path.endswith(f"/{ACKS}"):
            said += event.payload
        else:
            disk.feed(event)
    target.mkdir()
    for name, content in disk.after_the_cut(random.Random(seed)).items():
        path = target / name
        path.write_bytes(content)
        path.chmod(0o600)
    try:
        with world(target) as opened:
            return enrolling.faults_in(opened, enrolling.Acknowledged.of(said))
    except (DatabaseError, KeyringError) as failure:
        return [f"cannot be opened: {failure}"]
    except Exception as failure:  # noqa: BLE001 -- pages of a damaged file read as anything; whatever it trips over is a loss
        return [f"damaged: {type(failure).__name__}: {failure}"]
    finally:
        shutil.rmtree(target)


def cuts(recorder: Path, folder: Path, *, count: int, images: int, synchronous: str, seed: int) -> dict[int, list[str]]:
    """Cut point -> what was wrong there, for the points where anything was."""
    work = folder / "work"
    events = recorded(recorder, work, seed=seed, images=images, synchronous=synchronous)
    rng = random.Random(seed)
    points = [*sorted(rng.sample(range(len(events)), count - 1)), len(events)]
    wrong = {}
    for at in points:
        if faults := cut(events, work, folder / "after", at, seed * 1000 + at):
            wrong[at] = faults
    synced = sum(event.kind == "S" for event in events)
    print(f"seed {seed}, synchronous {synchronous}: {len(events)} events, {synced} syncs, cut at {points}: {wrong}")
    return wrong


def test_ten_power_cuts_lose_nothing_acknowledged(recorder: Path, tmp_path: Path) -> None:
    assert cuts(recorder, tmp_path, count=10, images=60, synchronous="FULL", seed=1) == {}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_fifty_power_cuts_lose_nothing_acknowledged(recorder: Path, tmp_path: Path, seed: int) -> None:
    assert cuts(recorder, tmp_path, count=50, images=150, synchronous="FULL", seed=seed) == {}


def test_every_point_of_the_first_start_can_be_cut(recorder: Path, tmp_path: Path) -> None:
    """Making the master key, the database and its schema: no cut leaves a folder that cannot be used."""
    work = tmp_path / "work"
    events = recorded(recorder, work, seed=2, images=2, synchronous="FULL")
    start = next(at for at, event in enumerate(events) if b"ready" in event.payload)
    for at in range(0, start + 1, max(1, start // 40)):
        assert cut(events, work, tmp_path / "after", at, at) == [], f"cut at {at}"


def test_the_same_test_finds_losses_without_syncs(recorder: Path, tmp_path: Path) -> None:
    wrong = cuts(recorder, tmp_path, count=10, images=60, synchronous="OFF", seed=1)
    assert len(wrong) >= 5


def test_the_model_keeps_what_was_synced_and_tears_what_was_not() -> None:
    disk = powercut.Disk("/d")
    for kind, path, offset, payload in [
        ("C", "/d/a", 0, b""),
        ("S", "/d", 0, b""),
        ("W", "/d/a", 0, b"1" * 2048),
        ("S", "/d/a", 0, b""),
        ("W", "/d/a", 256, b"2" * 1024),
        ("C", "/d/b", 0, b""),
        ("W", "/d/b", 0, b"3"),
        ("W", "/d/a-shm", 0, b"4"),
    ]:
        disk.feed(powercut.Event(kind, path, offset, payload))
    outcomes = [disk.after_the_cut(random.Random(seed)) for seed in range(200)]
    assert all(set(each) <= {"a", "b"} and "a" in each for each in outcomes)
    assert {len(each) for each in outcomes} == {1, 2}
    contents = {each["a"] for each in outcomes}
    assert all(each[:256] == b"1" * 256 and each[1280:] == b"1" * 768 for each in contents)
    assert len(contents) == 8  # three touched sectors, each old or new
    assert {each["b"] for each in outcomes if "b" in each} == {b"", b"3"}
