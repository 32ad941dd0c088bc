"""Receipts: what the server signs about a call before the log's next checkpoint, and what follows from one.

Knows the receipt's form, its signature, and how to hold it against a call, an opening and a checkpoint. Does not
know where those come from. A receipt is a promise: the leaf with this hash will be at this index of the log by
`include_by`. Together with a checkpoint that breaks the promise it is evidence that anybody can check.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from countenance_audit import canonical
from countenance_audit.errors import Malformed, Rejected
from countenance_audit.leaf import Opening
from countenance_audit.members import Check, hexadecimal, integer, matching, members, text
from countenance_audit.merkle import leaf_hash, verify_inclusion
from countenance_audit.note import ED25519, SIGNATURE_BYTES, Signer, VerifierKey
from countenance_audit.policy import Cosigned, TrustPolicy

HEADER: Final = "x-countenance-receipt"
"""The response header that carries a receipt."""

PREFIX: Final = "countenance-receipt-v1"
INCLUDE_WITHIN_US: Final = 60_000_000
"""How long after `time` the leaf must be in a cosigned checkpoint: 60 s in microseconds."""

MAX_RECEIPT_CHARACTERS: Final = 8_192
"""Longest receipt that is read; a header of common servers cannot be longer."""

_CONTEXT: Final = b"countenance/receipt/v1\n"
_MICROSECONDS: Final = 1_000_000
_KEY_ID: Final = re.compile(r"[0-9a-f]{8}")
_MEMBERS: Final[dict[str, Check]] = {
    "v": integer(1, 1),
    "origin": text,
    "key": matching(_KEY_ID, "a key id of 8 lower-case hexadecimal digits"),
    "id": text,
    "index": integer(0),
    "leaf": hexadecimal,
    "time": integer(0),
    "request": hexadecimal,
    "response": hexadecimal,
    "include_by": integer(0),
}
_check: Final = members(_MEMBERS)


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt's members. True only when `verify` returned it.

    Attributes:
        key: id of the key that signed, 8 hexadecimal digits.
        id: the call's request id.
        leaf: hash of the leaf (with the tree's 0x00 prefix), 64 hexadecimal digits.
        time, include_by: microseconds since 1970-01-01T00:00:00Z.
        request, response: SHA-256 of the bodies, in hexadecimal.

    Raises:
        Malformed: on a member of another form, or when `include_by` is not `time` + `INCLUDE_WITHIN_US`.
    """

    origin: str
    key: str
    id: str
    index: int
    leaf: str
    time: int
    request: str
    response: str
    include_by: int
    v: int = 1

    def __post_init__(self) -> None:
        _check(self.to_json(), "receipt")
        if self.include_by != self.time + INCLUDE_WITHIN_US:
            raise Malformed("A receipt's include_by is not 60 seconds after its time.")

    def to_json(self) -> dict[str, Any]:
        """The object that is signed."""
        return {name: getattr(self, name) for name in _MEMBERS}


@dataclass(frozen=True, slots=True)
class Inclusion:
    """What a receipt, an opening, a proof and a checkpoint show together.

    Attributes:
        included: the leaf is in the log at the receipt's index, by a checkpoint of the trusted log.
        cosigned: who else saw that checkpoint.
        checked: what was checked and holds, in words.
        unchecked: what was not checked or does not follow, and why.
        evidence: None, or how the operator is shown to have cheated: `absent` (not in a checkpoint that the
            quorum cosigned later than `include_by`), `other-leaf` (another leaf is at that index) or
            `other-content` (the leaf opens to another call than the one the receipt is for). The receipt and the
            checkpoint, with the proof or the opening, show it to anybody.
    """

    included: bool
    cosigned: Cosigned
    checked: tuple[str, ...]
    unchecked: tuple[str, ...]
    evidence: str | None

    @property
    def decided(self) -> bool | None:
        """True: kept. False: broken. None: neither is shown."""
        if self.evidence is not None:
            return False
        return True if self.included and self.cosigned.satisfied else None


