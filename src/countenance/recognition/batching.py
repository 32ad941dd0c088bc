"""Images of several callers in one inference.

Knows sessions and threads; knows no faces and no runtime. A GPU takes hardly longer for eight crops than for one, but
each request brings one or two. So whoever finds the session busy waits, and the next inference takes everything of one
size that waits. Nobody works for the others in a thread of its own: the caller whose turn it is takes the rest along
and hands the session on.

A caller that finds the session free runs at once and alone. One that had to wait for it, and has company by then, may
wait for more until `WAIT_S` after it came.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from countenance.recognition.faults import ModelPackError
from countenance.recognition.session import Session

SIZES: Final = (1, 2, 4, 8, 16, 32)
"""Images in one inference, the rest filled up with black ones: a runtime that chooses kernels by shape chooses six
times, at the start. Doubling, so that less than half is filled up (docs/design/decisions/0024)."""
WAIT_S: Final = 0.002
"""The longest that a caller waits for company, from when it came: as for searches of the gallery, and less than what
decoding one photograph takes."""
ALIKE: Final = 1e-3
"""An image's outputs alone and beside another differ by less, relative to the largest, where nothing but rounding
depends on the other."""


@dataclass(eq=False, slots=True)
class _Ticket:
    """One caller's images, and what came of them."""

    images: NDArray[np.uint8]
    came: float
    ready: threading.Event = field(default_factory=threading.Event)
    leads: bool = False
    """It is this caller's turn to run the session."""
    outputs: list[NDArray[np.float32]] | None = None
    error: Exception | None = None

    def finish(self, outputs: list[NDArray[np.float32]] | None = None, error: Exception | None = None) -> None:
        self.outputs, self.error = outputs, error
        self.ready.set()

    @property
    def is_finished(self) -> bool:
        return self.outputs is not None or self.error is not None


