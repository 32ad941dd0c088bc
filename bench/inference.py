"""The recognition engine as shipped, against OpenCV and dlib, photograph by photograph in one run."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import numpy as np

from bench import Section, machine
from bench.peers import Dlib, OpenCv
from bench.photographs import DataMissing, Photograph, photographs
from countenance.recognition import alignment, build_engine, detector, modelpack
from countenance.recognition.engine import Engine
from countenance.recognition.extractor import Extractor, batch_shapes
from countenance.recognition.image import Picture
from countenance.recognition.session import choose, open_session

REPEATS = 5
QUICK_REPEATS = 2
DLIB_REPEATS = 2
"""dlib takes several times as long as everything else together."""
PEER_SIDE = 640
WIDEST = max(map(max, detector.CANVASES))
"""The longest side that the shipped detector looks at: OpenCV is measured there as well."""
WIDE = f"opencv {WIDEST}"
DECODE_LIMIT = 0.5
INFERENCE_LIMIT = 0.9
INFERENCE_LIMIT_BFLOAT16 = 0.7
STAGES = ("decode", "detect", "align", "features")
OWN_STAGES = {"describe": "pose and quality", "again": "decode again, larger, for small faces"}
"""What the peers do not do; part of neither target, but of the row "everything"."""

Stages = dict[str, float]
Contestant = Callable[[bytes], Stages]
Runs = dict[str, list[list[Stages]]]
"""Contestant -> repetition -> photograph -> seconds by stage."""


class Shipped:
    """The engine, its own stages timed apart. Shrinking to the detector's canvas counts as decoding, as it does
    for the peers."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def stages(self, data: bytes) -> Stages:
        engine = self.engine
        with _timed(detector, "fit") as fitting, _timed(Picture, "at_scale") as finer:
            start = time.perf_counter()
            picture = engine.decode(data)
            decoded = time.perf_counter()
            found, _ = engine.detect(picture)
            detected = time.perf_counter()
        faces = engine.describe(picture, found)
        described = time.perf_counter()
        with _timed(Picture, "at_scale") as decoding:
            crops = engine.align(picture, faces)
            aligned = time.perf_counter()
        engine.features(crops)
        done = time.perf_counter()
        fit, closer, again = sum(fitting), sum(finer), sum(decoding)
        return {
            "decode": decoded - start + fit,
            "detect": detected - decoded - fit - closer,
            "describe": described - detected,
            "again": again + closer,
            "align": aligned - described - again,
            "features": done - aligned,
            "faces": len(faces),
            "scaled": picture.denominator > 1,
        }

    def crops(self, data: bytes) -> np.ndarray:
        """The aligned faces of a photograph."""
        picture = self.engine.decode(data)
        return self.engine.align(picture, self.engine.describe(picture, self.engine.detect(picture)[0]))

    def detection(self, data: bytes) -> Stages:
        """Only as far as the faces."""
        picture = self.engine.decode(data)
        start = time.perf_counter()
        found, _ = self.engine.detect(picture)
        return {"detect": time.perf_counter() - start, "faces": len(found)}


class OnePass:
    """The same parts put together as OpenCV puts its own: the peer's pixels, one pass at their size, no retry."""

    def __init__(self, peer: OpenCv, cache: Path, *, canvases: Sequence[tuple[int, int]], threads: int) -> None:
        pack = modelpack.load()
        runtime = choose("auto")
        self._peer = peer
        self._canvases = canvases
        self._session = open_session(
            modelpack.folded(pack.file("detector"), cache),
            runtime=runtime,
            shapes=[(1, *canvas) for canvas in canvases],
            lanes=1,
            threads=threads,
            bfloat16=False,
        )
        features = open_session(
            modelpack.folded(pack.file("features"), cache),
            runtime=runtime,
            shapes=batch_shapes(),
            lanes=1,
            threads=threads,
            bfloat16=True,
        )
        self._extractor = Extractor(features, dimension=pack.dimension, flip=False)

    def stages(self, data: bytes) -> Stages:
        pixels = np.ascontiguousarray(self._peer.pixels(data)[:, :, ::-1])
        height, width = pixels.shape[:2]
        canvas = min(
            (each for each in self._canvases if each[0] >= height and each[1] >= width),
            key=lambda each: each[0] * each[1],
        )
        start = time.perf_counter()
        image, scale = detector.fit(pixels, canvas)
        found = detector.decode(self._session.run(image), canvas)
        detected = time.perf_counter()
        crops = np.empty((len(found), alignment.CROP, alignment.CROP, 3), np.uint8)
        for at, points in enumerate(found.points):
            crops[at] = alignment.crop(pixels, points / scale)
        aligned = time.perf_counter()
        self._extractor.features(crops)
        done = time.perf_counter()
        return {
            "detect": detected - start,
            "align": aligned - detected,
            "features": done - aligned,
            "faces": len(found),
        }


