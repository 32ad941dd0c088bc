"""Immutable parts of a quantised index: one byte per feature to scan, the fp16 rows to settle with.

A segment's features are rounded to integers of -127 to 127, block by block, each block with its own scale. What
rounding took away is measured when the block is made and kept as the length of the longest difference, so a scan
of the integers says for every row between which bounds its canonical score lies (Cauchy-Schwarz), and the few
rows whose bounds reach the last place asked for are scored canonically from the fp16 rows. Nothing is estimated:
the answer is that of `NumpyIndex`.

`codes()` is everything but the rows and their ids, as bytes that `from_codes` takes back without computing.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

BLOCK_ROWS: Final = 131_072
"""Rows with one scale. One call of the scan each: 16 MB at 128 features are scanned in half a millisecond, beside
which the ten microseconds of a call do not show; building holds one block of fp16 rows."""
LEVELS: Final = 127
OFFSET: Final = 128
"""Codes are stored as integer + 128: what FAISS calls 8bit_direct_signed."""

_MAGIC: Final = b"CNTSEG01"
_HEADER: Final = struct.Struct("<8sIIQ40x")  # magic, dimension, rows of a block, rows
_ALIGNED: Final = 64  # a cache line, and the widest load
_AT_ONCE: Final = 8_192  # rows rounded at a time: 4 MB of float32 at 128 features
_SLACK: Final = 1.0001
_GROUND: Final = 1e-6
"""Lengths are summed in float32, which is right to 2^-24 times the dimension: far less than these two leave."""


class SegmentRows(Protocol):
    """Where a segment's fp16 rows are: in memory, or in a file of which only what is asked for is opened."""

    @property
    def face_ids(self) -> NDArray[np.uint8]:
        """(n, 16) bytes, in memory."""
        ...

    def templates(self, positions: NDArray[np.intp]) -> NDArray[np.float16]:
        """(k, dimension) rows at these positions, in their order."""
        ...

    def __len__(self) -> int: ...


class MemoryRows:
    """Rows in memory, not copied; the caller changes them no more."""

    __slots__ = ("_templates", "face_ids")

    def __init__(self, face_ids: NDArray[np.uint8], templates: NDArray[np.float16]) -> None:
        if len(face_ids) != len(templates):
            raise ValueError("as many face ids as templates")
        self.face_ids = face_ids
        self._templates = templates

    def __len__(self) -> int:
        return len(self.face_ids)

    @property
    def nbytes(self) -> int:
        """Of the rows and ids."""
        return self.face_ids.nbytes + self._templates.nbytes

    def templates(self, positions: NDArray[np.intp]) -> NDArray[np.float16]:
        return self._templates[positions]


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive rows of a segment with one scale."""

    start: int
    """Position of its first row in the segment."""
    codes: NDArray[np.uint8]
    """(n, dimension); code - `OFFSET` times `scale` is nearly the feature."""
    scale: float
    error: float
    """No row differs from its codes by a vector longer than this."""
    length: float
    """No row's codes make a vector longer than this."""