def sign(receipt: Receipt, signer: Signer) -> str:
    """The header's text.

    Raises:
        Malformed: the receipt names another log or key than the signer's.
    """
    if (receipt.origin, receipt.key) != (signer.name, signer.verifier.key_id.hex()):
        raise Malformed(f"The receipt names {receipt.origin} with key {receipt.key}, which is not the signer's.")
    payload = canonical.encode(receipt.to_json())
    return f"{PREFIX}.{_encode(payload)}.{_encode(signer.sign_bytes(_CONTEXT + payload))}"


def parse(text: str) -> Receipt:
    """Reads a receipt without checking its signature.

    Raises:
        Malformed: it is not one.
    """
    return _split(text)[0]


def verify(text: str, key: VerifierKey) -> Receipt:
    """The receipt, if this log's key signed it.

    Raises:
        Malformed: it is not a receipt.
        Rejected: it names another log or key, or the signature is not valid.
    """
    receipt, payload, signature = _split(text)
    if key.algorithm != ED25519 or (receipt.origin, receipt.key) != (key.name, key.key_id.hex()):
        raise Rejected(
            f"The receipt is by {receipt.origin} with key {receipt.key}, not by {key.name} with {key.key_id.hex()}."
        )
    key.verify(_CONTEXT + payload, signature)
    return receipt


def check_call(
    receipt: Receipt, request_body: bytes | None = None, response_body: bytes | None = None
) -> tuple[str, ...]:
    """Compares a receipt with the bodies of the call; the names of those compared come back.

    Raises:
        Rejected: a body is not the one the receipt is for.
    """
    compared = []
    for name, body, expected in (
        ("request", request_body, receipt.request),
        ("response", response_body, receipt.response),
    ):
        if body is None:
            continue
        if hashlib.sha256(body).hexdigest() != expected:
            raise Rejected(
                f"The receipt is for another {name} body.",
                hint="Compare the exact bytes that went over the wire, without a trailing newline added by an editor.",
            )
        compared.append(name)
    return tuple(compared)


def check_inclusion(
    receipt: Receipt,
    opening: Opening | None,
    proof: Sequence[bytes] | None,
    note_bytes: bytes,
    policy: TrustPolicy,
    *,
    other_leaf: bytes | None = None,
) -> Inclusion:
    """Holds a verified receipt against what the operator, a mirror or a witness gave.

    Args:
        receipt: what `verify` returned.
        opening: what the operator says the leaf opens to.
        proof: inclusion proof at the receipt's index in the checkpoint's tree; None when there is none.
        note_bytes: the checkpoint with its cosignatures.
        other_leaf: the hash of the leaf that a copy of the log has at that index, with `proof` for it.

    Raises:
        Malformed: the checkpoint is not one.
        Rejected: no trusted log signed the checkpoint, or it is another log's: nothing follows from it.
    """
    cosigned = policy.cosigned(note_bytes)
    if cosigned.checkpoint.origin != receipt.origin:
        raise Rejected(f"The checkpoint is of {cosigned.checkpoint.origin}, the receipt of {receipt.origin}.")
    notes = _Notes(cosigned)
    notes.checked.append(f"checkpoint of {cosigned.checkpoint.size} leaves signed by {cosigned.key.name}")
    if cosigned.satisfied and cosigned.witnesses:
        notes.checked.append("cosigned by the policy's quorum: " + ", ".join(cosigned.witnesses))
    else:
        notes.unchecked.append("the checkpoint lacks a quorum of witnesses; others may have been shown another log")
    if opening is None:
        notes.unchecked.append("no opening: what the leaf says about the call")
    elif not _opens(receipt, opening, notes):
        return notes.result(included=False, evidence="other-content")
    if receipt.index >= cosigned.checkpoint.size:
        return _absent(receipt, policy, notes)
    return _at_index(receipt, opening, proof, other_leaf, notes)


