"""Entries as the log commits to them: each opening is held against its leaf, each leaf against the tree in memory.

For answers that people rely on and that rest on many entries. A row that somebody changed, or took away, is told as a
leaf that nothing opens; what the row says is told to nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from countenance_audit.errors import AuditError
from countenance_audit.leaf import Public, check_opening, parse
from countenance_audit.merkle import leaf_hash

from countenance.errors import Error
from countenance.ledger.entries import opening_of
from countenance.ledger.log import Log
from countenance.ledger.tree import WIDTH

MAX_TOLD: Final = 100
"""Leaves that nothing opens, told one by one; all of them are counted."""


class Proved:
    """What one answer read of the present log, as it was when this was made."""

    def __init__(self, log: Log) -> None:
        self._rows, self._tree = log.storage, log.tree
        self._unopened: list[int] = []
        self._count = 0

    def told(self) -> dict[str, Any]:
        """What an answer says of leaves that nothing opens: their openings were lost, erased after their floor, or are
        not those of the log."""
        return {"unopened": self._count, "unopened_leaves": list(self._unopened)}

    def accountings(self, since_us: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """Index and accounting section of each entry from a time on (microseconds since 1970), in order."""
        for n in range(self._first(since_us), self._tiles()):
            for index, found in self._tile(n):
                if found is None:
                    self._count += 1
                    if len(self._unopened) < MAX_TOLD:
                        self._unopened.append(index)
                elif isinstance(found, dict) and found["end"] >= since_us:
                    yield index, found

    def decided(self, since_us: int) -> Iterator[dict[str, Any]]:
        """The accounting section of each call that a policy decided, from a time on, in order."""
        for _, said in self.accountings(since_us):
            if said["decision"] is not None:
                yield said

    def _tiles(self) -> int:
        return -(-self._tree.size // WIDTH)

    def _first(self, since_us: int) -> int:
        """The tile with which to begin: times never go back, and only those count here that leaves commit to."""
        low, high = 0, self._tiles()
        while low < high:
            middle = (low + high) // 2
            if self._last_time(middle) < since_us:
                low = middle + 1
            else:
                high = middle
        return low

    def _last_time(self, n: int) -> int:
        """Of the last leaf up to the end of a tile that says when it was made; 0 when none does."""
        for at in range(n, -1, -1):
            told = [found if isinstance(found, int) else found["end"] for _, found in self._tile(at) if found]
            if told:
                return int(max(told))
        return 0

    def _tile(self, n: int) -> Iterator[tuple[int, dict[str, Any] | int | None]]:
        """Of each leaf of a tile its index, and its accounting section; the time of a public one; None of one that
        nothing opens."""
        start, end = n * WIDTH, min((n + 1) * WIDTH, self._tree.size)
        try:
            hashes = self._tree.leaf_hashes(n, self._rows.tile)
        except Error:  # the tile's row is missing
            hashes = []
        rows = self._rows.rows(start, end)
        for index in range(start, end):
            leaf, row = rows.get(index, (None, None))
            if not hashes or not isinstance(leaf, bytes) or leaf_hash(leaf) != hashes[index - start]:
                yield index, None
                continue
            yield index, _said(leaf, row)


def _said(leaf: bytes, row: Any) -> dict[str, Any] | int | None:
    try:
        found = parse(leaf)
        if isinstance(found, Public):
            return found.time
        if row is None:
            return None
        opening = opening_of(row)
        check_opening(opening, leaf)
    except (AuditError, TypeError, ValueError):  # also what is no text and no bytes, where it should be
        return None
    return dict(opening.accounting)