def run(*, quick: bool) -> Section:
    """The whole section."""
    section = Section("inference", "Recognition: the shipped engine against OpenCV and dlib")
    try:
        photos = photographs(quick=quick)
    except DataMissing as missing:
        section.notes.append(f"Not measured: {missing}.")
        return section
    repeats = QUICK_REPEATS if quick else REPEATS
    with tempfile.TemporaryDirectory(prefix="countenance-bench-") as folder:
        work = Path(folder)
        cores = machine.usable_cores()
        _explain(section, photos, repeats, cores)
        _compare(section, photos, repeats, work, threads=cores, everything=True)
        if cores > 1:
            _compare(section, photos, repeats, work, threads=1, everything=False)
    return section


def _explain(section: Section, photos: Sequence[Photograph], repeats: int, cores: int) -> None:
    section.notes += [
        f"{len(photos)} photographs, {repeats} timed repetitions after an untimed one; the contestants take turns on "
        "each photograph. A ratio is total time over total time of one repetition; the median over repetitions is "
        "given, the smallest and largest beside it.",
        "OpenCV: cv2.imdecode of the whole file, cv2.resize to a longest side of 640, FaceDetectorYN at that size, "
        "FaceRecognizerSF, same weights (folded to float32), same thread count, score threshold 0.7.",
        f"Countenance as shipped: JPEGs decoded scaled down to at least {detector.LONG_SIDE} pixels on the longer "
        f"side, searched on canvases of up to {WIDEST} pixels and on a thumbnail (so that a "
        "40-pixel face in a 1920 x 1080 frame and a face that fills the frame are "
        "both found), again in the three other orientations when nothing was upright. That is more work than OpenCV "
        f"does here; the rows 'same pixels, one pass' and 'OpenCV at {WIDEST}' compare equal work.",
        "decode = file to detector input, resizing included on both sides; inference = detect + align + features. Rows "
        "of their own: pose and quality, which OpenCV does not measure, and decoding a large JPEG again at a larger "
        "scale when a small face needs its own pixels. 'Everything' holds both.",
    ]


def _compare(
    section: Section, photos: Sequence[Photograph], repeats: int, work: Path, *, threads: int, everything: bool
) -> None:
    cv2.setNumThreads(threads)
    cache = work / "models"
    shipped = Shipped(build_engine(cache_dir=cache, threads=threads, workers=1))
    opencv = OpenCv(work, longest_side=PEER_SIDE)
    one_pass = OnePass(opencv, cache, canvases=detector.MIDDLE, threads=threads)
    contestants: dict[str, Contestant] = {
        "countenance": shipped.stages,
        "opencv": opencv.stages,
        "one pass": one_pass.stages,
    }
    if everything:
        contestants[WIDE] = OpenCv(work, longest_side=WIDEST).stages
        contestants["onnxruntime"] = Shipped(
            build_engine(cache_dir=cache, threads=threads, workers=1, runtime="onnxruntime")
        ).stages
    runs = _take_turns(contestants, photos, repeats)
    label = f"{threads} thread{'s' if threads > 1 else ''}"
    _stage_rows(section, runs, label)
    _ratio_rows(section, runs, label)
    if everything:
        value, spread = _ratio(runs["onnxruntime"], runs["countenance"], ["detect", "align", "features"])
        section.add(f"ONNX Runtime / {shipped.engine.runtime}: inference", value, "ratio", spread)
        _flip_row(
            section, photos, shipped, build_engine(cache_dir=cache, threads=threads, workers=1, flip=False), repeats
        )
        _canvas_rows(section, photos, shipped, repeats)
        _dlib_rows(section, photos, shipped, opencv, repeats)
    shipped.engine.close()


