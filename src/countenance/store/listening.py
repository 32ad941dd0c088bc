"""How a process hears that others changed something, without asking at each step.

What is told is a hint: whoever hears it looks at the database. After `Ears` were made, and whenever a `wait` says that
anything may have changed, everything has to be looked at.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

POLL_S: Final = 0.05
"""How often a database is asked that tells nothing by itself: one small read."""


class Ears(Protocol):
    """What one thread listens with."""

    def wait(self, limit_s: float) -> frozenset[str] | None:
        """What others told since the last time, waiting for it if there is nothing; empty when nothing came in time, or
        `wake` was called; None when anything may have changed.

        Raises:
            DatabaseError: the connection was lost: make others.
        """
        ...

    def wake(self) -> None:
        """End a `wait` that runs, or the next one. From any thread."""
        ...

    def close(self) -> None:
        """Let go of the connection."""
        ...


class Polling:
    """Looks at how many transactions there were.

    Args:
        change: reads it.
    """

    def __init__(self, change: Callable[[], int]) -> None:
        self._change = change
        self._known = change()
        self._woken = threading.Event()

    def wait(self, limit_s: float) -> frozenset[str] | None:
        until = time.monotonic() + limit_s
        while not self._woken.wait(POLL_S):
            if (change := self._change()) != self._known:
                self._known = change
                return None
            if time.monotonic() >= until:
                break
        self._woken.clear()
        return frozenset()

    def wake(self) -> None:
        self._woken.set()

    def close(self) -> None:
        pass
