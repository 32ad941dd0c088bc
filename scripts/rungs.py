"""The steps from a plain pipeline to the shipped default, for `ladder.py`: how each finds faces and makes features.

What is left out is done by subclasses here: what ships has no switches for it.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from degraded import Box
from numpy.typing import NDArray

from countenance.recognition import RecognitionError, alignment, modelpack
from countenance.recognition.detector import CANVASES, LONG_SIDE, Detector, fit, plan
from countenance.recognition.engine import usable_cores
from countenance.recognition.extractor import Extractor, batch_shapes
from countenance.recognition.found import Found
from countenance.recognition.image import Limits, read
from countenance.recognition.resampling import shrunk
from countenance.recognition.session import choose, open_session

Pixels = NDArray[np.uint8]
Rows = NDArray[np.float32]
Finer = Callable[[], Pixels] | None

TIMED: Final = 100
"""Photographs that times are medians of."""
SHIFT: Final = 3
"""Pixels of the crop that shifted ones are off."""
TRIED: Final = ("clean", "blur4", "small24", "yaw45")
"""Conditions that the steps left out are measured on: all of them would take as long as everything else."""
LIMITS: Final = Limits(max_bytes=2**24, max_pixels=2**24)


class Plain(Detector):
    """One look, on the canvas that the picture fits in."""

    def find(self, pixels: Pixels, *, finer: Finer = None) -> tuple[Found, int]:
        canvas = plan(pixels.shape[1], pixels.shape[0])[0]
        image, scale = fit(pixels, canvas)
        return self._head.read(self._session.run(image), canvas, self._head.threshold).magnified(1 / scale), 0


class Looks(Detector):
    """As shipped, without close-ups."""

    def _closed_up(self, pixels: Pixels, finer: Finer, sure: Found, doubtful: Found) -> Found:
        return sure


class Both(Detector):
    """As shipped; keeps what was found before the close-ups."""

    before: Found

    def _closed_up(self, pixels: Pixels, finer: Finer, sure: Found, doubtful: Found) -> Found:
        self.before = sure
        return super()._closed_up(pixels, finer, sure, doubtful)


@dataclass(frozen=True, slots=True)
class Networks:
    """What the steps are made of."""

    plain: Detector
    looks: Detector
    both: Both
    extractor: Extractor
    """Of the face as it is; nothing is taken off."""
    centre: Rows
    model_version: str


@dataclass(frozen=True, slots=True)
class Step:
    """One rung."""

    key: str
    detection: str
    """Of "plain", "looks" and "close-ups"."""
    made: str
    """How features are made; see `features_of`."""


STEPS: Final = (
    Step("0 plain", "plain", "once"),
    Step("1 looks", "looks", "once"),
    Step("2 close-ups", "close-ups", "once"),
    Step("3 mirror", "close-ups", "mirrored"),
    Step("4 centre (shipped)", "close-ups", "shipped"),
    Step("a shifts", "close-ups", "shifted"),
    Step("b cubic", "close-ups", "cubic"),
)
DETECTIONS: Final = ("plain", "looks", "close-ups")


def networks(cache: Path) -> Networks:
    """As the engine opens them: inferences one at a time, over all cores."""
    pack, runtime = modelpack.load(modelpack.DEFAULT_PACK, cache), choose("auto")
    opened = partial(open_session, runtime=runtime, lanes=1, threads=usable_cores())
    graph = modelpack.folded(pack.file("detector"), cache)
    detector = opened(graph, shapes=[(1, *canvas) for canvas in CANVASES], bfloat16=False)
    features = opened(modelpack.folded(pack.file("features"), cache), shapes=batch_shapes(), bfloat16=True)
    return Networks(
        plain=Plain(detector),
        looks=Looks(detector),
        both=Both(detector),
        extractor=Extractor(features, dimension=pack.dimension, flip=False),
        centre=np.array(pack.centre, np.float32),
        model_version=pack.model_version,
    )


def nearest(found: Found, box: Box) -> NDArray[np.float64] | None:
    """The landmarks of the face that was looked for, 5 x 2; None when none is where it is."""
    if not len(found):
        return None
    middles = found.boxes[:, :2] + found.boxes[:, 2:] / 2
    off = np.hypot(*(middles - [box[0] + box[2] / 2, box[1] + box[3] / 2]).T)
    at = int(np.argmin(off))
    return found.points[at] if off[at] <= max(box[2:]) / 2 else None


def cut_at(pixels: Pixels, points: NDArray[np.float64], x: int = 0, y: int = 0) -> Pixels:
    """The crop, so many pixels off."""
    inverse = alignment.inverse_of(alignment.similarity_transform(points))
    if inverse is None:
        return np.zeros((alignment.CROP, alignment.CROP, 3), np.uint8)
    moved = inverse.copy()
    moved[:, 2] += inverse[:, :2] @ [x, y]
    return alignment.cut(pixels, moved, alignment.CROP)


def cubic(pixels: Pixels, points: NDArray[np.float64]) -> Pixels:
    """The crop, sampled bicubically; of a face much larger than it, from means of blocks, as `alignment.cut` does."""
    inverse = alignment.inverse_of(alignment.similarity_transform(points))
    side = (alignment.CROP, alignment.CROP)
    if inverse is None:
        return np.zeros((*side, 3), np.uint8)
    by = max(1, int(math.hypot(inverse[0, 0], inverse[1, 0])))
    moved = np.column_stack([inverse[:, :2], inverse[:, 2] - (by - 1) / 2]) / by
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(shrunk(pixels, by), moved, side, flags=flags), np.uint8)


def crops_of(made: str, pixels: Pixels, points: NDArray[np.float64]) -> Pixels:
    """What the network is given of a face: n x 112 x 112 x 3, n being 5 for shifted ones and 1 otherwise."""
    if made == "cubic":
        return cubic(pixels, points)[None]
    if made == "shifted":
        shifts = ((0, 0), (SHIFT, 0), (-SHIFT, 0), (0, SHIFT), (0, -SHIFT))
        return np.stack([cut_at(pixels, points, x, y) for x, y in shifts])
    return alignment.crop(pixels, points)[None]


class Remembering:
    """The network, run once for crops that several steps share: the first two steps' mostly are the same."""

    def __init__(self, extractor: Extractor) -> None:
        self._extractor = extractor
        self._known: dict[bytes, Rows] = {}

    def features(self, crops: Pixels) -> Rows:
        """As `Extractor.features`."""
        keys = [hashlib.sha256(crop.tobytes()).digest() for crop in crops]
        new = [at for at, key in enumerate(keys) if key not in self._known]
        self._known.update(zip((keys[at] for at in new), self._extractor.features(crops[new]), strict=True))
        return np.stack([self._known[key] for key in keys])


