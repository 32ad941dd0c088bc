"""Calls in progress and erasures in other processes that share the store, by what each says of itself.

Whoever erases somebody waits until no call goes on anywhere that was let through before, and no call that begins
meanwhile enrols them. In one process `progress` sees to both. Here is how others know: each process says, every second
or two, up to which change of the database all calls are over that had begun before it, and whom it is erasing. A call
takes in what others decided when it begins, so one that begins after a change knows it.

Persons are named by what stands for them in entries, an HMAC under their account's key.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

from countenance.operations.progress import Progress
from countenance.store import Database
from countenance.store.leases import Node, Presence, nodes

POLL_S: Final = 0.25
STARTING: Final = "starting"
"""What a process says of itself that answers no calls yet."""


class Elsewhere:
    """What the calls of other processes are doing. Safe to use from any thread.

    Args:
        subject: what stands for a person of an account.
    """

    def __init__(
        self, database: Database, presence: Presence, progress: Progress, subject: Callable[[str, str], str]
    ) -> None:
        self._database = database
        self._presence = presence
        self._progress = progress
        self._subject = subject
        self._over = -1
        self._waiting: tuple[int, frozenset[int]] | None = None

    def told(self) -> dict[str, Any]:
        """What others have to know of the calls here; asked for by one thread, again and again."""
        if self._waiting is None:
            # First the change, then the calls: one that is not among them begins later, and knows it.
            change = self._database.state().change
            self._waiting = change, self._progress.in_progress()
        change, calls = self._waiting
        if not calls & self._progress.in_progress():
            self._over, self._waiting = change, None
        return {
            "calls_over": self._over,
            "erasing": sorted([account, self._subject(account, who)] for account, who in self._progress.erased()),
        }

    def tell(self) -> None:
        """Have the others know now."""
        self._presence.look()

    def wait(self, timeout_s: float) -> bool:
        """Wait until every call elsewhere is over that may not know what is in the database now; whether all are."""
        change = self._database.state().change
        deadline = time.monotonic() + timeout_s
        while any(self._is_before(each, change) for each in self._others()):
            if time.monotonic() > deadline:
                return False
            time.sleep(POLL_S)
        return True

    def is_erasing(self, account: str, external_image_id: str | None = None) -> bool:
        """Whether another process erases somebody from an account; or this person."""
        whom = None if external_image_id is None else self._subject(account, external_image_id)
        return any(
            of == account and whom in (None, who) for each in self._others() for of, who in each.told.get("erasing", ())
        )

    def _others(self) -> list[Node]:
        return [each for each in nodes(self._database) if each.node != self._database.node]

    @staticmethod
    def _is_before(each: Node, change: int) -> bool:
        return each.told.get("state") != STARTING and int(each.told.get("calls_over", -1)) < change
