from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.congruence.samples import unit_rows

from countenance.gallery.comparison import Ranking
from countenance.gallery.gathering import MOST_PROBES, Gathering
from countenance.gallery.index import Index, NumpyIndex

DIMENSION = 8


class Watched(NumpyIndex):
    """Says what it is asked, and answers its first search when it is let."""

    def __init__(self) -> None:
        super().__init__(DIMENSION)
        self.asked: list[tuple[int, int]] = []
        self.began = threading.Event()
        self.let = threading.Event()
        rows = unit_rows(300, DIMENSION, 1).astype(np.float16)
        self.add(np.random.default_rng(1).integers(0, 256, (300, 16), dtype=np.uint8), rows)

    def search(self, probes: NDArray[np.float32], count: int) -> list[Ranking]:
        self.asked.append((len(probes), count))
        self.began.set()
        if not self.let.wait(30):
            raise TimeoutError
        return super().search(probes, count)


class Crowd:
    """One search that runs, and more that came meanwhile."""

    def __init__(self, lend: Callable[[], object] | None = None) -> None:
        self.index = Watched()
        self.gathering = Gathering(apart=1)
        self.pool = ThreadPoolExecutor(32)
        self.lent = 0

    @contextmanager
    def lend(self, revision: int = 0) -> Iterator[Index]:
        self.lent += 1
        yield self.index

    def ask(self, probes: NDArray[np.float32], count: int, uid: int = 1) -> Future[list[Ranking]]:
        return self.pool.submit(self.gathering.search, uid, self.lend, probes, count)

    def ask_and_queue(self, probes: NDArray[np.float32], count: int) -> Future[list[Ranking]]:
        before = len(self.gathering._queues[1].waiting)
        future = self.ask(probes, count)
        until = time.monotonic() + 30
        while len(self.gathering._queues[1].waiting) == before:
            assert time.monotonic() < until
            time.sleep(0.001)
        return future


@pytest.fixture
def crowd() -> Iterator[Crowd]:
    made = Crowd()
    try:
        yield made
    finally:
        made.index.let.set()
        made.pool.shutdown()


def begin(crowd: Crowd) -> Future[list[Ranking]]:
    first = crowd.ask(unit_rows(1, DIMENSION, 2), 3)
    assert crowd.index.began.wait(30)
    return first


def test_those_who_come_during_a_scan_share_the_next(crowd: Crowd) -> None:
    first = begin(crowd)
    probes = [unit_rows(1 + at % 3, DIMENSION, [3, at]) for at in range(10)]
    counts = [1 + at for at in range(10)]
    others = [crowd.ask_and_queue(*each) for each in zip(probes, counts, strict=True)]
    crowd.index.let.set()
    answers = [each.result(30) for each in others]
    assert crowd.index.asked == [(1, 3), (sum(map(len, probes)), 10)]
    assert first.result(30) == crowd.index.search(unit_rows(1, DIMENSION, 2), 3)
    assert answers == [crowd.index.search(*each) for each in zip(probes, counts, strict=True)]
    crowd.ask(unit_rows(1, DIMENSION, 2), 3).result(30)
    assert crowd.gathering._queues == {}


def test_one_after_the_other_everybody_scans_at_once(crowd: Crowd) -> None:
    crowd.index.let.set()
    for seed in range(5):
        crowd.ask(unit_rows(1, DIMENSION, seed), 2).result(30)
        assert crowd.gathering._queues == {}
    assert crowd.index.asked == [(1, 2)] * 5


def test_as_many_as_there_are_cores_for_scan_apart(crowd: Crowd) -> None:
    crowd.gathering = Gathering(apart=3)
    begin(crowd)
    apart = [crowd.ask(unit_rows(1, DIMENSION, at), 3) for at in range(2)]
    until = time.monotonic() + 30
    while len(crowd.index.asked) < 3 and time.monotonic() < until:
        time.sleep(0.001)
    assert crowd.index.asked == [(1, 3)] * 3
    others = [crowd.ask_and_queue(unit_rows(1, DIMENSION, at), 3) for at in range(5)]
    crowd.index.let.set()
    for each in [*apart, *others]:
        assert len(each.result(30)[0].face_ids) == 3
    assert crowd.index.asked == [(1, 3)] * 3 + [(5, 3)]


