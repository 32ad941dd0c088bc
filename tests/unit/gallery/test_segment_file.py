from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.congruence.samples import unit_rows

from countenance.gallery import segment_file, segment_format
from countenance.gallery.sealed_rows import SealedRows
from countenance.gallery.sealing import CollectionSeal
from countenance.gallery.segment_file import SegmentFile
from countenance.gallery.segment_format import Header, SegmentFileUnusable
from countenance.gallery.segments import Segment

COUNT = 700
IDS = np.random.default_rng(3).integers(1, 255, (COUNT, 16), np.uint8)
ROWS = unit_rows(COUNT, 16, 3).astype(np.float16)
SEGMENT = Segment.build(IDS, [ROWS], 16)


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_format, "CHUNK", 1_000)
    monkeypatch.setattr(segment_file, "CHUNK", 1_000)  # rows lie across two of them


def sealer(key: bytes = b"k" * 32) -> CollectionSeal:
    return CollectionSeal(key, account_id="1", collection_id="c", model_version="m")


def draft(folder: Path) -> SegmentFile:
    codes = SEGMENT.codes()
    header = Header(7, "m", 16, 5, COUNT, codes.nbytes)
    return segment_file.draft(folder, sealer(), header, IDS, codes, [ROWS[:300], ROWS[300:]])


def made(folder: Path) -> Path:
    file = draft(folder)
    file.publish()
    return file.path


def nothing(_: Sequence[bytes]) -> dict[bytes, np.ndarray]:
    return {}


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    file = segment_file.open_file(made(tmp_path), sealer())
    assert file.header == Header(7, "m", 16, 5, COUNT, SEGMENT.codes().nbytes)
    assert np.array_equal(file.face_ids(), IDS)
    assert file.codes().tobytes() == SEGMENT.codes().tobytes()
    codes = file.codes()
    rows = SealedRows(file, file.face_ids(), nothing)
    chosen = np.array([699, 0, 350])
    assert np.array_equal(rows.templates(chosen), ROWS[chosen])
    segment = Segment.from_codes(codes, rows, 16)
    assert len(segment) == COUNT
    assert file.path.stat().st_size == file.size
    assert oct(file.path.stat().st_mode & 0o777) == "0o600"
    assert [each.name for each in tmp_path.iterdir()] == [file.name]


def test_neither_a_template_nor_a_face_id_nor_codes_are_in_the_clear(tmp_path: Path) -> None:
    content = made(tmp_path).read_bytes()
    codes = SEGMENT.codes().tobytes()
    for at in range(COUNT):
        assert ROWS[at].tobytes() not in content
        assert ROWS[at].tobytes()[:8] not in content
        assert IDS[at].tobytes() not in content
        assert codes[-16 * (at + 1) :][:16] not in content
    assert b'"m"' not in content


def test_an_erased_row_is_gone_from_the_file_and_the_others_stay(tmp_path: Path) -> None:
    path = made(tmp_path)
    file = segment_file.open_file(path, sealer())
    file.erase([0, 63, 350, 699])
    again = segment_file.open_file(path, sealer())
    ids, codes = again.face_ids(), again.codes()[-16 * COUNT :].reshape(COUNT, 16)
    table = again.codes()[: -16 * COUNT]
    rows = SealedRows(again, ids, nothing).templates(np.arange(COUNT))
    expected_codes = np.frombuffer(SEGMENT.codes(), np.uint8)[-16 * COUNT :].reshape(COUNT, 16)
    for at in range(COUNT):
        if at in (0, 63, 350, 699):
            assert not ids[at].any()
            assert not rows[at].any()
            assert (codes[at] == 128).all()
            assert again.row(at) is None
        else:
            assert np.array_equal(ids[at], IDS[at])
            assert np.array_equal(rows[at], ROWS[at])
            assert np.array_equal(codes[at], expected_codes[at])
    assert np.array_equal(
        table, np.frombuffer(SEGMENT.codes(), np.uint8)[: -16 * COUNT]
    )  # scales and all that is not of one row


