"""A TensorFlow Lite graph as ONNX nodes, so that the server's own runtimes run it.

Knows both operator sets; knows no files, no runtime and no faces. TensorFlow Lite keeps images as N x H x W x C, ONNX's
convolutions want N x C x H x W. A value is held in the order in which it was made and turned only when an operator
needs the other one, so a chain of convolutions is turned once at each end. Weights in float16 or int8 become float32,
by the specification's own arithmetic (see `tflite`); nothing else about the model changes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from countenance.recognition.attributes.tflite import Graph, Operator

OPSET: Final = 18

Layout = Literal["last", "first"]
"""Whether a four-dimensional value has its channels last, as in TensorFlow Lite, or in front of the picture."""

_FIRST: Final = [0, 3, 1, 2]
_LAST: Final = [0, 2, 3, 1]
_SAME: Final = 0
"""Padding of the schema: SAME is 0, VALID is 1."""
_PLAIN: Final = {"ADD": "Add", "SUB": "Sub", "MUL": "Mul", "DIV": "Div"}
_UNARY: Final = {"NEG": "Neg", "SQRT": "Sqrt", "LOGISTIC": "Sigmoid"}
_REDUCING: Final = {"MEAN": "ReduceMean", "SUM": "ReduceSum"}


class Converted:
    """The nodes of one graph, on their way into a model.

    Args:
        graph: what was read.
        prefix: of the names of its values; two graphs in one model need two.
        images: name of the value that takes the place of the graph's input, channels last.
    """

    def __init__(self, graph: Graph, *, prefix: str, images: str) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, NDArray[Any]] = {}
        self._graph = graph
        self._prefix = prefix
        self._held: dict[int, dict[Layout, str]] = {}
        self._constant = {number: each.constant for number, each in enumerate(graph.tensors)}
        (source,) = graph.inputs
        self._held[source] = {"last": images}
        for each in graph.operators:
            self._convert(each)
        self.outputs = {self._value(number, "last"): graph.tensors[number].shape for number in graph.outputs}

    def _convert(self, step: Operator) -> None:
        kind = step.kind
        if kind == "DEQUANTIZE":
            self._constant[step.outputs[0]] = self._constant[step.inputs[0]]
        elif kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            self._convolution(step)
        elif kind == "MAX_POOL_2D":
            self._pooling(step)
        elif kind in _PLAIN:
            self._plain(step)
        elif kind in _UNARY:
            layout = self._layout(step.inputs[0])
            self._emit(_UNARY[kind], [self._value(step.inputs[0], layout)], step.outputs[0], layout)
        elif kind == "PRELU":
            slopes = self._known(step.inputs[1]).reshape(-1, 1, 1)
            self._emit(
                "PRelu", [self._value(step.inputs[0], "first"), self._add("slopes", slopes)], step.outputs[0], "first"
            )
        elif kind == "PAD":
            pads = self._known(step.inputs[1])[_FIRST].T.reshape(-1).astype(np.int64)
            self._emit("Pad", [self._value(step.inputs[0], "first"), self._add("pads", pads)], step.outputs[0], "first")
        elif kind in _REDUCING:
            axes = np.atleast_1d(self._known(step.inputs[1])).astype(np.int64)
            self._emit(
                _REDUCING[kind],
                [self._value(step.inputs[0], "last"), self._add("axes", axes)],
                step.outputs[0],
                keepdims=step.options["keep"],
            )
        else:
            self._rest(step)

    def _rest(self, step: Operator) -> None:
        """Operators on values whose order is the file's."""
        read = [self._value(number, "last") for number in step.inputs[:1]]
        (made,) = step.outputs
        if step.kind == "SQUARED_DIFFERENCE":
            difference = self._node("Sub", [self._value(number, "last") for number in step.inputs])
            self._emit("Mul", [difference, difference], made)
        elif step.kind == "RSQRT":
            self._emit("Reciprocal", [self._node("Sqrt", read)], made)
        elif step.kind == "RESHAPE":
            shape = np.asarray(self._known(step.inputs[1]), np.int64)
            self._emit("Reshape", [*read, self._add("shape", shape)], made)
        elif step.kind == "TRANSPOSE":
            self._emit("Transpose", read, made, perm=[int(each) for each in self._known(step.inputs[1])])
        elif step.kind == "CONCATENATION":
            values = [self._value(number, "last") for number in step.inputs]
            self._emit("Concat", values, made, axis=step.options["axis"])
        elif step.kind == "SOFTMAX":
            self._emit("Softmax", read, made, axis=-1)
        elif step.kind == "STRIDED_SLICE":
            self._slice(step)
        else:
            raise ValueError(f"operator {step.kind} is not one that can be converted")

    def _convolution(self, step: Operator) -> None:
        source, kernel, bias = step.inputs
        depthwise = step.kind == "DEPTHWISE_CONV_2D"
        weights = self._known(kernel)
        # Out x H x W x In, and for one kernel a channel 1 x H x W x channels.
        weights = weights.transpose(3, 0, 1, 2) if depthwise else weights.transpose(0, 3, 1, 2)
        size = weights.shape[2:]
        strides = [step.options["stride_h"], step.options["stride_w"]]
        dilations = [step.options["dilation_h"], step.options["dilation_w"]]
        reach = [(each - 1) * by + 1 for each, by in zip(size, dilations, strict=True)]
        made = self._node(
            "Conv",
            [
                self._value(source, "first"),
                self._add("kernel", np.ascontiguousarray(weights)),
                self._add("bias", self._known(bias)),
            ],
            strides=strides,
            dilations=dilations,
            pads=self._padding(step, reach, strides),
            group=len(weights) if depthwise else 1,
        )
        self._activated(step, made, "first")

    def _pooling(self, step: Operator) -> None:
        size = [step.options["height"], step.options["width"]]
        strides = [step.options["stride_h"], step.options["stride_w"]]
        made = self._node(
            "MaxPool",
            [self._value(step.inputs[0], "first")],
            kernel_shape=size,
            strides=strides,
            pads=self._padding(step, size, strides),
        )
        self._activated(step, made, "first")

    def _plain(self, step: Operator) -> None:
        values = [number for number in step.inputs if self._constant[number] is None]
        layout: Layout = "first" if all(self._layout(each) == "first" for each in values) else "last"
        made = self._node(_PLAIN[step.kind], [self._value(number, layout) for number in step.inputs])
        self._activated(step, made, layout)

    def _slice(self, step: Operator) -> None:
        options = step.options
        if options["ellipsis_mask"] or options["new_axis_mask"]:
            raise ValueError("a slice with an ellipsis or a new axis cannot be converted")
        begin, end, stride = (self._known(number).astype(np.int64).copy() for number in step.inputs[1:])
        for axis in range(len(begin)):
            if options["begin_mask"] >> axis & 1:
                begin[axis] = 0
            if options["end_mask"] >> axis & 1:
                end[axis] = np.iinfo(np.int64).max
        dropped = [axis for axis in range(len(begin)) if options["shrink_axis_mask"] >> axis & 1]
        for axis in dropped:
            end[axis] = begin[axis] + 1
        axes = np.arange(len(begin), dtype=np.int64)
        arguments = [self._add("slice", each) for each in (begin, end, axes, stride)]
        inputs = [self._value(step.inputs[0], "last"), *arguments]
        if dropped:
            cut = self._node("Slice", inputs)
            self._emit("Squeeze", [cut, self._add("axes", np.asarray(dropped, np.int64))], step.outputs[0])
        else:
            self._emit("Slice", inputs, step.outputs[0])

    def _padding(self, step: Operator, reach: Sequence[int], strides: Sequence[int]) -> list[int]:
        """As TensorFlow pads: SAME makes ceil(size / stride) places, the odd pixel at the end."""
        if step.options["padding"] != _SAME:
            return [0, 0, 0, 0]
        sides = self._graph.tensors[step.inputs[0]].shape[1:3]
        whole = [
            max(0, (-(-side // stride) - 1) * stride + span - side)
            for side, stride, span in zip(sides, strides, reach, strict=True)
        ]
        return [each // 2 for each in whole] + [each - each // 2 for each in whole]

    def _activated(self, step: Operator, value: str, layout: Layout) -> None:
        """ActivationFunctionType of the schema: none, or RELU, which is all that the packs' models have."""
        if step.options["activation"] not in (0, 1):
            raise ValueError(f"activation {step.options['activation']} is not one that can be converted")
        if step.options["activation"]:
            value = self._node("Relu", [value])
        self._held[step.outputs[0]] = {layout: value}

    def _known(self, number: int) -> NDArray[Any]:
        constant = self._constant[number]
        if constant is None:
            raise ValueError(f"{self._graph.tensors[number].name} should be constant")
        return constant

    def _layout(self, number: int) -> Layout:
        return "first" if "first" in self._held[number] else "last"

    def _value(self, number: int, layout: Layout) -> str:
        """The name of a value in an order, made now if it is not there yet."""
        held = self._held.setdefault(number, {})
        if layout in held:
            return held[layout]
        constant = self._constant[number]
        if constant is not None:
            if layout == "first" and constant.ndim == 4:
                constant = constant.transpose(_FIRST)
            elif layout == "first" and constant.ndim:
                constant = constant.reshape(-1, 1, 1)
            held[layout] = self._add("constant", np.ascontiguousarray(constant))
        else:
            other = held["last" if layout == "first" else "first"]
            held[layout] = self._node("Transpose", [other], perm=_FIRST if layout == "first" else _LAST)
        return held[layout]

    def _add(self, kind: str, value: NDArray[Any]) -> str:
        name = f"{self._prefix}{kind}{len(self.constants)}"
        self.constants[name] = value
        return name

    def _node(self, operator: str, inputs: Sequence[str], **attributes: Any) -> str:
        name = f"{self._prefix}{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def _emit(self, operator: str, inputs: Sequence[str], number: int, layout: Layout = "last", **more: Any) -> None:
        self._held[number] = {layout: self._node(operator, inputs, **more)}


def model_of(
    nodes: Sequence[Any],
    constants: Mapping[str, NDArray[Any]],
    outputs: Mapping[str, Sequence[int]],
    *,
    side: int,
    opset: int = OPSET,
) -> bytes:
    """A model of one uint8 image input, `image`, 1 x side x side x 3, and float outputs.

    Raises:
        onnx.checker.ValidationError: the nodes are not a graph.
    """
    graph = helper.make_graph(
        list(nodes),
        "attributes",
        [helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, [1, side, side, 3])],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)  # type: ignore[no-any-return]
