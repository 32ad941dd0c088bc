"""A second look at one face: upright, and of the size at which the detector's network reads landmarks best.

Knows a detector network and one face's rough place; knows no picture as a whole. Where a face lies is told well by any
look that finds it. Where exactly its eyes, nose and mouth are depends on how large and how upright the network saw it,
and the features depend on that: docs/design/decisions/0020 has what it is worth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from countenance.recognition.alignment import cut, similarity_transform
from countenance.recognition.found import Found

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]

CLOSEUP: Final = (160, 160)
"""Height and width of the canvas of one face: twice the face, so that hair and chin are seen as well."""
SIDE: Final = 80.0
"""Pixels of the longer side of the face's box on that canvas. Of 40, 56, 68, 80, 112 and 144, false non-matches on LFW
View 1 and its blurred and turned copies were fewest at 68 and 80 (docs/accuracy.md)."""
READ: Final = 0.4
"""Share of a face's lean that YuNet's landmarks show: faces of LFW leaning by 10 and 20 degrees are read as leaning by
3.6 and 6.8, and by 30 degrees as 8.6."""
UPRIGHT: Final = 2.0
"""Degrees of roll read that are left as they are: five degrees in truth."""
FARTHEST: Final = 45.0
"""Degrees that one look turns back at most: beyond, what is read says less and less."""
TURNS: Final = 3
"""Looks after the first, each turned back by what the one before showed."""
SLACK: Final = 0.02
"""What a further look may lose of the score and still be followed: the noise of scores between two looks."""
LEANINGS: Final = (-45.0, 45.0, 180.0)
"""Degrees by which a face that was seen badly is turned as well: between them and the quarter turns of the whole
picture, no face leans by more than 22.5 degrees."""
NEAR: Final = 0.4
"""Of the face's side: how far the middle of what is found may be from the middle of the canvas and be the same face."""
SIZES: Final = (0.5, 1.8)
"""Of the face's side: how small and how large the box of the same face may come out."""

Look = Callable[[Pixels], Found]
"""One canvas' pixels, uint8 H x W x 3 -> what the network finds there, in pixels of the canvas."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One face in a close-up."""

    box: Floats
    """Left, top, width, height in pixels of the picture; upright as the face is, its middle kept."""
    score: float
    points: Floats
    """5 x 2 in pixels of the picture."""


def roll_of(points: Floats) -> float:
    """Degrees clockwise by which a face leans in the picture, by all five of its points (5 x 2, y down)."""
    transform = similarity_transform(points)
    return -math.degrees(math.atan2(transform[1, 0], transform[0, 0]))


def look(see: Look, pixels: Pixels, box: Floats, roll: float) -> Seen | None:
    """What a close-up shows of a face, turned back by `roll` degrees; None when it shows none there.

    Args:
        see: runs the network.
        pixels: the picture, H x W x 3.
        box: left, top, width, height of the face, roughly.
        roll: degrees clockwise by which it leans.
    """
    longer = float(max(box[2:]))
    if not (longer > 0 and np.isfinite(box).all() and math.isfinite(roll)):
        return None
    turn = math.radians(roll)
    linear = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]) * (longer / SIDE)
    middle = (np.array(CLOSEUP[::-1]) - 1) / 2
    offset = box[:2] + box[2:] / 2 - linear @ middle
    found = see(cut(pixels, np.column_stack([linear, offset]), CLOSEUP[0]))
    sides = found.boxes[:, 2:].max(axis=1, initial=0)
    middles = found.boxes[:, :2] + found.boxes[:, 2:] / 2
    here = (np.abs(middles - middle).max(axis=1, initial=0) < NEAR * SIDE) & (
        (sides > SIZES[0] * SIDE) & (sides < SIZES[1] * SIDE)
    )
    if not here.any():
        return None
    best = int(np.argmax(np.where(here, found.scores, -1)))
    size = found.boxes[best, 2:] * (longer / SIDE)
    return Seen(
        box=np.concatenate([linear @ middles[best] + offset - size / 2, size]),
        score=float(found.scores[best]),
        points=found.points[best] @ linear.T + offset,
    )


def closer(
    see: Look,
    pixels: Pixels,
    box: Floats,
    points: Floats,
    *,
    sure_from: float,
    read: float = READ,
    leanings: Sequence[float] = LEANINGS,
) -> Seen | None:
    """The best of a few close-ups of a face: as it was read, turned back by what the first one shows, and, if none of
    these is sure, leaning either way.

    Args:
        see: runs the network.
        pixels: the picture.
        box: of the face as it was found.
        points: of the face as it was found.
        sure_from: score from which no leaning is tried.
        read: share of a face's lean that this network's landmarks show.
        leanings: degrees by which it is turned as well when it is not sure.
    """
    best = _settled(see, pixels, box, roll_of(points), read)
    if best is None or best.score < sure_from:
        start = roll_of(points if best is None else best.points)
        for leaning in leanings:
            leant = _settled(see, pixels, box, start + leaning, read)
            if leant is not None and (best is None or leant.score > best.score):
                best = leant
    return best


def _settled(see: Look, pixels: Pixels, box: Floats, roll: float, share: float) -> Seen | None:
    best = look(see, pixels, box, roll)
    for _ in range(TURNS):
        if best is None:
            break
        read = _between(roll_of(best.points), roll)
        if abs(read) <= UPRIGHT:
            break
        roll += max(-FARTHEST, min(FARTHEST, read / share))
        again = look(see, pixels, best.box, roll)
        if again is None or again.score < best.score - SLACK:
            break
        best = again
    return best


def _between(one: float, other: float) -> float:
    return (one - other + 180) % 360 - 180
