"""Workers are replaced when they die, stopped together, and one that cannot start says why."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

KEEPER = """
import os, signal, sys, time
from pathlib import Path
from countenance.errors import Error
from countenance.server.workers import Workers
folder, what = Path(sys.argv[1]), sys.argv[2]

def work(number, ready):
    if what == "fails" and number == 1:
        raise Error("there is no model", hint="fetch one")
    stopped = []
    signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
    (folder / f"{number}-{os.getpid()}").touch()
    ready({"number": number})
    while not stopped:
        time.sleep(0.01)
    (folder / f"{number}-{os.getpid()}").rename(folder / f"{number}-{os.getpid()}-stopped")

def ready(told):
    print("ready", [each["number"] for each in told], flush=True)

try:
    Workers(2, work, grace_s=5.0).run(ready)
except Error as error:
    print("error", error.message, error.hint, flush=True)
    sys.exit(1)
"""


def started(folder: Path, what: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", KEEPER, str(folder), what], stdout=subprocess.PIPE, text=True)


def pids(folder: Path, number: int, *, stopped: bool = False) -> set[int]:
    found = [each.name.split("-") for each in folder.iterdir()]
    return {int(each[1]) for each in found if each[0] == str(number) and (len(each) == 3) is stopped}


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_one_that_is_killed_is_replaced_and_all_are_stopped_in_order(tmp_path: Path) -> None:
    process = started(tmp_path, "works")
    try:
        assert line(process) == "ready [0, 1]"
        (first,) = pids(tmp_path, 0)
        (second,) = pids(tmp_path, 1)
        os.kill(second, signal.SIGKILL)
        while len(pids(tmp_path, 1)) < 2:
            assert process.poll() is None
        (replacement,) = pids(tmp_path, 1) - {second}
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert pids(tmp_path, 0, stopped=True) == {first}
        assert pids(tmp_path, 1, stopped=True) == {replacement}
    finally:
        process.kill()


def test_they_stop_when_their_parent_is_killed(tmp_path: Path) -> None:
    process = started(tmp_path, "works")
    try:
        assert line(process) == "ready [0, 1]"
        process.kill()
        process.wait(20)
        while not (pids(tmp_path, 0, stopped=True) and pids(tmp_path, 1, stopped=True)):
            pass
    finally:
        process.kill()


def test_one_that_cannot_start_ends_all_and_says_why(tmp_path: Path) -> None:
    process = started(tmp_path, "fails")
    assert line(process) == "error there is no model fetch one"
    assert process.wait(20) == 1
    assert not pids(tmp_path, 0)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_either_signal_stops_them(tmp_path: Path, number: signal.Signals) -> None:
    process = started(tmp_path, "works")
    try:
        assert line(process) == "ready [0, 1]"
        process.send_signal(number)
        assert process.wait(20) == 0
        assert pids(tmp_path, 0, stopped=True)
    finally:
        process.kill()
