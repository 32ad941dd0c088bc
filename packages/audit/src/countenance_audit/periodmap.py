"""Period maps: who used the service on one UTC day, as a sorted tree that shows nothing but random keys.

Knows keys, values, the tree and its proofs; does not know entries (`usage`) or where roots are published (`periods`).
A key is the hash of a VRF output over an identifier, so only the operator finds it and anybody can check that it is
the right one; a value is a salted commitment to what was used. The tree is RFC 6962's over leaves in ICS-23's
encoding, so that Go's tlog and the published ICS-23 verifiers read it (facts: accountability, 4.3).

A map's file is its leaves in order, 64 octets each: the key, then the value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from countenance_audit import canonical, ics23
from countenance_audit.errors import Malformed, Rejected
from countenance_audit.members import hexadecimal, integer, members, octets
from countenance_audit.merkle import HASH_BYTES, inclusion_proof, leaf_hash, node_hash, verify_inclusion
from countenance_audit.merkle import range_root as root_of_range

KEY_BYTES: Final = 32
LEAF_BYTES: Final = 64
"""Of a map's file: a key and a value."""
SALT_BYTES: Final = 32
FIRST: Final = bytes(KEY_BYTES)
LAST: Final = b"\xff" * KEY_BYTES
"""The sentinels: always there, so that every other key has two neighbours."""
SENTINEL: Final = bytes(HASH_BYTES)
"""What sentinels have for a value."""
MAX_LEAVES: Final = 2**22
"""Most leaves of a map that is read."""
MAX_FILE_BYTES: Final = MAX_LEAVES * LEAF_BYTES
"""256 MiB."""

_DOMAIN: Final = b"countenance/v1"
_USAGE: Final = b"countenance/usage/v1\n"
_MAX_FIELD: Final = 65_535


def alpha(origin: str, day: str, scheme: str, identifier: str) -> bytes:
    """What the VRF takes: five fields, each after its length in two octets, the most significant first.

    Args:
        day: `YYYY-MM-DD`.
        identifier: in the scheme's normal form (`identifiers.normal`).
    """
    fields = [_DOMAIN, *(each.encode() for each in (origin, day, scheme, identifier))]
    if any(len(each) > _MAX_FIELD for each in fields):
        raise Malformed("A field of a map's key is longer than 65,535 octets.")
    return b"".join(len(each).to_bytes(2) + each for each in fields)


def key_of(output: bytes) -> bytes:
    """A map's key: SHA-256 of the VRF output."""
    return sha256(output).digest()


@dataclass(frozen=True, slots=True)
class Usage:
    """What was used under one identifier on one day.

    Attributes:
        calls: denied, failed and throttled ones too.
        units: what was metered.
        amount: in micro-units of the period's currency.
        leaves: SHA-256 over the indices of the leaves, sorted, each as 8 octets, the most significant first; in
            hexadecimal.
    """

    calls: int
    units: int
    amount: int
    leaves: str

    @classmethod
    def from_json(cls, value: Any) -> Usage:
        """Raises Malformed."""
        _usage(value, "usage")
        return cls(**value)

    def to_json(self) -> dict[str, Any]:
        return {"calls": self.calls, "units": self.units, "amount": self.amount, "leaves": self.leaves}

    def commitment(self, salt: bytes) -> bytes:
        """SHA-256("countenance/usage/v1" || newline || salt || canonical(usage)): the value of a map's leaf."""
        if len(salt) != SALT_BYTES:
            raise Malformed(f"A salt has {SALT_BYTES} bytes, this one has {len(salt)}.")
        return sha256(_USAGE + salt + canonical.encode(self.to_json())).digest()


_usage: Final = members(
    {"calls": integer(1), "units": integer(0), "amount": integer(), "leaves": hexadecimal},
)


@dataclass(frozen=True, slots=True)
class Place:
    """A leaf of a map with its inclusion proof, from the leaf upwards."""

    index: int
    key: bytes
    value: bytes
    proof: tuple[bytes, ...]

    @classmethod
    def from_json(cls, value: Any) -> Place:
        """Raises Malformed."""
        _place(value, "A place in a map")
        proof = tuple(octets(each, "A hash of the proof") for each in value["proof"])
        return cls(value["index"], octets(value["key"], "key"), octets(value["value"], "value"), proof)

    def to_json(self) -> dict[str, Any]:
        return {
            "index": self.index,
            "key": self.key.hex(),
            "value": self.value.hex(),
            "proof": [each.hex() for each in self.proof],
        }

    def verify(self, size: int, root: bytes) -> None:
        """Checks that the leaf is in the map. Raises Rejected."""
        verify_inclusion(self.index, size, leaf_hash(ics23.leaf_data(self.key, self.value)), self.proof, root)

    def ics23(self, size: int) -> bytes:
        """An ICS-23 CommitmentProof of existence."""
        return ics23.existence(self.key, self.value, self.index, size, self.proof)


def _proof(value: Any, where: str) -> None:
    if not isinstance(value, (list, tuple)):
        raise Malformed(f"{where} is not an array.")
    for each in value:
        hexadecimal(each, f"A hash of {where}")


_place: Final = members({"index": integer(0), "key": hexadecimal, "value": hexadecimal, "proof": _proof})


