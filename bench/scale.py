"""Searching millions: the index tiers beside the machine's memory, each other and the exact answer.

The rows are synthetic (`synthetic`); the indexes are those that the server uses, in this process. What the gallery
adds on top, sealing and records, is in the section search. Times are of the searches alone.
"""

from __future__ import annotations

import gc
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from bench import Section
from bench.search import ACCOUNT, create, enrolments, entry, opened
from bench.synthetic import PORTION, Faces
from countenance.gallery.comparison import Ranking, comparison_scores, rank, score_error_bound
from countenance.gallery.exact import FaissIndex, Index
from countenance.gallery.gathering import Gathering
from countenance.gallery.quantised import QuantisedIndex
from countenance.gallery.segments import Segment
from countenance.gallery.tiers import tiered
from countenance.recognition.calibration import Calibration

DIMENSION = 128
CANDIDATES = 10
PROBES = 100  # mated, and a quarter as many of strangers
SEARCHERS = 64
SECONDS = 5.0  # of sixty-four searchers
READ_BYTES = 512 * 2**20  # far beyond any third-level cache
AT_MOST_MS, SHARES = 100.0, {1_000_000: 0.75, 5_000_000: 0.85}


def run(quick: bool) -> Section:
    """All figures; with a tenth of the faces, or fewer, when `quick`."""
    section = Section("scale", f"Index tiers from 100,000 to 10 million faces ({DIMENSION} features)")
    section.notes += [
        f"one search: one probe, {CANDIDATES} candidates, `Index.search`, one thread, median",
        "read bandwidth: numpy's maximum over 512 MiB, one thread, between the searches, median (best in brackets)",
        f"{SEARCHERS} searchers: as many threads, each its own probe again and again, through `Gathering` as in the "
        "gallery; one by one: the same searches in one thread, before and after",
        "exact answer: float32 products of every row, those near the tenth place scored with the canonical function",
        "decision threshold: the score of Similarity 80 in the default model pack's calibration",
    ]
    small = 10 if quick else 1
    _exact(section, 1_000_000 // small)
    _exact(section, 5_000_000 // small)
    _crossing(section, (100_000, 250_000, 500_000, 1_000_000)[: 2 if quick else 4])
    _rabitq(section, 1_000_000 // small)
    _quantised(section, 10_000_000 // (small * 3 if quick else 1))
    _inserts(section, 100_000 // small)
    return section


class Bandwidth:
    """The machine's, measured in between: on shared cores it changes from minute to minute."""

    def __init__(self) -> None:
        self._memory = np.ones(READ_BYTES // 8, np.uint64)
        self._seconds: list[float] = []

    def measure(self) -> None:
        begun = time.perf_counter()
        self._memory.max()
        self._seconds.append(time.perf_counter() - begun)

    def told(self) -> tuple[float, float]:
        """Median and best, GB/s."""
        speeds = READ_BYTES / 1e9 / np.array(self._seconds)
        return float(np.median(speeds)), float(speeds.max())


def _filled(index: Index, size: int, dimension: int = DIMENSION) -> float:
    """Seconds that adding took."""
    faces, spent = Faces(dimension), 0.0
    index.reserve(size)
    for number in range(-(-size // PORTION)):
        portion = faces.portion(number, min(PORTION, size - number * PORTION))
        begun = time.perf_counter()
        index.add(portion.face_ids, portion.templates)
        spent += time.perf_counter() - begun
    return spent


def _settle(index: QuantisedIndex) -> None:
    while index.tidy():
        pass


def _times(index: Index, probes: NDArray[np.float32], between: Callable[[], None] | None = None) -> NDArray[np.float64]:
    """Milliseconds of each search."""
    index.search(probes[:1], CANDIDATES)
    spent = []
    for at in range(len(probes)):
        if between is not None and at % 4 == 0:
            between()
        begun = time.perf_counter()
        index.search(probes[at : at + 1], CANDIDATES)
        spent.append(time.perf_counter() - begun)
    return np.array(spent) * 1000


def _exact(section: Section, size: int) -> None:
    index = FaissIndex(DIMENSION)
    _filled(index, size)
    bandwidth = Bandwidth()
    probes = Faces(DIMENSION).mated(40)[0]
    spent = _times(index, probes, bandwidth.measure)
    p50 = float(np.median(spent))
    read, best = bandwidth.told()
    section.add(f"exact, {size:,} faces, p50", p50, "ms", f"p99 {np.percentile(spent, 99):.1f}")
    section.add("  read by it", size * DIMENSION * 2 / p50 / 1e6, "GB/s")
    section.add("  read bandwidth of the machine", read, "GB/s", f"best {best:.1f}")
    share = size * DIMENSION * 2 / p50 / 1e6 / read
    wanted = SHARES.get(size)
    if wanted is None:
        section.add("  share of the bandwidth", share, "ratio")
    else:
        section.at_least("  share of the bandwidth", share, "ratio", wanted)
    section.add("  memory", index.nbytes / size, "B/face")
    if size <= 1_000_000:
        _together(section, "exact", index, 1.5)


def _together(section: Section, name: str, index: Index, wanted: float) -> None:
    """Sixty-four searchers against one."""
    probes = Faces(DIMENSION).mated(SEARCHERS)[0]
    before = _times(index, probes)
    gathering = Gathering()

    @contextmanager
    def lend(revision: int) -> Iterator[Index]:
        yield index

    counts = [0] * SEARCHERS
    until = time.perf_counter() + SECONDS

    def search(at: int) -> None:
        while time.perf_counter() < until:
            gathering.search(1, lend, probes[at : at + 1], CANDIDATES)
            counts[at] += 1

    threads = [threading.Thread(target=search, args=(at,)) for at in range(SEARCHERS)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    together = sum(counts) / (time.perf_counter() - begun)
    alone = 1000 / float(np.median(np.concatenate([before, _times(index, probes)])))
    what = f"{name}, {len(index):,} faces"
    section.add(f"{what}, one by one", alone, "searches/s")
    section.add(f"{what}, {SEARCHERS} searchers", together, "searches/s", f"least {min(counts)}, most {max(counts)}")
    section.at_least("  together / one by one", together / alone, "ratio", wanted)


def _crossing(section: Section, sizes: tuple[int, ...]) -> None:
    """Where the quantised tier begins to pay."""
    for dimension, these in ((DIMENSION, sizes), (512, sizes[:2])):
        probes = Faces(dimension).mated(60)[0]
        for size in these:
            exact, quantised = FaissIndex(dimension), QuantisedIndex(dimension)
            for index in (exact, quantised):
                _filled(index, size, dimension)
            _settle(quantised)
            figures = [float(np.median(_times(index, probes))) for index in (exact, quantised)]
            section.add(f"{size:,} faces of {dimension}, exact", figures[0], "ms")
            section.add("  quantised", figures[1], "ms", f"{quantised.nbytes / size:.0f} B/face, fp16 rows in memory")
            if dimension == DIMENSION and size == max(these):
                del exact
                _together(section, "quantised", quantised, 5.0)


def _rabitq(section: Section, size: int) -> None:
    """The alternative: two bits a feature, a thousand rows for settling, without a bound."""
    index = faiss.IndexRaBitQFastScan(DIMENSION, faiss.METRIC_INNER_PRODUCT, 32, 2)
    faces = Faces(DIMENSION)
    begun = time.perf_counter()
    for number in range(size // PORTION):
        rows = faces.portion(number).templates.astype(np.float32)
        if number == 0:
            index.train(rows)
        index.add(rows)
    section.add(f"RaBitQ of 2 bits, {size:,} faces, added", size / (time.perf_counter() - begun), "faces/s")
    probes = faces.mated(SEARCHERS)[0]
    faiss.omp_set_num_threads(1)
    spent = []
    for at in range(SEARCHERS):
        begun = time.perf_counter()
        index.search(probes[at : at + 1], 1000)
        spent.append(time.perf_counter() - begun)
    section.add("  its best 1,000, p50", float(np.median(spent)) * 1000, "ms", "no rows read yet, no bound known")
    begun = time.perf_counter()
    index.search(probes, 1000)
    section.add("  of 64 at once, each", (time.perf_counter() - begun) / SEARCHERS * 1000, "ms")


class _FileRows:
    """Rows in a mapped file, as a sealed store has them but for the sealing."""

    def __init__(self, path: Path, face_ids: NDArray[np.uint8], dimension: int) -> None:
        self.face_ids = face_ids
        self._rows: Any = np.memmap(path, np.float16, "r", shape=(len(face_ids), dimension))

    def __len__(self) -> int:
        return len(self.face_ids)

    def templates(self, positions: NDArray[np.intp]) -> NDArray[np.float16]:
        return np.asarray(self._rows[positions])


class _Answer:
    """The exact best of each probe, kept while rows arrive."""

    def __init__(self, probes: NDArray[np.float32]) -> None:
        self._probes = probes
        self._error = score_error_bound(probes.shape[1])
        self.best = [Ranking([], [])] * len(probes)

    def meet(self, face_ids: NDArray[np.uint8], templates: NDArray[np.float16]) -> None:
        products = templates.astype(np.float32) @ self._probes.T
        for at, before in enumerate(self.best):
            column = products[:, at]
            floor = before.scores[-1] if len(before.scores) == CANDIDATES else -2.0
            near = np.flatnonzero(column >= floor - self._error)
            if len(near) > CANDIDATES:
                tenth = np.partition(column[near], len(near) - CANDIDATES)[len(near) - CANDIDATES]
                near = near[column[near] >= tenth - 2 * self._error]
            if len(near):
                ids = np.concatenate(
                    [np.frombuffer(b"".join(before.face_ids), np.uint8).reshape(-1, 16), face_ids[near]]
                )
                scores = np.array([*before.scores, *comparison_scores(templates[near], self._probes[at])], np.float32)
                self.best[at] = rank(ids, scores, CANDIDATES)


def _quantised(section: Section, size: int) -> None:
    faces = Faces(DIMENSION)
    mated, _ = faces.mated(PROBES)
    probes = np.concatenate([mated, faces.strangers(PROBES // 4)])
    answer = _Answer(probes)
    calibration = resources.files("countenance.recognition") / "packs/yunet-sface/calibration.json"
    threshold = Calibration.load(calibration.read_text("utf-8")).comparison_score(80)
    index = QuantisedIndex(DIMENSION)
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as name:
        built = 0.0
        per_segment = 40  # portions: two million rows, 512 MB of them in memory at a time
        for first in range(0, size // PORTION, per_segment):
            held = [faces.portion(number) for number in range(first, min(first + per_segment, size // PORTION))]
            for each in held:
                answer.meet(each.face_ids, each.templates)
            path = Path(name) / f"{first}.rows"
            with path.open("wb") as file:
                for each in held:
                    each.templates.tofile(file)
            rows = _FileRows(path, np.concatenate([each.face_ids for each in held]), DIMENSION)
            begun = time.perf_counter()
            index.adopt(Segment.build(rows.face_ids, (each.templates for each in held), DIMENSION, rows=rows))
            built += time.perf_counter() - begun
            del held
        what = f"quantised, {size:,} faces"
        section.add(f"{what}, segments made", len(index) / built, "faces/s", "one thread")
        _measure(section, what, index, probes, answer, threshold)
        files = sum(path.stat().st_size for path in Path(name).iterdir())
        codes = sum(segment.codes().nbytes for segment, _ in index.segments)
        section.add("  memory, fp16 rows in a mapped file", index.nbytes / len(index), "B/face")
        section.add("  disk, fp16 rows and codes", (files + codes) / len(index), "B/face", "unsealed")
        _visible(section, index)
        del index
        gc.collect()


def _measure(
    section: Section,
    what: str,
    index: QuantisedIndex,
    probes: NDArray[np.float32],
    answer: _Answer,
    threshold: float,
) -> None:
    for at in range(len(probes)):
        index.search(probes[at : at + 1], CANDIDATES)  # maps what is settled from
    bandwidth = Bandwidth()
    spent = _times(index, probes, bandwidth.measure)
    note = f"p99 {np.percentile(spent, 99):.0f}; bandwidth {bandwidth.told()[0]:.1f} GB/s"
    section.at_most(f"{what}, p50", float(np.median(spent)), "ms", AT_MOST_MS, note)
    found = [index.search(probe[None, :], CANDIDATES)[0] for probe in probes]
    together = index.search(probes, CANDIDATES)
    wanted = [
        (at, face_id)
        for at, ranking in enumerate(answer.best)
        for face_id, score in zip(ranking.face_ids, ranking.scores, strict=True)
        if score >= threshold
    ]
    returned = sum(face_id in found[at].face_ids for at, face_id in wanted)
    section.at_least(
        f"  of the exact best {CANDIDATES} at or above {threshold:.3f}, returned",
        returned / len(wanted),
        "",
        0.999,
        f"{returned:,} of {len(wanted):,}",
    )
    same = sum(one == other == third for one, other, third in zip(found, together, answer.best, strict=True))
    section.at_least("  answers equal to the exact ones, bit for bit", same / len(probes), "", 1, f"{same} probes")


def _visible(section: Section, index: QuantisedIndex) -> None:
    """Rows added to the full index are found by the next search."""
    late = Faces(DIMENSION, seed=9).portion(0, 20)
    spent, is_found = [], 0
    for at in range(20):
        begun = time.perf_counter()
        index.add(late.face_ids[at : at + 1], late.templates[at : at + 1])
        spent.append(time.perf_counter() - begun)
        (best,) = index.search(late.templates[at : at + 1].astype(np.float32), 1)
        is_found += best.face_ids[0] == late.face_ids[at].tobytes()
    section.at_least("  added faces found by the next search", is_found / 20, "", 1)
    section.add("  adding one", float(np.median(spent)) * 1000, "ms")
    begun = time.perf_counter()
    index.remove(late.face_ids[:1])
    section.add("  removing one, once", (time.perf_counter() - begun) * 1000, "ms")


def _inserts(section: Section, size: int) -> None:
    """Through the gallery as shipped: sealed, synchronous=FULL, into a quantised collection."""
    faces = Faces(DIMENSION)
    with (
        tempfile.TemporaryDirectory(prefix="bench-scale-") as name,
        opened(Path(name), index_factory=tiered(size // 2)) as gallery,
    ):
        create(gallery, "c")
        for number in range(size // 5_000):
            rows = faces.portion(number, 5_000).templates.astype(np.float32)
            rows /= np.linalg.norm(rows, axis=1, keepdims=True)
            gallery.enrol(ACCOUNT, "c", enrolments(rows, number), entry=entry())
        gallery.warm()
        late = faces.strangers(100)
        spent, is_found = [], 0
        for at, face in enumerate(enrolments(late, 10**6)):
            begun = time.perf_counter()
            gallery.enrol(ACCOUNT, "c", [face], entry=entry())
            spent.append(time.perf_counter() - begun)
            (best,) = gallery.identify(ACCOUNT, "c", late[at : at + 1], max_candidates=1)
            is_found += best[0].reference.face_id == face.reference.face_id
    what = f"durable insert, {size:,} faces, quantised"
    section.at_most(f"{what}, p50", float(np.median(spent)) * 1000, "ms", 5.0, "one face, synchronous=FULL")
    section.at_least("  found by the next search", is_found / 100, "", 1)
