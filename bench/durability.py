"""What durability costs: enrolments that survive a power cut, beside what the disk needs for one sync."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from bench import Section
from bench.search import ACCOUNT, Population, create, enrolments, entry, opened

CALLS = 300
BLOCK = 4096  # bytes: one page of the database


def run(quick: bool) -> Section:
    """The syncs of this disk and one-face enrolments in turn, then enrolments from eight threads."""
    calls = CALLS // 3 if quick else CALLS
    section = Section("durability", "Durable enrolment")
    section.notes += [
        "fdatasync, appending: 4 KiB added to a file and synced, on the file system of the temporary folder",
        "fdatasync, in place: 4 KiB of a file that is long enough already, as SQLite's log is most of the time",
        "durable enrolment: `Gallery.enrol` of one face, sealed, with its outbox row, synchronous=FULL; it has "
        "been synced when it returns. The three are measured in turn, one call each",
        "group commit: calls that arrive during a sync share the next one",
    ]
    with tempfile.TemporaryDirectory(prefix="bench-durability-") as name:
        folder = Path(name)
        appended, overwritten, single = _in_turn(folder, calls)
        many, rate = _together(folder, threads=8, calls=calls)
    _percentiles(section, "fdatasync, appending", appended)
    _percentiles(section, "fdatasync, in place", overwritten)
    _percentiles(section, "durable enrolment, 1 thread", single)
    section.add("  p50 / p50 of fdatasync, appending", float(np.median(single) / np.median(appended)), "ratio")
    section.add("  p50 / p50 of fdatasync, in place", float(np.median(single) / np.median(overwritten)), "ratio")
    _percentiles(section, "durable enrolment, 8 threads", many)
    section.add("  enrolments a second, 8 threads", rate, "faces/s", f"1 thread: {1 / np.mean(single):,.0f}")
    return section


def _percentiles(section: Section, name: str, seconds: list[float]) -> None:
    milliseconds = np.array(seconds) * 1000
    section.add(f"{name}, p50", float(np.percentile(milliseconds, 50)), "ms")
    section.add("  p99", float(np.percentile(milliseconds, 99)), "ms")


def _synced(handle: int, offset: int) -> float:
    begun = time.perf_counter()
    os.pwrite(handle, bytes(BLOCK), offset)
    os.fdatasync(handle)
    return time.perf_counter() - begun


def _in_turn(folder: Path, calls: int) -> tuple[list[float], list[float], list[float]]:
    """Seconds of each appending sync, each sync in place and each enrolment."""
    people = Population(5)
    appended, overwritten, enrolled = [], [], []
    handle = os.open(folder / "synced", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        with opened(folder) as gallery:
            create(gallery, "c")
            gallery.identify(ACCOUNT, "c", people.samples(0, 1, 0), max_candidates=1)  # the index is in memory
            for at, face in enumerate(enrolments(people.samples(0, calls, 0), 0)):
                appended.append(_synced(handle, at * BLOCK))
                overwritten.append(_synced(handle, at * BLOCK))
                begun = time.perf_counter()
                gallery.enrol(ACCOUNT, "c", [face], entry=entry())
                enrolled.append(time.perf_counter() - begun)
    finally:
        os.close(handle)
    return appended, overwritten, enrolled


def _together(folder: Path, *, threads: int, calls: int) -> tuple[list[float], float]:
    """Seconds of each enrolment from several threads, and faces a second over all of them."""
    people = Population(6)
    taken: list[float] = []
    with opened(folder) as gallery:
        create(gallery, "d")
        gallery.identify(ACCOUNT, "d", people.samples(0, 1, 0), max_candidates=1)
        work = [enrolments(people.samples(each * calls, calls, 0), each) for each in range(threads)]

        def enrol(thread: int) -> None:
            for face in work[thread]:
                begun = time.perf_counter()
                gallery.enrol(ACCOUNT, "d", [face], entry=entry())
                taken.append(time.perf_counter() - begun)

        running = [threading.Thread(target=enrol, args=(thread,)) for thread in range(threads)]
        begun = time.perf_counter()
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        elapsed = time.perf_counter() - begun
    return taken, threads * calls / elapsed
