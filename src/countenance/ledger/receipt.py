"""Receipts as the server signs them: with every answer, so without the care that a reader of somebody else's needs.

Knows the members of a receipt and how they are encoded (docs/reference/leaf.md). Does not know calls, and verifies
nothing: `countenance_audit.receipt` does, and has the same encoding, checked member by member in pure Python. That both
give the same text is tested.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from typing import Final

from countenance_audit.note import Signer
from countenance_audit.receipt import INCLUDE_WITHIN_US, PREFIX

from countenance.ledger.entry import Place, canonical_bytes

_CONTEXT: Final = b"countenance/receipt/v1\n"
"""What the signature covers besides the receipt (docs/reference/leaf.md, "Receipts")."""


def signed(signer: Signer, place: Place, request_id: str, request: str, response: str) -> str:
    """The text of the header that promises a durable leaf.

    Args:
        signer: of the log's key.
        request, response: SHA-256 of the bodies, 64 lower-case hexadecimal digits each.
    """
    payload = canonical_bytes(
        {
            "v": 1,
            "origin": signer.name,
            "key": signer.verifier.key_id.hex(),
            "id": request_id,
            "index": place.index,
            "leaf": place.leaf_hash.hex(),
            "time": place.time,
            "request": request,
            "response": response,
            "include_by": place.time + INCLUDE_WITHIN_US,
        }
    )
    return f"{PREFIX}.{_encoded(payload)}.{_encoded(signer.sign_bytes(_CONTEXT + payload))}"


def _encoded(octets: bytes) -> str:
    """base64url without padding (RFC 4648 section 5)."""
    return urlsafe_b64encode(octets).rstrip(b"=").decode()
