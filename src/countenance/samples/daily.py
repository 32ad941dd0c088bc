"""The thread that does something at once and then once a day. Knows neither what nor why."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from countenance.errors import Error
from countenance.store import FenceBroken
from countenance.store.leases import Lease, held

DAY_S: Final = 86_400.0

_log = logging.getLogger(__name__)


class Daily:
    """Runs `act` in a thread of its own until `stop`.

    Args:
        act: is handed a function that says whether to stop, to be asked between portions.
        every_s: seconds from the end of one run to the beginning of the next.
        lease: of the duty that it is part of, where several processes share the database: it runs in the one that holds
            it, and again whenever it came to another.
    """

    def __init__(
        self,
        act: Callable[[Callable[[], bool]], object],
        *,
        name: str,
        every_s: float = DAY_S,
        lease: Lease | None = None,
    ) -> None:
        self._act = act
        self._lease = lease
        if lease is not None:
            lease.taken.append(self.wake)
        self._every_s = every_s
        self._stopping = threading.Event()
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def wake(self) -> None:
        """Run soon, and not only tomorrow."""
        self._woken.set()

    def stop(self) -> None:
        """End after the current portion."""
        self._stopping.set()
        self._woken.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            with held(self._lease) as is_ours:
                if is_ours:
                    self._once()
            self._woken.wait(self._every_s if is_ours else None)
            self._woken.clear()

    def _once(self) -> None:
        try:
            self._act(self._is_over)
        except FenceBroken as error:
            _log.info("%s: %s", self._thread.name, error)
        except Error as error:
            _log.error("%s stopped and is tried again tomorrow: %s", self._thread.name, error)
        except Exception:  # noqa: BLE001 -- a thread that dies would leave a duty undone without a word
            _log.exception("%s failed and is tried again tomorrow", self._thread.name)

    def _is_over(self) -> bool:
        return self._stopping.is_set() or (self._lease is not None and not self._lease.is_held())
