"""Several nodes on PostgreSQL beside the embedded file: the same searches, and how soon others see an enrolment.

Two galleries hold the same rows, one in a file and one in a real PostgreSQL of this machine, reached over TCP on the
loopback interface; their searches are interleaved. A second node has the same database open in a process of its own.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tests.postgres import Cluster

from bench import Section
from bench.search import ACCOUNT, CANDIDATES, create, enrolments, entry, opened
from bench.synthetic import PORTION, Faces
from countenance import relocation
from countenance.gallery import SqliteGallery
from countenance.store import Keyring
from countenance.store.postgres import PostgresDatabase

DIMENSION = 128
SIZES = (10_000, 100_000, 1_000_000)
PROBES = 200
INSERTS = 200
WITHIN, VISIBLE_MS = 1.10, 100.0


def run(quick: bool) -> Section:
    """All figures; without the million when `quick`."""
    section = Section("nodes", "PostgreSQL beside the embedded file (128 features, one machine)")
    section.notes += [
        f"identify: `Gallery.identify`, one probe, {CANDIDATES} candidates with their records, one thread, interleaved",
        "PostgreSQL 18 from a wheel, TCP on loopback, its defaults (fsync on); both on the same disk",
        "seen elsewhere: from an acknowledged enrolment to the end of a search at the other node that finds it",
    ]
    cluster = Cluster()
    try:
        cluster.start()
        section.notes.append(f"fdatasync of this disk: {_sync_ms():.2f} ms (median of 200)")
        with tempfile.TemporaryDirectory(prefix="bench-nodes-") as name:
            _compare(section, Path(name), cluster, SIZES[:2] if quick else SIZES)
    finally:
        cluster.remove()
    return section


@contextmanager
def node(folder: Path, url: str) -> Iterator[SqliteGallery]:
    """The gallery of one node."""
    folder.mkdir(exist_ok=True)
    database = PostgresDatabase(folder, url)
    gallery = SqliteGallery(database, Keyring.open(folder / "master.key", create=True))
    try:
        yield gallery
    finally:
        gallery.close()
        database.close()


def _compare(section: Section, folder: Path, cluster: Cluster, sizes: tuple[int, ...]) -> None:
    faces = Faces(DIMENSION)
    filled = 0
    with opened(folder) as file:
        create(file, "c")
    for size in sizes:
        with opened(folder) as file:
            for number in range(filled // PORTION, -(-size // PORTION)):
                rows = _of_length_one(faces.portion(number).templates)
                for at in range(0, PORTION, 10_000):
                    if filled <= number * PORTION + at < size:
                        made = enrolments(rows[at : at + 10_000], number * 10 + at // 10_000)
                        file.enrol(ACCOUNT, "c", made, entry=entry())
        filled = size
        url = cluster.create(f"bench{size}")
        begun = time.perf_counter()
        keyring = Keyring.open(folder / "master.key", create=False)
        done = relocation.copy(folder / "bench.db", url, is_owned=False, keyring=keyring, folder=folder)
        seconds = time.perf_counter() - begun
        section.add(f"{size:,} faces: copied to PostgreSQL and compared once", done.rows / seconds, "rows/s")
        beside = folder / f"node{size}"
        beside.mkdir()
        shutil.copy2(folder / "master.key", beside)
        with opened(folder) as file, node(beside, url) as shared:
            _searches(section, size, file, shared)
            if size == sizes[-1]:
                _inserts(section, file, shared)
                _elsewhere(section, folder, beside, url, shared)


def _of_length_one(templates: NDArray[np.float16]) -> NDArray[np.float32]:
    rows = templates.astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _searches(section: Section, size: int, file: SqliteGallery, shared: SqliteGallery) -> None:
    probes = Faces(DIMENSION).mated(PROBES)[0]
    spent = np.empty((PROBES, 2))
    for gallery in (file, shared):
        gallery.identify(ACCOUNT, "c", probes[:1], max_candidates=CANDIDATES)
    for at in range(PROBES):
        for which, gallery in enumerate((file, shared)):
            begun = time.perf_counter()
            gallery.identify(ACCOUNT, "c", probes[at : at + 1], max_candidates=CANDIDATES)
            spent[at, which] = time.perf_counter() - begun
    file_ms, shared_ms = map(float, np.median(spent, axis=0) * 1000)
    section.add(f"{size:,} faces: identify, file, p50", file_ms, "ms")
    section.add(f"{size:,} faces: identify, PostgreSQL, p50", shared_ms, "ms")
    section.at_most("  PostgreSQL over file", shared_ms / file_ms, "ratio", WITHIN)


def _inserts(section: Section, file: SqliteGallery, shared: SqliteGallery) -> None:
    rows = _of_length_one(Faces(DIMENSION, seed=9).portion(0, 2 * INSERTS).templates)
    spent = np.empty((INSERTS, 2))
    for at in range(INSERTS):
        for which, gallery in enumerate((file, shared)):
            made = enrolments(rows[2 * at + which : 2 * at + which + 1], 1_000_000 + 2 * at + which)
            begun = time.perf_counter()
            gallery.enrol(ACCOUNT, "c", made, entry=entry())
            spent[at, which] = time.perf_counter() - begun
    for name, milliseconds in zip(("file", "PostgreSQL"), np.median(spent, axis=0) * 1000, strict=True):
        section.add(f"durable enrolment of one face, {name}, p50", float(milliseconds), "ms")


def _elsewhere(section: Section, folder: Path, beside: Path, url: str, shared: SqliteGallery) -> None:
    """The other node is another process: a thread of this one would share its interpreter."""
    other = folder / "b"
    other.mkdir()
    shutil.copy2(beside / "master.key", other / "master.key")
    child = subprocess.Popen(
        [sys.executable, "-m", "bench.nodes", str(other), url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdin is not None
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    rows = _of_length_one(Faces(DIMENSION, seed=10).portion(0, INSERTS).templates)
    spent = []
    for at in range(INSERTS):
        made = enrolments(rows[at : at + 1], 2_000_000 + at)
        shared.enrol(ACCOUNT, "c", made, entry=entry())
        acknowledged = time.perf_counter()
        child.stdin.write(f"{made[0].reference.face_id} {rows[at].tobytes().hex()}\n")
        child.stdin.flush()
        assert child.stdout.readline() == "found\n", "an acknowledged enrolment was not found at the other node"
        spent.append(time.perf_counter() - acknowledged)
    child.stdin.close()
    child.wait(60)
    milliseconds = np.array(spent) * 1000
    section.at_most(
        "an enrolment seen at another node, p50",
        float(np.median(milliseconds)),
        "ms",
        VISIBLE_MS,
    )
    section.at_most("an enrolment seen at another node, p99", float(np.percentile(milliseconds, 99)), "ms", VISIBLE_MS)


def _sync_ms() -> float:
    spent = []
    with tempfile.NamedTemporaryFile(dir=".") as file:
        for _ in range(200):
            file.write(bytes(4096))
            file.flush()
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            spent.append(time.perf_counter() - begun)
    return float(np.median(spent)) * 1000


def _other_node(folder: Path, url: str) -> None:
    """Searches for what it is told to look for, until its input ends."""
    with node(folder, url) as gallery:
        gallery.identify(ACCOUNT, "c", Faces(DIMENSION).mated(1)[0], max_candidates=1)  # loads the index
        print("ready", flush=True)
        for line in sys.stdin:
            face_id, probe = line.split()
            rows = np.frombuffer(bytes.fromhex(probe), np.float32)[None, :]
            (found,) = gallery.identify(ACCOUNT, "c", rows, max_candidates=1)
            print("found" if found[0].reference.face_id == face_id else "missing", flush=True)


if __name__ == "__main__":
    _other_node(Path(sys.argv[1]), sys.argv[2])
