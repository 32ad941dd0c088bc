"""A witness: it signs that a log only grew, and remembers what it signed; and the client that asks one.

Knows the exchange of C2SP tlog-witness (POST add-checkpoint); does not know what a log is about. A witness's state is
on disk before its signature leaves, so that no crash makes it sign two histories. It is worth something when somebody
else than the log's operator runs it (docs/operations/witnesses.md).
"""

from __future__ import annotations

import base64
import binascii
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from countenance_audit.checkpoint import Checkpoint, cosign, open_checkpoint, parse, verify_cosignature
from countenance_audit.errors import AuditError, Malformed, Rejected
from countenance_audit.merkle import verify_consistency
from countenance_audit.note import SignedNote, Signer, VerifierKey

from countenance.errors import Error
from countenance.store import sync_folder

MAX_PROOF: Final = 63
"""Hashes in a proof (C2SP tlog-witness, add-checkpoint)."""
MAX_BODY_BYTES: Final = 64 * 1024
"""A proof of 63 lines and a checkpoint with a few signatures need under 10 KiB."""
SIZE_TYPE: Final = "text/x.tlog.size"
TEXT_TYPE: Final = "text/plain; charset=utf-8"


class WitnessUnavailable(Error):
    """The witness did not answer, or not in its protocol; ask again later."""


class WitnessRefused(Error):
    """The witness saw another history of this log, or does not know it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a witness answers over HTTP."""

    status: int
    content_type: str
    body: bytes


def _said(status: int, text: str) -> Answer:
    return Answer(status, TEXT_TYPE, text.encode() + b"\n")


class Witness:
    """Signs the growth of the logs it trusts. Safe to use from many threads; one process owns the folder.

    Args:
        folder: where the state is kept, a file for each origin.
        signer: the witness's own key.
        trusted: verifier keys by the origin they sign for.
        now_s: the time, seconds since 1970.
    """

    def __init__(
        self,
        folder: Path,
        signer: Signer,
        trusted: Mapping[str, VerifierKey],
        *,
        now_s: Callable[[], int] = lambda: int(time.time()),
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._signer = signer
        self._trusted = dict(trusted)
        self._now_s = now_s
        self._lock = threading.Lock()

    def add_checkpoint(self, body: bytes) -> Answer:
        """One `POST add-checkpoint`."""
        try:
            old, proof, note = _request(body)
            claimed = parse(note.text)
        except (AuditError, ValueError) as error:
            return _said(400, f"the request is malformed: {error}")
        key = self._trusted.get(claimed.origin)
        if key is None:
            return _said(404, "the log is not known here")
        try:
            checkpoint = open_checkpoint(note, key)
        except AuditError:
            return _said(403, "no trusted key of the log signed the checkpoint")
        if old > checkpoint.size:
            return _said(400, "the old size is beyond the checkpoint")
        with self._lock:
            seen = self.latest(claimed.origin)
            if old != seen.size:
                return Answer(409, SIZE_TYPE, b"%d\n" % seen.size)
            if checkpoint.size == seen.size and checkpoint.root != seen.root:
                return _said(409, "another root was signed at this size")
            try:
                if seen.size and checkpoint.size > seen.size:
                    verify_consistency(seen.size, checkpoint.size, seen.root, checkpoint.root, proof)
                elif proof:
                    raise Rejected("There is nothing to prove from here.")
            except (Rejected, Malformed):
                return _said(422, "the proof does not lead from the size signed last to this one")
            if checkpoint.size != seen.size:
                self._keep(checkpoint)
            line = cosign(note, self._signer, self._now_s())
        return Answer(200, TEXT_TYPE, line.encode())

    def latest(self, origin: str) -> Checkpoint:
        """What was signed last for a log; the empty tree when nothing was."""
        try:
            kept = json.loads(self._file(origin).read_text("utf-8"))
        except FileNotFoundError:
            return Checkpoint(origin, 0, sha256(b"").digest())
        return Checkpoint(origin, int(kept["size"]), bytes.fromhex(kept["root"]))

    def _keep(self, checkpoint: Checkpoint) -> None:
        file = self._file(checkpoint.origin)
        draft = file.with_name(file.name + ".new")
        content = {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()}
        with draft.open("w", encoding="utf-8") as out:
            out.write(json.dumps(content))
            out.flush()
            os.fsync(out.fileno())
        draft.replace(file)
        sync_folder(self._folder)

    def _file(self, origin: str) -> Path:
        return self._folder / f"{sha256(origin.encode()).hexdigest()}.json"


def _request(body: bytes) -> tuple[int, list[bytes], SignedNote]:
    if len(body) > MAX_BODY_BYTES:
        raise ValueError("it is too long")
    head, separator, note = body.partition(b"\n\n")
    if not separator:
        raise ValueError("there is no empty line after the proof")
    first, *lines = head.split(b"\n")
    word, _, digits = first.partition(b" ")
    if word != b"old" or not digits.isdigit() or (digits.startswith(b"0") and digits != b"0") or len(digits) > 19:
        raise ValueError("it does not begin with the old size")
    if len(lines) > MAX_PROOF:
        raise ValueError("the proof is too long")
    try:
        proof = [base64.b64decode(line, validate=True) for line in lines]
    except binascii.Error:
        raise ValueError("a line of the proof is not base64") from None
    if any(len(each) != 32 for each in proof):
        raise ValueError("a line of the proof is not a hash")
    return int(digits), proof, SignedNote.parse(note)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object, **__: object) -> None:
        return None


