"""What one process did is in the index and in the index files of another before anybody searches there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.congruence.nodes import beside
from tests.congruence.samples import ACCOUNT, World, enrolments, entry, name_id, unit_rows, world
from tests.postgres import Cluster

from countenance.gallery import SqliteGallery, records
from countenance.gallery.index import tiered
from countenance.store import Keyring, SqliteDatabase

ROWS = unit_rows(900, 16, 41)
LIMIT_S = 20.0


def until(what: Callable[[], bool]) -> float:
    """Seconds until it is so."""
    began = time.monotonic()
    while not what():
        assert time.monotonic() < began + LIMIT_S, "it never came to be"
        time.sleep(0.001)
    return time.monotonic() - began


@contextmanager
def two_on_postgres(folder: Path, url: str, **options: Any) -> Iterator[list[World]]:
    with ExitStack() as stack:
        first = stack.enter_context(world(folder, postgres_url=url, **options))
        other = beside(folder, "other")
        yield [first, stack.enter_context(world(other, postgres_url=url, **options))]


@contextmanager
def two_on_sqlite(folder: Path, **options: Any) -> Iterator[list[World]]:
    keyring = Keyring.open(folder / "master.key", create=True)
    with ExitStack() as stack:
        made = []
        for _ in range(2):
            database = SqliteDatabase(folder / "countenance.db", is_shared=True)
            stack.callback(database.close)
            gallery = SqliteGallery(database, keyring, **options)
            stack.callback(gallery.close)
            made.append(World(folder, database, keyring, gallery))
        yield made


@pytest.fixture(params=["postgresql", "sqlite"])
def two(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[list[World]]:
    if request.param == "sqlite":
        with two_on_sqlite(tmp_path) as made:
            yield made
    else:
        with two_on_postgres(tmp_path, request.getfixturevalue("postgres_url")) as made:
            yield made


def enrol(opened: World, names: range) -> None:
    opened.gallery.enrol(ACCOUNT, "c", enrolments(list(names), ROWS[list(names)]), entry=entry())


def load(opened: World) -> int:
    opened.gallery.identify(ACCOUNT, "c", ROWS[:1], max_candidates=1)
    return opened.gallery.collection(ACCOUNT, "c").uid


def rows_of(opened: World, uid: int) -> int:
    with opened.gallery._shelves.references.holding(uid) as loaded:
        return 0 if loaded is None else len(loaded.index)


def test_changes_of_another_are_taken_in_without_a_search(two: list[World]) -> None:
    first, second = two
    first.create()
    enrol(first, range(10))
    uid = load(second)
    took = []
    for name in range(10, 30):
        enrol(first, range(name, name + 1))
        took.append(until(lambda name=name: rows_of(second, uid) == name + 1))  # type: ignore[misc]
    print(f"\nthere after {sorted(took)[10] * 1000:.1f} ms, at most {max(took) * 1000:.1f} ms")
    first.gallery.erase(ACCOUNT, "c", [name_id(each) for each in range(5)], entry=entry())
    until(lambda: rows_of(second, uid) == 25)
    assert second.gallery.holding().behind == 0
    assert second.gallery.holding().is_listening
    first.gallery.delete_collection(ACCOUNT, "c", entry=entry())
    until(lambda: uid not in second.gallery._shelves.references.uids())


def test_a_burst_from_both_sides_ends_in_the_same(two: list[World]) -> None:
    first, second = two
    first.create()
    enrol(first, range(10))
    uid = load(first)
    load(second)

    def one_by_one(opened: World, names: range) -> None:
        for name in names:
            enrol(opened, range(name, name + 1))

    threads = [
        threading.Thread(target=one_by_one, args=args) for args in ((first, range(10, 90)), (second, range(90, 170)))
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    for each in two:
        until(lambda each=each: rows_of(each, uid) == 170)  # type: ignore[misc]
        assert each.gallery.verify_index(ACCOUNT, "c").agrees


def row_is_in_files(opened: World, uid: int, name: int) -> bool:
    shelves = opened.gallery._shelves
    found = opened.gallery.collection(ACCOUNT, "c")
    with opened.database.reading() as connection:
        seal = opened.gallery._seal(connection, found)
    kept = shelves.files.open(found, seal, shelves._stored_of(uid))
    assert kept is not None
    wanted = records.known_id_bytes([name_id(name)])[0]
    return any(wanted in map(bytes, part.segment.rows.face_ids) for part in kept.parts)


@pytest.mark.parametrize("is_loaded", [True, False], ids=["loaded", "not in memory"])
def test_what_another_erases_is_overwritten_in_this_one_s_files(
    tmp_path: Path, postgres_url: str, is_loaded: bool
) -> None:
    options = {"index_factory": tiered(100), "index_files_from": 100}
    with two_on_postgres(tmp_path, postgres_url, **options) as (first, second):
        first.create()
        enrol(first, range(400))
        uid = load(second)
        assert second.gallery._shelves.keep(uid, is_due=True)
        assert row_is_in_files(second, uid, 7)
        if not is_loaded:
            second.gallery._shelves.forget(uid)
        first.gallery.erase(ACCOUNT, "c", [name_id(7)], entry=entry())
        took = until(lambda: not row_is_in_files(second, uid, 7))
        print(f"\noverwritten after {took * 1000:.1f} ms")
        assert row_is_in_files(second, uid, 8)
        first.gallery.delete_collection(ACCOUNT, "c", entry=entry())
        until(lambda: not second.gallery._shelves.files.has(uid))


def test_it_goes_on_after_the_database_was_killed(tmp_path: Path) -> None:
    cluster = Cluster()
    try:
        cluster.start()
        with two_on_postgres(tmp_path, cluster.create("one")) as (first, second):
            first.create()
            enrol(first, range(10))
            uid = load(second)
            until(lambda: second.gallery.holding().is_listening)
            cluster.kill()
            until(lambda: not second.gallery._following.is_listening)
            cluster.start()
            until(lambda: second.gallery._following.is_listening)
            enrol(first, range(10, 20))
            until(lambda: rows_of(second, uid) == 20)
    finally:
        cluster.remove()


def test_it_ends_with_the_gallery_also_while_the_database_is_away(tmp_path: Path) -> None:
    cluster = Cluster()
    try:
        cluster.start()
        with two_on_postgres(tmp_path, cluster.create("one")) as (first, second):
            first.create()
            cluster.kill()
            until(lambda: not second.gallery._following.is_listening)
            second.gallery._following.stop()
            assert not second.gallery._following._thread.is_alive()
    finally:
        cluster.remove()
