"""Whether the log is what its own leaves say: every leaf, opening, tile and checkpoint looked at once.

Knows the formats and the rows; repairs nothing. What an operator who forges all of it together could hide is for
witnesses and auditors to find; this finds damage, half restores and edits by hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from countenance_audit.errors import AuditError
from countenance_audit.leaf import Opaque, check_opening, parse
from countenance_audit.merkle import Frontier, leaf_hash

from countenance.errors import Error
from countenance.ledger.acts import Replay, Things
from countenance.ledger.log import Log
from countenance.ledger.tree import HEIGHT, WIDTH, Tree

PORTION: Final = 16 * WIDTH
"""Leaves read at a time: a few megabytes with their openings."""


@dataclass(frozen=True, slots=True)
class Examined:
    """What was looked at and found."""

    leaves: int
    openings: int
    references: int
    """References that the galleries should hold by the log: enrolled minus deleted."""
    samples: int
    """Samples that should be kept by the log: kept minus erased."""
    problems: list[str]
    lost: int = 0
    """Openings that a recovery could not bring back, as its entry says."""
    things: Things = field(default_factory=dict)
    """What there should be by the entries: see `acts`."""


def examine(log: Log, size: int | None = None) -> Examined:
    """Look at everything. Reads the whole log; others may go on writing behind what it looks at.

    Args:
        size: how many leaves to look at; None: those there are.
    """
    size = log.size if size is None else size
    replay = Replay()
    for said in log.storage.changes(closed_only=True):
        for _ in replay.take(said):
            pass  # their leaves are not looked at again
    storage = log.storage
    problems: list[str] = []
    frontier, opened, references, samples, last_time, lost = Frontier(), 0, 0, 0, 0, 0
    gone, erased = 0, 0
    recovered = storage.recoveries()
    tree = Tree()
    for start in range(0, size, PORTION):
        end = min(start + PORTION, size)
        try:
            leaves = storage.leaves(start, end)
        except Error as error:
            return Examined(size, opened, references, samples, [*problems, error.message])
        openings = {}
        expired = storage.expired(start, end)
        try:
            openings = dict(storage.openings(start, end))
        except AuditError as error:
            problems.append(f"openings from {start} to {end - 1}: {error}")
        hashes = [leaf_hash(leaf) for leaf in leaves]
        for hashed in hashes:
            frontier.append(hashed)
        tree, tiles = tree.extended(hashes)
        problems += _other_tiles(log, tiles)
        for index, leaf in enumerate(leaves, start):
            opening = openings.pop(index, None)
            try:
                found = parse(leaf)
                if isinstance(found, Opaque):
                    if opening is None and index in expired:
                        gone += 1
                        continue
                    if opening is None and any(first <= index < beyond for first, beyond, _ in recovered):
                        lost += 1
                        continue
                    if opening is None:
                        problems.append(f"leaf {index}: its opening is missing")
                        continue
                    check_opening(opening, leaf)
                    opened += 1
                    references += _change(opening.accounting)
                    contradictions = list(replay.take(opening.accounting))
                    if not recovered:  # or an act that explains it may be among those lost
                        problems += [f"leaf {index}: {each}" for each in contradictions]
                    samples += opening.accounting["details"].get("sample") == "kept"
                    moment = int(opening.accounting["end"])
                else:
                    moment = found.time
                    if found.kind == "retention" and found.content["class"] == "accounting":
                        erased += int(found.content["count"])
                    if found.kind == "retention" and found.content["class"] == "sample":
                        samples -= found.content["count"]
                if moment < last_time:
                    problems.append(f"leaf {index}: its time is before that of the leaf before it")
                last_time = max(last_time, moment)
            except AuditError as error:
                problems.append(f"leaf {index}: {error}")
        problems += [f"opening {index}: there is no such opaque leaf" for index in openings]
    problems += _other_checkpoints(log, size, frontier)
    if gone != erased:
        problems.append(f"{gone} openings were erased after their floor; retention entries tell of {erased}")
    if lost != (told := sum(count for _, _, count in recovered)):
        problems.append(f"{lost} openings of recovered leaves are missing; the recoveries told of {told}")
    return Examined(size, opened, references, samples, problems, lost, replay.things)


def _change(accounting: object) -> int:
    assert isinstance(accounting, dict)
    if accounting["kind"] != "effect":
        return 0
    details = accounting["details"]
    return int(details.get("added", 0)) - int(details.get("removed", 0))


def _other_tiles(log: Log, tiles: list[tuple[int, int, bytes]]) -> Iterator[str]:
    for level, n, expected in tiles:
        try:
            kept = log.storage.tile(level, n)
        except Error as error:
            yield error.message
            continue
        if kept != expected:
            first = n * WIDTH << (HEIGHT * level)
            yield f"tile {n} of level {level} (leaves from {first}): other hashes than its leaves"


def _other_checkpoints(log: Log, size: int, frontier: Frontier) -> Iterator[str]:
    if size and log.root(size) != frontier.root():
        yield "the tree in memory has another root than the leaves"
    note = log.storage.latest_checkpoint()
    if note is None:
        return
    try:
        seen = log.keys.open(note)
    except AuditError as error:
        yield f"the latest checkpoint: {error}"
        return
    if seen.size > log.size or log.root(seen.size) != seen.root:  # there may be more leaves by now than were looked at
        yield f"the checkpoint over {seen.size} leaves is not one of this log"
