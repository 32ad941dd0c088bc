"""Turning the block-quantised model files into plain float32 graphs, once.

Knows ONNX graphs; knows nothing of faces, files or runtimes. The weights of the default pack are stored as int8
with `DequantizeLinear(block_size=..)` and `Reshape` in front of every convolution. ONNX Runtime refuses the
detector's file as it is and dequantises on every call; OpenVINO and OpenCV vary. Folding evaluates those nodes
(ONNX operator specification, DequantizeLinear-21: y = (x - zero_point) * scale, blocked along one axis) and
leaves an ordinary float32 graph that every runtime takes.

Two rewrites spare every call work on the image:

* `channels_last_bytes`: the input becomes uint8 N x H x W x 3 and the graph itself casts and transposes;
* `reverse_channels`: the detector was trained on B, G, R; turning its first kernel round makes it take R, G, B.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

FOLD_VERSION = 1
"""Part of the cache's file name: raise it when a change here changes the folded graph."""

DYNAMIC = -1
"""A dimension of the input that the runtime is told later."""


def fold(
    weights: bytes,
    *,
    input_shape: Sequence[int],
    reverse_channels: bool,
) -> bytes:
    """The folded graph of a quantised model.

    Args:
        weights: the ONNX file as distributed; one image input, float32 N x 3 x H x W.
        input_shape: N, H, W of the new input, uint8 N x H x W x 3; `DYNAMIC` leaves a dimension open.
        reverse_channels: the model expects B, G, R; the folded one takes R, G, B all the same.

    Returns:
        A serialised ONNX model whose outputs keep their names and their order.

    Raises:
        ValueError: the graph is not of the kind described above.
    """
    model = onnx.load_model_from_string(weights)
    graph = model.graph
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    kept: list[Any] = []
    for node in graph.node:
        if not _evaluate(node, constants):
            kept.append(node)
    needed = {name for node in kept for name in node.input}
    images = [each.name for each in graph.input if each.name not in constants and each.name in needed]
    if len(images) != 1:
        raise ValueError(f"expected one image input, found {len(images)}")
    if reverse_channels:
        _reverse_first_kernel(kept, images[0], constants)
    source = helper.make_tensor_value_info(
        images[0] + "_bytes",
        onnx.TensorProto.UINT8,
        [*(_dimension(size, axis) for axis, size in zip("nhw", input_shape, strict=True)), 3],
    )
    bridge = [
        helper.make_node("Cast", [source.name], [images[0] + "_float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Transpose", [images[0] + "_float"], [images[0]], perm=[0, 3, 1, 2]),
    ]
    for output in graph.output:
        # The declared sizes belong to the original's fixed input; only their number still holds.
        for axis, dimension in enumerate(output.type.tensor_type.shape.dim):
            dimension.dim_param = f"{output.name}_{axis}"
    folded = helper.make_graph(
        bridge + kept,
        graph.name,
        [source],
        list(graph.output),
        [numpy_helper.from_array(value, name) for name, value in constants.items() if name in needed],
    )
    result = helper.make_model(folded, opset_imports=list(model.opset_import), ir_version=10)
    onnx.checker.check_model(result)
    return result.SerializeToString(deterministic=True)  # type: ignore[no-any-return]


def _dimension(size: int, axis: str) -> int | str:
    return axis if size == DYNAMIC else size


def _evaluate(node: Any, constants: dict[str, NDArray[Any]]) -> bool:
    """Work the node out now if everything it reads is constant; says whether it could be."""
    if node.op_type == "Constant":
        constants[node.output[0]] = numpy_helper.to_array(helper.get_node_attr_value(node, "value"))
        return True
    if not all(name in constants for name in node.input if name):
        if node.op_type == "Dropout":  # the identity outside training
            node.op_type = "Identity"
            del node.input[1:]
            del node.output[1:]
            del node.attribute[:]
        elif node.op_type == "Reshape":
            _free_batch(node, constants)
        return False
    if node.op_type == "DequantizeLinear":
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        value = _dequantise(
            *(constants[name] for name in node.input),
            axis=attributes.get("axis", 1),
            block_size=attributes.get("block_size", 0),
        )
    elif node.op_type == "Reshape":
        value = constants[node.input[0]].reshape(constants[node.input[1]])
    else:
        return False
    constants[node.output[0]] = value
    return True


def _free_batch(node: Any, constants: dict[str, NDArray[Any]]) -> None:
    """A reshape of activations to (1, ..) keeps its input's batch instead: 0 means "as it was" in ONNX."""
    target = constants[node.input[1]]
    if target.size and target[0] == 1:
        constants[node.input[1]] = np.concatenate([np.zeros(1, target.dtype), target[1:]])


def _dequantise(
    quantised: NDArray[Any],
    scale: NDArray[Any],
    zero_point: NDArray[Any] | None = None,
    *,
    axis: int,
    block_size: int,
) -> NDArray[np.float32]:
    if block_size:
        size = quantised.shape[axis]
        scale = np.repeat(scale, block_size, axis=axis).take(range(size), axis=axis)
        if zero_point is not None:
            zero_point = np.repeat(zero_point, block_size, axis=axis).take(range(size), axis=axis)
    elif scale.ndim == 1 and scale.size > 1:
        along = [1] * quantised.ndim
        along[axis] = -1
        scale = scale.reshape(along)
        zero_point = None if zero_point is None else zero_point.reshape(along)
    offset = np.int32(0) if zero_point is None else zero_point.astype(np.int32)
    return np.asarray((quantised.astype(np.int32) - offset) * scale, np.float32)


def _reverse_first_kernel(nodes: list[Any], image: str, constants: dict[str, NDArray[Any]]) -> None:
    readers = [node for node in nodes if image in node.input]
    if len(readers) != 1 or readers[0].op_type != "Conv":
        raise ValueError("only a model whose image goes straight into one convolution can be turned round")
    kernel = readers[0].input[1]
    constants[kernel] = np.ascontiguousarray(constants[kernel][:, ::-1])
