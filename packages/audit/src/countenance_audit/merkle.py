"""The Merkle tree of RFC 6962: hashes, the two proofs, proofs about subtrees, and a tree that only grows.

Knows hashes; does not know leaves, files or signatures. The algorithms that check are those of RFC 9162 section
2.1; subtrees are those of draft-ietf-plants-merkle-tree-certs section 4: a range of leaves [start, end) whose
start is a multiple of the smallest power of two that is not smaller than its length.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final

from countenance_audit.errors import Malformed, Rejected

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
"""Root of the tree without leaves (RFC 6962 section 2.1)."""

MAX_SIZE: Final = 2**63 - 1
"""Most leaves of a tree: what fits a signed 64-bit integer, as in C2SP tlog-cosignature for times."""

Subtree = Callable[[int, int], bytes]
"""(level, index) -> hash of the complete subtree of 2**level leaves that starts at leaf index * 2**level."""


def leaf_hash(leaf: bytes) -> bytes:
    """SHA-256(0x00 || leaf)."""
    return sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right)."""
    return sha256(b"\x01" + left + right).digest()


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root over leaf hashes."""
    tree = Frontier()
    for item in hashes:
        tree.append(item)
    return tree.root()


def verify_inclusion(index: int, size: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes) -> None:
    """Checks that the leaf is at `index` in the tree of `size` leaves with this root (RFC 9162 section 2.1.3.2).

    Raises:
        Rejected: it is not shown.
    """
    _check_hashes(leaf_hash, root, *proof)
    if not 0 <= index < size <= MAX_SIZE:
        raise Rejected(f"Leaf {index} is not in a tree of {size} leaves.")
    first, last, found = index, size - 1, leaf_hash
    for item in proof:
        if last == 0:
            raise Rejected("The inclusion proof is too long.")
        if first & 1 or first == last:
            found = node_hash(item, found)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            found = node_hash(found, item)
        first, last = first >> 1, last >> 1
    if last:
        raise Rejected("The inclusion proof is too short.")
    if found != root:
        raise Rejected("The inclusion proof leads to another root.")


def verify_consistency(size1: int, size2: int, root1: bytes, root2: bytes, proof: Sequence[bytes]) -> None:
    """Checks that the tree of `size2` leaves begins with the tree of `size1` leaves (RFC 9162 section 2.1.4.2).

    Two empty trees are consistent; a first tree without leaves is otherwise refused, since it would show nothing.

    Raises:
        Rejected: it is not shown.
    """
    if size1 == 0 and (size2 != 0 or root2 != EMPTY_ROOT):
        raise Rejected("Consistency with the empty tree says nothing.")
    verify_subtree_consistency(0, size1, size2, root1, root2, proof)


def verify_subtree_inclusion(
    index: int, start: int, end: int, leaf_hash: bytes, proof: Sequence[bytes], root: bytes
) -> None:
    """Checks that the leaf is at `index` of the log, in the subtree [start, end) with this root.

    Raises:
        Rejected: it is not shown, or there is no such subtree.
    """
    _check_subtree(start, end)
    if not start <= index < end:
        raise Rejected(f"Leaf {index} is not in the subtree from {start} to {end}.")
    verify_inclusion(index - start, end - start, leaf_hash, proof, root)


def verify_subtree_consistency(
    start: int, end: int, size: int, subtree_root: bytes, root: bytes, proof: Sequence[bytes]
) -> None:
    """Checks that the tree of `size` leaves has the subtree [start, end) (merkle-tree-certs draft section 4.4.3).

    An empty subtree (start = end) has the root of the empty tree and an empty proof, and says nothing. Equal roots
    of the same leaves need no proof and are only compared, whatever they are.

    Raises:
        Rejected: it is not shown, or there is no such subtree.
    """
    if proof:
        _check_hashes(subtree_root, root, *proof)
    if not 0 <= start <= end <= size <= MAX_SIZE:
        raise Rejected(f"A tree of {size} leaves has no subtree from {start} to {end}.")
    if start == end:
        if proof or subtree_root != EMPTY_ROOT:
            raise Rejected("An empty subtree has the root of the empty tree and an empty proof.")
        return
    _check_subtree(start, end)
    first, last, top = start, end - 1, size - 1
    while first != last and (end == size or last & 1):
        first, last, top = first >> 1, last >> 1, top >> 1
    if first == last:
        inner = outer = subtree_root
        rest = proof
    elif proof:
        inner = outer = proof[0]
        rest = proof[1:]
    else:
        raise Rejected("The consistency proof is too short.")
    for item in rest:
        if top == 0:
            raise Rejected("The consistency proof is too long.")
        if last & 1 or last == top:
            if first < last:
                inner = node_hash(item, inner)
            outer = node_hash(item, outer)
            while not last & 1 and last:
                first, last, top = first >> 1, last >> 1, top >> 1
        else:
            outer = node_hash(outer, item)
        first, last, top = first >> 1, last >> 1, top >> 1
    if top:
        raise Rejected("The consistency proof is too short.")
    if inner != subtree_root:
        raise Rejected("The consistency proof leads to another root of the older tree.")
    if outer != root:
        raise Rejected("The consistency proof leads to another root of the newer tree.")


def range_root(start: int, end: int, subtree: Subtree) -> bytes:
    """The root over the leaves [start, end), where `start` is aligned as a subtree's start is."""
    if start == end:
        return EMPTY_ROOT
    length = end - start
    level = length.bit_length() - 1
    if length == 1 << level:
        return subtree(level, start >> level)
    middle = start + _split(length)
    return node_hash(range_root(start, middle, subtree), range_root(middle, end, subtree))


