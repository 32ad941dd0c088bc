from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.congruence.samples import unit_rows

from countenance.gallery import exact, products, quantised, segments, selection, shared_scan
from countenance.gallery.index import FaissIndex, Index, NumpyIndex, QuantisedIndex, TieredIndex
from countenance.gallery.segments import Segment
from countenance.gallery.shelf import SMALL_COLLECTION
from countenance.gallery.tiers import LAZY_UP_TO, tier_of

DIMENSION = 32


def ids(*numbers: int) -> NDArray[np.uint8]:
    return np.array([number.to_bytes(16, "big") for number in numbers], "V16").view(np.uint8).reshape(-1, 16)


def rows(count: int, seed: int = 1) -> NDArray[np.float16]:
    return unit_rows(count, DIMENSION, seed).astype(np.float16)


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """The background does nothing: the test does it step by step."""
    monkeypatch.setattr(quantised._BACKGROUND, "ask", lambda index: None)


def both(count: int, tail_rows: int) -> tuple[QuantisedIndex, NumpyIndex]:
    index, oracle = QuantisedIndex(DIMENSION, tail_rows=tail_rows), NumpyIndex(DIMENSION)
    for start in range(0, count, 100):
        end = min(start + 100, count)
        for each in (index, oracle):
            each.add(ids(*range(start, end)), rows(count)[start:end])
    return index, oracle


def assert_same(index: Index, oracle: Index) -> None:
    assert len(index) == len(oracle)
    probes = unit_rows(8, DIMENSION, 77)
    for count in (1, 20, len(oracle) + 5):
        wanted = oracle.search(probes, count)
        assert index.search(probes, count) == wanted
        assert index.search(probes[:1], count) == wanted[:1]


@pytest.mark.usefixtures("idle")
def test_a_row_is_found_before_any_segment_is_made_and_after_each_step() -> None:
    index, oracle = both(1000, 300)
    assert index.segments == []
    assert index.tail_length == 1000
    steps = 0
    assert_same(index, oracle)
    while index.tidy():
        steps += 1
        assert_same(index, oracle)
    assert steps == 3
    assert [len(each) for each, _ in index.segments] == [300, 300, 300]
    assert index.tail_length == 100


@pytest.mark.usefixtures("idle")
def test_rows_that_go_while_their_segment_is_made_do_not_come_back() -> None:
    def making(face_ids: NDArray[np.uint8], templates: Iterator[NDArray[np.float16]], dimension: int) -> Segment:
        made = Segment.build(face_ids, templates, dimension)
        gone = ids(3, 150, 299, 350)
        assert index.remove(gone) == oracle.remove(gone) == 4
        index.replace(ids(7), rows(1, 5))
        oracle.replace(ids(7), rows(1, 5))
        assert_same(index, oracle)
        return made

    index, oracle = both(400, 300)
    index._make_segment = making
    assert index.tidy()
    ((_, alive),) = index.segments
    assert np.flatnonzero(~alive).tolist() == [3, 7, 150, 299]
    assert_same(index, oracle)
    assert index.remove(ids(3)) == 0
    assert index.remove(ids(7)) == oracle.remove(ids(7)) == 1
    assert_same(index, oracle)


@pytest.mark.usefixtures("idle")
def test_a_segment_with_many_rows_gone_is_made_anew_and_an_empty_one_dropped() -> None:
    index, oracle = both(600, 300)
    while index.tidy():
        pass
    few = ids(*range(50))
    assert index.remove(few) == oracle.remove(few) == 50
    assert not index.tidy()
    assert index.tidy(purge=True)
    assert [len(each) for each, _ in index.segments] == [300, 250]
    assert_same(index, oracle)
    many = ids(*range(50, 120))
    index.remove(many)
    oracle.remove(many)
    assert index.tidy()
    assert sorted(len(each) for each, _ in index.segments) == [180, 300]
    everything = ids(*range(600))
    index.remove(everything)
    oracle.remove(everything)
    while index.tidy():
        pass
    assert index.segments == []
    assert_same(index, oracle)


