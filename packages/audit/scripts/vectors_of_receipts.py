"""Vectors of receipts, by themselves and held against checkpoints."""

from __future__ import annotations

import base64
from typing import Any

from countenance_audit import canonical, merkle, receipt
from vector_parts import (
    HASHES,
    LOG,
    OPENING,
    ORIGIN,
    OTHER_LOG,
    PLAIN,
    POLICY,
    REQUEST,
    RESPONSE,
    TIME_S,
    TIME_US,
    WITNESS_A,
    WITNESS_B,
    Vector,
    bad,
    cosigned,
    good,
    sha,
)


def receipt_vectors() -> list[Vector]:
    made = receipt.Receipt(
        origin=ORIGIN,
        key=LOG.verifier.key_id.hex(),
        id=str(OPENING.accounting["request_id"]),
        index=0,
        leaf=HASHES[0].hex(),
        time=TIME_US,
        request=sha(REQUEST),
        response=sha(RESPONSE),
        include_by=TIME_US + receipt.INCLUDE_WITHIN_US,
    )
    text, key = receipt.sign(made, LOG), str(LOG.verifier)
    head, payload, signature = text.split(".")

    def forged(**changes: Any) -> str:
        octets = canonical.encode({**made.to_json(), **changes})
        signed = LOG.sign_bytes(b"countenance/receipt/v1\n" + octets)
        return ".".join([head, *(base64.urlsafe_b64encode(o).rstrip(b"=").decode() for o in (octets, signed))])

    def no(name: str, error: str, why: str, changed: str, **members: Any) -> Vector:
        return bad("receipt", name, error, why, receipt=changed, **{"key": key, **members})

    changed = base64.urlsafe_b64encode(canonical.encode({**made.to_json(), "index": 1})).rstrip(b"=").decode()
    opened = canonical.encode(OPENING.to_json()).hex()
    other = canonical.encode(PLAIN.to_json()).hex()
    late = TIME_S + 61

    def place(
        name: str, size: int, time_s: int, result: tuple[bool, bool | None, str | None], **changes: Any
    ) -> Vector:
        hashes = changes.pop("hashes", HASHES)
        times = ((WITNESS_A, time_s), (WITNESS_B, time_s))[: changes.pop("witnesses", 2)]
        index = changes.pop("index", 0)
        proof = (
            merkle.inclusion_proof(
                index, size, lambda level, at: merkle.root_of(hashes[at << level : (at + 1) << level])
            )
            if size > index
            else None
        )
        members = {
            "policy": POLICY,
            "receipt": text,
            "opening": opened,
            **changes,
            "proof": None if proof is None else [item.hex() for item in proof],
            "note": cosigned(size, *times, hashes=hashes).hex(),
        }
        included, decided, evidence = result
        return good("receipt-inclusion", name, **members, included=included, decided=decided, evidence=evidence)

    swapped = [HASHES[1], HASHES[0], HASHES[2]]
    lying = receipt.Receipt(**{**made.to_json(), "request": sha(b"another request")})
    third = receipt.Receipt(**{**made.to_json(), "index": 2})
    return [
        good("receipt", "genuine, without bodies", receipt=text, key=key, content=made.to_json(), compared=[]),
        good(
            "receipt",
            "genuine, with both bodies",
            receipt=text,
            key=key,
            request_body=REQUEST.hex(),
            response_body=RESPONSE.hex(),
            content=made.to_json(),
            compared=["request", "response"],
        ),
        no("another request", "Rejected", "its hash is another", text, request_body=b"x".hex()),
        no("another response", "Rejected", "its hash is another", text, response_body=b"".hex()),
        no("another index", "Rejected", "the signature is for another receipt", f"{head}.{changed}.{signature}"),
        no("another key of the log", "Rejected", "the key id is another", text, key=str(OTHER_LOG.verifier)),
        no("a witness' key", "Rejected", "its type is 0x04", text, key=str(LOG.witness)),
        no("padding", "Malformed", "there is none", f"{text}=="),
        no("a fourth part", "Malformed", "there are three", f"{text}.x"),
        no("another version", "Malformed", "it is not v1", text.replace("-v1.", "-v2.")),
        no("v is 2", "Malformed", "it is not version 1", forged(v=2)),
        no("an unknown member", "Malformed", "there is none of that name", forged(note="")),
        no("another include_by", "Malformed", "it is 60 s after time", forged(include_by=TIME_US + 1)),
        no("a short signature", "Malformed", "it has 63 bytes", f"{head}.{payload}.{signature[:-2]}"),
        place("in the log", 3, late, (True, True, None)),
        place("in the log, not witnessed", 3, late, (True, None, None), witnesses=1),
        place("in the log, no opening", 3, late, (True, True, None), opening=None),
        place("in the log, an opening of another leaf", 3, late, (True, True, None), opening=other),
        place("a proof of something else", 3, late, (False, None, None), index=2),
        place("another leaf at the index", 3, TIME_S, (False, False, "other-leaf"), opening=other, hashes=swapped),
        place(
            "absent, cosigned later than include_by",
            2,
            late,
            (False, False, "absent"),
            receipt=receipt.sign(third, LOG),
        ),
        place("absent, cosigned at include_by", 2, TIME_S + 60, (False, None, None), receipt=receipt.sign(third, LOG)),
        place("absent, one witness late", 2, late, (False, None, None), receipt=receipt.sign(third, LOG), witnesses=1),
        place(
            "the leaf opens to another call", 3, late, (False, False, "other-content"), receipt=receipt.sign(lying, LOG)
        ),
    ]
