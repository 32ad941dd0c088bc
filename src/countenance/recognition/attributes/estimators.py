"""The attribute packs of this installation as estimators: which there are, loaded when they are first needed.

Knows packs, sessions and which attribute comes from which; knows no gate and no AWS word. Nothing is worked out that
was not asked for. An attribute whose weights are not there is left out of every answer; the server runs without it.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from countenance.biometrics import Attributes, DetectedFace
from countenance.recognition import modelpack
from countenance.recognition.attributes import crops, demography, emotions
from countenance.recognition.attributes import mesh as face_mesh
from countenance.recognition.faults import ModelPackError
from countenance.recognition.session import Session, open_session

_log = logging.getLogger(__name__)

MESH: Final = "attributes-mesh"

PACK_OF: Final = {
    "age_range": "attributes-age",
    "gender": "attributes-gender",
    "emotions": "attributes-emotions",
    "smile": MESH,
    "eyes_open": MESH,
    "mouth_open": MESH,
    "eye_direction": MESH,
    "landmarks": MESH,
}
"""Every attribute that can be estimated, and the pack that it is estimated with."""

NAMES: Final = tuple(PACK_OF)


@dataclass(frozen=True, slots=True)
class Network:
    """A pack made ready."""

    session: Session
    side: int
    calibration: dict[str, float]

    def run(self, pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """One face at a time: a face's answer does not depend on which others the picture shows."""
        return self.session.run(np.ascontiguousarray(pixels[None]))


class Estimators:
    """What can be estimated of faces here. Thread-safe.

    Args:
        models_dir: where imported weights lie.
        switched_on: attributes that the operator allows, of `NAMES`.
        runtime: what `session.choose` returned.
        lanes: inferences at once.
        threads: threads inside one inference.
    """

    def __init__(
        self, models_dir: Path, *, switched_on: Collection[str] = NAMES, runtime: str, lanes: int, threads: int
    ) -> None:
        self._models_dir = models_dir
        self._open: Callable[[bytes, int], Session] = lambda graph, side: open_session(
            graph, runtime=runtime, shapes=[(1, side, side)], lanes=lanes, threads=threads, bfloat16=False
        )
        self._loading = threading.Lock()
        self._networks: dict[str, Network | None] = {}
        packs = {pack: usable(pack, models_dir) for pack in sorted({PACK_OF[name] for name in switched_on})}
        self.available: frozenset[str] = frozenset(name for name in switched_on if packs[PACK_OF[name]] is None)
        """Attributes that are switched on and whose weights are there."""
        for pack, problem in packs.items():
            if problem is not None:
                names = ", ".join(sorted(name for name in switched_on if PACK_OF[name] == pack))
                _log.warning("%s: left out of answers, because %s", names, problem)

    def estimate(self, pixels: NDArray[np.uint8], face: DetectedFace, wanted: Collection[str]) -> Attributes:
        """Some attributes of one face.

        Args:
            pixels: H x W x 3, the picture at a scale that shows the face well enough.
            face: in ratios of that picture.
            wanted: of `NAMES`; what is not available is left out.
        """
        asked = self.available.intersection(wanted)
        found: dict[str, Any] = {}
        if "age_range" in asked and (network := self._network("attributes-age")) is not None:
            (ages,) = network.run(crops.dlib_chip(pixels, face, network.side).pixels)
            found["age_range"] = demography.age_range(ages, **network.calibration)
        if "gender" in asked and (network := self._network("attributes-gender")) is not None:
            (genders,) = network.run(crops.dlib_chip(pixels, face, network.side).pixels)
            found["gender"] = demography.gender(genders, **network.calibration)
        if "emotions" in asked and (network := self._network("attributes-emotions")) is not None:
            cut = crops.upright(pixels, face, network.side, scale=crops.EXPRESSION_SCALE, lift=crops.EXPRESSION_LIFT)
            found["emotions"] = emotions.emotions(network.run(cut.pixels)[0])
        if any(PACK_OF[name] == MESH for name in asked) and (network := self._network(MESH)) is not None:
            found |= _of_mesh(network, pixels, face, asked)
        return Attributes(**found)

    def network(self, name: str) -> Network | None:
        """What an attribute is estimated with, for a measurement; None when it is not available."""
        return self._network(PACK_OF[name]) if name in self.available else None

    def close(self) -> None:
        """Let go of the networks. No call may be running."""
        for each in self._networks.values():
            if each is not None:
                each.session.close()
        self._networks.clear()

    def _network(self, pack: str) -> Network | None:
        """None when the weights that were there at the start are gone or changed: as if they had never been there."""
        if pack not in self._networks:
            with self._loading:
                if pack not in self._networks:
                    try:
                        self._networks[pack] = self._load(pack)
                    except ModelPackError as error:
                        _log.error("%s is left out of answers from now on: %s", pack, error.message)
                        self._networks[pack] = None
        return self._networks[pack]

    def _load(self, pack: str) -> Network:
        from countenance.recognition.attributes import graphs  # pulls in onnx

        loaded = modelpack.load(pack)
        (file,) = loaded.files
        content = modelpack.weights(file, self._models_dir)
        side = file.input_shape[1]
        try:
            if pack == MESH:
                graph = graphs.mesh(content)
            elif pack == "attributes-emotions":
                graph = graphs.expressions(content)
            else:
                graph = graphs.dlib_classifier(content, side=side)
        except ValueError as error:
            raise ModelPackError(f"model file {file.name} cannot be converted: {error}") from None
        return Network(self._open(graph, side), side, json.loads(loaded.calibration_text()))


def usable(pack: str, models_dir: Path) -> str | None:
    """Why a pack cannot be used, or None when it can: its weights are where they should be, with the right digest."""
    for report in modelpack.verify(modelpack.load(pack), models_dir):
        if report.state != "ready":
            return f"{report.file.name} is {report.state}: {report.detail}"
    return None


def mesh_of(
    network: Network, pixels: NDArray[np.uint8], face: DetectedFace
) -> tuple[face_mesh.Mesh, NDArray[np.float64]]:
    """A face's mesh, and its points (478 x 2) in pixels of the picture."""
    cut = crops.upright(pixels, face, network.side, scale=crops.MESH_SCALE)
    points, presence, blendshapes = network.run(cut.pixels)
    flat = points.reshape(-1, 3)[:, :2].astype(np.float64)
    made = face_mesh.Mesh(flat, float(1 / (1 + np.exp(-presence.item()))), blendshapes.ravel())
    return made, flat @ cut.inverse[:, :2].T + cut.inverse[:, 2]


def _of_mesh(network: Network, pixels: NDArray[np.uint8], face: DetectedFace, asked: Collection[str]) -> dict[str, Any]:
    calibration = dict(network.calibration)
    least = calibration.pop("presence")
    noise = face_mesh.Noise(**calibration)
    made, points = mesh_of(network, pixels, face)
    if made.presence < least:
        return {}  # points of something that is no face to this network would be made up
    found: dict[str, Any] = {}
    if "landmarks" in asked:
        found["landmarks"] = face_mesh.landmarks(points, pixels.shape[1], pixels.shape[0])
    if "smile" in asked:
        found["smile"] = face_mesh.smile(made)
    if "eyes_open" in asked:
        found["eyes_open"] = face_mesh.eyes_open(made, noise)
    if "mouth_open" in asked:
        found["mouth_open"] = face_mesh.mouth_open(made, noise)
    if "eye_direction" in asked:
        found["eye_direction"] = face_mesh.eye_direction(made, face.pose, noise)
    return found
