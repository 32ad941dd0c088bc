"""The thread that keeps indexes on disk."""

from __future__ import annotations

import threading

from countenance.gallery.keeper import Keeper


def test_it_works_every_now_and_then_once_started_and_at_once_when_woken() -> None:
    worked = threading.Semaphore(0)

    def work() -> bool:
        worked.release()
        return False

    often = Keeper(work, every_s=0.01)
    often.start()
    assert worked.acquire(timeout=20)
    assert worked.acquire(timeout=20)
    often.stop()

    while worked.acquire(blocking=False):
        pass
    seldom = Keeper(work, every_s=3_600)
    seldom.start()
    assert not worked.acquire(blocking=False)
    seldom.wake()
    assert worked.acquire(timeout=20)
    seldom.stop()
    seldom.start()
    seldom.wake()
    assert not worked.acquire(timeout=0.05)