class PeriodMap:
    """A map that can prove. Safe to use from several threads, as it never changes.

    Args:
        leaves: a map's file.
        tree: what `levels` gave for it; None: it is computed.
    """

    def __init__(self, leaves: bytes | memoryview, tree: bytes | memoryview | None = None) -> None:
        if len(leaves) % LEAF_BYTES or not 2 <= len(leaves) // LEAF_BYTES <= MAX_LEAVES:
            raise Malformed(f"A map's file has 64 octets for each of 2 to {MAX_LEAVES} leaves.")
        self._leaves = leaves
        self.size = len(leaves) // LEAF_BYTES
        self._starts = _starts(self.size)
        self._tree = levels(leaves) if tree is None else tree
        if len(self._tree) != self._starts[-1] * HASH_BYTES:
            raise Malformed("The hashes of the map's tree are not those of as many leaves.")

    @classmethod
    def of(cls, values: Mapping[bytes, bytes]) -> PeriodMap:
        """The map with these keys and values, and the sentinels.

        Raises:
            Malformed: a key is a sentinel's or has not 32 octets.
        """
        if FIRST in values or LAST in values:
            raise Malformed("A key of the map is a sentinel's.")
        if any(len(key) != KEY_BYTES or len(value) != HASH_BYTES for key, value in values.items()):
            raise Malformed("Keys and values of a map have 32 octets.")
        ordered = [(FIRST, SENTINEL), *sorted(values.items()), (LAST, SENTINEL)]
        return cls(b"".join(key + value for key, value in ordered))

    @property
    def root(self) -> bytes:
        """The root of the tree."""
        return root_of_range(0, self.size, self._subtree)

    @property
    def leaves(self) -> bytes:
        """The map's file."""
        return bytes(self._leaves)

    @property
    def tree(self) -> bytes:
        """What `levels` gives: for `PeriodMap(leaves, tree)`."""
        return bytes(self._tree)

    def check(self) -> None:
        """Checks what a monitor has to: sentinels at both ends, keys strictly sorted (PROOFS section 5).

        Raises:
            Rejected: it proves use and non-use at the same time, or could.
        """
        before = self.key(0)
        if before != FIRST or self.value(0) != SENTINEL:
            raise Rejected("The map does not begin with its sentinel.")
        for index in range(1, self.size):
            key = self.key(index)
            if key <= before:
                raise Rejected(f"The map is not sorted: key {index} is not above the one before it.")
            before = key
        if before != LAST or self.value(self.size - 1) != SENTINEL:
            raise Rejected("The map does not end with its sentinel.")

    def key(self, index: int) -> bytes:
        return bytes(self._leaves[index * LEAF_BYTES : index * LEAF_BYTES + KEY_BYTES])

    def value(self, index: int) -> bytes:
        return bytes(self._leaves[index * LEAF_BYTES + KEY_BYTES : (index + 1) * LEAF_BYTES])

    def place(self, index: int) -> Place:
        """The leaf at an index, with its proof. Raises Rejected when there is none."""
        proof = inclusion_proof(index, self.size, self._subtree)
        return Place(index, self.key(index), self.value(index), tuple(proof))

    def find(self, key: bytes) -> tuple[Place] | tuple[Place, Place]:
        """The leaf of the key, or its two neighbours when there is none."""
        low, high = 0, self.size
        while low < high:
            middle = (low + high) // 2
            if self.key(middle) < key:
                low = middle + 1
            else:
                high = middle
        if low < self.size and self.key(low) == key:
            return (self.place(low),)
        if not 0 < low < self.size:
            raise Rejected("The map lacks its sentinels.")
        return self.place(low - 1), self.place(low)

    def _subtree(self, level: int, index: int) -> bytes:
        at = (self._starts[level] + index) * HASH_BYTES
        if not 0 <= index < self._starts[level + 1] - self._starts[level]:
            raise Rejected("The map has no such subtree.")
        return bytes(self._tree[at : at + HASH_BYTES])


def levels(leaves: bytes | memoryview) -> bytes:
    """The hashes of all complete subtrees of a map, the leaves' first, then those of two leaves, and so on."""
    size = len(leaves) // LEAF_BYTES
    level = [
        leaf_hash(ics23.leaf_data(bytes(leaves[at : at + KEY_BYTES]), bytes(leaves[at + KEY_BYTES : at + LEAF_BYTES])))
        for at in range(0, size * LEAF_BYTES, LEAF_BYTES)
    ]
    parts = []
    while level:
        parts += level
        level = [node_hash(level[at], level[at + 1]) for at in range(0, len(level) - 1, 2)]
    return b"".join(parts)


def _starts(size: int) -> list[int]:
    """Where each level of `levels` begins, counted in hashes, and where the last one ends."""
    starts = [0]
    while size:
        starts.append(starts[-1] + size)
        size >>= 1
    return starts


def verify_absence(key: bytes, places: Sequence[Place], size: int, root: bytes) -> None:
    """Checks that neighbours show that the map has no such key.

    Raises:
        Rejected: they do not.
    """
    if len(places) != 2:
        raise Rejected("Absence is shown by two neighbours.")
    left, right = places
    if right.index != left.index + 1 or not left.key < key < right.key:
        raise Rejected("The two leaves are not the neighbours of the key.")
    for each in places:
        each.verify(size, root)


def verify_presence(key: bytes, place: Place, salt: bytes, usage: Usage, size: int, root: bytes) -> None:
    """Checks that the map has the key, with this usage.

    Raises:
        Rejected: it does not.
    """
    if place.key != key:
        raise Rejected("The leaf is of another key.")
    if usage.commitment(salt) != place.value:
        raise Rejected("The leaf commits to another usage.")
    place.verify(size, root)


def nonexistence_ics23(key: bytes, places: Sequence[Place], size: int) -> bytes:
    """An ICS-23 CommitmentProof of non-existence."""
    left, right = (each.ics23(size) for each in places)
    return ics23.nonexistence(key, left, right)


def leaves_sha256(indices: Sequence[int]) -> str:
    """`Usage.leaves` of these indices of leaves."""
    return sha256(b"".join(index.to_bytes(8) for index in sorted(indices))).hexdigest()