def test_rows_that_are_erased_while_they_are_read_come_from_the_database(tmp_path: Path) -> None:
    path = made(tmp_path)
    file = segment_file.open_file(path, sealer())
    asked: list[bytes] = []

    def stored(face_ids: Sequence[bytes]) -> dict[bytes, np.ndarray]:
        asked.extend(face_ids)
        return {face_ids[0]: ROWS[9]}

    rows = SealedRows(file, file.face_ids(), stored)
    start = file.size - 2 * (2 * 16 + 28)
    with path.open("r+b") as raw:
        raw.seek(start + 20)
        raw.write(b"torn")
    found = rows.templates(np.array([COUNT - 2, COUNT - 1]))
    assert asked == [IDS[COUNT - 2].tobytes()]
    assert np.array_equal(found, ROWS[[9, COUNT - 1]])


def test_a_draft_is_opened_by_nobody_and_erased_from_before_it_is_published(tmp_path: Path) -> None:
    file = draft(tmp_path)
    with pytest.raises(SegmentFileUnusable):
        segment_file.open_file(file.path, sealer())
    assert file.path.read_bytes()[: segment_format.PAGE] == bytes(segment_format.PAGE)
    file.erase([5])
    file.publish()
    assert not segment_file.open_file(file.path, sealer()).face_ids()[5].any()


def test_a_file_that_is_given_up_is_of_no_use_even_to_who_kept_its_bytes(tmp_path: Path) -> None:
    path = made(tmp_path)
    kept = tmp_path / "link"
    os.link(path, kept)
    file = segment_file.open_file(path, sealer())
    file.give_up()
    assert not path.exists()
    with pytest.raises(SegmentFileUnusable):
        segment_file.open_file(kept, sealer())


@pytest.mark.parametrize("other", [sealer(b"x" * 32)])
def test_another_key_opens_nothing(tmp_path: Path, other: CollectionSeal) -> None:
    with pytest.raises(SegmentFileUnusable):
        segment_file.open_file(made(tmp_path), other)


@pytest.mark.parametrize("at", [0, 10, 40, 100])
def test_a_header_that_was_altered_does_not_open(tmp_path: Path, at: int) -> None:
    path = made(tmp_path)
    with path.open("r+b") as raw:
        raw.seek(at)
        was = raw.read(1)[0]
        raw.seek(at)
        raw.write(bytes([was ^ 1]))
    with pytest.raises(SegmentFileUnusable):
        segment_file.open_file(path, sealer())


def test_a_file_that_was_cut_or_torn_does_not_pass(tmp_path: Path) -> None:
    path = made(tmp_path)
    size = path.stat().st_size
    os.truncate(path, size - 1)
    with pytest.raises(SegmentFileUnusable):
        segment_file.open_file(path, sealer())
    path = made(tmp_path)
    with path.open("r+b") as raw:
        raw.seek(segment_format.PAGE + 500)
        raw.write(b"torn")
    file = segment_file.open_file(path, sealer())
    with pytest.raises(SegmentFileUnusable):
        file.face_ids()
    with pytest.raises(SegmentFileUnusable):
        file.erase([1])


def test_parts_that_change_places_do_not_open(tmp_path: Path) -> None:
    path = made(tmp_path)
    content = bytearray(path.read_bytes())
    one, two = slice(4096, 4096 + 1028), slice(4096 + 1028, 4096 + 2056)
    content[one], content[two] = content[two], content[one]
    path.write_bytes(content)
    with pytest.raises(SegmentFileUnusable):
        segment_file.open_file(path, sealer()).face_ids()


def test_what_fails_while_it_is_written_leaves_nothing(tmp_path: Path) -> None:
    codes = SEGMENT.codes()
    for header, ids in ((Header(7, "m", 16, 5, COUNT + 1, codes.nbytes), IDS), (Header(7, "m", 16, 5, 1, 3), IDS[:1])):
        with pytest.raises(ValueError, match="as many rows"):
            segment_file.draft(tmp_path, sealer(), header, ids, codes, [ROWS[: len(ids)]])
    assert list(tmp_path.iterdir()) == []