def _stage_rows(section: Section, runs: Runs, label: str) -> None:
    names = {
        "countenance": "countenance as shipped",
        "opencv": "OpenCV at 640",
        "one pass": "countenance, OpenCV's pixels, one pass",
        WIDE: f"OpenCV at {WIDEST}",
        "onnxruntime": "countenance on ONNX Runtime",
    }
    for key, name in names.items():
        if key not in runs:
            continue
        for stage in ("decode", "detect", "describe", "again", "align", "features"):
            if stage in runs[key][0][0]:
                what = OWN_STAGES.get(stage, stage)
                section.add(f"{name}: {what} ({label})", _mean_ms(runs[key], [stage]), "ms/photo")
        faces = sum(stages["faces"] for stages in runs[key][0])
        section.add(f"{name}: faces found", faces, "faces", note=f"{label}")


def _ratio_rows(section: Section, runs: Runs, label: str) -> None:
    limit = INFERENCE_LIMIT_BFLOAT16 if machine.has_bfloat16() else INFERENCE_LIMIT
    ours, peer = runs["countenance"], runs["opencv"]
    inference = ["detect", "align", "features"]
    value, spread = _ratio(ours, peer, ["decode"])
    section.at_most(f"decode to detector input / OpenCV's ({label})", value, "ratio", DECODE_LIMIT, spread)
    scaled = [at for at, stages in enumerate(ours[0]) if stages["scaled"]]
    whole = [at for at, stages in enumerate(ours[0]) if not stages["scaled"]]
    for indices, what in ((scaled, "decoded scaled down"), (whole, "too small for that")):
        if indices:
            value, spread = _ratio(ours, peer, ["decode"], indices)
            section.add(f"  of it the {len(indices)} photographs {what} ({label})", value, "ratio", spread)
    value, spread = _ratio(ours, peer, inference)
    section.at_most(f"inference as shipped / OpenCV at 640 ({label})", value, "ratio", limit, spread)
    section.add(f"  median of the photographs' own ratios ({label})", _median_ratio(ours, peer, inference), "ratio")
    value, spread = _ratio(runs["one pass"], peer, inference)
    section.at_most(f"inference on the same pixels, one pass / OpenCV at 640 ({label})", value, "ratio", limit, spread)
    if WIDE in runs:
        value, spread = _ratio(ours, runs[WIDE], inference)
        section.at_most(f"inference as shipped / OpenCV at {WIDEST} ({label})", value, "ratio", limit, spread)
    per_face = _per_face_ms(ours) / _per_face_ms(peer)
    section.add(f"features of one face / OpenCV's ({label})", per_face, "ratio")
    value, spread = _ratio(ours, peer, [*OWN_STAGES, *STAGES])
    section.add(f"everything / OpenCV at 640 ({label})", value, "ratio", spread)


def _flip_row(section: Section, photos: Sequence[Photograph], shipped: Shipped, plain: Engine, repeats: int) -> None:
    crops = {photo.data: shipped.crops(photo.data) for photo in photos}

    def timed(engine: Engine) -> Contestant:
        def features(data: bytes) -> Stages:
            start = time.perf_counter()
            engine.features(crops[data])
            return {"features": time.perf_counter() - start}

        return features

    runs = _take_turns({"off": timed(plain), "on": timed(shipped.engine)}, photos, repeats)
    value, spread = _ratio(runs["on"], runs["off"], ["features"])
    section.add("flip on / off: features", value, "ratio", f"{spread}; on by default, what it buys: docs/accuracy.md")
    plain.close()


def _canvas_rows(section: Section, photos: Sequence[Photograph], shipped: Shipped, repeats: int) -> None:
    plan = detector.plan  # the real one, before it is replaced for a variant
    plans: dict[str, Callable[[int, int], list[tuple[int, int]]]] = {
        "as shipped": plan,
        "without the thumbnail": lambda width, height: plan(width, height)[:1],
        "one pass at 640": lambda width, height: plan(*_within(width, height, PEER_SIDE))[:1],
    }

    def planned(variant: Any) -> Contestant:
        def detection(data: bytes) -> Stages:
            with mock.patch.object(detector, "plan", variant):
                return shipped.detection(data)

        return detection

    passes = _take_turns({name: planned(plan) for name, plan in plans.items()}, photos, repeats)
    labels = [photo.labelled_faces for photo in photos]
    known = sum(count for count in labels if count is not None)
    for name in plans:
        found = sum(stages["faces"] for stages, count in zip(passes[name][0], labels, strict=True) if count is not None)
        note = f"{found:.0f} faces found where {known} are labelled"
        section.add(f"canvases {name}: detect", _mean_ms(passes[name], ["detect"]), "ms/photo", note)


