"""The ledger's own work beside calls: what is folded and summed up, and when it calls itself healthy."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.unit.ledger.logs import ACCOUNT, Opened, call

from countenance.ledger import Ledger
from countenance.ledger import ledger as module
from countenance.store import DatabaseError

MIDNIGHT = datetime(2026, 10, 1, tzinfo=UTC)
START = {
    "software": "0",
    "build": "00" * 32,
    "settings": "00" * 32,
    "models": [],
    "clock": {"monotonic_us": 1, "synchronised": None},
}


class Kept(Opened):
    """A log whose disk can be full."""

    full = False

    def open(self) -> Any:
        log = super().open()
        sequence = log.sequence

        def or_full(connection: Any, records: Any) -> None:
            if self.full:
                raise DatabaseError("The disk is full.")
            sequence(connection, records)

        log.sequence = or_full  # type: ignore[method-assign]
        return log


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path / "data")
    yield made
    made.database.close()


def refuse(ledger: Ledger, at: datetime, times: int = 1) -> None:
    for _ in range(times):
        ledger.fold_throttled(
            account=ACCOUNT,
            access_key="AKCNX",
            holder="h",
            party=(("party", "name", "Acme"),),
            purpose="p",
            operation="DetectFaces",
            at=at,
        )


def summaries(kept: Kept, kind: str) -> list[dict[str, Any]]:
    found = [opening.accounting for _, opening in kept.log.storage.openings(0, kept.log.size)]
    return [dict(each) for each in found if each["kind"] == kind]


def test_refusals_are_folded_by_the_second_in_which_they_began(kept: Kept) -> None:
    ledger = Ledger(kept.log)
    refuse(ledger, MIDNIGHT - timedelta(milliseconds=1), 2)
    refuse(ledger, MIDNIGHT, 3)
    refuse(ledger, MIDNIGHT + timedelta(milliseconds=999), 4)
    ledger._sum_up()
    found = summaries(kept, "throttled")
    assert [(each["count"], each["time"]) for each in found] == [
        (2, int(MIDNIGHT.timestamp()) * 10**6 - 1000),  # of the month before
        (7, int(MIDNIGHT.timestamp()) * 10**6),
    ]


def test_what_cannot_be_written_is_counted_with_what_comes_later(kept: Kept) -> None:
    ledger = Ledger(kept.log)
    refuse(ledger, MIDNIGHT, 3)
    ledger.count_unauthenticated("InvalidSignatureException")
    kept.full = True
    ledger._attempt(ledger._sum_up)
    assert not ledger.healthy
    kept.full = False
    refuse(ledger, MIDNIGHT, 2)
    ledger._attempt(ledger._write_throttled)
    ledger._attempt(ledger._write_unauthenticated)
    assert ledger.healthy
    assert [each["count"] for each in summaries(kept, "throttled")] == [5]
    assert [each["details"] for each in summaries(kept, "unauthenticated")] == [{"InvalidSignatureException": 1}]


def test_having_nothing_to_write_does_not_make_it_healthy(kept: Kept) -> None:
    ledger = Ledger(kept.log)
    kept.full = True
    with pytest.raises(DatabaseError):
        ledger.record(call(1))
    for act in (ledger._sum_up, ledger._publish):
        ledger._attempt(act)
        assert not ledger.healthy
    kept.full = False
    ledger.record(call(2))
    assert ledger.healthy


def test_it_tries_again_by_itself(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROBE_S", 0.05)
    ledger = Ledger(kept.log, START)
    try:
        kept.full = True
        with pytest.raises(DatabaseError):
            ledger.record(call(1))
        kept.full = False
        deadline = time.monotonic() + 30
        while not ledger.healthy and time.monotonic() < deadline:
            time.sleep(0.01)
        assert ledger.healthy
    finally:
        ledger.close()
