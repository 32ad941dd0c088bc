"""Inner products of many rows with many probes at once, for scans that are shared by a batch.

FAISS's fp16 and one-byte scans take one probe at a time: sixty-four probes read the gallery sixty-four times. The
matrix products of ONNX Runtime read it once: fp16 rows are widened to float32 block by block in the cache, and
one-byte codes are multiplied as integers by the CPU's dot-product instructions. Both are approximate to a bound that
is known, and never told to a caller: `selection` says what is done with them.

ONNX Runtime is used for its products alone; the graphs are one or two nodes. A run takes the thread that calls
it, and no other.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from countenance.gallery.comparison import score_error_bound
from countenance.gallery.segments import LEVELS, OFFSET, Block

_OPSET: Final = 13
_IR_VERSION: Final = 8
_SATURATED_LEVELS: Final = 63
"""255 * 63 * 2 fits 16 bits: without VNNI, x86 multiplies unsigned by signed bytes in pairs that saturate there."""
_ROUNDING: Final = 1e-6
"""Scores are told in float64 from integers that are exact, or in float32; lengths of probes are summed in float64."""


@dataclass(frozen=True, slots=True)
class HalfProbes:
    """Probes made ready for fp16 rows."""

    columns: NDArray[np.float32]
    """(dimension, probes)"""
    error: float

    @classmethod
    def of(cls, probes: NDArray[np.float32]) -> HalfProbes:
        """Of (n, dimension) float32 probes of length 1."""
        return cls(np.ascontiguousarray(probes.T), score_error_bound(probes.shape[1]))

    def products(self, templates: NDArray[np.float16]) -> NDArray[Any]:
        """(rows, probes) float32: the scores but for `error`."""
        found: NDArray[Any] = _half_session().run(None, {"rows": templates, "probes": self.columns})[0]
        return found


@dataclass(frozen=True, slots=True)
class ByteProbes:
    """Probes rounded to integers for the codes of segments."""

    columns: NDArray[np.int8]
    """(dimension, probes)"""
    scales: NDArray[np.float64]
    """(probes,) of an integer in `columns`."""
    lost: NDArray[np.float64]
    """(probes,) length of what rounding took from each."""
    lengths: NDArray[np.float64]
    """(probes,) of the probes themselves."""
    shifts: NDArray[np.float64]
    """(probes,) what the offset of the codes adds to each product."""

    @classmethod
    def of(cls, probes: NDArray[np.float32]) -> ByteProbes:
        """Of (n, dimension) float32 probes of length 1."""
        exact = probes.astype(np.float64)
        scales = np.maximum(np.abs(exact).max(axis=1), 1e-30) / probe_levels()
        levels = np.rint(exact / scales[:, None])
        return cls(
            columns=np.ascontiguousarray(levels.T.astype(np.int8)),
            scales=scales,
            lost=np.linalg.norm(exact - levels * scales[:, None], axis=1),
            lengths=np.linalg.norm(exact, axis=1),
            shifts=OFFSET * levels.sum(axis=1),
        )

    def errors(self, block: Block) -> NDArray[np.float64]:
        """(probes,) how far a canonical score may lie from `scale * product`.

        With x = c + e for a row, p = q + f for a probe: |x.p - c.q| = |e.p + c.f| <= |e||p| + |c||f|.
        """
        return block.error * self.lengths + block.length * self.lost + score_error_bound(len(self.columns)) + _ROUNDING

    def products(self, codes: NDArray[np.uint8]) -> NDArray[Any]:
        """(rows, probes) int32: integer products, `shifts` included."""
        found: NDArray[Any] = _byte_session().run(None, {"rows": codes, "probes": self.columns})[0]
        return found


def prepare() -> None:
    """Load what the first shared scan would load: some 40 MB and a third of a second, once in a process."""
    probe_levels()
    _half_session()


@functools.cache
def probe_levels() -> int:
    """Into how many levels either side of 0 a probe may be rounded on this CPU, so that no product saturates."""
    rows = np.full((32, 64), 255, np.uint8)
    probes = np.full((64, 16), LEVELS, np.int8)
    found = _byte_session().run(None, {"rows": rows, "probes": probes})[0]
    return LEVELS if bool(np.all(found == 64 * 255 * LEVELS)) else _SATURATED_LEVELS


@functools.cache
def _half_session() -> Any:
    import onnx

    make, types = onnx.helper.make_node, onnx.TensorProto
    nodes = [
        make("Cast", ["rows"], ["wide"], to=types.FLOAT),
        make("MatMul", ["wide", "probes"], ["products"]),
    ]
    return _session(nodes, types.FLOAT16, types.FLOAT, types.FLOAT)


@functools.cache
def _byte_session() -> Any:
    import onnx

    nodes = [onnx.helper.make_node("MatMulInteger", ["rows", "probes"], ["products"])]
    types = onnx.TensorProto
    return _session(nodes, types.UINT8, types.INT8, types.INT32)


def _session(nodes: list[Any], rows: int, probes: int, products: int) -> Any:
    import onnx
    import onnxruntime

    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        nodes,
        "products",
        [value("rows", rows, ["n", "d"]), value("probes", probes, ["d", "k"])],
        [value("products", products, ["n", "k"])],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # the caller's own: scans are shared out among threads by `selection`
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
