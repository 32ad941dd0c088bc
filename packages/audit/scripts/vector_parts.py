"""What all vectors are made of: fixed keys, salts, times and entries. Test keys only: anybody can sign with them."""

from __future__ import annotations

import hashlib
from typing import Any

from countenance_audit import checkpoint, leaf, merkle, note

ORIGIN = "faces.example/log"
TIME_US = 1_790_000_000_000_000
TIME_S = TIME_US // 1_000_000

Vector = dict[str, Any]


def fixed(label: str) -> bytes:
    """32 bytes that anybody can compute: for tests only."""
    return hashlib.sha256(f"countenance test vector, not a secret: {label}".encode()).digest()


LOG = note.Signer(ORIGIN, fixed("log"))
OTHER_LOG = note.Signer(ORIGIN, fixed("other log"))
WITNESS_A = note.Signer("witness.example/a", fixed("witness a"))
WITNESS_B = note.Signer("witness.example/b", fixed("witness b"))
POLICY = f"""# test keys
log {LOG.verifier} https://faces.example/log
witness a {WITNESS_A.witness}
witness b {WITNESS_B.witness} https://witness.example/b
group both all a b
quorum both
"""
REQUEST = b'{"SourceImage":{}}'
RESPONSE = b'{"FaceMatches":[]}'


def good(kind: str, name: str, **members: Any) -> Vector:
    return {"name": name, "type": kind, "good": True, **members}


def bad(kind: str, name: str, error: str, why: str, **members: Any) -> Vector:
    return {"name": name, "type": kind, "good": False, "error": error, "why": why, **members}


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def accounting(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "call",
        "time": TIME_US - 41_000,
        "end": TIME_US,
        "account": "123456789012",
        "access_key": "AKIAEXAMPLE",
        "holder": "night shift",
        "party": [{"role": "customer", "scheme": "lei", "value": "529900T8BM49AURSDO55"}],
        "purpose": "access-control",
        "operation": "SearchFacesByImage",
        "request_id": "00000000-0000-4000-8000-000000000001",
        "code": "OK",
        "status": 200,
        "units": 1,
        "amount": 1_000,
        "currency": "USD",
        "price": "2026-01",
        "request": sha(REQUEST),
        "response": sha(RESPONSE),
        "reference_database": {"collection": "staff", "model": "example-1", "references": 5_000},
        "verified_by": None,
        "decision": {
            "allowed": True,
            "policies": ["screened"],
            "policy_set": sha(b"policy set"),
            "request": {"action": "SearchFacesByImage"},
            "entities": [],
        },
        "details": {},
        "count": 1,
        **changes,
    }


def person(**changes: Any) -> dict[str, Any]:
    salt, image = fixed("image salt"), hashlib.sha256(b"an image").digest()
    commitment = leaf.image_commitment(salt, image)
    return {
        "images": [{"sha256": image.hex(), "salt": salt.hex(), "commitment": commitment.hex()}],
        "face_ids": ["11111111-1111-4111-8111-111111111111"],
        "external_image_ids": ["zoë"],
        "names": [],
        **changes,
    }


OPENING = leaf.Opening(accounting(), fixed("accounting salt"), person(), fixed("person salt"))
PLAIN = leaf.Opening(accounting(kind="act"), fixed("accounting salt 2"), {}, fixed("person salt 2"))


LEAVES = [OPENING.leaf(), PLAIN.leaf(), leaf.public({"v": 1, "kind": "stop", "time": TIME_US, "reason": "end"})]
HASHES = [merkle.leaf_hash(item) for item in LEAVES]


def cosigned(size: int, *times: tuple[note.Signer, int], by: note.Signer = LOG, hashes: list[bytes] = HASHES) -> bytes:
    signed = checkpoint.sign(checkpoint.Checkpoint(ORIGIN, size, merkle.root_of(hashes[:size])), by)
    return signed + b"".join(checkpoint.cosign(signed, signer, time_s).encode() for signer, time_s in times)
