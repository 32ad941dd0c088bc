"""One immutable part of an index as a file: nothing of it in clear, rows erased in place.

    page of 4096 bytes: magic, file id, sealed header; the header has the file's own key
    face ids, in sealed chunks of 1 MiB
    codes, in sealed chunks of 1 MiB
    fp16 rows, each sealed by itself, at a fixed stride

Everything is AES-256-GCM with random nonces. The header is sealed under a key derived from the collection's; all else
under a random key that only the header has, bound to the file, the kind and the number of the part. So overwriting
one page makes a file useless, and so does destroying the collection's key. Ids and codes are opened into memory when
the file is opened; the rows stay in the file, which is mapped, and only those asked for are opened.

The first page is written last: until then the key is in the memory of the process that makes the file, and nowhere
else, so what is erased meanwhile can be erased from the file before anybody could have opened it.

A row is erased by overwriting it with zeros and its id and codes inside their chunks with what says nothing, all
synced. A crash in between leaves a chunk that does not open: the file is no longer valid, and is made anew from the
database. No file is changed otherwise. Sources: NIST SP 800-38D section 8.3 (2^32 random nonces under one key).
"""

from __future__ import annotations

import mmap
import os
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
from cryptography.exceptions import InvalidTag
from numpy.typing import NDArray

from countenance.gallery import segment_format
from countenance.gallery.sealing import SEAL_OVERHEAD_BYTES, CollectionSeal
from countenance.gallery.segment_format import (
    CHUNK,
    CODES,
    DRAFT,
    ID_BYTES,
    IDS,
    PAGE,
    ROW,
    SUFFIX,
    Cipher,
    Header,
    Layout,
    SegmentFileUnusable,
)
from countenance.store import sync_folder

ERASED_CODE: Final = 128
"""A feature of 0 as segments store it (segments.OFFSET)."""

_FILE_ID_BYTES: Final = 16
_KEY_BYTES: Final = 32
_ROWS_AT_ONCE: Final = 8_192
"""Rows sealed between two writes: 2.3 MB at 128 features."""


def draft(
    folder: Path,
    seal: CollectionSeal,
    header: Header,
    face_ids: NDArray[np.uint8],
    codes: memoryview,
    templates: Iterable[NDArray[np.float16]],
) -> SegmentFile:
    """Make a file that nobody else can open before it is published.

    Args:
        face_ids: (n, 16) bytes; rows whose id is all zeros are written as erased.
        templates: the n rows, in the order of the ids, in portions of any length.

    Raises:
        OSError: the disk is full or fails; nothing of it is left.
        ValueError: not as many templates or codes as the header says; nothing is left either.
    """
    file_id, key = secrets.token_bytes(_FILE_ID_BYTES), secrets.token_bytes(_KEY_BYTES)
    layout, cipher = Layout(header), Cipher(key, file_id)
    path = folder / f"{file_id.hex()}{DRAFT}"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    made = SegmentFile(path, handle, header, cipher, segment_format.first_page(seal, header, file_id, key))
    try:
        with os.fdopen(os.dup(handle), "wb") as file:
            file.write(bytes(PAGE))
            left = _without_erased(header, face_ids, codes)
            for kind, content in ((IDS, np.ascontiguousarray(face_ids).reshape(-1).data), (CODES, left)):
                for number, start in enumerate(range(0, len(content), CHUNK)):
                    file.write(cipher.seal(kind, number, content[start : start + CHUNK]))
            file.write(bytes(max(0, layout.rows_at - file.tell())))
            end = _write_rows(file.write, cipher, layout, face_ids, templates)
            file.flush()
            os.fsync(file.fileno())
        if end != header.rows or len(face_ids) != header.rows or len(codes) != header.codes:
            raise ValueError("an index file is to have as many rows and codes as its header says")
    except BaseException:
        made.discard()
        raise
    return made


