"""What opens the leaves of one request and proves that they are in a checkpoint, of this log or of one that ended here.

Knows trees, rows and checkpoints; does not know who asks. A leaf of a log that ended before any checkpoint covered it
has no proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from countenance_audit.checkpoint import parse
from countenance_audit.leaf import Opening
from countenance_audit.merkle import leaf_hash
from countenance_audit.note import SignedNote

from countenance.ledger.log import Log
from countenance.ledger.storage import Storage
from countenance.ledger.tree import WIDTH, rebuilt


@dataclass(frozen=True, slots=True)
class Shown:
    """An opening, its leaf's index, and the hashes that lead from the leaf to the checkpoint's root."""

    index: int
    opening: Opening
    proof: Sequence[bytes] | None


def shown(log: Log, request_id: str, account: str) -> tuple[bytes, list[Shown]] | None:
    """The leaves of a request of an account, in order, under a checkpoint (a signed note); None: there are none."""
    if found := _of_account(log.storage, request_id, account):
        size, note = log.checkpoint()
        if found[-1][0] >= size:
            size, note = log.publish()
        return note, [Shown(index, opening, log.inclusion(index, size)) for index, opening in found]
    for ended in reversed(log.storage.closed()):
        rows = log.storage.of_closed(ended)
        if found := _of_account(rows, request_id, account):
            return _of_closed(rows, found)
    return None


def _of_account(rows: Storage, request_id: str, account: str) -> list[tuple[int, Opening]]:
    return [each for each in rows.calls(request_id) if each[1].accounting["account"] == account]


def _of_closed(rows: Storage, found: list[tuple[int, Opening]]) -> tuple[bytes, list[Shown]]:
    note = rows.latest_checkpoint()
    if note is None:
        return b"", [Shown(index, opening, None) for index, opening in found]
    size, end = parse(SignedNote.parse(note).text).size, rows.last_size()
    tree = rebuilt(end, (leaf_hash(leaf) for leaf in rows.leaves(end // WIDTH * WIDTH, end)), rows.tile)
    return note, [
        Shown(index, opening, tree.inclusion(index, size, rows.tile, rows.layers) if index < size else None)
        for index, opening in found
    ]