class BatchingSession:
    """A session that works for many threads at once, several callers' images in one inference. Thread-safe.

    What a caller gets depends on its own images alone, but for rounding; an inference that fails is tried again for
    each caller by itself, so that an exception reaches only whoever brought it about.

    Args:
        session: every one of its outputs has a row for each image (`is_batchable`); closed with this one.
        sizes: batches that it was made for, smallest first, 1 among them.
        runners: inferences at once.
        wait_s: seconds; see above.
    """

    def __init__(
        self, session: Session, *, sizes: Sequence[int] = SIZES, runners: int = 1, wait_s: float = WAIT_S
    ) -> None:
        self._session = session
        self._sizes = tuple(sizes)
        self._runners = runners
        self._wait_s = wait_s
        self._lock = threading.Lock()
        self._came = threading.Condition(self._lock)
        self._idle = threading.Condition(self._lock)
        self._waiting: deque[_Ticket] = deque()
        """Oldest first; empty while fewer than `runners` are running."""
        self._running = 0
        self._closed = False

    @property
    def runtime(self) -> str:
        return self._session.runtime

    @property
    def threads(self) -> int:
        return self._session.threads

    def run(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """As `Session.run`, of any number of images up to the largest batch.

        Raises:
            ValueError: not images, or too many of them.
            RuntimeError: the session was closed before it was this caller's turn.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or not 1 <= len(images) <= self._sizes[-1]:
            raise ValueError(f"expected 1 to {self._sizes[-1]} images of uint8, got {images.dtype} {images.shape}")
        ticket = _Ticket(images, time.monotonic())
        with self._lock:
            if self._closed:
                raise _closed()
            if self._running < self._runners:
                self._running += 1
                ticket.leads = True
            else:
                self._waiting.append(ticket)
                self._came.notify_all()
        if not ticket.leads:
            try:
                ticket.ready.wait()
            except BaseException:  # Ctrl-C: nobody must be left waiting for this thread to take its turn
                self._abandon(ticket)
                raise
        if ticket.leads:
            self._lead(ticket)
        if ticket.error is not None:
            raise ticket.error
        assert ticket.outputs is not None
        return ticket.outputs

    def close(self) -> None:
        """Turn away whoever waits, wait for what is running, and let go of the session."""
        with self._lock:
            self._closed = True
            self._turn_away()
            self._came.notify_all()
            while self._running:
                self._idle.wait()
        self._session.close()

    def _lead(self, ticket: _Ticket) -> None:
        batch = [ticket]
        try:
            with self._lock:
                batch += self._company(ticket)
                is_closed = self._closed
            if is_closed:
                ticket.finish(error=_closed())
            else:
                self._work(batch)
        finally:
            with self._lock:
                # Whoever was taken along by a thread that was interrupted is served by the next.
                self._waiting.extendleft(each for each in reversed(batch[1:]) if not each.is_finished)
                self._hand_on()

    def _hand_on(self) -> None:
        """The turn to the oldest of those that wait; the lock is held."""
        if self._closed:
            self._turn_away()
        if self._waiting:
            heir = self._waiting.popleft()
            heir.leads = True
            heir.ready.set()
        else:
            self._running -= 1
            self._idle.notify_all()

    def _abandon(self, ticket: _Ticket) -> None:
        with self._lock:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            elif ticket.leads:
                self._hand_on()

    def _company(self, ticket: _Ticket) -> list[_Ticket]:
        """Who goes along, taken out of those that wait; the lock is held, and given up while waiting."""
        until = ticket.came + self._wait_s
        while True:
            taken = self._fitting(ticket)
            images = len(ticket.images) + sum(len(each.images) for each in taken)
            left = until - time.monotonic()
            if not taken or images == self._sizes[-1] or left <= 0 or self._closed:
                break
            self._came.wait(left)
        if self._closed:
            return []
        for each in taken:
            self._waiting.remove(each)
        return taken

    def _fitting(self, ticket: _Ticket) -> list[_Ticket]:
        room = self._sizes[-1] - len(ticket.images)
        fitting: list[_Ticket] = []
        for each in self._waiting:
            if each.images.shape[1:] == ticket.images.shape[1:] and len(each.images) <= room:
                fitting.append(each)
                room -= len(each.images)
        return fitting

    def _work(self, batch: list[_Ticket]) -> None:
        try:
            self._run_together(batch)
        except Exception as error:  # noqa: BLE001 -- each runtime has errors of its own
            if len(batch) == 1:
                batch[0].finish(error=error)
                return
            for each in batch:
                if not each.is_finished:
                    self._work([each])

    def _run_together(self, batch: list[_Ticket]) -> None:
        count = sum(len(each.images) for each in batch)
        size = next(each for each in self._sizes if each >= count)
        if len(batch) == 1 and size == count:
            batch[0].finish(self._session.run(batch[0].images))
            return
        images = np.zeros((size, *batch[0].images.shape[1:]), np.uint8)
        np.concatenate([each.images for each in batch], out=images[:count])
        outputs = self._session.run(images)
        if any(len(each) != size for each in outputs):
            raise ValueError("the model's outputs do not have a row for each image")
        at = 0
        for each in batch:
            # Copies: the caller owns them, and must not keep everybody else's alive.
            each.finish([rows[at : at + len(each.images)].copy() for rows in outputs])
            at += len(each.images)

    def _turn_away(self) -> None:
        while self._waiting:
            self._waiting.popleft().finish(error=_closed())


def batching(
    opened: Callable[[], Session], *, height: int, width: int, sizes: Sequence[int], runners: int
) -> BatchingSession | None:
    """A session over a graph whose batch was left open, or None when its outputs cannot be told apart by image.

    Args:
        opened: makes the session, for batches of `sizes`.
        height, width: of one of the sizes that it was made for.

    Raises:
        ModelPackError: the runtime cannot be had.
    """
    try:
        session = opened()
    except ModelPackError:
        raise
    except Exception:  # noqa: BLE001 -- as above: made for one image, in a way that cannot be undone
        return None
    if is_batchable(session, height=height, width=width):
        return BatchingSession(session, sizes=sizes, runners=runners)
    session.close()
    return None


def is_batchable(session: Session, *, height: int, width: int) -> bool:
    """Whether every output has a row for each image that is the same whatever image is beside it."""
    images = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), np.uint8)
    try:
        together = session.run(images)
        alone = [session.run(images[at : at + 1]) for at in range(2)]
    except Exception:  # noqa: BLE001 -- as above
        return False
    for at, rows in enumerate(together):
        singles = [each[at] for each in alone]
        if any(each.shape != (1, *rows.shape[1:]) for each in singles) or len(rows) != 2:
            return False
        apart = np.abs(rows - np.concatenate(singles)).max(initial=0)
        if not apart <= ALIKE * max(1.0, np.abs(rows).max(initial=0)):
            return False
    return True


def _closed() -> RuntimeError:
    return RuntimeError("the session is closed")
