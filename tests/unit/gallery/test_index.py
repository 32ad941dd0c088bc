from __future__ import annotations

import numpy as np
import pytest
from tests.congruence.samples import unit_rows

from countenance.gallery import exact
from countenance.gallery.index import FaissIndex, Index, NumpyIndex, TieredIndex, default_index
from countenance.gallery.rows import TemplateRows

BOTH = pytest.mark.parametrize("kind", [NumpyIndex, FaissIndex])


def ids(*numbers: int) -> np.ndarray:
    return np.array([number.to_bytes(16, "big") for number in numbers], "V16").view(np.uint8).reshape(-1, 16)


def best(index: Index, probe: np.ndarray, count: int) -> list[int]:
    return [int.from_bytes(each, "big") for each in index.search(probe[None, :], count)[0].face_ids]


@BOTH
@pytest.mark.parametrize("size", [1, 17, 255, 256, 1000])
def test_rows_are_found_replaced_and_removed(kind: type[NumpyIndex | FaissIndex], size: int) -> None:
    rows = unit_rows(size + 1, 32, 1)
    templates = rows.astype(np.float16)
    index = kind(32)
    for start in range(0, size, 100):  # grows in steps
        index.add(ids(*range(start, min(start + 100, size))), templates[start : min(start + 100, size)])
    assert len(index) == size
    assert best(index, rows[size - 1], 1) == [size - 1]
    index.replace(ids(size - 1), templates[size:])
    assert best(index, rows[size], 1) == [size - 1]
    assert index.remove(ids(size - 1, 123456)) == 1
    assert len(index) == size - 1
    assert size - 1 not in best(index, rows[size], size)
    assert index.remove(ids(*range(size))) == size - 1
    assert best(index, rows[0], 5) == []


@BOTH
def test_memory_per_row_is_what_the_documentation_says(kind: type[NumpyIndex | FaissIndex]) -> None:
    index = kind(128)
    index.reserve(10_000)
    index.add(ids(*range(10_000)), unit_rows(10_000, 128, 1).astype(np.float16))
    assert index.nbytes == 10_000 * 272
    index.add(ids(10_000), unit_rows(1, 128, 2).astype(np.float16))
    assert index.nbytes <= 10_001 * 272 * 9 // 8
    index.remove(ids(*range(9_900)))
    assert index.nbytes < 10_000 * 272 // 8


@BOTH
def test_rows_survive_moving_between_small_and_large_memory(kind: type[NumpyIndex | FaissIndex]) -> None:
    templates = unit_rows(4000, 64, 1).astype(np.float16)
    index = kind(64)
    index.add(ids(*range(4000)), templates)
    for left in (900, 300, 40, 5):
        index.remove(ids(*range(left, 4000)))
        assert len(index) == left
        assert {bytes(each) for each in index._rows.templates} == {bytes(each) for each in templates[:left]}
    index.add(ids(*range(5, 4000)), templates[5:])
    assert best(index, templates[3999].astype(np.float32), 1) == [3999]


def test_removing_many_and_removing_few_take_the_same_rows() -> None:
    rng = np.random.default_rng(1)
    few, many = TemplateRows(4), TemplateRows(4)
    templates = rng.standard_normal((500, 4)).astype(np.float16)
    for rows in (few, many):
        rows.append(ids(*range(500)), templates)
    gone = rng.permutation(500)[:137]
    for at in gone:
        few.remove(ids(int(at)))
    many.remove(ids(*[int(at) for at in gone]))
    for rows in (few, many):
        left = {
            bytes(face_id): bytes(template) for face_id, template in zip(rows.face_ids, rows.templates, strict=True)
        }
        assert left == {bytes(ids(at)[0]): bytes(templates[at]) for at in range(500) if at not in set(gone.tolist())}


def test_ids_that_share_their_first_half_are_told_apart() -> None:
    rows = TemplateRows(2)
    rows.append(ids(1, 2, 3), np.array([[1, 1], [2, 2], [3, 3]], np.float16))
    assert rows.remove(ids(2)) == 1
    assert {bytes(each) for each in rows.face_ids} == {bytes(ids(1)[0]), bytes(ids(3)[0])}
    rows.append(ids(*range(10, 40)), np.zeros((30, 2), np.float16))
    assert rows.remove(ids(*range(20, 60))) == 20


def test_faiss_is_told_how_many_threads_in_the_thread_that_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    told: list[tuple[int, int]] = []
    monkeypatch.setattr(exact.faiss, "omp_set_num_threads", lambda count: told.append((threading.get_ident(), count)))
    index = FaissIndex(32, threads=3)
    index.add(ids(*range(300)), unit_rows(300, 32, 1).astype(np.float16))
    mine: list[int] = []

    def search() -> None:
        mine.append(threading.get_ident())
        index.search(unit_rows(1, 32, 2), 3)
        index.search(unit_rows(1, 32, 2), 3)

    threads = [threading.Thread(target=search) for _ in range(2)]
    for thread in threads:
        thread.start()
        thread.join()
    assert told == [(each, 3) for each in mine]


def test_without_faiss_the_default_is_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    index = default_index(8)
    assert isinstance(index, TieredIndex)
    assert isinstance(index.index, FaissIndex)
    monkeypatch.setattr(exact, "faiss", None)
    index = default_index(8)
    assert isinstance(index, TieredIndex)
    assert isinstance(index.index, NumpyIndex)
    with pytest.raises(RuntimeError, match="not installed"):
        FaissIndex(8)


def test_templates_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match="fit"):
        NumpyIndex(8).add(ids(1), np.zeros((1, 9), np.float16))


def test_half_precision_keeps_every_bit_through_faiss_memory() -> None:
    values = np.arange(65536, dtype=np.uint16).view(np.float16)
    values = values[np.isfinite(values)][: 63488 // 64 * 64].reshape(-1, 64)
    index = FaissIndex(64)
    index.add(ids(*range(len(values))), values)
    np.testing.assert_array_equal(index._rows.templates.view(np.uint16), values.view(np.uint16))


def test_faiss_scans_the_rows_where_they_lie() -> None:
    templates = unit_rows(400, 64, 1).astype(np.float16)
    chooser = exact.chooser_of(templates, None)
    assert int(chooser.codes.size()) == templates.nbytes
    probe = unit_rows(1, 64, 2)
    templates[123] = probe[0]  # a copy would not see it
    found = chooser.search(probe, 1)
    assert found[1].tolist() == [[123]]
    assert found[0][0, 0] == pytest.approx(1, abs=1e-3)
    del chooser
    assert templates[123].tobytes() == probe[0].astype(np.float16).tobytes()
