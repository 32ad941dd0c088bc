"""Whether working out several calls' images in one inference pays on this CPU, against each call by itself."""

from __future__ import annotations

import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from bench import Section
from bench.photographs import DataMissing, photographs
from countenance.recognition import Engine, build_engine
from countenance.recognition.session import RUNTIMES

CALLERS = 16
REPEATS = 5
QUICK_REPEATS = 3
FACES_EACH = 8
"""Calls for features by one caller in a repetition, one face each: what most requests bring."""
LONE_CALLS = 40


def run(*, quick: bool) -> Section:
    """The whole section."""
    section = Section("batching", "Recognition: several calls in one inference against each call by itself")
    try:
        photos = photographs(quick=True)
    except DataMissing as missing:
        section.notes.append(f"Not measured: {missing}.")
        return section
    repeats = QUICK_REPEATS if quick else REPEATS
    section.notes += [
        f"{CALLERS} callers at once, {repeats} repetitions after an untimed one, batching and not taking turns; the "
        "median of the repetitions' own ratios of rates, smallest and largest beside it. Above 1: batching is faster.",
        f"features: {FACES_EACH} calls a caller with one face each. analyse and extract: one of {len(photos)} "
        "photographs a caller and repetition.",
        "Batching is off on CPUs. What it is worth on a GPU, scripts/gpu_check.py measures.",
    ]
    with tempfile.TemporaryDirectory(prefix="countenance-bench-") as folder:
        for runtime in RUNTIMES:
            _compare(section, Path(folder), runtime, [each.data for each in photos], repeats)
    return section


def _compare(section: Section, cache: Path, runtime: str, photos: list[bytes], repeats: int) -> None:
    engines = {
        False: build_engine(cache_dir=cache, runtime=runtime, queue_limit=CALLERS, switched_on=()),
        True: build_engine(cache_dir=cache, runtime=runtime, queue_limit=CALLERS, switched_on=(), is_batching=True),
    }
    crops = np.random.default_rng(7).integers(0, 256, (CALLERS, 112, 112, 3), np.uint8)

    def features(engine: Engine, caller: int) -> None:
        for _ in range(FACES_EACH):
            engine.extract_crops(crops[caller : caller + 1])

    def whole(engine: Engine, caller: int) -> None:
        found = engine.analyse(photos[caller % len(photos)])
        engine.extract(found, found.faces)

    name = engines[False].runtime
    for what, work in (("features", features), ("analyse and extract", whole)):
        taken: dict[bool, list[float]] = {False: [], True: []}
        for turn in range(-1, repeats):  # turn -1 is not kept: it pays for first uses
            for is_batching, engine in engines.items():
                seconds = _together(engine, work)
                if turn >= 0:
                    taken[is_batching].append(seconds)
        ratios = sorted(plain / joint for plain, joint in zip(taken[False], taken[True], strict=True))
        section.add(
            f"{name}: {what}, batching / not",
            statistics.median(ratios),
            "ratio of rates",
            f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
        )
    alone = {is_batching: _alone(engine, crops[:1]) for is_batching, engine in engines.items()}
    section.add(f"{name}: features of a lone caller, batching / not", alone[True] / alone[False], "ratio of times")
    for engine in engines.values():
        engine.close()


def _together(engine: Engine, work: Callable[[Engine, int], None]) -> float:
    """Seconds until every caller has done its work."""
    start = threading.Barrier(CALLERS + 1)

    def call(caller: int) -> None:
        start.wait()
        work(engine, caller)

    with ThreadPoolExecutor(CALLERS) as pool:
        calls = [pool.submit(call, caller) for caller in range(CALLERS)]
        start.wait()
        began = time.perf_counter()
        for each in calls:
            each.result()
        return time.perf_counter() - began


def _alone(engine: Engine, crop: np.ndarray) -> float:
    taken = []
    for _ in range(LONE_CALLS):
        began = time.perf_counter()
        engine.extract_crops(crop)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)
