"""Parts of the references: each is in one of them, and an index, its files and its verification are of one."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from tests.congruence.samples import ACCOUNT, World, enrolments, entry, name_id, unit_rows, world

from countenance.gallery import WHOLE, Share, ShareError, are_covered, records
from countenance.gallery.index import tiered
from countenance.gallery.share import MOST_PARTS, lacking
from countenance.gallery.shelf import Change

ROWS = unit_rows(700, 16, 31)


@contextmanager
def of_part(folder: Path, part: str) -> Iterator[World]:
    options = {"index_factory": tiered(100), "index_files_from": 100, "share": Share.parse(part)}
    with world(folder, synchronous="NORMAL", **options) as opened:
        yield opened


def enrol(opened: World, names: range, shift: int = 0) -> None:
    rows = ROWS[[each + shift for each in names]]
    opened.gallery.enrol(ACCOUNT, "c", enrolments(list(names), rows), entry=entry())


def ids_in(opened: World) -> set[bytes]:
    """What is in the index, which is loaded for it."""
    shelves = opened.gallery._shelves
    found = opened.gallery.collection(ACCOUNT, "c")
    with shelves.references.lent(found.uid, found.revision) as index:
        (ranking,) = index.search(ROWS[:1], 4096)
    return set(ranking.face_ids)


def expected(part: str, names: range) -> set[bytes]:
    return {each for each in records.known_id_bytes([name_id(name) for name in names]) if Share.parse(part).has(each)}


@pytest.mark.parametrize("of", [1, 2, 3, 7, MOST_PARTS])
def test_every_reference_is_in_one_part_and_parts_are_of_a_size(of: int) -> None:
    ids = np.random.default_rng(1).integers(0, 256, (20_000, 16), dtype=np.uint8)
    parts = WHOLE.siblings() if of == 1 else Share(1, of).siblings()
    masks = np.stack([each.among(ids) for each in parts])
    assert (masks.sum(axis=0) == 1).all()
    sizes = masks.sum(axis=1)
    assert abs(sizes - 20_000 / of).max() < 6 * (20_000 / of) ** 0.5
    for share, mask in zip(parts, masks, strict=True):
        assert [share.has(bytes(each)) for each in ids[:300]] == mask[:300].tolist()


def test_face_ids_made_here_spread_evenly() -> None:
    counts = Counter(Share(1, 2).has(each) for each in records.known_id_bytes([name_id(n) for n in range(4_000)]))
    assert abs(counts[True] - 2_000) < 200


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/257", "-1/2", "1/2 ", "01/2", "1/2/3"])
def test_what_is_no_part(text: str) -> None:
    with pytest.raises(ShareError):
        Share.parse(text)


def test_covered_is_one_whole_partition() -> None:
    def shares(*texts: str) -> list[Share]:
        return [Share.parse(each) for each in texts]

    assert are_covered(shares("1/2", "2/2"))
    assert are_covered(shares("1/2", ""))
    assert are_covered(shares("1/3", "1/2", "2/3", "3/3"))
    assert not are_covered(shares("1/2", "2/3", "3/3"))
    assert not are_covered([])
    assert lacking(shares("1/3", "2/3", "1/2")) == [Share(2, 2)] or lacking(shares("1/3", "2/3")) == [Share(3, 3)]


def test_a_change_is_cut_to_a_part() -> None:
    ids = np.random.default_rng(2).integers(0, 256, (30, 16), dtype=np.uint8)
    templates = unit_rows(30, 8, 1).astype(np.float16)
    change = Change(1, 5, ids[:10], templates[:10], ids[10:20], templates[10:20], ids[20:])
    first, second = (each.of_change(change) for each in Share(1, 2).siblings())
    for name in ("added", "replaced", "removed"):
        both = np.concatenate([getattr(first, name), getattr(second, name)])
        assert sorted(map(bytes, both)) == sorted(map(bytes, getattr(change, name)))
    mask = Share(1, 2).among(change.added)
    assert (first.added_templates == templates[:10][mask]).all()
    assert first.revision == second.revision == 5


@pytest.mark.parametrize("part", ["1/2", "2/2", "2/3"])
def test_an_index_has_its_part_only_loaded_and_changed(tmp_path: Path, part: str) -> None:
    with of_part(tmp_path, part) as opened:
        opened.create()
        enrol(opened, range(300))
        assert ids_in(opened) == expected(part, range(300))
        enrol(opened, range(250, 400))  # fifty of them are there
        opened.gallery.erase(ACCOUNT, "c", [name_id(each) for each in range(40)], entry=entry())
        assert ids_in(opened) == expected(part, range(40, 400))
        verified = opened.gallery.verify_index(ACCOUNT, "c")
        assert verified.agrees
        assert opened.gallery.describe_index(ACCOUNT, "c").part == part
        assert opened.gallery.holding().part == part
    with of_part(tmp_path, part) as opened:
        assert ids_in(opened) == expected(part, range(40, 400))
        with opened.gallery._shelves.references.lent(1) as index:
            index.remove(records.id_rows([min(expected(part, range(40, 400)))]))
        assert opened.gallery.verify_index(ACCOUNT, "c").missing == 1


def test_files_are_of_the_part_and_those_of_another_are_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with of_part(tmp_path, "1/2") as opened:
        opened.create()
        enrol(opened, range(500))
        assert ids_in(opened) == expected("1/2", range(500))
        assert opened.gallery._shelves.keep(1, is_due=True)
        kept = opened.gallery.describe_index(ACCOUNT, "c")
        assert kept.files_revision == kept.revision
        opened.gallery.erase(ACCOUNT, "c", [name_id(each) for each in range(20)], entry=entry())
        enrol(opened, range(500, 520))
    with caplog.at_level(logging.WARNING):
        with of_part(tmp_path, "1/2") as opened:
            assert ids_in(opened) == expected("1/2", range(20, 520))
        assert not caplog.records  # opened, and caught up
        with of_part(tmp_path, "2/2") as opened:
            assert ids_in(opened) == expected("2/2", range(20, 520))
            assert "another part" in caplog.text
            assert opened.gallery.verify_index(ACCOUNT, "c").agrees
        with of_part(tmp_path, "") as opened:
            assert len(ids_in(opened)) == 500
