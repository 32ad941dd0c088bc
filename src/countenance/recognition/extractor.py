"""Aligned crops -> features.

Knows the feature network's input and output; knows no pictures and no faces as such. Crops are worked out in batches
of a few fixed sizes; in which one moves a face's features by rounding only (2e-7 in 128 faces).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from countenance.recognition.alignment import CROP
from countenance.recognition.session import Session

BATCH_SIZES = (1, 2, 4, 8)
"""Batches that sessions are made ready for, smallest first. Eight at once take about a tenth less per face than one
by one (docs/design/decisions/0001); more at once takes no less."""


def batch_shapes(batches: tuple[int, ...] = BATCH_SIZES) -> list[tuple[int, int, int]]:
    """N, H, W of everything that `Extractor` gives its session."""
    return [(size, CROP, CROP) for size in batches]


class Extractor:
    """Features of aligned faces. Thread-safe as its session is.

    Args:
        batches: sizes that the session was made ready for, smallest first; (1,) for models that take one at a time.
        centre: taken off features of unit length before they are made unit length again; empty: nothing is. Networks
            put all faces a little to one side, bad ones most, and what strangers share says nothing of who they are
            (docs/design/decisions/0020).
    """

    def __init__(
        self,
        session: Session,
        *,
        dimension: int,
        flip: bool,
        batches: tuple[int, ...] = BATCH_SIZES,
        centre: tuple[float, ...] = (),
    ) -> None:
        self._session = session
        self._batches = batches
        self._dimension = dimension
        self._flip = flip
        self._centre = np.array(centre, np.float32) if centre else None

    @property
    def runtime(self) -> str:
        """Name and precision of what runs it."""
        return self._session.runtime

    def features(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Features of each crop.

        Args:
            crops: uint8, n x 112 x 112 x 3, R G B.

        Returns:
            float32, n x dimension, unit length (the zero vector never occurs: the network ends in a batch norm
            with a bias).
        """
        if not len(crops):
            return np.zeros((0, self._dimension), np.float32)
        raw = self._run(crops)
        if self._flip:
            # The mean of a face and its mirror image, each with the same say.
            raw = _unit(raw) + _unit(self._run(np.ascontiguousarray(crops[:, :, ::-1])))
        unit = _unit(raw)
        return unit if self._centre is None else _unit(unit - self._centre)

    def probe(self) -> tuple[int, ...]:
        """The shape of what the network makes of its largest batch: whether it is what it was taken for."""
        return tuple(self._session.run(np.zeros((self._batches[-1], CROP, CROP, 3), np.uint8))[0].shape)

    def close(self) -> None:
        """Let go of the network."""
        self._session.close()

    def _run(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        outputs = np.empty((len(crops), self._dimension), np.float32)
        at = 0
        while at < len(crops):
            size = max(each for each in self._batches if each <= len(crops) - at)
            outputs[at : at + size] = self._session.run(np.ascontiguousarray(crops[at : at + size]))[0]
            at += size
        return outputs


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(length, 1e-12), np.float32)