class Segment:
    """Rows that change no more. Safe to read from any thread.

    Use `build` or `from_codes`.
    """

    __slots__ = ("_buffer", "blocks", "dimension", "rows")

    def __init__(self, buffer: NDArray[np.uint8], rows: SegmentRows, dimension: int, blocks: list[Block]) -> None:
        self._buffer = buffer
        self.rows = rows
        self.dimension = dimension
        self.blocks = blocks

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def nbytes(self) -> int:
        """Memory held: codes, ids, and the fp16 rows where those are in memory."""
        return self._buffer.nbytes + int(getattr(self.rows, "nbytes", self.rows.face_ids.nbytes))

    def codes(self) -> memoryview:
        """What `from_codes` takes: one byte per feature, and 24 bytes a block. Plain features: seal it."""
        return self._buffer.data

    @classmethod
    def build(
        cls,
        face_ids: NDArray[np.uint8],
        templates: Iterable[NDArray[np.float16]],
        dimension: int,
        *,
        rows: SegmentRows | None = None,
    ) -> Segment:
        """Round rows.

        Args:
            face_ids: (n, 16) bytes.
            templates: the n rows of (any, dimension), in the order of the ids, in portions of any length.
            rows: where the rows will be read from; None keeps those given in memory.

        Raises:
            ValueError: not as many templates as ids, or of another dimension.
        """
        count = len(face_ids)
        buffer, table, codes = _layout(count, dimension)
        kept = np.empty((count, dimension), np.float16) if rows is None else None
        end = 0
        for portion in _in_blocks(templates, dimension):
            start, end = end, end + len(portion)
            if end > count:
                break
            if kept is not None:
                kept[start:end] = portion
            table[start // BLOCK_ROWS] = _round(portion, codes[start:end])
        if end != count:
            raise ValueError("as many templates as face ids")
        if kept is not None:
            rows = MemoryRows(face_ids, kept)
        assert rows is not None
        return cls(buffer, rows, dimension, _blocks(table, codes))

    @classmethod
    def from_codes(
        cls, codes: bytes | bytearray | memoryview | NDArray[np.uint8], rows: SegmentRows, dimension: int
    ) -> Segment:
        """A segment from what `codes` gave; the bytes are used where they lie.

        Raises:
            ValueError: not codes of so many rows of this dimension.
        """
        buffer = np.frombuffer(codes, np.uint8)
        if len(buffer) < _HEADER.size:
            raise ValueError("codes of a segment are torn")
        magic, stored_dimension, block_rows, count = _HEADER.unpack_from(buffer.data)
        if (magic, stored_dimension, block_rows, count) != (_MAGIC, dimension, BLOCK_ROWS, len(rows)):
            raise ValueError("codes of another segment, or of another version")
        table_at, codes_at, size = _offsets(count, dimension)
        if len(buffer) != size:
            raise ValueError("codes of a segment are torn")
        table = buffer[table_at : table_at + _block_count(count) * 24].view(np.float64).reshape(-1, 3)
        if not bool(np.all(np.isfinite(table) & (table >= 0))):
            raise ValueError("codes of a segment are damaged")
        return cls(buffer, rows, dimension, _blocks(table, buffer[codes_at:].reshape(count, dimension)))


def _block_count(count: int) -> int:
    return -(-count // BLOCK_ROWS)


def _offsets(count: int, dimension: int) -> tuple[int, int, int]:
    """Where the table and the codes begin, and the size of it all."""
    table_at = _HEADER.size
    codes_at = -(-(table_at + _block_count(count) * 24) // _ALIGNED) * _ALIGNED
    return table_at, codes_at, codes_at + count * dimension


def _layout(count: int, dimension: int) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.uint8]]:
    table_at, codes_at, size = _offsets(count, dimension)
    buffer = np.empty(size, np.uint8)
    buffer[:codes_at] = 0
    _HEADER.pack_into(buffer.data, 0, _MAGIC, dimension, BLOCK_ROWS, count)
    table = buffer[table_at : table_at + _block_count(count) * 24].view(np.float64).reshape(-1, 3)
    return buffer, table, buffer[codes_at:].reshape(count, dimension)


def _blocks(table: NDArray[np.float64], codes: NDArray[np.uint8]) -> list[Block]:
    return [
        Block(
            at * BLOCK_ROWS, codes[at * BLOCK_ROWS : (at + 1) * BLOCK_ROWS], float(scale), float(error), float(length)
        )
        for at, (scale, error, length) in enumerate(table)
    ]


def _in_blocks(templates: Iterable[NDArray[np.float16]], dimension: int) -> Iterator[NDArray[np.float16]]:
    """The same rows in portions of `BLOCK_ROWS`, the last one shorter."""
    held: list[NDArray[np.float16]] = []
    held_rows = 0
    for given in templates:
        if given.ndim != 2 or given.shape[1] != dimension:
            raise ValueError("templates do not fit the index")
        rest = given
        while held_rows + len(rest) >= BLOCK_ROWS:
            taken, rest = rest[: BLOCK_ROWS - held_rows], rest[BLOCK_ROWS - held_rows :]
            yield np.concatenate([*held, taken]) if held else taken
            held, held_rows = [], 0
        if len(rest):
            held.append(rest)
            held_rows += len(rest)
    if held:
        yield np.concatenate(held)


def _round(templates: NDArray[np.float16], codes: NDArray[np.uint8]) -> tuple[float, float, float]:
    """Write the codes of one block; returns its scale, error and length."""
    largest = max(
        (float(np.abs(templates[at : at + _AT_ONCE]).max()) for at in range(0, len(templates), _AT_ONCE)), default=0.0
    )
    scale = float(np.float32(largest / LEVELS)) if largest > 0 else 1.0
    error = length = 0.0
    for at in range(0, len(templates), _AT_ONCE):
        rows = templates[at : at + _AT_ONCE].astype(np.float32)
        levels = np.rint(rows * np.float32(1 / scale))
        np.clip(levels, -LEVELS, LEVELS, out=levels)
        codes[at : at + _AT_ONCE] = (levels + OFFSET).astype(np.uint8)
        levels *= np.float32(scale)
        rows -= levels
        error = max(error, float(np.einsum("ij,ij->i", rows, rows).max()))
        length = max(length, float(np.einsum("ij,ij->i", levels, levels).max()))
    return scale, error**0.5 * _SLACK + _GROUND, length**0.5 * _SLACK + _GROUND
