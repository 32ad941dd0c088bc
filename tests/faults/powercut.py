"""What is on the disk after a power cut: a model of the file system fed with a recorded trace.

What was synced is there. Of what was not, any part may be: each 512-byte sector of a write survives or not by
itself, a truncation survives or not, and of the creations, links and removals of names a random prefix (names
are kept in a journal). Sectors that were never written between others that were are zero. This is harsher
than most file systems, and what POSIX promises (fsync: IEEE Std 1003.1-2017). Shared memory files are not on
the disk at all.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

SECTOR = 512
_HEAD = struct.Struct("=cQQI")


@dataclass(frozen=True)
class Event:
    kind: str
    path: str
    offset: int
    payload: bytes


def events(trace: Path) -> Iterator[Event]:
    """The records of a trace (see recorder.c), in order."""
    content, at = trace.read_bytes(), 0
    while at < len(content):
        kind, offset, length, path_length = _HEAD.unpack_from(content, at)
        at += _HEAD.size
        path = content[at : at + path_length].decode()
        at += path_length
        yield Event(kind.decode(), path, offset, content[at : at + length])
        at += length


@dataclass
class _File:
    synced: bytearray = field(default_factory=bytearray)
    pending: list[Event] = field(default_factory=list)

    def sync(self) -> None:
        for event in self.pending:
            _apply(self.synced, event)
        self.pending.clear()

    def survived(self, rng: random.Random, share: float) -> bytes:
        content = bytearray(self.synced)
        for event in self.pending:
            if event.kind == "T":
                if rng.random() < share:
                    _apply(content, event)
                continue
            start = event.offset
            end = start + len(event.payload)
            while start < end:
                stop = min(end, (start // SECTOR + 1) * SECTOR)
                if rng.random() < share:
                    part = event.payload[start - event.offset : stop - event.offset]
                    _apply(content, Event("W", event.path, start, part))
                start = stop
        return bytes(content)


def _apply(content: bytearray, event: Event) -> None:
    if event.kind == "T":
        del content[event.offset :]
        content.extend(bytes(event.offset - len(content)))
        return
    if len(content) < event.offset:
        content.extend(bytes(event.offset - len(content)))
    content[event.offset : event.offset + len(event.payload)] = event.payload


@dataclass
class Disk:
    """The files of one folder. Names point to files, as directory entries do to inodes."""

    folder: str
    names: dict[str, _File] = field(default_factory=dict)
    synced_names: dict[str, _File] = field(default_factory=dict)
    pending_names: list[tuple[str, _File | None]] = field(default_factory=list)

    def feed(self, event: Event) -> None:
        if event.path.endswith("-shm"):
            return
        if event.kind == "S" and event.path == self.folder:
            self.synced_names = dict(self.names)
            self.pending_names.clear()
        elif event.kind == "S":
            self.names[event.path].sync()
        elif event.kind == "C":
            self._name(event.path, _File())
        elif event.kind == "U":
            self._name(event.path.removesuffix(" (deleted)"), None)
        elif event.kind in "RL":
            self._name(event.payload.decode(), self.names[event.path])
            if event.kind == "R":
                self._name(event.path, None)
        elif event.path in self.names:
            self.names[event.path].pending.append(event)

    def _name(self, path: str, file: _File | None) -> None:
        if file is None:
            self.names.pop(path, None)
        else:
            self.names[path] = file
        self.pending_names.append((path, file))

    def after_the_cut(self, rng: random.Random) -> dict[str, bytes]:
        """File contents by name, relative to the folder, as a restart would find them."""
        share = rng.choice([0.0, 0.0, 0.5, 0.9, 1.0])
        names = dict(self.synced_names)
        for path, file in self.pending_names[: rng.randint(0, len(self.pending_names))]:
            if file is None:
                names.pop(path, None)
            else:
                names[path] = file
        return {path.removeprefix(self.folder + "/"): file.survived(rng, share) for path, file in sorted(names.items())}
