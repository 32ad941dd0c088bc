"""The log: every entry gets its place in the transaction of its effect, and nothing else is an acknowledgement.

Knows the tree, the clock and the log's key; does not know what calls are. `Log.sequence` runs in the writer thread of
the store, after the work of a group of changes and before their one commit: what commits is in the log, what is in the
log committed, and a group of calls costs one sync of the disk (docs/design/decisions/0007).

Times never decrease from leaf to leaf. Where the wall clock is found to have jumped against the monotonic one, a leaf
says so (PROOFS, section 4).
"""

from __future__ import annotations

import hmac
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from countenance_audit import canonical
from countenance_audit.leaf import Opening, parse
from countenance_audit.leaf import Public as PublicLeaf
from countenance_audit.merkle import leaf_hash
from countenance_audit.note import Signer, VerifierKey

from countenance.ledger import checkpoints, history, storage
from countenance.ledger.checkpoints import Checkpoints
from countenance.ledger.entry import SALTS_BYTES, Opaque, Place, Public, of_effect
from countenance.ledger.history import LedgerError, LogBehind
from countenance.ledger.keys import KEY_LEAF, Keys
from countenance.ledger.storage import Storage
from countenance.ledger.tree import WIDTH, Tree, rebuilt
from countenance.store import Connection, Database, Entry, Keyring

SEAL_PURPOSE: Final = "act-seal"
CLOCK_STEP_US: Final = 1_000_000
"""A jump of the wall clock against the monotonic one that gets a leaf: 1 s. NTP slews what is below 0.128 s (RFC 5905,
STEPT) and steps what is above."""