def _without_erased(header: Header, face_ids: NDArray[np.uint8], codes: memoryview) -> memoryview:
    """The codes, with those of erased rows neutral: a segment in memory has them until it is made anew."""
    is_there = face_ids.any(axis=1)
    if is_there.all():
        return codes
    left = np.array(codes, np.uint8)
    features = left[header.codes - header.rows * header.dimension :]  # codes come last in what a segment gives
    features.reshape(header.rows, header.dimension)[~is_there] = ERASED_CODE
    return left.data


def _write_rows(
    put: Callable[[bytes], object],
    cipher: Cipher,
    layout: Layout,
    face_ids: NDArray[np.uint8],
    templates: Iterable[NDArray[np.float16]],
) -> int:
    end = 0
    erased = bytes(layout.stride)
    for portion in templates:
        for start in range(0, len(portion), _ROWS_AT_ONCE):
            rows = np.ascontiguousarray(portion[start : start + _ROWS_AT_ONCE], "<f2")
            is_there = np.any(face_ids[end : end + len(rows)], axis=1).tolist()
            sealed = [
                cipher.seal(ROW, end + at, row.tobytes()) if there else erased
                for at, (row, there) in enumerate(zip(rows, is_there, strict=True))
            ]
            put(b"".join(sealed))
            end += len(rows)
    return end


def open_file(path: Path, seal: CollectionSeal) -> SegmentFile:
    """Open a published file and check its header and length; nothing else is read yet.

    Raises:
        SegmentFileUnusable: see there; also when there is none.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError as failure:
        raise SegmentFileUnusable(f"An index file cannot be opened: {failure.strerror}.") from None
    try:
        header, cipher = segment_format.opened(os.pread(handle, PAGE, 0), seal)
        if os.fstat(handle).st_size != Layout(header).size:
            raise SegmentFileUnusable("An index file has another length than its header says.")
    except OSError as failure:
        os.close(handle)
        raise SegmentFileUnusable(f"An index file cannot be read: {failure.strerror}.") from None
    except SegmentFileUnusable:
        os.close(handle)
        raise
    return SegmentFile(path, handle, header, cipher)


class SegmentFile:
    """An open file: see `open_file` and `draft`.

    Safe to read from any thread; erasing and publishing are for one at a time, over all processes.
    """

    def __init__(
        self, path: Path, handle: int, header: Header, cipher: Cipher, first_page: bytes | None = None
    ) -> None:
        self.path = path
        self.header = header
        self._handle = handle
        self._cipher = cipher
        self._layout = Layout(header)
        self._first_page = first_page
        """Of a draft: what makes it a file."""
        self._map: mmap.mmap | None = None

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Give back the handle; rows of a mapped file can be read on."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)

    @property
    def name(self) -> str:
        """The file's, without its folder."""
        return self.path.name

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self._layout.size

    def face_ids(self) -> NDArray[np.uint8]:
        """(n, 16) bytes; rows that were erased have zeros. Raises SegmentFileUnusable."""
        return self._opened(IDS, PAGE, self.header.rows * ID_BYTES).reshape(-1, ID_BYTES)

    def codes(self) -> NDArray[np.uint8]:
        """What was given as codes, with those of erased rows neutral. Raises SegmentFileUnusable."""
        return self._opened(CODES, self._layout.codes_at, self.header.codes)

    def map(self) -> None:
        """Have rows read from memory from now on, and nothing else; the handle is given back."""
        if self._map is None:
            self._map = mmap.mmap(self._handle, self._layout.size, mmap.MAP_SHARED, mmap.PROT_READ)
            self.close()

    def row(self, position: int) -> bytes | None:
        """The fp16 bytes of a row of a mapped file; None when it was erased. Raises InvalidTag when it is torn."""
        assert self._map is not None
        start = self._layout.rows_at + position * self._layout.stride
        sealed = self._map[start : start + self._layout.stride]
        try:
            return self._cipher.open(ROW, position, sealed)
        except InvalidTag:
            if not any(sealed):
                return None
            raise

    def erase(self, positions: Sequence[int]) -> None:
        """Overwrite rows, their ids and their codes; durable when this returns.

        Raises:
            SegmentFileUnusable: a part does not open.
            OSError: not done: the file is to be given up.
        """
        if not positions:
            return
        blank = bytes(self._layout.stride)
        for position in positions:
            _pwrite(self._handle, blank, self._layout.rows_at + position * self._layout.stride)
        dimension = self.header.dimension
        first_code = self.header.codes - self.header.rows * dimension  # codes come last in what a segment gives
        self._overwrite(IDS, PAGE, self.header.rows * ID_BYTES, [(at * ID_BYTES, bytes(ID_BYTES)) for at in positions])
        neutral = bytes([ERASED_CODE]) * dimension
        self._overwrite(
            CODES,
            self._layout.codes_at,
            self.header.codes,
            [(first_code + at * dimension, neutral) for at in positions],
        )
        os.fdatasync(self._handle)

    def publish(self) -> None:
        """Give a draft its key and its name; both are durable when this returns.

        Raises:
            OSError: nothing of it is left.
        """
        assert self._first_page is not None  # drafts are published once
        try:
            _pwrite(self._handle, self._first_page, 0)
            os.fdatasync(self._handle)
            final = self.path.with_suffix(SUFFIX)
            self.path.rename(final)
            self.path, self._first_page = final, None
            sync_folder(final.parent)
        except OSError:
            self.path.unlink(missing_ok=True)
            raise

    def discard(self) -> None:
        """Remove a draft, or what became of it; the disk has its room back at once."""
        if self._first_page is None:  # published: its key is on the disk, and so would be in free blocks
            with suppress(OSError):
                self.give_up()
        self.path.unlink(missing_ok=True)
        self.close()

    def give_up(self) -> None:
        """Make the file useless, and remove it. What others have mapped stays readable to them. Raises OSError."""
        _pwrite(self._handle, bytes(PAGE), 0)
        os.fdatasync(self._handle)
        self.path.unlink(missing_ok=True)

    def _opened(self, kind: bytes, at: int, size: int) -> NDArray[np.uint8]:
        content = np.empty(size, np.uint8)
        for number, start in enumerate(range(0, size, CHUNK)):
            content[start : start + CHUNK] = np.frombuffer(self._chunk(kind, at, size, number), np.uint8)
        return content

    def _chunk(self, kind: bytes, at: int, size: int, number: int) -> bytes:
        length = min(CHUNK, size - number * CHUNK)
        sealed = os.pread(self._handle, length + SEAL_OVERHEAD_BYTES, at + number * (CHUNK + SEAL_OVERHEAD_BYTES))
        try:
            return self._cipher.open(kind, number, sealed)
        except (InvalidTag, ValueError):
            raise SegmentFileUnusable("A part of an index file does not open.") from None

    def _overwrite(self, kind: bytes, at: int, size: int, places: Iterable[tuple[int, bytes]]) -> None:
        """Put bytes at places of the content, which may lie across two chunks."""
        by_chunk: dict[int, list[tuple[int, bytes]]] = {}
        for start, content in places:
            for number, inside, part in _split(start, content):
                by_chunk.setdefault(number, []).append((inside, part))
        for number, parts in sorted(by_chunk.items()):
            chunk = bytearray(self._chunk(kind, at, size, number))
            for inside, part in parts:
                chunk[inside : inside + len(part)] = part
            _pwrite(
                self._handle,
                self._cipher.seal(kind, number, memoryview(chunk)),
                at + number * (CHUNK + SEAL_OVERHEAD_BYTES),
            )


def _split(start: int, content: bytes) -> Iterator[tuple[int, int, bytes]]:
    while content:
        number, inside = divmod(start, CHUNK)
        part = content[: CHUNK - inside]
        yield number, inside, part
        start, content = start + len(part), content[len(part) :]


def _pwrite(handle: int, content: bytes, at: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(handle, view, at)
        at, view = at + written, view[written:]
