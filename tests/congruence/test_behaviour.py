"""One behaviour script, run on every index and every database: same ids, same order, same scores, bit for bit."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from countenance.gallery import exact
from countenance.gallery.index import FaissIndex, Index, IndexFactory, NumpyIndex, QuantisedIndex, tiered
from countenance.gallery.scatter import KNOWN_FOR_S

from .nodes import beside, node
from .samples import ACCOUNT, enrolments, entry, name_id, unit_rows, world

DIMENSION = 24
KINDS: dict[str, IndexFactory] = {
    "numpy": NumpyIndex,
    "exact": FaissIndex,
    "quantised": lambda dimension: QuantisedIndex(dimension, tail_rows=70),
    "moves up and down": tiered(600),
}


def script(
    folder: Path,
    kind: IndexFactory,
    url: str | None = None,
    *,
    asks_another: bool = False,
    parts: Sequence[str] = (),
    reopens: Callable[[Any], None] | None = None,
) -> list[Any]:
    """What a caller sees of a gallery that is filled, searched, thinned out, changed and opened again.

    Args:
        url: of the PostgreSQL that it is kept in; None: an embedded file.
        asks_another: search at a second node of the same database.
        parts: of the nodes that index a part each and are searched in turn; the first one takes the changes.
        reopens: done to the gallery that is searched, before each round of searches.
    """
    seen: list[Any] = []
    rng = np.random.default_rng(11)
    rows = unit_rows(900, DIMENSION, 1)
    rows[300:380] = rows[300]  # eighty people with one face: ties, more of them than are asked for
    rows[380:400] = np.nextafter(rows[300], np.float32(2))  # and twenty that tie only after rounding to fp16
    probes = np.concatenate([unit_rows(12, DIMENSION, 2), rows[300:301], rows[5:6]])

    def search(opened: Any) -> None:
        if reopens is not None:
            reopens(opened.gallery)
        for count in (1, 7, 50, 100, 4096):
            answer = opened.gallery.identify(ACCOUNT, "c", probes, max_candidates=count, exclude_face_id=name_id(5))
            seen.append([[(each.reference.face_id, each.comparison_score) for each in one] for one in answer])
        single = opened.gallery.identify(ACCOUNT, "c", probes[:1], max_candidates=50, minimum_score=0.2)
        seen.append([(each.reference.face_id, each.comparison_score) for each in single[0]])

    with ExitStack() as stack:
        files = {} if reopens is None else {"index_files_from": 50}
        searchers: list[Any] = []
        if parts:
            assert url is not None
            opened = stack.enter_context(node(folder, url, parts[0], index_factory=kind))
            searchers = [opened]
            for number, part in enumerate(parts[1:]):
                other = beside(folder, f"node{number}")
                searchers.append(stack.enter_context(node(other, url, part, index_factory=kind)))
            time.sleep(2 * KNOWN_FOR_S)
        else:
            opened = stack.enter_context(world(folder, index_factory=kind, postgres_url=url, **files))
        turns = itertools.cycle(searchers or [opened])
        if asks_another:
            other = beside(folder, "other")
            turns = itertools.repeat(stack.enter_context(world(other, index_factory=kind, postgres_url=url, **files)))
        opened.create(dimension=DIMENSION)
        for start in range(0, 900, 90):
            names = list(range(start, start + 90))
            opened.gallery.enrol(ACCOUNT, "c", enrolments(names, rows[start : start + 90]), entry=entry())
            search(next(turns))
        for portion in np.array_split(rng.permutation(900), 6)[:4]:
            seen.append(opened.gallery.erase(ACCOUNT, "c", [name_id(int(at)) for at in portion], entry=entry()))
            search(next(turns))
        again = unit_rows(40, DIMENSION, 3)
        opened.gallery.enrol(ACCOUNT, "c", enrolments(range(860, 900), again), entry=entry())
        search(next(turns))
    with world(folder, index_factory=kind, postgres_url=url, **files) as opened:
        search(opened)
    return seen


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return script(tmp_path_factory.mktemp("oracle"), NumpyIndex)


@pytest.mark.parametrize("name", [name for name in KINDS if name != "numpy"])
def test_every_index_gives_the_same_answers(tmp_path: Path, expected: list[Any], name: str) -> None:
    assert len(expected) > 80
    for at, (wanted, found) in enumerate(zip(expected, script(tmp_path, KINDS[name]), strict=True)):
        assert found == wanted, f"observation {at}"


@pytest.mark.parametrize("asks_another", [False, True], ids=["one node", "two nodes"])
@pytest.mark.parametrize("name", KINDS)
def test_postgresql_gives_the_same_answers(
    tmp_path: Path, expected: list[Any], name: str, asks_another: bool, postgres_url: str
) -> None:
    found = script(tmp_path, KINDS[name], postgres_url, asks_another=asks_another)
    for at, (wanted, given) in enumerate(zip(expected, found, strict=True)):
        assert given == wanted, f"observation {at}"


@pytest.mark.parametrize("parts", [("1/2", "2/2"), ("1/3", "2/3", "3/3"), ("1/2", "")], ids=", ".join)
@pytest.mark.parametrize("name", ["exact", "moves up and down"])
def test_parts_give_the_same_answers(
    tmp_path: Path, expected: list[Any], name: str, parts: Sequence[str], postgres_url: str
) -> None:
    found = script(tmp_path, KINDS[name], postgres_url, parts=parts)
    for at, (wanted, given) in enumerate(zip(expected, found, strict=True)):
        assert given == wanted, f"observation {at}"


@pytest.mark.parametrize("keeps_each", [1, 3], ids=["kept each time", "kept now and then"])
@pytest.mark.parametrize("nodes", ["embedded", "one node", "two nodes"])
def test_an_index_opened_from_its_files_gives_the_same_answers(
    tmp_path: Path, expected: list[Any], request: pytest.FixtureRequest, nodes: str, keeps_each: int
) -> None:
    """It is written, dropped from memory, opened from the files and caught up between any two rounds of searches."""
    url = None if nodes == "embedded" else request.getfixturevalue("postgres_url")
    rounds, from_files = [0], [0]

    def reopens(gallery: Any) -> None:
        uid, shelves = gallery.collection(ACCOUNT, "c").uid, gallery._shelves
        shelves._keeper.stop()
        rounds[0] += 1
        with shelves.references.lent(uid):
            pass
        if rounds[0] % keeps_each == 0:
            shelves.keep(uid, is_due=True)
        shelves.references.forget(uid)
        from_files[0] += shelves.files.has(uid)

    found = script(tmp_path, tiered(50), url, asks_another=nodes == "two nodes", reopens=reopens)
    for at, (wanted, given) in enumerate(zip(expected, found, strict=True)):
        assert given == wanted, f"observation {at}"
    assert from_files[0] > 10


def test_the_tiers_without_faiss_give_the_same_answers(
    tmp_path: Path, expected: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exact, "faiss", None)
    assert script(tmp_path, tiered(600)) == expected


def ready(dimension: int) -> QuantisedIndex:
    return QuantisedIndex(dimension, tail_rows=700)


@pytest.mark.parametrize("kind", [FaissIndex, ready])
@pytest.mark.parametrize("dimension", [8, 20, 128, 512])
@pytest.mark.parametrize("copies", [1, 40, 3000])
def test_the_scan_agrees_with_the_oracle_whatever_ties(
    kind: Callable[[int], Index], dimension: int, copies: int
) -> None:
    """With many copies of one face the places asked for end inside a tie, which a plain scan breaks anyhow."""
    size = 3000
    rng = np.random.default_rng([dimension, copies])
    templates = unit_rows(size // copies, dimension, [1, dimension]).repeat(copies, axis=0).astype(np.float16)
    face_ids = rng.integers(0, 256, (len(templates), 16), dtype=np.uint8)
    oracle, scan = NumpyIndex(dimension), kind(dimension)
    for start in range(0, len(templates), 500):
        for index in (oracle, scan):
            index.add(face_ids[start : start + 500], templates[start : start + 500])
    probes = np.concatenate([unit_rows(6, dimension, 2), templates[:2].astype(np.float32)])
    for count in (1, 10, 39, 100, size):
        wanted = oracle.search(probes, count)
        assert scan.search(probes, count) == wanted  # one scan for all
        assert [scan.search(probe[None, :], count)[0] for probe in probes] == wanted


@pytest.mark.parametrize("kind", [FaissIndex, ready])
def test_one_by_one_and_together_give_the_same(kind: Callable[[int], Index]) -> None:
    index = kind(128)
    index.add(
        np.random.default_rng(1).integers(0, 256, (2000, 16), dtype=np.uint8),
        unit_rows(2000, 128, 1).astype(np.float16),
    )
    probes = unit_rows(64, 128, 2)
    assert index.search(probes, 20) == [index.search(probe[None, :], 20)[0] for probe in probes]
