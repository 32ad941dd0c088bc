"""From exec to ready, and resident memory, with nothing enrolled and with a million faces."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from bench import Section, machine
from bench.search import ACCOUNT as BENCH_ACCOUNT
from bench.search import PORTION, SAMPLES, Population, create, enrolments, entry
from bench.serving import served
from countenance.assembly import open_admin
from countenance.config import Settings
from countenance.gallery import INDEX_FOLDER, SqliteGallery
from countenance.gallery.index_manifest import MANIFEST

STARTS, QUICK_STARTS = 5, 3
FACES, QUICK_FACES = 1_000_000, 100_000
COLLECTION = "c"
WITHOUT_FILES = {"INDEX_FILES_FROM": "0"}
WITH_FILES = {"INDEX_FILES_FROM": "50000", "INDEX_QUANTISED_FROM": "50000"}
FILES_LIMIT_S = 600


def run(quick: bool) -> Section:
    """Starts of a server on an empty folder, on a used one and on a full one."""
    faces = QUICK_FACES if quick else FACES
    starts = QUICK_STARTS if quick else STARTS
    section = Section("startup", "Start-up and resident memory of the server")
    section.notes += [
        "Time from exec to the first 200 of /readyz, asked for every 10 ms. Resident memory is VmRSS of the server's "
        "process once ready, before the first call; the files are in the page cache.",
        f"{faces:,} faces: ready templates enrolled in bulk into one collection, sealed as any other. The index is "
        "rebuilt from them on every start without index files, and opened from those with them.",
    ]
    with tempfile.TemporaryDirectory(prefix="countenance-bench-") as name:
        data = Path(name) / "data"
        with served(data) as server:
            section.add("first start on an empty folder", server.ready_s, "s", "makes keys and folds the models")
        empty_s, empty_mib, _ = _starts(data, starts)
        section.add("start to ready, 0 faces", statistics.median(empty_s), "s", _spread(empty_s))
        section.add("resident, 0 faces", statistics.median(empty_mib), "MiB")
        enrolled_s = _enrol(data, faces)
        section.add(f"bulk enrolment of {faces:,} faces", faces / enrolled_s, "faces/s")
        full_s, full_mib, rebuilds = _starts(data, min(starts, 3), **WITHOUT_FILES)
        section.add(f"start to ready, {faces:,} faces", statistics.median(full_s), "s", _spread(full_s))
        section.add("  of it the index, as announced", statistics.median(rebuilds), "s")
        section.add(f"resident, {faces:,} faces", statistics.median(full_mib), "MiB")
        grown = (statistics.median(full_mib) - statistics.median(empty_mib)) * 2**20 / faces
        section.add("  bytes of memory a face", grown, "bytes", "256 of them are the fp16 features")
        size = sum(path.stat().st_size for path in data.glob("countenance.db*"))
        section.add("  bytes on disk a face", size / faces, "bytes", "database and write-ahead log")
        section.add("index files written after", _write_files(data), "s", "the start to ready, in the background")
        kept_s, kept_mib, opened = _starts(data, min(starts, 3), **WITH_FILES)
        section.add(
            f"start to ready from index files, {faces:,} faces", statistics.median(kept_s), "s", _spread(kept_s)
        )
        section.add("  of it the index, as announced", statistics.median(opened), "s")
        section.add(f"resident, {faces:,} faces", statistics.median(kept_mib), "MiB")
        size = sum(path.stat().st_size for path in (data / INDEX_FOLDER).glob("*/*"))
        section.add("  bytes of index files a face", size / faces, "bytes")
    return section


def _write_files(data: Path) -> float:
    """Starts a server that has no index files and waits until it has; the seconds from ready."""
    with served(data, **WITH_FILES):
        started = time.perf_counter()
        while not list((data / INDEX_FOLDER).glob(f"*/{MANIFEST}")):
            if time.perf_counter() - started > FILES_LIMIT_S:
                raise RuntimeError("the server wrote no index files")
            time.sleep(0.01)
        return time.perf_counter() - started


def _starts(data: Path, count: int, **settings: str) -> tuple[list[float], list[float], list[float]]:
    """Seconds to ready, resident MiB and seconds of the rebuild, of each start."""
    ready_s, resident, rebuilds = [], [], []
    for _ in range(count):
        with served(data, **settings) as server:
            ready_s.append(server.ready_s)
            rebuilds.append(server.rebuild_s())
            resident.append(machine.resident_mib(server.process.pid))
    return ready_s, resident, rebuilds


def _enrol(data: Path, faces: int) -> float:
    """Fills one collection while no server runs; the seconds that the gallery took."""
    people = Population()
    taken = 0.0
    with open_admin(Settings(data_dir=data)) as register:
        gallery = SqliteGallery(register.database, register.keyring)
        try:
            create(gallery, COLLECTION)
            for stored in range(0, faces, PORTION):
                rows = people.samples(stored // SAMPLES, PORTION, 0)
                ready = enrolments(rows, stored)
                started = time.perf_counter()
                gallery.enrol(BENCH_ACCOUNT, COLLECTION, ready, entry=entry())
                taken += time.perf_counter() - started
        finally:
            gallery.close()
    return taken


def _spread(seconds: list[float]) -> str:
    return f"median of {len(seconds)}, {min(seconds):.2f} to {max(seconds):.2f}"