def inclusion_proof(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """The hashes that lead from leaf `index` to the root of the first `size` leaves (RFC 9162 section 2.1.3.1).

    Raises:
        Rejected: there is no such leaf.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise Rejected(f"Leaf {index} is not in a tree of {size} leaves.")
    proof: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            proof.append(range_root(middle, end, subtree))
            end = middle
        else:
            proof.append(range_root(start, middle, subtree))
            start = middle
    return proof[::-1]


def consistency_proof(size1: int, size2: int, subtree: Subtree) -> list[bytes]:
    """The hashes that show that the first `size1` of `size2` leaves are the older tree (RFC 9162 section 2.1.4.1).

    Raises:
        Rejected: the sizes are not 0 < size1 <= size2.
    """
    if not 0 < size1 <= size2 <= MAX_SIZE:
        raise Rejected(f"There is no consistency proof from {size1} to {size2} leaves.")
    proof: list[bytes] = []
    start, end = 0, size2
    while size1 != end:
        middle = start + _split(end - start)
        if size1 <= middle:
            proof.append(range_root(middle, end, subtree))
            end = middle
        else:
            proof.append(range_root(start, middle, subtree))
            start = middle
    if start:
        proof.append(range_root(start, end, subtree))
    return proof[::-1]


class Frontier:
    """A tree that grows at its right edge and remembers only the roots of its complete subtrees ("peaks").

    Not safe to use from several threads.
    """

    __slots__ = ("_peaks", "_size")

    def __init__(self) -> None:
        self._peaks: list[bytes] = []
        self._size = 0

    @classmethod
    def from_peaks(cls, size: int, peaks: Sequence[bytes]) -> Frontier:
        """The tree of `size` leaves with these peaks, the leftmost (largest) first.

        Raises:
            Malformed: the number of peaks does not fit the size, or one is not a hash.
        """
        if not 0 <= size <= MAX_SIZE or len(peaks) != size.bit_count():
            raise Malformed(f"A tree of {size} leaves does not have {len(peaks)} peaks.")
        if any(len(peak) != HASH_BYTES for peak in peaks):
            raise Malformed("A peak is not a SHA-256 hash.")
        tree = cls()
        tree._peaks, tree._size = list(peaks), size
        return tree

    @property
    def size(self) -> int:
        """How many leaves there are."""
        return self._size

    @property
    def peaks(self) -> tuple[bytes, ...]:
        """Roots of the complete subtrees, the leftmost (largest) first."""
        return tuple(self._peaks)

    def append(self, leaf_hash: bytes) -> None:
        """Adds a leaf's hash on the right."""
        if len(leaf_hash) != HASH_BYTES:
            raise Malformed("A leaf hash has 32 bytes.")
        size, peaks = self._size, self._peaks
        self._size = size + 1
        while size & 1:
            leaf_hash = sha256(b"\x01" + peaks.pop() + leaf_hash).digest()
            size >>= 1
        peaks.append(leaf_hash)

    def root(self) -> bytes:
        """The root over all leaves so far."""
        if not self._peaks:
            return EMPTY_ROOT
        found = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            found = node_hash(peak, found)
        return found


def _split(length: int) -> int:
    """The largest power of two smaller than `length` (> 1)."""
    return 1 << ((length - 1).bit_length() - 1)


def _check_subtree(start: int, end: int) -> None:
    if not 0 <= start < end <= MAX_SIZE or start & ((1 << (end - start - 1).bit_length()) - 1):
        raise Rejected(f"There is no subtree from {start} to {end}.")


def _check_hashes(*hashes: bytes) -> None:
    if any(len(item) != HASH_BYTES for item in hashes):
        raise Rejected("A hash in the proof, a root or the leaf hash does not have 32 bytes.")
