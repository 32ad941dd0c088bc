"""Charts as SVG, drawn by hand: three curves do not need a library, and the page they are on needs no script.

Colours are classes that the page's style sheet gives, in light and in dark. What is written into a chart is numbers and
words of ours; nothing of a data set.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from markupsafe import Markup, escape

from countenance.evaluation.rates import deviate

WIDTH: Final = 640
HEIGHT: Final = 380
LEFT, RIGHT, TOP, BOTTOM = 80, 16, 14, 46

SHARES: Final = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.05, 0.1, 0.2, 0.4)
"""Marks of an axis of rates."""


@dataclass(frozen=True, slots=True)
class Axis:
    """Where values lie along one side: `low` and `high` are in the units of the scale."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Pixels."""
        part = (value - self.low) / (self.high - self.low)
        return self.start + min(max(part, 0.0), 1.0) * (self.end - self.start)


@dataclass(frozen=True, slots=True)
class Marked:
    """A point with a label."""

    x: float
    y: float
    label: str


def rates(
    lines: Sequence[tuple[str, Sequence[tuple[float, float]]]],
    marks: Sequence[Marked],
    *,
    names: tuple[str, str],
    title: str,
    described: str,
) -> Markup:
    """Curves of one error rate over another, on normal-deviate axes.

    Args:
        lines: label, and points of rates.
        marks: points of rates with labels.
        names: of the x axis and of the y axis.
    """
    every = [point for _, points in lines for point in points]
    xs = [x for x, _ in every if x > 0] or [1e-4]
    ys = [y for _, y in every if y > 0] or [1e-3]
    across = Axis(deviate(_floor(min(xs))), deviate(0.5), LEFT, WIDTH - RIGHT)
    up = Axis(deviate(_floor(min(ys))), deviate(0.5), HEIGHT - BOTTOM, TOP)
    parts = [_frame(names)]
    parts += [_tick_x(across.at(deviate(each)), _share(each)) for each in SHARES if deviate(each) >= across.low - 1e-9]
    parts += [_tick_y(up.at(deviate(each)), _share(each)) for each in SHARES if deviate(each) >= up.low - 1e-9]
    for number, (label, points) in enumerate(lines):
        inside = [(x, y) for x, y in points if x <= 0.5 and y <= 0.5] or list(points)
        path = " ".join(f"{across.at(deviate(x)):.1f},{up.at(deviate(y)):.1f}" for x, y in inside)
        parts.append(Markup('<polyline class="line c{}" points="{}"/>').format(number, path))
        if len(lines) > 1:
            parts.append(_legend(number, label))
    for mark in marks:
        if mark.x > 0.5 or mark.y > 0.5:
            continue
        x, y = across.at(deviate(mark.x)), up.at(deviate(mark.y))
        parts.append(Markup('<circle class="mark" cx="{:.1f}" cy="{:.1f}" r="4"/>').format(x, y))
        parts.append(_label(x, y - 8, mark.label, 8, room=130))
    return _svg(parts, title, described)


def histogram(
    genuine: Sequence[int], impostor: Sequence[int], lines: Sequence[tuple[float, str]], *, title: str, described: str
) -> Markup:
    """Counts of scores over [-1, 1], the counts along a logarithmic axis.

    Args:
        lines: scores to mark, with labels.
    """
    bins = len(genuine)
    used = [at for at in range(bins) if genuine[at] or impostor[at]] or [0, bins - 1]
    width = 2 / bins
    across = Axis(max(-1.0, -1 + (used[0] - 1) * width), min(1.0, -1 + (used[-1] + 2) * width), LEFT, WIDTH - RIGHT)
    top = math.ceil(math.log10(max(10, *genuine, *impostor)))
    up = Axis(-0.3, top, HEIGHT - BOTTOM, TOP)
    parts = [_frame(("comparison score", "comparisons"))]
    step = 0.1 if across.high - across.low < 0.9 else 0.2
    first = math.ceil(across.low / step)
    parts += [_tick_x(across.at(n * step), f"{n * step:.1f}") for n in range(first, math.floor(across.high / step) + 1)]
    parts += [_tick_y(up.at(each), _count(each)) for each in range(top + 1)]
    for number, (label, counts) in enumerate((("different people", impostor), ("same person", genuine))):
        points = []
        for at, count in enumerate(counts):
            y = up.at(math.log10(count)) if count else up.start
            points += [(across.at(-1 + at * width), y), (across.at(-1 + (at + 1) * width), y)]
        inside = points[max(0, 2 * used[0] - 2) : 2 * used[-1] + 4]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in inside)
        parts.append(Markup('<polyline class="line c{}" points="{}"/>').format(number, path))
        parts.append(_legend(number, label, at="left"))
    for number, (score, label) in enumerate(lines):
        if not across.low <= score <= across.high:
            continue
        x = across.at(score)
        cut = Markup('<line class="cut" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>')
        parts.append(cut.format(x, TOP, HEIGHT - BOTTOM))
        parts.append(_label(x, TOP + 12 + 13 * number, label, 3, room=40))
    return _svg(parts, title, described)


