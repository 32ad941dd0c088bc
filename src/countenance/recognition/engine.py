"""Image bytes -> faces -> features: the one door to this folder.

Knows in which order the parts work, and how many calls may work at once; knows no network, no SQL, no AWS word.
`Engine` is thread-safe. In front of it stands a gate: as many calls as there are cores for work, a bounded number
waits, one more is refused at once.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from countenance.biometrics import Attributes, BoundingBox, DetectedFace, Landmark
from countenance.recognition import alignment, attributes, kinds, modelpack, opening, quality
from countenance.recognition.calibration import Calibration
from countenance.recognition.detector import LONG_SIDE, Detector
from countenance.recognition.extractor import Extractor
from countenance.recognition.faults import Busy, ModelPackError
from countenance.recognition.found import Found
from countenance.recognition.image import ALL_FORMATS, STRICT_FORMATS, Limits, Picture, read
from countenance.recognition.manifest import ModelPack
from countenance.recognition.session import CUDA, Gpu, choose

CORES_PER_LANE = 4
"""An inference over all of two cores serves as many calls a second as two side by side, and each of them sooner;
these networks are too small to keep many more cores busy (docs/design/decisions/0001-runtimes.md)."""

CALLS_TOGETHER = 32
"""Calls that are let in at once where calls are batched, as many as fill the largest batch: they wait for each other,
and on a GPU not for a core. `worker_threads` bounds them as well."""

LANDMARKS = ("eye_left", "eye_right", "nose", "mouth_left", "mouth_right")
"""Kinds of landmarks in the detector's order, the viewer's left first."""


@dataclass(frozen=True, slots=True)
class Analysis:
    """What one image shows. Holds the decoded pixels for `Engine.extract`; drop it when done."""

    width: int
    """Pixels of the upright image."""
    height: int
    sha256: bytes
    """Of the bytes as received."""
    format: str
    rotated: int
    """Degrees clockwise the image had to be turned to find a face: 90, 180 or 270 when nothing was upright."""
    faces: tuple[DetectedFace, ...]
    """Largest box first."""
    picture: Picture = field(repr=False, compare=False)


class Gate:
    """Lets `slots` calls in, lets `queue_limit` more wait, refuses the rest."""

    def __init__(self, *, slots: int, queue_limit: int) -> None:
        self._slots = threading.BoundedSemaphore(slots)
        self._places = threading.BoundedSemaphore(slots + queue_limit)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Wait for a slot and hold it.

        Raises:
            Busy: the queue is full.
        """
        if not self._places.acquire(blocking=False):
            raise Busy("Too many images are waiting to be worked on.", hint="raise inference_queue, or add cores")
        try:
            with self._slots:
                yield
        finally:
            self._places.release()


