from __future__ import annotations

import os

import pytest
from countenance_audit import merkle
from countenance_audit.errors import Malformed, Rejected
from hypothesis import given
from hypothesis import strategies as st

LEAVES = [merkle.leaf_hash(str(number).encode()) for number in range(300)]


def naive(hashes: list[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if not hashes:
        return merkle.EMPTY_ROOT
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return merkle.node_hash(naive(hashes[:split]), naive(hashes[split:]))


def subtree(level: int, index: int) -> bytes:
    part = LEAVES[index << level : (index + 1) << level]
    assert len(part) == 1 << level
    return naive(part)


def flipped(octets: bytes, bit: int) -> bytes:
    changed = bytearray(octets)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@given(st.integers(0, 300))
def test_the_growing_tree_has_the_root_of_the_specification(size: int) -> None:
    tree = merkle.Frontier()
    for item in LEAVES[:size]:
        tree.append(item)
    assert tree.root() == naive(LEAVES[:size]) == merkle.root_of(LEAVES[:size])
    again = merkle.Frontier.from_peaks(tree.size, tree.peaks)
    again.append(LEAVES[0])
    tree.append(LEAVES[0])
    assert (again.root(), again.size) == (tree.root(), size + 1)


@given(st.integers(1, 300), st.data())
def test_inclusion_proofs_verify_and_none_with_a_flipped_bit_does(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    root = naive(LEAVES[:size])
    proof = merkle.inclusion_proof(index, size, subtree)
    merkle.verify_inclusion(index, size, LEAVES[index], proof, root)
    merkle.verify_subtree_inclusion(index, 0, size, LEAVES[index], proof, root)
    parts = [LEAVES[index], root, *proof]
    which = data.draw(st.integers(0, len(parts) - 1))
    parts[which] = flipped(parts[which], data.draw(st.integers(0, 255)))
    with pytest.raises(Rejected):
        merkle.verify_inclusion(index, size, parts[0], parts[2:], parts[1])
    other = data.draw(st.integers(0, size - 1).filter(lambda n: n != index)) if size > 1 else size
    with pytest.raises(Rejected):
        merkle.verify_inclusion(other, size, LEAVES[index], proof, root)


@given(st.integers(1, 300), st.data())
def test_consistency_proofs_verify_and_none_with_a_flipped_bit_does(size2: int, data: st.DataObject) -> None:
    size1 = data.draw(st.integers(1, size2))
    roots = naive(LEAVES[:size1]), naive(LEAVES[:size2])
    proof = merkle.consistency_proof(size1, size2, subtree)
    merkle.verify_consistency(size1, size2, *roots, proof)
    parts = [*roots, *proof]
    which = data.draw(st.integers(0, len(parts) - 1))
    parts[which] = flipped(parts[which], data.draw(st.integers(0, 255)))
    with pytest.raises(Rejected):
        merkle.verify_consistency(size1, size2, parts[0], parts[1], parts[2:])
    if proof:
        with pytest.raises(Rejected):
            merkle.verify_consistency(size1, size2, *roots, proof[:-1])


@given(st.integers(0, 8), st.data())
def test_subtrees_of_the_tree_are_consistent_with_it(level: int, data: st.DataObject) -> None:
    """Proofs by a search that knows the tree: every complete subtree is shown by the path above it."""
    size = data.draw(st.integers(1 << level, 300))
    index = data.draw(st.integers(0, (size >> level) - 1))
    start, end = index << level, (index + 1) << level
    path = merkle.inclusion_proof(start, size, subtree)[level:]
    merkle.verify_subtree_consistency(start, end, size, naive(LEAVES[start:end]), naive(LEAVES[:size]), path)
    with pytest.raises(Rejected):
        merkle.verify_subtree_consistency(start, end, size, LEAVES[299], naive(LEAVES[:size]), [*path, LEAVES[0]])


def test_there_are_no_proofs_about_what_is_not_there() -> None:
    for index, size in ((0, 0), (3, 3), (-1, 3), (0, 2**63)):
        with pytest.raises(Rejected):
            merkle.inclusion_proof(index, size, subtree)
    for size1, size2 in ((0, 3), (4, 3), (-1, 3)):
        with pytest.raises(Rejected):
            merkle.consistency_proof(size1, size2, subtree)


def test_a_proof_of_any_length_ends() -> None:
    with pytest.raises(Rejected):
        merkle.verify_inclusion(0, 2**63 - 1, LEAVES[0], [LEAVES[1]] * 100_000, LEAVES[2])
    with pytest.raises(Rejected):
        merkle.verify_inclusion(0, 2, LEAVES[0], [b"short"], LEAVES[2])


def test_peaks_must_fit_the_size() -> None:
    with pytest.raises(Malformed):
        merkle.Frontier.from_peaks(3, LEAVES[:1])
    with pytest.raises(Malformed):
        merkle.Frontier.from_peaks(1, [b"short"])
    with pytest.raises(Malformed):
        merkle.Frontier().append(os.urandom(31))
