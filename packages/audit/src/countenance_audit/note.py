"""C2SP signed-note v1.0.0: text, and the lines of those who signed it.

Knows names, keys and Ed25519; does not know what the text says. Formats: https://c2sp.org/signed-note. Of the
signature types, 0x01 (Ed25519 over the text) and 0x04 (a witness' cosignature, see `checkpoint`) are known;
lines by unknown keys are kept and ignored, as the specification asks.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Final

from nacl.bindings import crypto_core_ed25519_is_valid_point
from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

from countenance_audit.errors import Malformed, Rejected

ED25519: Final = 0x01
"""Signature type: Ed25519 over the note's text."""

COSIGNATURE: Final = 0x04
"""Signature type: a witness' Ed25519 cosignature with a time."""

KEY_BYTES: Final = 32
SEED_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64
MAX_NOTE_BYTES: Final = 1_000_000
"""Longest note that is read, as golang.org/x/mod/sumdb/note has it."""

MAX_SIGNATURES: Final = 100
"""Most signature lines that are read, as golang.org/x/mod/sumdb/note has it; the specification asks for 16."""

_KEY_ID_BYTES: Final = 4
_DASH: Final = "\u2014 "


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """Who may have signed: a name, a signature type and an Ed25519 public key.

    Attributes:
        algorithm: `ED25519` or `COSIGNATURE`.
        public: 32 bytes.

    Raises:
        Malformed: the name is empty or has a space or a plus sign, the type is unknown, or the public key is not
            a point of the curve's large subgroup (such a key can have signatures that fit any text).
    """

    name: str
    algorithm: int
    public: bytes

    def __post_init__(self) -> None:
        _check_name(self.name)
        if self.algorithm not in (ED25519, COSIGNATURE):
            raise Malformed(
                f"The key of {self.name} has signature type 0x{self.algorithm:02x}.",
                hint="Known are 0x01 (Ed25519) and 0x04 (Ed25519 cosignature).",
            )
        if len(self.public) != KEY_BYTES or not crypto_core_ed25519_is_valid_point(self.public):
            raise Malformed(f"The key of {self.name} is not a valid Ed25519 public key.")

    @property
    def key_id(self) -> bytes:
        """Four bytes: SHA-256(name || newline || type || public key)[:4]."""
        return key_id(self.name, self.algorithm, self.public)

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Reads `<name>+<key id>+<base64(type || public key)>`.

        Raises:
            Malformed: it is not of that form, or the key id is not the key's.
        """
        parts = text.split("+", 2)
        if len(parts) != 3:
            raise Malformed("A verifier key has the form <name>+<key id>+<base64>.")
        blob = decode_base64(parts[2])
        if not blob:
            raise Malformed("A verifier key ends without a key.")
        key = cls(parts[0], blob[0], blob[1:])
        if parts[1] != key.key_id.hex():
            raise Malformed(
                f"The verifier key of {key.name} has the key id {parts[1][:16]!r} instead of {key.key_id.hex()}.",
                hint="Copy the whole key again: its name, id or key was changed.",
            )
        return key

    def __str__(self) -> str:
        blob = base64.b64encode(bytes([self.algorithm]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{blob}"

    def verify(self, message: bytes, signature: bytes) -> None:
        """Checks a bare Ed25519 signature over `message`.

        Raises:
            Rejected: it is not this key's.
        """
        try:
            VerifyKey(self.public).verify(message, signature)
        except (BadSignatureError, ValueError):
            raise Rejected(f"A signature by {self.name} is not valid.") from None


class Signer:
    """Signs under a name with an Ed25519 seed of 32 bytes. The seed is kept in memory only."""

    def __init__(self, name: str, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise Malformed(f"A seed has {SEED_BYTES} bytes, this one has {len(seed)}.")
        self._key = SigningKey(seed)
        self.name = name
        self.verifier = VerifierKey(name, ED25519, bytes(self._key.verify_key))
        """The key that checks what `sign` signs."""
        self.witness = VerifierKey(name, COSIGNATURE, bytes(self._key.verify_key))
        """The key that checks what `checkpoint.cosign` makes with this signer."""

    @classmethod
    def parse(cls, text: str) -> Signer:
        """Reads `PRIVATE+KEY+<name>+<key id>+<base64(0x01 || seed)>`, as Go's sumdb/note writes signer keys.

        Raises:
            Malformed: it is not of that form. Nothing of it is told.
        """
        parts = text.strip().split("+", 4)
        if len(parts) != 5 or parts[:2] != ["PRIVATE", "KEY"]:
            raise Malformed("A signer key has the form PRIVATE+KEY+<name>+<key id>+<base64>.")
        blob = decode_base64(parts[4])
        if blob[:1] != bytes([ED25519]):
            raise Malformed("The signer key is not of the type 0x01 (Ed25519).")
        found = cls(parts[2], blob[1:])
        if found.verifier.key_id.hex() != parts[3]:
            raise Malformed("The signer key's id is not its own.", hint="copy the whole key again")
        return found

    @staticmethod
    def write(name: str, seed: bytes) -> str:
        """The text of a signer key: a secret."""
        key = Signer(name, seed).verifier
        return f"PRIVATE+KEY+{name}+{key.key_id.hex()}+{base64.b64encode(bytes([ED25519]) + seed).decode()}"

    @property
    def seed(self) -> bytes:
        """The 32 secret bytes."""
        return bytes(self._key)

    def __repr__(self) -> str:
        return f"Signer({self.name!r}, ...)"

    def sign(self, text: str) -> bytes:
        """The signed note with this text, which ends in a newline.

        Raises:
            Malformed: the text cannot be a note's.
        """
        _check_text(text)
        return f"{text}\n{signature_line(self.verifier, self.sign_bytes(text.encode()))}".encode()

    def sign_bytes(self, message: bytes) -> bytes:
        """64 bytes: a bare Ed25519 signature. The caller sees to it that no message reads as another format's."""
        return bytes(self._key.sign(message).signature)


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line; true only after it was checked with a key that is trusted for other reasons."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class SignedNote:
    """A note that was read, not one that was verified.

    Attributes:
        text: with its final newline, without the blank line after it.
    """

    text: str
    signatures: tuple[Signature, ...]

    @classmethod
    def parse(cls, data: bytes) -> SignedNote:
        """Reads a note.

        Raises:
            Malformed: longer than `MAX_NOTE_BYTES`, not UTF-8, with control characters, without signatures or
                with a line that is none.
        """
        if len(data) > MAX_NOTE_BYTES:
            raise Malformed(f"The note is longer than {MAX_NOTE_BYTES} bytes.")
        try:
            whole = data.decode()
        except UnicodeDecodeError:
            raise Malformed("The note is not UTF-8.") from None
        at = whole.rfind("\n\n")
        if at < 0:
            raise Malformed("The note has no blank line between its text and its signatures.")
        text, block = whole[: at + 1], whole[at + 2 :]
        _check_text(text)
        if not block.endswith("\n"):
            raise Malformed("The note has no signatures, or its last line is cut off.")
        lines = block[:-1].split("\n")
        if len(lines) > MAX_SIGNATURES:
            raise Malformed(f"The note has more than {MAX_SIGNATURES} signatures.")
        return cls(text, tuple(parse_signature_line(line) for line in lines))

    def by(self, key: VerifierKey) -> list[bytes]:
        """The signatures, not yet verified, that claim to be this key's: same name and same key id."""
        return [s.signature for s in self.signatures if (s.name, s.key_id) == (key.name, key.key_id)]

    def verify(self, key: VerifierKey) -> None:
        """Checks that this key (of type `ED25519`) signed the text.

        Raises:
            Rejected: it did not, or a line under its name and id is not its signature.
        """
        if key.algorithm != ED25519:
            raise Rejected(f"The key of {key.name} is a witness' key and signs no notes by itself.")
        found = self.by(key)
        if not found:
            raise Rejected(
                f"The note is not signed by {key.name} with key {key.key_id.hex()}.",
                hint="Compare the keys in your trust policy with those the operator published.",
            )
        for signature in found:
            key.verify(self.text.encode(), signature)


