"""The log's keys: which of them sign now, which did before, and how one follows another.

Knows rows, states and notes; does not know the tree. Rows hold the seeds; what became of each key is what the log's
own leaves say, so that no row revives a key that a leaf ended. A rotation makes a new key and leaves the older one
signing checkpoints beside it until it is retired: whoever trusts only the older key sees, under its signature, the leaf
that names the newer one (docs/reference/leaf.md, kind `key`). A key that was lost or stolen signs nothing more from
that moment; then nobody but the operator's word, and the tree that goes on, vouches for its successor.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from countenance_audit.checkpoint import Checkpoint, open_checkpoint
from countenance_audit.errors import AuditError, Malformed, Rejected
from countenance_audit.leaf import Public, parse
from countenance_audit.note import (
    SEED_BYTES,
    SignedNote,
    Signer,
    VerifierKey,
    parse_signature_line,
    signature_line,
)

from countenance.errors import Error
from countenance.ledger.storage import KeyRow, Storage
from countenance.store import Connection, Keyring, restart_numbers

SIGNING: Final = "signing"
CLOSING: Final = "closing"
RETIRED: Final = "retired"
LOST: Final = "lost"
KEY_LEAF: Final = b'"kind":"key"'
"""In the canonical JSON of every leaf about a key."""

_log = logging.getLogger(__name__)


class LogKeyError(Error):
    """The log has no key of that id, or not in a state in which that can be done."""


@dataclass(frozen=True, slots=True)
class LogKey:
    """A key of the log, in whatever state."""

    number: int
    verifier: VerifierKey
    state: str
    """By the leaves; by its row while they name no key at all."""
    row_state: str


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

    Raises:
        LogKeyError: the name is none.
    """

    def __init__(
        self, storage: Storage, keyring: Keyring, origin: str | None, *, rows: Sequence[KeyRow] | None = None
    ) -> None:
        self._storage = storage
        self._keyring = keyring
        self.rows = rows
        """Keys from elsewhere, when they are not those in storage."""
        kept = rows or storage.key_rows()
        if not kept:
            try:
                self.rows = kept = [new_row(keyring, origin or made_up_origin())]
            except AuditError as error:
                raise LogKeyError(
                    f"{origin!a} cannot be the name of a log: {error}", hint="set ledger_origin to another"
                ) from None
        self.origin = kept[-1].origin
        self._loaded = self._load()
        self._may_have_changed = False

    def of(self, storage: Storage, rows: Sequence[KeyRow] | None = None) -> Keys:
        """The keys of another log under the same master key, or this one's as they are in other rows."""
        return Keys(storage, self._keyring, None, rows=rows)

    @property
    def signer(self) -> Signer:
        """The newest key: signs receipts, and checkpoints first.

        Raises:
            LogKeyError: none signs.
        """
        if not self._loaded.signers:
            raise LogKeyError(
                f"No key of {self.origin} that is here may sign, by the leaves of the log.",
                hint="restore the newest database, or close this log with `countenance ledger recover --new-origin`",
            )
        return self._loaded.signers[0]

    @property
    def known(self) -> tuple[LogKey, ...]:
        """Every key there ever was, the oldest first."""
        return self._loaded.keys

    def sign(self, checkpoint: Checkpoint) -> bytes:
        """The checkpoint as a note, signed by every key that signs. Not while a change is under way."""
        if self._may_have_changed:
            self.reload()
        text = checkpoint.text()
        first, others = self.signer, self._loaded.signers[1:]
        lines = [signature_line(each.verifier, each.sign_bytes(text.encode())) for each in others]
        return first.sign(text) + "".join(lines).encode()

    def is_signed(self, note: bytes) -> bool:
        """Whether a note that is kept here names just the keys that sign now, and witnesses."""
        signed = {each.key_id for each in SignedNote.parse(note).signatures if each.name == self.origin}
        return signed == {each.verifier.key_id for each in self._loaded.signers}

    def lines_of_others(self, note: bytes) -> bytes:
        """The signature lines in a note that is kept here that are not under the log's name."""
        lines = note.decode().rpartition("\n\n")[2].removesuffix("\n").split("\n")
        return "".join(f"{each}\n" for each in lines if parse_signature_line(each).name != self.origin).encode()

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

    def follow(self, connection: Connection, *, lost: bool) -> VerifierKey:
        """Make the next key, in the writer thread's transaction; `reload` when that is durable.

        Args:
            lost: the keys until now are lost or stolen, and sign nothing more.
        """
        row = _made(self._keyring, self.origin)
        if lost:
            connection.execute("UPDATE log_keys SET state = ? WHERE state IN (?, ?)", (LOST, SIGNING, CLOSING))
        else:
            connection.execute("UPDATE log_keys SET state = ? WHERE state = ?", (CLOSING, SIGNING))
        connection.execute(
            "INSERT INTO log_keys (origin, wrapped, state) VALUES (?, ?, ?)",
            (row.origin, row.wrapped, row.state),
        )
        return VerifierKey.parse(verifier_of(self._keyring, row))

    def retire(self, connection: Connection, key_id: str) -> VerifierKey:
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

    def begin(self, connection: Connection) -> None:
        """Keep a first key that was made here, in the transaction of its leaf."""
        if self.rows and not connection.execute("SELECT 1 FROM log_keys").fetchall():
            insert(connection, self.rows)
            self.rows = None

    def expect_change(self) -> None:
        """Sign no checkpoint before the keys were loaded again: what comes next may change them, or fail half way."""
        self._may_have_changed = True

    def reload(self) -> None:
        """Take up what was changed."""
        self._loaded = self._load()
        self._may_have_changed = False

    def _load(self) -> _Loaded:
        told = states(self._contents())
        keys, signers = [], []
        for row in self.rows or self._storage.key_rows():
            signer = Signer(row.origin, self._keyring.unwrap(row.wrapped, aad=_aad(row.origin)))
            state = told.get(str(signer.verifier), LOST) if told else row.state
            keys.append(LogKey(row.number, signer.verifier, state, row.state))
            if state in (SIGNING, CLOSING):
                signers.append(signer)
        return _Loaded(tuple(keys), tuple(reversed(signers)))

    def _contents(self) -> Iterator[Mapping[str, Any]]:
        """Of the leaves about keys, in order, and of those that a recovery still owes the log."""
        for leaf in self._storage.public_with(KEY_LEAF):
            try:
                found = parse(leaf)
            except AuditError:  # it says nothing; `ledger fsck` tells
                continue
            if isinstance(found, Public):
                yield found.content
        for _, owed in self._storage.owed():  # to the present log, and these may be the keys of one that ended
            if owed["kind"] == "key" and owed["key"].startswith(f"{self.origin}+"):
                yield owed


