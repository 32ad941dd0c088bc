"""The log's own checkpoints: what is published last, signed anew, cosigned, and found again at a start.

Knows what was signed and where it is kept, in the database and in a file outside it; does not know how leaves get their
places (`log`), nor what mirrors and witnesses have (`history`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from countenance_audit.checkpoint import Checkpoint
from countenance_audit.checkpoint import parse as parse_checkpoint
from countenance_audit.errors import AuditError
from countenance_audit.note import SignedNote, parse_signature_line

from countenance.ledger import history, storage
from countenance.ledger.keys import Keys
from countenance.ledger.storage import Storage
from countenance.ledger.tree import Tree
from countenance.store import Connection, Database


def at_hand(rows: Storage, folder: Path) -> list[tuple[bytes | None, str]]:
    """The database's own, and the one kept outside it; each with where it is, for a message."""
    return [
        (rows.latest_checkpoint(), "in the database"),
        (history.high_water(folder), "kept outside the database"),
    ]


class Checkpoints:
    """The checkpoints of an open log. Safe to use from any thread.

    Args:
        database: the store of record.
        rows: the log's, in it.
        keys: sign them.
        folder: the data folder, for the high-water file.
        tree: the tree as this process writes to it; inside a transaction that others are kept out of, the whole log.
        size: leaves that are durable, whoever wrote them.
        found: what was `at_hand` before keys and leaves were read.

    Raises:
        LogBehind: what was found is not of this tree.
    """

    def __init__(
        self,
        database: Database,
        rows: Storage,
        keys: Keys,
        folder: Path,
        *,
        tree: Callable[[], Tree],
        size: Callable[[], int],
        found: Sequence[tuple[bytes | None, str]],
    ) -> None:
        self._database = database
        self._rows = rows
        self._keys = keys
        self._folder = folder
        self._tree = tree
        self._size = size
        self.signing = threading.Lock()
        """Held while one is signed and kept; whoever changes the keys keeps it from being signed by those before."""
        self._latest: tuple[int, bytes] | None = None
        self._check(found)

    def latest(self) -> tuple[int, bytes] | None:
        """The checkpoint published last, by whichever process: its size and the signed note."""
        if self._database.is_shared:
            return self._rows.latest_published()
        return self._latest

    def publish(self) -> tuple[int, bytes]:
        """Sign the tree as it is now, keep the checkpoint and its copy outside the database. One over the same leaves
        is signed again, and keeps its cosignatures, when other keys sign now than those on it.

        It is signed inside the transaction that keeps it, which no other process has beside it: who was stopped, and
        goes on when others have written long since, signs what there is then.
        """
        with self.signing:
            latest, size = self.latest(), self._size()
            if latest is not None and size == latest[0] and self._keys.is_signed(latest[1]):
                return latest
            self._latest = self._database.maintain(self._publish)
            history.keep_high_water(self._folder, self._latest[1])
            return self._latest

    def _publish(self, connection: Connection) -> tuple[int, bytes]:
        tree, others = self._tree(), b""
        known = storage.checkpoint_in(connection, tree.size)
        if known is not None:
            if self._keys.is_signed(known):
                return tree.size, known
            others = self._keys.lines_of_others(known)
        note = self.signed(tree) + others
        storage.keep_checkpoint(connection, tree.size, note)
        return tree.size, note

    def signed(self, tree: Tree) -> bytes:
        """A checkpoint over a tree of this log's, which is not kept."""
        return self._keys.sign(Checkpoint(self._keys.origin, tree.size, tree.root(tree.size, self._rows.tile)))

    def cosigned(self, size: int, line: str) -> bytes | None:
        """Add a witness's line to the checkpoint of a size, unless its key is on it already; the checkpoint as it is
        now, or None when there is none of that size.

        Raises:
            Malformed: the checkpoint with that line would be none; it stays as it is.
        """
        added = parse_signature_line(line.removesuffix("\n"))

        def add(connection: Connection) -> bytes | None:
            note = storage.checkpoint_in(connection, size)
            if note is None or any(
                (each.name, each.key_id) == (added.name, added.key_id) for each in SignedNote.parse(note).signatures
            ):
                return note
            note += line.encode()
            SignedNote.parse(note)
            storage.keep_checkpoint(connection, size, note)
            return note

        with self.signing:
            latest = self.latest()
            note = self._database.maintain(add)
            if note is not None and latest is not None and latest[0] == size and latest[1] != note:
                history.keep_high_water(self._folder, note)
                self._latest = (size, note)
            return note

    def _check(self, found: Sequence[tuple[bytes | None, str]]) -> None:
        """Every checkpoint at hand must be one of this tree's."""
        tree = self._tree()
        for note, where in found:
            if note is None or self._is_of_closed(note):
                continue
            seen = history.compare(note, self._keys, tree.size, lambda size: tree.root(size, self._rows.tile), where)
            if self._latest is None or seen.size >= self._latest[0]:
                self._latest = (seen.size, note)

    def _is_of_closed(self, note: bytes) -> bool:
        """Whether the file outside the database is still that of a log that a recovery closed."""
        try:
            origin = parse_checkpoint(SignedNote.parse(note).text).origin
        except AuditError:
            return False
        return origin != self._keys.origin and origin in {each.origin for each in self._rows.closed()}
