from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from tests.congruence.samples import ACCOUNT, World, enrolments, entry, name_id, unit_rows, world

from countenance.gallery import CollectionNotFound, shelf
from countenance.gallery.index import NumpyIndex
from countenance.gallery.shelf import Change, Loaded, Shelf

NONE = np.empty((0, 16), np.uint8)
NOTHING = np.empty((0, 4), np.float16)


def ids(*numbers: int) -> np.ndarray:
    return np.frombuffer(b"".join(number.to_bytes(16, "big") for number in numbers), np.uint8).reshape(-1, 16)


def adding(uid: int, revision: int, *numbers: int) -> Change:
    return Change(uid, revision, ids(*numbers), np.ones((len(numbers), 4), np.float16), NONE, NOTHING, NONE)


class Source:
    """A store of face numbers with a revision, that counts how often it is loaded from."""

    def __init__(self) -> None:
        self.numbers, self.revision, self.loads = [1, 2], 7, 0

    def load(self, uid: int) -> Loaded:
        self.loads += 1
        if uid == 404:
            raise CollectionNotFound("gone")
        index = NumpyIndex(4)
        index.add(ids(*self.numbers), np.ones((len(self.numbers), 4), np.float16))
        return Loaded(index, self.revision)


def size(books: Shelf, uid: int = 1, revision: int = 0) -> int:
    with books.lent(uid, revision) as index:
        return len(index)


def test_an_index_is_loaded_once_and_follows_the_commits() -> None:
    source = Source()
    books = Shelf(source.load)
    books.apply(adding(1, 7, 2))  # before anybody searched: nothing to do
    assert size(books) == 2
    books.apply(adding(1, 7, 2))  # already in the snapshot that was loaded
    assert size(books) == 2
    books.apply(adding(1, 8, 3))
    books.apply(Change(1, 9, NONE, NOTHING, NONE, NOTHING, ids(1)))
    assert size(books) == 2
    assert source.loads == 1


def test_a_failed_change_makes_it_load_again() -> None:
    source = Source()
    books = Shelf(source.load)
    size(books)
    broken = Change(1, 8, ids(5), np.ones((1, 3), np.float16), NONE, NOTHING, NONE)
    books.apply(broken)
    source.numbers, source.revision = [1, 2, 5], 8
    assert size(books) == 3
    assert source.loads == 2


def test_an_index_that_is_behind_what_a_search_saw_is_caught_up_before_it_is_lent() -> None:
    source = Source()
    asked = []

    def catch_up(uid: int, revision: int) -> Change:
        asked.append((uid, revision))
        return Change(1, 9, ids(3, 4), np.ones((2, 4), np.float16), NONE, NOTHING, ids(3, 4, 1))

    books = Shelf(source.load, catch_up)
    assert size(books) == 2
    books.apply(adding(1, 9, 4))  # another process made revision 8
    assert size(books, revision=7) == 2
    assert size(books, revision=8) == 3
    assert size(books, revision=9) == 3
    books.apply(adding(1, 10, 6))
    assert size(books, revision=10) == 4
    assert (asked, source.loads) == ([(1, 7)], 1)


def test_an_index_that_is_too_far_behind_is_loaded_anew() -> None:
    source = Source()
    books = Shelf(source.load, lambda uid, revision: None)
    size(books)
    source.numbers, source.revision = [1, 2, 3, 4], 900
    assert size(books, revision=900) == 4
    assert source.loads == 2


def test_a_collection_that_goes_while_an_index_is_caught_up_leaves_nothing_behind() -> None:
    def catch_up(uid: int, revision: int) -> Change | None:
        raise CollectionNotFound("gone")

    books = Shelf(Source().load, catch_up)
    size(books)
    with pytest.raises(CollectionNotFound):
        size(books, revision=8)
    assert books._places == {}


def test_a_collection_that_is_gone_leaves_nothing_behind() -> None:
    books = Shelf(Source().load)
    with pytest.raises(CollectionNotFound):
        size(books, 404)
    assert books._places == {}


def test_the_least_recently_searched_small_indexes_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "SMALL_COLLECTION", 2)
    source = Source()
    books = Shelf(source.load, keep_small=2)
    source.numbers = [1, 2, 3]
    size(books, 9)  # large: stays
    source.numbers = [1]
    for uid in (1, 2, 1, 3):
        size(books, uid)
    assert books.totals()[:2] == (3, 5)
    loads = source.loads
    for uid in (1, 3, 9):
        size(books, uid)
    assert source.loads == loads
    size(books, 2)
    assert source.loads == loads + 1