def states(contents: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What became of each key by the `key` leaves of a log: verifier key -> state, in the order in which they came.

    Args:
        contents: of the log's public leaves, in order; those of other kinds are passed over.
    """
    found: dict[str, str] = {}
    for said in contents:
        if said.get("kind") != "key" or said.get("purpose") != "log":
            continue
        key, reason = said["key"], said["reason"]
        if reason == "retirement":
            found[key] = RETIRED
            continue
        for each, state in found.items():
            if state in (SIGNING, CLOSING):
                found[each] = LOST if reason == "loss" else CLOSING
        found[key] = SIGNING
    return found


def merged(keyring: Keyring, own: Sequence[KeyRow], others: Iterable[Sequence[KeyRow]]) -> list[KeyRow]:
    """The keys of one origin from several copies of its database, each once; those of the first copy as they are."""
    found = {verifier_of(keyring, row): row for row in own}
    for row in (row for rows in others for row in rows if row.origin == own[0].origin):
        try:
            verifier = verifier_of(keyring, row)
        except Error as error:
            _log.warning("a key in another copy of the database takes no part: %s", error.message)
            continue
        found.setdefault(verifier, replace(row, number=max(each.number for each in found.values()) + 1))
    return list(found.values())


def settled(keyring: Keyring, rows: Sequence[KeyRow], contents: Iterable[Mapping[str, Any]]) -> list[KeyRow]:
    """The keys as the leaves have them. When the leaves end with a key that is not among them, its seed is gone: the
    last row is then a new one, which no leaf names yet, and whose leaf says `loss`."""
    told = states(contents)
    verifiers = {verifier_of(keyring, row): row for row in rows}
    kept = [
        replace(verifiers[key], number=number, state=state)
        for number, (key, state) in enumerate(((key, state) for key, state in told.items() if key in verifiers), 1)
    ]
    if any(row.state == SIGNING for row in kept):
        return kept
    lost = [replace(row, state=LOST if row.state == CLOSING else row.state) for row in kept]
    return [*lost, _made(keyring, rows[0].origin, number=len(lost) + 1)]


def made_up_origin() -> str:
    """A name for a log whose operator has none for it."""
    return f"countenance.invalid/{secrets.token_hex(8)}"


def insert(connection: Connection, rows: Iterable[KeyRow]) -> None:
    """Keep keys, in the writer thread's transaction."""
    connection.executemany(
        "INSERT INTO log_keys (number, origin, wrapped, state) VALUES (?, ?, ?, ?)",
        ((row.number, row.origin, row.wrapped, row.state) for row in rows),
    )
    restart_numbers(connection, "log_keys", "number")


def new_row(keyring: Keyring, origin: str) -> KeyRow:
    """The first key of a log. Raises Malformed for a name that a note cannot carry, or that people cannot see."""
    if not origin.isprintable():
        raise Malformed("A log's name has characters that are not printable, or is not UTF-8.")
    return _made(keyring, origin)


def _made(keyring: Keyring, origin: str, *, number: int = 1) -> KeyRow:
    seed = os.urandom(SEED_BYTES)
    Signer(origin, seed)
    return KeyRow(number, origin, keyring.wrap(seed, aad=_aad(origin)), SIGNING)


def verifier_of(keyring: Keyring, row: KeyRow) -> str:
    """The line that verifies what the key signs. Raises KeyringError when it is wrapped by another master key."""
    return str(Signer(row.origin, keyring.unwrap(row.wrapped, aad=_aad(row.origin))).verifier)


def _aad(origin: str) -> bytes:
    return b"log-key/" + origin.encode()
