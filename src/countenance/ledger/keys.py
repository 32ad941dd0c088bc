"""The log's keys: which of them sign now, which did before, and how one follows another.

Knows rows, states and notes; does not know the tree. A rotation makes a new key and leaves the older one signing
checkpoints beside it until it is retired: whoever trusts only the older key sees, under its signature, the leaf that
names the newer one (docs/reference/leaf.md, kind `key`). A key that was lost or stolen signs nothing more from that
moment; then nobody but the operator's word, and the tree that goes on, vouches for its successor.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from countenance_audit.checkpoint import Checkpoint, open_checkpoint
from countenance_audit.errors import Rejected
from countenance_audit.note import SEED_BYTES, SignedNote, Signer, VerifierKey, signature_line

from countenance.errors import Error
from countenance.ledger.storage import KeyRow, Storage
from countenance.store import Keyring

SIGNING: Final = "signing"
CLOSING: Final = "closing"
RETIRED: Final = "retired"
LOST: Final = "lost"


class LogKeyError(Error):
    """The log has no key of that id, or not in a state in which that can be done."""


@dataclass(frozen=True, slots=True)
class LogKey:
    """A key of the log, in whatever state."""

    number: int
    verifier: VerifierKey
    state: str


@dataclass(frozen=True, slots=True)
class _Loaded:
    keys: tuple[LogKey, ...]
    signers: tuple[Signer, ...]


class Keys:
    """The keys of one origin. Reading is safe from any thread.

    Args:
        storage: where they are kept, seeds wrapped.
        keyring: wraps them.
        origin: the log's name for a first key; None makes one up.
        rows: keys from elsewhere, in the place of those in storage.
    """

    def __init__(
        self, storage: Storage, keyring: Keyring, origin: str | None, *, rows: Sequence[KeyRow] | None = None
    ) -> None:
        self._storage = storage
        self._keyring = keyring
        self.rows = rows
        """Keys from elsewhere, when they are not those in storage."""
        kept = rows or storage.key_rows()
        self.is_new = not kept
        self.origin = kept[-1].origin if kept else origin or f"countenance.invalid/{secrets.token_hex(8)}"
        if self.is_new:
            seed = os.urandom(SEED_BYTES)
            Signer(self.origin, seed)  # refuses a name that a note cannot carry
            storage.add_key(self.origin, keyring.wrap(seed, aad=_aad(self.origin)))
        self._loaded = self._load()

    @property
    def signer(self) -> Signer:
        """The newest key: signs receipts, and checkpoints first."""
        return self._loaded.signers[0]

    @property
    def known(self) -> tuple[LogKey, ...]:
        """Every key there ever was, the oldest first."""
        return self._loaded.keys

    def sign(self, checkpoint: Checkpoint) -> bytes:
        """The checkpoint as a note, signed by every key that signs."""
        text = checkpoint.text()
        first, *others = self._loaded.signers
        lines = [signature_line(each.verifier, each.sign_bytes(text.encode())) for each in others]
        return first.sign(text) + "".join(lines).encode()

    def open(self, note: bytes) -> Checkpoint:
        """The checkpoint in a note that some key of this log signed.

        Raises:
            Malformed: it is not a note or not a checkpoint.
            Rejected: none of these keys signed it.
        """
        parsed = SignedNote.parse(note)
        for key in reversed(self.known):
            if parsed.by(key.verifier):
                return open_checkpoint(parsed, key.verifier)
        raise Rejected(f"The checkpoint is not signed by a key of {self.origin}.")

    def follow(self, connection: sqlite3.Connection, *, lost: bool) -> VerifierKey:
        """Make the next key, in the writer thread's transaction; `reload` when that is durable.

        Args:
            lost: the keys until now are lost or stolen, and sign nothing more.
        """
        seed = os.urandom(SEED_BYTES)
        verifier = Signer(self.origin, seed).verifier
        if lost:
            connection.execute("UPDATE log_keys SET state = ? WHERE state IN (?, ?)", (LOST, SIGNING, CLOSING))
        else:
            connection.execute("UPDATE log_keys SET state = ? WHERE state = ?", (CLOSING, SIGNING))
        connection.execute(
            "INSERT INTO log_keys (origin, wrapped, state) VALUES (?, ?, ?)",
            (self.origin, self._keyring.wrap(seed, aad=_aad(self.origin)), SIGNING),
        )
        return verifier

    def retire(self, connection: sqlite3.Connection, key_id: str) -> VerifierKey:
        """Have an older key sign nothing more, in the writer thread's transaction.

        Raises:
            LogKeyError: there is no older key of that id that still signs.
        """
        for key in self.known:
            if key.verifier.key_id.hex() == key_id and key.state == CLOSING:
                connection.execute("UPDATE log_keys SET state = ? WHERE number = ?", (RETIRED, key.number))
                return key.verifier
        raise LogKeyError(
            f"The log has no older key {key_id[:16]!r} that still signs.",
            hint="`countenance ledger key` lists them; the newest is retired by making another",
        )

    def reload(self) -> None:
        """Take up what was changed."""
        self._loaded = self._load()

    def _load(self) -> _Loaded:
        keys, signers = [], []
        for row in self.rows or self._storage.key_rows():
            signer = Signer(row.origin, self._keyring.unwrap(row.wrapped, aad=_aad(row.origin)))
            keys.append(LogKey(row.number, signer.verifier, row.state))
            if row.state in (SIGNING, CLOSING):
                signers.append(signer)
        return _Loaded(tuple(keys), tuple(reversed(signers)))


def _aad(origin: str) -> bytes:
    return b"log-key/" + origin.encode()
