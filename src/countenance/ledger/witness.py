"""A witness: it signs that a log only grew, and remembers what it signed; and the client that asks one.

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

import base64
import fcntl
import logging
import os
import re
import secrets
import stat
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from countenance_audit.checkpoint import Checkpoint, cosign, open_checkpoint, parse, verify_cosignature
from countenance_audit.errors import AuditError, Malformed, Rejected
from countenance_audit.merkle import EMPTY_ROOT, HASH_BYTES, verify_consistency
from countenance_audit.note import (
    COSIGNATURE,
    ED25519,
    SEED_BYTES,
    SignedNote,
    Signer,
    VerifierKey,
    decode_base64,
    parse_signature_line,
    signature_line,
)

from countenance.errors import Error
from countenance.ledger.exchange import Exchange, Reply, Unreachable
from countenance.store import sync_folder

MAX_PROOF: Final = 63
"""Hashes in a proof (C2SP tlog-witness, add-checkpoint)."""
MAX_BODY_BYTES: Final = 64 * 1024
"""A proof of 63 lines and a checkpoint with a few signatures need under 10 KiB."""
MAX_ANSWER_BYTES: Final = 16 * 1024
"""A cosignature line is under 400 bytes; the specification allows several."""
TIMEOUT_S: Final = 10.0
"""How long a witness may take to answer. It checks one signature and syncs one file: milliseconds."""
SIZE_TYPE: Final = "text/x.tlog.size"
TEXT_TYPE: Final = "text/plain; charset=utf-8"
KEY_FILE: Final = "key"
STATE_FOLDER: Final = "state"

_LOCK_FILE: Final = "lock"
_OLD: Final = re.compile(rb"old (0|[1-9][0-9]{0,18})")
_SIZE: Final = re.compile(rb"(0|[1-9][0-9]{0,18})\n?")
_PRIVATE: Final = "PRIVATE+KEY+"
"""How golang.org/x/mod/sumdb/note marks a signer's key; name, key id and base64(type || seed) follow."""
_MAX_KEY_FILE_BYTES: Final = 4096
_SAID: Final = 200
"""Characters of another's words that are passed on."""
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO

_log = logging.getLogger(__name__)


class WitnessUnavailable(Error):
    """No signature, and nothing said about the log's history: no answer, not the protocol, or not set up for it."""


class WitnessRefused(Error):
    """The witness knows another history of this log: a fork or a rollback. Somebody has to look."""


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


def open_signer(folder: Path, *, name: str | None = None, create: bool = False) -> Signer:
    """The key of the witness in a folder; with `create`, made with its state when there is neither.

    Args:
        name: of the witness; None takes the key's, or makes one up for a new key.

    Raises:
        WitnessStateError: there is no key, it is damaged, others may read it, it has another name, or its state is
            gone: a key whose witness forgot what it signed could sign a second history.
    """
    file, state = folder / KEY_FILE, folder / STATE_FOLDER
    if create and not file.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if state.is_dir() and any(state.glob("*.checkpoint")):
            raise WitnessStateError(
                f"There is the state of a witness in {state}, but no key at {file}.",
                hint="put the key back, or choose another folder for a new witness",
            )
        state.mkdir(mode=0o700, exist_ok=True)  # before the key: a key without state is refused
        seed = secrets.token_bytes(SEED_BYTES)
        _create(file, _signer(name or f"witness.invalid/{secrets.token_hex(8)}", seed), seed)
    found = _parse_key(_read_key(file), file)
    if name is not None and found.name != name:
        raise WitnessStateError(
            f"The witness in {folder} is named {found.name}, not {name}.", hint="leave the name out, or make a new one"
        )
    if not state.is_dir():
        raise WitnessStateError(
            f"The witness in {folder} has its key, but not its state.",
            hint="a witness that forgot must not sign again under its key: see docs/operations/witnesses.md",
        )
    return found


