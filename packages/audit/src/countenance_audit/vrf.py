"""The verifiable random function of RFC 9381, suite ECVRF-EDWARDS25519-SHA512-TAI: one output for each key and input.

Knows points and scalars; does not know what is hashed, or why. Who has the secret computes the output and a proof;
who has the public key learns from the proof that no other output is the right one, and cannot compute any himself.
Group operations are libsodium's (PyNaCl). Stricter than the RFC's least: public keys and Gamma are canonical encodings
of points of the prime-order subgroup, and scalars are below its order, so that one input has one proof per nonce only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha512
from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError

from countenance_audit.errors import Malformed, Rejected

KEY_BYTES: Final = 32
PROOF_BYTES: Final = 80
"""Gamma (32), c (16) and s (32): RFC 9381 section 5.5."""
OUTPUT_BYTES: Final = 64

_SUITE: Final = b"\x03"  # RFC 9381 section 5.5
_CHALLENGE_BYTES: Final = 16  # cLen
_P: Final = 2**255 - 19
_ORDER: Final = 2**252 + 27742317777372353535851937790883648493
_IDENTITY: Final = b"\x01" + bytes(31)
_SIGN: Final = 1 << 255
_TRIES: Final = 256
"""One octet counts the tries (section 5.4.1.1); each succeeds with a probability of about one half."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A secret key.

    Args:
        seed: 32 random bytes, as an Ed25519 seed (RFC 8032 section 5.1.5).

    Attributes:
        public: the public key, 32 bytes.
    """

    seed: bytes = field(repr=False)
    public: bytes = field(init=False)
    _scalar: bytes = field(init=False, repr=False)
    _prefix: bytes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        if len(self.seed) != KEY_BYTES:
            raise Malformed(f"A VRF seed has {KEY_BYTES} bytes, this one has {len(self.seed)}.")
        digest = sha512(self.seed).digest()
        clamped = bytearray(digest[:32])
        clamped[0] &= 248
        clamped[31] = clamped[31] & 127 | 64
        object.__setattr__(self, "_scalar", bytes(clamped))
        object.__setattr__(self, "_prefix", digest[32:])
        object.__setattr__(self, "public", bindings.crypto_scalarmult_ed25519_base_noclamp(bytes(clamped)))

    def output(self, alpha: bytes) -> bytes:
        """The output for an input, without a proof: 64 bytes."""
        return _output(bindings.crypto_scalarmult_ed25519_noclamp(self._scalar, _to_curve(self.public, alpha)))

    def prove(self, alpha: bytes) -> bytes:
        """The proof for an input: 80 bytes (section 5.1). `output_of` it is the output."""
        point = _to_curve(self.public, alpha)
        gamma = bindings.crypto_scalarmult_ed25519_noclamp(self._scalar, point)
        nonce = bindings.crypto_core_ed25519_scalar_reduce(sha512(self._prefix + point).digest())  # section 5.4.2.2
        challenge = _challenge(
            self.public,
            point,
            gamma,
            bindings.crypto_scalarmult_ed25519_base_noclamp(nonce),
            bindings.crypto_scalarmult_ed25519_noclamp(nonce, point),
        )
        secret = bindings.crypto_core_ed25519_scalar_reduce(self._scalar + bytes(32))
        product = bindings.crypto_core_ed25519_scalar_mul(challenge.ljust(32, b"\0"), secret)
        return gamma + challenge + bindings.crypto_core_ed25519_scalar_add(nonce, product)


def check_key(public: bytes) -> None:
    """Validates a public key (section 5.4.5): a canonical point of the prime-order subgroup, not its identity.

    Raises:
        Malformed: it is none.
    """
    if len(public) != KEY_BYTES or not bindings.crypto_core_ed25519_is_valid_point(public):
        raise Malformed("The VRF key is no point of the prime-order group of edwards25519.")


def verify(public: bytes, alpha: bytes, proof: bytes) -> bytes:
    """Checks a proof and returns the one output that the key has for the input: 64 bytes (section 5.3).

    Raises:
        Malformed: the key or the proof is not an encoding of one.
        Rejected: the proof is of another key, input or output.
    """
    check_key(public)
    if len(proof) != PROOF_BYTES:
        raise Malformed(f"A VRF proof has {PROOF_BYTES} bytes, this one has {len(proof)}.")
    gamma, challenge, scalar = proof[:32], proof[32 : 32 + _CHALLENGE_BYTES], proof[32 + _CHALLENGE_BYTES :]
    if not bindings.crypto_core_ed25519_is_valid_point(gamma):
        raise Malformed("The VRF proof's first part is no point of the prime-order group of edwards25519.")
    if int.from_bytes(scalar, "little") >= _ORDER:
        raise Malformed("The VRF proof's scalar is not below the order of the group.")
    point = _to_curve(public, alpha)
    factor = challenge.ljust(32, b"\0")
    try:
        first = _difference(bindings.crypto_scalarmult_ed25519_base_noclamp(scalar), factor, public)
        second = _difference(bindings.crypto_scalarmult_ed25519_noclamp(scalar, point), factor, gamma)
    except (CryptoError, RuntimeError):  # libsodium gives no identity: the scalar or the challenge was zero
        raise Rejected("The VRF proof does not hold.") from None
    if _challenge(public, point, gamma, first, second) != challenge:
        raise Rejected("The VRF proof does not hold for this key and input.")
    return _output(gamma)


def output_of(proof: bytes) -> bytes:
    """The output that a proof is about, without checking it (section 5.2): for its maker only.

    Raises:
        Malformed: it is no proof.
    """
    if len(proof) != PROOF_BYTES or not bindings.crypto_core_ed25519_is_valid_point(proof[:32]):
        raise Malformed("This is no VRF proof.")
    return _output(proof[:32])


def _difference(point: bytes, factor: bytes, other: bytes) -> bytes:
    product = bindings.crypto_scalarmult_ed25519_noclamp(factor, other)
    difference: bytes = bindings.crypto_core_ed25519_sub(point, product)
    return difference


def _to_curve(salt: bytes, alpha: bytes) -> bytes:
    """Section 5.4.1.1, try and increment: a point of the prime-order group."""
    for count in range(_TRIES):
        candidate = sha512(_SUITE + b"\x01" + salt + alpha + bytes([count]) + b"\x00").digest()[:32]
        if int.from_bytes(candidate, "little") & (_SIGN - 1) >= _P:
            continue  # not canonical: RFC 8032 section 5.1.3, step 1
        try:
            point = _times_cofactor(candidate)
        except (CryptoError, RuntimeError):
            continue  # not on the curve
        if point != _IDENTITY:
            return point
    raise Rejected("No point of the curve was found for this input.")  # one in 2**256


def _times_cofactor(point: bytes) -> bytes:
    for _ in range(3):
        point = bindings.crypto_core_ed25519_add(point, point)
    return point


def _challenge(*points: bytes) -> bytes:
    return sha512(_SUITE + b"\x02" + b"".join(points) + b"\x00").digest()[:_CHALLENGE_BYTES]


def _output(gamma: bytes) -> bytes:
    return sha512(_SUITE + b"\x03" + _times_cofactor(gamma) + b"\x00").digest()
