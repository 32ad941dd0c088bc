"""How SCRFD's outputs are read.

Knows the network's outputs; where it looks and how often is `detector`'s. SCRFD has two anchors in every cell of three
grids (strides 8, 16 and 32), both at the cell's corner: a score, the distances from there to the four sides of the
box, and those to five landmarks if the model has any, all in units of the stride (J. Guo et al., "Sample and
Computation Redistribution for Efficient Face Detection", ICLR 2022; reference code: insightface,
python-package/insightface/model_zoo/scrfd.py).

Exports differ in the order of their outputs and in whether these have a leading batch of one, so each output is known
by its shape: 1, 4 or 10 numbers an anchor, and as many anchors as its grid has.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from countenance.recognition.detector import Head
from countenance.recognition.found import Found, nothing, suppress

STRIDES: Final = (8, 16, 32)
ANCHORS: Final = 2
"""Anchors in each cell of the models with three strides; those with five strides, which have one, are not read here."""
OVERLAP_LIMIT: Final = 0.4
"""Two boxes with a larger intersection over union are one face (`nms_threshold` of the reference code)."""
SCORE, BOX, POINTS = 1, 4, 10
"""Numbers an anchor has in an output of each kind."""

SCORE_THRESHOLD: Final = 0.5
"""`det_thresh` of insightface's FaceAnalysis, which its published detections are made with."""
HINT_THRESHOLD: Final = 0.25
FAINT: Final = 0.2
"""Scores that call for a closer look: half of the threshold and a little below, as YuNet's are to its own. Not
measured: no SCRFD weights were at hand."""
CONFIDENT: Final = 0.7
"""Below this best score a picture is also searched turned. Upright portraits have 0.75 to 0.9 by what users of
buffalo_l publish; not measured here."""


class NotScrfd(ValueError):
    """The outputs are not those of a network of this kind."""


def decode(outputs: list[NDArray[np.float32]], canvas: tuple[int, int], threshold: float = SCORE_THRESHOLD) -> Found:
    """Turn the network's six or nine outputs into faces on the canvas.

    Args:
        outputs: scores, boxes and, if the model has them, landmarks for each stride.
        canvas: height and width of what the network was shown; multiples of 32.

    Returns:
        Faces; with points that are not numbers when the model has no landmarks.

    Raises:
        NotScrfd: the shapes are other ones.
    """
    of_kind = _sorted_out(outputs, canvas)
    parts: list[tuple[NDArray[np.float64], ...]] = []
    for stride in STRIDES:
        scores = of_kind[SCORE, stride][:, 0]
        (anchors,) = np.nonzero(scores >= threshold)
        if not len(anchors):
            continue
        cells = anchors // ANCHORS
        columns = canvas[1] // stride
        at = np.stack([cells % columns, cells // columns], axis=1).astype(np.float64) * stride
        sides = of_kind[BOX, stride][anchors].astype(np.float64) * stride
        # Distances to the left, the top, the right and the bottom.
        boxes = np.hstack([at - sides[:, :2], sides[:, :2] + sides[:, 2:]])
        if (POINTS, stride) in of_kind:
            points = of_kind[POINTS, stride][anchors].astype(np.float64).reshape(-1, 5, 2) * stride + at[:, None]
        else:
            points = np.full((len(anchors), 5, 2), np.nan)
        parts.append((boxes, scores[anchors].astype(np.float64), points))
    if not parts:
        return nothing()
    return suppress(Found(*(np.concatenate(each) for each in zip(*parts, strict=True))), OVERLAP_LIMIT)


def has_landmarks(outputs: list[NDArray[np.float32]]) -> bool:
    """Whether a network's outputs bring landmarks."""
    return len(outputs) == 3 * len(STRIDES)


def _sorted_out(
    outputs: list[NDArray[np.float32]], canvas: tuple[int, int]
) -> dict[tuple[int, int], NDArray[np.float32]]:
    """(numbers an anchor has, stride) -> anchors x numbers."""
    strides = {ANCHORS * (canvas[0] // stride) * (canvas[1] // stride): stride for stride in STRIDES}
    kinds = (SCORE, BOX, POINTS) if has_landmarks(outputs) else (SCORE, BOX)
    found: dict[tuple[int, int], NDArray[np.float32]] = {}
    for output in outputs:
        numbers = output.shape[-1] if output.ndim else 0
        rows = output.size // numbers if numbers else 0
        if numbers not in kinds or rows not in strides or (numbers, strides[rows]) in found:
            raise NotScrfd(f"an output of shape {'x'.join(map(str, output.shape))} is none of SCRFD's")
        found[numbers, strides[rows]] = output.reshape(rows, numbers)
    if len(found) != len(kinds) * len(STRIDES):
        raise NotScrfd(f"it has {len(outputs)} outputs, and SCRFD with three strides has six or nine")
    return found


DOUBTED: Final = 0.6
"""A guess between the threshold and what faces usually score: no labelled photographs were measured with it."""

SCRFD: Final = Head(
    read=decode,
    threshold=SCORE_THRESHOLD,
    hint=HINT_THRESHOLD,
    faint=FAINT,
    confident=CONFIDENT,
    doubted=DOUBTED,
    lean_read=1.0,  # taken at its word: dividing by too small a share would turn too far
)
