"""Several processes that answer calls, and the one that keeps them: it forks them, replaces who dies, stops them all.

Knows processes, pipes and signals; does not know what a worker does. The parent stays without threads and without
models: it forks a replacement at any time, and there is nothing in it that could fail. Listening sockets are the
parent's and inherited: connections that wait in one when a worker is killed are answered by the next.
"""

from __future__ import annotations

import ctypes
import gc
import json
import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from countenance.errors import Error

Told = dict[str, Any]
"""What a worker says when it is ready; plain values of JSON."""
Work = Callable[[int, Callable[[Told], None]], None]
"""What a worker does, given its number and what to call once it is ready, until SIGTERM; in a process of its own."""

FIRST_BACKOFF_S: Final = 0.1
MOST_BACKOFF_S: Final = 30.0
"""A worker that dies is replaced after a moment, twice as long after each that died young."""
GREW_OLD_S: Final = 60.0
"""One that lived for so long did not die of its start."""
LOOK_S: Final = 0.2
STOP_MARGIN_S: Final = 15.0
"""Beyond the time that calls in flight have: for closing databases. Then a worker is killed."""
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD)
_PR_SET_PDEATHSIG: Final = 1
"""prctl(2)."""

_log = logging.getLogger(__name__)


class WorkerFailed(Error):
    """A worker could not start."""


@dataclass(slots=True)
class _Worker:
    number: int
    pid: int
    pipe: int
    began: float
    told: Told | None = None
    received: bytes = b""


class Workers:
    """The processes.

    Args:
        count: how many.
        work: what each does.
        grace_s: how long calls in flight have to finish when all are stopped.
    """

    def __init__(self, count: int, work: Work, *, grace_s: float) -> None:
        self._count, self._work, self._grace_s = count, work, grace_s
        self._here: dict[int, _Worker] = {}
        """By number."""
        self._backoff = [FIRST_BACKOFF_S] * count
        self._due: dict[int, float] = {}
        """Number -> when to start its replacement."""
        self._mask: set[signal.Signals | int] = set()

    def run(self, ready: Callable[[list[Told]], None]) -> None:
        """Keep them until SIGTERM or SIGINT; `ready` is called once, when all of them are.

        Raises:
            WorkerFailed: one of them could not start before all were ready.
        """
        gc.collect()
        gc.freeze()  # what is here already is shared with the workers as long as nobody touches it
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        try:
            for number in range(self._count):
                self._fork(number)
            is_announced = False
            while True:
                got = signal.sigtimedwait(_SIGNALS, LOOK_S)
                if got is not None and got.si_signo in (signal.SIGTERM, signal.SIGINT):
                    return
                self._listen()
                self._reap(is_announced=is_announced)
                self._replace()
                if not is_announced and all(each.told is not None for each in self._here.values()):
                    is_announced = True
                    ready([each.told or {} for _, each in sorted(self._here.items())])
        finally:
            self._stop()
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            gc.unfreeze()

    def _fork(self, number: int) -> None:
        ours, theirs = os.pipe()
        parent, pid = os.getpid(), os.fork()
        if pid == 0:
            os.close(ours)
            self._be(number, theirs, parent)
        os.close(theirs)
        os.set_blocking(ours, False)
        self._here[number] = _Worker(number, pid, ours, time.monotonic())

    def _be(self, number: int, pipe: int, parent: int) -> NoReturn:
        """The life of a worker."""
        status = 1
        try:
            with suppress(AttributeError, OSError):  # another C library: then its parent's end is not noticed
                ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
            for each in self._here.values():
                os.close(each.pipe)
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            if os.getppid() == parent:
                self._work(number, lambda told: _tell(pipe, told))
            status = 0
        except Error as error:
            _tell(pipe, {"error": error.message, "hint": error.hint})
        except KeyboardInterrupt:
            status = 0
        except BaseException:  # noqa: BLE001 -- the process ends here, whatever it was
            _log.exception("worker %d failed", number)
        finally:
            logging.shutdown()
            os._exit(status)

    def _listen(self) -> None:
        for each in self._here.values():
            with suppress(BlockingIOError):
                while part := os.read(each.pipe, 65_536):
                    each.received += part
            if each.told is None and each.received.endswith(b"\n"):
                told = json.loads(each.received)
                if "error" not in told:
                    each.told = told

    def _reap(self, *, is_announced: bool) -> None:
        for number, each in list(self._here.items()):
            pid, status = os.waitpid(each.pid, os.WNOHANG)
            if not pid:
                continue
            self._listen()
            del self._here[number]
            os.close(each.pipe)
            how = _how(status)
            error = json.loads(each.received) if each.told is None and each.received.endswith(b"\n") else {}
            if not is_announced:
                raise WorkerFailed(error.get("error") or f"A worker {how} while it started.", hint=error.get("hint"))
            lived = time.monotonic() - each.began
            if lived > GREW_OLD_S:
                self._backoff[number] = FIRST_BACKOFF_S
            wait_s = self._backoff[number]
            self._backoff[number] = min(2 * wait_s, MOST_BACKOFF_S)
            self._due[number] = time.monotonic() + wait_s
            _log.error(
                "worker %d (process %d) %s after %.0f s%s; another starts in %.1f s",
                number + 1, pid, how, lived, f": {error['error']}" if "error" in error else "", wait_s,
            )  # fmt: skip

    def _replace(self) -> None:
        now = time.monotonic()
        for number in [number for number, due in self._due.items() if due <= now]:
            del self._due[number]
            self._fork(number)

    def _stop(self) -> None:
        for each in self._here.values():
            with suppress(ProcessLookupError):
                os.kill(each.pid, signal.SIGTERM)
        deadline = time.monotonic() + self._grace_s + STOP_MARGIN_S
        waiting = {each.pid for each in self._here.values()}
        while waiting:
            waiting -= {pid for pid in waiting if os.waitpid(pid, os.WNOHANG)[0]}
            if waiting and time.monotonic() > deadline:
                for pid in waiting:
                    _log.error("process %d does not stop, and is killed", pid)
                    os.kill(pid, signal.SIGKILL)
                deadline = float("inf")
            if waiting:
                signal.sigtimedwait((signal.SIGCHLD,), LOOK_S)
        for each in self._here.values():
            os.close(each.pipe)
        self._here.clear()


def _tell(pipe: int, told: Told) -> None:
    os.write(pipe, json.dumps(told).encode() + b"\n")


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"ended with status {os.WEXITSTATUS(status)}"
