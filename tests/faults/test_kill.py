"""`kill -9` in the middle of enrolments: nothing acknowledged is missing, nothing unacknowledged is half there."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.congruence.samples import world

from . import enrolling

THREADS = 6


def killed_run(folder: Path, seed: int) -> bytes:
    """Start a process under load, kill it at a random moment; returns everything that it acknowledged."""
    reading, writing = os.pipe()
    child = subprocess.Popen(
        [
            sys.executable,
            enrolling.__file__,
            str(folder),
            f"/proc/self/fd/{writing}",
            str(seed),
            str(THREADS),
            "1000000",
            "FULL",
        ],
        pass_fds=[writing],
    )
    os.close(writing)
    said: list[bytes] = []

    def listen() -> None:
        while part := os.read(reading, 65536):
            said.append(part)

    listener = threading.Thread(target=listen)
    listener.start()
    while not said and child.poll() is None:
        time.sleep(0.005)
    time.sleep(random.Random(seed).uniform(0.0, 0.5))
    child.kill()
    assert child.wait() == -9, "the process ended by itself"
    listener.join()
    os.close(reading)
    return b"".join(said)


def kill_again_and_again(folder: Path, times: int) -> None:
    said = b""
    for seed in range(1, times + 1):
        said += killed_run(folder, seed)
        told = enrolling.Acknowledged.of(said)
        with world(folder) as opened:
            faults = enrolling.faults_in(opened, told)
        print(f"seed {seed}: {len(told.enrolled)} enrolments acknowledged so far, faults {faults}")
        assert faults == []
    assert len(told.enrolled) > 20 * times


def test_three_kills_lose_nothing(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, 3)


@pytest.mark.slow
def test_twenty_kills_lose_nothing(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, 20)


def test_the_check_notices_what_it_is_there_for(tmp_path: Path) -> None:
    """The same check must fail when an acknowledged image is missing, halved, unrecorded or hidden from search."""
    with world(tmp_path) as opened:
        opened.create(enrolling.COLLECTION, dimension=enrolling.DIMENSION)
        for number in (1, 2, 3):
            enrolling.enrol(opened, number)
        enrolling.erase(opened, 3)
        log = enrolling.Log(opened.database, opened.keyring, tmp_path, origin=enrolling.ORIGIN)
        place = log.append(enrolling.call(1))
        size, _ = log.publish()
        promised = {place.index: place.leaf_hash.hex()}
        seen = {size: log.root(size).hex()}
        told = enrolling.Acknowledged({1, 2, 3}, {3}, True, promised, seen)
        assert enrolling.faults_in(opened, told) == []
        missing = enrolling.Acknowledged({1, 2, 3, 4}, {3}, is_ready=True)
        assert enrolling.faults_in(opened, missing) == ["1 acknowledged enrolments have no leaf"]
        missing = enrolling.Acknowledged({1, 2, 3}, {3, 2}, is_ready=True)
        assert enrolling.faults_in(opened, missing) == ["1 acknowledged erasures have no leaf"]

        other = enrolling.Acknowledged({1}, set(), True, {place.index: "00" * 32, 99: "00" * 32}, {size: "00" * 32})
        assert enrolling.faults_in(opened, other) == [
            f"acknowledged leaf {place.index} is another",
            "acknowledged leaf 99 is missing",
            f"the published checkpoint over {size} leaves is of another log",
        ]

        def harm(statement: str) -> list[str]:
            opened.database.maintain(lambda connection: connection.execute(statement))
            opened.gallery._shelves.references.forget(1)
            return enrolling.faults_in(opened, told)

        assert "image 1 is recorded but not whole" in harm(
            "DELETE FROM enrolled_references WHERE ref_id = (SELECT min(ref_id) FROM enrolled_references)"
        )
        found = harm("DELETE FROM log_openings WHERE request_id = '2'")
        assert "image 2 is there without a record of it" in found
        assert any("its opening is missing" in each for each in found)
