"""From image files to features: the acquisition step of an evaluation (ISO/IEC 19795-1, failure to acquire).

Knows files and the engine; knows no labels and no error rates.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from countenance.recognition import Engine, RecognitionError


@dataclass(frozen=True, slots=True)
class Acquired:
    """What a set of images gave."""

    features: NDArray[np.float32]
    """Images x dimension, unit length; zero where acquisition failed."""
    faces: NDArray[np.int64]
    """Faces found in each image; of several the largest one is used, as the operations do."""

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
    """Features of the largest face of every image.

    Args:
        jobs: images worked on at once; no more than the engine's queue takes.
        progress: told how many images are done.
    """

    def one(path: Path) -> tuple[NDArray[np.float32], int]:
        try:
            analysis = engine.analyse(path.read_bytes())
        except RecognitionError:
            return np.zeros(engine.dimension, np.float32), 0
        if not analysis.faces:
            return np.zeros(engine.dimension, np.float32), 0
        return engine.extract(analysis, analysis.faces[:1])[0], len(analysis.faces)

    features = np.zeros((len(paths), engine.dimension), np.float32)
    faces = np.zeros(len(paths), np.int64)
    with ThreadPoolExecutor(jobs, thread_name_prefix="acquire") as pool:
        for at, (row, found) in enumerate(pool.map(one, paths)):
            features[at], faces[at] = row, found
            progress(at + 1)
    return Acquired(features, faces)
