from __future__ import annotations

import pytest
from countenance_audit import leaf, merkle, receipt
from countenance_audit.errors import AuditError, Malformed, Rejected
from countenance_audit.mirror import Log
from countenance_audit.note import Signer
from countenance_audit.policy import TrustPolicy
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.audit.samples import (
    LOG,
    ORIGIN,
    POLICY,
    REQUEST,
    RESPONSE,
    TIME_US,
    WITNESSES,
    Server,
    accounting,
    person,
    sha,
)

OPENING = leaf.make_opening(accounting(), person())
LATE_S = TIME_US // 1_000_000 + 61
TRUST = TrustPolicy.parse(POLICY)


def made(index: int = 1, opened: leaf.Opening = OPENING) -> receipt.Receipt:
    return receipt.Receipt(
        origin=ORIGIN,
        key=LOG.verifier.key_id.hex(),
        id="r-1",
        index=index,
        leaf=merkle.leaf_hash(opened.leaf()).hex(),
        time=TIME_US,
        request=sha(REQUEST),
        response=sha(RESPONSE),
        include_by=TIME_US + 60_000_000,
    )


TEXT = receipt.sign(made(), LOG)


def served(*leaves: bytes) -> Server:
    return Server([leaf.opaque(bytes(32)), *leaves])


def proof(server: Server, index: int = 1) -> list[bytes]:
    return Log(server.fetch, TRUST).leaf_at(index, len(server.leaves))[1]


def test_a_receipt_is_verified_and_held_against_the_call() -> None:
    found = receipt.verify(TEXT, LOG.verifier)
    assert found == made() == receipt.parse(TEXT)
    assert receipt.check_call(found, REQUEST, RESPONSE) == ("request", "response")
    assert receipt.check_call(found) == ()
    for bodies in ((b"", None), (None, REQUEST)):
        with pytest.raises(Rejected):
            receipt.check_call(found, *bodies)


@given(st.integers(0, len(TEXT) * 7 - 1))
def test_no_receipt_with_a_flipped_bit_is_verified(bit: int) -> None:
    changed = bytearray(TEXT.encode())
    changed[bit // 7] ^= 1 << bit % 7
    with pytest.raises(AuditError):
        receipt.verify(changed.decode(), LOG.verifier)


@given(st.text(max_size=100) | st.integers(0, len(TEXT) - 1).map(lambda length: TEXT[:length]))
def test_other_text_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        receipt.parse(text)
    with pytest.raises(Malformed):
        receipt.parse(receipt.PREFIX + "." + text)


def test_only_the_log_it_names_can_have_signed_it() -> None:
    for key in (Signer(ORIGIN, b"x" * 32).verifier, Signer("other.example", b"l" * 32).verifier, LOG.witness):
        with pytest.raises(Rejected):
            receipt.verify(TEXT, key)
    with pytest.raises(Malformed):
        receipt.sign(made(), Signer(ORIGIN, b"x" * 32))
    with pytest.raises(Malformed):
        receipt.parse("x" * 10_000)


def test_a_kept_promise() -> None:
    server = served(OPENING.leaf())
    server.cosign(LATE_S)
    for opening in (OPENING, OPENING.without_person(), None):
        found = receipt.check_inclusion(made(), opening, proof(server), server.files["checkpoint"], TRUST)
        assert found.included
        assert found.decided is True
        assert found.evidence is None


def test_without_a_quorum_nothing_is_decided() -> None:
    server = served(OPENING.leaf())
    found = receipt.check_inclusion(made(), OPENING, proof(server), server.files["checkpoint"], TRUST)
    assert found.included
    assert found.decided is None


def test_a_leaf_left_out_is_evidence_once_the_promise_is_due() -> None:
    server = served()
    server.cosign(LATE_S - 1)
    early = receipt.check_inclusion(made(), OPENING, None, server.files["checkpoint"], TRUST)
    assert (early.decided, early.evidence) == (None, None)
    server.cosign(LATE_S, WITNESSES[0])
    one = receipt.check_inclusion(made(), OPENING, None, server.files["checkpoint"], TRUST)
    assert (one.decided, one.evidence) == (None, None)
    server.cosign(LATE_S, WITNESSES[2])
    found = receipt.check_inclusion(made(), OPENING, None, server.files["checkpoint"], TRUST)
    assert (found.decided, found.evidence) == (False, "absent")


def test_without_witnesses_there_is_no_time_and_absence_shows_nothing() -> None:
    policy = TrustPolicy.parse(f"log {LOG.verifier}\nquorum none\n")
    found = receipt.check_inclusion(made(), OPENING, None, served().files["checkpoint"], policy)
    assert (found.decided, found.evidence) == (None, None)


def test_another_leaf_at_the_index_is_evidence() -> None:
    other = leaf.make_opening(accounting())
    server = served(other.leaf())
    for opening, hashed in ((other, None), (OPENING, merkle.leaf_hash(other.leaf()))):
        found = receipt.check_inclusion(
            made(), opening, proof(server), server.files["checkpoint"], TRUST, other_leaf=hashed
        )
        assert (found.included, found.decided, found.evidence) == (False, False, "other-leaf")


def test_a_wrong_proof_shows_nothing() -> None:
    server = served(OPENING.leaf(), bytes([1]) * 33)
    server.cosign(LATE_S)
    for given_proof in (proof(server, 0), [], None):
        found = receipt.check_inclusion(made(), OPENING, given_proof, server.files["checkpoint"], TRUST)
        assert (found.included, found.decided, found.evidence) == (False, None, None)


def test_a_leaf_that_opens_to_another_call_is_evidence() -> None:
    lying = leaf.make_opening(accounting(request=sha(b"another")))
    server = served(lying.leaf())
    found = receipt.check_inclusion(made(opened=lying), lying, proof(server), server.files["checkpoint"], TRUST)
    assert (found.decided, found.evidence) == (False, "other-content")


def test_a_checkpoint_of_nobody_trusted_shows_nothing() -> None:
    server = Server([OPENING.leaf()], Signer(ORIGIN, b"x" * 32))
    with pytest.raises(Rejected):
        receipt.check_inclusion(made(), OPENING, [], server.files["checkpoint"], TRUST)
