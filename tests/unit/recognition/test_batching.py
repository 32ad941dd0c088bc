"""Images of several callers in one inference: the same results, and nobody pays for what another one brought."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from countenance.recognition import build_engine, modelpack
from countenance.recognition.batching import BatchingSession, batching, is_batchable
from countenance.recognition.closeup import CLOSEUP
from countenance.recognition.detector import MIDDLE
from countenance.recognition.extractor import batch_shapes
from countenance.recognition.manifest import DYNAMIC
from countenance.recognition.session import RUNTIMES, OnnxRuntimeSession, Session, open_session

THREADS = 16
FOREVER = 3600.0
PATIENCE = 60.0
"""Seconds after which a test that hangs is a failure."""


class Sums:
    """Sums up each image; runs when it is let, writes down what it was given, and does not take 255."""

    runtime, threads = "sums", 1

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.started = threading.Semaphore(0)
        self.may_run = threading.Semaphore(0)
        self.at_once = self.most_at_once = 0
        self.is_closed = False
        self._lock = threading.Lock()

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        with self._lock:
            self.sizes.append(len(images))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        self.started.release()
        assert self.may_run.acquire(timeout=PATIENCE)
        with self._lock:
            self.at_once -= 1
        if (images == 255).any():
            raise OverflowError(f"255 among {len(images)}")
        assert not self.is_closed
        return [images.reshape(len(images), -1).sum(axis=1, keepdims=True, dtype=np.float32)]

    def let(self, times: int) -> None:
        for _ in range(times):
            self.may_run.release()

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def sums() -> Sums:
    return Sums()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(THREADS) as made:
        yield made


def images(*values: int, side: int = 2) -> np.ndarray:
    return np.stack([np.full((side, side, 3), value, np.uint8) for value in values])


def totals(*values: int, side: int = 2) -> list[float]:
    return [value * side * side * 3.0 for value in values]


def got(future: Future[list[np.ndarray]]) -> list[float]:
    return [float(each) for each in future.result(PATIENCE)[0][:, 0]]


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.001)


def waiting(session: BatchingSession) -> int:
    return len(session._waiting)


def queued(session: BatchingSession, pool: ThreadPoolExecutor, *given: np.ndarray) -> list[Future[list[np.ndarray]]]:
    """Calls that wait for the session, in this order."""
    futures = []
    for each in given:
        before = waiting(session)
        futures.append(pool.submit(session.run, each))
        until(lambda before=before: waiting(session) > before)  # type: ignore[misc]
    return futures


def busy(session: BatchingSession, sums: Sums, pool: ThreadPoolExecutor) -> Future[list[np.ndarray]]:
    """A call that is being worked on until the session is let run once."""
    future = pool.submit(session.run, images(1))
    assert sums.started.acquire(timeout=PATIENCE)
    return future


def test_a_lone_caller_does_not_wait(sums: Sums) -> None:
    session = BatchingSession(sums, wait_s=FOREVER)
    sums.let(2)
    assert session.run(images(3))[0].tolist() == [totals(3)]
    assert session.run(images(1, 2))[0][:, 0].tolist() == totals(1, 2)
    assert sums.sizes == [1, 2]


def test_those_that_wait_go_together_filled_up_to_a_size(sums: Sums, pool: ThreadPoolExecutor) -> None:
    session = BatchingSession(sums, wait_s=0)
    first = busy(session, sums, pool)
    others = queued(session, pool, images(2), images(3, 4), images(5, 6))
    sums.let(2)
    assert got(first) == totals(1)
    assert [got(each) for each in others] == [totals(2), totals(3, 4), totals(5, 6)]
    assert sums.sizes == [1, 8]


def test_images_of_another_size_go_apart_and_no_batch_is_too_large(sums: Sums, pool: ThreadPoolExecutor) -> None:
    session = BatchingSession(sums, sizes=(1, 2, 4), wait_s=0)
    first = busy(session, sums, pool)
    others = queued(session, pool, images(2, 3), images(4, side=3), images(5, 6, 7), images(8, 9), images(10, side=3))
    sums.let(4)
    assert [got(each) for each in others] == [
        totals(2, 3), totals(4, side=3), totals(5, 6, 7), totals(8, 9), totals(10, side=3)
    ]  # fmt: skip
    assert got(first) == totals(1)
    # The oldest leads, and takes along what fits.
    assert sums.sizes == [1, 4, 2, 4]


def test_a_caller_with_company_waits_for_more_until_the_batch_is_full(sums: Sums, pool: ThreadPoolExecutor) -> None:
    session = BatchingSession(sums, sizes=(1, 2, 4), wait_s=FOREVER)
    first = busy(session, sums, pool)
    early = queued(session, pool, images(2), images(3))
    sums.let(1)
    assert got(first) == totals(1)
    until(lambda: waiting(session) == 1)  # the oldest took over; its company still waits
    late = pool.submit(session.run, images(4, 5))
    sums.let(1)
    assert [got(each) for each in (*early, late)] == [totals(2), totals(3), totals(4, 5)]
    assert sums.sizes == [1, 4]


def test_the_wait_ends(sums: Sums, pool: ThreadPoolExecutor) -> None:
    session = BatchingSession(sums, wait_s=0.01)
    first = busy(session, sums, pool)
    early = queued(session, pool, images(2), images(3))
    sums.let(2)
    assert [got(each) for each in (first, *early)] == [totals(1), totals(2), totals(3)]
    assert sums.sizes == [1, 2]


def test_an_exception_reaches_only_whose_images_it_is_about(sums: Sums, pool: ThreadPoolExecutor) -> None:
    session = BatchingSession(sums, wait_s=0)
    first = busy(session, sums, pool)
    good, bad, fine = queued(session, pool, images(2), images(255), images(3, 4))
    sums.let(5)  # one, three together, then each by itself
    assert got(good) == totals(2)
    assert got(fine) == totals(3, 4)
    with pytest.raises(OverflowError, match="255 among 1"):
        got(bad)
    assert got(first) == totals(1)
    assert sums.sizes == [1, 4, 1, 1, 2]
    sums.let(1)
    assert session.run(images(7))[0].tolist() == [totals(7)]


@pytest.mark.parametrize(
    "given",
    [images(1).astype(np.float32), images(1)[0], np.zeros((0, 2, 2, 3), np.uint8), images(*range(5))],
)
def test_what_is_no_image_disturbs_nobody(sums: Sums, pool: ThreadPoolExecutor, given: np.ndarray) -> None:
    session = BatchingSession(sums, sizes=(1, 2, 4), wait_s=0)
    first = busy(session, sums, pool)
    with pytest.raises(ValueError, match="expected 1 to 4 images"):
        session.run(given)
    sums.let(1)
    assert got(first) == totals(1)


def test_closing_turns_away_who_waits_and_waits_for_what_runs(sums: Sums, pool: ThreadPoolExecutor) -> None:
    session = BatchingSession(sums, wait_s=FOREVER)
    first = busy(session, sums, pool)
    others = queued(session, pool, images(2), images(3))
    closing = pool.submit(session.close)
    for each in others:
        with pytest.raises(RuntimeError, match="closed"):
            each.result(PATIENCE)
    assert not closing.done()
    assert not sums.is_closed
    sums.let(1)
    assert got(first) == totals(1)
    closing.result(PATIENCE)
    assert sums.is_closed
    with pytest.raises(RuntimeError, match="closed"):
        session.run(images(1))


def test_closing_ends_a_wait_for_company(sums: Sums, pool: ThreadPoolExecutor) -> None:
    session = BatchingSession(sums, wait_s=FOREVER)
    first = busy(session, sums, pool)
    others = queued(session, pool, images(2), images(3))
    sums.let(1)
    assert got(first) == totals(1)
    until(lambda: waiting(session) == 1)
    session.close()
    for each in others:
        with pytest.raises(RuntimeError, match="closed"):
            each.result(PATIENCE)


def test_whoever_an_interrupted_thread_took_along_is_served_by_the_next(sums: Sums, pool: ThreadPoolExecutor) -> None:
    session = BatchingSession(sums, wait_s=0)
    plain, interrupted = sums.run, []

    def run(given: np.ndarray) -> list[np.ndarray]:
        if len(given) == 4 and not interrupted:
            interrupted.append(True)
            raise KeyboardInterrupt
        return plain(given)

    sums.run = run  # type: ignore[method-assign]
    first = busy(session, sums, pool)
    leader, second, third = queued(session, pool, images(2), images(3), images(4))
    sums.let(2)
    with pytest.raises(KeyboardInterrupt):
        got(leader)
    assert [got(each) for each in (first, second, third)] == [totals(1), totals(3), totals(4)]


def test_whoever_stops_waiting_is_not_waited_for(
    sums: Sums, pool: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by Ctrl-C; no signal is sent here, since it might find this thread inside a native library."""
    session = BatchingSession(sums, wait_s=0)
    first = busy(session, sums, pool)
    waits = threading.Event.wait

    def interrupted(event: threading.Event, timeout: float | None = None) -> bool:
        if threading.current_thread() is threading.main_thread():
            assert waiting(session) == 1
            raise KeyboardInterrupt
        return waits(event, timeout)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Event, "wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            session.run(images(2))
    assert waiting(session) == 0
    (other,) = queued(session, pool, images(3))
    sums.let(2)
    assert [got(first), got(other)] == [totals(1), totals(3)]
    assert sums.sizes == [1, 1]