class WitnessClient:
    """Asks one witness for its signature. Safe to use from many threads, which then take turns.

    Args:
        url: the witness's submission prefix; `/add-checkpoint` is added.
        key: its verifier key, from the operator's settings and not from the witness.
        timeout_s: how long one request may take, to the last byte of its answer.
        max_bytes: longest answer that is read.

    Raises:
        WitnessUnavailable: the address is not one of HTTP, or the key is not a witness's.
    """

    def __init__(
        self, url: str, key: VerifierKey, *, timeout_s: float = TIMEOUT_S, max_bytes: int = MAX_ANSWER_BYTES
    ) -> None:
        if key.algorithm != COSIGNATURE:
            raise WitnessUnavailable(
                f"The key of {key.name} is not a witness's.", hint="a witness's key has signature type 0x04"
            )
        self.url = url.rstrip("/")
        self.key = key
        try:
            self._exchange = Exchange(f"Witness {key.name}", self.url, timeout_s=timeout_s, max_bytes=max_bytes)
        except Unreachable as error:
            raise WitnessUnavailable(error.message, hint=error.hint) from None
        self._lock = threading.Lock()
        self._size = 0

    def submit(self, note: bytes, size: int, proof_from: Callable[[int], list[bytes]], old: int | None = None) -> str:
        """Have a checkpoint signed; returns the witness's lines, verified under its key, to append to the note.

        Args:
            note: the checkpoint, signed by its log.
            size: its size.
            proof_from: old size -> consistency proof from there to `size`; asked for sizes between the two ends only.
            old: what the witness signed last; None for what this client saw it sign. A wrong one costs a request.

        Raises:
            WitnessUnavailable: no signature, and no statement about the history.
            WitnessRefused: it knows another history: somebody has to look.
            ValueError: the note is not a checkpoint of this size.
        """
        text = _checked(note, size)
        with self._lock:
            start = self._size if old is None else old
            if not 0 <= start <= size:
                start = 0  # the witness then says which size it has
            reply = self._ask(note, size, proof_from, start)
            known = _size_in(reply)
            if known is not None and known <= size and known != start:
                start = known
                reply = self._ask(note, size, proof_from, start)
            if reply.status != 200:
                raise self._refusal(reply, size, start)
            lines = self._verified(text, reply.body)
            self._size = size
            return lines

    def _refusal(self, reply: Reply, size: int, start: int) -> Error:
        who = f"Witness {self.key.name}"
        known = _size_in(reply)
        if known is not None and known > size:
            return WitnessRefused(
                f"{who} signed {known} leaves of this log, which has {size}.",
                hint="an older database was put here, or somebody else signs with this log's key",
            )
        if reply.status == 422 or (reply.status == 409 and start == size and known in (None, size)):
            return WitnessRefused(
                f"{who} signed another history of the first {start} leaves of this log ({reply.status}: {reply.said}).",
                hint="the log was forked: another database was put here, or somebody else signs with this log's key",
            )
        hints = {
            403: "it trusts another key for this log: give its operator the log's verifier key",
            404: "it does not know this log: give its operator the log's verifier key",
            409: "its size changed while it was asked: does another server submit for this log?",
        }
        return WitnessUnavailable(
            f"{who} answered {reply.status}: {reply.said}",
            hint=hints.get(reply.status, "ask whoever runs it if this goes on"),
        )

    def _verified(self, text: str, body: bytes) -> str:
        """This witness's lines; others' are not for us to vouch for, and text before them would change the note."""
        try:
            lines = body.decode().removesuffix("\n").split("\n")
            signatures = [parse_signature_line(line) for line in lines]
            ours = SignedNote(text, tuple(s for s in signatures if s.key_id == self.key.key_id))
            verify_cosignature(ours, self.key)
        except (AuditError, UnicodeDecodeError):
            raise WitnessUnavailable(
                f"Witness {self.key.name} answered with something else than its signature.",
                hint="check that its address and its verifier key belong together",
            ) from None
        return "".join(signature_line(self.key, each) for each in ours.by(self.key))

    def _ask(self, note: bytes, size: int, proof_from: Callable[[int], list[bytes]], old: int) -> Reply:
        proof = proof_from(old) if 0 < old < size else []
        lines = [f"old {old}", *(base64.b64encode(each).decode() for each in proof)]
        body = "\n".join(lines).encode() + b"\n\n" + note
        try:
            return self._exchange.post("/add-checkpoint", body, TEXT_TYPE)
        except Unreachable as error:
            raise WitnessUnavailable(error.message, hint=error.hint) from None


def _size_in(reply: Reply) -> int | None:
    """The witness's size, in a 409 that names it."""
    if reply.status != 409 or reply.content_type.split(";")[0].strip().lower() != SIZE_TYPE:
        return None
    found = _SIZE.fullmatch(reply.body)
    return int(found[1]) if found else None


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


def _checked(note: bytes, size: int) -> str:
    try:
        text = SignedNote.parse(note).text
        found = parse(text).size
    except AuditError as error:
        raise ValueError(f"not a signed checkpoint: {error.message}") from None
    if found != size:
        raise ValueError(f"a checkpoint of {found} leaves, not of {size}")
    return text


def _said(status: int, text: str) -> Answer:
    return Answer(status, TEXT_TYPE, text[:_SAID].encode() + b"\n")


def _signer(name: str, seed: bytes) -> Signer:
    try:
        return Signer(name, seed)
    except Malformed as error:
        raise WitnessStateError(error.message, hint="a name is like example.org/witness, without spaces") from None


def _create(file: Path, signer: Signer, seed: bytes) -> None:
    """Make the key file appear whole and durable, or not at all; keep one that somebody else made first."""
    encoded = base64.b64encode(bytes([COSIGNATURE]) + seed).decode()
    content = f"{_PRIVATE}{signer.name}+{signer.witness.key_id.hex()}+{encoded}\n"
    draft = file.with_name(f"{file.name}.{secrets.token_hex(8)}.new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(content.encode())
            out.flush()
            os.fsync(out.fileno())
        with suppress(FileExistsError):
            os.link(draft, file)  # rename would replace the key of a witness that started a moment earlier
    finally:
        draft.unlink()
    sync_folder(file.parent)


def _read_key(file: Path) -> str:
    try:
        with file.open("rb") as source:
            status = os.fstat(source.fileno())
            content = source.read(_MAX_KEY_FILE_BYTES + 1)
    except FileNotFoundError:
        raise WitnessStateError(
            f"There is no witness's key at {file}.", hint="`countenance witness serve` makes one on its first start"
        ) from None
    except OSError as error:
        raise WitnessStateError(f"The witness's key {file} cannot be read: {error.strerror}.") from None
    if status.st_mode & _OTHERS:
        raise WitnessStateError(
            f"The witness's key {file} is open to other users (mode {stat.S_IMODE(status.st_mode):04o}).",
            hint=f"run: chmod 600 {file}. If others may have read it, make a new witness and tell who trusts this one",
        )
    return content.decode("utf-8", "replace")


def _parse_key(content: str, file: Path) -> Signer:
    try:
        name, key_id, encoded = content.removeprefix(_PRIVATE).removesuffix("\n").split("+", 2)
        blob = decode_base64(encoded)
        signer = Signer(name, blob[1:])
        if blob[0] != COSIGNATURE or signer.witness.key_id.hex() != key_id or not content.startswith(_PRIVATE):
            raise Malformed("It is another kind of key.")
    except (AuditError, ValueError, IndexError):
        raise WitnessStateError(f"The witness's key {file} is damaged.", hint="put it back from its copy") from None
    return signer
