"""One process owns a data folder.

An exclusive `flock` on `DIR/lock`, held until the process ends however it ends; the file names the owner's
pid for people. Work on the host (command line) checks it to decide between the admin socket and doing the
work itself.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from countenance.errors import Error

LOCK_FILE = "lock"
LOOKED_AT_S = 0.2
"""How long to go on when the lock is taken: a command that only looks who owns the folder holds it for a moment."""


class FolderOwned(Error):
    """Another process owns the data folder."""

    def __init__(self, folder: Path, pid: int | None) -> None:
        who = f"process {pid}" if pid else "another process"
        super().__init__(
            f"The data folder {folder} is in use by {who}.",
            hint="stop that process, or choose another folder with --data",
        )
        self.pid = pid


class FolderUnusable(Error):
    """There is something at the data folder's path, or nothing, and this user cannot make it a data folder."""

    def __init__(self, folder: Path, error: OSError) -> None:
        if folder.exists() and not folder.is_dir():
            super().__init__(f"{folder} is a file, not a data folder.", hint="name a folder with --data")
        elif isinstance(error, PermissionError):
            super().__init__(
                f"You may not use the data folder {folder}.",
                hint="it is for the user who runs the server; check its owner and mode",
            )
        else:
            super().__init__(
                f"The data folder {folder} cannot be made or used: {error.strerror}.",
                hint="name a folder on a file system that can be written with --data",
            )


class Ownership:
    """The lock on a data folder, as a context manager; makes the folder (mode 0700) when it is missing.

    Raises:
        FolderOwned: another process holds it.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            # Not truncated before the lock is ours: the owner's pid must stay readable.
            self._file = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise FolderUnusable(folder, error) from None
        deadline = time.monotonic() + LOOKED_AT_S
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                pid = _pid(self._file)
                if time.monotonic() > deadline:
                    os.close(self._file)
                    raise FolderOwned(folder, pid) from None
                time.sleep(LOOKED_AT_S / 20)
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, f"{os.getpid()}\n".encode(), 0)

    def __enter__(self) -> Ownership:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Lets go of the folder."""
        os.ftruncate(self._file, 0)
        os.close(self._file)


def owner_pid(folder: Path) -> int | None:
    """The pid of the process that owns the folder now; None when nobody does. 0 when it cannot be told."""
    try:
        file = os.open(folder / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FolderUnusable(folder, error) from None
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return _pid(file) or 0
    else:
        return None
    finally:
        os.close(file)


def _pid(file: int) -> int | None:
    text = os.pread(file, 32, 0).strip()
    return int(text) if text.isdigit() else None
