"""Reads a whole log and checks it: signatures, tree, form of each leaf, order of times, heartbeats.

Knows how a log hangs together; does not know openings or the server. No leaf is handed out before it was shown to
belong to the tree of a checkpoint that a trusted log signed. What is checked and what is only listed:

- a bundle or tile that does not belong to the tree, or a checkpoint nobody trusted signed: an error, reading stops;
- a malformed leaf, public times that decrease, a hash tile served wrong: `findings` with `serious`;
- spans without a heartbeat or between stop and start: `findings`, for a person to judge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from countenance_audit.checkpoint import Checkpoint
from countenance_audit.errors import Malformed, Rejected, Unavailable
from countenance_audit.fetching import Fetch
from countenance_audit.leaf import Opaque, Public, parse
from countenance_audit.merkle import (
    Frontier,
    Subtree,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
)
from countenance_audit.policy import Cosigned, TrustPolicy
from countenance_audit.tiles import (
    CHECKPOINT,
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    encode_bundle,
    parse_bundle,
    parse_tile,
)

HEARTBEAT_US: Final = 300_000_000
"""How often a running server writes a heartbeat: 5 minutes in microseconds."""

HEARTBEAT_SLACK_US: Final = 60_000_000
"""How late a heartbeat may be before the span is listed: the 60 s a leaf may wait for its checkpoint."""
UNWITNESSED_US: Final = 24 * 3_600_000_000
"""After how long without a new outside cosignature a span is marked: 24 h."""

_MICROSECONDS: Final = 1_000_000
_CACHED_TILES: Final = 512


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf of the log; `content` is None when it is malformed."""

    index: int
    data: bytes
    content: Opaque | Public | None


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that was seen.

    Attributes:
        kind: `malformed`, `time`, `tile`, `heartbeat`, `downtime` or `unwitnessed`.
        index: of the leaf, or None.
        serious: the log is not what it must be, as opposed to: a person should know.
    """

    kind: str
    index: int | None
    text: str
    serious: bool


class Log:
    """One log, read through `fetch` and judged by `policy`. Not safe to use from several threads."""

    def __init__(self, fetch: Fetch, policy: TrustPolicy) -> None:
        self._fetch = fetch
        self._policy = policy
        self._cache: dict[Tile, list[bytes]] = {}
        self.note = b""
        """The checkpoint as `checkpoint` fetched it."""
        self.findings: list[Finding] = []
        """What `leaves` saw."""

    def checkpoint(self) -> Cosigned:
        """Fetches and checks the latest checkpoint.

        Raises:
            Unavailable: it cannot be had.
            Malformed, Rejected: it is not one, or no log of the policy signed it.
        """
        self.note = self._fetch(CHECKPOINT)
        return self._policy.cosigned(self.note)

    def subtree(self, size: int) -> Subtree:
        """Hashes of complete subtrees of a tree of `size` leaves as the tiles have them: not checked, for proofs."""

        def of(level: int, index: int) -> bytes:
            tile_level, rest = divmod(level, TILE_HEIGHT)
            first = index << rest
            hashes = self._hashes(tile_level, first >> TILE_HEIGHT, size)
            at = first % TILE_WIDTH
            found = hashes[at : at + (1 << rest)]
            if len(found) != 1 << rest:
                raise Rejected(f"A tree of {size} leaves has no complete subtree {index} at level {level}.")
            return root_of(found)

        return of

    def check_consistency(self, old: Checkpoint, new: Checkpoint) -> None:
        """Checks with this log's tiles that the newer tree begins with the older one.

        Raises:
            Rejected: it does not, or is shorter.
        """
        if old.origin != new.origin:
            raise Rejected(f"The checkpoints are of different logs: {old.origin} and {new.origin}.")
        if old.size > new.size:
            raise Rejected(f"The log became shorter: {old.size} leaves before, {new.size} now.")
        if old.size == 0:
            return
        proof = consistency_proof(old.size, new.size, self.subtree(new.size))
        verify_consistency(old.size, new.size, old.root, new.root, proof)

    def leaf_at(self, index: int, size: int) -> tuple[bytes, list[bytes]]:
        """The leaf at `index` and its inclusion proof in the tree of `size` leaves: not checked.

        Raises:
            Rejected: there is no such leaf.
        """
        proof = inclusion_proof(index, size, self.subtree(size))
        bundle = index >> TILE_HEIGHT
        leaves = self._entries(bundle, min(TILE_WIDTH, size - bundle * TILE_WIDTH))
        return leaves[index % TILE_WIDTH], proof

    def leaves(self, checkpoint: Checkpoint) -> Iterator[Leaf]:
        """All leaves, in order, each after it was shown to belong to the checkpoint's tree.

        Args:
            checkpoint: one that was checked.

        Raises:
            Rejected: the files do not lead to the checkpoint's root.
            Malformed: a file is not what its name says.
            Unavailable: a file cannot be had.
        """
        size = checkpoint.size
        whole, rest = divmod(size, TILE_WIDTH)
        roots: list[bytes] = []
        tree = Frontier()
        for index in range(-(-whole // TILE_WIDTH)):
            roots += self._hashes(1, index, size)
        for root in roots:
            tree.append(root)
        last = self._hashes(0, whole, size) if rest else []
        tail = Frontier()
        for item in last:
            tail.append(item)
        if Frontier.from_peaks(size, tree.peaks + tail.peaks).root() != checkpoint.root:
            raise Rejected("The log's tiles do not lead to the root that its checkpoint signs.")
        watch = Watch(self.findings)
        for bundle in range(whole + bool(rest)):
            data = self._entries(bundle, TILE_WIDTH if bundle < whole else rest)
            hashes = [leaf_hash(leaf) for leaf in data]
            if root_of(hashes) != roots[bundle] if bundle < whole else hashes != last:
                first = bundle * TILE_WIDTH
                raise Rejected(
                    f"The entries {first} to {first + len(data) - 1} are not those of the signed tree.",
                    hint="If they come from a kept copy, check that copy's disk before accusing anyone.",
                )
            for offset, leaf in enumerate(data):
                yield watch.see(bundle * TILE_WIDTH + offset, leaf)
        watch.end()

    def tile(self, tile: Tile) -> bytes:
        """A tile as it is served; from the full one when a partial one is gone (C2SP tlog-tiles, "Partial Tiles")."""
        try:
            return self._fetch(tile.path)
        except Unavailable:
            if tile.full == tile:
                raise
            data = self._fetch(tile.full.path)
        if tile.level is None:
            return encode_bundle(parse_bundle(data, TILE_WIDTH)[: tile.width])
        return b"".join(parse_tile(data, TILE_WIDTH)[: tile.width])

    def _entries(self, bundle: int, width: int) -> list[bytes]:
        return parse_bundle(self.tile(Tile(None, bundle, width)), width)

    def _hashes(self, level: int, index: int, size: int) -> list[bytes]:
        width = min(TILE_WIDTH, (size >> (TILE_HEIGHT * level)) - index * TILE_WIDTH)
        if width < 1:
            raise Rejected(f"A tree of {size} leaves has no tile {index} at level {level}.")
        tile = Tile(level, index, width)
        if tile not in self._cache:
            if len(self._cache) >= _CACHED_TILES:
                self._cache.clear()
            self._cache[tile] = parse_tile(self.tile(tile), width)
        return self._cache[tile]


class Watch:
    """Looks at one leaf after the other, and lists what a person should know."""

    def __init__(self, findings: list[Finding]) -> None:
        self._findings = findings
        self._latest: Public | None = None
        self._alive: Public | None = None
        self._cosigned: object = None
        self._witnessed: tuple[int, int] | None = None
        self._unwitnessed: tuple[int, int] | None = None

    def see(self, index: int, data: bytes) -> Leaf:
        try:
            content = parse(data)
        except Malformed as failure:
            self._findings.append(Finding("malformed", index, failure.message, True))
            return Leaf(index, data, None)
        if isinstance(content, Public):
            self._order(index, content)
            self._pulse(index, content)
            self._witness(index, content)
        return Leaf(index, data, content)

    def _order(self, index: int, leaf: Public) -> None:
        if self._latest is not None and leaf.time < self._latest.time:
            by = (self._latest.time - leaf.time) / _MICROSECONDS
            self._findings.append(Finding("time", index, f"The time goes back by {by:.6f} s.", True))
        self._latest = leaf

    def _pulse(self, index: int, leaf: Public) -> None:
        if leaf.kind not in ("start", "stop", "heartbeat"):
            return
        before, self._alive = self._alive, leaf
        if before is None:
            return
        span = (leaf.time - before.time) / _MICROSECONDS
        if before.kind == "stop":
            self._findings.append(Finding("downtime", index, f"The server was stopped for {span:.0f} s.", False))
        elif leaf.time - before.time > HEARTBEAT_US + HEARTBEAT_SLACK_US:
            self._findings.append(Finding("heartbeat", index, f"There was no heartbeat for {span:.0f} s.", False))
        elif leaf.kind == "start":
            self._findings.append(
                Finding("downtime", index, f"The server started without having stopped, {span:.0f} s later.", False)
            )

    def end(self) -> None:
        """Nothing comes after this."""
        self._unwitnessed_span()

    def _witness(self, index: int, leaf: Public) -> None:
        """Spans in which heartbeats name no new outside cosignature; a claim, which the cosignatures themselves bear
        out or not."""
        if self._witnessed is None:
            self._witnessed = (index, leaf.time)
        if leaf.kind != "heartbeat":
            return
        if leaf.content["cosigned"] not in (None, self._cosigned):
            self._unwitnessed_span()
            self._cosigned, self._witnessed = leaf.content["cosigned"], (index, leaf.time)
        elif leaf.time - self._witnessed[1] > UNWITNESSED_US:
            self._unwitnessed = (index, leaf.time)

    def _unwitnessed_span(self) -> None:
        if self._unwitnessed is not None and self._witnessed is not None:
            hours = (self._unwitnessed[1] - self._witnessed[1]) / _MICROSECONDS / 3600
            text = f"UNWITNESSED for {hours:.0f} h, from leaf {self._witnessed[0]}: no new cosignature was named."
            self._findings.append(Finding("unwitnessed", self._unwitnessed[0], text, False))
        self._unwitnessed = None
