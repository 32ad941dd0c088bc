"""Data sets and an engine of numbers, for tests of what is counted: no image is looked at."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

import numpy as np

from countenance.biometrics import BoundingBox, DetectedFace, Pose, Quality
from countenance.evaluation.dataset import LABELS, PAIRS, SEARCHES, Dataset
from countenance.recognition import Calibration, ImageUnreadable

LINE = Calibration((-1.0, 1.0), (0.0, 100.0))
"""Similarity 80 is a score of 0.6."""


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def crowd(
    people: int, images: int, *, dimension: int = 8, spread: float = 0.5, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Features around a centre for each person, and whose they are; people lie in random order."""
    rng = np.random.default_rng(seed)
    whose = rng.permutation(np.repeat(np.arange(people), images)).astype(np.int32)
    centres = rng.standard_normal((people, dimension))
    return unit(centres[whose] + spread * rng.standard_normal((whose.size, dimension))), whose


def labels(whose: np.ndarray, **groups: Any) -> Dataset:
    people = int(whose.max()) + 1
    return Dataset(
        form=LABELS,
        source=Path("labels.csv"),
        root=Path(),
        images=tuple(f"{n}.jpg" for n in range(len(whose))),
        subjects=tuple(f"p{n}" for n in range(people)),
        subject_of=whose.astype(np.int32),
        groups=groups,
    )


def searches(whose: np.ndarray, in_gallery: np.ndarray, **groups: Any) -> Dataset:
    plain = labels(whose, **groups)
    return Dataset(
        form=SEARCHES,
        source=plain.source,
        root=plain.root,
        images=plain.images,
        subjects=plain.subjects,
        subject_of=plain.subject_of,
        in_gallery=in_gallery,
        groups=plain.groups,
    )


def pairs(first: Any, second: Any, same: Any, whose: np.ndarray | None = None, **groups: Any) -> Dataset:
    count = int(max(np.max(first), np.max(second))) + 1
    return Dataset(
        form=PAIRS,
        source=Path("pairs.csv"),
        root=Path(),
        images=tuple(f"{n}.jpg" for n in range(count)),
        subjects=() if whose is None else tuple(f"p{n}" for n in range(int(whose.max()) + 1)),
        subject_of=np.full(count, -1, np.int32) if whose is None else whose.astype(np.int32),
        first=np.asarray(first, np.int32),
        second=np.asarray(second, np.int32),
        same=np.asarray(same, np.bool_),
        pair_groups=groups,
    )


class NumbersEngine:
    """An engine whose features follow from the bytes: `none` is no face, `bad` no image, `two` shows two faces."""

    model_version, runtime, dimension, calibration = "test", "numbers", 8, LINE

    def __init__(self, wait_s: float = 0.0) -> None:
        self.seen: list[bytes] = []
        self.held = 0
        self.most_held = 0
        self._wait_s = wait_s

    def analyse(self, image: bytes) -> Any:
        self.seen.append(image)
        time.sleep(self._wait_s)
        if image.startswith(b"bad"):
            raise ImageUnreadable("the image cannot be decoded")
        if image.startswith(b"none"):
            return Shown((), image)
        boxes = [(0.0, 0.0, 0.5), (0.4, 0.4, 0.2)] if image.startswith(b"two") else [(0.3, 0.3, 0.4)]
        return Shown(tuple(_face(*box) for box in boxes), image)

    def extract(self, analysis: Any, faces: Any) -> np.ndarray:
        seeds = [hashlib.sha256(analysis.image + repr(face.box).encode()).digest() for face in faces]
        return unit(np.stack([np.random.default_rng(list(each)).standard_normal(self.dimension) for each in seeds]))


class Shown:
    def __init__(self, faces: tuple[DetectedFace, ...], image: bytes) -> None:
        self.faces, self.image = faces, image


def _face(left: float, top: float, side: float) -> DetectedFace:
    return DetectedFace(BoundingBox(left, top, side, side), 99.0, (), Pose(0, 0, 0), Quality(50, 50), (0, 0, 9, 9))
