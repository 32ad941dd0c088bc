"""What verbs say and how they end: JSON or plain lines on stdout, talk on stderr, one meaning per exit status.

Knows no verb. Plain lines are for people and for `cut`: columns are aligned, never cut to a terminal's width,
and control characters are spelt out, since names of files and collections come from elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import IntEnum
from typing import Any

import click

from countenance.errors import Error


class Status(IntEnum):
    """Exit statuses. 130 is the shells' own convention for SIGINT (128 + 2)."""

    YES = 0
    NO = 1
    USAGE = 2
    UNDECIDED = 3
    STOPPED = 130


def complain(error: Error, *, as_json: bool) -> None:
    """Print an error's message and hint to stderr, as text or as JSON."""
    if as_json:
        click.echo(json.dumps({"error": {"message": error.message, "hint": error.hint}}), err=True)
        return
    talk(f"Error: {error.message}")
    if error.hint:
        talk(f"Hint: {error.hint}")


def emit(value: Mapping[str, Any], lines: Iterable[str], *, as_json: bool) -> None:
    """Print the answer of a verb: `value` as one JSON document, or `lines`."""
    if as_json:
        click.echo(json.dumps(value, indent=2, default=_plain))
        return
    for line in lines:
        click.echo(spelt_out(line))


def talk(text: str) -> None:
    """Say something that is not data."""
    click.echo(spelt_out(text), err=True)


def tell_unopened(answer: Mapping[str, Any], *, as_json: bool) -> None:
    """Say that an answer lacks what leaves commit to and nothing here opens; the exit status is for the caller."""
    if answer["unopened"] and not as_json:
        talk(f"{answer['unopened']} leaves are not told of: their openings are missing, or are not those of the log.")
        talk("Hint: `countenance ledger fsck` lists what is wrong")


def columns(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterable[str]:
    """Align rows under their heads; cells become text, None a hyphen."""
    cells = [list(head), *([("-" if cell is None else str(cell)) for cell in row] for row in rows)]
    widths = [max(len(spelt_out(row[n])) for row in cells) for n in range(len(head))]
    for row in cells:
        padded = (spelt_out(cell).ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(padded).rstrip()


def spelt_out(text: str) -> str:
    """The text with control characters and undecodable bytes as escapes, so that no terminal obeys them."""
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def end(status: Status) -> None:
    """End the running verb with this status."""
    click.get_current_context().exit(int(status))


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in an answer")
