"""Finding faces on a fixed ladder of canvases, and how YuNet's outputs are read.

Knows a detector network's input and at which sizes it has to look; knows no formats, no features. What a network's
outputs mean, and which of its scores mean what, is in a `Head`: YuNet's here, SCRFD's in `scrfd`.
YuNet is anchor-free: every cell of three grids (strides 8, 16 and 32) says whether it holds a face, how well its
box is centred, the box and five landmarks (W. Wu et al., "YuNet: A Tiny Millisecond-level Face Detector",
Machine Intelligence Research 2023; decoding as in OpenCV's FaceDetectorYN: a cell's score is the geometric mean
of its two probabilities).

It sees faces of about 10 to 300 pixels. Why these canvases and passes: docs/design/decisions/0003.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from countenance.recognition.closeup import CLOSEUP, LEANINGS, READ, SIDE, Seen, closer
from countenance.recognition.found import Found, merged, nothing, suppress
from countenance.recognition.resampling import resized
from countenance.recognition.session import Session

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]

STRIDES: Final = (8, 16, 32)
SCORE_THRESHOLD: Final = 0.8
"""Between the 0.6 and the 0.9 that OpenCV's own samples use for YuNet. On 27 labelled photographs with 89 faces, 0.7
missed none and took five other things for faces, 0.8 missed none and took none, 0.85 missed one (`make accuracy`
lists them); of 60 faces shrunk to 20 pixels 0.8 finds 95 %."""
HINT_THRESHOLD: Final = 0.3
"""A score that calls for a closer look at a large picture: of 576 faces of 40 pixels in 1920 x 1080, 99.65 % reached
it at a longest side of 640, where 89 % reached 0.7."""
SMALL: Final = 32
"""Pixels of width on the first canvas under which a face calls for a closer look: 96 on a 1920-pixel picture."""
WIDE: Final = 300
"""Pixels of width on the first canvas from which a face calls for the thumbnail: the upper end of what YuNet's authors
state. Enlarged portraits were all found up to 400 pixels; of 600 pixels 15 % reached 0.8 and all reached 0.6."""

THUMBNAIL: Final = (256, 256)
MIDDLE: Final = ((384, 512), (512, 384), (480, 640), (640, 480), (640, 640))
LARGE: Final = ((736, 960), (960, 736))
CANVASES: Final = (CLOSEUP, THUMBNAIL, *MIDDLE, *LARGE)
"""Height and width of everything the session is made for."""

CONFIDENT: Final = 0.91
"""Below this best score a picture is also searched turned. YuNet sees faces that lie on their side or stand on their
head as well, but badly (landmarks as if upright), and never surely: its best score was 0.86 to 0.95 on 847 upright
photographs (5 % below 0.91), and 0.91 at most on the same photographs turned."""
CLEARLY_BETTER: Final = 0.02
"""What a turned picture's best score must have over the upright one's, so that a rare doubtful face stays upright."""

FAINT: Final = 0.2
"""A score on the large canvas that calls for a close-up: of 60 faces 40 pixels wide and 71 faces 40 pixels high, pasted
into 1920 x 1080, 98 and 85 % reach it there, where 83 and 43 % reach 0.8."""
CLOSEUPS: Final = 8
"""Close-ups of what was seen doubtfully in one picture, the likeliest first."""
DOUBTED: Final = 0.86
"""What the close-up of something seen doubtfully must reach to be a face. In 27 labelled photographs, 0.8 took three
other things for faces (0.83 to 0.85), 0.86 none; of faces of 24 pixels in 640 x 480, 97 % are found with 0.8 and 95 %
with 0.86, and 81 % without close-ups."""
LOOKS: Final = 200
"""Close-up looks at one picture, after which no further face gets one: 100 upright faces, as many as answers have, take
about 130. Without a limit, a picture of a leaning crowd would take ten times as long as one that is upright."""

LONG_SIDE: Final = 960
"""A JPEG decoded scaled down keeps at least this many pixels on its longer side: the large canvases take no more."""


Read = Callable[[list[NDArray[np.float32]], tuple[int, int], float], Found]
"""(the network's outputs, canvas, threshold) -> faces on the canvas whose score reaches the threshold."""


class Detector:
    """Finds faces. Thread-safe as its session is.

    Args:
        head: how the network's outputs are read; None: YuNet's.
    """

    def __init__(self, session: Session, head: Head | None = None) -> None:
        self._session = session
        self._head = head or YUNET

    def find(self, pixels: Pixels, *, finer: Callable[[], Pixels] | None = None) -> tuple[Found, int]:
        """Find faces; if nothing is surely found upright, in the picture turned by 90, 270 and 180 degrees as well.
        Then each is looked at once more, closely.

        Args:
            pixels: H x W x 3, R G B.
            finer: the same picture with more pixels, if there is such a thing; called at most once, when something
                small was seen.

        Returns:
            The faces, in pixels of `pixels` whatever way it was turned, and by how many degrees clockwise the
            picture had to be turned for them (0 when it was upright or nothing was found).
        """
        (best, doubtful), turns = self._search(pixels), 0
        if _best_score(best) < self._head.confident:
            bar = _best_score(best) + CLEARLY_BETTER if len(best) else self._head.threshold
            for quarters in (1, 3, 2):
                turned, _ = self._search(np.ascontiguousarray(np.rot90(pixels, -quarters)), is_turned=True)
                if _best_score(turned) >= bar:
                    best, turns, bar = turned, quarters, _best_score(turned)
                if bar >= self._head.confident and turns:
                    break
        if turns:
            best = _turn_back(best, turns, pixels.shape[1], pixels.shape[0])
        return self._closed_up(pixels, finer, best, doubtful), turns * 90

    def close(self) -> None:
        """Let go of the network."""
        self._session.close()

    def _search(self, pixels: Pixels, *, is_turned: bool = False) -> tuple[Found, Found]:
        """What is surely a face, and what may be one."""
        head = self._head
        first, *more = plan(pixels.shape[1], pixels.shape[0])
        image, scale = fit(pixels, first)
        weak = head.read(self._session.run(image), first, head.hint)
        passes = [weak.magnified(1 / scale)]
        if is_turned and not len(weak):
            # A second and a third look are for what the first one saw badly. Only a picture as it came gets them
            # for nothing at all; three turned ones of an empty picture would take longer than everything else.
            more = []
        for canvas in more:
            if canvas == THUMBNAIL:
                if not _calls_for_a_step_back(weak, head):
                    continue
                # Made from what the first look was shrunk to: shrinking a large picture twice costs more than the
                # second look itself.
                height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
                image, further = fit(np.ascontiguousarray(image[0, :height, :width]), canvas)
                stepped = head.read(self._session.run(image), canvas, head.hint)
                passes.append(stepped.magnified(1 / (scale * further)))
            elif _calls_for_a_closer_look(weak, head):
                closer_by, by = fit(pixels, canvas)
                passes.append(head.read(self._session.run(closer_by), canvas, head.faint).magnified(1 / by))
        found = merged(passes)
        return found.surer_than(head.threshold), found.take(np.flatnonzero(found.scores < head.threshold))

    def _closed_up(self, pixels: Pixels, finer: Callable[[], Pixels] | None, sure: Found, doubtful: Found) -> Found:
        """The faces as close-ups show them, and those of the doubtful that are sure from close up."""
        head, detailed = self._head, pixels

        looks = 0

        def see(window: Pixels) -> Found:
            nonlocal looks
            looks += 1
            return head.read(self._session.run(window[None]), CLOSEUP, head.hint)

        def of(box: Floats, points: Floats, leanings: Sequence[float] = LEANINGS) -> Seen | None:
            nonlocal detailed, finer
            if looks >= LOOKS:
                return None
            if finer is not None and max(box[2:]) < SIDE / 2:
                detailed, finer = finer(), None
            stretch = np.array([detailed.shape[1] / pixels.shape[1], detailed.shape[0] / pixels.shape[0]])
            seen = closer(
                see,
                detailed,
                box * np.tile(stretch, 2),
                points * stretch,
                sure_from=head.confident,
                read=head.lean_read,
                leanings=leanings,
            )
            if seen is None:
                return None
            return Seen(seen.box / np.tile(stretch, 2), seen.score, seen.points / stretch)

        faces: list[tuple[Floats, float, Floats]] = []
        largest = np.argsort(-sure.boxes[:, 2] * sure.boxes[:, 3], kind="stable")
        for at in largest:
            seen = of(sure.boxes[at], sure.points[at])
            # The box is that of the first look: what is cut off by an edge of the picture is known there.
            score, points = float(sure.scores[at]), sure.points[at]
            if seen is not None and seen.score >= head.threshold:
                score, points = max(score, seen.score), seen.points
            faces.append((sure.boxes[at], score, points))
        largest_area = float((sure.boxes[:, 2] * sure.boxes[:, 3]).max(initial=0))
        for at in range(min(len(doubtful), CLOSEUPS)):
            # Textures are seen doubtfully, too, and a leaning takes several looks: tried where nothing else was found.
            seen = of(doubtful.boxes[at], doubtful.points[at], () if len(sure) else LEANINGS)
            # Calls are about the largest face: one that was doubtful must be sure to come before one that never was.
            is_largest = seen is not None and 0 < largest_area < seen.box[2] * seen.box[3]
            if seen is not None and seen.score >= (head.confident if is_largest else head.doubted):
                faces.append((seen.box, seen.score, seen.points))
        if not faces:
            return nothing()
        boxes, scores, points = zip(*faces, strict=True)
        return suppress(Found(np.array(boxes), np.array(scores), np.array(points)))


def _calls_for_a_step_back(weak: Found, head: Head) -> bool:
    """Whether something too large to be seen well looked a little like a face, or nothing surely did."""
    return not (weak.scores >= head.threshold).any() or bool((weak.boxes[:, 2] >= head.wide).any())


def _calls_for_a_closer_look(weak: Found, head: Head) -> bool:
    """Whether something small looked a little like a face, or nothing surely did."""
    return not (weak.scores >= head.threshold).any() or bool((weak.boxes[:, 2] < head.small).any())


def _best_score(found: Found) -> float:
    return float(found.scores.max()) if len(found) else 0.0


def plan(width: int, height: int) -> list[tuple[int, int]]:
    """The canvases for a picture of this size: the first always, the others when called for."""
    longest = max(width, height)
    if longest <= max(THUMBNAIL):
        return [THUMBNAIL]
    tiers = [MIDDLE] if longest <= 640 else [MIDDLE, LARGE]
    closest = [max(tier, key=lambda canvas: (_scale(width, height, canvas), -canvas[0] * canvas[1])) for tier in tiers]
    return [*closest, THUMBNAIL]


def _scale(width: int, height: int, canvas: tuple[int, int]) -> float:
    return min(1.0, canvas[1] / width, canvas[0] / height)


def fit(pixels: Pixels, canvas: tuple[int, int]) -> tuple[Pixels, float]:
    """Shrink a picture into the top left corner of a black canvas, never enlarging it.

    Returns:
        uint8 1 x H x W x 3, and canvas pixels per picture pixel.
    """
    height, width = pixels.shape[:2]
    scale = _scale(width, height, canvas)
    if scale < 1:
        pixels = resized(pixels, max(1, round(width * scale)), max(1, round(height * scale)))
    image = np.zeros((1, *canvas, 3), np.uint8)
    image[0, : pixels.shape[0], : pixels.shape[1]] = pixels
    return image, scale


def decode(outputs: list[NDArray[np.float32]], canvas: tuple[int, int], threshold: float = SCORE_THRESHOLD) -> Found:
    """Turn the network's twelve outputs (cls, obj, bbox, kps for each stride) into faces on the canvas."""
    parts: list[tuple[Floats, Floats, Floats]] = []
    for at, stride in enumerate(STRIDES):
        cls, obj, box, kps = (outputs[kind * len(STRIDES) + at][0] for kind in range(4))
        score = np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1))
        (cells,) = np.nonzero(score >= threshold)
        if not len(cells):
            continue
        corner = np.stack([cells % (canvas[1] // stride), cells // (canvas[1] // stride)], axis=1)
        centre = (corner + box[cells, :2].astype(np.float64)) * stride
        size = np.exp(box[cells, 2:].astype(np.float64)) * stride
        points = (kps[cells].reshape(-1, 5, 2).astype(np.float64) + corner[:, None]) * stride
        parts.append((np.hstack([centre - size / 2, size]), score[cells].astype(np.float64), points))
    if not parts:
        return nothing()
    found = Found(*(np.concatenate(each) for each in zip(*parts, strict=True)))
    return suppress(found)


@dataclass(frozen=True, slots=True)
class Head:
    """How a detector network's outputs are read, and what its scores mean. What the numbers are for: see above."""

    read: Read
    threshold: float = SCORE_THRESHOLD
    hint: float = HINT_THRESHOLD
    faint: float = FAINT
    doubted: float = DOUBTED
    lean_read: float = READ
    confident: float = CONFIDENT
    small: float = SMALL
    wide: float = WIDE


YUNET: Final = Head(read=decode)


def _turn_back(found: Found, quarters: int, width: int, height: int) -> Found:
    """Coordinates in a picture turned clockwise by quarter turns -> in the picture as it was (width x height)."""

    def back(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        if quarters == 1:
            return y, height - x
        if quarters == 2:
            return width - x, height - y
        return width - y, x

    x0, y0 = back(found.boxes[:, 0], found.boxes[:, 1])
    x1, y1 = back(found.boxes[:, 0] + found.boxes[:, 2], found.boxes[:, 1] + found.boxes[:, 3])
    boxes = np.stack([np.minimum(x0, x1), np.minimum(y0, y1), np.abs(x1 - x0), np.abs(y1 - y0)], axis=1)
    points = np.stack(back(found.points[..., 0], found.points[..., 1]), axis=-1)
    return Found(boxes, found.scores, points)
