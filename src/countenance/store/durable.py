"""Files beside the database that several processes replace: whole, durable, and never by something older.

Knows bytes and a lock; does not know what they mean: whoever replaces one says whether what is there is newer.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from countenance.store.keyring import sync_folder


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """While this process is the only one that changes such files of a folder; a lock on the folder itself, which ends
    with the process. Not to be taken twice by one thread."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def replace(path: Path, content: bytes, *, unless: Callable[[bytes], bool] = lambda there: False) -> None:
    """Put content there with mode 0600, unless what is there says that it stays. Raises OSError."""
    with alone(path.parent):
        try:
            there: bytes | None = path.read_bytes()
        except FileNotFoundError:
            there = None
        if there is not None and unless(there):
            return
        draft = path.with_name(path.name + ".new")
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(path)
        sync_folder(path.parent)
