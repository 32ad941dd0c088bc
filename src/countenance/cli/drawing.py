"""Boxes, landmarks and numbers drawn over a picture.

Knows pixels and the shapes in which the API answers (boxes and landmarks as ratios of the upright image); knows
no verb. Nothing here is measured: what is drawn is what was answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from PIL import Image, ImageDraw, ImageFont

from countenance.errors import Error

GREEN: Final = (0, 200, 83)
RED: Final = (229, 57, 53)
BLUE: Final = (41, 121, 255)

GAP_PX: Final = 16
"""Between two pictures side by side."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One face to draw: box and landmarks as the API gives them, and what to write above the box."""

    box: Mapping[str, float]
    text: str = ""
    colour: tuple[int, int, int] = GREEN
    landmarks: Sequence[Mapping[str, Any]] = field(default=())


def draw(picture: Image.Image, marks: Iterable[Mark]) -> Image.Image:
    """A copy of the upright RGB picture with the marks on it; lines and letters grow with its size."""
    canvas = picture.copy()
    pen = ImageDraw.Draw(canvas)
    width, height = canvas.size
    stroke = max(2, max(width, height) // 400)
    font = ImageFont.load_default(size=max(12, max(width, height) // 50))
    for mark in marks:
        left, top = mark.box["Left"] * width, mark.box["Top"] * height
        right, bottom = left + mark.box["Width"] * width, top + mark.box["Height"] * height
        pen.rectangle((left, top, max(right, left), max(bottom, top)), outline=mark.colour, width=stroke)
        for point in mark.landmarks:
            x, y = point["X"] * width, point["Y"] * height
            pen.ellipse((x - stroke, y - stroke, x + stroke, y + stroke), fill=mark.colour)
        if mark.text:
            _write(pen, font, mark, (left, top), canvas.size, stroke)
    return canvas


def side_by_side(left: Image.Image, right: Image.Image) -> Image.Image:
    """Two pictures in one, scaled to the height of the lower one."""
    height = min(left.height, right.height)
    parts = [each.resize((max(1, round(each.width * height / each.height)), height)) for each in (left, right)]
    canvas = Image.new("RGB", (parts[0].width + GAP_PX + parts[1].width, height), "white")
    canvas.paste(parts[0], (0, 0))
    canvas.paste(parts[1], (parts[0].width + GAP_PX, 0))
    return canvas


def save(picture: Image.Image, path: Path, *, sources: Sequence[Path]) -> None:
    """Write the picture in the format of the path's suffix.

    Raises:
        Error: no such format, or the path is one of the source images.
    """
    if path.exists() and any(path.samefile(source) for source in sources):
        raise Error(f"{path} is the image itself", hint="give --draw another file")
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise Error(f"{path} names no picture format", hint="end it in .png, .jpg or .webp")
    picture.save(path)


def _write(
    pen: ImageDraw.ImageDraw,
    font: Any,
    mark: Mark,
    corner: tuple[float, float],
    size: tuple[int, int],
    stroke: int,
) -> None:
    text = "".join(each if each.isprintable() else "?" for each in mark.text)
    x0, y0, x1, y1 = pen.textbbox((0, 0), text, font=font)
    wide, high = x1 - x0 + 2 * stroke, y1 - y0 + 2 * stroke
    # Above the box, or inside it where the picture's edge is in the way; never beyond the right edge.
    left = min(max(corner[0], 0), max(size[0] - wide, 0))
    top = corner[1] - high if corner[1] >= high else max(corner[1], 0)
    pen.rectangle((left, top, left + wide, top + high), fill=mark.colour)
    pen.text((left + stroke - x0, top + stroke - y0), text, font=font, fill="white")
