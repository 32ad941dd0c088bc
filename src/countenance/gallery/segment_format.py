"""How a file of an index is laid out and sealed: see `segment_file`, which reads and writes them."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import asdict, dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from countenance.gallery.faults import GalleryError
from countenance.gallery.sealing import SEAL_OVERHEAD_BYTES, CollectionSeal

MAGIC: Final = b"CNTINDX1"
PAGE: Final = 4_096
CHUNK: Final = 1 << 20
SUFFIX: Final = ".segment"
DRAFT: Final = ".draft"
ID_BYTES: Final = 16
IDS: Final = b"i"
CODES: Final = b"c"
ROW: Final = b"r"
"""Kinds of parts."""

_NONCE_BYTES: Final = 12
_PURPOSE: Final = "index files v1"
_PREFIX: Final = struct.Struct("<8s16sI")  # magic, file id, bytes of the sealed header


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
class Layout:
    """Where things are in a file."""

    header: Header

    @property
    def stride(self) -> int:
        """Bytes of a sealed row."""
        return 2 * self.header.dimension + SEAL_OVERHEAD_BYTES

    @property
    def codes_at(self) -> int:
        """Where the codes begin."""
        return PAGE + _sealed_size(self.header.rows * ID_BYTES)

    @property
    def rows_at(self) -> int:
        """Where the rows begin."""
        end = self.codes_at + _sealed_size(self.header.codes)
        return -(-end // PAGE) * PAGE

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self.rows_at + self.header.rows * self.stride


def _sealed_size(size: int) -> int:
    return size + -(-size // CHUNK) * SEAL_OVERHEAD_BYTES


class Cipher:
    """What seals the parts of one file."""

    def __init__(self, key: bytes, file_id: bytes) -> None:
        self._cipher = AESGCM(key)
        self._file_id = file_id

    def seal(self, kind: bytes, number: int, content: bytes | memoryview) -> bytes:
        """Nonce, ciphertext and tag of a part."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, self._bound(kind, number))

    def open(self, kind: bytes, number: int, sealed: bytes) -> bytes:
        """Raises InvalidTag."""
        return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self._bound(kind, number))

    def _bound(self, kind: bytes, number: int) -> bytes:
        return self._file_id + kind + number.to_bytes(8, "big")


def first_page(seal: CollectionSeal, header: Header, file_id: bytes, key: bytes) -> bytes:
    """What makes a draft a file: its header, with its key, sealed."""
    said = json.dumps({**asdict(header), "key": key.hex()}).encode()
    nonce = os.urandom(_NONCE_BYTES)
    sealed = nonce + AESGCM(seal.derive(_PURPOSE)).encrypt(nonce, said, MAGIC + file_id)
    page = _PREFIX.pack(MAGIC, file_id, len(sealed)) + sealed
    if len(page) > PAGE:
        raise ValueError("a header does not fit its page")
    return page.ljust(PAGE, b"\0")


def opened(page: bytes, seal: CollectionSeal) -> tuple[Header, Cipher]:
    """What a first page says. Raises SegmentFileUnusable."""
    try:
        magic, file_id, length = _PREFIX.unpack_from(page)
        if magic != MAGIC:
            raise SegmentFileUnusable("An index file is of another version, or was given up.")
        sealed = page[_PREFIX.size : _PREFIX.size + length]
        said = AESGCM(seal.derive(_PURPOSE)).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], MAGIC + file_id)
        values = json.loads(said)
        cipher = Cipher(bytes.fromhex(values.pop("key")), file_id)
        return Header(**values), cipher
    except (InvalidTag, ValueError, TypeError, KeyError, struct.error):
        raise SegmentFileUnusable("The header of an index file does not open.") from None
