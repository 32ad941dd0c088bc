"""Synthetic features that are as hard to search as real ones, in portions that can be made again.

Each identity has a centre, part of it in a subspace of 48 dimensions and part anywhere; its one to five samples lie
around the centre. Measured on what this makes: genuine scores have a median near 0.7, those of different people a
standard deviation near 0.1 at 128 features, and the best of a million of them is near 0.45, as with real features.
A tail so short forces an effective dimension of about 100: partitions and graphs prune it badly, scans do not care.
Real galleries have clusters by age and sex that these lack.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PORTION = 50_000
"""Rows made at a time: 26 MB of float32 at 128 features."""
_IN_THE_PLANE, _ANYWHERE = 0.25, 0.75  # shares of a centre's square
_NOISE = (0.5, 0.8)  # length of a sample's difference from its centre
_SAMPLES = 5  # of an identity, at most


@dataclass(frozen=True, slots=True)
class Portion:
    """Some rows of the gallery."""

    face_ids: NDArray[np.uint8]
    """(n, 16)"""
    templates: NDArray[np.float16]
    """(n, dimension), of length 1 but for rounding."""
    identities: NDArray[np.int64]
    """(n,)"""


class Faces:
    """A gallery of any size; the same seed gives the same rows."""

    def __init__(self, dimension: int, seed: int = 1) -> None:
        self.dimension = dimension
        self._seed = seed
        plane = np.random.default_rng(seed).standard_normal((48, dimension), np.float32)
        self._plane = plane / np.linalg.norm(plane, axis=1, keepdims=True)

    def portion(self, number: int, count: int = PORTION) -> Portion:
        """Rows `number * PORTION` and on."""
        rng = np.random.default_rng([self._seed, number, 1])
        samples = rng.integers(1, _SAMPLES + 1, count)
        of = np.repeat(np.arange(count), samples)[:count]
        rows = self._sampled(self._centres(number, int(of[-1]) + 1)[of], rng)
        face_ids = rng.integers(0, 256, (count, 16), np.uint8)
        return Portion(face_ids, rows.astype(np.float16), of + number * PORTION)

    def mated(self, count: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """New samples of the first identities, (n, dimension) and whose they are."""
        rows = self._sampled(self._centres(0, PORTION)[:count], np.random.default_rng([self._seed, 2]))
        return rows, np.arange(count)

    def strangers(self, count: int) -> NDArray[np.float32]:
        """Samples of people who are not in the gallery."""
        return self._sampled(self._centres(10**6, count), np.random.default_rng([self._seed, 3]))

    def _centres(self, number: int, count: int) -> NDArray[np.float32]:
        """The first `count` centres of a portion; more of them begin with the same."""
        rng = np.random.default_rng([self._seed, number])
        coordinates = rng.standard_normal((PORTION, 48), np.float32)[:count] / np.float32(48**0.5)
        anywhere = rng.standard_normal((count, self.dimension), np.float32) / np.float32(self.dimension**0.5)
        centres = _IN_THE_PLANE**0.5 * (coordinates @ self._plane) + _ANYWHERE**0.5 * anywhere
        return _unit(centres)

    def _sampled(self, centres: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        lengths = rng.uniform(*_NOISE, (len(centres), 1)).astype(np.float32)
        noise = rng.standard_normal(centres.shape, np.float32) / np.float32(self.dimension**0.5)
        return _unit(centres + lengths * noise)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows
