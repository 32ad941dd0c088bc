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

import json
import mmap
import os
import secrets
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from countenance.gallery.faults import GalleryError
from countenance.gallery.sealing import SEAL_OVERHEAD_BYTES, CollectionSeal
from countenance.store import sync_folder

MAGIC: Final = b"CNTINDX1"
PAGE: Final = 4_096
CHUNK: Final = 1 << 20
SUFFIX: Final = ".segment"
DRAFT: Final = ".draft"
ERASED_CODE: Final = 128
"""A feature of 0 as segments store it (segments.OFFSET)."""

_ID_BYTES: Final = 16
_FILE_ID_BYTES: Final = 16
_NONCE_BYTES: Final = 12
_KEY_BYTES: Final = 32
_PURPOSE: Final = "index files v1"
_PREFIX: Final = struct.Struct("<8s16sI")
_ROWS_AT_ONCE: Final = 8_192
"""Rows sealed between two writes: 2.3 MB at 128 features."""

Stored = Callable[[Sequence[bytes]], Mapping[bytes, NDArray[np.float16]]]
"""Face ids -> their templates in the database; those that are gone are left out."""


class SegmentFileUnusable(GalleryError):
    """The file is torn, altered, of another collection, key or version: it is to be made anew."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file is of."""

    uid: int
    model_version: str
    dimension: int
    revision: int
    """The collection's, when the file was made."""
    rows: int
    codes: int
    """Bytes."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where things are in a file."""

    header: Header

    @property
    def stride(self) -> int:
        return 2 * self.header.dimension + SEAL_OVERHEAD_BYTES

    @property
    def codes_at(self) -> int:
        return PAGE + _sealed_size(self.header.rows * _ID_BYTES)

    @property
    def rows_at(self) -> int:
        end = self.codes_at + _sealed_size(self.header.codes)
        return -(-end // PAGE) * PAGE

    @property
    def size(self) -> int:
        return self.rows_at + self.header.rows * self.stride


def _sealed_size(size: int) -> int:
    return size + -(-size // CHUNK) * SEAL_OVERHEAD_BYTES


class _Cipher:
    """What seals the parts of one file."""

    def __init__(self, key: bytes, file_id: bytes) -> None:
        self._cipher = AESGCM(key)
        self._file_id = file_id

    def seal(self, kind: bytes, number: int, content: bytes | memoryview) -> bytes:
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, self._bound(kind, number))

    def open(self, kind: bytes, number: int, sealed: bytes) -> bytes:
        """Raises InvalidTag."""
        return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self._bound(kind, number))

    def _bound(self, kind: bytes, number: int) -> bytes:
        return self._file_id + kind + number.to_bytes(8, "big")


_IDS: Final = b"i"
_CODES: Final = b"c"
_ROW: Final = b"r"


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
    layout, cipher = _Layout(header), _Cipher(key, file_id)
    path = folder / f"{file_id.hex()}{DRAFT}"
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    made = SegmentFile(path, handle, header, cipher, _first_page(seal, header, file_id, key))
    try:
        with os.fdopen(os.dup(handle), "wb") as file:
            file.write(bytes(PAGE))
            for kind, content in ((_IDS, np.ascontiguousarray(face_ids).reshape(-1).data), (_CODES, codes)):
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


def _write_rows(
    put: Callable[[bytes], object],
    cipher: _Cipher,
    layout: _Layout,
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
                cipher.seal(_ROW, end + at, row.tobytes()) if there else erased
                for at, (row, there) in enumerate(zip(rows, is_there, strict=True))
            ]
            put(b"".join(sealed))
            end += len(rows)
    return end


