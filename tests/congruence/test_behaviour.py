"""One behaviour script, run on every index: same ids, same order, same scores, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from countenance.gallery.index import FaissIndex, Index, NumpyIndex

from .samples import ACCOUNT, enrolments, entry, name_id, unit_rows, world

DIMENSION = 24
KINDS: dict[str, Callable[[int], Index]] = {"numpy": NumpyIndex, "faiss": FaissIndex}


def script(folder: Path, kind: Callable[[int], Index]) -> list[Any]:
    """What a caller sees of a gallery that is filled, searched, thinned out, changed and opened again."""
    seen: list[Any] = []
    rng = np.random.default_rng(11)
    rows = unit_rows(900, DIMENSION, 1)
    rows[300:380] = rows[300]  # eighty people with one face: ties, more of them than are asked for
    rows[380:400] = np.nextafter(rows[300], np.float32(2))  # and twenty that tie only after rounding to fp16
    probes = np.concatenate([unit_rows(12, DIMENSION, 2), rows[300:301], rows[5:6]])

    def search(opened: Any) -> None:
        for count in (1, 7, 50, 100, 4096):
            answer = opened.gallery.identify(ACCOUNT, "c", probes, max_candidates=count, exclude_face_id=name_id(5))
            seen.append([[(each.reference.face_id, each.comparison_score) for each in one] for one in answer])
        single = opened.gallery.identify(ACCOUNT, "c", probes[:1], max_candidates=50, minimum_score=0.2)
        seen.append([(each.reference.face_id, each.comparison_score) for each in single[0]])

    with world(folder, index_factory=kind) as opened:
        opened.create(dimension=DIMENSION)
        for start in range(0, 900, 90):
            names = list(range(start, start + 90))
            opened.gallery.enrol(ACCOUNT, "c", enrolments(names, rows[start : start + 90]), entry=entry())
            search(opened)
        for portion in np.array_split(rng.permutation(900), 6)[:4]:
            seen.append(opened.gallery.erase(ACCOUNT, "c", [name_id(int(at)) for at in portion], entry=entry()))
            search(opened)
        again = unit_rows(40, DIMENSION, 3)
        opened.gallery.enrol(ACCOUNT, "c", enrolments(range(860, 900), again), entry=entry())
        search(opened)
    with world(folder, index_factory=kind) as opened:
        search(opened)
    return seen


def test_every_index_gives_the_same_answers(tmp_path: Path) -> None:
    answers = {}
    for name, kind in KINDS.items():
        (tmp_path / name).mkdir()
        answers[name] = script(tmp_path / name, kind)
    assert len(answers["numpy"]) > 80
    for at, (expected, found) in enumerate(zip(answers["numpy"], answers["faiss"], strict=True)):
        assert found == expected, f"observation {at}"


@pytest.mark.parametrize("dimension", [8, 20, 128, 512])
@pytest.mark.parametrize("copies", [1, 40, 3000])
def test_the_scan_agrees_with_the_oracle_whatever_ties(dimension: int, copies: int) -> None:
    """With many copies of one face the places asked for end inside a tie, which a plain scan breaks anyhow."""
    size = 3000
    rng = np.random.default_rng([dimension, copies])
    templates = unit_rows(size // copies, dimension, [1, dimension]).repeat(copies, axis=0).astype(np.float16)
    face_ids = rng.integers(0, 256, (len(templates), 16), dtype=np.uint8)
    oracle, scan = NumpyIndex(dimension), FaissIndex(dimension)
    for index in (oracle, scan):
        index.add(face_ids, templates)
    probes = np.concatenate([unit_rows(4, dimension, 2), templates[:2].astype(np.float32)])
    for count in (1, 10, 39, 100, size):
        assert scan.search(probes, count) == oracle.search(probes, count)


def test_one_by_one_and_together_give_the_same(tmp_path: Path) -> None:
    index = FaissIndex(128)
    index.add(
        np.random.default_rng(1).integers(0, 256, (2000, 16), dtype=np.uint8),
        unit_rows(2000, 128, 1).astype(np.float16),
    )
    probes = unit_rows(64, 128, 2)
    assert index.search(probes, 20) == [index.search(probe[None, :], 20)[0] for probe in probes]
