"""The published ICS-23 verifier accepts our proofs of use and of non-use, and refuses forged ones.

`ics23/check.js` is ours and only reads arguments; the verification is npm's `@confio/ics23`, which knows nothing of us.
It accepts an unsorted map for both use and non-use; our monitor is what refuses that one (PROOFS section 5).
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from countenance_audit import ics23, merkle, periodmap
from countenance_audit.errors import Rejected
from countenance_audit.periodmap import PeriodMap, Place

from tests.conformance.outsiders.presence import absent

FOLDER = Path(__file__).with_name("ics23")
INSTALL = "apt-get install nodejs npm, then make test"
CHECK_TIMEOUT_S = 60

Claim = dict[str, str]
Judge = Callable[[list[Claim]], list[bool]]


@pytest.fixture(scope="module")
def judge() -> Judge:
    node = shutil.which("node")
    if node is None:
        absent(f"node is missing: {INSTALL}")
    if not (FOLDER / "node_modules/@confio/ics23").is_dir():
        absent(f"@confio/ics23 is missing: {INSTALL}")

    def run(claims: list[Claim]) -> list[bool]:
        done = subprocess.run(
            [node, FOLDER / "check.js"],
            input=json.dumps(claims),
            capture_output=True,
            text=True,
            timeout=CHECK_TIMEOUT_S,
        )
        assert done.returncode == 0, done.stderr
        found: list[bool] = json.loads(done.stdout)
        return found

    return run


def hashed(number: int) -> bytes:
    return sha256(b"%d" % number).digest()


def made(count: int) -> PeriodMap:
    return PeriodMap.of({hashed(each): sha256(b"value %d" % each).digest() for each in range(count)})


def use(found: PeriodMap, place: Place) -> Claim:
    return {
        "root": found.root.hex(),
        "key": place.key.hex(),
        "value": place.value.hex(),
        "proof": place.ics23(found.size).hex(),
    }


def non_use(found: PeriodMap, key: bytes, *places: Place) -> Claim:
    proof = periodmap.nonexistence_ics23(key, places, found.size)
    return {"root": found.root.hex(), "key": key.hex(), "proof": proof.hex()}


@pytest.mark.parametrize("count", [0, 1, 2, 3, 6, 7, 62, 63, 500])
def test_proofs_of_non_use_are_accepted(judge: Judge, count: int) -> None:
    found = made(count)
    asked = [bytes(31) + b"\x01", b"\xff" * 31 + b"\xfe", *(hashed(number) for number in range(1_000, 1_020))]
    assert judge([non_use(found, key, *found.find(key)) for key in asked]) == [True] * len(asked)


@pytest.mark.parametrize("count", [1, 2, 3, 6, 7, 62, 63])
def test_proofs_of_use_are_accepted(judge: Judge, count: int) -> None:
    found = made(count)
    claims = [use(found, *found.find(hashed(number))) for number in range(count)]
    assert judge(claims) == [True] * count


def test_forged_proofs_are_refused(judge: Judge) -> None:
    found, other = made(20), made(21)
    at = next(index for index in range(2, found.size - 2))
    there, before, after = (found.place(each) for each in (at, at - 1, at + 1))
    absent = found.find(hashed(1_000))
    key = hashed(1_000)
    forged = [
        non_use(found, there.key, before, after),  # there is somebody between the two
        non_use(found, key, *absent) | {"root": other.root.hex()},  # another map
        non_use(found, key, *absent) | {"key": there.key.hex()},  # about somebody else
        use(found, there) | {"value": after.value.hex()},  # another usage
        use(found, there) | {"key": key.hex()},
        use(found, Place(at + 1, there.key, there.value, there.proof)),  # another place
    ]
    assert judge(forged) == [False] * len(forged)
    for wrong in forged[:1]:
        assert wrong["key"] == there.key.hex()
        with pytest.raises(Rejected):
            periodmap.verify_absence(there.key, (before, after), found.size, found.root)


def test_an_unsorted_map_proves_both_to_it_and_is_refused_by_our_monitor(judge: Judge) -> None:
    honest = made(6)
    parts = [honest.leaves[at : at + 64] for at in range(0, len(honest.leaves), 64)]
    # Somebody's leaf is put where nobody looks for it: its neighbours by key are next to each other.
    at = 3
    hidden = parts.pop(at)
    parts.insert(1 if at > 2 else 5, hidden)
    crooked = PeriodMap(b"".join(parts))
    key = hidden[:32]
    index = next(each for each in range(crooked.size) if crooked.key(each) == key)
    left = next(each for each in range(crooked.size - 1) if crooked.key(each) < key < crooked.key(each + 1) != key)
    neighbours = crooked.place(left), crooked.place(left + 1)
    both = [use(crooked, crooked.place(index)), non_use(crooked, key, *neighbours)]
    assert judge(both) == [True, True]
    with pytest.raises(Rejected, match="not sorted"):
        crooked.check()


def test_a_map_that_others_made(judge: Judge, shared_data: Path) -> None:
    """The 5,000 leaves of the shared demo: its proofs hold for the outsider, and our encoding gives the same octets."""
    demo = json.loads((shared_data / "ics23_vectors/sorted_map_5000_demo.json").read_text())
    exist = {"root": demo["root"], "key": demo["ekey"], "value": demo["evalue"], "proof": demo["exist"]}
    claims = [
        {"root": demo["root"], "key": demo["key"], "proof": demo["nonexist"]},
        exist,
        {"root": demo["root"], "key": demo["bad"], "proof": demo["nonexist"]},
    ]
    assert judge(claims) == [True, True, False]


def test_the_demo_s_root_and_octets_are_what_we_compute(shared_data: Path) -> None:
    demo = json.loads((shared_data / "ics23_vectors/sorted_map_5000_demo.json").read_text())
    key, value, proof = (bytes.fromhex(demo[name]) for name in ("ekey", "evalue", "exist"))
    index, path = _path(proof, 5_000)
    merkle.verify_inclusion(
        index, 5_000, merkle.leaf_hash(ics23.leaf_data(key, value)), path, bytes.fromhex(demo["root"])
    )
    assert ics23.existence(key, value, index, 5_000, path) == proof


def _path(proof: bytes, size: int) -> tuple[int, list[bytes]]:
    """Index and hashes of an existence proof: each index whose sides are as the proof has them."""
    fields = dict.fromkeys(range(1, 5), b"")
    steps: list[tuple[bool, bytes]] = []
    for number, content in _fields(_fields(proof)[0][1]):
        if number == 4:
            inner = dict(_fields(content))
            prefix, suffix = inner[2], inner.get(3, b"")
            steps.append((len(prefix) > 1, prefix[1:] or suffix))
        else:
            fields[number] = content
    hashes = [each for _, each in steps]
    for index in range(size):
        if _sides(index, size) == [is_left for is_left, _ in steps]:
            return index, hashes
    raise AssertionError("no index has this path")


def _sides(index: int, size: int) -> list[bool]:
    """Which of the hashes of an inclusion proof are to the left (RFC 9162 section 2.1.3.2)."""
    found, first, last = [], index, size - 1
    while last:
        if first & 1 or first == last:
            found.append(True)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            found.append(False)
        first, last = first >> 1, last >> 1
    return found


def _fields(data: bytes) -> list[tuple[int, bytes]]:
    """The length-delimited fields of a protobuf message."""
    found, at = [], 0

    def varint() -> int:
        nonlocal at
        value, shift = 0, 0
        while True:
            value |= (data[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if not data[at - 1] & 0x80:
                return value

    while at < len(data):
        tag = varint()
        length = varint()
        if tag & 7 == 2:
            found.append((tag >> 3, data[at : at + length]))
            at += length
    return found