def key_id(name: str, algorithm: int, public: bytes) -> bytes:
    """Four bytes that tell keys of a name apart (C2SP signed-note, "Signatures"); not a fingerprint."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([algorithm]) + public).digest()[:_KEY_ID_BYTES]


def signature_line(key: VerifierKey, signature: bytes) -> str:
    """The line, with its newline, that adds a signature to a note."""
    return f"{_DASH}{key.name} {base64.b64encode(key.key_id + signature).decode()}\n"


def parse_signature_line(line: str) -> Signature:
    """Reads a signature line without its newline.

    Raises:
        Malformed: it is not an em dash, a name and base64 of an id and a signature, each after one space.
    """
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space:
        raise Malformed("A signature line does not have the form: em dash, name, base64.")
    _check_name(name)
    blob = decode_base64(encoded)
    if len(blob) <= _KEY_ID_BYTES:
        raise Malformed(f"The signature line of {name} holds no signature.")
    return Signature(name, blob[:_KEY_ID_BYTES], blob[_KEY_ID_BYTES:])


def decode_base64(text: str) -> bytes:
    """Standard base64 with padding, in its one canonical form (RFC 4648 section 3.5).

    Raises:
        Malformed: anything else.
    """
    try:
        blob = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Malformed("Not base64 with padding.") from None
    if base64.b64encode(blob).decode() != text:
        raise Malformed("Base64 that is not in its canonical form.")
    return blob


def _check_text(text: str) -> None:
    if not text.endswith("\n"):
        raise Malformed("The text of a note ends in a newline.")
    if any(character < " " and character != "\n" for character in text):
        raise Malformed("The note contains a control character.")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Malformed("The text of a note must be expressible in UTF-8.") from None


def _check_name(name: str) -> None:
    if not name or "+" in name or any(c.isspace() or c < " " for c in name):
        raise Malformed("A key's name is empty or contains a space, a control character or a plus sign.")
    try:
        name.encode()
    except UnicodeEncodeError:
        raise Malformed("A key's name is not expressible in UTF-8.") from None
