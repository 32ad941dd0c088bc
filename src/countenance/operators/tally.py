"""How many acts of operators there are, sealed, in a file beside the database.

A backup that is put in place is older than what was decided since. Its log can be refilled from mirrors, which have
leaves and no openings: then a suspension, or a refusal, is in the log and nobody can read it. The file says how many
acts there were, as `high-water` says it of leaves. It is written after the act is durable, so it is never ahead.
"""

from __future__ import annotations

import hmac
from pathlib import Path
from typing import Final

from countenance.store import Keyring, durable

FILE: Final = "acts"
"""In the data folder."""
_PURPOSE: Final = "operator-acts"


class Tally:
    """The count of one data folder. One thread at a time may use it.

    Args:
        folder: the data folder.
    """

    def __init__(self, folder: Path, keyring: Keyring) -> None:
        self._path = folder / FILE
        self._key = keyring.derive(_PURPOSE)

    def seal(self, number: int) -> bytes:
        """What vouches for a count: HMAC-SHA256 under a key of the master key's."""
        return hmac.digest(self._key, b"%d" % number, "sha256")

    def is_sealed(self, number: int, seal: bytes) -> bool:
        """Whether a seal is the one of a count."""
        return hmac.compare_digest(self.seal(number), seal)

    def read(self) -> int | None:
        """The count; None when there is no file.

        Raises:
            ValueError: it says none, or its seal does not fit.
        """
        try:
            text = self._path.read_bytes()
        except FileNotFoundError:
            return None
        number = self._told_by(text)
        if number is None:
            raise ValueError("the seal does not fit")
        return number

    def _told_by(self, text: bytes) -> int | None:
        """The count of a file's text; None when its seal does not fit."""
        number, _, seal = text.decode("latin-1").strip().partition(" ")
        try:
            is_sealed = number.isascii() and number.isdigit() and self.is_sealed(int(number), bytes.fromhex(seal))
        except ValueError:
            return None
        return int(number) if is_sealed else None

    def write(self, number: int) -> None:
        """Puts the count there, whole and durable, unless there is a larger one."""
        durable.replace(
            self._path,
            f"{number} {self.seal(number).hex()}\n".encode(),
            unless=lambda there: (self._told_by(there) or 0) > number,  # another process was faster
        )
