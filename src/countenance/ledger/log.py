"""The log: every entry gets its place in the transaction of its effect, and nothing else is an acknowledgement.

Knows the tree, the clock and the log's key; does not know what calls are. `Log.sequence` runs in the writer thread of
the store, after the work of a group of changes and before their one commit: what commits is in the log, what is in the
log committed, and a group of calls costs one sync of the disk (docs/design/decisions/0007).

Times never decrease from leaf to leaf. Where the wall clock is found to have jumped against the monotonic one, a leaf
says so (PROOFS, section 4).
"""

from __future__ import annotations

import logging
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from countenance_audit.checkpoint import Checkpoint, open_checkpoint, sign
from countenance_audit.errors import AuditError
from countenance_audit.leaf import Opening
from countenance_audit.merkle import leaf_hash
from countenance_audit.note import Signer

from countenance.errors import Error
from countenance.ledger import storage
from countenance.ledger.entry import Opaque, Place, Public, of_effect
from countenance.ledger.storage import Storage
from countenance.ledger.tree import WIDTH, Tree, rebuilt
from countenance.store import Database, Entry, Keyring, sync_folder

CLOCK_STEP_US: Final = 1_000_000
"""A jump of the wall clock against the monotonic one that gets a leaf: 1 s. NTP slews what is below 0.128 s (RFC 5905,
STEPT) and steps what is above."""
SEED_BYTES: Final = 32
HIGH_WATER: Final = "high-water"
"""The latest checkpoint, in a file that backups leave out: an older database beside it is noticed."""

BEHIND: Final = (
    f"Restore the newest database. If it is lost for good, move DIR/{HIGH_WATER} away: the log goes on from here, and "
    "every mirror, witness and receipt of what was lost will show the break."
)

T = TypeVar("T")

_log = logging.getLogger(__name__)


class LedgerError(Error):
    """The ledger cannot be opened or used."""


class LogBehind(LedgerError):
    """The log is shorter than, or another one than, a checkpoint that was signed before."""


