"""A process that keeps samples and records their calls from several threads, and says what was acknowledged.

    python sampling.py FOLDER ACKS SEED THREADS WHERE

ACKS is a file or pipe. After a call was recorded, "kept REQUEST_ID" is written to it. WHERE is the moment at which the
process kills itself, at the twentieth call: "sealed" (the file is written, nothing is recorded), "inserted" (inside the
transaction), "recorded" (the transaction is durable, nobody was told), "erased" (keys are gone, files are there); or
"never", for a process that somebody else kills.
"""

from __future__ import annotations

import hashlib
import os
import signal
import sqlite3
import sys
import threading
from itertools import count
from pathlib import Path

if __name__ == "__main__":
    _REPOSITORY = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(_REPOSITORY), str(_REPOSITORY / "src")]

from countenance.ledger import Log, Opaque, Public, accounting, fsck, person
from countenance.samples import Samples
from countenance.store import Database, Keyring, SqliteDatabase
from tests.congruence.samples import ACCOUNT

ORIGIN = "log.example/samples"
LAST = 20


def image_of(request_id: str) -> bytes:
    """Up to 40 KB that follow from the id."""
    return hashlib.shake_256(request_id.encode()).digest(200 + 40 * (hash_of(request_id) % 1000))


def hash_of(request_id: str) -> int:
    return int.from_bytes(hashlib.sha256(request_id.encode()).digest()[:4], "big")


def call(request_id: str) -> Opaque:
    digest = hashlib.sha256(image_of(request_id)).digest()
    return Opaque(
        accounting(
            kind="call",
            time=1_700_000_000_000_000,
            operation="SearchFacesByImage",
            request_id=request_id,
            account=ACCOUNT,
            request="00" * 32,
            response="11" * 32,
            details={"matches": 1, "sample": "kept"},
        ),
        person(images=[digest]),
    )


def opened(folder: Path) -> tuple[Database, Log, Samples]:
    keyring = Keyring.open(folder / "master.key", create=True)
    database = SqliteDatabase(folder / "countenance.db")
    log = Log(database, keyring, folder, origin=ORIGIN)
    return database, log, Samples(database, keyring, folder, keeps=True, max_bytes=1 << 30)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def main(folder: Path, acks: str, seed: int, threads: int, where: str) -> None:
    said = os.open(acks, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    _, log, samples = opened(folder)

    def one(request_id: str, *, is_last: bool) -> None:
        image = image_of(request_id)
        kept = samples.keep(ACCOUNT, request_id, hashlib.sha256(image).digest(), image, at_us=1)
        if is_last and where == "sealed":
            die()

        def insert(connection: sqlite3.Connection) -> None:
            samples.insert(connection, kept)
            if is_last and where == "inserted":
                die()

        log.append(call(request_id), insert)
        if is_last and where == "recorded":
            die()
        os.write(said, f"kept {request_id}\n".encode())
        if is_last and where == "erased":
            gone = log.write(
                lambda connection: samples.erase(connection, before_us=2),
                lambda gone: Public({"kind": "retention", "class": "sample", "ground": "a test", "count": len(gone)}),
            )
            os.write(said, f"erased {len(gone)}\n".encode())
            die()

    def load(thread: int) -> None:
        for number in count(1):
            one(f"{seed}-{thread}-{number}", is_last=number == LAST)

    running = [threading.Thread(target=load, args=(thread,)) for thread in range(threads)]
    for each in running:
        each.start()
    for each in running:
        each.join()


def faults_in(folder: Path, acknowledged: set[str]) -> list[str]:
    """Everything in which the reopened store differs from what was acknowledged and from what its log says."""
    database, log, samples = opened(folder)
    try:
        samples.sweep()
        examined = fsck.examine(log)
        faults = [*examined.problems, *samples.problems()]
        rows = {row[0] for row in database.read().execute("SELECT request_id FROM samples")}
        if len(rows) != examined.samples:
            faults.append(f"{examined.samples} samples by the log, {len(rows)} in the database")
        files = len(list((folder / "samples").iterdir()))
        if files != len(rows):
            faults.append(f"{files} files of {len(rows)} samples")
        faults += [f"{each} was acknowledged and is not kept" for each in acknowledged - rows]
        for request_id in rows:
            image = image_of(request_id)
            if samples.open(samples.find(request_id), hashlib.sha256(image).digest()) != image:
                faults.append(f"{request_id} is another image")
        return faults
    finally:
        database.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5])
