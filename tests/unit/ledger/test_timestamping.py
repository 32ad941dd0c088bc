"""When timestamps are asked for and kept; that they hold is checked in tests/conformance/outsiders."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.ledger.logs import NOW_S, Opened

from countenance.ledger.timestamp import NotStamped, Timestamp, Timestamping
from countenance.store import DatabaseError

AT = datetime.fromtimestamp(NOW_S, UTC)


class Authority:
    """Stamps, or says why not."""

    def __init__(self, at: datetime = AT) -> None:
        self.at = at
        self.failure: Exception | None = None
        self.asked = 0

    def stamp(self, note: bytes) -> Timestamp:
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        return Timestamp(note, b"answer %d" % self.asked, self.at)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    made = Opened(tmp_path / "data")
    yield made
    made.database.close()


def stamping(opened: Opened, authority: Any, every_s: float = 3600.0) -> Timestamping:
    return Timestamping(opened.log, authority, every_s=every_s, now=lambda: AT)


def test_each_checkpoint_is_stamped_once(opened: Opened) -> None:
    opened.grow(3)
    authority = Authority()
    asking = stamping(opened, authority)
    assert [asking.once(), asking.once()] == [True, True]
    assert authority.asked == 1
    opened.grow(1)
    assert asking.once()
    assert opened.log.storage.timestamps() == [4, 5]


def test_the_first_timestamp_over_a_checkpoint_stays(opened: Opened) -> None:
    opened.grow(3)
    size, note = opened.log.checkpoint()
    opened.log.storage.keep_timestamp(size, note, b"first", 1)
    opened.log.storage.keep_timestamp(size, note + b"later", b"later", 2)
    assert opened.log.storage.timestamp(size) == (note, b"first")
    assert opened.log.storage.latest_timestamp() == (size, 1)


@pytest.mark.parametrize(("apart_s", "is_told"), [(0, False), (-30, False), (301, True), (-86_400, True)])
def test_clocks_that_are_apart_are_told(
    opened: Opened, caplog: pytest.LogCaptureFixture, apart_s: int, is_told: bool
) -> None:
    opened.grow(1)
    with caplog.at_level(logging.WARNING):
        assert stamping(opened, Authority(AT + timedelta(seconds=apart_s))).once()
    assert (f"are {abs(apart_s)} s apart" in caplog.text) is is_told


def test_without_an_answer_nothing_is_kept_and_it_is_tried_again(
    opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    opened.grow(1)
    authority = Authority()
    authority.failure = NotStamped("The timestamp authority is away.")
    asking = stamping(opened, authority)
    assert not asking.once()
    assert "has no timestamp: The timestamp authority is away." in caplog.text
    assert opened.log.storage.timestamps() == []
    authority.failure = None
    assert asking.once()


@pytest.mark.parametrize("failure", [DatabaseError("The disk is full."), ZeroDivisionError()])
def test_a_moment_without_room_or_a_bug_does_not_end_it(
    opened: Opened, monkeypatch: pytest.MonkeyPatch, failure: Exception
) -> None:
    opened.grow(1)
    publish, calls, again = opened.log.publish, [], threading.Event()

    def fails_once() -> tuple[int, bytes]:
        calls.append(1)
        if len(calls) == 1:
            raise failure
        again.set()
        return publish()

    monkeypatch.setattr(opened.log, "publish", fails_once)
    asking = stamping(opened, Authority(), every_s=0.01)
    asking.start()
    assert again.wait(30)
    deadline = time.monotonic() + 30
    while not opened.log.storage.timestamps():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    asking.stop()
