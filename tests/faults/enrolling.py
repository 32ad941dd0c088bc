"""A process that enrols, erases and records calls from several threads and says what was acknowledged; and what must
then hold of the gallery and of the log.

    python enrolling.py FOLDER ACKS SEED THREADS IMAGES SYNCHRONOUS

ACKS is a file or pipe. A line is written to it right after a call returned: "enrol NUMBER" or "erase NUMBER", "leaf
INDEX HASH" for a call that was recorded, "published SIZE ROOT" for a checkpoint that outsiders may have seen.
An image NUMBER has one to five faces, all known from the number alone.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

if __name__ == "__main__":
    _REPOSITORY = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(_REPOSITORY), str(_REPOSITORY / "src")]

from countenance_audit.checkpoint import open_checkpoint
from countenance_audit.merkle import leaf_hash

from countenance.gallery import CollectionExists
from countenance.ledger import Log, Opaque, accounting, fsck
from tests.congruence.samples import ACCOUNT, World, enrolments, entry, name_id, unit_rows, world

DIMENSION = 32
COLLECTION = "under-load"
ORIGIN = "log.example/under-load"


def faces_of(number: int) -> list[str]:
    return [f"{number}-{face}" for face in range(1 + number * 7 % 5)]


def rows_of(number: int) -> np.ndarray:
    return unit_rows(len(faces_of(number)), DIMENSION, [77, number])


def enrol(opened: World, number: int) -> None:
    opened.gallery.enrol(
        ACCOUNT,
        COLLECTION,
        enrolments(
            faces_of(number), rows_of(number), image_id=name_id(f"image {number}"), external_image_id=str(number)
        ),
        entry=entry("IndexFaces", request_id=str(number)),
    )


def erase(opened: World, number: int) -> None:
    opened.gallery.erase(
        ACCOUNT,
        COLLECTION,
        [name_id(each) for each in faces_of(number)],
        entry=entry("DeleteFaces", request_id=str(number)),
    )


def call(number: int) -> Opaque:
    return Opaque(
        accounting(kind="call", time=1_700_000_000_000_000, operation="DetectFaces", request_id=f"call {number}")
        | {"account": ACCOUNT, "request": "00" * 32, "response": "11" * 32}
    )


def main(folder: Path, acks: str, seed: int, threads: int, images: int, synchronous: str) -> None:
    said = os.open(acks, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with world(folder, synchronous=synchronous) as opened:
        log = Log(opened.database, opened.keyring, folder, origin=ORIGIN)
        with contextlib.suppress(CollectionExists):
            opened.create(COLLECTION, dimension=DIMENSION)
        os.write(said, b"ready 0\n")

        def load(thread: int) -> None:
            rng = np.random.default_rng([seed, thread])
            mine: list[int] = []
            for at in range(images):
                number = (seed * 100 + thread) * 1_000_000 + at
                enrol(opened, number)
                os.write(said, f"enrol {number}\n".encode())
                place = log.append(call(number))
                os.write(said, f"leaf {place.index} {place.leaf_hash.hex()}\n".encode())
                mine.append(number)
                if rng.random() < 0.2:
                    number = mine.pop(int(rng.integers(len(mine))))
                    erase(opened, number)
                    os.write(said, f"erase {number}\n".encode())
                if thread == 1 and at % 10 == 9:
                    size, note = log.publish()
                    root = open_checkpoint(note, log.signer.verifier).root
                    os.write(said, f"published {size} {root.hex()}\n".encode())
                if thread == 0 and at % 20 == 19:
                    # deleting a collection cuts the log to nothing, in the middle of everybody's work
                    opened.create(f"passing-{number}", dimension=DIMENSION)
                    opened.gallery.delete_collection(ACCOUNT, f"passing-{number}", entry=entry("DeleteCollection"))

        running = [threading.Thread(target=load, args=(thread,)) for thread in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()


@dataclass(frozen=True)
class Acknowledged:
    enrolled: set[int]
    erased: set[int]
    is_ready: bool
    leaves: dict[int, str] = field(default_factory=dict)
    published: dict[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, lines: bytes) -> Acknowledged:
        whole = [line.split() for line in lines.decode().split("\n")[:-1]]  # what follows the last newline is torn
        numbers = {word: {int(line[1]) for line in whole if line[0] == word} for word in ("enrol", "erase", "ready")}
        hashes = {word: {int(line[1]): line[2] for line in whole if line[0] == word} for word in ("leaf", "published")}
        return cls(numbers["enrol"], numbers["erase"], bool(numbers["ready"]), hashes["leaf"], hashes["published"])


def faults_in_log(log: Log, told: Acknowledged) -> list[str]:
    """Everything in which the reopened log differs from what was acknowledged and published."""
    faults = [f"the log: {each}" for each in fsck.examine(log).problems]
    for index, expected in told.leaves.items():
        found = log.storage.leaves(index, index + 1)[0] if index < log.size else None
        if found is None or leaf_hash(found).hex() != expected:
            faults.append(f"acknowledged leaf {index} is {'missing' if found is None else 'another'}")
    for size, root in told.published.items():
        if size > log.size or log.root(size).hex() != root:
            faults.append(f"the published checkpoint over {size} leaves is of another log")
    return faults


def faults_in(opened: World, told: Acknowledged) -> list[str]:
    """Everything in which the reopened gallery differs from what was acknowledged; empty when all is well."""
    faults: list[str] = []
    (state,) = opened.database.read().execute("PRAGMA integrity_check(1)").fetchone()
    if state != "ok":
        faults.append(f"the database is damaged: {state}")
    log = Log(opened.database, opened.keyring, opened.folder, origin=ORIGIN)
    faults += faults_in_log(log, told)
    listed = opened.gallery.collections(ACCOUNT, after_uid=None, limit=1000)
    if COLLECTION not in {each.collection_id for each in listed}:
        return [*faults, "the collection is gone"] if told.is_ready else faults
    recorded: dict[str, set[int]] = {"IndexFaces": set(), "DeleteFaces": set()}
    changed = 0
    for _, opening in log.storage.openings(0, log.size):
        said = opening.accounting
        if said["kind"] in ("effect", "act") and said["operation"] in recorded:
            recorded[said["operation"]].add(int(said["request_id"]))
            changed += said["details"].get("added", 0) - said["details"].get("removed", 0)
    stored: dict[str, set[str]] = {}
    for _, reference in opened.gallery.references(ACCOUNT, COLLECTION, after_seq=None, limit=1_000_000, face_ids=None):
        stored.setdefault(reference.external_image_id or "", set()).add(reference.face_id)
    if lost := told.enrolled - recorded["IndexFaces"]:
        faults.append(f"{len(lost)} acknowledged enrolments have no leaf")
    if lost := told.erased - recorded["DeleteFaces"]:
        faults.append(f"{len(lost)} acknowledged erasures have no leaf")
    present = recorded["IndexFaces"] - recorded["DeleteFaces"]
    for number in present:
        if stored.get(str(number)) != {name_id(each) for each in faces_of(number)}:
            faults.append(f"image {number} is recorded but not whole")
    for number in stored:
        if int(number) not in present:
            faults.append(f"image {number} is there without a record of it")
    if sum(map(len, stored.values())) != opened.gallery.collection(ACCOUNT, COLLECTION).face_count:
        faults.append("the count of faces is wrong")
    if sum(map(len, stored.values())) != changed:
        faults.append(f"{changed} references by the log, {sum(map(len, stored.values()))} in the gallery")
    searched = sorted(present)
    for start in range(0, len(searched), 500):
        portion = searched[start : start + 500]
        names = [name_id(each) for number in portion for each in faces_of(number)]
        probes = np.concatenate([rows_of(number) for number in portion])
        found = opened.gallery.identify(ACCOUNT, COLLECTION, probes, max_candidates=1)
        for name, ranking in zip(names, found, strict=True):
            if not ranking or ranking[0].reference.face_id != name or ranking[0].comparison_score < 0.999:
                faults.append(f"face {name} is stored but not found")
    return faults


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:6]), sys.argv[6])
