"""The thread that does something once a day: at once, again and again, whatever happens, until it is stopped."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from countenance.errors import Error
from countenance.samples import Daily


@pytest.mark.parametrize("failure", [None, Error("a disk is full"), RuntimeError("a defect")])
def test_it_acts_at_once_and_goes_on_whatever_happened(failure: Exception | None) -> None:
    acted = threading.Semaphore(0)

    def act(stopping: Callable[[], bool]) -> None:
        acted.release()
        if failure is not None:
            raise failure

    daily = Daily(act, name="test", every_s=0.0)
    assert all(acted.acquire(timeout=30) for _ in range(3))
    daily.stop()


def test_a_stop_does_not_wait_for_tomorrow_and_is_told_to_who_acts() -> None:
    begun = threading.Event()
    ended = []

    def act(stopping: Callable[[], bool]) -> None:
        begun.set()
        while not stopping():
            threading.Event().wait(0.001)
        ended.append(True)

    daily = Daily(act, name="test")
    assert begun.wait(30)
    daily.stop()
    assert ended == [True]
    idle = Daily(lambda stopping: None, name="test")
    idle.stop()