def _dlib_rows(section: Section, photos: Sequence[Photograph], shipped: Shipped, opencv: OpenCv, repeats: int) -> None:
    try:
        dlib = Dlib(opencv)
    except ImportError as error:
        section.notes.append(f"dlib was not measured: {error}; `bash bench/setup.sh` installs it.")
        return
    section.notes.append(
        "dlib: the same pixels at a longest side of 640, HOG after one enlargement (face_recognition's default), five "
        "landmarks, ResNet without jitter; one thread, which is all that it uses."
    )
    contestants = {"dlib": dlib.stages, "opencv": opencv.stages, "countenance": shipped.stages}
    runs = _take_turns(contestants, photos, min(repeats, DLIB_REPEATS))
    for stage in ("detect", "features"):
        section.add(f"dlib at 640: {stage}", _mean_ms(runs["dlib"], [stage]), "ms/photo")
    section.add("dlib at 640: faces found", sum(stages["faces"] for stages in runs["dlib"][0]), "faces")
    for other, name in (("opencv", "OpenCV at 640"), ("countenance", "countenance as shipped")):
        value, spread = _ratio(runs["dlib"], runs[other], ["detect", "align", "features"])
        section.add(f"dlib / {name}: inference", value, "ratio", spread)


def _take_turns(contestants: dict[str, Contestant], photos: Sequence[Photograph], repeats: int) -> Runs:
    runs: Runs = {name: [[] for _ in range(repeats)] for name in contestants}
    for photo in photos:
        for turn in range(-1, repeats):  # turn -1 is not kept: it pays for first uses
            for name, stages in contestants.items():
                taken = stages(photo.data)
                if turn >= 0:
                    runs[name][turn].append(taken)
    return runs


def _total(repetition: list[Stages], stages: Sequence[str], indices: Sequence[int] | None = None) -> float:
    chosen = repetition if indices is None else [repetition[at] for at in indices]
    return sum(taken.get(stage, 0.0) for taken in chosen for stage in stages)


def _mean_ms(run: list[list[Stages]], stages: Sequence[str]) -> float:
    return statistics.median(_total(each, stages) for each in run) / len(run[0]) * 1000


def _per_face_ms(run: list[list[Stages]]) -> float:
    faces = sum(stages["faces"] for stages in run[0])
    return statistics.median(_total(each, ["features"]) for each in run) / faces * 1000


def _ratio(
    ours: list[list[Stages]],
    peer: list[list[Stages]],
    stages: Sequence[str],
    indices: Sequence[int] | None = None,
) -> tuple[float, str]:
    """The median over repetitions, and the range in words."""
    pairs = zip(ours, peer, strict=True)
    each = sorted(_total(one, stages, indices) / _total(other, stages, indices) for one, other in pairs)
    return statistics.median(each), f"{each[0]:.2f} to {each[-1]:.2f}"


def _median_ratio(ours: list[list[Stages]], peer: list[list[Stages]], stages: Sequence[str]) -> float:
    ratios = []
    for at in range(len(ours[0])):
        one = statistics.median(_total(each, stages, [at]) for each in ours)
        other = statistics.median(_total(each, stages, [at]) for each in peer)
        ratios.append(one / other)
    return statistics.median(ratios)


def _within(width: int, height: int, side: int) -> tuple[int, int]:
    scale = min(1.0, side / max(width, height))
    return max(1, int(width * scale)), max(1, int(height * scale))


@contextmanager
def _timed(owner: Any, name: str) -> Iterator[list[float]]:
    """Collects how long each call of a function took that the engine itself calls."""
    taken: list[float] = []
    real = getattr(owner, name)

    def timed(*given: Any) -> Any:
        start = time.perf_counter()
        try:
            return real(*given)
        finally:
            taken.append(time.perf_counter() - start)

    with mock.patch.object(owner, name, timed):
        yield taken
