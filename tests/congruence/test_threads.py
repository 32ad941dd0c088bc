"""Eight threads enrol, erase and search one collection at once; what each was told must hold, then and after."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest

from countenance.gallery import identify
from countenance.gallery.index import IndexFactory, NumpyIndex, QuantisedIndex, default_index

from .samples import ACCOUNT, World, enrolments, entry, name_id, unit_rows, world

DIMENSION = 64
STANDING = 600  # rows that stay, so that the FAISS scan is in use from the start


def work(opened: World, thread: int, until: float, faults: list[str]) -> None:
    rng = np.random.default_rng([7, thread])
    mine: dict[str, np.ndarray] = {}
    at = 0
    while time.monotonic() < until and not faults:
        at += 1
        count = int(rng.integers(1, 6))
        names = [f"{thread}-{at}-{face}" for face in range(count)]
        rows = unit_rows(count, DIMENSION, [8, thread, at])
        opened.gallery.enrol(ACCOUNT, "c", enrolments(names, rows), entry=entry())
        mine.update(zip(map(name_id, names), rows, strict=True))
        for face_id, row in zip(map(name_id, names), rows, strict=True):
            best = opened.gallery.identify(ACCOUNT, "c", row[None, :], max_candidates=3)[0]
            if not best or best[0].reference.face_id != face_id or best[0].comparison_score < 0.999:
                faults.append(f"{face_id} was enrolled and is not found first")
        if rng.random() < 0.4:
            gone = [str(each) for each in rng.permutation(sorted(mine))[: int(rng.integers(1, 8))]]
            if set(opened.gallery.erase(ACCOUNT, "c", gone, entry=entry())) != set(gone):
                faults.append("an enrolled face was not there to be erased")
            probes = np.stack([mine.pop(face_id) for face_id in gone])
            for ranking in opened.gallery.identify(ACCOUNT, "c", probes, max_candidates=5):
                if {each.reference.face_id for each in ranking} & set(gone):
                    faults.append("an erased face was found")
                scores = [each.comparison_score for each in ranking]
                if scores != sorted(scores, reverse=True):
                    faults.append("candidates out of order")


def run(folder: Path, seconds: float, kind: IndexFactory = default_index) -> None:
    faults: list[str] = []
    with world(folder, index_factory=kind) as opened:
        opened.create(dimension=DIMENSION)
        opened.gallery.enrol(
            ACCOUNT, "c", enrolments(range(STANDING), unit_rows(STANDING, DIMENSION, 1)), entry=entry()
        )

        def guarded(thread: int) -> None:
            try:
                work(opened, thread, time.monotonic() + seconds, faults)
            except BaseException as failure:  # noqa: BLE001 - a thread must not die unseen
                faults.append(repr(failure))

        threads = [threading.Thread(target=guarded, args=(thread,)) for thread in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []
        probes = unit_rows(20, DIMENSION, 3)
        after = opened.gallery.identify(ACCOUNT, "c", probes, max_candidates=4096)
        loaded = opened.gallery.stats().loaded_references
        assert loaded == opened.gallery.collection(ACCOUNT, "c").face_count > STANDING
    with world(folder, index_factory=NumpyIndex) as opened:
        assert opened.gallery.identify(ACCOUNT, "c", probes, max_candidates=4096) == after


def test_eight_threads_for_a_few_seconds(tmp_path: Path) -> None:
    run(tmp_path, 4.0)


def test_eight_threads_share_scans_of_an_index_that_makes_segments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identify, "GATHERED_FROM_FEATURES", 0)
    run(tmp_path, 4.0, lambda dimension: QuantisedIndex(dimension, tail_rows=60))


@pytest.mark.slow
def test_eight_threads_for_a_minute(tmp_path: Path) -> None:
    run(tmp_path, 60.0)
