"""Wrong logins under names that no operator has: counted as those of operators are, so that a lock tells nobody who
works here.

In memory, and bounded: whoever guesses names must not fill it, and no act is written of them (a log of any size could
be made that way). Names are not kept, only what a key of this process makes of them: some are passwords in the wrong
field.
"""

from __future__ import annotations

import hmac
import secrets
from typing import Final

from countenance.operators.state import WRONG_LOGINS, is_locked_after

MOST: Final = 32_768
"""Names that are counted, and as many that were locked: some 15 MB. A login takes a hash of 64 MiB, so it takes hours
to push out one that was locked."""


class Strangers:
    """The names and their wrong logins. One thread at a time may use it."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._key = secrets.token_bytes(32)
        self._tried: dict[bytes, tuple[int, int]] = {}
        """How many wrong logins, and when the last was, of names that were not locked so far; the oldest first."""
        self._locked: dict[bytes, tuple[int, int]] = {}
        """The same of names that were: names that are tried once push none of them out."""

    def count(self, name: str, at_us: int) -> None:
        """One more wrong login under a name."""
        key = self._named(name)
        none = 0, 0
        count, _ = max(self._tried.pop(key, none), self._locked.pop(key, none))
        kept = self._locked if count + 1 >= WRONG_LOGINS else self._tried
        kept[key] = count + 1, at_us
        if len(kept) > self._most:
            del kept[next(iter(kept))]

    def is_locked(self, name: str, at_us: int) -> bool:
        """Whether a login under a name has to wait."""
        return is_locked_after(*self._locked.get(self._named(name), (0, 0)), at_us)

    def __len__(self) -> int:
        return len(self._tried) + len(self._locked)

    def _named(self, name: str) -> bytes:
        return hmac.digest(self._key, name.encode("utf-8", "surrogatepass"), "sha256")
