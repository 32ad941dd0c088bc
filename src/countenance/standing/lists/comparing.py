"""What a new snapshot of a list changes, and when it is too little to be believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

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


def refuse_shrunk(before: Snapshot, after: Snapshot) -> None:
    """Raises ListError when more than half of what was listed is gone, or the new one is older than the one before."""
    kept = len({each.entry_id for each in before.entities} & {each.entry_id for each in after.entities})
    if kept < SHRUNK * len(before.entities):
        raise ListError(
            f"Of {len(before.entities)} entries, {len(before.entities) - kept} are gone.",
            hint="fetch it again; if it is so, import it with --shrunk, and two operators let the entries go",
        )
    if before.report_date and after.report_date and after.report_date < before.report_date:
        raise ListError(
            f"It is of {after.report_date}, and the one in force of {before.report_date}.",
            hint="days and months may have been swapped; --shrunk takes an older list",
        )
