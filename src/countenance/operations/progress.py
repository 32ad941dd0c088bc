"""Which calls are in progress, and who is being erased meanwhile.

A call is decided first and changes something later. Whoever has ended what let it through waits here until those are
over that were let through before.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Protocol

from countenance.errors import Error

LONGEST_S: Final = 300.0
"""How long calls in progress are waited for; one takes seconds, or as long as a bucket takes to answer."""


class BeingErased(Error):
    """Somebody is being erased, and is not enrolled meanwhile."""


class Elsewhere(Protocol):
    """What the calls of other processes are doing; see `elsewhere.Elsewhere`."""

    def tell(self) -> None:
        """Have the others know whom this process is erasing."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """Wait until every call elsewhere is over that may not know what is in the database now; whether all are."""
        ...

    def is_erasing(self, account: str, external_image_id: str | None = None) -> bool:
        """Whether another process erases somebody from an account; or this person."""
        ...


class Progress:
    """Calls in progress in this process; and in others that share the store, as far as they say. Safe to use from any
    thread."""

    def __init__(self) -> None:
        self.elsewhere: Elsewhere | None = None
        """The other processes, where there may be some."""
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
        deadline = time.monotonic() + timeout_s
        with self._changed:
            before = set(self._calls)
            if not self._changed.wait_for(lambda: not before & self._calls, timeout_s):
                return False
        return self.elsewhere is None or self.elsewhere.wait(max(0.0, deadline - time.monotonic()))

    def in_progress(self) -> frozenset[int]:
        """The calls in progress in this process."""
        with self._changed:
            return frozenset(self._calls)

    def erased(self) -> list[tuple[str, str]]:
        """Account and external image id of those whom this process is erasing."""
        with self._changed:
            return list(self._erased)

    @contextmanager
    def erasing(self, account: str, external_image_id: str) -> Iterator[None]:
        """While somebody is erased, calls that begin do not enrol them."""
        named = account, external_image_id
        with self._changed:
            self._erased.append(named)
        try:
            if self.elsewhere is not None:
                self.elsewhere.tell()
            yield
        finally:
            with self._changed:
                self._erased.remove(named)

    def is_erasing(self, account: str) -> bool:
        """Whether somebody is being erased from an account now."""
        with self._changed:
            if any(of == account for of, _ in self._erased):
                return True
        return self.elsewhere is not None and self.elsewhere.is_erasing(account)

    def refuse_erased(self, account: str, external_image_id: str) -> None:
        """Raises BeingErased when somebody is being erased."""
        with self._changed:
            is_erased = (account, external_image_id) in self._erased
        if not is_erased and self.elsewhere is not None and external_image_id:
            is_erased = self.elsewhere.is_erasing(account, external_image_id)
        if is_erased:
            raise BeingErased("Whoever has this external image id is being erased; nothing was enrolled.")
