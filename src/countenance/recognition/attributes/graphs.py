"""From the weights files of the attribute packs to graphs that take an image: uint8, 1 x side x side x 3, R G B.

Knows the files' formats and what each network was trained to be given; knows no runtime and no faces. Everything that
is done to a pixel before the network is put into the graph, so that all sessions take the same kind of input.
"""

from __future__ import annotations

import io
import zipfile
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from countenance.recognition.attributes import tflite
from countenance.recognition.attributes.conversion import Converted, model_of

DLIB_MEANS: Final = np.array([122.781998, 117.000999, 104.297997], np.float32)
"""Means of R, G and B that dlib's networks take away before they divide by 256 (dlib, dnn/input.h)."""

LUMA: Final = np.array([0.299, 0.587, 0.114], np.float32)
"""ITU-R BT.601: how OpenCV, which the expression network's pictures went through, makes grey of colours."""

MESH_SIDE: Final = 256
EXPRESSION_SIDE: Final = 64

# fmt: off
BLENDSHAPE_POINTS: Final = np.array(
    [
        0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65, 66, 67, 70, 78,
        80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136, 144, 145, 146, 148, 149, 150, 152,
        153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168, 172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246,
        249, 251, 263, 267, 269, 270, 276, 282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312,
        314, 317, 318, 321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380, 381,
        382, 384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466, 468, 469, 470, 471, 472,
        473, 474, 475, 476, 477,
    ],
    np.int64,
)
# fmt: on
"""Which of the 478 points the blendshape network reads (kLandmarksSubsetIdxs, MediaPipe, face_blendshapes_graph.cc)."""

MESH_MEMBERS: Final = ("face_landmarks_detector.tflite", "face_blendshapes.tflite")
"""What is read of the bundle; its detector is not: faces are found already."""


def dlib_classifier(weights: bytes, *, side: int) -> bytes:
    """A network of dlib's in ONNX, float 1 x 3 x side x side in, probabilities out.

    Raises:
        ValueError: not such a file.
    """
    try:
        model = onnx.load_model_from_string(weights)
    except Exception as error:  # noqa: BLE001 -- protobuf raises classes of its own
        raise ValueError(f"not an ONNX file ({type(error).__name__})") from None
    if len(model.graph.input) != 1 or len(model.graph.output) != 1:
        raise ValueError("expected one input and one output")
    images, probabilities = model.graph.input[0].name, model.graph.output[0].name
    prefix = [
        helper.make_node("Cast", ["image"], ["bytes_as_float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Sub", ["bytes_as_float", "means"], ["without_means"]),
        helper.make_node("Mul", ["without_means", "one_256th"], ["scaled"]),
        helper.make_node("Transpose", ["scaled"], [images], perm=[0, 3, 1, 2]),
    ]
    constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    constants |= {"means": DLIB_MEANS, "one_256th": np.array(1 / 256, np.float32)}
    classes = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    (version,) = (each.version for each in model.opset_import if each.domain in ("", "ai.onnx"))
    nodes = [*prefix, *model.graph.node]
    return model_of(nodes, constants, {probabilities: (1, classes)}, side=side, opset=version)


def expressions(weights: bytes) -> bytes:
    """The expression network: seven probabilities of a grey face, in [-1, 1], 64 x 64.

    Raises:
        ValueError: not such a file.
    """
    converted = Converted(tflite.read(weights), prefix="e", images="grey")
    nodes = [
        helper.make_node("Cast", ["image"], ["bytes_as_float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("MatMul", ["bytes_as_float", "luma"], ["luma_out"]),
        helper.make_node("Sub", ["luma_out", "one"], ["grey"]),
        *converted.nodes,
    ]
    # (grey / 255 - 0.5) * 2
    constants: dict[str, NDArray[Any]] = {"luma": (LUMA * 2 / 255).reshape(3, 1), "one": np.array(1, np.float32)}
    return model_of(nodes, constants | converted.constants, converted.outputs, side=EXPRESSION_SIDE)


def mesh(weights: bytes) -> bytes:
    """The face mesh and the blendshapes made of its points, as one graph of three outputs: 478 points (x, y, z in
    pixels of the crop), the logit of there being a face, 52 blendshapes.

    Raises:
        ValueError: not such a bundle.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(weights)) as bundle:
            points_file, shapes_file = (bundle.read(each) for each in MESH_MEMBERS)
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"not a bundle of the face mesh: {error}") from None
    points = Converted(tflite.read(points_file), prefix="m", images="scaled")
    shapes = Converted(tflite.read(shapes_file), prefix="b", images="chosen")
    landmarks, presence, _tongue = points.outputs
    nodes = [
        helper.make_node("Cast", ["image"], ["bytes_as_float"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["bytes_as_float", "one_255th"], ["scaled"]),
        *points.nodes,
        helper.make_node("Reshape", [landmarks, "points_shape"], ["points"]),
        helper.make_node("Slice", ["points", "zero", "two", "last_axis"], ["flat"]),
        helper.make_node("Gather", ["flat", "subset"], ["chosen"], axis=1),
        *shapes.nodes,
    ]
    constants: dict[str, NDArray[Any]] = {
        "one_255th": np.array(1 / 255, np.float32),
        "points_shape": np.array([1, -1, 3], np.int64),
        "zero": np.array([0], np.int64),
        "two": np.array([2], np.int64),
        "last_axis": np.array([2], np.int64),
        "subset": BLENDSHAPE_POINTS,
    }
    outputs = {landmarks: points.outputs[landmarks], presence: points.outputs[presence]}
    constants |= points.constants | shapes.constants
    return model_of(nodes, constants, outputs | shapes.outputs, side=MESH_SIDE)
