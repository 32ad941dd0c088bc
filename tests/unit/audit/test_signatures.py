"""Notes, checkpoints, cosignatures and the policy."""

from __future__ import annotations

import pytest
from countenance_audit import checkpoint, merkle
from countenance_audit.errors import AuditError, Malformed, Rejected
from countenance_audit.note import SignedNote, Signer, VerifierKey
from countenance_audit.policy import TrustPolicy
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.audit.samples import LOG, ORIGIN, POLICY, WITNESSES

CHECKPOINT = checkpoint.Checkpoint(ORIGIN, 3, merkle.leaf_hash(b"x"))
NOTE = checkpoint.sign(CHECKPOINT, LOG)


def test_keys_survive_being_written() -> None:
    for key in (LOG.verifier, LOG.witness):
        assert VerifierKey.parse(str(key)) == key
    assert LOG.verifier.key_id != LOG.witness.key_id


def test_a_checkpoint_opens_with_its_logs_key_only() -> None:
    assert checkpoint.open_checkpoint(NOTE, LOG.verifier) == CHECKPOINT
    for signer in (Signer(ORIGIN, b"x" * 32), Signer("other.example", b"l" * 32)):
        with pytest.raises(Rejected):
            checkpoint.open_checkpoint(NOTE, signer.verifier)
    with pytest.raises(Rejected):
        checkpoint.open_checkpoint(NOTE, LOG.witness)
    with pytest.raises(Malformed):
        checkpoint.sign(CHECKPOINT, WITNESSES[0])


@given(st.integers(0, len(NOTE) * 8 - 1))
def test_no_note_with_a_flipped_bit_opens(bit: int) -> None:
    changed = bytearray(NOTE)
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(AuditError):
        checkpoint.open_checkpoint(bytes(changed), LOG.verifier)


@given(st.integers(0, len(NOTE) - 1))
def test_no_truncated_note_opens(length: int) -> None:
    with pytest.raises(AuditError):
        checkpoint.open_checkpoint(NOTE[:length], LOG.verifier)


@pytest.mark.parametrize(
    "octets", [b"\n" * 1_000_001, b"\n\n" * 400_000, NOTE + b"\xe2\x80\x94 a b\n" * 90_000, b"\n\n"]
)
def test_hostile_notes_are_malformed(octets: bytes) -> None:
    with pytest.raises(Malformed):
        SignedNote.parse(octets)


def test_a_cosignature_carries_its_time() -> None:
    line = checkpoint.cosign(NOTE, WITNESSES[0], 1_700_000_000)
    assert checkpoint.verify_cosignature(NOTE + line.encode(), WITNESSES[0].witness) == 1_700_000_000
    with pytest.raises(Rejected):
        checkpoint.verify_cosignature(NOTE, WITNESSES[0].witness)
    with pytest.raises(Rejected):
        checkpoint.verify_cosignature(NOTE + line.encode(), WITNESSES[1].witness)
    other = checkpoint.sign(checkpoint.Checkpoint(ORIGIN, 4, merkle.leaf_hash(b"x")), LOG)
    with pytest.raises(Rejected):
        checkpoint.verify_cosignature(other + line.encode(), WITNESSES[0].witness)
    for time_s in (0, -1, 2**63):
        with pytest.raises(Malformed):
            checkpoint.cosign(NOTE, WITNESSES[0], time_s)
    with pytest.raises(Malformed):
        checkpoint.cosign(LOG.sign("no checkpoint\n"), WITNESSES[0], 1)


def test_the_quorum_counts_witnesses_of_the_policy_only() -> None:
    policy = TrustPolicy.parse(POLICY)
    note, stranger = NOTE, Signer("witness.example/9", b"9" * 32)
    assert not policy.cosigned(note).satisfied
    for signer in (WITNESSES[0], WITNESSES[0], stranger):
        note += checkpoint.cosign(note, signer, 7).encode()
        found = policy.cosigned(note)
        assert (found.satisfied, dict(found.witnesses), found.missing) == (False, {"w1": 7}, ("w2", "w3"))
    note += checkpoint.cosign(note, WITNESSES[2], 9).encode()
    found = policy.cosigned(note)
    assert found.satisfied
    assert found.checkpoint == CHECKPOINT
    assert dict(found.witnesses) == {"w1": 7, "w3": 9}


def test_groups_of_groups() -> None:
    w1, w2, w3 = (str(signer.witness) for signer in WITNESSES)
    policy = TrustPolicy.parse(
        f"# two levels\n\n \tlog\t{LOG.verifier} https://a.example \nwitness w1 {w1}\nwitness w2 {w2} https://w.example\n"
        f"witness w3 {w3}\ngroup any any w1 w2\ngroup top all any w3\nquorum top\n".encode()
    )
    assert policy.log_key == LOG.verifier
    assert policy.urls == {ORIGIN: "https://a.example", "w2": "https://w.example"}
    assert [policy.quorum_met(names) for names in ([], ["w1"], ["w3"], ["w2", "w3"], ["any", "w3"])] == [
        False,
        False,
        False,
        True,
        False,
    ]


def test_auditors_and_monitors_have_lines_of_their_own() -> None:
    policy = TrustPolicy.parse(
        f"log {LOG.verifier}\nauditor kpmg {WITNESSES[0].witness}\nmonitor m {WITNESSES[1].witness}\nquorum none"
    )
    assert policy.auditors == {"kpmg": WITNESSES[0].witness}
    assert policy.monitors == {"m": WITNESSES[1].witness}
    assert policy.cosigned(NOTE).satisfied


@pytest.mark.parametrize(
    "text",
    [
        "",
        "quorum none\nquorum none\n",
        "quorum\n",
        "quorum nobody\n",
        "Quorum none\n",
        "quorum none extra\n",
        "quorum none\r\n",
        "quorum none\x7f\n",
        "quorum\u00a0none\n",
        f"log {LOG.verifier}\nlog {LOG.verifier}\nquorum none\n",
        f"log {LOG.witness}\nquorum none\n",
        f"log {LOG.verifier} a b\nquorum none\n",
        f"witness w {WITNESSES[0].witness}\nwitness v {WITNESSES[0].witness}\nquorum none\n",
        f"witness w {WITNESSES[0].witness}\nwitness w {WITNESSES[1].witness}\nquorum none\n",
        f"witness w {WITNESSES[0].witness}\ngroup g 0 w\nquorum g\n",
        f"witness w {WITNESSES[0].witness}\ngroup g 01 w\nquorum g\n",
        f"witness w {WITNESSES[0].witness}\ngroup g any w w\nquorum g\n",
        f"witness w {WITNESSES[0].witness}\ngroup g any g\nquorum g\n",
        f"witness w {WITNESSES[0].witness}\ngroup g any none\nquorum g\n",
        f"auditor a {WITNESSES[0].witness}\nquorum a\n",
        b"# \xff\nquorum none\n",
        "#" * 1_000_001,
    ],
)
def test_other_policies_are_malformed(text: str | bytes) -> None:
    with pytest.raises(Malformed):
        TrustPolicy.parse(text)


def test_a_wrong_line_is_named() -> None:
    with pytest.raises(Malformed, match="Line 3 of the policy"):
        TrustPolicy.parse("# one\n\nwitness w\nquorum none\n")
