"""C2SP tlog-checkpoint v1.0.0 and tlog-cosignature v1: what a log, and those who watch it, sign.

Knows the three lines of a checkpoint and the time in a cosignature; does not know whom to trust (`policy`) or
how roots come about (`merkle`). Formats: https://c2sp.org/tlog-checkpoint, https://c2sp.org/tlog-cosignature.

The formats signed with one key cannot be taken for each other: a checkpoint's second line is a number, a
cosignature's begins with "time", and a receipt does not end in a newline.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from typing import Final

from countenance_audit.errors import Malformed, Rejected
from countenance_audit.merkle import EMPTY_ROOT, HASH_BYTES, MAX_SIZE
from countenance_audit.note import (
    COSIGNATURE,
    SIGNATURE_BYTES,
    SignedNote,
    Signer,
    VerifierKey,
    decode_base64,
    signature_line,
)

MAX_TIME_S: Final = 2**63 - 1
"""Latest time of a cosignature, in seconds since 1970 (C2SP tlog-cosignature, "Format")."""

_SIZE: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_TIME_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's statement about itself at one size.

    Attributes:
        origin: the log's name.
        size: number of leaves.
        root: 32 bytes.
        extensions: further lines, kept for the signature's sake and without meaning here.

    Raises:
        Malformed: on a member that no checkpoint can have.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if any(not line or "\n" in line for line in (self.origin, *self.extensions)):
            raise Malformed("A checkpoint has an empty line, or a newline in its origin.")
        if not 0 <= self.size <= MAX_SIZE:
            raise Malformed(f"A checkpoint's size is {self.size}.")
        if len(self.root) != HASH_BYTES:
            raise Malformed("A checkpoint's root is not 32 bytes long.")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise Malformed("A checkpoint of no leaves has another root than the empty tree.")

    def text(self) -> str:
        """The note's text, with its final newline."""
        lines = (self.origin, str(self.size), base64.b64encode(self.root).decode(), *self.extensions)
        return "".join(f"{line}\n" for line in lines)


def parse(text: str) -> Checkpoint:
    """Reads a checkpoint's text.

    Raises:
        Malformed: fewer than three lines, an empty one, a size with leading zeros, a root that is not base64 of 32
            bytes.
    """
    if not text.endswith("\n"):
        raise Malformed("A checkpoint ends in a newline.")
    lines = text[:-1].split("\n")
    if len(lines) < 3:
        raise Malformed("A checkpoint has at least three lines: origin, size and root.")
    if not _SIZE.fullmatch(lines[1]):
        raise Malformed("A checkpoint's second line is not its size in decimal without leading zeros.")
    return Checkpoint(lines[0], int(lines[1]), decode_base64(lines[2]), tuple(lines[3:]))


def sign(checkpoint: Checkpoint, signer: Signer) -> bytes:
    """The checkpoint as a note signed by the log.

    Raises:
        Malformed: the signer's name is not the origin.
    """
    if signer.name != checkpoint.origin:
        raise Malformed(f"{signer.name} cannot sign a checkpoint of {checkpoint.origin}.")
    return signer.sign(checkpoint.text())


def open_checkpoint(note_bytes: bytes | SignedNote, key: VerifierKey) -> Checkpoint:
    """The checkpoint in a note, after its log's signature was checked.

    Raises:
        Malformed: it is not a note, or its text is not a checkpoint.
        Rejected: this key did not sign it, or signs for another origin.
    """
    note = _note(note_bytes)
    note.verify(key)
    checkpoint = parse(note.text)
    if checkpoint.origin != key.name:
        raise Rejected(f"The key of {key.name} signed a checkpoint of {checkpoint.origin}.")
    return checkpoint


def cosign(note: bytes | SignedNote, witness_signer: Signer, time_s: int) -> str:
    """The line that a witness adds to a note to say that it saw this checkpoint, consistent, at `time_s`.

    Whether it is consistent with what the witness saw before is the witness' to check.

    Args:
        time_s: seconds since 1970-01-01T00:00:00Z.

    Raises:
        Malformed: not a checkpoint, or no such time.
    """
    text = _note(note).text
    parse(text)
    if not 0 < time_s <= MAX_TIME_S:
        raise Malformed(f"A cosignature cannot have the time {time_s}.")
    signature = witness_signer.sign_bytes(_message(time_s, text))
    return signature_line(witness_signer.witness, time_s.to_bytes(_TIME_BYTES, "big") + signature)


def verify_cosignature(note: bytes | SignedNote, witness_key: VerifierKey) -> int:
    """When this witness cosigned, in seconds since 1970; the latest time when it did so more than once.

    Raises:
        Malformed: not a note with a checkpoint.
        Rejected: the witness did not cosign it, or a line under its name and id is not its cosignature.
    """
    if witness_key.algorithm != COSIGNATURE:
        raise Rejected(f"The key of {witness_key.name} is not a witness' key (signature type 0x04).")
    note = _note(note)
    parse(note.text)
    found = note.by(witness_key)
    if not found:
        raise Rejected(f"The checkpoint is not cosigned by {witness_key.name}.")
    times = []
    for blob in found:
        if len(blob) != _TIME_BYTES + SIGNATURE_BYTES:
            raise Rejected(f"The cosignature of {witness_key.name} has {len(blob)} bytes instead of 72.")
        time_s = int.from_bytes(blob[:_TIME_BYTES], "big")
        if not 0 < time_s <= MAX_TIME_S:
            raise Rejected(f"The cosignature of {witness_key.name} has an impossible time.")
        witness_key.verify(_message(time_s, note.text), blob[_TIME_BYTES:])
        times.append(time_s)
    return max(times)


def _message(time_s: int, text: str) -> bytes:
    """What a witness signs (C2SP tlog-cosignature, "Ed25519 signed message")."""
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


def _note(note: bytes | SignedNote) -> SignedNote:
    return note if isinstance(note, SignedNote) else SignedNote.parse(note)
