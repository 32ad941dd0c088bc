"""The thread that keeps indexes on disk up to date, between other people's work."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

EVERY_S: Final = 10.0
"""Between two looks at whether something is due; a look costs a query for each collection that has files."""
SOON_S: Final = 1.0

_LOG = logging.getLogger(__name__)


class Keeper:
    """Calls `work` when it is woken, and every now and then once started: soon when it says so, by returning true."""

    def __init__(self, work: Callable[[], bool], *, every_s: float = EVERY_S) -> None:
        self._work = work
        self._every_s = every_s
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._woken = threading.Event()
        self._is_stopping = False

    def wake(self) -> None:
        """See to it that `work` is called soon."""
        self._woken.set()
        self.start()

    def start(self) -> None:
        """See to it that `work` is called every now and then."""
        with self._lock:
            if self._thread is None and not self._is_stopping:
                self._thread = threading.Thread(target=self._run, name="countenance-keeper", daemon=True)
                self._thread.start()

    def stop(self) -> None:
        """End after the call that runs."""
        with self._lock:
            self._is_stopping = True
            thread = self._thread
        self._woken.set()
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        wait_s = self._every_s
        while not self._is_stopping:
            self._woken.wait(wait_s)
            self._woken.clear()
            if self._is_stopping:
                return
            wait_s = self._every_s
            try:
                if self._work():
                    wait_s = SOON_S
            except Exception:  # noqa: BLE001 -- must not end the thread: indexes are only copies
                _LOG.exception("keeping indexes on disk failed; it is tried again")