class Log:
    """The open log. Safe to use from any thread.

    Args:
        database: the store of record; its writer thread sequences from now on.
        keyring: wraps the log's key.
        folder: the data folder, for the high-water file.
        origin: the log's name; None keeps the one it has, or makes one up on first use.

    Raises:
        LogBehind: an older database was put in the place of this one.
        LedgerError: the origin is another than the log's own.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        folder: Path,
        *,
        origin: str | None = None,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._database = database
        self._storage = Storage(database)
        self._folder = folder
        self._now_us = now_us
        self._monotonic_us: Callable[[], int] = lambda: time.monotonic_ns() // 1000
        self._signer, is_new = self._key(keyring, origin)
        self._publishing = threading.Lock()
        self._tree = self._loaded()
        self._last_time = self._time_of_last_leaf()
        self._offset = self._now_us() - self._monotonic_us()
        self._staged: tuple[Tree, int, int] | None = None
        self._latest: tuple[int, bytes] | None = None
        self._check_history()
        database.when_in_doubt(self.in_doubt)
        database.sequence_with(self)
        if is_new:
            self.append(Public({"kind": "key", "purpose": "log", "key": str(self._signer.verifier), "reason": "first"}))
        self._take_over_outbox()

    # -- what it is

    @property
    def origin(self) -> str:
        """The log's name."""
        return self._signer.name

    @property
    def signer(self) -> Signer:
        """Signs checkpoints and receipts."""
        return self._signer

    @property
    def size(self) -> int:
        """Leaves that are durable."""
        return self._tree.size

    # -- writing

    def append(self, entry: Opaque | Public) -> Place:
        """Make one entry durable on its own; entries of several threads share a commit.

        Raises:
            DatabaseError: it is not in the log.
        """
        self._database.write(entry, lambda connection: None)
        assert entry.place is not None  # sequenced before the commit that `write` waited for
        return entry.place

    def write(self, work: Callable[[sqlite3.Connection], T], entry: Callable[[T], Opaque | Public | None]) -> T:
        """Do something to the log's own rows, with an entry made from the result when there is something to say."""
        return self._database.write(entry, work)

    def sequence(self, connection: sqlite3.Connection, records: Sequence[object]) -> None:
        """Give the records of one transaction their places. Called by the store's writer thread."""
        tree, last = self._tree, self._last_time
        now, monotonic = self._now_us(), self._monotonic_us()
        offset = self._offset
        entries = [self._entry(each) for each in records]
        step = (now - monotonic) - offset
        if abs(step) >= CLOCK_STEP_US:
            entries.insert(0, Public({"kind": "clock", "step_us": step}))
            offset += step
        at = max(now, last)
        leaves: list[bytes] = []
        openings = []
        for entry in entries:
            leaf, row = entry.finish(at)
            if row is not None:
                openings.append((tree.size + len(leaves), row))
            leaves.append(leaf)
        hashes = [leaf_hash(leaf) for leaf in leaves]
        grown, tiles = tree.extended(hashes)
        usage = [entry.usage for entry in entries if isinstance(entry, Opaque) and entry.usage is not None]
        storage.insert(connection, tree.size, leaves, openings, tiles, usage)
        for number, (entry, hashed) in enumerate(zip(entries, hashes, strict=True)):
            entry.place = Place(tree.size + number, hashed, at)
        self._staged = (grown, at, offset)

    def committed(self) -> None:
        """The transaction of the last `sequence` is durable. Called by the writer thread."""
        if self._staged is not None:
            self._tree, self._last_time, self._offset = self._staged
            self._staged = None

    def in_doubt(self) -> None:
        """A commit failed, and may have taken effect all the same: ask the database. Called by the writer thread."""
        staged, self._staged = self._staged, None
        if staged is not None and self._storage.last_size() == staged[0].size:
            self._tree, self._last_time, self._offset = staged

    # -- reading

    def checkpoint(self) -> tuple[int, bytes]:
        """The latest published checkpoint: its size and the signed note."""
        return self._latest or self.publish()

    def publish(self) -> tuple[int, bytes]:
        """Sign the tree as it is now, keep the checkpoint and its copy outside the database."""
        with self._publishing:
            tree = self._tree
            if self._latest is not None and tree.size == self._latest[0]:
                return self._latest
            root = tree.root(tree.size, self._storage.tile)
            note = sign(Checkpoint(self.origin, tree.size, root), self._signer)
            self._storage.keep_checkpoint(tree.size, note)
            _replace(self._folder / HIGH_WATER, note)
            self._latest = (tree.size, note)
            return self._latest

    def cosigned(self, size: int, line: str) -> None:
        """Add a witness's line to the latest checkpoint, unless a later one was published meanwhile."""
        with self._publishing:
            if self._latest is None or self._latest[0] != size or line.encode() in self._latest[1]:
                return
            note = self._latest[1] + line.encode()
            self._storage.keep_checkpoint(size, note)
            _replace(self._folder / HIGH_WATER, note)
            self._latest = (size, note)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The proof that leaf `index` is among the first `size`."""
        return self._tree.inclusion(index, size, self._storage.tile, self._storage.layers)

    def consistency(self, size1: int, size2: int) -> list[bytes]:
        """The proof that the first `size2` leaves begin with the first `size1`."""
        return self._tree.consistency(size1, size2, self._storage.tile)

    def root(self, size: int) -> bytes:
        """The root over the first `size` leaves."""
        return self._tree.root(size, self._storage.tile)

    def tile(self, level: int, n: int, width: int) -> bytes | None:
        """The first `width` hashes of a tile, as far as a published checkpoint covers them; else None."""
        published = self._latest[0] if self._latest else 0
        if min(WIDTH, (published >> (8 * level)) - n * WIDTH) < width:
            return None
        return b"".join(self._tree.hashes(level, n, self._storage.tile)[:width])

    def leaves(self, start: int, end: int) -> list[bytes] | None:
        """The leaves of a range, as far as a published checkpoint covers it; else None."""
        return self._storage.leaves(start, end) if self._latest and end <= self._latest[0] else None

    def opening(self, index: int) -> Opening | None:
        """What opens a leaf."""
        return self._storage.opening(index)

    def calls(self, request_id: str) -> list[tuple[int, Opening]]:
        """The leaves of one request with their openings, in order."""
        return self._storage.calls(request_id)

    @property
    def storage(self) -> Storage:
        """The rows, for `fsck` and statements."""
        return self._storage

    # -- opening

    def _key(self, keyring: Keyring, origin: str | None) -> tuple[Signer, bool]:
        kept = self._storage.keys()
        if kept:
            name, wrapped = kept[-1]
            if origin is not None and origin != name:
                raise LedgerError(
                    f"The log's origin is {name}, the settings say {origin}.",
                    hint="An origin is for good: set ledger_origin back, or start with an empty data folder.",
                )
            return Signer(name, keyring.unwrap(wrapped, aad=_aad(name))), False
        name = origin or f"countenance.invalid/{secrets.token_hex(8)}"
        seed = os.urandom(SEED_BYTES)
        signer = Signer(name, seed)  # refuses a name that a note cannot carry
        self._storage.add_key(name, keyring.wrap(seed, aad=_aad(name)))
        return signer, True

    def _loaded(self) -> Tree:
        size = self._storage.last_size()
        rest = size // WIDTH * WIDTH
        return rebuilt(size, (leaf_hash(leaf) for leaf in self._storage.leaves(rest, size)), self._storage.tile)

    def _time_of_last_leaf(self) -> int:
        from countenance_audit.leaf import Public as PublicLeaf
        from countenance_audit.leaf import parse

        if self._tree.size == 0:
            return 0
        last = self._tree.size - 1
        found = parse(self._storage.leaves(last, last + 1)[0])
        if isinstance(found, PublicLeaf):
            return found.time
        opening = self._storage.opening(last)
        return int(opening.accounting["end"]) if opening is not None else 0

    def _check_history(self) -> None:
        """Every checkpoint at hand must be one of this tree's: the database's own, and the one kept outside it."""
        outside = self._folder / HIGH_WATER
        for note in (self._storage.latest_checkpoint(), outside.read_bytes() if outside.exists() else None):
            if note is None:
                continue
            try:
                seen = open_checkpoint(note, self._signer.verifier)
            except AuditError as error:
                raise LogBehind(
                    f"A checkpoint kept of this log cannot be verified: {error}",
                    hint=BEHIND,
                ) from None
            if seen.size > self._tree.size:
                raise LogBehind(
                    f"The log has {self._tree.size} leaves; a checkpoint over {seen.size} was signed before.",
                    hint=BEHIND,
                )
            if self._tree.root(seen.size, self._storage.tile) != seen.root:
                raise LogBehind(
                    f"The first {seen.size} leaves are not those that a checkpoint was signed over.",
                    hint=BEHIND,
                )
            if self._latest is None or seen.size >= self._latest[0]:
                self._latest = (seen.size, note)

    def _take_over_outbox(self) -> None:
        """What an older version committed and nobody drained becomes leaves."""
        while pending := self._database.pending_outbox(WIDTH):
            for _, entry in pending:
                self.append(of_effect(entry))
            self._database.outbox_drained(pending[-1][0])

    @staticmethod
    def _entry(record: object) -> Opaque | Public:
        if isinstance(record, Entry):
            return of_effect(record)
        assert isinstance(record, Opaque | Public)
        return record


def _aad(origin: str) -> bytes:
    return b"log-key/" + origin.encode()


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(path.name + ".new")
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(path)
    sync_folder(path.parent)