@pytest.mark.usefixtures("idle")
def test_small_segments_become_one() -> None:
    index, oracle = both(1000, 100)
    while index.tidy():
        assert_same(index, oracle)
    assert len(index.segments) < 8
    assert_same(index, oracle)


def test_the_background_makes_segments_while_searches_go_on() -> None:
    index, oracle = both(3000, 200)
    until = time.monotonic() + 30
    while any(each.segment is None for each in index._held) and time.monotonic() < until:
        assert_same(index, oracle)
    assert index.segments
    assert index.tail_length < 200
    assert_same(index, oracle)


def test_a_segment_that_cannot_be_made_leaves_its_rows_searchable(caplog: pytest.LogCaptureFixture) -> None:
    failed = threading.Event()

    def fails(*_: object) -> Segment:
        failed.set()
        raise OSError("disk full")

    index = QuantisedIndex(DIMENSION, make_segment=fails, tail_rows=50)
    index.add(ids(*range(60)), rows(60))
    assert failed.wait(30)
    oracle = NumpyIndex(DIMENSION)
    oracle.add(ids(*range(60)), rows(60))
    assert_same(index, oracle)


def test_a_ready_segment_is_taken_in_with_the_rows_that_are_gone() -> None:
    templates = rows(500)
    segment = Segment.build(ids(*range(500)), [templates], DIMENSION)
    alive = np.ones(500, np.bool_)
    alive[[4, 44]] = False
    index, oracle = QuantisedIndex(DIMENSION), NumpyIndex(DIMENSION)
    index.adopt(segment, alive)
    oracle.add(ids(*range(500)), templates)
    oracle.remove(ids(4, 44))
    assert_same(index, oracle)


def test_what_is_not_there_cannot_be_replaced() -> None:
    with pytest.raises(ValueError, match="not there"):
        QuantisedIndex(DIMENSION).replace(ids(1), rows(1))


@pytest.mark.usefixtures("idle")
def test_rows_that_nobody_can_tell_apart_are_scored_in_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_scan, "_HOPELESS", 300)
    monkeypatch.setattr(shared_scan, "_TIGHTEN_FROM", 16)
    monkeypatch.setattr(selection, "_SETTLED_AT_ONCE", 128)
    templates = rows(2000)
    templates[200:1500] = templates[200]
    index, oracle = QuantisedIndex(DIMENSION, tail_rows=900), NumpyIndex(DIMENSION)
    for each in (index, oracle):
        each.add(ids(*range(2000)), templates)
        each.remove(ids(*range(300, 310)))
    index.tidy()
    probes = np.concatenate([unit_rows(5, DIMENSION, 4), templates[200:201].astype(np.float32)])
    for count in (1, 40):
        assert index.search(probes, count) == oracle.search(probes, count)
        assert index.search(probes[5:], count) == oracle.search(probes[5:], count)


