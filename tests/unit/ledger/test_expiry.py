"""Accounting sections: not erasable before their floor, under no hold, and never without a public entry."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from countenance_audit.leaf import Public as PublicLeaf
from countenance_audit.leaf import parse
from tests.unit.ledger.logs import ACCOUNT, NOW_S, Opened

from countenance.ledger import Opaque, accounting, expiry, fsck, retention
from countenance.ledger.expiry import FloorNotReached, floor
from countenance.ledger.retention import HoldInForce

MADE = datetime.fromtimestamp(NOW_S, UTC)
LATER = MADE + timedelta(days=11 * 366)


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    made = Opened(tmp_path / "data")
    made.grow(7)
    yield made
    made.database.close()


def expire(opened: Opened, **more: Any) -> int:
    given: dict[str, Any] = {"account": ACCOUNT, "before": MADE + timedelta(days=1), "now": LATER, "years": 10}
    return expiry.expire(opened.log, **(given | more))


def test_past_the_floor_openings_go_and_the_log_says_how_many(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "PORTION", 3)
    root = opened.log.root(8)
    assert expire(opened) == 7
    assert opened.log.storage.openings(0, 8) == []
    told = [parse(leaf) for leaf in opened.log.storage.leaves(8, opened.log.size)]
    assert all(isinstance(each, PublicLeaf) for each in told)
    assert [(each.content["class"], each.content["count"]) for each in told if isinstance(each, PublicLeaf)] == [
        ("accounting", 3),
        ("accounting", 3),
        ("accounting", 1),
    ]
    assert opened.log.root(8) == root
    assert fsck.examine(opened.log).problems == []
    assert expire(opened) == 0


def test_acts_and_changes_stay_as_what_is_in_force_rests_on_them(opened: Opened) -> None:
    retention.hold(opened.log, account=ACCOUNT, reason="case 17/26")
    retention.release(opened.log, account=ACCOUNT)
    for kind in ("effect", "call"):
        said = accounting(kind=kind, time=1, operation="DeleteFaces", request_id="r", account=ACCOUNT)
        opened.log.append(Opaque(said))
    assert expire(opened) == 8
    kept = [opening.accounting["operation"] for _, opening in opened.log.storage.openings(0, opened.log.size)]
    assert kept == ["ledger.hold", "ledger.release", "DeleteFaces"]
    assert fsck.examine(opened.log).problems == []


@pytest.mark.parametrize("years", [10, 11, 100])
def test_within_the_floor_nothing_goes(opened: Opened, years: int) -> None:
    now = MADE + timedelta(days=10 * 365)
    with pytest.raises(FloorNotReached, match="may go"):
        expire(opened, now=now, years=years)
    assert len(opened.log.storage.openings(0, 8)) == 7


def test_a_hold_forbids_it_and_other_accounts_stay(opened: Opened) -> None:
    assert expire(opened, account="000000000000") == 0
    retention.hold(opened.log, account=ACCOUNT, reason="case 17/26")
    with pytest.raises(HoldInForce):
        expire(opened)
    assert len(opened.log.storage.openings(0, 8)) == 7


def test_openings_that_went_without_an_entry_are_found(opened: Opened) -> None:
    def work(connection: Any) -> None:
        connection.execute("DELETE FROM log_openings WHERE idx = 3")
        connection.execute("INSERT INTO log_expired (idx) VALUES (3)")

    opened.database.maintain(work)
    assert fsck.examine(opened.log).problems == ["1 openings were erased after their floor; entries tell of 0"]


def test_an_older_database_brings_none_back(opened: Opened) -> None:
    opened.keep()
    expire(opened)
    with opened.database.reading() as connection:
        (note,) = connection.execute("SELECT what FROM erased LIMIT 1").fetchone()
    assert '"kind":"accounting"' in note
    opened.put_back(unseen=True)
    opened.open()
    notes = [{"account": ACCOUNT, "before": (NOW_S + 86_400) * 10**6}]
    assert opened.database.maintain(lambda connection: expiry.replay(connection, notes)) == 7


def test_the_floor_of_a_leap_day() -> None:
    assert floor(datetime(2036, 2, 29, tzinfo=UTC), 10) == datetime(2026, 2, 28, tzinfo=UTC)