_TELLING_TIME: Final = frozenset({"clock", "heartbeat", "start", "stop"})

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Log:
    """The open log. Safe to use from any thread.

    Args:
        database: the store of record; its writer thread sequences from now on.
        keyring: wraps the log's key.
        folder: the data folder, for the high-water file.
        origin: the log's name; None keeps the one it has, or makes one up on first use.
        before_writing: looks at the log as it was found; what it raises keeps it that way.

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
        before_writing: Callable[[Log], None] | None = None,
    ) -> None:
        self._database = database
        self._storage = Storage(database)
        self._now_us = now_us
        self._monotonic_us: Callable[[], int] = lambda: time.monotonic_ns() // 1000
        # Before keys and leaves: others sign and write meanwhile, and what was signed by now is over leaves that are
        # read below, under a key that is.
        at_hand = checkpoints.at_hand(self._storage, folder)
        self.keys = Keys(self._storage, keyring, origin)
        self._seal = keyring.derive(SEAL_PURPOSE)
        if origin not in (None, self.keys.origin):
            raise LedgerError(
                f"The log's origin is {self.keys.origin}, the settings say {origin}.",
                hint="An origin is for good: set ledger_origin back, or start with an empty data folder.",
            )
        self._tree = self._loaded()
        self._last_time = self._time_of_last_leaf()
        self._read_tree, self._read_time, self._reading = self._tree, self._last_time, threading.Lock()
        """The tree and the time as others wrote them, for reading: this process writes to its own, in its order."""
        self._offset = self._now_us() - self._monotonic_us()
        self._staged: tuple[Tree, int, int] | None = None
        self._tip = self._last_leaf(self._tree.size)
        """The last leaf: the same octets are where it was, whatever others wrote behind it."""
        self._staged_tip = self._tip
        self._checkpoints = Checkpoints(
            database,
            self._storage,
            self.keys,
            folder,
            tree=lambda: self._tree,
            size=lambda: self.size,
            found=at_hand,
        )
        if before_writing is not None:
            before_writing(self)
        database.when_in_doubt(self.in_doubt)
        database.sequence_with(self)
        database.followers.append(self.follow)
        if not self.size:
            self.append(_key_leaf(self.signer.verifier, "first"), self.keys.begin)
        self._pay_what_is_owed()
        self._take_over_outbox()

    # -- what it is

    @property
    def origin(self) -> str:
        """The log's name."""
        return self.keys.origin

    @property
    def signer(self) -> Signer:
        """The newest key: signs receipts and checkpoints."""
        return self.keys.signer

    @property
    def last_time(self) -> int:
        """Of the last leaf, microseconds since 1970."""
        return max(self._last_time, self._read_time)

    def now_us(self) -> int:
        """The wall clock as the log reads it, microseconds since 1970; never before its last leaf."""
        return max(self._now_us(), self.last_time)

    @property
    def size(self) -> int:
        """Leaves that are durable."""
        return self._storage.last_size() if self._database.is_shared else self._tree.size

    def follow(self) -> None:
        """Take in what other processes wrote, as far as it is kept in memory: keys that sign, and the time."""
        self.keys.reload()
        self._read_time = max(self._read_time, self._time_of_last_leaf())

    def seal(self, said: object) -> str:
        """What vouches that this server wrote something: HMAC-SHA256 under a key of the master key's, in hexadecimal.
        Leaves and openings have no key in them: whoever can write rows could add some."""
        return hmac.digest(self._seal, canonical.encode(said), "sha256").hex()

    # -- writing

    def append(
        self, entry: Opaque | Public, also: Callable[[Connection], None] | None = None, *, once: bool = False
    ) -> Place:
        """Make one entry durable on its own; entries of several threads share a commit.

        Args:
            also: what is to be durable with it, and not without it.
            once: see `Database.write`.

        Raises:
            NotRecordable: no leaf can say it.
            DatabaseError: it is not in the log.
        """
        entry.prepare()  # here, and not in the one thread that everybody waits for
        if also is None:
            self._database.record(entry, once=once)
        else:
            self._database.write(entry, also, once=once)
        assert entry.place is not None  # sequenced before the commit that was waited for
        return entry.place

    def write(self, work: Callable[[Connection], T], entry: Callable[[T], Opaque | Public | None]) -> T:
        """Do something to the log's own rows, with an entry made from the result when there is something to say."""
        return self._database.write(entry, work)

    def again(self, work: Callable[[], T], *, repeats: bool = False) -> T:
        """What `work` returns, tried again when another process decided something meanwhile; see `Database.again`."""
        return self._database.again(work, repeats=repeats)

    def note_erasure(self, connection: Connection, what: Mapping[str, Any]) -> None:
        """Note outside the database what is erased in this transaction of the writer thread."""
        self._database.erasures.note(connection, what)

    def prepared(self, record: object) -> Opaque | Public:
        """The entry of a record, encoded but for its time and place. Called by the store's writer thread.

        Raises:
            NotRecordable: it cannot be encoded.
        """
        entry = of_effect(record) if isinstance(record, Entry) else record
        assert isinstance(entry, Opaque | Public)
        entry.prepare()
        return entry

    def sequence(self, connection: Connection, records: Sequence[object]) -> None:
        """Give the prepared records of one transaction their places. Called by the store's writer thread."""
        tree, last = self._tree, self._last_time
        now, monotonic = self._now_us(), self._monotonic_us()
        offset = self._offset
        entries = [each for each in records if isinstance(each, Opaque | Public)]
        if self._database.is_shared:
            self._price(connection, entries)
        usage = [entry.usage for entry in entries if isinstance(entry, Opaque) and entry.usage is not None]
        step = (now - monotonic) - offset
        if abs(step) >= CLOCK_STEP_US:
            entries.insert(0, Public({"kind": "clock", "step_us": step}))
            offset += step
        at = max(now, last)
        leaves: list[bytes] = []
        openings = []
        salts = os.urandom(SALTS_BYTES * len(entries))  # at once: each draw lets all other threads run first
        for number, entry in enumerate(entries):
            leaf, row = entry.finish(at, salts[number * SALTS_BYTES : (number + 1) * SALTS_BYTES])
            if row is not None:
                openings.append((tree.size + len(leaves), row))
            leaves.append(leaf)
        hashes = [leaf_hash(leaf) for leaf in leaves]
        grown, tiles = tree.extended(hashes)
        storage.insert(connection, tree.size, leaves, openings, tiles, usage)
        for number, (entry, hashed) in enumerate(zip(entries, hashes, strict=True)):
            entry.place = Place(tree.size + number, hashed, at)
        self._staged = (grown, at, offset)
        self._staged_tip = leaves[-1]

    def _price(self, connection: Connection, entries: Sequence[Opaque | Public]) -> None:
        """What calls cost depends on how many came before them in the month, through whichever process: what a process
        guessed gives way to what the database has counted."""
        counted: dict[tuple[str, str, str], int] = {}
        for entry in entries:
            if isinstance(entry, Opaque) and entry.usage is not None and entry.price is not None:
                *key, units = entry.usage
                of = (key[0], key[1], key[2])
                if of not in counted:
                    counted[of] = storage.units_in(connection, *of)
                entry.charge(counted[of])
                counted[of] += units

    def has_acts(self, records: Sequence[object]) -> bool:
        """Whether some of the prepared records say what other processes keep in memory: acts, and leaves in clear but
        for those that only tell the time."""
        return any(
            each.content["kind"] not in _TELLING_TIME if isinstance(each, Public) else each.accounting["kind"] == "act"
            for each in records
            if isinstance(each, Opaque | Public)
        )

    def foreign(self, connection: Connection) -> None:
        """Leaves that another process wrote since the last group become part of the tree. Called by the writer thread,
        inside the transaction that keeps others out.

        Raises:
            LogBehind: the database has not what it had: it was put back, or one of its copies took its place that had
                not all of it. Nothing may be added to it before somebody looked.
        """
        size, known = Storage.size_in(connection), self._tree.size
        if size < known or self._last_leaf(known) != self._tip:
            raise LogBehind(
                f"The database had {known} leaves and has {size} now, or others in their place.", hint=history.HINT
            )
        if size == known:
            return
        tree = self._tree
        for start in range(known, size, storage.PORTION):
            leaves = self._storage.leaves(start, min(start + storage.PORTION, size))
            tree, _ = tree.extended([leaf_hash(leaf) for leaf in leaves])
            if any(KEY_LEAF in leaf for leaf in leaves if leaf[:1] == b"{"):
                self.keys.expect_change()  # nothing is signed by a key that another process has ended
        self._tip = self._staged_tip = self._last_leaf(size)
        self._tree, self._last_time = tree, max(self._last_time, self._time_of_last_leaf())

    def committed(self) -> None:
        """The transaction of the last `sequence` is durable. Called by the writer thread."""
        if self._staged is not None:
            self._tree, self._last_time, self._offset = self._staged
            self._tip = self._staged_tip
            self._staged = None

    def in_doubt(self) -> None:
        """A commit failed, and may have taken effect all the same: ask the database. Called by the writer thread."""
        staged, self._staged = self._staged, None
        if staged is None:
            return
        size = staged[0].size
        # Another process may have as many leaves there by now: the salt in each makes this one no other's.
        if self._storage.last_size() >= size and self._last_leaf(size) == self._staged_tip:
            self._tree, self._last_time, self._offset = staged
            self._tip = self._staged_tip
            self.keys.reload()  # the change of a key may be what took effect

    def rotate(self, *, lost: bool = False) -> VerifierKey:
        """Make the log's next key, with its leaf in the same transaction. The older one goes on signing checkpoints
        beside it until it is retired; with `lost`, it stops at once."""
        with self._checkpoints.signing:  # or a checkpoint over the leaf could still be signed by the keys before it
            self.keys.expect_change()
            key = self._database.write(
                lambda made: _key_leaf(made, "loss" if lost else "rotation"),
                lambda connection: self.keys.follow(connection, lost=lost),
                after_commit=lambda _: self.keys.reload(),
            )
        self.publish()  # the leaf of the change is in it, under the keys that sign from now on
        return key

    def retire(self, key_id: str) -> VerifierKey:
        """Have an older key sign nothing more. Raises LogKeyError."""
        with self._checkpoints.signing:
            self.keys.expect_change()
            key = self._database.write(
                lambda retired: _key_leaf(retired, "retirement"),
                lambda connection: self.keys.retire(connection, key_id),
                after_commit=lambda _: self.keys.reload(),
            )
        self.publish()  # the leaf of the change is in it, under the keys that sign from now on
        return key

    # -- reading

    def checkpoint(self) -> tuple[int, bytes]:
        """The latest published checkpoint: its size and the signed note."""
        return self._checkpoints.latest() or self.publish()

    def checkpoint_as_found(self) -> tuple[int, bytes]:
        """The latest published checkpoint; of a log that never published one, a checkpoint that is not kept."""
        tree = self.tree
        return self._checkpoints.latest() or (tree.size, self._checkpoints.signed(tree))

    def publish(self) -> tuple[int, bytes]:
        """Sign the tree as it is now, and keep the checkpoint; see `Checkpoints.publish`."""
        return self._checkpoints.publish()

    def cosigned(self, size: int, line: str) -> bytes | None:
        """Add a witness's line to the checkpoint of a size; see `Checkpoints.cosigned`. Raises Malformed."""
        return self._checkpoints.cosigned(size, line)

    def inclusion(self, index: int, size: int) -> list[bytes]:
        """The proof that leaf `index` is among the first `size`."""
        return self._over(size).inclusion(index, size, self._storage.tile, self._storage.layers)

    def consistency(self, size1: int, size2: int) -> list[bytes]:
        """The proof that the first `size2` leaves begin with the first `size1`."""
        return self._over(size2).consistency(size1, size2, self._storage.tile)

    def root(self, size: int) -> bytes:
        """The root over the first `size` leaves."""
        return self._over(size).root(size, self._storage.tile)

    def tile(self, level: int, n: int, width: int) -> bytes | None:
        """The first `width` hashes of a tile, as far as a published checkpoint covers them; else None."""
        latest = self._checkpoints.latest()
        published = latest[0] if latest else 0
        if min(WIDTH, (published >> (8 * level)) - n * WIDTH) < width:
            return None
        return b"".join(self._over(published).hashes(level, n, self._storage.tile)[:width])

    def first_time_s(self) -> float | None:
        """When the log began, seconds since 1970; None while it is empty."""
        return self._time_of(0) / 1_000_000 if self.size else None

    def leaves(self, start: int, end: int) -> list[bytes] | None:
        """The leaves of a range, as far as a published checkpoint covers it; else None."""
        latest = self._checkpoints.latest()
        return self._storage.leaves(start, end) if latest and end <= latest[0] else None

    def opening(self, index: int) -> Opening | None:
        """What opens a leaf."""
        return self._storage.opening(index)

    @property
    def tree(self) -> Tree:
        """The tree as it is now."""
        return self._over(self.size)

    def _over(self, size: int) -> Tree:
        """A tree of so many leaves at least, whoever wrote them."""
        if self._tree.size >= size or not self._database.is_shared:
            return self._tree
        with self._reading:
            tree = max(self._tree, self._read_tree, key=lambda each: each.size)
            for start in range(tree.size, size, storage.PORTION):
                leaves = self._storage.leaves(start, min(start + storage.PORTION, size))
                tree, _ = tree.extended([leaf_hash(leaf) for leaf in leaves])
            self._read_tree = tree
            return tree

    @property
    def storage(self) -> Storage:
        """The rows, for `fsck` and statements."""
        return self._storage

    # -- opening

    def _loaded(self) -> Tree:
        size = self._storage.last_size()
        rest = size // WIDTH * WIDTH
        return rebuilt(size, (leaf_hash(leaf) for leaf in self._storage.leaves(rest, size)), self._storage.tile)

    def _last_leaf(self, size: int) -> bytes:
        """Of the first `size` leaves; empty when there are none."""
        return (self._storage.leaves(size - 1, size) or [b""])[0] if size else b""

    def _time_of(self, index: int) -> int:
        """Microseconds since 1970; 0 for a leaf that says nothing here."""
        found = parse(self._storage.leaves(index, index + 1)[0])
        if isinstance(found, PublicLeaf):
            return found.time
        opening = self._storage.opening(index)
        return int(opening.accounting["end"]) if opening is not None else 0

    def _time_of_last_leaf(self) -> int:
        # Over leaves whose opening was lost, back to the last that says when it was made.
        last = self._storage.last_told()
        return 0 if last is None else self._time_of(last)

    def _take_over_outbox(self) -> None:
        """What an older version committed and nobody drained becomes leaves."""
        while pending := self._database.pending_outbox(WIDTH):
            for _, entry in pending:
                self.append(of_effect(entry))
            self._database.outbox_drained(pending[-1][0])

    def _pay_what_is_owed(self) -> None:
        """What a recovery has to say publicly, in the transaction that strikes it off the list."""
        for number, content in self._storage.owed():

            def strike(connection: Connection, paid: int = number) -> None:
                connection.execute("DELETE FROM log_owed WHERE number = ?", (paid,))

            self._database.write(Public(content), strike)


def _key_leaf(key: VerifierKey, reason: str) -> Public:
    return Public({"kind": "key", "purpose": "log", "key": str(key), "reason": reason})
