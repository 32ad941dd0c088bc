"""A witness: it signs that a log only grew, and remembers what it signed.

Knows the exchange of C2SP tlog-witness (https://c2sp.org/tlog-witness, POST add-checkpoint); does not know sockets on
the answering side (`server.witness`), or what a log is about. A witness's state is on disk before its signature leaves,
so that no crash makes it sign two histories. It is worth something when somebody else than the log's operator runs it
(docs/operations/witnesses.md).

    folder/                    one witness
        key                    its name and seed, mode 0600
        state/                 of `Witness`
            lock               held while one request is checked and kept
            HASH.checkpoint    the note signed last for the origin with this SHA-256
            HASH.fork-kept     the first proof that a log showed two histories: the note that was signed,
            HASH.fork-refused  and the one that was not
"""

from __future__ import annotations

import fcntl
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from countenance_audit.checkpoint import Checkpoint, cosign, open_checkpoint, parse
from countenance_audit.errors import AuditError, Malformed, Rejected
from countenance_audit.merkle import EMPTY_ROOT, HASH_BYTES, verify_consistency
from countenance_audit.note import (
    ED25519,
    SignedNote,
    Signer,
    VerifierKey,
    decode_base64,
    signature_line,
)

from countenance.errors import Error
from countenance.store import sync_folder

MAX_PROOF: Final = 63
"""Hashes in a proof (C2SP tlog-witness, add-checkpoint)."""
MAX_BODY_BYTES: Final = 64 * 1024
"""A proof of 63 lines and a checkpoint with a few signatures need under 10 KiB."""
SIZE_TYPE: Final = "text/x.tlog.size"
TEXT_TYPE: Final = "text/plain; charset=utf-8"

_LOCK_FILE: Final = "lock"
_OLD: Final = re.compile(rb"old (0|[1-9][0-9]{0,18})")
_SAID: Final = 200
"""Characters of another's words that are passed on."""

_log = logging.getLogger(__name__)


class WitnessStateError(Error):
    """A witness's own key or state is missing, damaged or open to others: it must not sign."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a witness answers over HTTP."""

    status: int
    content_type: str
    body: bytes


