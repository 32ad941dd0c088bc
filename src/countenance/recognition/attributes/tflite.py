"""Reading a TensorFlow Lite file: the tensors, and the operators between them.

Knows the file format; knows no runtime and nothing of faces. A file is a FlatBuffer (https://flatbuffers.dev/internals)
of the published schema (tensorflow/compiler/mlir/lite/schema/schema.fbs, version 3). Read here is what the models of
the packs need: constants in float32, float16, int8 and int32, and the options of ten operators. Whatever else a
file holds is refused, not skipped.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

IDENTIFIER: Final = b"TFL3"
"""Bytes 4 to 7 of every file of schema version 3."""

_DTYPES: Final[dict[int, type[np.generic]]] = {0: np.float32, 1: np.float16, 2: np.int32, 9: np.int8}
"""TensorType of the schema."""

OPERATORS: Final = {
    0: "ADD",
    2: "CONCATENATION",
    3: "CONV_2D",
    4: "DEPTHWISE_CONV_2D",
    6: "DEQUANTIZE",
    14: "LOGISTIC",
    17: "MAX_POOL_2D",
    18: "MUL",
    22: "RESHAPE",
    25: "SOFTMAX",
    34: "PAD",
    39: "TRANSPOSE",
    40: "MEAN",
    41: "SUB",
    42: "DIV",
    45: "STRIDED_SLICE",
    54: "PRELU",
    59: "NEG",
    74: "SUM",
    75: "SQRT",
    76: "RSQRT",
    99: "SQUARED_DIFFERENCE",
}
"""BuiltinOperator of the schema, as far as the packs' models use it."""

_OPTIONS: Final[dict[str, tuple[tuple[str, int, str], ...]]] = {
    "ADD": (("activation", 0, "b"),),
    "CONCATENATION": (("axis", 0, "i"), ("activation", 1, "b")),
    "CONV_2D": (
        ("padding", 0, "b"),
        ("stride_w", 1, "i"),
        ("stride_h", 2, "i"),
        ("activation", 3, "b"),
        ("dilation_w", 4, "i"),
        ("dilation_h", 5, "i"),
    ),
    "DEPTHWISE_CONV_2D": (
        ("padding", 0, "b"),
        ("stride_w", 1, "i"),
        ("stride_h", 2, "i"),
        ("multiplier", 3, "i"),
        ("activation", 4, "b"),
        ("dilation_w", 5, "i"),
        ("dilation_h", 6, "i"),
    ),
    "DIV": (("activation", 0, "b"),),
    "MAX_POOL_2D": (
        ("padding", 0, "b"),
        ("stride_w", 1, "i"),
        ("stride_h", 2, "i"),
        ("width", 3, "i"),
        ("height", 4, "i"),
        ("activation", 5, "b"),
    ),
    "MEAN": (("keep", 0, "b"),),
    "MUL": (("activation", 0, "b"),),
    "STRIDED_SLICE": (
        ("begin_mask", 0, "i"),
        ("end_mask", 1, "i"),
        ("ellipsis_mask", 2, "i"),
        ("new_axis_mask", 3, "i"),
        ("shrink_axis_mask", 4, "i"),
    ),
    "SUB": (("activation", 0, "b"),),
    "SUM": (("keep", 0, "b"),),
}
"""Scalar options: our name, the field's number in its table of the schema, its type."""

_ONE: Final = frozenset({"dilation_w", "dilation_h"})
"""Options whose default is 1; all others default to 0."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One value of the graph; `constant` holds it if the file does, dequantised."""

    name: str
    shape: tuple[int, ...]
    constant: NDArray[Any] | None


@dataclass(frozen=True, slots=True)
class Operator:
    """One step: which operator, the numbers of the tensors it reads and writes (-1: none), its options."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: dict[str, int]


@dataclass(frozen=True, slots=True)
class Graph:
    """The one subgraph of a file, operators in the order in which they run."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read(content: bytes) -> Graph:
    """Read a file.

    Raises:
        ValueError: not a TensorFlow Lite file, damaged, or with parts that no model of the packs has.
    """
    if content[4:8] != IDENTIFIER:
        raise ValueError("not a TensorFlow Lite file of schema version 3")
    try:
        return _graph(_Table(content, _offset(content, 0)))
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"damaged TensorFlow Lite file: {error}") from None


