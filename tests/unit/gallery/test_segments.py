from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.congruence.samples import unit_rows

from countenance.gallery import segments
from countenance.gallery.segments import OFFSET, MemoryRows, Segment


def made(count: int, dimension: int, portion: int = 700) -> tuple[Segment, NDArray[np.float16]]:
    templates = unit_rows(count, dimension, [count, dimension]).astype(np.float16)
    face_ids = np.random.default_rng(count).integers(0, 256, (count, 16), dtype=np.uint8)

    def portions() -> Iterator[NDArray[np.float16]]:
        for start in range(0, count, portion):
            yield templates[start : start + portion]

    return Segment.build(face_ids, portions(), dimension), templates


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "BLOCK_ROWS", 1000)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("count", [1, 999, 1000, 1001, 4321])
@pytest.mark.parametrize("dimension", [24, 128])
def test_no_row_is_further_from_its_codes_than_said(count: int, dimension: int) -> None:
    segment, templates = made(count, dimension)
    assert sum(len(block.codes) for block in segment.blocks) == len(segment) == count
    for block in segment.blocks:
        rows = templates[block.start : block.start + len(block.codes)].astype(np.float64)
        rounded = (block.codes.astype(np.float64) - OFFSET) * block.scale
        assert np.linalg.norm(rows - rounded, axis=1).max() <= block.error < 0.05
        assert np.linalg.norm(rounded, axis=1).max() <= block.length < 1.05


@pytest.mark.usefixtures("small_blocks")
def test_a_segment_is_the_same_from_its_codes() -> None:
    segment, templates = made(2500, 32)
    again = Segment.from_codes(bytes(segment.codes()), segment.rows, 32)
    assert [(each.start, each.scale, each.error, each.length) for each in again.blocks] == [
        (each.start, each.scale, each.error, each.length) for each in segment.blocks
    ]
    for before, after in zip(segment.blocks, again.blocks, strict=True):
        np.testing.assert_array_equal(before.codes, after.codes)
    np.testing.assert_array_equal(again.rows.templates(np.array([7, 2400])), templates[[7, 2400]])


@pytest.mark.parametrize("cut", [0, 10, 63, 64, -1])
def test_torn_codes_are_refused(cut: int) -> None:
    segment, _ = made(50, 16)
    with pytest.raises(ValueError, match=r"torn|another"):
        Segment.from_codes(bytes(segment.codes())[:cut], segment.rows, 16)


def test_codes_of_another_segment_are_refused() -> None:
    segment, templates = made(50, 16)
    with pytest.raises(ValueError, match="another"):
        Segment.from_codes(segment.codes(), MemoryRows(segment.rows.face_ids[:49], templates[:49]), 16)
    with pytest.raises(ValueError, match="another"):
        Segment.from_codes(segment.codes(), segment.rows, 8)


def test_codes_that_promise_nonsense_are_refused() -> None:
    segment, _ = made(50, 16)
    damaged = bytearray(segment.codes())
    damaged[72:80] = np.float64("nan").tobytes()
    with pytest.raises(ValueError, match="damaged"):
        Segment.from_codes(damaged, segment.rows, 16)


def test_rows_given_elsewhere_are_not_kept_in_memory() -> None:
    segment, templates = made(400, 64)
    elsewhere = segment.rows
    lean = Segment.build(elsewhere.face_ids, [templates], 64, rows=elsewhere)
    assert lean.rows is elsewhere
    with pytest.raises(ValueError, match="as many"):
        Segment.build(elsewhere.face_ids, [templates[:-1]], 64)
    with pytest.raises(ValueError, match="as many"):
        Segment.build(elsewhere.face_ids, [templates, templates], 64)
    with pytest.raises(ValueError, match="fit"):
        Segment.build(elsewhere.face_ids, [templates[:, :-1]], 64)
