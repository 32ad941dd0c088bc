"""From image files to features: the acquisition step of an evaluation (ISO/IEC 19795-1, failure to acquire).

Knows files and the engine; knows no labels and no error rates.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from countenance.biometrics import DetectedFace
from countenance.recognition import Engine, RecognitionError


@dataclass(frozen=True, slots=True)
class Acquired:
    """What a set of images gave."""

    features: NDArray[np.float32]
    """Images x dimension, unit length, of the largest face, as the operations choose; zero where there is none."""
    central: NDArray[np.float32]
    """The same of the face nearest to the middle of the image: for data whose labels name that person."""
    faces: NDArray[np.int64]
    """Faces found in each image."""

    @property
    def failed(self) -> NDArray[np.bool_]:
        """Images that count as a failure to acquire (FTA)."""
        return np.equal(self.faces, 0)


def acquire(
    engine: Engine,
    paths: Sequence[Path],
    *,
    jobs: int = 2,
    progress: Callable[[int], None] = lambda done: None,
) -> Acquired:
    """Features of the largest and of the most central face of every image.

    Args:
        jobs: images worked on at once; no more than the engine's queue takes.
        progress: told how many images are done.
    """

    def one(path: Path) -> tuple[NDArray[np.float32], int]:
        try:
            analysis = engine.analyse(path.read_bytes())
        except RecognitionError:
            return np.zeros((2, engine.dimension), np.float32), 0
        if not analysis.faces:
            return np.zeros((2, engine.dimension), np.float32), 0
        chosen = [analysis.faces[0], central(analysis.faces)]
        if chosen[0] is chosen[1]:
            return np.repeat(engine.extract(analysis, chosen[:1]), 2, axis=0), len(analysis.faces)
        return engine.extract(analysis, chosen), len(analysis.faces)

    features = np.zeros((len(paths), 2, engine.dimension), np.float32)
    faces = np.zeros(len(paths), np.int64)
    with ThreadPoolExecutor(jobs, thread_name_prefix="acquire") as pool:
        for at, (rows, found) in enumerate(pool.map(one, paths)):
            features[at], faces[at] = rows, found
            progress(at + 1)
    return Acquired(features[:, 0], features[:, 1], faces)


def central(faces: Sequence[DetectedFace]) -> DetectedFace:
    """The face nearest to the middle of its image: whom labels of sets like LFW name."""
    return min(faces, key=_off_centre)


def _off_centre(face: DetectedFace) -> float:
    return math.hypot(face.box.left + face.box.width / 2 - 0.5, face.box.top + face.box.height / 2 - 0.5)
