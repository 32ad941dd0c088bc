"""Go's checksum database verifier accepts what our log signs and proves, and refuses what was tampered with.

`check.go` is ours and only reads arguments; the verification is golang.org/x/mod/sumdb, `note.Open`,
`tlog.CheckRecord` and `tlog.CheckTree`, from the Debian packages golang-go and golang-golang-x-mod-dev.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from countenance_audit import checkpoint, ics23, leaf, merkle
from countenance_audit.checkpoint import Checkpoint
from countenance_audit.errors import Rejected
from countenance_audit.note import SignedNote, Signer
from countenance_audit.periodmap import PeriodMap

from tests.conformance.outsiders.presence import absent

GOPATH = Path("/usr/share/gocode")
"""Where Debian puts the sources of Go libraries (golang-*-dev packages)."""
PACKAGES = "apt-get install golang-go golang-golang-x-mod-dev"
BUILD_TIMEOUT_S = 300
CHECK_TIMEOUT_S = 60

ORIGIN = "faces.example/log"
LOG = Signer(ORIGIN, b"l" * 32)
STRANGER = Signer(ORIGIN, b"s" * 32)  # the same name with another key
WITNESS = Signer("witness.example/w", b"w" * 32)
SIZES = [1, 2, 3, 4, 7, 8, 9, 31, 100, 256, 257]
"""Powers of two, their neighbours, and the edges of a tile (256 leaves)."""

ACCEPTED, REFUSED = 0, 1
Check = Callable[..., int]


@dataclass(frozen=True)
class Tree:
    """The first `size` of our leaves: one public leaf, then opaque ones."""

    size: int

    @property
    def leaves(self) -> list[bytes]:
        first = leaf.public({"v": 1, "kind": "stop", "time": 1_790_000_000_000_000, "reason": "asked to stop"})
        return [first, *(leaf.opaque(number.to_bytes(32, "big")) for number in range(1, self.size))]

    @property
    def hashes(self) -> list[bytes]:
        return [merkle.leaf_hash(data) for data in self.leaves]

    @property
    def root(self) -> bytes:
        return merkle.root_of(self.hashes)

    def subtree(self, level: int, index: int) -> bytes:
        return merkle.root_of(self.hashes[index << level : (index + 1) << level])

    def note(self, signer: Signer = LOG) -> bytes:
        return checkpoint.sign(Checkpoint(ORIGIN, self.size, self.root), signer)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built checker."""
    if shutil.which("go") is None:
        absent(f"go is missing: {PACKAGES}")
    if not (GOPATH / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        absent(f"golang.org/x/mod is missing under {GOPATH}: {PACKAGES}")
    built = tmp_path_factory.mktemp("go") / "check"
    environment = os.environ | {"GO111MODULE": "off", "GOPATH": str(GOPATH), "GOFLAGS": "", "GOTOOLCHAIN": "local"}
    environment.setdefault("GOCACHE", str(built.with_name("cache")))
    done = subprocess.run(
        ["go", "build", "-o", built, Path(__file__).with_name("check.go")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=BUILD_TIMEOUT_S,
    )
    assert done.returncode == 0, done.stderr
    return built


@pytest.fixture
def check(program: Path, tmp_path: Path) -> Check:
    """Runs the checker: bytes are handed over as files, hashes in hexadecimal, and 0 or 1 comes back."""

    def run(verb: str, *arguments: str | int | bytes | list[bytes]) -> int:
        words: list[str] = []
        for number, argument in enumerate(arguments):
            if isinstance(argument, bytes) and len(argument) != merkle.HASH_BYTES:
                path = tmp_path / f"{number}"
                path.write_bytes(argument)
                words.append(str(path))
            elif isinstance(argument, bytes):
                words.append(argument.hex())
            elif isinstance(argument, list):
                words += [item.hex() for item in argument]
            else:
                words.append(str(argument))
        done = subprocess.run([program, verb, *words], capture_output=True, text=True, timeout=CHECK_TIMEOUT_S)
        assert done.returncode in (ACCEPTED, REFUSED), done.stderr
        assert done.returncode == ACCEPTED or done.stderr.startswith("refused:")
        return done.returncode

    return run


def flipped(octets: bytes, bit: int = 0) -> bytes:
    changed = bytearray(octets)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def some_indices(size: int) -> list[int]:
    """All of a small tree; of a larger one both edges, the middle and both sides of the largest complete subtree."""
    if size <= 9:
        return list(range(size))
    split = 1 << ((size - 1).bit_length() - 1)
    return sorted({0, 1, size // 2, split - 1, split, size - 2, size - 1})


@pytest.mark.parametrize("data", [Tree(1).leaves[0], Tree(2).leaves[1]], ids=["public", "opaque"])
def test_go_computes_the_same_leaf_hash(check: Check, data: bytes) -> None:
    assert check("leaf", data, merkle.leaf_hash(data)) == ACCEPTED
    assert check("leaf", data + b" ", merkle.leaf_hash(data)) == REFUSED


@pytest.mark.parametrize("size", SIZES)
def test_go_accepts_our_checkpoint_and_inclusion_proofs(check: Check, size: int) -> None:
    tree = Tree(size)
    for index in some_indices(size):
        proof = merkle.inclusion_proof(index, size, tree.subtree)
        assert check("record", LOG.verifier, tree.note(), tree.hashes[index], index, proof) == ACCEPTED, index


@pytest.mark.parametrize("size", SIZES)
def test_go_refuses_a_wrong_index(check: Check, size: int) -> None:
    tree = Tree(size)
    for index in some_indices(size):
        proof = merkle.inclusion_proof(index, size, tree.subtree)
        for wrong in (index - 1, index + 1, size, size + index):
            assert check("record", LOG.verifier, tree.note(), tree.hashes[index], wrong, proof) == REFUSED, (
                index,
                wrong,
            )


@pytest.mark.parametrize("size", [1, 2, 7, 257])
def test_go_refuses_a_flipped_bit(check: Check, size: int) -> None:
    tree = Tree(size)
    index = size - 1
    hashed, proof = tree.hashes[index], merkle.inclusion_proof(index, size, tree.subtree)
    for bit in (0, 100, 255):
        assert check("record", LOG.verifier, tree.note(), flipped(hashed, bit), index, proof) == REFUSED
    for number, item in enumerate(proof):
        bad = [*proof[:number], flipped(item, 255), *proof[number + 1 :]]
        assert check("record", LOG.verifier, tree.note(), hashed, index, bad) == REFUSED
        with pytest.raises(Rejected):
            merkle.verify_inclusion(index, size, hashed, bad, tree.root)


@pytest.mark.parametrize("size", [1, 2, 7, 257])
def test_go_refuses_a_proof_that_is_too_long_or_too_short(check: Check, size: int) -> None:
    tree = Tree(size)
    proof = merkle.inclusion_proof(0, size, tree.subtree)
    assert check("record", LOG.verifier, tree.note(), tree.hashes[0], 0, [*proof, tree.root]) == REFUSED
    if proof:
        assert check("record", LOG.verifier, tree.note(), tree.hashes[0], 0, proof[:-1]) == REFUSED


@pytest.mark.parametrize("count", [0, 1, 6, 255, 300])
def test_go_reads_maps_of_days(check: Check, count: int) -> None:
    """The same root and leaves that the ICS-23 verifier reads: `test_ics23.py`."""
    values = {sha256(b"%d" % each).digest(): sha256(b"value %d" % each).digest() for each in range(count)}
    found = PeriodMap.of(values)
    note = checkpoint.sign(Checkpoint(ORIGIN, found.size, found.root), LOG)
    for index in some_indices(found.size):
        place = found.place(index)
        data = ics23.leaf_data(place.key, place.value)
        assert check("leaf", data, merkle.leaf_hash(data)) == ACCEPTED
        assert check("record", LOG.verifier, note, merkle.leaf_hash(data), index, list(place.proof)) == ACCEPTED
        wrong = (index + 1) % found.size
        assert check("record", LOG.verifier, note, merkle.leaf_hash(data), wrong, list(place.proof)) == REFUSED


def test_go_refuses_another_key_under_the_same_name(check: Check) -> None:
    tree = Tree(7)
    proof = merkle.inclusion_proof(3, 7, tree.subtree)
    assert check("record", STRANGER.verifier, tree.note(), tree.hashes[3], 3, proof) == REFUSED
    assert check("record", LOG.verifier, tree.note(STRANGER), tree.hashes[3], 3, proof) == REFUSED
    assert check("record", STRANGER.verifier, tree.note(STRANGER), tree.hashes[3], 3, proof) == ACCEPTED


def test_go_refuses_a_key_whose_id_is_not_its_own(check: Check) -> None:
    tree = Tree(1)
    name, _, encoded = str(LOG.verifier).split("+", 2)
    wrong = f"{name}+{STRANGER.verifier.key_id.hex()}+{encoded}"
    assert check("record", wrong, tree.note(), tree.hashes[0], 0) == REFUSED


def test_go_refuses_an_altered_checkpoint(check: Check) -> None:
    tree, other = Tree(7), Tree(8)
    proof = merkle.inclusion_proof(3, 7, tree.subtree)
    note = tree.note()
    text, _, signature = note.partition(b"\n\n")
    root = text.split(b"\n")[2]
    altered = {
        "size": note.replace(b"\n7\n", b"\n8\n"),
        "root": note.replace(root, root.swapcase()),
        "origin": note.replace(ORIGIN.encode(), b"faces.example/lag", 1),
        "further line": text + b"\nmore\n\n" + signature,
        "signature of another tree": text + b"\n\n" + other.note().partition(b"\n\n")[2],
        "no signature": text + b"\n\n",
        "cut off": note[:-1],
    }
    assert check("record", LOG.verifier, note, tree.hashes[3], 3, proof) == ACCEPTED
    for what, bad in altered.items():
        assert bad != note, what
        assert check("record", LOG.verifier, bad, tree.hashes[3], 3, proof) == REFUSED, what


def test_go_opens_a_cosigned_checkpoint(check: Check) -> None:
    """A witness' line is of a type that it does not know, and is to be passed over (C2SP signed-note)."""
    tree = Tree(7)
    note = tree.note()
    cosigned = note + checkpoint.cosign(note, WITNESS, 1_790_000_000).encode()
    assert len(SignedNote.parse(cosigned).signatures) == 2
    proof = merkle.inclusion_proof(3, 7, tree.subtree)
    assert check("record", LOG.verifier, cosigned, tree.hashes[3], 3, proof) == ACCEPTED
    only_witness = cosigned.replace(note.partition(b"\n\n")[2], b"", 1)
    assert check("record", LOG.verifier, only_witness, tree.hashes[3], 3, proof) == REFUSED


@pytest.mark.parametrize(("size1", "size2"), [(1, 1), (1, 2), (2, 3), (3, 7), (4, 8), (6, 9), (100, 257), (256, 257)])
def test_go_accepts_our_consistency_proofs_and_no_others(check: Check, size1: int, size2: int) -> None:
    older, newer = Tree(size1), Tree(size2)
    proof = merkle.consistency_proof(size1, size2, newer.subtree)
    assert check("tree", LOG.verifier, older.note(), newer.note(), proof) == ACCEPTED
    assert check("tree", LOG.verifier, older.note(), newer.note(), [*proof, newer.root]) == REFUSED
    for number, item in enumerate(proof):
        bad = [*proof[:number], flipped(item), *proof[number + 1 :]]
        assert check("tree", LOG.verifier, older.note(), newer.note(), bad) == REFUSED, number
    if proof:
        assert check("tree", LOG.verifier, older.note(), newer.note(), proof[:-1]) == REFUSED
        assert check("tree", LOG.verifier, newer.note(), older.note(), proof) == REFUSED


def test_go_refuses_a_rewritten_history(check: Check) -> None:
    newer = Tree(9)
    proof = merkle.consistency_proof(6, 9, newer.subtree)
    rewritten = merkle.root_of([*Tree(5).hashes, merkle.leaf_hash(leaf.opaque(b"x" * 32))])
    fork = checkpoint.sign(Checkpoint(ORIGIN, 6, rewritten), LOG)
    assert check("tree", LOG.verifier, fork, newer.note(), proof) == REFUSED
