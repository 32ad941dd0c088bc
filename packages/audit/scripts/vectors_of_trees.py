"""Vectors of Merkle trees and proofs."""

from __future__ import annotations

from countenance_audit import merkle
from vector_parts import Vector, bad, good, sha


def merkle_vectors() -> list[Vector]:
    leaves = [str(number).encode() for number in range(11)]
    hashes = [merkle.leaf_hash(item) for item in leaves]

    def subtree(level: int, index: int) -> bytes:
        return merkle.root_of(hashes[index << level : (index + 1) << level])

    found = []
    for size in range(len(leaves) + 1):
        root = merkle.root_of(hashes[:size])
        found.append(good("tree", f"{size} leaves", leaves=[item.hex() for item in leaves[:size]], root=root.hex()))
        for index in range(size) if size in (1, 2, 7, 8, 11) else ():
            proof = [item.hex() for item in merkle.inclusion_proof(index, size, subtree)]
            members: Vector = {"index": index, "size": size, "root": root.hex(), "leaf_hash": hashes[index].hex()}
            name = f"leaf {index} of {size}"
            found.append(good("inclusion", name, **members, proof=proof))
            wrong = {
                "a hash too many": {"proof": [*proof, root.hex()]},
                "another leaf": {"leaf_hash": merkle.leaf_hash(b"x").hex(), "proof": proof},
                "an index beyond the tree": {"index": size, "proof": proof},
            }
            if proof:
                wrong["a hash too few"] = {"proof": proof[:-1]}
                wrong["a node for the leaf"] = {
                    "leaf_hash": merkle.node_hash(*sorted((hashes[index], bytes.fromhex(proof[0])))).hex(),
                    "proof": proof[1:],
                }
            for why, changes in wrong.items():
                found.append(bad("inclusion", f"{name}: {why}", "Rejected", why, **{**members, **changes}))
    for old, new in ((1, 1), (1, 2), (3, 7), (4, 8), (6, 8), (7, 11), (8, 11), (11, 11)):
        roots = {"size1": old, "size2": new, "root1": subtree_root(hashes, old), "root2": subtree_root(hashes, new)}
        proof = [item.hex() for item in merkle.consistency_proof(old, new, subtree)]
        name = f"{old} to {new}"
        found.append(good("consistency", name, **roots, proof=proof))
        why = "another older tree"
        found.append(
            bad("consistency", f"{name}: {why}", "Rejected", why, **{**roots, "root1": sha(b"x")}, proof=proof)
        )
        why = "a hash too many"
        found.append(bad("consistency", f"{name}: {why}", "Rejected", why, **roots, proof=[*proof, sha(b"x")]))
    return found


def subtree_root(hashes: list[bytes], size: int) -> str:
    return merkle.root_of(hashes[:size]).hex()
