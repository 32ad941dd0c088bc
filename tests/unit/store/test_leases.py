"""Who does what only one may do: one at a time, the next one soon, and nobody who was stopped."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from countenance.samples import Daily
from countenance.store import Connection, FenceBroken, SqliteDatabase
from countenance.store.leases import Lease, Presence, held, nodes


class Two:
    """Two processes' views of one database, with a clock that a test can push on."""

    def __init__(self, folder: Path) -> None:
        self.databases = [SqliteDatabase(folder / "store.db", is_shared=True, synchronous="OFF") for _ in range(2)]
        self.ahead_us = 0
        for each in self.databases:
            each.clock_us = self.clock_us  # type: ignore[method-assign]
        self.databases[0].maintain(lambda connection: connection.execute("CREATE TABLE done (by TEXT)").close())

    def clock_us(self, connection: Connection) -> int:
        return time.time_ns() // 1000 + self.ahead_us

    def presence(self, number: int, **more: Any) -> Presence:
        return Presence(self.databases[number], lambda: {"number": number, "role": "worker 1 of 2"}, **more)


@pytest.fixture
def two(tmp_path: Path) -> Iterator[Two]:
    made = Two(tmp_path)
    yield made
    for each in made.databases:
        each.close()


def do(database: SqliteDatabase, lease: Lease, by: str) -> None:
    with lease.fenced():
        database.maintain(lambda connection: connection.execute("INSERT INTO done VALUES (?)", (by,)).close())


def done(two: Two) -> list[str]:
    with two.databases[0].reading() as connection:
        return [row[0] for row in connection.execute("SELECT by FROM done").fetchall()]


def test_one_holds_it_and_the_other_takes_over_when_it_leaves(two: Two) -> None:
    first, second = two.presence(0, renew_s=0.02), two.presence(1, renew_s=0.02)
    first.start()
    second.start()
    assert (first.upkeep.is_held(), second.upkeep.is_held()) == (True, False)
    here = nodes(two.databases[1])
    assert [(each.told["number"], each.duties) for each in here] == [(0, ("upkeep",)), (1, ())]
    first.stop()
    until(second.upkeep.is_held)
    assert not first.upkeep.is_held()
    assert second.upkeep.term == 2
    assert [each.told["number"] for each in nodes(two.databases[0])] == [1]
    second.stop()
    assert nodes(two.databases[0]) == []


def until(what: Any, seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_one_that_dies_is_replaced_once_its_lease_ends(two: Two) -> None:
    first, second = two.presence(0, lease_s=0.3, renew_s=600.0), two.presence(1, lease_s=0.3, renew_s=0.02)
    first.start()  # and never renews it
    second.start()
    assert not second.upkeep.is_held()
    until(second.upkeep.is_held)
    assert not first.upkeep.is_held()
    second.stop()
    first.stop()


def test_one_that_was_stopped_writes_nothing_any_more(two: Two) -> None:
    """Its own clock says that it holds the duty still: the transaction knows better."""
    first, second = two.presence(0, renew_s=600.0), two.presence(1, renew_s=600.0)
    first.start()
    do(two.databases[0], first.upkeep, "first")
    two.ahead_us = 6_000_000
    second.start()
    assert first.upkeep.is_held()
    assert second.upkeep.is_held()
    with pytest.raises(FenceBroken):
        do(two.databases[0], first.upkeep, "first again")
    assert not first.upkeep.is_held()  # and now it knows
    do(two.databases[1], second.upkeep, "second")
    assert done(two) == ["first", "second"]
    two.databases[0].maintain(lambda connection: connection.execute("INSERT INTO done VALUES ('free')").close())
    first.stop()
    second.stop()


def test_what_is_done_daily_is_done_by_the_holder_and_by_the_next_as_soon_as_it_is(two: Two) -> None:
    first, second = two.presence(0, renew_s=0.02), two.presence(1, renew_s=0.02)
    by: list[int] = []
    first.start()
    second.start()
    dailies = [
        Daily(lambda stopping, number=number: by.append(number), name="d", lease=each.upkeep)  # type: ignore[misc]
        for number, each in enumerate((first, second))
    ]
    until(lambda: by == [0])
    first.stop()
    until(lambda: by == [0, 1])
    for each in dailies:
        each.stop()
    second.stop()


def test_those_unseen_for_a_while_are_forgotten(two: Two) -> None:
    first, second = two.presence(0, renew_s=600.0), two.presence(1, renew_s=600.0)
    first.start()
    two.ahead_us = 31_000_000
    second.start()
    assert [each.told["number"] for each in nodes(two.databases[0])] == [1]
    first.stop()
    second.stop()


def test_a_database_of_one_process_has_no_rows_and_does_everything(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "store.db", synchronous="OFF")
    if database.is_shared:
        pytest.skip("PostgreSQL's is always shared")
    presence, threads = Presence(database), threading.active_count()
    presence.start()
    assert threading.active_count() == threads
    assert presence.upkeep.is_held()
    with held(presence.upkeep) as is_ours, held(None) as is_free:
        assert is_ours
        assert is_free
        database.maintain(lambda connection: None)
    assert nodes(database) == []
    presence.stop()
    database.close()


def test_who_takes_the_place_of_one_that_was_killed_is_the_last_to_go(two: Two) -> None:
    killed, next_one = two.presence(0, replaces=True), two.presence(1, replaces=True)
    killed.look()
    next_one.look()
    assert [each.told["number"] for each in nodes(two.databases[0])] == [1]
    assert two.databases[1].maintain(next_one.leave)


def test_without_that_one_who_says_nothing_counts_as_here_for_a_while(two: Two) -> None:
    silent, other = two.presence(0), two.presence(1)
    silent.look()
    other.look()
    assert not two.databases[1].maintain(other.leave)
