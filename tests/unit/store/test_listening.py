"""Hearing what others changed: with their commit or not at all, and never one's own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.postgres import Cluster

from countenance.store import Connection, Database, DatabaseError, SqliteDatabase
from countenance.store.listening import Ears
from countenance.store.postgres import PostgresDatabase

Pair = tuple[Database, Database]


@contextmanager
def on_postgres(folder: Path, url: str) -> Iterator[Pair]:
    made = PostgresDatabase(folder, url), PostgresDatabase(folder, url)
    yield made
    for each in made:
        each.close()


@pytest.fixture
def pair(tmp_path: Path, postgres_url: str) -> Iterator[Pair]:
    with on_postgres(tmp_path, postgres_url) as made:
        yield made


def say(database: Database, *words: str) -> None:
    def work(connection: Connection) -> None:
        for each in words:
            database.tell(connection, each)

    database.maintain(work)


def heard(ears: Ears, wanted: set[str]) -> set[str]:
    found: set[str] = set()
    deadline = time.monotonic() + 10
    while not wanted <= found:
        assert time.monotonic() < deadline
        found |= ears.wait(0.5) or set()
    return found


def test_others_hear_what_was_committed_and_nobody_hears_himself(pair: Pair) -> None:
    first, second = pair
    ears = [each.listen() for each in pair]
    say(first, "1", "2", "1")
    assert heard(ears[1], {"1", "2"}) == {"1", "2"}
    say(second, "3")
    assert heard(ears[0], {"3"}) == {"3"}  # and not its own
    for each in ears:
        assert each.wait(0.05) == frozenset()
        each.close()


def test_what_was_taken_back_is_not_told(pair: Pair) -> None:
    first, second = pair
    ears = second.listen()

    def work(connection: Connection) -> None:
        first.tell(connection, "1")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        first.maintain(work)
    say(first, "2")
    assert heard(ears, {"2"}) == {"2"}
    ears.close()


def ended(ears: Ears) -> float:
    """Seconds that a wait takes which another thread ends."""
    timer = threading.Timer(0.1, ears.wake)
    timer.start()
    began = time.monotonic()
    assert ears.wait(30) == frozenset()
    timer.join()
    return time.monotonic() - began


def test_a_wait_can_be_ended(pair: Pair, tmp_path: Path) -> None:
    ears = pair[0].listen()
    assert ended(ears) < 10
    ears.close()
    database = SqliteDatabase(tmp_path / "store.db", is_shared=True, synchronous="OFF")
    assert ended(database.listen()) < 10
    database.close()


def test_a_lost_connection_is_said_and_another_can_be_made(tmp_path: Path) -> None:
    cluster = Cluster()
    try:
        cluster.start()
        with on_postgres(tmp_path, cluster.create("one")) as (first, second):
            ears = second.listen()
            cluster.kill()
            with pytest.raises(DatabaseError):
                ears.wait(10)
            ears.close()
            with pytest.raises(DatabaseError):
                second.listen()
            cluster.start()
            ears = second.listen()
            say(first, "1")
            assert heard(ears, {"1"}) == {"1"}
            ears.close()
    finally:
        cluster.remove()


def test_a_file_is_looked_at_and_anything_may_have_changed(tmp_path: Path) -> None:
    first, second = (SqliteDatabase(tmp_path / "store.db", is_shared=True, synchronous="OFF") for _ in range(2))
    ears = second.listen()
    assert ears.wait(0.1) == frozenset()
    say(first, "1")
    until: Callable[[], bool] = lambda: ears.wait(1) is None  # noqa: E731
    assert until()
    assert ears.wait(0.1) == frozenset()
    first.close()
    second.close()