def test_a_change_waits_for_searches_and_goes_before_later_ones() -> None:
    books = Shelf(Source().load)
    size(books)
    order: list[str] = []
    inside, leave = threading.Event(), threading.Event()

    def first_search() -> None:
        with books.lent(1) as index:
            inside.set()
            leave.wait()
            order.append(f"first saw {len(index)}")

    def change() -> None:
        books.apply(adding(1, 8, 3))
        order.append("changed")

    def second_search() -> None:
        with books.lent(1) as index:
            order.append(f"second saw {len(index)}")

    threads = [threading.Thread(target=first_search)]
    threads[0].start()
    inside.wait()
    gate = books._places[1].gate
    threads.append(threading.Thread(target=change))
    threads[1].start()
    while not gate._waiting_writers:
        pass
    threads.append(threading.Thread(target=second_search))
    threads[2].start()
    leave.set()
    for thread in threads:
        thread.join()
    assert order[0] == "first saw 2"
    assert set(order[1:]) == {"changed", "second saw 3"}


def test_two_searches_run_side_by_side() -> None:
    books = Shelf(Source().load)
    both = threading.Barrier(2, timeout=10)

    def search() -> None:
        with books.lent(1):
            both.wait()

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not both.broken


def test_loading_beside_commits_misses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    """A search that loads the index meets enrolments between its snapshot and its first scan."""
    with world(tmp_path) as opened:
        opened.create()
        rows = unit_rows(200, 16, 1)
        for at in range(200):
            opened.gallery._shelves.references.forget(opened.gallery.collection(ACCOUNT, "c").uid)
            loader = threading.Thread(
                target=opened.gallery.identify, args=(ACCOUNT, "c", rows[:1]), kwargs={"max_candidates": 1}
            )
            loader.start()
            opened.gallery.enrol(ACCOUNT, "c", enrolments([at], rows[at : at + 1]), entry=entry())
            loader.join()
            with opened.gallery._shelves.references.lent(opened.gallery.collection(ACCOUNT, "c").uid) as index:
                assert len(index) == at + 1


def test_warming_loads_the_large_collections_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("countenance.gallery.sqlite.SMALL_COLLECTION", 50)

    def fill(opened: World) -> None:
        for name, count in (("small", 50), ("large", 51), ("empty", 0)):
            opened.create(name)
            opened.gallery.enrol(ACCOUNT, name, enrolments(range(count), unit_rows(count, 16, 1)), entry=entry())

    with world(tmp_path) as opened:
        fill(opened)
    with world(tmp_path) as opened:
        report = opened.gallery.warm()
        assert (report.collections, report.references, report.left_for_first_use) == (1, 51, 2)
        assert report.seconds > 0
        assert opened.gallery.stats().loaded_references == 51
        assert opened.gallery.identify(ACCOUNT, "small", unit_rows(50, 16, 1)[:1], max_candidates=1)[0][
            0
        ].reference.face_id == name_id(0)


def test_a_load_holds_no_commit_back_and_ends_up_with_it() -> None:
    source = Source()
    reading, go_on = threading.Event(), threading.Event()

    def slow(uid: int) -> Loaded:
        loaded = source.load(uid)
        reading.set()
        assert go_on.wait(10)
        return loaded

    books = Shelf(slow)
    sizes: list[int] = []
    searcher = threading.Thread(target=lambda: sizes.append(size(books)))
    searcher.start()
    assert reading.wait(10)
    books.apply(adding(1, 8, 3))  # returns while the load still reads: nobody has let it go on yet
    books.apply(adding(1, 9, 4, 5))
    go_on.set()
    searcher.join(10)
    assert sizes == [5]
    assert source.loads == 1


def test_a_commit_in_doubt_during_a_load_makes_it_load_again() -> None:
    source = Source()
    books = Shelf(source.load)
    doubted = []

    def load(uid: int) -> Loaded:
        loaded = source.load(uid)
        if not doubted:
            doubted.append(uid)
            source.numbers.append(3)
            source.revision += 1  # the commit that reported a failure took effect
            books.compare(lambda _uid: source.revision)
        return loaded

    books._load = load  # type: ignore[method-assign]
    assert size(books) == 3
    assert source.loads == 2
