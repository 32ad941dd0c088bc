"""Options that name what a log is mended from, for the verbs that mend one, and what these say at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from countenance.ledger.copies import Copies
    from countenance.restoration import Mended, Successor

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


def copies_options(function: F) -> F:
    """`--from`, `--database`, `--receipts` as the argument `copies`, and `--new-origin`."""

    def gathered(**given: Any) -> Any:
        copies = {name: given.pop(name) for name in ("mirrors", "databases", "receipts")}
        return function(copies=copies, **given)

    gathered.__doc__, gathered.__name__ = function.__doc__, function.__name__
    gathered.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    for option in (
        click.option(
            "--new-origin",
            is_flag=False,
            flag_value="",
            default=None,
            metavar="[NAME]",
            help="Give the log up: close it, and open another one that names it.",
        ),
        click.option("--receipts", multiple=True, type=_FILE, help="An answer to GET /receipts/ID that a caller kept."),
        click.option("--database", "databases", multiple=True, type=_FILE, help="Another copy of countenance.db."),
        click.option("--from", "mirrors", multiple=True, metavar="URL|DIR", help="A mirror of the log."),
    ):
        gathered = option(gathered)
    return gathered  # type: ignore[return-value]


def copies_of(given: dict[str, Any]) -> Copies:
    """What the options name."""
    from countenance.ledger.copies import Copies

    return Copies(given["mirrors"], given["databases"], [each.read_bytes() for each in given["receipts"]])


def successor_of(new_origin: str | None) -> Successor | None:
    """The log that follows, when `--new-origin` was given."""
    from countenance.restoration import Successor

    return None if new_origin is None else Successor(new_origin or None)


def told_of(mended: Mended) -> tuple[dict[str, Any], list[str]]:
    """The answer as an object, and as lines."""
    answer: dict[str, Any] = {"origin": mended.origin, "key": mended.key, "size": mended.size}
    if mended.refilled is not None:
        first, size, lost = mended.refilled.first, mended.refilled.size, mended.refilled.lost
        answer |= {"first": first, "refilled": size - first, "lost": lost}
        lines = [f"{size - first} leaves put back from {first} on, {lost} of them without opening"]
        if mended.refilled.filled:
            answer["filled"] = mended.refilled.filled
            lines.append(f"{mended.refilled.filled} openings put back into leaves that were there")
        if mended.refilled.has_new_key:
            lines.append(f"the log's key is lost, and another signs: {mended.key}; tell whoever checks you")
        if lost:
            lines.append(
                "what operators decided may be among what was lost: where it is, every call is denied until the office "
                "is founded anew (`countenance ledger fsck` says so)"
            )
    else:
        assert mended.closed is not None  # one or the other
        last = mended.closed
        answer["closed"] = {"origin": last.origin, "size": last.size, "root": last.root.hex()}
        lines = [f"closed {last.origin} at {last.size} leaves", f"log {mended.key}"]
    answer["erased_again"] = dict(mended.replayed)
    answer["differences"] = [
        {"thing": each.thing[0], "id": " ".join(each.thing[1:]), "state": each.state, "told": str(each)}
        for each in mended.differences
    ]
    lines += [f"erased again: {count} {kind}" for kind, count in mended.replayed.items()]
    return answer, lines + [f"{each.state}: {each}" for each in mended.differences]
