"""Keeping maps of days: what is revised, what is not, and what goes with expired openings."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from countenance_audit import usage
from tests.cheats.operator import ACCOUNT, Operator, coverage

from countenance.ledger import expiry
from countenance.ledger.periods import PeriodError, Periods
from countenance.ledger.periods.proving import certify
from countenance.store import Keyring

OTHER = "999999999999"
PARTY = [{"role": "party", "scheme": "domain", "value": "acme.example"}]
SHARED = [{"role": "owner", "scheme": "domain", "value": "parent.example"}]


@pytest.fixture
def operator(tmp_path: Path) -> Iterator[Operator]:
    made = Operator(tmp_path / "server")
    yield made
    made.close()


def day_of(operator: Operator) -> str:
    """A day with two calls of one account and one of another; its name."""
    today = usage.day_of(operator.now)
    operator.call(1, party=PARTY + SHARED)
    operator.call(2, party=PARTY + SHARED)
    operator.call(3, account=OTHER, party=SHARED)
    operator.next_day()
    return today


def expire(operator: Operator, account: str = ACCOUNT) -> int:
    now = datetime.fromtimestamp(operator.now / 1e6, UTC)
    return expiry.expire(operator.log, account=account, before=now, now=now + timedelta(days=11 * 366), years=10)


def certified(operator: Operator, scheme: str, value: str, day: str) -> bytes:
    stated = coverage(operator.periods, day, day)
    return certify(operator.periods, scheme, value, day, day, request="r", requester="me", coverage=stated)


def test_what_expired_is_not_on_record_and_the_map_stays(operator: Operator) -> None:
    day = day_of(operator)
    published = operator.periods.published(day, 0)
    before = operator.periods.rows.used(day)
    assert set(before) == {
        ("account", ACCOUNT),
        ("account", OTHER),
        ("domain", "acme.example"),
        ("domain", "parent.example"),
    }
    assert expire(operator) == 2
    assert set(operator.periods.rows.used(day)) == {("account", OTHER), ("domain", "parent.example")}
    assert operator.periods.published(day, 0) == published
    with pytest.raises(PeriodError, match="not on record here any more"):
        certified(operator, "domain", "acme.example", day)
    certified(operator, "domain", "parent.example", day)
    certified(operator, "domain", "stranger.example", day)


def test_a_day_with_expired_openings_is_not_revised(operator: Operator) -> None:
    days = [day_of(operator), day_of(operator)]
    index = min(index for index, _ in operator.log.storage.openings(0, operator.log.size))
    assert index < operator.periods.root_of(days[0]).end
    operator.database.maintain(
        lambda connection: connection.execute("DELETE FROM log_openings WHERE idx = ?", (index,)).close()
    )
    operator.late[OTHER] = [("recorded-owner", "domain", "late.example")]
    made = operator.periods.revise([OTHER, ACCOUNT])
    assert [each.day for each in made] == [days[1]]
    assert ("domain", "acme.example") in operator.periods.rows.used(days[0])


def test_nothing_new_revises_nothing(operator: Operator) -> None:
    day = day_of(operator)
    size = operator.log.size
    operator.late[OTHER] = [("recorded-owner", "domain", "parent.example")]  # its own entries name it already
    assert operator.periods.revise([OTHER, ACCOUNT]) == []
    assert operator.log.size == size
    operator.late[OTHER] = [("recorded-owner", "domain", "late.example")]
    assert [each.revision for each in operator.periods.revise([OTHER, ACCOUNT])] == [1]
    assert operator.periods.revise([OTHER, ACCOUNT]) == []
    assert operator.periods.root_of(day).revision == 1


def test_what_is_known_when_a_day_ends_is_in_its_first_map(operator: Operator) -> None:
    operator.late[ACCOUNT] = [("recorded-controller", "domain", "parent-of-parent.example")]
    day = day_of(operator)
    assert operator.periods.root_of(day).revision == 0
    assert ("domain", "parent-of-parent.example") in operator.periods.rows.used(day)


def test_days_without_a_server_have_maps_too(operator: Operator) -> None:
    first = day_of(operator)
    operator.now += 3 * 86_400_000_000
    operator.next_day()
    assert [each.day for each in operator.periods.heads] == usage.days_from(first, usage.next_day(first, 4))
    for each in operator.periods.heads[1:]:
        assert operator.periods.root_of(each.day).calls == 0
    certified(operator, "domain", "acme.example", usage.next_day(first, 2))


def test_maps_and_keys_are_there_after_a_restart(operator: Operator) -> None:
    day = day_of(operator)
    keyring = Keyring.open(operator.folder / "master.key", create=False)
    again = Periods(operator.log, operator.database, keyring)
    assert (again.roots, again.keys, again.heads) == (
        operator.periods.roots,
        operator.periods.keys,
        operator.periods.heads,
    )
    assert again.published(day, 0) == operator.periods.published(day, 0)
    again.begin()
    assert len(again.keys) == 1


def test_a_map_is_shown_once_a_checkpoint_covers_its_root(operator: Operator) -> None:
    today = usage.day_of(operator.now)
    operator.call(1, party=PARTY)
    operator.log.publish()
    operator.next_day()
    assert operator.periods.published(today, 0) is None
    operator.log.publish()
    assert operator.periods.published(today, 0) is not None
    assert operator.periods.published(today, 1) is None


def test_one_key_a_day(operator: Operator) -> None:
    key = operator.periods.rotate()
    with pytest.raises(PeriodError, match="begins on"):
        operator.periods.rotate()
    today = usage.day_of(operator.now)
    day = day_of(operator)
    assert operator.periods.root_of(day).vrf_key != key
    operator.call(9)
    operator.next_day()
    assert operator.periods.root_of(usage.next_day(today)).vrf_key == key


def test_without_its_secret_nothing_is_proved_and_nothing_made_up(operator: Operator) -> None:
    day = day_of(operator)
    operator.database.maintain(lambda connection: connection.execute("DELETE FROM period_keys").close())
    keyring = Keyring.open(operator.folder / "master.key", create=False)
    again = Periods(operator.log, operator.database, keyring)
    with pytest.raises(PeriodError, match="lost"):
        again.secret_of(day)
    with pytest.raises(PeriodError, match="no key"):
        again.secret_of("2001-01-01")
