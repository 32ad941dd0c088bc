"""How many acts of operators there are, sealed, in a file beside the database.

A backup that is put in place is older than what was decided since. Its log can be refilled from mirrors, which have
leaves and no openings: then a suspension, or a refusal, is in the log and nobody can read it. The file says how many
acts there were, as `high-water` says it of leaves. It is written after the act is durable, so it is never ahead.
"""

from __future__ import annotations

import hmac
import os
from pathlib import Path
from typing import Final

from countenance.store import Keyring, sync_folder

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
            text = self._path.read_text("ascii")
        except FileNotFoundError:
            return None
        number, _, seal = text.strip().partition(" ")
        if not number.isdigit() or not self.is_sealed(int(number), bytes.fromhex(seal)):
            raise ValueError("the seal does not fit")
        return int(number)

    def write(self, number: int) -> None:
        """Puts the count there, whole and durable."""
        draft = self._path.with_name(f"{FILE}.new")
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "w", encoding="ascii") as out:
            out.write(f"{number} {self.seal(number).hex()}\n")
            out.flush()
            os.fsync(out.fileno())
        draft.replace(self._path)
        sync_folder(self._path.parent)
