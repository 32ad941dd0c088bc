"""What the ledger costs: a durable leaf beside a sync of this disk, proofs and the check at a start in a long log."""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from countenance_audit.merkle import leaf_hash, verify_inclusion

from bench import Section
from countenance.ledger import Ledger, Log, Opaque, accounting, person
from countenance.ledger.storage import insert
from countenance.store import DatabaseError, Keyring, SqliteDatabase

ORIGIN = "log.example/bench"
LEAVES = 10_000_000
QUICK_LEAVES = 500_000
PORTION = 65_536
SECONDS = 5.0
CALL_S = 0.017
"""How long a DetectFaces takes besides: the p50 in process that the section `wire` measures here."""
THREADS = 8
SATURATING = 64
PROOFS = 2_000
ADDED_MS = 2.0
LEAVES_A_SECOND = 5_000.0
CALLS, QUICK_CALLS = 100_000, 5_000
MILLION = 1_000_000
PROOF_MS = 1.0
START_S = 10.0
BLOCK = 4096


def run(quick: bool) -> Section:
    """The whole section."""
    section = Section("ledger", "The ledger")
    size = QUICK_LEAVES if quick else LEAVES
    section.notes += [
        "fdatasync: 4 KiB of a file that is long enough already, on the file system of the temporary folder",
        f"added to a call: `Ledger.record` of one call (entry, leaf, synced commit, receipt), {THREADS} threads, "
        f"each with {CALL_S * 1000:.0f} ms of other work between; one commit takes whatever waits",
        f"durable leaves: `Log.append` from {SATURATING} threads without a pause",
        f"the long log has {size:,} leaves (written without openings); proofs are of random leaves, made and not "
        "checked in the time given, each checked afterwards; tiles come from the database or its cache",
        "growth: of the database file, its write-ahead log moved into it, by calls of SearchFacesByImage with one "
        "image and one match, recorded as the server does; receipts are not kept, they can be made again",
    ]
    with tempfile.TemporaryDirectory(prefix="bench-ledger-") as name:
        folder = Path(name)
        synced = _synced(folder / "sync", 100 if quick else 400)
        section.add("fdatasync, p50", _p50_ms(synced), "ms")
        with _Opened(folder / "a") as opened:
            spent = _Spent(opened)
            seconds, rate = _record(opened, THREADS, SECONDS / (5 if quick else 1), CALL_S)
            section.at_most(f"added to a call at concurrency {THREADS}, p50", _p50_ms(seconds), "ms", ADDED_MS)
            section.add("  p99", sorted(seconds)[len(seconds) * 99 // 100] * 1000, "ms", f"{rate:,.0f} calls a second")
            section.add("  p50 / p50 of fdatasync", _p50_ms(seconds) / _p50_ms(synced), "ratio")
            spent.tell(section, len(seconds))
            alone, _ = _record(opened, 1, 2.0, 0.0)
            section.add("added to a call, 1 thread, p50", _p50_ms(alone), "ms")
            spent, size_before = _Spent(opened), opened.log.size
            appended = _append(opened, SATURATING, SECONDS / (5 if quick else 1))
            section.at_least(
                "durable leaves a second", appended[0], "leaves/s", LEAVES_A_SECOND, f"{appended[1]:.0f} to a commit"
            )
            spent.tell(section, opened.log.size - size_before)
        with _Opened(folder / "c") as opened:
            _growth(section, opened, QUICK_CALLS if quick else CALLS)
        with _Opened(folder / "b") as opened:
            _fill(opened, size)
            proof = _proofs(opened, size)
            section.at_most(f"inclusion proof in {size:,} leaves, p50", _p50_ms(proof), "ms", PROOF_MS)
            section.add("  p99", sorted(proof)[len(proof) * 99 // 100] * 1000, "ms")
            opened.log.publish()
            opened.close()
            started = time.perf_counter()
            opened.open()
            section.at_most(
                f"start-up check of {size:,} leaves", time.perf_counter() - started, "s", START_S,
                "right edge rebuilt, root compared with the checkpoints kept",
            )  # fmt: skip
            bytes_a_leaf = (folder / "b" / "countenance.db").stat().st_size / size
        section.add("database, bytes a leaf without opening", bytes_a_leaf, "bytes")
    return section


class _Opened:
    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.keyring = Keyring.open(folder / "master.key", create=True)
        self.open()

    def open(self) -> None:
        self.database = SqliteDatabase(self.folder / "countenance.db")
        self.log = Log(self.database, self.keyring, self.folder, origin=ORIGIN)
        self.ledger = Ledger(self.log)

    def close(self) -> None:
        self.ledger.close()
        self.database.close()

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Spent:
    """CPU time since it was made: steadier than the clock on a machine that others use, too."""

    def __init__(self, opened: _Opened) -> None:
        thread = opened.database._writer._thread.ident
        assert thread is not None
        self._clock = time.pthread_getcpuclockid(thread)
        self._writer_s, self._process_s = time.clock_gettime(self._clock), time.process_time()

    def tell(self, section: Section, leaves: int) -> None:
        writer_s, process_s = time.clock_gettime(self._clock) - self._writer_s, time.process_time() - self._process_s
        section.add("  CPU time of the writer thread", writer_s / leaves * 1e6, "us/leaf")
        section.add("  CPU time of all threads", process_s / leaves * 1e6, "us/leaf", "the bench's own included")


def _call(number: int) -> Opaque:
    said = accounting(
        kind="call",
        time=time.time_ns() // 1000,
        account="123456789012",
        access_key="AKCNBENCH",
        holder="bench",
        purpose="bench",
        operation="SearchFacesByImage",
        request_id=f"{number:036d}",
        request="00" * 32,
        response="11" * 32,
        reference_database={"collection": "people", "model": "1.0", "references": 1_000_000},
    )
    return Opaque(said, person(images=[sha256(b"image").digest()]))


def _searched() -> Opaque:
    """As a search with one match is recorded: ids and hashes are as unlike each other as real ones."""
    said = accounting(
        kind="call",
        time=time.time_ns() // 1000,
        account="123456789012",
        access_key="AKCNBENCHBENCHBENCHB",
        holder="Bench Holder",
        purpose="bench",
        operation="SearchFacesByImage",
        request_id=str(uuid.uuid4()),
        request=os.urandom(32).hex(),
        response=os.urandom(32).hex(),
        reference_database={"collection": "people", "model": "1.0", "references": 1_000_000},
        details={"matches": 1},
    )
    return Opaque(said, person(images=[os.urandom(32)], face_ids=[str(uuid.uuid4())], external_image_ids=["person-1"]))


def _growth(section: Section, opened: _Opened, calls: int) -> None:
    """Bytes on disk for each recorded call, by table where SQLite was built with its statistics."""
    before = _bytes_of_tables(opened)
    started = opened.log.size

    def work(_: int) -> None:
        for _ in range(calls // SATURATING):
            opened.ledger.record(_searched())

    _threads(SATURATING, work)
    opened.log.publish()
    made = opened.log.size - started
    grown = {name: size - before.get(name, 0) for name, size in _bytes_of_tables(opened).items()}
    whole = grown.pop("")
    section.add("growth per million calls", whole / made, "MB", f"measured over {made:,} calls: bytes a call")
    for name, size in sorted(grown.items(), key=lambda each: -each[1]):
        if size * MILLION >= whole:  # not what stays as it is
            section.add(f"  of it {name}", size / made, "MB")


def _bytes_of_tables(opened: _Opened) -> dict[str, int]:
    """Bytes of the database's tables and indexes by name, and of the whole file under the empty name."""
    if not opened.database.truncate_wal():
        raise RuntimeError("the write-ahead log could not be emptied")
    found = {"": (opened.folder / "countenance.db").stat().st_size}
    with suppress(DatabaseError), opened.database.reading() as connection:  # https://www.sqlite.org/dbstat.html
        found |= dict(connection.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name").fetchall())
    return found


def _threads(count: int, work: Callable[[int], None]) -> float:
    running = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    begun = time.perf_counter()
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return time.perf_counter() - begun


def _record(opened: _Opened, threads: int, seconds: float, pause_s: float) -> tuple[list[float], float]:
    """Seconds of each record, and records a second."""
    times: list[float] = []
    until = time.perf_counter() + seconds

    def work(thread: int) -> None:
        number = thread * 10**9
        while time.perf_counter() < until:
            entry = _call(number)
            begun = time.perf_counter()
            opened.ledger.record(entry)
            times.append(time.perf_counter() - begun)
            number += 1
            time.sleep(pause_s)

    took = _threads(threads, work)
    return times, len(times) / took


def _append(opened: _Opened, threads: int, seconds: float) -> tuple[float, float]:
    """Leaves a second, and leaves to a commit."""
    before, commits = opened.log.size, [0]
    committed = opened.log.committed

    def counted() -> None:
        commits[0] += 1
        committed()

    opened.log.committed = counted  # type: ignore[method-assign]
    until = time.perf_counter() + seconds

    def work(thread: int) -> None:
        number = (100 + thread) * 10**9
        while time.perf_counter() < until:
            opened.log.append(_call(number))
            number += 1

    took = _threads(threads, work)
    made = opened.log.size - before
    return made / took, made / max(1, commits[0])


def _fill(opened: _Opened, size: int) -> None:
    """Bulk: leaves and tiles through the writer thread, without openings."""
    while opened.log.size < size:
        tree = opened.log._tree
        count = min(PORTION, size - tree.size)
        leaves = [b"\x01" + sha256((tree.size + number).to_bytes(8, "big")).digest() for number in range(count)]
        grown, tiles = tree.extended([leaf_hash(leaf) for leaf in leaves])
        opened.database.maintain(
            lambda connection, at=tree.size, rows=leaves, more=tiles: insert(connection, at, rows, [], more, [])  # type: ignore[misc]
        )
        opened.log._tree = grown


def _proofs(opened: _Opened, size: int) -> list[float]:
    root = opened.log.root(size)
    times = []
    for number in range(PROOFS):
        index = int.from_bytes(sha256(number.to_bytes(8, "big")).digest()[:8], "big") % size
        begun = time.perf_counter()
        proof = opened.log.inclusion(index, size)
        times.append(time.perf_counter() - begun)
        (leaf,) = opened.log.storage.leaves(index, index + 1)
        verify_inclusion(index, size, leaf_hash(leaf), proof, root)
    return times


def _synced(path: Path, count: int) -> list[float]:
    times = []
    with path.open("wb") as file:
        file.write(bytes(BLOCK * 64))
        file.flush()
        os.fsync(file.fileno())
        for number in range(count):
            begun = time.perf_counter()
            os.pwrite(file.fileno(), bytes([number % 256]) * BLOCK, number % 64 * BLOCK)
            os.fdatasync(file.fileno())
            times.append(time.perf_counter() - begun)
    return times


def _p50_ms(seconds: list[float]) -> float:
    return statistics.median(seconds) * 1000
