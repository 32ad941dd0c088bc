"""Small ONNX files of the shape of real ones, whose outputs can be worked out by hand, and packs made of them.

An SCRFD of this kind is as sure of a face as a cell is bright; its boxes and landmarks are constants. Its names, its
layout and the order of its outputs are those of InsightFace's det_10g.onnx: three scores, three boxes, three landmarks.
An ArcFace of this kind multiplies the means of 28 x 28 blocks with a matrix.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
GAIN = 12.0
"""What a cell's brightness, -1 to 1, is multiplied by before the sigmoid."""
SECOND_ANCHOR = -3.0
"""What the second anchor of a cell has less than the first, before the sigmoid."""
SIDES = np.array([1.0, 1.5, 2.0, 2.5])
"""Strides to the left, the top, the right and the bottom; twice as many at the second anchor."""
POINTS = np.array([-0.5, -0.25, 0.5, -0.25, 0.0, 0.0, -0.5, 0.5, 0.5, 0.75])
BLOCK = 28
DIMENSION = 512


def scrfd(*, keypoints: bool = True, batched: bool = False, shuffled: bool = False, side: int | None = None) -> bytes:
    """An SCRFD file.

    Args:
        batched: outputs have a leading batch of one, as later exports have.
        shuffled: outputs come stride by stride instead of kind by kind.
        side: height and width are fixed in the file, as in some exports.
    """
    nodes: list[Any] = []
    constants: dict[str, NDArray[Any]] = {}
    outputs: dict[tuple[int, int], str] = {}
    names = iter(("448", "471", "494", "451", "474", "497", "454", "477", "500"))
    kinds = (1, 4, 10) if keypoints else (1, 4)
    for numbers in kinds:
        constants[f"shape_{numbers}"] = np.array([1, -1, numbers] if batched else [-1, numbers], np.int64)
        for stride in STRIDES:
            outputs[numbers, stride] = next(names)
    for stride in STRIDES:
        pooled = f"pooled_{stride}"
        nodes.append(
            helper.make_node(
                "AveragePool", ["input.1"], [pooled], kernel_shape=[stride, stride], strides=[stride, stride]
            )
        )
        for numbers in kinds:
            weight, bias = _head(numbers)
            constants[f"w{numbers}_{stride}"], constants[f"b{numbers}_{stride}"] = weight, bias
            at = f"conv{numbers}_{stride}"
            nodes.append(helper.make_node("Conv", [pooled, f"w{numbers}_{stride}", f"b{numbers}_{stride}"], [at]))
            nodes.append(helper.make_node("Transpose", [at], [f"{at}_t"], perm=[0, 2, 3, 1]))
            flat = outputs[numbers, stride] if numbers > 1 else f"{at}_flat"
            nodes.append(helper.make_node("Reshape", [f"{at}_t", f"shape_{numbers}"], [flat]))
            if numbers == 1:
                nodes.append(helper.make_node("Sigmoid", [flat], [outputs[numbers, stride]]))
    order = sorted(outputs, key=lambda each: (each[1], each[0])) if shuffled else list(outputs)
    size: list[Any] = [side, side] if side else ["height", "width"]
    return _file(nodes, constants, [1, 3, *size], [outputs[each] for each in order], rank=3 if batched else 2)