def _svg(parts: Sequence[Markup], title: str, described: str) -> Markup:
    return Markup(
        '<svg viewBox="0 0 {} {}" role="img" aria-label="{}"><title>{}</title><desc>{}</desc>{}</svg>'
    ).format(WIDTH, HEIGHT, f"{title}. {described}", title, described, Markup("").join(parts))


def _frame(names: tuple[str, str]) -> Markup:
    middle = (TOP + HEIGHT - BOTTOM) / 2
    return Markup(
        '<rect class="frame" x="{}" y="{}" width="{}" height="{}"/>'
        '<text class="name" x="{}" y="{}" text-anchor="middle">{}</text>'
        '<text class="name" transform="translate(14 {}) rotate(-90)" text-anchor="middle">{}</text>'
    ).format(
        LEFT,
        TOP,
        WIDTH - LEFT - RIGHT,
        HEIGHT - TOP - BOTTOM,
        (LEFT + WIDTH - RIGHT) / 2,
        HEIGHT - 8,
        names[0],
        middle,
        names[1],
    )


def _tick_x(x: float, label: str) -> Markup:
    return Markup(
        '<line class="grid" x1="{0:.1f}" x2="{0:.1f}" y1="{1}" y2="{2}"/>'
        '<text class="tick" x="{0:.1f}" y="{3}" text-anchor="middle">{4}</text>'
    ).format(x, TOP, HEIGHT - BOTTOM, HEIGHT - BOTTOM + 16, label)


def _tick_y(y: float, label: str) -> Markup:
    return Markup(
        '<line class="grid" x1="{1}" x2="{2}" y1="{0:.1f}" y2="{0:.1f}"/>'
        '<text class="tick" x="{3}" y="{4:.1f}" text-anchor="end">{5}</text>'
    ).format(y, LEFT, WIDTH - RIGHT, LEFT - 6, y + 4, label)


def _legend(number: int, label: str, *, at: str = "right") -> Markup:
    x = LEFT + 12 if at == "left" else WIDTH - RIGHT - 150
    y = TOP + 18 + 18 * number
    return Markup(
        '<line class="line c{}" x1="{}" x2="{}" y1="{}" y2="{}"/><text class="label" x="{}" y="{}">{}</text>'
    ).format(number, x, x + 22, y - 4, y - 4, x + 28, y, escape(label))


def _label(x: float, y: float, text: str, gap: float, *, room: float) -> Markup:
    """Beside a place: on its left where the right has no room."""
    is_left = x > WIDTH - room
    return Markup('<text class="label" x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(
        x - gap if is_left else x + gap, y, "end" if is_left else "start", text
    )


def _floor(share: float) -> float:
    return max(1e-7, float(10 ** math.floor(math.log10(share))))


def _share(share: float) -> str:
    return f"{share * 100:g} %" if share >= 1e-4 else f"{share * 100:.0e} %".replace("e-0", "e-")


def _count(power: int) -> str:
    return f"{10**power:,}" if power < 7 else f"1e{power}"