class _Notes:
    """Gathers what was checked."""

    def __init__(self, cosigned: Cosigned) -> None:
        self.cosigned = cosigned
        self.checked: list[str] = []
        self.unchecked: list[str] = []

    def result(self, *, included: bool, evidence: str | None = None) -> Inclusion:
        return Inclusion(included, self.cosigned, tuple(self.checked), tuple(self.unchecked), evidence)


def _opens(receipt: Receipt, opening: Opening, notes: _Notes) -> bool:
    """False when the receipt's own leaf opens to another call, which only its maker can have brought about."""
    if leaf_hash(opening.leaf()).hex() != receipt.leaf:
        notes.unchecked.append("the opening does not belong to the receipt's leaf")
        return True
    named: dict[str, object] = {
        "request_id": receipt.id,
        "request": receipt.request,
        "response": receipt.response,
        "end": receipt.time,
    }
    wrong = [name for name, value in named.items() if opening.accounting[name] != value]
    if wrong:
        notes.unchecked.append(f"the leaf opens to another {', '.join(wrong)} than the receipt names")
        return False
    notes.checked.append("the opening belongs to the leaf and names the same call")
    return True


def _absent(receipt: Receipt, policy: TrustPolicy, notes: _Notes) -> Inclusion:
    late = [n for n, time_s in notes.cosigned.witnesses.items() if time_s * _MICROSECONDS > receipt.include_by]
    if late and policy.quorum_met(late):
        notes.checked.append("the leaf is absent from a checkpoint cosigned later than include_by")
        return notes.result(included=False, evidence="absent")
    notes.unchecked.append(
        "the checkpoint ends before the receipt's index, and no quorum cosigned it later than include_by: "
        "ask for a later checkpoint"
    )
    return notes.result(included=False)


def _at_index(
    receipt: Receipt, opening: Opening | None, proof: Sequence[bytes] | None, other: bytes | None, notes: _Notes
) -> Inclusion:
    if proof is None:
        notes.unchecked.append("no inclusion proof")
        return notes.result(included=False)
    candidates = [(bytes.fromhex(receipt.leaf), "the receipt's leaf"), (other, "another leaf")]
    if opening is not None:
        candidates.append((leaf_hash(opening.leaf()), "the leaf that the opening belongs to"))
    for found, what in candidates:
        if found is None:
            continue
        try:
            verify_inclusion(
                receipt.index, notes.cosigned.checkpoint.size, found, proof, notes.cosigned.checkpoint.root
            )
        except Rejected:
            continue
        if found.hex() == receipt.leaf:
            notes.checked.append(f"{what} is in the log at index {receipt.index}")
            return notes.result(included=True)
        notes.checked.append(f"{what} is in the log at index {receipt.index}, which the receipt gave to its own")
        return notes.result(included=False, evidence="other-leaf")
    notes.unchecked.append(
        "the proof leads to another root: it shows neither that the leaf is there nor what is there instead; "
        "fetch the leaf and its proof from the log or a mirror"
    )
    return notes.result(included=False)


def _split(text: str) -> tuple[Receipt, bytes, bytes]:
    if len(text) > MAX_RECEIPT_CHARACTERS:
        raise Malformed(f"The receipt is longer than {MAX_RECEIPT_CHARACTERS} characters.")
    parts = text.split(".")
    if len(parts) != 3 or parts[0] != PREFIX:
        raise Malformed(f"A receipt has the form {PREFIX}.<base64url>.<base64url>.")
    payload, signature = _decode(parts[1]), _decode(parts[2])
    if len(signature) != SIGNATURE_BYTES:
        raise Malformed(f"A receipt's signature has {len(signature)} bytes instead of {SIGNATURE_BYTES}.")
    content = canonical.decode(payload)
    _check(content, "receipt")
    return Receipt(**content), payload, signature


def _encode(octets: bytes) -> str:
    """base64url without padding (RFC 4648 section 5)."""
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    try:
        octets = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        raise Malformed("A receipt's part is not base64url.") from None
    if _encode(octets) != text:
        raise Malformed("A receipt's part is not base64url in its canonical form, without padding.")
    return octets
