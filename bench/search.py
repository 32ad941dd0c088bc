"""One-to-many search through the gallery beside FAISS itself, bulk enrolment, rebuild and memory.

The faces are synthetic: no real gallery of a million may be shipped. Each identity has a centre, part of it in
a subspace of 48 dimensions and part anywhere; its samples lie around the centre. With these numbers genuine
scores have a median near 0.7 and the best of a million impostors is near 0.45, as measured on real features.
Real galleries have clusters by age and sex that these lack; an exact scan does not care.

The gallery runs as shipped: durable writes, sealed templates, the default index. Memory is measured in fresh
processes that only open the folder.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from bench import Section, machine
from countenance.biometrics import BoundingBox, Reference
from countenance.gallery import Enrolment, SqliteGallery
from countenance.store import Entry, Keyring, SqliteDatabase

ACCOUNT = "111122223333"
MODEL = "synthetic-128"
DIMENSION = 128  # of the default model's features
CANDIDATES = 10
SAMPLES = 2  # per identity
SIZES = (10_000, 100_000, 1_000_000)
PORTION = 5_000  # faces in one bulk enrolment, one transaction
PROBES = 200
SEARCHERS, SECONDS = 64, 4.0
SMALL_COLLECTIONS, SMALL_FACES = 10_000, 10


class Population:
    """Identities whose samples can be made in any portion, again and again."""

    def __init__(self, seed: int = 1) -> None:
        self._seed = seed
        self._plane = np.random.default_rng(seed).standard_normal((48, DIMENSION)).astype(np.float32) / 48**0.5

    def samples(self, first: int, count: int, sample: int) -> NDArray[np.float32]:
        """One sample each of `count` identities from number `first`, (count, 128) of length 1."""
        centre_rng = np.random.default_rng([self._seed, first])
        plane = centre_rng.standard_normal((count, 48)).astype(np.float32) @ self._plane
        centres = 0.5 * plane + 0.87 * centre_rng.standard_normal((count, DIMENSION)).astype(np.float32)
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
        noise = np.random.default_rng([self._seed, first, sample]).standard_normal((count, DIMENSION))
        rows = centres + 0.65 * noise.astype(np.float32) / DIMENSION**0.5
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def entry() -> Entry:
    """What a bulk enrolment leaves in the outbox."""
    return Entry("IndexFaces", ACCOUNT, "", "bench", datetime.now(UTC), {"faces": PORTION})


def enrolments(rows: NDArray[np.float32], seed: int) -> list[Enrolment]:
    """Ready templates: one face an image."""
    ids = np.random.default_rng([3, seed]).bytes(32 * len(rows))
    at = datetime.now(UTC)
    return [
        Enrolment(
            Reference(
                face_id=str(uuid.UUID(bytes=ids[32 * each : 32 * each + 16])),
                image_id=str(uuid.UUID(bytes=ids[32 * each + 16 : 32 * each + 32])),
                external_image_id=f"photo-{seed}-{each}.jpg",
                box=BoundingBox(0.25, 0.25, 0.5, 0.5),
                detection_confidence=99.0,
                model_version=MODEL,
                enrolled_at=at,
            ),
            row,
        )
        for each, row in enumerate(rows)
    ]


@contextmanager
def opened(folder: Path, **options: Any) -> Iterator[SqliteGallery]:
    """The gallery in a folder, as the server opens it."""
    database = SqliteDatabase(folder / "bench.db")
    gallery = SqliteGallery(database, Keyring.open(folder / "master.key", create=True), **options)
    try:
        yield gallery
    finally:
        gallery.close()
        database.close()


def create(gallery: SqliteGallery, name: str) -> None:
    """An empty collection."""
    gallery.create_collection(ACCOUNT, name, model_version=MODEL, dimension=DIMENSION, tags={}, entry=entry())


def run(quick: bool) -> Section:
    """All figures; without the million and with a tenth of the small collections when `quick`."""
    section = Section("search", "1:N search, bulk enrolment and memory of the gallery (128 features)")
    section.notes += [
        f"identify: `Gallery.identify`, one probe, {CANDIDATES} candidates with their records, one thread",
        f"{SEARCHERS} searchers: as many threads, each its own probe again and again",
        "raw FAISS: IndexScalarQuantizer(QT_fp16, inner product).search of the same probe and rows, interleaved",
        "recall@1: the first candidate is the first of an exact float32 search over the unrounded features",
        f"bulk enrolment: ready templates, one collection growing, transactions of {PORTION:,} faces, synchronous=FULL",
    ]
    sizes = SIZES[:2] if quick else SIZES
    with tempfile.TemporaryDirectory(prefix="bench-search-") as name:
        folder = Path(name)
        _empty(section, folder)
        _grow(section, folder, sizes)
    with tempfile.TemporaryDirectory(prefix="bench-small-") as name:
        _small(section, Path(name), SMALL_COLLECTIONS // 10 if quick else SMALL_COLLECTIONS)
    return section


def _empty(section: Section, folder: Path) -> None:
    with opened(folder) as gallery:
        create(gallery, "c")
    section.add("resident, gallery open, 0 faces", _in_new_process("reopen", folder)["after_mib"], "MiB", "no models")


def _grow(section: Section, folder: Path, sizes: tuple[int, ...]) -> None:
    people = Population()
    probes = people.samples(0, PORTION // SAMPLES, SAMPLES)[:PROBES]  # new samples of the first people
    truth = _Truth(probes)
    codes = np.empty((sizes[-1], DIMENSION), np.float16)
    stored = 0
    for size in sizes:
        started_at, spent = stored, 0.0
        with opened(folder) as gallery:
            while stored < size:
                identities = PORTION // SAMPLES
                first = stored // SAMPLES
                rows = np.concatenate([people.samples(first, identities, each) for each in range(SAMPLES)])
                faces = enrolments(rows, stored)
                begun = time.perf_counter()
                gallery.enrol(ACCOUNT, "c", faces, entry=entry())
                spent += time.perf_counter() - begun
                truth.meet(rows, [each.reference.face_id for each in faces])
                codes[stored : stored + PORTION] = rows.astype(np.float16)
                stored += PORTION
            section.add(f"bulk enrolment, {started_at:,} to {size:,}", (size - started_at) / spent, "faces/s")
        reopened = _in_new_process("reopen", folder)
        section.add(f"rebuild of the index, {size:,} faces", reopened["seconds"], "s", "from the sealed rows")
        section.add("  resident before, gallery open", reopened["before_mib"], "MiB", "no models")
        section.add("  resident after", reopened["after_mib"], "MiB")
        section.add("  database on disk", (folder / "bench.db").stat().st_size / 2**20, "MiB")
        _speed(section, folder, codes[:size], probes, truth)


class _Truth:
    """The best enrolled face of each probe by float32 product, kept while faces arrive."""

    def __init__(self, probes: NDArray[np.float32]) -> None:
        self._probes = probes
        self._best = np.full(len(probes), -2.0, np.float32)
        self.face_ids = [""] * len(probes)

    def meet(self, rows: NDArray[np.float32], face_ids: list[str]) -> None:
        scores = self._probes @ rows.T
        winners = scores.argmax(axis=1)
        for probe, winner in enumerate(winners):
            if scores[probe, winner] > self._best[probe]:
                self._best[probe] = scores[probe, winner]
                self.face_ids[probe] = face_ids[winner]


def _speed(
    section: Section, folder: Path, codes: NDArray[np.float16], probes: NDArray[np.float32], truth: _Truth
) -> None:
    raw = faiss.IndexScalarQuantizer(DIMENSION, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    raw.add_sa_codes(codes.view(np.uint8))
    faiss.omp_set_num_threads(1)
    with opened(folder) as gallery:
        gallery.warm()
        ours: list[float] = []
        theirs: list[float] = []
        hits = 0
        for probe, expected in zip(probes, truth.face_ids, strict=True):
            begun = time.perf_counter()
            raw.search(probe[None, :], CANDIDATES)
            between = time.perf_counter()
            (found,) = gallery.identify(ACCOUNT, "c", probe[None, :], max_candidates=CANDIDATES)
            ended = time.perf_counter()
            theirs.append(between - begun)
            ours.append(ended - between)
            hits += found[0].reference.face_id == expected
        begun = time.perf_counter()
        gallery.identify(ACCOUNT, "c", probes[:1], max_candidates=4096)
        widest = time.perf_counter() - begun
        together = _together(gallery, probes[:SEARCHERS])
    size = f"{len(codes):,} faces"
    for name, seconds in (("identify", ours), ("raw FAISS", theirs)):
        milliseconds = np.array(seconds) * 1000
        section.add(f"{name}, {size}, p50", float(np.percentile(milliseconds, 50)), "ms")
        section.add("  p99", float(np.percentile(milliseconds, 99)), "ms")
    ratio = float(np.median(ours) / np.median(theirs))
    section.add("  identify p50 / raw FAISS p50", ratio, "ratio")
    section.add(f"identify, {size}, {SEARCHERS} searchers", together, "searches/s", "records read as well")
    section.add("  together / one by one", together * float(np.median(ours)), "ratio")
    section.add(f"identify, {size}, 4,096 candidates, once", widest * 1000, "ms", "4,096 records read")
    section.add(f"recall@1 against exact, {size}", hits / len(probes), "", f"{hits} of {len(probes)} probes")


def _together(gallery: SqliteGallery, probes: NDArray[np.float32]) -> float:
    """Searches a second of as many threads as probes."""
    counts = [0] * len(probes)
    until = time.perf_counter() + SECONDS

    def search(at: int) -> None:
        while time.perf_counter() < until:
            gallery.identify(ACCOUNT, "c", probes[at : at + 1], max_candidates=CANDIDATES)
            counts[at] += 1

    threads = [threading.Thread(target=search, args=(at,)) for at in range(len(probes))]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / (time.perf_counter() - begun)


def _small(section: Section, folder: Path, count: int) -> None:
    people = Population(2)
    with opened(folder) as gallery:

        def fill(first: int) -> None:
            for number in range(first, count, 8):
                create(gallery, f"c{number}")
                faces = enrolments(people.samples(number * SMALL_FACES, SMALL_FACES, 0), number)
                gallery.enrol(ACCOUNT, f"c{number}", faces, entry=entry())

        threads = [threading.Thread(target=fill, args=(first,)) for first in range(8)]
        begun = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.perf_counter() - begun
    what = f"{count:,} collections of {SMALL_FACES} faces"
    section.add(f"{what}, made", seconds, "s", "8 threads, two durable calls each")
    kept = _in_new_process("small", folder, count, 0)
    section.add("  resident, gallery open", kept["before_mib"], "MiB", "no models")
    section.add("  resident after a search in each", kept["after_mib"], "MiB", f"{kept['loaded']:.0f} indexes kept")
    section.add("  first search in a collection", kept["seconds"] / count * 1000, "ms", "loads and opens its faces")
    everything = _in_new_process("small", folder, count, count)
    section.add("  resident with every index kept", everything["after_mib"], "MiB", "not the default")


def _in_new_process(task: str, folder: Path, *numbers: int) -> dict[str, float]:
    printed = subprocess.run(
        [sys.executable, "-m", "bench.search", task, str(folder), *map(str, numbers)],
        check=True,
        capture_output=True,
        cwd=Path(__file__).resolve().parent.parent,
    ).stdout
    answer: dict[str, float] = json.loads(printed)
    return answer


def _reopen(folder: Path) -> dict[str, float]:
    with opened(folder) as gallery:
        before = machine.resident_mib(os.getpid())
        report = gallery.warm()
        after = machine.resident_mib(os.getpid())
    return {"before_mib": before, "after_mib": after, "seconds": report.seconds}


def _search_each(folder: Path, count: int, keep: int) -> dict[str, float]:
    probe = Population(2).samples(0, 1, 1)
    with opened(folder, **({"keep_small": keep} if keep else {})) as gallery:
        before = machine.resident_mib(os.getpid())
        begun = time.perf_counter()
        for number in range(count):
            gallery.identify(ACCOUNT, f"c{number}", probe, max_candidates=CANDIDATES)
        seconds = time.perf_counter() - begun
        after = machine.resident_mib(os.getpid())
        loaded = gallery.stats().loaded_collections
    return {"before_mib": before, "after_mib": after, "seconds": seconds, "loaded": loaded}


if __name__ == "__main__":
    if sys.argv[1] == "reopen":
        print(json.dumps(_reopen(Path(sys.argv[2]))))
    else:
        print(json.dumps(_search_each(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))))
