"""The receipts that the server signs are those that the audit package makes, byte for byte."""

from __future__ import annotations

from countenance_audit import receipt as audited
from countenance_audit.note import Signer
from countenance_audit.receipt import INCLUDE_WITHIN_US, Receipt
from hypothesis import given
from hypothesis import strategies as st

from countenance.ledger.entry import Place
from countenance.ledger.receipt import signed

SIGNER = Signer("log.example/receipts", bytes(range(32)))
_hashes = st.binary(min_size=32, max_size=32)


@given(
    st.integers(0, 2**53 - 1),
    _hashes,
    st.integers(0, 2**53 - 1 - INCLUDE_WITHIN_US),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40),
    _hashes,
    _hashes,
)
def test_a_receipt_is_the_one_that_the_audit_package_makes(
    index: int, leaf: bytes, time: int, request_id: str, request: bytes, response: bytes
) -> None:
    text = signed(SIGNER, Place(index, leaf, time), request_id, request.hex(), response.hex())
    expected = Receipt(
        origin="log.example/receipts",
        key=SIGNER.verifier.key_id.hex(),
        id=request_id,
        index=index,
        leaf=leaf.hex(),
        time=time,
        request=request.hex(),
        response=response.hex(),
        include_by=time + INCLUDE_WITHIN_US,
    )
    assert text == audited.sign(expected, SIGNER)
    assert audited.verify(text, SIGNER.verifier) == expected
