"""The thread that keeps loaded indexes, and files of indexes, up to what other processes did.

A search brings its index up to the present anyway (`shelf`). With this it finds it there, and what others erased is
overwritten in this process's files within moments, whether or not anybody searches.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from countenance.errors import Error
from countenance.store import Database
from countenance.store.listening import Ears

LOOK_S: Final = 5.0
"""Everything is looked at so often also when nothing is heard: one small read."""
PAUSE_S: Final = 0.02
"""Between two looks: under a stream of changes one of them takes in several."""
RETRY_S, RETRY_MOST_S = 0.1, 2.0
"""Between two attempts to listen while the database is away: twice as long after each in vain."""

_LOG = logging.getLogger(__name__)


class Following:
    """Calls `follow` with the collections that others changed, or None for all of them.

    Args:
        database: that others write to as well.
        follow: brings what is in memory and in files up to date.
    """

    def __init__(self, database: Database, follow: Callable[[frozenset[int] | None], None]) -> None:
        self._database = database
        self._follow = follow
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._ears: Ears | None = None
        self._thread = threading.Thread(target=self._run, name="countenance-following", daemon=True)

    @property
    def is_listening(self) -> bool:
        """Whether changes of others are heard at the moment."""
        return self._ears is not None

    def start(self) -> None:
        """Begin, if others can write at all."""
        if self._database.is_shared:
            self._thread.start()

    def stop(self) -> None:
        """End after the look that runs."""
        self._stopping.set()
        with self._lock:
            if self._ears is not None:
                self._ears.wake()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        wait_s = RETRY_S
        while not self._stopping.is_set() and not self._database.is_closed:
            try:
                ears = self._database.listen()
            except Error as failure:
                if self._database.is_closed:
                    return
                if wait_s == RETRY_S:
                    _LOG.warning("changes of other nodes cannot be heard; it is tried again: %s", failure)
                self._stopping.wait(wait_s)
                wait_s = min(2 * wait_s, RETRY_MOST_S)
                continue
            if wait_s != RETRY_S:
                _LOG.info("changes of other nodes are heard again")
            try:
                with self._lock:
                    self._ears = ears
                self._listen(ears)
                wait_s = RETRY_S
            except Error as failure:
                if self._database.is_closed:
                    return
                _LOG.warning("changes of other nodes cannot be heard; it is tried again: %s", failure)
                wait_s = 2 * RETRY_S
                self._stopping.wait(RETRY_S)
            except Exception:  # noqa: BLE001 -- must not end the thread: searches look for themselves meanwhile
                _LOG.exception("following other nodes failed; it is tried again")
                self._stopping.wait(RETRY_MOST_S)
            finally:
                with self._lock:
                    self._ears = None
                ears.close()

    def _listen(self, ears: Ears) -> None:
        """Raises DatabaseError: the connection was lost."""
        self._follow(None)
        while not self._stopping.is_set():
            heard = ears.wait(LOOK_S)
            if self._stopping.is_set():
                return
            self._follow(frozenset(int(each) for each in heard if each.isdecimal()) if heard else None)
            self._stopping.wait(PAUSE_S)
