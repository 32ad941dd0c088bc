"""What a new snapshot of a list changes, and when it is too little to be believed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from countenance.standing.listed import ListedEntity
from countenance.standing.lists.reading import ListError, Snapshot

SHRUNK: Final = 0.5
"""Of the entries that were there: with fewer left, the file is taken to be cut off. The program's own choice; from
March 2021 to November 2023 OFAC took 585 of 8,832 entries off its list (the two snapshots of the tests)."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Ids of entries that are only in the new snapshot, in both with another content, or only in the one before."""

    added: frozenset[str]
    changed: frozenset[str]
    removed: frozenset[str]


def compare(before: Snapshot, after: Snapshot) -> Difference:
    """What changed from one snapshot to another; they may be of two forms of one list."""
    old, new = ({each.entry_id: each for each in snapshot.entities} for snapshot in (before, after))
    return Difference(
        frozenset(new.keys() - old.keys()),
        frozenset(entry for entry in new.keys() & old.keys() if new[entry] != old[entry]),
        frozenset(old.keys() - new.keys()),
    )


_PARTS: Final[tuple[tuple[str, Callable[[ListedEntity], int]], ...]] = (
    ("further names", lambda each: len(each.names) - 1),
    ("addresses", lambda each: len(each.addresses)),
)
"""What some publishers have in files of their own, which can be cut off or left out by themselves."""


def refuse_shrunk(before: Snapshot, after: Snapshot) -> None:
    """Raises ListError when more than half of what was listed is gone, be it entries or what is said of those that
    stay, or the new one is older than the one before."""
    old, new = ({each.entry_id: each for each in snapshot.entities} for snapshot in (before, after))
    both = old.keys() & new.keys()
    if len(both) < SHRUNK * len(old):
        raise ListError(
            f"Of {len(old)} entries, {len(old) - len(both)} are gone.",
            hint="fetch it again; if it is so, import it with --shrunk, and two operators let the entries go",
        )
    for what, count in _PARTS:
        had = sum(count(old[each]) for each in both)
        kept = sum(min(count(old[each]), count(new[each])) for each in both)
        if kept < SHRUNK * had:
            raise ListError(
                f"Of {had} {what} of entries that are still there, {had - kept} are gone.",
                hint="is one of its files missing, or cut off? If it is so, import it with --shrunk",
            )
    if before.report_date and after.report_date:
        refuse_older(before.report_date.isoformat(), after.report_date.isoformat())


def refuse_older(before: str, after: str) -> None:
    """Raises ListError when a list of one day would take the place of one of a later day; ISO 8601, "" of none."""
    if before and after and after < before:
        raise ListError(
            f"It is of {after}, and the one in force of {before}.",
            hint="days and months may have been swapped; --shrunk takes an older list",
        )
