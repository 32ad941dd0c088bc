"""ICS-23 proofs about period maps, so that verifiers who know nothing of us can check them.

Knows the protobuf encoding of an existence and a non-existence proof for one tree: SHA-256, leaf prefix 0x00, inner
prefix 0x01, keys as they are, values hashed, lengths as varints, which is `tendermintSpec` of the published verifiers
(https://github.com/cosmos/ics23). Does not verify: `periodmap` does, from the same hashes.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from countenance_audit.merkle import HASH_BYTES

LEAF_PREFIX: Final = b"\x00"
INNER_PREFIX: Final = b"\x01"

_EXIST, _NONEXIST = 1, 2  # CommitmentProof
_KEY, _VALUE, _LEAF, _PATH = 1, 2, 3, 4  # ExistenceProof
_LEFT, _RIGHT = 2, 3  # NonExistenceProof
_HASH, _PREHASH_VALUE, _LENGTH, _LEAF_PREFIX = 1, 3, 4, 5  # LeafOp
_PREFIX, _SUFFIX = 2, 3  # InnerOp
_SHA256, _VAR_PROTO = 1, 1


def leaf_data(key: bytes, value: bytes) -> bytes:
    """What a map's leaf hashes after the prefix: varint(len key) || key || varint(32) || SHA-256(value).

    Keys are at most 127 bytes here, so that their length is one octet.
    """
    return bytes([len(key)]) + key + bytes([HASH_BYTES]) + sha256(value).digest()


def existence(key: bytes, value: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """A CommitmentProof that the key has the value.

    Args:
        index, size: the leaf's place, and how many there are.
        proof: its inclusion proof, from the leaf upwards (RFC 9162 section 2.1.3.1).
    """
    return _field(_EXIST, _existence(key, value, index, size, proof))


def nonexistence(key: bytes, left: bytes, right: bytes) -> bytes:
    """A CommitmentProof that the key is between two neighbours, each as `existence` gave it."""
    return _field(_NONEXIST, _field(1, key) + _field(_LEFT, _inner_of(left)) + _field(_RIGHT, _inner_of(right)))


def _inner_of(commitment: bytes) -> bytes:
    """The ExistenceProof within a CommitmentProof of ours."""
    at, shift, length = 1, 0, 0
    while True:
        length |= (commitment[at] & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not commitment[at - 1] & 0x80:
            return commitment[at : at + length]


def _existence(key: bytes, value: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    leaf = (
        _number(_HASH, _SHA256)
        + _number(_PREHASH_VALUE, _SHA256)
        + _number(_LENGTH, _VAR_PROTO)
        + _field(_LEAF_PREFIX, LEAF_PREFIX)
    )
    steps = b""
    first, last = index, size - 1
    for item in proof:  # the sides as in RFC 9162 section 2.1.3.2
        if first & 1 or first == last:
            step = _field(_PREFIX, INNER_PREFIX + item)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            step = _field(_PREFIX, INNER_PREFIX) + _field(_SUFFIX, item)
        first, last = first >> 1, last >> 1
        steps += _field(_PATH, _number(_HASH, _SHA256) + step)
    return _field(_KEY, key) + _field(_VALUE, value) + _field(_LEAF, leaf) + steps


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return bytes([number << 3]) + _varint(value)


def _varint(value: int) -> bytes:
    octets = bytearray()
    while value > 0x7F:
        octets.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*octets, value])