@pytest.mark.parametrize("runners", [1, 3])
def test_many_threads_get_what_is_theirs(sums: Sums, pool: ThreadPoolExecutor, runners: int) -> None:
    session = BatchingSession(sums, sizes=(1, 2, 4, 8), runners=runners)
    sums.let(10_000)

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(100):
            values = random.integers(0, 255, random.integers(1, 5)).tolist()
            side = int(random.integers(2, 4))
            assert session.run(images(*values, side=side))[0][:, 0].tolist() == totals(*values, side=side)

    for each in [pool.submit(work, seed) for seed in range(THREADS)]:
        each.result(PATIENCE)
    assert 1 <= sums.most_at_once <= runners
    assert len(sums.sizes) <= THREADS * 100
    session.close()


def test_results_belong_to_the_caller(sums: Sums, pool: ThreadPoolExecutor) -> None:
    session = BatchingSession(sums, wait_s=0)
    busy(session, sums, pool)
    one, other = queued(session, pool, images(2), images(3))
    sums.let(2)
    one.result(PATIENCE)[0][:] = 0
    assert got(other) == totals(3)


class Recorded:
    """A real session, with the sizes of what it was given."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.sizes: list[int] = []
        self.runtime, self.threads = session.runtime, session.threads

    def run(self, given: np.ndarray) -> list[np.ndarray]:
        self.sizes.append(len(given))
        return self._session.run(given)

    def close(self) -> None:
        self._session.close()


def pictures(count: int, height: int, width: int, seed: int) -> np.ndarray:
    """Smooth noise."""
    random = np.random.default_rng(seed)
    small = random.integers(0, 256, (count, height // 8, width // 8, 3))
    return np.ascontiguousarray(small.repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8))


def unit(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True))


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("role", ["detector", "features"])
def test_the_real_networks_say_the_same_in_company(models_dir: Path, runtime: str, role: str) -> None:
    pytest.importorskip(runtime)
    file = modelpack.load().file(role)
    graph = modelpack.folded(replace(file, input_shape=(DYNAMIC, *file.input_shape[1:])), models_dir)
    sizes = (1, 2, 4, 8)
    if role == "features":
        places, shapes = [(112, 112)], batch_shapes(sizes)
    else:
        places = [CLOSEUP, MIDDLE[0]]
        shapes = [(size, *place) for place in places for size in sizes]
    real = Recorded(open_session(graph, runtime=runtime, shapes=shapes, lanes=2, threads=1, bfloat16=False))
    given = [pictures(1 + seed % 3, *places[seed % len(places)], seed) for seed in range(THREADS)]
    alone = [[real.run(each[at : at + 1]) for at in range(len(each))] for each in given]
    expected = [[np.concatenate(rows) for rows in zip(*each, strict=True)] for each in alone]
    real.sizes.clear()
    session = BatchingSession(real, sizes=sizes)
    together = threading.Barrier(THREADS)

    def work(at: int) -> list[list[np.ndarray]]:
        together.wait(PATIENCE)
        return [session.run(given[at]) for _ in range(3)]

    with ThreadPoolExecutor(THREADS) as pool:
        results = list(pool.map(work, range(THREADS)))
    for at, rounds in enumerate(results):
        for outputs in rounds:
            assert len(outputs) == len(expected[at]) == (1 if role == "features" else 12)
            for rows, wanted in zip(outputs, expected[at], strict=True):
                assert rows.shape == wanted.shape
                if role == "features":
                    rows, wanted = unit(rows), unit(wanted)
                np.testing.assert_allclose(rows, wanted, atol=1e-5, rtol=1e-5)
    assert len(real.sizes) < 3 * THREADS  # some went together
    assert set(real.sizes) <= set(sizes)
    session.close()


def test_an_engine_that_batches_finds_the_same_faces_from_many_threads(
    models_dir: Path, portrait: bytes, group: bytes
) -> None:
    plain = build_engine(cache_dir=models_dir, runtime="onnxruntime", threads=1, workers=1)
    joint = build_engine(cache_dir=models_dir, runtime="onnxruntime", threads=1, workers=1, is_batching=True)
    assert joint.model_version == plain.model_version
    wanted = {each: plain.analyse(each) for each in (portrait, group)}
    crops = {each: plain.align(found.picture, found.faces) for each, found in wanted.items()}
    features = {each: plain.features(made) for each, made in crops.items()}

    def work(at: int) -> None:
        image = (portrait, group)[at % 2]
        found = joint.analyse(image)
        assert len(found.faces) == len(wanted[image].faces) == (1, 5)[at % 2]
        for one, other in zip(found.faces, wanted[image].faces, strict=True):
            assert one.box.iou(other.box) > 0.9999
            assert one.detection_confidence == pytest.approx(other.detection_confidence, abs=1e-3)
        np.testing.assert_allclose(joint.features(crops[image]), features[image], atol=1e-5)
        cosines = (joint.extract(found, found.faces) * features[image]).sum(axis=1)
        assert cosines.min() > 0.9999

    try:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(work, range(THREADS)))
    finally:
        joint.close()
        plain.close()


def test_a_network_made_for_one_image_is_not_batched(models_dir: Path) -> None:
    graph = modelpack.folded(modelpack.load().file("detector"), models_dir)  # its outputs are reshaped to (1, ..)
    opened = OnnxRuntimeSession(graph, threads=1)
    assert not is_batchable(opened, height=CLOSEUP[0], width=CLOSEUP[1])
    opened.close()
    assert (
        batching(
            lambda: OnnxRuntimeSession(graph, threads=1),
            height=CLOSEUP[0],
            width=CLOSEUP[1],
            sizes=(1, 2),
            runners=1,
        )
        is None
    )
    assert (
        batching(lambda: OnnxRuntimeSession(b"no graph", threads=1), height=8, width=8, sizes=(1,), runners=1) is None
    )


class Flattened(Sums):
    """Each image's bytes, from which the mean of all of them may be taken."""

    def __init__(self, *, mixes: bool) -> None:
        super().__init__()
        self._mixes = mixes

    def run(self, images: np.ndarray) -> list[np.ndarray]:
        rows = images.reshape(len(images), -1).astype(np.float32)
        return [rows - rows.mean(axis=0) if self._mixes else rows]


def test_a_network_whose_images_look_at_each_other_is_not_batched() -> None:
    assert is_batchable(Flattened(mixes=False), height=8, width=8)
    assert not is_batchable(Flattened(mixes=True), height=8, width=8)
