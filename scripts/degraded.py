"""Degraded copies of LFW View 1's photographs: what a face looks like that nobody lit, held still or came close to.

python scripts/degraded.py --copies DIR [--every N]

Writes DIR/CONDITION/NAME.jpg, 250 x 250 as the photographs are unless something else is said, JPEG quality 95 unless
something else is said; what is there already is left alone. The same photographs give the same copies: what is drawn
at random is drawn from a generator seeded with the photograph's and the condition's name. Where the face is comes from
the shipped detector on the photograph as it is.

* blur2, blur4: out of focus: Gaussian blur, standard deviation 2 and 4 pixels; faces are about 95 pixels high.
* small40, small24: far away: shrunk (means of areas) until the face is 40 and 24 pixels high, anywhere in 640 x 480
  pixels of noise about a middle grey. A blurred picture as background shows giant faces of its own.
* heights: the same at heights drawn evenly from 16 to 32, 32 to 64 and 64 to 90 pixels, about a third of the
  photographs each.
* tight: cut off at the face's box, enlarged 1.5 times (bicubic).
* dark: 15 % of the light, and noise of standard deviation 4 in each channel.
* roll45: turned by 45 degrees about the face's middle, either way, black where the photograph ends.
* yaw30, yaw45, yaw60, yaw75: the head turned sideways by so much more than it is, in the direction that it looks.
* jpeg10: JPEG quality 10.

Turned heads are synthetic. The photograph is laid over the face's mesh of 468 points (the attributes-mesh pack), the
mesh turned about a vertical axis a quarter of the face's width behind it and drawn again in parallel projection; hair,
ears and background are stretched with two rings around it and fixed at the picture's edge. The side that turns away
disappears as it should; the side that turns up shows only what the photograph showed of it, so the copies are easier
than a real profile where skin is smooth and harder where it is smeared. They compare detectors and features with each
other; they are not how often a real profile is missed.

Exit status 3 when the photographs or the mesh are not there.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from turned_heads import Floats, Pixels, mesh_of, turned

from countenance.biometrics import DetectedFace
from countenance.evaluation.acquisition import central
from countenance.recognition import Engine, build_engine
from countenance.recognition.attributes import Estimators
from countenance.recognition.attributes.estimators import MESH, Network, usable
from countenance.recognition.engine import usable_cores
from countenance.recognition.session import choose

Box = tuple[float, float, float, float]
"""Left, top, width, height in pixels."""

ROOT: Final = Path(__file__).resolve().parent.parent
LFW: Final = Path(os.environ.get("COUNTENANCE_TEST_DATA", ROOT.parent / "shared" / "data")) / "faces" / "lfw_view1"
PASTED: Final = (480, 640)
"""Height and width of what small faces lie in."""
HEIGHTS: Final = ((16, 32), (32, 64), (64, 90))
"""Of the condition `heights`: up to what no photograph has to be enlarged for."""
SMALL: Final = {"small40": 40.0, "small24": 24.0}
YAWS: Final = {"yaw30": 30.0, "yaw45": 45.0, "yaw60": 60.0, "yaw75": 75.0}
CONDITIONS: Final = ("blur2", "blur4", *SMALL, "heights", "tight", "dark", "roll45", *YAWS, "jpeg10")
ENLARGED: Final = 1.5


@dataclass(frozen=True, slots=True)
class Person:
    """Whose photographs they are."""

    name: str
    images: tuple[str, ...]


def people(every: int) -> list[Person]:
    """Every Nth person of View 1 by name, with all photographs."""
    by_name: dict[str, list[str]] = {}
    with (LFW / "labels.csv").open(newline="") as rows:
        for row in csv.DictReader(rows):
            by_name.setdefault(row["identity"], []).append(row["image"])
    return [Person(name, tuple(sorted(by_name[name]))) for name in sorted(by_name)[::every]]


def pixels_of(path: Path) -> Pixels:
    """H x W x 3, R G B."""
    pixels = cv2.imread(str(path))
    if pixels is None:
        raise FileNotFoundError(path)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)


def box_of(face: DetectedFace, pixels: Pixels) -> Box:
    """Of a face in ratios of that picture."""
    height, width = pixels.shape[:2]
    box = face.box
    return box.left * width, box.top * height, box.width * width, box.height * height


def height_of(condition: str, name: str) -> float:
    """Pixels that the face of a pasted copy is high."""
    if condition in SMALL:
        return SMALL[condition]
    low, high = HEIGHTS[zlib.crc32(name.encode()) % len(HEIGHTS)]
    return float(_random(name, "height").uniform(low, high))


def place(condition: str, name: str, box: Box, size: tuple[int, int]) -> Box:
    """Where the face is in the copy.

    Args:
        condition: "clean" or one of `CONDITIONS`.
        name: of the photograph.
        box: of the face in the photograph.
        size: height and width of the photograph.
    """
    left, top, width, height = box
    if condition == "tight":
        x0, y0, _, _ = _inside(box, size)
        return (left - x0) * ENLARGED, (top - y0) * ENLARGED, width * ENLARGED, height * ENLARGED
    if condition in SMALL or condition == "heights":
        by, x, y = _pasted_at(condition, name, box, size)
        return x + left * by, y + top * by, width * by, height * by
    return box


class Maker:
    """Makes copies of photographs.

    Args:
        engine: finds the face.
        mesh: network of the attributes-mesh pack.
    """

    def __init__(self, engine: Engine, mesh: Network) -> None:
        self._engine = engine
        self._mesh = mesh

    def write(self, name: str, folder: Path) -> Box | None:
        """Write the copies of a photograph that are missing; its face's box, or None if there is no face."""
        path = LFW / "images" / name
        analysis = self._engine.analyse(path.read_bytes())
        if not analysis.faces:
            return None
        face, pixels = central(analysis.faces), analysis.picture.pixels
        box = box_of(face, pixels)
        mesh: Floats | None = None
        for condition in CONDITIONS:
            target = folder / condition / name
            if target.exists():
                continue
            if condition in YAWS:
                mesh = mesh_of(self._mesh, pixels, face) if mesh is None else mesh
                # On in the direction that the head already looks: the other way it would look straight first.
                copy = turned(pixels, mesh, math.copysign(YAWS[condition], face.pose.yaw))
            else:
                copy = _degraded(condition, name, pixels, box)
            target.parent.mkdir(parents=True, exist_ok=True)
            # Whole or not at all: what is there is taken for finished.
            part = target.with_suffix(".part.jpg")
            quality = 10 if condition == "jpeg10" else 95
            cv2.imwrite(str(part), np.ascontiguousarray(copy[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
            part.replace(target)
        return box


def _random(name: str, condition: str) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(name.encode()), zlib.crc32(condition.encode())])


def _inside(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of what of a box lies in the picture, in whole pixels."""
    left, top, width, height = box
    right, bottom = min(size[1], left + width), min(size[0], top + height)
    return round(max(0.0, left)), round(max(0.0, top)), round(right), round(bottom)


def _pasted_at(condition: str, name: str, box: Box, size: tuple[int, int]) -> tuple[float, int, int]:
    """By how much a photograph is shrunk, and where its left upper corner lies in the copy."""
    by = min(height_of(condition, name) / box[3], PASTED[0] / size[0])
    generator = _random(name, condition)
    y, x = (int(generator.integers(0, PASTED[axis] - round(size[axis] * by) + 1)) for axis in (0, 1))
    return by, x, y


def _degraded(condition: str, name: str, pixels: Pixels, box: Box) -> Pixels:
    height, width = pixels.shape[:2]
    left, top, across, down = box
    generator = _random(name, condition + " noise")

    def blurred() -> object:
        return cv2.GaussianBlur(pixels, (0, 0), float(condition.removeprefix("blur")))

    def pasted() -> object:
        by, x, y = _pasted_at(condition, name, box, (height, width))
        small = cv2.resize(pixels, (round(width * by), round(height * by)), interpolation=cv2.INTER_AREA)
        copy = np.clip(generator.normal(128, 16, (*PASTED, 3)), 0, 255).astype(np.uint8)
        copy[y : y + small.shape[0], x : x + small.shape[1]] = small
        return copy

    def cut_off() -> object:
        x0, y0, x1, y1 = _inside(box, (height, width))
        face = np.ascontiguousarray(pixels[y0:y1, x0:x1])
        return cv2.resize(face, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC)

    def darkened() -> object:
        return np.clip(pixels * 0.15 + generator.normal(0, 4, pixels.shape), 0, 255)

    def leaning() -> object:
        way = 45.0 if zlib.crc32(name.encode()) % 2 else -45.0
        turn = cv2.getRotationMatrix2D((left + across / 2, top + down / 2), way, 1)
        return cv2.warpAffine(pixels, turn, (width, height))

    made: dict[str, Callable[[], object]] = {
        "blur2": blurred,
        "blur4": blurred,
        "small40": pasted,
        "small24": pasted,
        "heights": pasted,
        "tight": cut_off,
        "dark": darkened,
        "roll45": leaning,
        "jpeg10": lambda: pixels,
    }
    return np.asarray(made[condition](), np.uint8)


def write_copies(names: Sequence[str], folder: Path, cache: Path) -> Iterator[tuple[str, Box | None]]:
    """Write the copies that are missing, photograph by photograph.

    Yields:
        The photograph's name, and the box of its face, None where there is none.

    Raises:
        LookupError: the mesh is not there.
    """
    cv2.setNumThreads(1)
    engine = build_engine(cache_dir=cache)
    estimators = Estimators(cache, switched_on=("smile",), runtime=choose("auto"), lanes=1, threads=usable_cores())
    try:
        mesh = estimators.network("smile")
        if mesh is None:
            raise LookupError(f"attributes-mesh: {usable(MESH, cache) or 'cannot be read'}")
        maker = Maker(engine, mesh)
        for name in names:
            yield name, maker.write(name, folder)
    finally:
        estimators.close()
        engine.close()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=Path, required=True, help="folder that they are written to")
    parser.add_argument("--every", type=int, default=1, help="of every Nth person only")
    options = parser.parse_args()
    if not LFW.is_dir():
        print(f"{LFW} is missing; set COUNTENANCE_TEST_DATA", file=sys.stderr)
        return 3
    names = [image for person in people(options.every) for image in person.images]
    with tempfile.TemporaryDirectory() as cache:
        try:
            boxes = dict(write_copies(names, options.copies, Path(cache)))
        except LookupError as error:
            print(error, file=sys.stderr)
            return 3
    for name in (name for name, box in boxes.items() if box is None):
        print(f"{name}: no face", file=sys.stderr)
    print(f"{len(boxes)} photographs, {len(CONDITIONS)} copies each, in {options.copies}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
