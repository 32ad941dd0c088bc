"""The sealed files of the samples: written durably or not at all, read, measured and removed.

Knows one folder and the names of its own files, which are random and say nothing; does not know what is in them.
"""

from __future__ import annotations

import errno
import logging
import math
import os
import re
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from countenance.samples.sealing import SampleError
from countenance.store import sync_folder

NAME_BYTES: Final = 16
"""Random bytes in a file's name: two are never alike."""
_NAME: Final = re.compile(r"[0-9a-f]{32}")
"""What files of ours are called; anything else in the folder is somebody else's and stays."""

_log = logging.getLogger(__name__)


class SampleNotKept(SampleError):
    """The sample cannot be stored, so the call that it belongs to must not be answered."""


class Files:
    """The files of one folder, which is made when it is not there. Safe to use from any thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        if not folder.is_dir():
            folder.mkdir(mode=0o700)
            sync_folder(folder.parent)

    def write(self, content: bytes) -> str:
        """The name of a new file with this content; name and content are durable.

        Raises:
            SampleNotKept: it cannot be written; nothing is left of it.
        """
        name = secrets.token_hex(NAME_BYTES)
        path = self._folder / name
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                with os.fdopen(handle, "wb") as out:
                    out.write(content)
                    out.flush()
                    os.fsync(out.fileno())
                sync_folder(self._folder)
            except BaseException:
                with suppress(OSError):
                    path.unlink()
                raise
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            raise SampleNotKept(
                "The disk or the quota under the samples is full; the call is not answered."
                if full
                else f"The sample of a call cannot be written ({error.strerror}); the call is not answered.",
                hint="Free space, erase samples, or set samples to off." if full else f"Check {self._folder}.",
            ) from error
        return name

    def read(self, name: str) -> bytes:
        """The content of a file. Raises OSError."""
        return (self._folder / name).read_bytes()

    def size(self, name: str) -> int:
        """Bytes in a file. Raises OSError."""
        return (self._folder / name).stat().st_size

    def names(self, *, older_than_s: float = 0.0) -> Iterator[str]:
        """Every file of ours, in no order; of a certain age by the file system's clock and ours."""
        until = time.time() - older_than_s if older_than_s else math.inf
        with os.scandir(self._folder) as found:
            for each in found:
                if _NAME.fullmatch(each.name):
                    with suppress(FileNotFoundError):  # taken away meanwhile
                        if each.stat(follow_symlinks=False).st_mtime <= until:
                            yield each.name

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, as far as that can be done. What stays is no longer named, and the next start tries again."""
        for name in names:
            try:
                (self._folder / name).unlink(missing_ok=True)
            except OSError as error:
                _log.warning("a sample's file stays until the next start: %s", error)