class Witness:
    """Signs the growth of the logs it trusts. Safe to use from many threads, and by several processes.

    Args:
        folder: where the state is kept, a file for each origin; made when it is missing.
        signer: the witness's own key.
        trusted: verifier keys by the origin they sign for.
        now_s: the time, seconds since 1970.

    Raises:
        WitnessStateError: a trusted key is no log's, or another origin's.
    """

    def __init__(
        self,
        folder: Path,
        signer: Signer,
        trusted: Mapping[str, VerifierKey],
        *,
        now_s: Callable[[], int] = lambda: int(time.time()),
    ) -> None:
        for origin, key in trusted.items():
            if key.algorithm != ED25519 or key.name != origin:
                raise WitnessStateError(
                    f"The key of {key.name} does not sign checkpoints of {origin}.",
                    hint="a log's verifier key has the log's origin as its name and signature type 0x01",
                )
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_folder(folder.parent)
        self._folder = folder
        self._signer = signer
        self._trusted = dict(trusted)
        self._now_s = now_s
        self._lock = threading.Lock()
        self._durable: dict[str, Checkpoint] = {}

    def add_checkpoint(self, body: bytes) -> Answer:
        """One `POST add-checkpoint`, whatever its bytes are.

        Raises:
            WitnessStateError, OSError: the state cannot be read or kept; nothing was signed.
        """
        try:
            old, proof, note = _request(body)
            claimed = parse(note.text)
        except Malformed as error:
            return _said(400, error.message)
        key = self._trusted.get(claimed.origin)
        if key is None:
            return _said(404, "The log is not known here.")
        try:
            checkpoint = open_checkpoint(note, key)
        except AuditError:
            return _said(403, "No trusted key of the log signed the checkpoint.")
        if old > checkpoint.size:
            return _said(400, "The old size is beyond the checkpoint.")
        with self._alone():
            # Read anew each time: another process may have signed, and a file that cannot be read stops the witness.
            seen, seen_note = self._read(checkpoint.origin)
            if old != seen.size:
                return Answer(409, SIZE_TYPE, b"%d\n" % seen.size)
            if checkpoint.size == seen.size and checkpoint.root != seen.root:
                self._keep_fork(checkpoint.origin, seen_note, _by_its_log(note, key))
                return _said(409, "Another root was signed at this size.")
            try:
                if old == 0 and proof:
                    raise Rejected("There is nothing to prove from the empty tree.")
                if old:
                    verify_consistency(old, checkpoint.size, seen.root, checkpoint.root, proof)
            except AuditError:
                return _said(422, "The proof does not lead from the size signed last to this one.")
            # What is on disk may not be there to stay: an earlier request may have been cut off before its sync.
            if self._durable.get(checkpoint.origin) != checkpoint:
                self._write(self._file(checkpoint.origin, "checkpoint"), _by_its_log(note, key))
                self._durable[checkpoint.origin] = checkpoint
            line = cosign(note, self._signer, self._now_s())
        return Answer(200, TEXT_TYPE, line.encode())

    def latest(self, origin: str) -> Checkpoint:
        """What was signed last for a log; the empty tree when nothing was.

        Raises:
            WitnessStateError: the state cannot be read.
        """
        return self._read(origin)[0]

    @contextmanager
    def _alone(self) -> Iterator[None]:
        with self._lock:
            file = os.open(self._folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                yield
            finally:
                os.close(file)

    def _read(self, origin: str) -> tuple[Checkpoint, bytes]:
        file = self._file(origin, "checkpoint")
        try:
            kept = file.read_bytes()
        except FileNotFoundError:
            return Checkpoint(origin, 0, EMPTY_ROOT), b""
        try:
            note = SignedNote.parse(kept)
            checkpoint = parse(note.text)
            key = self._trusted.get(origin)
            if key is not None and note.by(key):  # after a rotation it is signed by the key before
                note.verify(key)
            if checkpoint.origin != origin:
                raise Rejected("It is of another log.")
        except AuditError as error:
            raise WitnessStateError(
                f"The state of the witness for {origin} in {file} is damaged: {error.message}",
                hint="a witness that forgot must not sign again under its key: see docs/operations/witnesses.md",
            ) from None
        return checkpoint, kept

    def _keep_fork(self, origin: str, kept: bytes, refused: bytes) -> None:
        """Two notes of one size that the log signed prove it to anybody; one such pair is enough."""
        files = self._file(origin, "fork-kept"), self._file(origin, "fork-refused")
        _log.error("%s showed another root at a size signed before; see %s", origin, files[1])
        if files[1].exists():
            return
        try:
            for file, note in zip(files, (kept, refused), strict=True):
                self._write(file, note)
        except OSError as error:  # the refusal does not depend on it
            _log.error("the proof of it cannot be kept: %s", error)

    def _write(self, file: Path, content: bytes) -> None:
        """Whole and durable, or as before."""
        draft = file.with_name(file.name + ".new")
        with draft.open("wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)
        sync_folder(self._folder)

    def _file(self, origin: str, kind: str) -> Path:
        return self._folder / f"{sha256(origin.encode()).hexdigest()}.{kind}"


def _request(body: bytes) -> tuple[int, list[bytes], SignedNote]:
    if len(body) > MAX_BODY_BYTES:
        raise Malformed(f"The request is longer than {MAX_BODY_BYTES} bytes.")
    head, separator, note = body.partition(b"\n\n")
    if not separator:
        raise Malformed("There is no empty line after the proof.")
    first, *lines = head.split(b"\n")
    old = _OLD.fullmatch(first)
    if old is None:
        raise Malformed("The request does not begin with the old size.")
    if len(lines) > MAX_PROOF:
        raise Malformed(f"The proof has more than {MAX_PROOF} lines.")
    proof = [decode_base64(line.decode("latin-1")) for line in lines]
    if any(len(each) != HASH_BYTES for each in proof):
        raise Malformed("A line of the proof is not a hash.")
    return int(old[1]), proof, SignedNote.parse(note)


def _by_its_log(note: SignedNote, key: VerifierKey) -> bytes:
    """The note without the lines of others, which nobody checked."""
    return (note.text + "\n" + "".join(signature_line(key, each) for each in note.by(key))).encode()


def _said(status: int, text: str) -> Answer:
    return Answer(status, TEXT_TYPE, text[:_SAID].encode() + b"\n")
