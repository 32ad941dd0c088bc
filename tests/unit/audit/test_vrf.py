"""The VRF against RFC 9381, appendix B.3, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from countenance_audit import vrf
from countenance_audit.errors import AuditError, Malformed, Rejected
from hypothesis import given
from hypothesis import strategies as st
from nacl import bindings

EXAMPLES = [  # RFC 9381, appendix B.3, examples 16 to 18: SK, PK, alpha, pi, beta
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "8657106690b5526245a92b003bb079ccd1a92130477671f6fc01ad16f26f723f26f8a57ccaed74ee1b190bed1f479d9727d2d0f9b005a6e4"
        "56a35d4fb0daab1268a1b0db10836d9826a528ca76567805",
        "90cf1df3b703cce59e2a35b925d411164068269d7b2d29f3301c03dd757876ff66b71dda49d2de59d03450451af026798e8f81cd2e333de5"
        "cdf4f3e140fdd8ae",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "f3141cd382dc42909d19ec5110469e4feae18300e94f304590abdced48aed5933bf0864a62558b3ed7f2fea45c92a465301b3bbf5e3e54dd"
        "f2d935be3b67926da3ef39226bbc355bdc9850112c8f4b02",
        "eb4440665d3891d668e7e0fcaf587f1b4bd7fbfe99d0eb2211ccec90496310eb5e33821bc613efb94db5e5b54c70a848a0bef4553a41befc"
        "57663b56373a5031",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "9bc0f79119cc5604bf02d23b4caede71393cedfbb191434dd016d30177ccbf8096bb474e53895c362d8628ee9f9ea3c0e52c7a5c691b6c18"
        "c9979866568add7a2d41b00b05081ed0f58ee5e31b3a970e",
        "645427e5d00c62a23fb703732fa5d892940935942101e456ecca7bb217c61c452118fec1219202a0edcf038bb6373241578be7217ba85a26"
        "87f7a0310b2df19f",
    ),
]
SECRET = vrf.Secret(bytes(range(32)))
IDENTITY = b"\x01" + bytes(31)
SMALL_ORDER = bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a")  # order 8
NOT_CANONICAL = (2**255 - 19 + 1).to_bytes(32, "little")  # y = p + 1, the identity written otherwise


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_rfc_s_examples(example: tuple[str, ...]) -> None:
    seed, public, alpha, proof, output = map(bytes.fromhex, example)
    secret = vrf.Secret(seed)
    assert secret.public == public
    assert secret.prove(alpha) == proof
    assert secret.output(alpha) == vrf.output_of(proof) == vrf.verify(public, alpha, proof) == output


def test_the_shared_vector(shared_data: Path) -> None:
    file = shared_data / "tlog_vectors" / "rfc9381_ed25519_tai.json"
    if not file.exists():
        pytest.skip(f"{file} is missing; set COUNTENANCE_TEST_DATA")
    vectors = json.loads(file.read_text("utf-8"))["vectors"]
    assert vectors
    for each in vectors:
        public, alpha, proof = (bytes.fromhex(each[name]) for name in ("pk", "alpha", "pi"))
        assert vrf.verify(public, alpha, proof).hex() == each["beta"]


@given(st.binary(max_size=200), st.integers(0, 8 * vrf.PROOF_BYTES - 1))
def test_every_changed_bit_of_a_proof_is_refused(alpha: bytes, bit: int) -> None:
    proof = bytearray(SECRET.prove(alpha))
    proof[bit // 8] ^= 1 << bit % 8
    with pytest.raises((Malformed, Rejected)):
        vrf.verify(SECRET.public, alpha, bytes(proof))


@given(st.binary(max_size=50), st.binary(max_size=50))
def test_a_proof_is_of_one_input_and_one_key(alpha: bytes, other: bytes) -> None:
    proof = SECRET.prove(alpha)
    with pytest.raises(AuditError):
        vrf.verify(vrf.Secret(bytes(32)).public, alpha, proof)
    if alpha != other:
        with pytest.raises(AuditError):
            vrf.verify(SECRET.public, other, proof)


@pytest.mark.parametrize("key", [IDENTITY, SMALL_ORDER, NOT_CANONICAL, bytes(32), b"\xff" * 32, b"", bytes(31)])
def test_keys_that_are_none_are_refused(key: bytes) -> None:
    with pytest.raises(Malformed):
        vrf.check_key(key)
    with pytest.raises(Malformed):
        vrf.verify(key, b"", SECRET.prove(b""))


def test_a_key_with_a_small_component_is_refused() -> None:
    mixed = bindings.crypto_core_ed25519_add(SECRET.public, SMALL_ORDER)
    with pytest.raises(Malformed):
        vrf.check_key(mixed)


def test_a_gamma_with_a_small_component_is_refused_though_its_output_were_the_same() -> None:
    proof = SECRET.prove(b"alpha")
    gamma = bindings.crypto_core_ed25519_add(proof[:32], SMALL_ORDER)
    with pytest.raises(Malformed):
        vrf.verify(SECRET.public, b"alpha", gamma + proof[32:])


def test_a_scalar_written_otherwise_is_refused() -> None:
    proof = SECRET.prove(b"alpha")
    order = 2**252 + 27742317777372353535851937790883648493
    larger = int.from_bytes(proof[48:], "little") + order
    with pytest.raises(Malformed, match="scalar"):
        vrf.verify(SECRET.public, b"alpha", proof[:48] + larger.to_bytes(32, "little"))


def test_a_zero_scalar_and_challenge_are_refused() -> None:
    proof = SECRET.prove(b"alpha")
    for wrong in (proof[:48] + bytes(32), proof[:32] + bytes(48), proof[:32] + bytes(16) + proof[48:]):
        with pytest.raises(Rejected):
            vrf.verify(SECRET.public, b"alpha", wrong)


def test_a_secret_is_not_shown() -> None:
    assert bytes(range(32)).hex() not in repr(SECRET)
    assert "seed" not in repr(SECRET)
    with pytest.raises(Malformed):
        vrf.Secret(b"short")
