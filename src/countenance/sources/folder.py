"""Buckets that are folders on this machine: `ROOT/BUCKET/NAME`.

Knows how to walk from a folder to a file without ever leaving it. Every step is opened relative to the one
before with O_NOFOLLOW, so there is no path to check first and to be swapped afterwards: symbolic links are
refused wherever they point, at every level below ROOT (mount a folder there instead of linking to it). POSIX
only: see openat(2) and open(2).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from countenance.sources.source import (
    ObjectNotAvailable,
    ObjectTooLarge,
    SourceUnavailable,
    require_sane_names,
)

CHUNK_BYTES: Final = 256 * 1024

_FOLDER_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO would otherwise wait for a writer; O_NOCTTY: a terminal must not become ours.
_FILE_FLAGS: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC

_NOT_THERE: Final = frozenset(
    (
        *(errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EMLINK, errno.ENAMETOOLONG),
        *(errno.EACCES, errno.EPERM, errno.EINVAL, errno.EILSEQ),
        *(errno.ENXIO, errno.ENODEV, errno.EOPNOTSUPP),
    )
)
"""What open(2) answers for names that lead nowhere or to something that is no plain file; FreeBSD has EMLINK
where Linux has ELOOP, and opening a socket is ENXIO or EOPNOTSUPP. Anything else is the machine's trouble."""


class FolderSource:
    """An `ImageSource` over the folders of one root. Objects have no versions."""

    def __init__(self, root: Path, *, max_bytes: int) -> None:
        """Serve the folders below `root`, which need not exist yet; `max_bytes` is the largest object."""
        self._root = root
        self._max_bytes = max_bytes

    def fetch(self, account_id: str, bucket: str, name: str, version: str | None) -> bytes:
        """See `ImageSource.fetch`. A version is never available; an empty part of a name (`a//b`) neither."""
        require_sane_names(bucket, name)
        if version is not None:
            raise ObjectNotAvailable(hint="folders keep no versions")
        *folders, file_name = name.split("/")
        if not file_name or not all(folders):
            raise ObjectNotAvailable(hint="the name has an empty part")
        try:
            with self._open_folder([bucket, *folders]) as folder:
                return self._read(folder, file_name)
        except OSError as error:
            hint = os.strerror(error.errno) if error.errno else type(error).__name__
            if error.errno in _NOT_THERE:
                raise ObjectNotAvailable(hint=hint) from None
            raise SourceUnavailable(hint=hint) from None

    @contextmanager
    def _open_folder(self, parts: list[str]) -> Iterator[int]:
        # The root itself may be reached through links: it is the operator's own path.
        descriptor = os.open(self._root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in parts:
                _require_exact_case(descriptor, part)
                below = os.open(part, _FOLDER_FLAGS, dir_fd=descriptor)
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)

    def _read(self, folder: int, file_name: str) -> bytes:
        _require_exact_case(folder, file_name)
        descriptor = os.open(file_name, _FILE_FLAGS, dir_fd=folder)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise ObjectNotAvailable(hint="that is not a regular file")
            if status.st_size > self._max_bytes:
                raise ObjectTooLarge(self._max_bytes)
            content = bytearray()
            # The file may grow while it is read, so its size is not believed a second time.
            while chunk := os.read(descriptor, CHUNK_BYTES):
                content += chunk
                if len(content) > self._max_bytes:
                    raise ObjectTooLarge(self._max_bytes)
            return bytes(content)
        finally:
            os.close(descriptor)


def _require_exact_case(folder: int, name: str) -> None:
    """Refuse a name that a case-insensitive file system would find under another spelling.

    S3 names differ by case. Listing a folder is slow, so it is done only when the name with its case swapped
    leads to the same file, which says that either the file system ignores case or there are two hard links.
    """
    swapped = name.swapcase()
    if swapped == name:
        return
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    try:
        other = os.stat(swapped, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return
    if os.path.samestat(found, other) and name not in os.listdir(folder):
        raise ObjectNotAvailable(hint="there is a file of that name in another case only")