def _head(numbers: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    weight = np.zeros((2 * numbers, 3, 1, 1), np.float32)
    if numbers == 1:
        weight[:] = GAIN / 3
        bias = np.array([0.0, SECOND_ANCHOR])
    elif numbers == 4:
        bias = np.concatenate([SIDES, 2 * SIDES])
    else:
        bias = np.concatenate([POINTS, 2 * POINTS])
    return weight, bias.astype(np.float32)


def matrix(seed: int = 7) -> NDArray[np.float32]:
    """What an ArcFace of this kind multiplies with."""
    return np.random.default_rng(seed).normal(0, 1, (3 * (112 // BLOCK) ** 2, DIMENSION)).astype(np.float32)


def arcface(*, seed: int = 7, convolution: bool = False, fixed_batch: bool = False, one_by_one: bool = False) -> bytes:
    """An ArcFace file: input.1 to 683, as InsightFace's w600k_r50.onnx names them.

    Args:
        convolution: the image goes straight into one convolution, as in real files.
        fixed_batch: the file is made for one crop, as many exports are.
        one_by_one: it is, and of several crops nothing can be made with it.
    """
    nodes: list[Any] = []
    constants: dict[str, NDArray[Any]] = {"weight": matrix(seed)}
    at = "input.1"
    if convolution:
        constants["kernel"] = np.eye(3, dtype=np.float32).reshape(3, 3, 1, 1)
        nodes.append(helper.make_node("Conv", [at, "kernel"], ["convolved"]))
        at = "convolved"
    nodes.append(helper.make_node("AveragePool", [at], ["pooled"], kernel_shape=[BLOCK, BLOCK], strides=[BLOCK, BLOCK]))
    if one_by_one:
        constants["heads"] = np.array([4, -1, 4, 3], np.int64)  # as attention does: the batch is not in front
        nodes.append(helper.make_node("Reshape", ["pooled", "heads"], ["by_head"]))
        constants["shape"] = np.array([1, 3 * (112 // BLOCK) ** 2], np.int64)
        nodes.append(helper.make_node("Reshape", ["by_head", "shape"], ["flat"]))
    elif fixed_batch:
        constants["shape"] = np.array([1, 3 * (112 // BLOCK) ** 2], np.int64)
        nodes.append(helper.make_node("Reshape", ["pooled", "shape"], ["flat"]))
    else:
        nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    nodes.append(helper.make_node("MatMul", ["flat", "weight"], ["683"]))
    return _file(nodes, constants, [1 if fixed_batch or one_by_one else "batch", 3, 112, 112], ["683"])


def features_by_hand(crops: NDArray[np.uint8], *, bgr: bool = False, seed: int = 7) -> NDArray[np.float64]:
    """What `arcface` makes of n x 112 x 112 x 3 crops in R, G, B, of unit length."""
    scaled = (crops.astype(np.float64) - 127.5) / 127.5
    if bgr:
        scaled = scaled[..., ::-1]
    blocks = 112 // BLOCK
    means = scaled.reshape(len(crops), blocks, BLOCK, blocks, BLOCK, 3).mean(axis=(2, 4))
    rows = means.transpose(0, 3, 1, 2).reshape(len(crops), -1) @ matrix(seed).astype(np.float64)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _file(
    nodes: list[Any], constants: dict[str, NDArray[Any]], shape: list[Any], outputs: list[str], *, rank: int = 2
) -> bytes:
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input.1", TensorProto.FLOAT, shape)],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, [f"{name}_{n}" for n in range(rank)])
            for name in outputs
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def manifest(
    name: str, detector: bytes, features: bytes, *, commercial_use: bool = True, calibrated: bool = True, **more: Any
) -> dict[str, Any]:
    """The manifest of a pack of one's own: small.scrfd.onnx and small.arcface.onnx."""
    common = {"licence": "Test-1.0", "source": "https://example.org/models"}

    def file(role: str, kind: str, content: bytes, **rest: Any) -> dict[str, Any]:
        return {
            "role": role,
            "kind": kind,
            "name": f"small.{kind}.onnx",
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
            **common,
            **rest,
        }

    return {
        "name": name,
        "version": "1.0",
        "title": "Small models whose outputs can be worked out by hand",
        "commercial_use": commercial_use,
        "dimension": DIMENSION,
        "calibration": "calibration.json" if calibrated else None,
        "files": [
            file("detector", "scrfd", detector, input_shape=[1, -1, -1], mean=127.5, divisor=128),
            file("features", "arcface", features, input_shape=[-1, 112, 112], mean=127.5, divisor=127.5),
        ],
        **more,
    }


CALIBRATION = {
    "fitted_on": "nothing: for tests",
    "points": [{"similarity": 0, "comparison_score": -1}, {"similarity": 100, "comparison_score": 1}],
}


def install(models_dir: Path, name: str = "small", **changes: Any) -> dict[str, Any]:
    """Put a pack of one's own and its weights into a models folder, as an import leaves them. Returns its manifest."""
    detector, features = changes.pop("detector", scrfd()), changes.pop("features", arcface())
    said = manifest(name, detector, features, **changes)
    folder = models_dir / "packs" / name
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(said))
    (folder / "calibration.json").write_text(json.dumps(CALIBRATION))
    (models_dir / f"{name}-detector.onnx").write_bytes(detector)
    (models_dir / f"{name}-features.onnx").write_bytes(features)
    return said