def features_of(made: str, crops: Pixels, once: Callable[[Pixels], Rows], centre: Rows) -> Rows:
    """Unit length, faces x dimension, of faces x n crops (see `crops_of`): as `Extractor` does, and what was tried.

    Args:
        once: features of unit length of crops as they are.
        centre: the pack's.
    """
    parts = [once(np.ascontiguousarray(crops[:, at])) for at in range(crops.shape[1])]
    if made == "once":
        return parts[0]
    parts.append(once(np.ascontiguousarray(crops[:, 0, :, ::-1])))
    mean = unit(np.sum(parts, axis=0))
    return mean if made == "mirrored" else unit(mean - centre)


def unit(rows: Rows) -> Rows:
    made: Rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return made


@dataclass(frozen=True, slots=True)
class Seen:
    """A condition's copies through every step that is measured on it."""

    features: dict[str, Rows]
    """By step; zero where acquiring failed."""
    acquired: dict[str, NDArray[np.bool_]]
    """By detection."""


def see(condition: str, paths: Sequence[Path], boxes: Sequence[Box], nets: Networks) -> Seen:
    """Run one condition."""
    pictures: list[Pixels | None] = []
    points: dict[str, list[NDArray[np.float64] | None]] = {detection: [] for detection in DETECTIONS}
    for path, box in zip(paths, boxes, strict=True):
        try:
            pixels = read(path.read_bytes(), LIMITS, long_side=LONG_SIDE).pixels
        except RecognitionError:  # cut off at the face, a picture can be smaller than is accepted
            pictures.append(None)
            for each in points.values():
                each.append(None)
            continue
        pictures.append(pixels)
        points["plain"].append(nearest(nets.plain.find(pixels)[0], box))
        shipped, _ = nets.both.find(pixels)
        points["looks"].append(nearest(nets.both.before, box))
        points["close-ups"].append(nearest(shipped, box))
    features: dict[str, Rows] = {}
    remembering = Remembering(nets.extractor)
    for step in STEPS:
        if step.made in ("shifted", "cubic") and condition not in TRIED:
            continue
        where = points[step.detection]
        got = [at for at, each in enumerate(where) if each is not None]
        rows = np.zeros((len(paths), nets.centre.size), np.float32)
        kept = []
        for at in got:
            picture, face = pictures[at], where[at]
            assert picture is not None
            assert face is not None
            kept.append(crops_of(step.made, picture, face))
        if kept:
            rows[got] = features_of(step.made, np.stack(kept), remembering.features, nets.centre)
        features[step.key] = rows
    acquired = {name: np.array([each is not None for each in some]) for name, some in points.items()}
    return Seen(features, acquired)


def timed(paths: Sequence[Path], nets: Networks) -> dict[str, tuple[float, float]]:
    """Milliseconds of detection and of features (cutting included) of one photograph, by step."""
    pictures = [read(path.read_bytes(), LIMITS, long_side=LONG_SIDE).pixels for path in paths[:TIMED]]
    faces = [found.points[0] for found, _ in map(nets.both.find, pictures)]
    finding = {"plain": nets.plain.find, "looks": nets.looks.find, "close-ups": nets.both.find}

    making = sorted({step.made for step in STEPS})
    took: dict[str, list[float]] = {name: [] for name in (*finding, *making)}

    def features(made: str, pixels: Pixels, points: NDArray[np.float64]) -> Rows:
        crops = crops_of(made, pixels, points)[None]
        return features_of(made, crops, nets.extractor.features, nets.centre)

    # Photograph by photograph, so that whatever else the machine does meanwhile delays every step alike; beginning with
    # another one each time, since what comes first finds the caches full of something else.
    for at, (pixels, points) in enumerate(zip(pictures, faces, strict=True)):
        work: dict[str, Callable[[], object]] = {name: partial(find, pixels) for name, find in finding.items()}
        work |= {name: partial(features, name, pixels, points) for name in making}
        order = list(work)
        for name in order[at % len(order) :] + order[: at % len(order)]:
            start = time.perf_counter()
            work[name]()
            took[name].append(time.perf_counter() - start)
    median = {name: float(np.median(each)) * 1000 for name, each in took.items()}
    return {step.key: (median[step.detection], median[step.made]) for step in STEPS}