@pytest.mark.usefixtures("idle")
@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_share_a_scan_without_losing_a_row(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(shared_scan, "_SHARED_FROM", 0)
    monkeypatch.setattr(shared_scan, "cores", lambda: threads)
    monkeypatch.setattr(segments, "BLOCK_ROWS", 4000)
    index, oracle = QuantisedIndex(DIMENSION, tail_rows=9000), NumpyIndex(DIMENSION)
    for each in (index, oracle):
        each.add(ids(*range(10_000)), rows(10_000))
    index.tidy()
    probes = unit_rows(100, DIMENSION, 4)
    assert index.search(probes, 10) == oracle.search(probes, 10)


@pytest.mark.usefixtures("idle")
def test_a_processor_whose_products_saturate_gets_coarser_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert products.probe_levels() in (63, 127)
    monkeypatch.setattr(products, "probe_levels", lambda: 63)
    index, oracle = both(1000, 300)
    while index.tidy():
        pass
    assert int(np.abs(products.ByteProbes.of(unit_rows(4, DIMENSION, 1)).columns.astype(int)).max()) == 63
    assert_same(index, oracle)


def test_no_score_is_outside_its_bounds() -> None:
    templates = rows(500)
    (block,) = Segment.build(ids(*range(500)), [templates], DIMENSION).blocks
    probes = np.concatenate([unit_rows(20, DIMENSION, 3), np.eye(DIMENSION, dtype=np.float32)[:3]])
    ready = products.ByteProbes.of(probes)
    told = (ready.products(block.codes) - ready.shifts) * (ready.scales * block.scale)
    exact_scores = templates.astype(np.float64) @ probes.T.astype(np.float64)
    assert bool(np.all(np.abs(told - exact_scores) <= ready.errors(block)))
    assert float(ready.errors(block).max()) < 0.06


def test_a_collection_moves_up_when_it_grows_and_down_when_it_shrank_to_half() -> None:
    index, oracle = TieredIndex(DIMENSION, quantise_from=1000), NumpyIndex(DIMENSION)

    def add(start: int, end: int) -> None:
        for each in (index, oracle):
            each.add(ids(*range(start, end)), rows(1200)[start:end])

    add(0, 999)
    assert index.tier == "lazy"
    add(999, 1000)
    assert index.tier == "quantised"
    assert_same(index, oracle)
    add(1000, 1200)
    for gone, tier in ((range(300), "quantised"), (range(300, 700), "quantised"), (range(700, 701), "lazy")):
        assert index.remove(ids(*gone)) == oracle.remove(ids(*gone))
        assert index.tier == tier
        assert_same(index, oracle)
    add(0, 400)
    assert index.tier == "lazy"
    assert_same(index, oracle)


def test_a_large_collection_is_quantised_while_it_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    index = TieredIndex(DIMENSION, quantise_from=1000)
    index.reserve(1500)
    assert index.tier == "quantised"
    for start in range(0, 1500, 300):
        index.add(ids(*range(start, start + 300)), rows(1500)[start : start + 300])
    assert len(index) == 1500


def test_tiers_follow_size_and_what_the_operator_set() -> None:
    assert LAZY_UP_TO == SMALL_COLLECTION
    assert [tier_of(each, 128) for each in (10, 2_000, 2_001, 499_999, 500_000)] == [
        "lazy",
        "lazy",
        "exact",
        "exact",
        "quantised",
    ]
    assert tier_of(125_000, 512) == "quantised"
    assert tier_of(124_999, 512) == "exact"
    assert tier_of(3_000, 128, 2_500) == "quantised"
    assert tier_of(10**7, 128, 10**8) == "exact"


def test_without_faiss_codes_are_scanned_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "faiss", None)
    index, oracle = both(900, 300)
    assert_same(index, oracle)


@pytest.mark.parametrize("dimension", [2, 16])
@pytest.mark.parametrize("kind", [FaissIndex, QuantisedIndex])
def test_a_search_ends_when_a_row_that_it_asks_for_is_the_probe_s_opposite(
    kind: type[FaissIndex | QuantisedIndex], dimension: int, idle: None
) -> None:
    """The last place is then at -1, beneath which there is no floor, and every row is chosen already."""
    templates = unit_rows(300, dimension, 41).astype(np.float16)
    templates[0, 0], templates[0, 1:] = -1, 0
    index, oracle = kind(dimension), NumpyIndex(dimension)
    for each in (index, oracle):
        each.add(ids(*range(300)), templates)
    probes = np.eye(2, dimension, dtype=np.float32)
    found: list[bool] = []

    def search() -> None:
        found.extend(index.search(probes, count) == oracle.search(probes, count) for count in (299, 300, 301))

    thread = threading.Thread(target=search, daemon=True)
    thread.start()
    thread.join(30)
    assert found == [True] * 3