class WitnessClient:
    """Asks one witness for its signature.

    Args:
        url: the witness's prefix; `/add-checkpoint` is added.
        key: its verifier key, from the operator's settings and not from the witness.
    """

    def __init__(self, url: str, key: VerifierKey, *, timeout_s: float = 10.0) -> None:
        self.url = url.rstrip("/")
        self.key = key
        self._timeout_s = timeout_s
        handlers: list[urllib.request.BaseHandler] = [_NoRedirects()]
        if urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1"):
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)
        self._size = 0

    def submit(self, note: bytes, size: int, proof_from: Callable[[int], list[bytes]]) -> str:
        """Have a checkpoint signed; returns the witness's line, verified under its key.

        Args:
            note: the signed checkpoint.
            size: its size.
            proof_from: old size -> consistency proof from there to `size`.

        Raises:
            WitnessUnavailable: no answer, or none of its protocol.
            WitnessRefused: it knows another history, or not this log: somebody has to look.
        """
        status, content_type, body = self._ask(note, size, proof_from)
        if status == 409 and content_type.startswith(SIZE_TYPE) and body.strip().isdigit() and len(body) < 22:
            self._size = int(body)
            if self._size > size:
                raise WitnessRefused(
                    f"Witness {self.key.name} signed {self._size} leaves of this log, which has {size}.",
                    hint="an older database was put here, or somebody else signs with this log's key",
                )
            status, content_type, body = self._ask(note, size, proof_from)
        if status != 200:
            said = body[:200].decode("utf-8", "replace").strip()
            kind = WitnessRefused if status in (403, 404, 409, 422) else WitnessUnavailable
            raise kind(f"Witness {self.key.name} answered {status}: {said}")
        try:
            line = body.decode("utf-8")
            verify_cosignature(note + body, self.key)
        except (AuditError, UnicodeDecodeError):
            raise WitnessUnavailable(
                f"Witness {self.key.name} answered with something else than its signature."
            ) from None
        self._size = size
        return line

    def _ask(self, note: bytes, size: int, proof_from: Callable[[int], list[bytes]]) -> tuple[int, str, bytes]:
        proof = proof_from(self._size) if 0 < self._size < size else []
        lines = [f"old {self._size}", *(base64.b64encode(each).decode() for each in proof)]
        body = "\n".join(lines).encode() + b"\n\n" + note
        request = urllib.request.Request(f"{self.url}/add-checkpoint", data=body, method="POST")  # noqa: S310 -- settings
        try:
            with self._opener.open(request, timeout=self._timeout_s) as answer:
                return answer.status, answer.headers.get("content-type", ""), answer.read(MAX_BODY_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.headers.get("content-type", ""), error.read(MAX_BODY_BYTES)
        except (OSError, ValueError) as error:
            raise WitnessUnavailable(
                f"Witness {self.key.name} at {self.url} cannot be reached ({type(error).__name__})."
            ) from None