class Engine:
    """Finds faces and turns them into features."""

    def __init__(
        self,
        *,
        detector: Detector,
        extractor: Extractor,
        estimators: attributes.Estimators,
        calibration: Calibration,
        gate: Gate,
        limits: Limits,
        model_version: str,
        dimension: int,
        runtime: str,
    ) -> None:
        self.model_version = model_version
        self.dimension = dimension
        self.calibration = calibration
        self.runtime = runtime
        self._detector = detector
        self._extractor = extractor
        self._estimators = estimators
        self._gate = gate
        self._limits = limits

    def analyse(self, image: bytes, *, max_faces: int = 100) -> Analysis:
        """Decode an image and find its faces.

        Args:
            image: the file as received.
            max_faces: keep this many, the largest.

        Raises:
            ImageTooLarge, ImageTooSmall, ImageUnreadable: see `image.read`.
            Busy: too many calls are waiting.
        """
        with self._gate.entered():
            picture = self.decode(image)
            found, rotated = self.detect(picture)
            faces = self.describe(picture, found, max_faces=max_faces)
        return Analysis(
            width=picture.width,
            height=picture.height,
            sha256=hashlib.sha256(image).digest(),
            format=picture.format,
            rotated=rotated,
            faces=faces,
            picture=picture,
        )

    def extract(self, analysis: Analysis, faces: Sequence[DetectedFace]) -> NDArray[np.float32]:
        """Features of some faces of an analysed image.

        Returns:
            float32, len(faces) x dimension, unit length, in the order of `faces`.

        Raises:
            Busy: too many calls are waiting.
        """
        with self._gate.entered():
            return self.features(self.align(analysis.picture, faces))

    def extract_with_crops(
        self, analysis: Analysis, faces: Sequence[DetectedFace]
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """As `extract`, and the crops that the features were made of: uint8, len(faces) x 112 x 112 x 3, R G B.

        Raises:
            Busy: too many calls are waiting.
        """
        with self._gate.entered():
            crops = self.align(analysis.picture, faces)
            return self.features(crops), crops

    def extract_crops(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features of crops that were kept; see `features`.

        Raises:
            Busy: too many calls are waiting.
        """
        with self._gate.entered():
            return self.features(crops)

    @property
    def attributes(self) -> frozenset[str]:
        """What can be estimated here: switched on, and the weights are there."""
        return self._estimators.available

    def estimate(self, analysis: Analysis, faces: Sequence[DetectedFace], wanted: Collection[str]) -> list[Attributes]:
        """Attributes of some faces of an analysed image; only what is asked for is worked out.

        Args:
            analysis: of the image.
            faces: of its faces.
            wanted: of `attributes.NAMES`; what is not in `self.attributes` is left out.

        Raises:
            Busy: too many calls are waiting.
        """
        asked = self.attributes.intersection(wanted)
        if not asked:
            return [Attributes() for _ in faces]
        with self._gate.entered():
            shown = _showing(analysis.picture)
            return [self._estimators.estimate(shown(face), face, asked) for face in faces]

    def close(self) -> None:
        """Let go of the models. No call may be running."""
        self._detector.close()
        self._extractor.close()
        self._estimators.close()

    # The stages, one by one: `analyse` and `extract` are these in order, and a benchmark times them apart.

    def decode(self, image: bytes) -> Picture:
        """Stage 1: bytes to pixels, at least as many as the detector wants."""
        return read(image, self._limits, long_side=LONG_SIDE)

    def detect(self, picture: Picture) -> tuple[Found, int]:
        """Stage 2: boxes, landmarks and scores, in pixels of `picture.pixels`."""
        # Twice the pixels show a face of 20 as one of 40, which is enough: not all of 60 megapixels are needed.
        finer = partial(_finer, picture) if picture.denominator > 1 else None
        return self._detector.find(picture.pixels, finer=finer)

    def describe(self, picture: Picture, found: Found, *, max_faces: int = 100) -> tuple[DetectedFace, ...]:
        """Stage 3: ratios, pose and quality; the largest `max_faces`, largest first."""
        areas = found.boxes[:, 2] * found.boxes[:, 3]
        order = np.lexsort((found.boxes[:, 1], found.boxes[:, 0], -areas))[:max_faces]
        return tuple(_describe(picture, found, int(each)) for each in order)

    def align(self, picture: Picture, faces: Sequence[DetectedFace]) -> NDArray[np.uint8]:
        """Stage 4: uint8 crops, len(faces) x 112 x 112 x 3."""
        crops = np.empty((len(faces), alignment.CROP, alignment.CROP, 3), np.uint8)
        shown = _showing(picture)
        for at, face in enumerate(faces):
            pixels = shown(face)
            crops[at] = alignment.crop(pixels, _points(face, pixels))
        return crops

    def features(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Stage 5: the network."""
        return self._extractor.features(crops)


def build_engine(
    *,
    cache_dir: Path,
    runtime: str = "auto",
    threads: int | None = None,
    workers: int | None = None,
    queue_limit: int = 64,
    strict_formats: bool = False,
    max_bytes: int = 15 * 1024 * 1024,
    max_pixels: int = 64_000_000,
    flip: bool | None = None,
    pack: str = modelpack.DEFAULT_PACK,
    is_calibrating: bool = False,
    is_centred: bool = True,
    switched_on: Collection[str] = attributes.NAMES,
    gpu: Gpu | None = None,
    is_batching: bool | None = None,
) -> Engine:
    """Load a model pack and make it ready to run; after it returns, the first call is as fast as any, but for
    attributes, whose networks are loaded when they are first asked for.

    Args:
        cache_dir: where imported weights lie and folded graphs are kept.
        runtime: "auto", "openvino", "onnxruntime" or "cuda".
        threads: threads inside one inference; None shares the cores out over the workers.
        workers: inferences at once; None is one for every four cores, at least one.
        queue_limit: calls that may wait; one more raises `Busy`.
        strict_formats: accept JPEG and PNG only.
        max_bytes: largest file.
        max_pixels: largest width times height.
        flip: average with the mirror image; None is the pack's own default.
        pack: name of the model pack.
        is_calibrating: take a pack that has no calibration yet; its Similarity means nothing.
        is_centred: take the pack's centre off features; without, for fitting one.
        switched_on: attributes that may be estimated, of `attributes.NAMES`. Their networks are loaded when they are
            first needed; one whose weights are missing is left out of answers.
        gpu: which one, for "cuda"; attributes are estimated on the CPU all the same.
        is_batching: work out pictures and crops of several calls in one inference; None is on a GPU only, where it
            pays (docs/design/decisions/0024).

    Raises:
        ModelPackError: weights missing or wrong, or not of the kind that the manifest says; no calibration; runtime
            not installed, cache not writable.
    """
    loaded = modelpack.load(pack, cache_dir)
    kinds.refuse(loaded)
    if not is_centred:
        loaded = replace(loaded, centre=())
    mirror = loaded.flip if flip is None else flip
    cores = usable_cores()
    lanes = workers or max(1, cores // CORES_PER_LANE)
    inside = threads or max(1, cores // lanes)
    name = choose(runtime)
    made = opening.Opening(
        runtime=name,
        lanes=lanes,
        threads=inside,
        is_batching=name == CUDA if is_batching is None else is_batching,
        gpu=gpu,
        models_dir=cache_dir,
    )
    detector = opening.detector(loaded, made)
    extractor = opening.extractor(loaded, made, flip=mirror)
    # Last: files that are missing are the more useful thing to be told.
    calibration = _calibration(loaded, cache_dir, flip=mirror, is_calibrating=is_calibrating)
    beside = choose("auto") if name == CUDA else name
    return Engine(
        detector=detector,
        extractor=extractor,
        estimators=attributes.Estimators(
            cache_dir, switched_on=switched_on, runtime=beside, lanes=lanes, threads=inside
        ),
        calibration=calibration,
        gate=Gate(slots=max(lanes, cores, CALLS_TOGETHER if made.is_batching else 0), queue_limit=queue_limit),
        limits=Limits(
            max_bytes=max_bytes,
            max_pixels=max_pixels,
            formats=STRICT_FORMATS if strict_formats else ALL_FORMATS,
        ),
        model_version=loaded.version_with(mirror),
        dimension=loaded.dimension,
        runtime=extractor.runtime,
    )


def _calibration(pack: ModelPack, models_dir: Path, *, flip: bool, is_calibrating: bool) -> Calibration:
    text = modelpack.calibration_text(pack, models_dir, flip=flip)
    if text is not None:
        return Calibration.load(text)
    if is_calibrating:
        return Calibration((-1.0, 1.0), (0.0, 100.0), "not calibrated")
    raise ModelPackError(
        f"the model pack {pack.name} has no calibration: what its scores mean as a Similarity, nobody measured",
        hint=f"`countenance models calibrate {pack.name} --images FOLDER` fits one on labelled photographs",
    )


def _showing(picture: Picture) -> Callable[[DetectedFace], NDArray[np.uint8]]:
    """Of each face, the picture's pixels at the scale that shows it; every scale is decoded once."""
    scaled = {picture.denominator: picture}

    def shown(face: DetectedFace) -> NDArray[np.uint8]:
        denominator = _denominator(picture, face)
        if denominator not in scaled:
            scaled[denominator] = picture.at_scale(denominator)
        return scaled[denominator].pixels

    return shown


def _finer(picture: Picture) -> NDArray[np.uint8]:
    return picture.at_scale(picture.denominator // 2).pixels


def usable_cores() -> int:
    """Cores that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        return os.cpu_count() or 1


def _describe(picture: Picture, found: Found, at: int) -> DetectedFace:
    height, width = picture.pixels.shape[:2]
    left, top, across, down = (float(each) for each in found.boxes[at])
    points = found.points[at]
    box = BoundingBox(left / width, top / height, across / width, down / height)
    return DetectedFace(
        box=box,
        detection_confidence=float(found.scores[at]) * 100,
        landmarks=tuple(
            Landmark(kind, float(x) / width, float(y) / height) for kind, (x, y) in zip(LANDMARKS, points, strict=True)
        ),
        pose=quality.pose(points),
        quality=quality.measure(picture.pixels, (left, top, across, down)),
        pixel_box=(
            round(box.left * picture.width),
            round(box.top * picture.height),
            round(box.width * picture.width),
            round(box.height * picture.height),
        ),
    )


def _points(face: DetectedFace, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    by_kind = {each.kind: each for each in face.landmarks}
    height, width = pixels.shape[:2]
    return np.array([[by_kind[kind].x * width, by_kind[kind].y * height] for kind in LANDMARKS])


def _denominator(picture: Picture, face: DetectedFace) -> int:
    """The coarsest decoding, not coarser than the one at hand, with as many pixels on the face as its crop has.

    It depends on this face alone, so that its features do not depend on which others are asked for.
    """
    denominator = picture.denominator
    while denominator > 1:
        enlarged = alignment.magnification(_points(face, picture.pixels)) * denominator / picture.denominator
        if enlarged <= 1:
            break
        denominator //= 2
    return denominator