def test_collections_do_not_wait_for_each_other(crowd: Crowd) -> None:
    begin(crowd)
    other = crowd.ask(unit_rows(1, DIMENSION, 5), 4, uid=2)
    until = time.monotonic() + 30
    while len(crowd.index.asked) < 2 and time.monotonic() < until:
        time.sleep(0.001)
    assert crowd.index.asked == [(1, 3), (1, 4)]
    crowd.index.let.set()
    assert len(other.result(30)[0].face_ids) == 4


def test_a_search_for_many_candidates_has_a_scan_of_its_own(crowd: Crowd) -> None:
    begin(crowd)
    few = crowd.ask_and_queue(unit_rows(1, DIMENSION, 6), 5)
    many = crowd.ask_and_queue(unit_rows(1, DIMENSION, 7), 290)
    few_more = crowd.ask_and_queue(unit_rows(1, DIMENSION, 8), 6)
    crowd.index.let.set()
    assert [len(each.result(30)[0].face_ids) for each in (few, many, few_more)] == [5, 290, 6]
    assert crowd.index.asked == [(1, 3), (2, 6), (1, 290)]


def test_a_scan_takes_no_more_probes_than_it_may(crowd: Crowd) -> None:
    begin(crowd)
    half = MOST_PROBES // 2
    asked = [crowd.ask_and_queue(unit_rows(half, DIMENSION, [9, at]), 2) for at in range(3)]
    crowd.index.let.set()
    assert [len(each.result(30)) for each in asked] == [half] * 3
    assert crowd.index.asked == [(1, 3), (2 * half, 2), (half, 2)]


def test_everybody_is_told_when_the_collection_is_gone(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    first = begin(crowd)
    others = [crowd.ask_and_queue(unit_rows(1, DIMENSION, at), 2) for at in range(4)]

    @contextmanager
    def gone(_revision: int) -> Iterator[Index]:
        raise LookupError("gone")
        yield

    monkeypatch.setattr(crowd, "lend", gone)
    for queued in crowd.gathering._queues[1].waiting:
        assert queued.answer is None
    crowd.lent = 0
    crowd.index.search = _failing  # type: ignore[method-assign]
    crowd.index.let.set()
    assert len(first.result(30)) == 1
    for each in others:
        with pytest.raises(LookupError):
            each.result(30)
    assert not any(each.running or each.waiting for each in crowd.gathering._queues.values())


def _failing(probes: NDArray[np.float32], count: int) -> list[Ranking]:
    raise LookupError("gone")


def test_many_threads_are_answered_as_one_would_be() -> None:
    index = NumpyIndex(DIMENSION)
    rows = unit_rows(2000, DIMENSION, 1).astype(np.float16)
    index.add(np.random.default_rng(1).integers(0, 256, (2000, 16), dtype=np.uint8), rows)
    gathering = Gathering()

    @contextmanager
    def lend(_revision: int) -> Iterator[Index]:
        yield index

    def work(seed: int) -> bool:
        for at in range(30):
            probes = unit_rows(1, DIMENSION, [seed, at])
            if gathering.search(1, lend, probes, 1 + seed) != index.search(probes, 1 + seed):
                return False
        return True

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(work, range(16)))
    assert all(not each.running and not each.waiting for each in gathering._queues.values())


def test_a_shared_scan_has_what_each_of_its_searches_saw(crowd: Crowd) -> None:
    """One of them may have seen a commit of another process that the others did not."""
    begin(crowd)
    seen: list[int] = []
    lend = crowd.lend

    @contextmanager
    def noted(revision: int) -> Iterator[Index]:
        seen.append(revision)
        with lend() as index:
            yield index

    futures = []
    for at, revision in enumerate((3, 9, 4)):
        before = len(crowd.gathering._queues[1].waiting)
        futures.append(crowd.pool.submit(crowd.gathering.search, 1, noted, unit_rows(1, DIMENSION, at), 2, revision))
        until = time.monotonic() + 30
        while len(crowd.gathering._queues[1].waiting) == before:
            assert time.monotonic() < until
            time.sleep(0.001)
    crowd.index.let.set()
    for each in futures:
        assert len(each.result(30)) == 1
    assert seen == [9]
