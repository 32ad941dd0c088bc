"""The other recognisers: OpenCV's FaceDetectorYN + FaceRecognizerSF, and dlib's HOG + ResNet.

Each is used as its own documentation shows: decode the whole file, shrink it to a longest side, detect, align,
features. `stages` times the steps of one photograph apart.
"""

from __future__ import annotations

import importlib.metadata
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from onnx import helper

from countenance.recognition import folding, modelpack

SCORE_THRESHOLD = 0.7
"""Countenance's own; OpenCV's default of 0.9 would find fewer faces and so have less work."""
OVERLAP_LIMIT = 0.3
TOP = 5000
"""FaceDetectorYN's defaults."""
UPSAMPLE = 1
"""How often face_recognition, dlib's usual door, enlarges a picture before HOG: its default."""


class OpenCv:
    """FaceDetectorYN + FaceRecognizerSF on the folded float32 weights that Countenance runs."""

    def __init__(self, work: Path, *, longest_side: int) -> None:
        # Version 5 warns at every load that its new engine chooses the target by itself.
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
        pack = modelpack.load()
        paths = {}
        for role, shape in (("detector", (1, 640, 640)), ("features", (1, 112, 112))):
            file = pack.file(role)
            paths[role] = work / f"{role}.onnx"
            weights = modelpack.weights(file, work)
            paths[role].write_bytes(planar(folding.fold(weights, input_shape=shape, reverse_channels=False)))
        self._longest_side = longest_side
        self._detector = cv2.FaceDetectorYN.create(
            str(paths["detector"]), "", (320, 320), SCORE_THRESHOLD, OVERLAP_LIMIT, TOP
        )
        self._recogniser = cv2.FaceRecognizerSF.create(str(paths["features"]), "")
        self._size = (0, 0)

    def pixels(self, data: bytes) -> np.ndarray:
        """B G R, the longest side at most the limit."""
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        longest = max(image.shape[:2])
        if longest <= self._longest_side:
            return image
        scale = self._longest_side / longest
        return cv2.resize(image, None, fx=scale, fy=scale)

    def stages(self, data: bytes) -> dict[str, float]:
        """Seconds by step, and the number of faces."""
        start = time.perf_counter()
        image = self.pixels(data)
        decoded = time.perf_counter()
        size = (image.shape[1], image.shape[0])
        if size != self._size:
            # Once per photograph: a change of size makes the network plan again, and the first, untimed pass
            # over each photograph pays for it.
            self._detector.setInputSize(size)
            self._size = size
        _, faces = self._detector.detect(image)
        detected = time.perf_counter()
        crops = [] if faces is None else [self._recogniser.alignCrop(image, face) for face in faces]
        aligned = time.perf_counter()
        for crop in crops:
            self._recogniser.feature(crop)
        done = time.perf_counter()
        return {
            "decode": decoded - start,
            "detect": detected - decoded,
            "align": aligned - detected,
            "features": done - aligned,
            "faces": len(crops),
        }


class Dlib:
    """HOG detector, five landmarks, ResNet features, as face_recognition runs them. Single-threaded by nature."""

    def __init__(self, opencv: OpenCv) -> None:
        """Raises ImportError when dlib or its weights are not installed."""
        import dlib

        self._opencv = opencv
        self._find: Any = dlib.get_frontal_face_detector()
        self._landmarks: Any = dlib.shape_predictor(_weights("shape_predictor_5_face_landmarks.dat"))
        self._network: Any = dlib.face_recognition_model_v1(_weights("dlib_face_recognition_resnet_model_v1.dat"))

    def stages(self, data: bytes) -> dict[str, float]:
        """Seconds by step, and the number of faces; landmarks count as detection."""
        start = time.perf_counter()
        image = cv2.cvtColor(self._opencv.pixels(data), cv2.COLOR_BGR2RGB)
        decoded = time.perf_counter()
        shapes = [self._landmarks(image, box) for box in self._find(image, UPSAMPLE)]
        detected = time.perf_counter()
        for shape in shapes:
            self._network.compute_face_descriptor(image, shape)
        done = time.perf_counter()
        return {
            "decode": decoded - start,
            "detect": detected - decoded,
            "align": 0.0,  # inside compute_face_descriptor
            "features": done - detected,
            "faces": len(shapes),
        }


def planar(graph: bytes) -> bytes:
    """A folded graph with the input that OpenCV gives: float32 N x 3 x H x W instead of bytes N x H x W x 3."""
    model = onnx.load_model_from_string(graph)
    nodes = model.graph.node
    if [node.op_type for node in nodes[:2]] != ["Cast", "Transpose"]:
        raise RuntimeError("the folded graph does not begin with the bridge from bytes that was expected")
    name = nodes[1].output[0]
    batch, height, width, channels = (each.dim_value for each in model.graph.input[0].type.tensor_type.shape.dim)
    del nodes[:2], model.graph.input[:]
    model.graph.input.append(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [batch, channels, height, width])
    )
    return model.SerializeToString()


def _weights(name: str) -> str:
    # Found, not imported: the package's own module needs pkg_resources, which setuptools no longer has.
    try:
        files = importlib.metadata.files("face_recognition_models") or []
    except importlib.metadata.PackageNotFoundError as error:
        raise ImportError("face_recognition_models is not installed") from error
    for file in files:
        if file.name == name:
            return str(file.locate())
    raise ImportError(f"face_recognition_models does not bring {name}")
