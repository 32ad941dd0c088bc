"""Keeps a copy of a log: fetches it, checks all of it, and lays it out as the log itself is.

Knows files and which of them a log consists of; what is checked is in `mirror`. A copy that somebody else keeps is
what makes a rewritten log visible, and what the log can be refilled from.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from countenance_audit.checkpoint import Checkpoint, parse
from countenance_audit.errors import AuditError, Malformed, Rejected, Unavailable
from countenance_audit.fetching import Fetch, folder_fetch
from countenance_audit.leaf import Public
from countenance_audit.merkle import leaf_hash, root_of
from countenance_audit.mirror import Finding, Log
from countenance_audit.monitor import map_path
from countenance_audit.note import SignedNote
from countenance_audit.periodmap import PeriodMap
from countenance_audit.periods import Root
from countenance_audit.policy import Cosigned, TrustPolicy
from countenance_audit.tiles import CHECKPOINT, TILE_WIDTH, Tile, encode_bundle, tiles_of

CONFLICT = "checkpoint.conflict"
"""Name of the file that a checkpoint is kept in which contradicts the kept one."""


@dataclass(frozen=True, slots=True)
class Mirrored:
    """What `mirror` kept. `previous_size` is the number of leaves that were there before."""

    cosigned: Cosigned
    previous_size: int
    findings: tuple[Finding, ...]


def mirror(fetch: Fetch, folder: Path, policy: TrustPolicy) -> Mirrored:
    """Copies a log into a folder, in its own layout, and checks all of it.

    A second run fetches what is new, checks that the log only grew, and reads the kept leaves again. The checkpoint
    is written last. One that contradicts the kept one is kept beside it as `checkpoint.conflict`: both, signed by
    the log, are the evidence.

    Raises:
        Rejected: the log is not what its checkpoint says, or not a continuation of the kept one.
        Malformed, Unavailable: a file is not what its name says, or cannot be had.
    """
    kept = folder_fetch(folder)
    before = _kept_checkpoint(kept, policy)

    def cached(path: str) -> bytes:
        if path != CHECKPOINT and ".p/" not in path:
            try:
                return kept(path)
            except Unavailable:
                pass
        return fetch(path)

    remote = Log(fetch, policy)
    cosigned = remote.checkpoint()
    now = cosigned.checkpoint
    if before is not None:
        try:
            remote.check_consistency(before, now)
        except (Rejected, Malformed):
            _write(folder / CONFLICT, remote.note)
            raise
    log = Log(cached, policy)
    tiles, roots = _Derived(), list[Root]()
    for leaf in log.leaves(now):
        if isinstance(leaf.content, Public) and leaf.content.kind == "period-root":
            roots.append(Root.of(leaf.index, leaf.content.content))
        for tile, data in tiles.add(leaf.data):
            _keep(folder, log, tile, data)
    for tile, data in tiles.rest():
        _keep(folder, log, tile, data)
    expected = sum(1 for _ in tiles_of(now.size))
    if tiles.count != expected:
        raise AuditError(f"{tiles.count} tiles were derived where {expected} belong to the tree: a defect here.")
    for root in roots:
        _keep_map(folder, fetch, kept, root, log)
    _write(folder / CHECKPOINT, remote.note)
    return Mirrored(cosigned, before.size if before else 0, tuple(log.findings))


class _Derived:
    """Makes bundles and hash tiles from leaves."""

    def __init__(self) -> None:
        self._leaves: list[bytes] = []
        self._levels: list[list[bytes]] = [[]]
        self._done = [0]
        self._bundles = 0
        self.count = 0

    def add(self, leaf: bytes) -> Iterator[tuple[Tile, bytes]]:
        self._leaves.append(leaf)
        self._levels[0].append(leaf_hash(leaf))
        if len(self._leaves) < TILE_WIDTH:
            return
        yield self._bundle()
        level = 0
        while len(self._levels[level]) == TILE_WIDTH:
            if level + 1 == len(self._levels):
                self._levels.append([])
                self._done.append(0)
            self._levels[level + 1].append(root_of(self._levels[level]))
            yield self._tile(level)
            level += 1

    def rest(self) -> Iterator[tuple[Tile, bytes]]:
        if self._leaves:
            yield self._bundle()
        for level, hashes in enumerate(self._levels):
            if hashes:
                yield self._tile(level)

    def _bundle(self) -> tuple[Tile, bytes]:
        made = Tile(None, self._bundles, len(self._leaves)), encode_bundle(self._leaves)
        self._leaves, self._bundles, self.count = [], self._bundles + 1, self.count + 1
        return made

    def _tile(self, level: int) -> tuple[Tile, bytes]:
        hashes = self._levels[level]
        made = Tile(level, self._done[level], len(hashes)), b"".join(hashes)
        self._levels[level] = []
        self._done[level] += 1
        self.count += 1
        return made


def _kept_checkpoint(kept: Fetch, policy: TrustPolicy) -> Checkpoint | None:
    """What was checked when it was kept. The policy may have dropped its key since (a rotation, a loss): the text
    still says what the log must continue, and this folder is its reader's own."""
    try:
        note = kept(CHECKPOINT)
    except Unavailable:
        return None
    parsed = SignedNote.parse(note)
    if any(parsed.by(key) for key in policy.logs):
        return policy.cosigned(parsed).checkpoint
    checkpoint = parse(parsed.text)
    if not policy.keys_of(checkpoint.origin):
        raise Rejected(
            f"The folder keeps a copy of {checkpoint.origin}, which the policy does not name.",
            hint="Keep each log in a folder of its own.",
        )
    return checkpoint


def _keep(folder: Path, log: Log, tile: Tile, data: bytes) -> None:
    """Writes what was derived from the leaves, after comparing it with what the log serves."""
    if log.tile(tile) != data:
        what = "An entry bundle" if tile.level is None else "A hash tile"
        log.findings.append(Finding("tile", None, f"{what} is served wrong: {tile.path}.", True))
    _write(folder / tile.path, data)


def _keep_map(folder: Path, fetch: Fetch, kept: Fetch, root: Root, log: Log) -> None:
    """Keeps the map of a root. That one cannot be had, or leads elsewhere, is a finding; `monitor` looks closer."""
    path = map_path(root.day, root.revision)
    for source in (kept, fetch):
        try:
            data = source(path)
            leads = PeriodMap(data).root.hex() == root.root
        except (Malformed, Unavailable) as failure:
            said = failure.message
            continue
        if leads:
            _write(folder / path, data)
            return
        said = "It does not lead to the root that the log signs."
    log.findings.append(Finding("map", root.index, f"The map of {root.day}, revision {root.revision}: {said}", True))


def _write(path: Path, data: bytes) -> None:
    """Makes a file appear whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.new")
        draft.write_bytes(data)
        draft.replace(path)
    except OSError as failure:
        raise Unavailable(f"{path} cannot be written: {failure.strerror}.") from None
