"""What is left of the calls that an account may make: in one process, or in memory that several of a machine share.

Knows keys and numbers; does not know rates. Shared memory is made before the processes are forked that share it. It has
a fixed number of places: two keys that fall on the same one take turns, and then each begins with a full bucket, which
lets a few calls too many through and refuses none too many.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from hashlib import blake2b
from typing import Final, Protocol

Key = tuple[str, str]
"""Account and operation."""
PLACES: Final = 65_536
"""Two and a half megabytes; accounts times operations that are limited and in use at a time are thousands."""
_ROW: Final = struct.Struct("<16sdd")
"""Digest of the key, calls left, and when that was."""


class Buckets(Protocol):
    """Key -> calls left, and when that was, in seconds of a clock that never goes back."""

    def alone(self, key: Key) -> AbstractContextManager[object]:
        """While nobody else looks at this key's bucket."""
        ...

    def get(self, key: Key) -> tuple[float, float] | None:
        """What is left, and since when; None for one that nobody used."""
        ...

    def put(self, key: Key, bucket: tuple[float, float]) -> None:
        """Keep it."""
        ...


class OwnBuckets:
    """Those of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._buckets: dict[Key, tuple[float, float]] = {}

    def alone(self, key: Key) -> AbstractContextManager[object]:
        """See Buckets."""
        return self._lock

    def get(self, key: Key) -> tuple[float, float] | None:
        """See Buckets."""
        return self._buckets.get(key)

    def put(self, key: Key, bucket: tuple[float, float]) -> None:
        """See Buckets."""
        self._buckets[key] = bucket


class SharedBuckets:
    """Those of the processes that are forked from this one.

    A lock on a row of a file that has no name belongs to a process and ends with it, so that one that is killed holds
    nobody up (fcntl(2), advisory record locking).
    """

    def __init__(self) -> None:
        self._file = os.memfd_create("countenance-quotas", os.MFD_CLOEXEC)
        os.ftruncate(self._file, PLACES * _ROW.size)
        self._memory = mmap.mmap(self._file, PLACES * _ROW.size)
        self._lock = threading.Lock()

    @contextmanager
    def alone(self, key: Key) -> Iterator[None]:
        """See Buckets."""
        _, place = _place(key)
        with self._lock:  # record locks do not hold threads of one process apart
            fcntl.lockf(self._file, fcntl.LOCK_EX, _ROW.size, place)
            try:
                yield
            finally:
                fcntl.lockf(self._file, fcntl.LOCK_UN, _ROW.size, place)

    def get(self, key: Key) -> tuple[float, float] | None:
        """See Buckets."""
        digest, place = _place(key)
        of, left, at = _ROW.unpack_from(self._memory, place)
        return (left, at) if of == digest else None

    def put(self, key: Key, bucket: tuple[float, float]) -> None:
        """See Buckets."""
        digest, place = _place(key)
        _ROW.pack_into(self._memory, place, digest, *bucket)


def _place(key: Key) -> tuple[bytes, int]:
    digest = blake2b("\0".join(key).encode(), digest_size=16).digest()
    return digest, int.from_bytes(digest[:4], "little") % PLACES * _ROW.size
