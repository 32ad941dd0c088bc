"""`kill -9` between an image's file and the record of its call, and anywhere: what is recorded is there and opens, what
is not recorded is swept away."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from . import sampling


def killed(folder: Path, seed: int, threads: int, where: str) -> list[str]:
    """What a process acknowledged until it was killed."""
    reading, writing = os.pipe()
    child = subprocess.Popen(
        [sys.executable, sampling.__file__, str(folder), f"/proc/self/fd/{writing}", str(seed), str(threads), where],
        pass_fds=[writing],
    )
    os.close(writing)
    said: list[bytes] = []

    def listen() -> None:
        while part := os.read(reading, 65536):
            said.append(part)

    listener = threading.Thread(target=listen)
    listener.start()
    if where == "never":
        while not said and child.poll() is None:
            time.sleep(0.005)
        time.sleep(random.Random(seed).uniform(0.0, 0.5))
        child.kill()
    assert child.wait(120) == -9, "the process ended by itself"
    listener.join()
    os.close(reading)
    return b"".join(said).decode().split("\n")[:-1]  # what follows the last newline is torn


@pytest.mark.parametrize(
    ("where", "files", "rows"),
    [("sealed", 20, 19), ("inserted", 20, 19), ("recorded", 20, 20), ("erased", 20, 0)],
)
def test_a_kill_at_each_moment(tmp_path: Path, where: str, files: int, rows: int) -> None:
    said = killed(tmp_path, 1, 1, where)
    assert len(list((tmp_path / "samples").iterdir())) == files
    kept = {line.split()[1] for line in said if line.startswith("kept")}
    assert len(kept) == (20 if where == "erased" else 19)
    assert sampling.faults_in(tmp_path, set() if where == "erased" else kept) == []
    assert len(list((tmp_path / "samples").iterdir())) == rows


def test_kills_under_load_lose_nothing_and_leave_nothing(tmp_path: Path) -> None:
    kept: set[str] = set()
    for seed in (1, 2, 3):
        kept |= {line.split()[1] for line in killed(tmp_path, seed, 4, "never")}
        assert sampling.faults_in(tmp_path, kept) == []
    assert len(kept) > 60


def test_the_check_notices_what_it_is_there_for(tmp_path: Path) -> None:
    kept = {line.split()[1] for line in killed(tmp_path, 1, 1, "recorded")}
    assert sampling.faults_in(tmp_path, {*kept, "another"}) == ["another was acknowledged and is not kept"]
    next((tmp_path / "samples").iterdir()).write_bytes(b"torn")
    with pytest.raises(Exception, match="does not open"):
        sampling.faults_in(tmp_path, kept)
