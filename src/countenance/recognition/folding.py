"""Turning the block-quantised model files into plain float32 graphs, once.

Knows ONNX graphs; knows nothing of faces, files or runtimes. The weights of the default pack are stored as int8
with `DequantizeLinear(block_size=..)` and `Reshape` in front of every convolution. ONNX Runtime refuses the
detector's file as it is and dequantises on every call; OpenVINO and OpenCV vary. Folding evaluates those nodes
(ONNX operator specification, DequantizeLinear-21: y = (x - zero_point) * scale, blocked along one axis) and
leaves an ordinary float32 graph that every runtime takes.

Rewrites spare every call work on the image:

* `channels_last_bytes`: the input becomes uint8 N x H x W x 3 and the graph itself casts, normalises and transposes;
* `reverse_channels`: the model was trained on B, G, R; turning its first kernel round makes it take R, G, B, and where
  the image does not go straight into one convolution, the graph picks the channels in reverse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from countenance.recognition.manifest import DYNAMIC

FOLD_VERSION = 2
"""Part of the cache's file name: raise it when a change here changes the folded graph."""


def fold(
    weights: bytes,
    *,
    input_shape: Sequence[int],
    reverse_channels: bool,
    mean: float = 0.0,
    divisor: float = 1.0,
) -> bytes:
    """The folded graph of a model, quantised or not.

    Args:
        weights: the ONNX file as distributed; one image input, float32 N x 3 x H x W, and no file beside it.
        input_shape: N, H, W of the new input, uint8 N x H x W x 3; `DYNAMIC` leaves a dimension open.
        reverse_channels: the model expects B, G, R; the folded one takes R, G, B all the same.
        mean: of 0 to 255, taken from every byte before anything else.
        divisor: what is left is divided by it.

    Returns:
        A serialised ONNX model whose outputs keep their names and their order.

    Raises:
        ValueError: the graph is not of the kind described above.
    """
    try:
        model = onnx.load_model_from_string(weights)
    except Exception as error:  # noqa: BLE001 -- protobuf's DecodeError, of a library that brings no types
        raise ValueError(f"it is no ONNX file ({type(error).__name__})") from None
    graph = model.graph
    if any(each.data_location == onnx.TensorProto.EXTERNAL for each in graph.initializer):
        raise ValueError("its weights are in another file")
    constants = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    kept: list[Any] = []
    for node in graph.node:
        if not _evaluate(node, constants):
            if input_shape[0] == DYNAMIC and node.op_type == "Reshape" and node.input[1] in constants:
                _free_batch(node, constants)
            kept.append(node)
    needed = {name for node in kept for name in node.input}
    if any(each.HasField("g") or each.graphs for node in kept for each in node.attribute):
        needed |= set(constants)  # a graph inside a node reads what is outside without saying so
    images = [each.name for each in graph.input if each.name not in constants and each.name in needed]
    if len(images) != 1:
        raise ValueError(f"expected one image input, found {len(images)}")
    must_pick = reverse_channels and not _reverse_first_kernel(kept, images[0], constants)
    source = helper.make_tensor_value_info(
        images[0] + "_bytes",
        onnx.TensorProto.UINT8,
        [*(_dimension(size, axis) for axis, size in zip("nhw", input_shape, strict=True)), 3],
    )
    bridge = _bridge(source.name, images[0], constants, mean=mean, divisor=divisor, must_pick=must_pick)
    needed |= {name for node in bridge for name in node.input}
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
    try:
        onnx.checker.check_model(result)
    except onnx.checker.ValidationError as error:
        raise ValueError(f"it is no valid graph: {str(error).splitlines()[0][:200]}") from None
    return result.SerializeToString(deterministic=True)  # type: ignore[no-any-return]


def _bridge(
    source: str, image: str, constants: dict[str, NDArray[Any]], *, mean: float, divisor: float, must_pick: bool
) -> list[Any]:
    """From uint8 N x H x W x 3 to what the model takes: as few steps as it needs."""
    nodes, at = [], f"{image}_float"
    nodes.append(helper.make_node("Cast", [source], [at], to=onnx.TensorProto.FLOAT))
    for operation, value in (("Sub", mean if mean != 0 else None), ("Div", divisor if divisor != 1 else None)):
        if value is not None:
            constants[f"{image}_{operation}"] = np.array(value, np.float32)
            after = f"{image}_after_{operation}"
            nodes.append(helper.make_node(operation, [at, f"{image}_{operation}"], [after]))
            at = after
    if must_pick:
        constants[f"{image}_order"] = np.array([2, 1, 0], np.int64)
        nodes.append(helper.make_node("Gather", [at, f"{image}_order"], [f"{image}_reversed"], axis=3))
        at = f"{image}_reversed"
    nodes.append(helper.make_node("Transpose", [at], [image], perm=[0, 3, 1, 2]))
    return nodes


def _dimension(size: int, axis: str) -> int | str:
    return axis if size == DYNAMIC else size


def _evaluate(node: Any, constants: dict[str, NDArray[Any]]) -> bool:
    """Work the node out now if everything it reads is constant; says whether it could be."""
    if node.op_type == "Constant":
        if node.attribute[0].name != "value":  # numbers and lists: rare, and runtimes take them as they are
            return False
        constants[node.output[0]] = numpy_helper.to_array(node.attribute[0].t)
        return True
    if not all(name in constants for name in node.input if name):
        if node.op_type == "Dropout":  # the identity outside training
            node.op_type = "Identity"
            del node.input[1:]
            del node.output[1:]
            del node.attribute[:]
        return False
    if node.op_type == "DequantizeLinear":
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        value = _dequantise(
            *(constants[name] for name in node.input),
            axis=attributes.get("axis", 1),
            block_size=attributes.get("block_size", 0),
        )
    elif node.op_type == "Reshape":
        whole, target = constants[node.input[0]], constants[node.input[1]]
        # 0 is "as it was" (operator specification, Reshape), unless the node says that it is not.
        takes_zero = any(each.name == "allowzero" and each.i for each in node.attribute)
        value = whole.reshape(
            [whole.shape[n] if side == 0 and not takes_zero else side for n, side in enumerate(target)]
        )
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


def _reverse_first_kernel(nodes: list[Any], image: str, constants: dict[str, NDArray[Any]]) -> bool:
    """Turns the kernel of the one convolution that reads the image; says whether there is such a thing."""
    readers = [node for node in nodes if image in node.input]
    kernel = readers[0].input[1] if len(readers) == 1 and readers[0].op_type == "Conv" else ""
    if kernel not in constants or sum(kernel in node.input for node in nodes) != 1:
        return False
    constants[kernel] = np.ascontiguousarray(constants[kernel][:, ::-1])
    return True
