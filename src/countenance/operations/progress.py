"""Which calls are in progress, and who is being erased meanwhile.

A call is decided first and changes something later. Whoever has ended what let it through waits here until those are
over that were let through before.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from countenance.errors import Error

LONGEST_S: Final = 300.0
"""How long calls in progress are waited for; one takes seconds, or as long as a bucket takes to answer."""


class BeingErased(Error):
    """Somebody is being erased, and is not enrolled meanwhile."""


class Progress:
    """Calls in progress in this process, which is the only one that owns the data folder. Safe to use from any
    thread."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._calls: set[int] = set()
        self._count = 0
        self._erased: list[tuple[str, str]] = []
        self.moved = 0, 0
        """Faces that an export or import has moved, of how many; for people who look."""

    @contextmanager
    def call(self) -> Iterator[None]:
        """One call, from before it is decided until it is recorded."""
        with self._changed:
            self._count += 1
            number = self._count
            self._calls.add(number)
        try:
            yield
        finally:
            with self._changed:
                self._calls.discard(number)
                self._changed.notify_all()

    def wait(self, timeout_s: float = LONGEST_S) -> bool:
        """Wait until every call is over that is in progress now; whether all are."""
        with self._changed:
            before = set(self._calls)
            return self._changed.wait_for(lambda: not before & self._calls, timeout_s)

    @contextmanager
    def erasing(self, account: str, external_image_id: str) -> Iterator[None]:
        """While somebody is erased, calls that begin do not enrol them."""
        named = account, external_image_id
        with self._changed:
            self._erased.append(named)
        try:
            yield
        finally:
            with self._changed:
                self._erased.remove(named)

    def is_erasing(self, account: str) -> bool:
        """Whether somebody is being erased from an account now."""
        with self._changed:
            return any(of == account for of, _ in self._erased)

    def refuse_erased(self, account: str, external_image_id: str) -> None:
        """Raises BeingErased when somebody is being erased."""
        with self._changed:
            if (account, external_image_id) in self._erased:
                raise BeingErased("Whoever has this external image id is being erased; nothing was enrolled.")
