"""A chain of ownership as a picture: boxes from the listed party down, arrows with share, dates and source.

SVG 1.1, whole in itself: no script, no font and nothing from elsewhere, so that it can be put into a file. The same
chain is the same picture.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from html import escape
from textwrap import wrap
from typing import Final

from countenance.standing.ownership.statements import Statement

WIDTH: Final = 460
BOX: Final = 320
LINE: Final = 18
GAP: Final = 76
MARGIN: Final = 20
"""Pixels."""
LETTERS: Final = 40
"""On a line of a box."""
_ARROW: Final = (
    '<marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
    '<path d="M0 0L10 5L0 10z" fill="#333"/></marker>'
)


def svg(
    chain: Sequence[Statement], *, listed: Collection[str], title: str, names: Mapping[str, str] | None = None
) -> str:
    """The picture.

    Args:
        chain: statements, each owned by the next one's owner.
        listed: nodes to highlight.
        names: node -> what it is called; others are called what they are.
    """
    called = names or {}
    nodes = [chain[0].owner, *(each.owned for each in chain)] if chain else []
    parts, top = [], MARGIN + LINE + 8
    for at, node in enumerate(nodes):
        lines = wrap(called.get(node, node), LETTERS) or [node]
        height = LINE * len(lines) + 16
        fill, stroke = ("#fde0e0", "#b00020") if node in listed else ("#f4f6f8", "#456")
        parts.append(
            f'<rect x="{MARGIN}" y="{top}" width="{BOX}" height="{height}" rx="6" fill="{fill}" stroke="{stroke}"/>'
        )
        for number, line in enumerate(lines):
            weight = ' font-weight="bold"' if node in listed else ""
            parts.append(_text(MARGIN + 12, top + LINE * (number + 1) + 2, line, weight))
        if at < len(chain):
            middle, end = MARGIN + 40, top + height
            parts.append(
                f'<line x1="{middle}" y1="{end}" x2="{middle}" y2="{end + GAP - 2}" stroke="#333"'
                ' marker-end="url(#arrow)"/>'
            )
            for number, line in enumerate(_said(chain[at])):
                parts.append(_text(middle + 14, end + 18 + number * LINE, line, ' font-size="12"'))
        top += height + GAP
    height = max(top - GAP + MARGIN, MARGIN * 3)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
        f' font-family="sans-serif" font-size="14"><title>{_safe(title)}</title><defs>{_ARROW}</defs>'
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>{_text(MARGIN, MARGIN, title[:60], "")}'
        f"{''.join(parts)}</svg>\n"
    )


def _said(each: Statement) -> list[str]:
    share = f" {each.share}" if each.share is not None else ""
    since, until = each.valid_from or "?", each.valid_to or "now"
    return [f"{each.interest}{share}", f"{since} to {until}", each.source[:LETTERS]]


def _text(x: int, y: int, text: str, more: str) -> str:
    return f'<text x="{x}" y="{y}"{more}>{_safe(text)}</text>'


def _safe(text: str) -> str:
    """Escaped, and without what XML 1.0 cannot have."""
    return escape("".join(each if each.isprintable() else " " for each in text))