def _graph(model: _Table) -> Graph:
    codes = [_kind(each) for each in model.tables(1)]
    (subgraph,) = model.tables(2)
    buffers = [each.octets(0) for each in model.tables(4)]
    operators = []
    for each in subgraph.tables(3):
        kind = codes[each.scalar(0, "I")]
        options = each.table(4)
        operators.append(
            Operator(
                kind,
                tuple(each.integers(1)),
                tuple(each.integers(2)),
                {
                    name: int(name in _ONE) if options is None else options.scalar(field, form, int(name in _ONE))
                    for name, field, form in _OPTIONS.get(kind, ())
                },
            )
        )
    return Graph(
        tensors=tuple(_tensor(each, buffers) for each in subgraph.tables(0)),
        operators=tuple(operators),
        inputs=tuple(subgraph.integers(1)),
        outputs=tuple(subgraph.integers(2)),
    )


def _kind(code: _Table) -> str:
    # Field 0 held the code while codes were bytes; newer files have it in field 3, and the greater one counts.
    number = max(code.scalar(0, "b"), code.scalar(3, "i"))
    if number not in OPERATORS:
        raise ValueError(f"operator {number} is not one that can be converted")
    return OPERATORS[number]


def _tensor(table: _Table, buffers: list[bytes]) -> Tensor:
    shape = tuple(table.integers(0))
    octets = buffers[table.scalar(2, "I")]
    constant: NDArray[Any] | None = None
    if octets:
        number = table.scalar(1, "b")
        if number not in _DTYPES:
            raise ValueError(f"tensor type {number} is not one that can be converted")
        constant = np.frombuffer(octets, np.dtype(_DTYPES[number]).newbyteorder("<")).reshape(shape)
        if constant.dtype == np.int8:
            constant = _dequantised(constant, table.table(4))
        elif constant.dtype == np.float16:
            constant = constant.astype(np.float32)
    return Tensor(table.text(3), shape, constant)


def _dequantised(constant: NDArray[Any], quantization: _Table | None) -> NDArray[np.float32]:
    """(q - zero point) * scale, one of each or one for each place along an axis (TensorFlow Lite's 8-bit
    quantization specification)."""
    scales = quantization.floats(2) if quantization is not None else []
    if quantization is None or not scales:
        raise ValueError("a quantised tensor without scales")
    zeros = quantization.longs(3) or [0] * len(scales)
    along = [1] * constant.ndim
    if len(scales) > 1:
        along[quantization.scalar(6, "i")] = len(scales)
    scale = np.asarray(scales, np.float32).reshape(along)
    return np.asarray((constant.astype(np.int64) - np.asarray(zeros, np.int64).reshape(along)) * scale, np.float32)


def _offset(content: bytes, at: int) -> int:
    return at + int(struct.unpack_from("<I", content, at)[0])


class _Table:
    """A FlatBuffer table: fields by number, each absent or at an offset that the table's vtable says."""

    def __init__(self, content: bytes, at: int) -> None:
        self._content = content
        self._at = at
        vtable = at - int(struct.unpack_from("<i", content, at)[0])
        size = int(struct.unpack_from("<H", content, vtable)[0])
        self._fields: tuple[int, ...] = struct.unpack_from(f"<{size // 2 - 2}H", content, vtable + 4)

    def _field(self, number: int) -> int | None:
        offset = self._fields[number] if number < len(self._fields) else 0
        return self._at + offset if offset else None

    def scalar(self, number: int, form: str, default: int = 0) -> int:
        at = self._field(number)
        return default if at is None else int(struct.unpack_from("<" + form, self._content, at)[0])

    def table(self, number: int) -> _Table | None:
        at = self._field(number)
        return None if at is None else _Table(self._content, _offset(self._content, at))

    def tables(self, number: int) -> Iterator[_Table]:
        start, count = self._vector(number)
        for each in range(count):
            yield _Table(self._content, _offset(self._content, start + 4 * each))

    def integers(self, number: int) -> tuple[int, ...]:
        return self._numbers(number, "i")

    def floats(self, number: int) -> tuple[float, ...]:
        return self._numbers(number, "f")

    def longs(self, number: int) -> tuple[int, ...]:
        return self._numbers(number, "q")

    def octets(self, number: int) -> bytes:
        start, count = self._vector(number)
        return self._content[start : start + count]

    def text(self, number: int) -> str:
        return self.octets(number).decode("utf-8")

    def _numbers(self, number: int, form: str) -> tuple[Any, ...]:
        start, count = self._vector(number)
        return struct.unpack_from(f"<{count}{form}", self._content, start)

    def _vector(self, number: int) -> tuple[int, int]:
        at = self._field(number)
        if at is None:
            return 0, 0
        start = _offset(self._content, at)
        return start + 4, int(struct.unpack_from("<I", self._content, start)[0])