def _first_page(seal: CollectionSeal, header: Header, file_id: bytes, key: bytes) -> bytes:
    said = json.dumps({**asdict(header), "key": key.hex()}).encode()
    nonce = os.urandom(_NONCE_BYTES)
    sealed = nonce + AESGCM(seal.derive(_PURPOSE)).encrypt(nonce, said, MAGIC + file_id)
    page = _PREFIX.pack(MAGIC, file_id, len(sealed)) + sealed
    if len(page) > PAGE:
        raise ValueError("a header does not fit its page")
    return page.ljust(PAGE, b"\0")


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
        page = os.pread(handle, PAGE, 0)
        magic, file_id, length = _PREFIX.unpack_from(page)
        if magic != MAGIC:
            raise SegmentFileUnusable("An index file is of another version, or was given up.")
        sealed = page[_PREFIX.size : _PREFIX.size + length]
        said = AESGCM(seal.derive(_PURPOSE)).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], MAGIC + file_id)
        values = json.loads(said)
        cipher = _Cipher(bytes.fromhex(values.pop("key")), file_id)
        header = Header(**values)
        if os.fstat(handle).st_size != _Layout(header).size:
            raise SegmentFileUnusable("An index file has another length than its header says.")
    except SegmentFileUnusable:
        os.close(handle)
        raise
    except (InvalidTag, ValueError, TypeError, KeyError, struct.error, OSError):
        os.close(handle)
        raise SegmentFileUnusable("The header of an index file does not open.") from None
    return SegmentFile(path, handle, header, cipher)


class SegmentFile:
    """An open file: see `open_file` and `draft`.

    Safe to read from any thread; erasing and publishing are for one at a time, over all processes.
    """

    def __init__(
        self, path: Path, handle: int, header: Header, cipher: _Cipher, first_page: bytes | None = None
    ) -> None:
        self.path = path
        self.header = header
        self._handle = handle
        self._cipher = cipher
        self._layout = _Layout(header)
        self._first_page = first_page
        """Of a draft: what makes it a file."""
        self._map: mmap.mmap | None = None

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Give back the handle; rows that were read once can be read on."""
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
        return self._opened(_IDS, PAGE, self.header.rows * _ID_BYTES).reshape(-1, _ID_BYTES)

    def codes(self) -> NDArray[np.uint8]:
        """What was given as codes, with those of erased rows neutral. Raises SegmentFileUnusable."""
        return self._opened(_CODES, self._layout.codes_at, self.header.codes)

    def row(self, position: int) -> bytes | None:
        """The fp16 bytes of a row; None when it was erased. Raises InvalidTag when it does not open."""
        if self._map is None:
            self._map = mmap.mmap(self._handle, self._layout.size, mmap.MAP_SHARED, mmap.PROT_READ)
        start = self._layout.rows_at + position * self._layout.stride
        sealed = self._map[start : start + self._layout.stride]
        try:
            return self._cipher.open(_ROW, position, sealed)
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
        self._overwrite(
            _IDS, PAGE, self.header.rows * _ID_BYTES, [(at * _ID_BYTES, bytes(_ID_BYTES)) for at in positions]
        )
        neutral = bytes([ERASED_CODE]) * dimension
        self._overwrite(
            _CODES,
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


class SealedRows:
    """A segment's rows in a file; of each search only those that it asks for are opened.

    Args:
        face_ids: those of the file, in memory; they stay as they are when rows are erased in the file, as the index
            has its own note of that.
        stored: where the row of a reference is looked for when the file's does not open.
    """

    __slots__ = ("_dimension", "_stored", "face_ids", "file")

    def __init__(self, file: SegmentFile, face_ids: NDArray[np.uint8], stored: Stored) -> None:
        self.file = file
        self.face_ids = face_ids
        self._dimension = file.header.dimension
        self._stored = stored

    def __len__(self) -> int:
        return len(self.face_ids)

    @property
    def nbytes(self) -> int:
        """Memory held: the ids."""
        return self.face_ids.nbytes

    def templates(self, positions: NDArray[np.intp]) -> NDArray[np.float16]:
        """(k, dimension) rows at these positions. A row that another process erases meanwhile is one of zeros."""
        rows = np.zeros((len(positions), self._dimension), "<f2")
        torn: dict[bytes, int] = {}
        for at, position in enumerate(positions.tolist()):
            try:
                row = self.file.row(position)
            except InvalidTag:
                torn[self.face_ids[position].tobytes()] = at
                continue
            if row is not None:
                rows[at] = np.frombuffer(row, "<f2")
        if torn:  # being erased this moment, or damaged: the database has what is true
            for face_id, template in self._stored(list(torn)).items():
                rows[torn[face_id]] = template
        return rows
