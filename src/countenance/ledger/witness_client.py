"""The client that asks a witness for its signature: for the log's side of C2SP tlog-witness.

Knows the exchange (https://c2sp.org/tlog-witness, POST add-checkpoint) and which answers contradict the log's history;
does not know how a witness decides (`witness`), or when it is asked (`witnessing`).
"""

from __future__ import annotations

import base64
import re
import threading
from collections.abc import Callable
from typing import Final

from countenance_audit.checkpoint import parse, verify_cosignature
from countenance_audit.errors import AuditError
from countenance_audit.note import COSIGNATURE, SignedNote, VerifierKey, parse_signature_line, signature_line

from countenance.errors import Error
from countenance.ledger.exchange import Exchange, Reply, Unreachable
from countenance.ledger.witness import SIZE_TYPE, TEXT_TYPE

MAX_ANSWER_BYTES: Final = 16 * 1024
"""A cosignature line is under 400 bytes; the specification allows several."""
TIMEOUT_S: Final = 10.0
"""How long a witness may take to answer. It checks one signature and syncs one file: milliseconds."""

_SIZE: Final = re.compile(rb"(0|[1-9][0-9]{0,18})\n?")


class WitnessUnavailable(Error):
    """No signature, and nothing said about the log's history: no answer, not the protocol, or not set up for it."""


class WitnessRefused(Error):
    """The witness knows another history of this log: a fork or a rollback. Somebody has to look."""


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
        """Have a checkpoint signed; returns the witness's line, verified under its key, to append to the note.

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
        """One line of this witness. Others' are not for us to vouch for, text before them would change the note, and a
        note has room for only so many."""
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
        return signature_line(self.key, ours.by(self.key)[0])

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


def _checked(note: bytes, size: int) -> str:
    try:
        text = SignedNote.parse(note).text
        found = parse(text).size
    except AuditError as error:
        raise ValueError(f"not a signed checkpoint: {error.message}") from None
    if found != size:
        raise ValueError(f"a checkpoint of {found} leaves, not of {size}")
    return text
