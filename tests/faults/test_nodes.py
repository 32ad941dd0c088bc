"""Nodes and their database, killed, stopped and cut off under load: nothing acknowledged is lost, nothing deleted is
found again, no answer is without its leaf. How long it took until calls succeeded again is printed (`pytest -s`)."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.e2e.conftest import Server
from tests.postgres import Cluster

from . import nodes
from .nodes import Acknowledged, Fleet, Load, Wire

BEFORE_S, AFTER_S = 4.0, 8.0
"""How long the load runs before and after what happens to it."""


@pytest.fixture
def images(test_data: Path) -> list[bytes]:
    found = sorted((test_data / "faces" / "dlib_johns").rglob("*.jpg"))
    assert found
    return [path.read_bytes() for path in found]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster()
    made.start()
    yield made
    made.remove()


@pytest.fixture
def fleet(cluster: Cluster, tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(tmp_path, cluster.create("countenance"))
    made.join()
    made.join()
    nodes.client_of(made.nodes[0], made.credentials).create_collection(CollectionId=nodes.COLLECTION)
    yield made
    made.stop()


def report(what: str, told: Acknowledged, since: float, kinds: tuple[str, ...] = ("write", "read")) -> None:
    """Times to recovery, for people."""
    until = time.monotonic()
    parts = [f"longest time without a {kind} {nodes.longest_gap_s(told, kind, since, until):.2f} s" for kind in kinds]
    for at in range(2):
        for kind in kinds:
            found = nodes.recovered_s(told, at, kind, since)
            parts.append(f"node {at} {kind} again after " + ("-" if found is None else f"{found:.2f} s"))
    print(
        f"\n{what}: {len(told.enrolled)} enrolled, {len(told.deleted)} deleted, {told.searches} searches, "
        f"{told.refused} calls failed; {'; '.join(parts)}"
    )


def settled(fleet: Fleet, load: Load, alive: Server, what: str, since: float) -> None:
    time.sleep(AFTER_S)
    told = load.stop()
    report(what, told, since)
    assert len(told.receipts) > 20
    assert nodes.faults_in(fleet, told, alive) == []
    last = [max(times) for times in told.successes.values()]
    assert max(last) > since, "nothing succeeded afterwards"


def begun(fleet: Fleet, images: list[bytes]) -> Load:
    load = Load(fleet, images)
    load.start()
    time.sleep(BEFORE_S)
    return load


def test_the_check_notices_what_it_is_there_for(fleet: Fleet, images: list[bytes]) -> None:
    load = Load(fleet, images)
    load.start()
    time.sleep(3)
    told = load.stop()
    assert told.refused == 0
    assert nodes.faults_in(fleet, told, fleet.nodes[1]) == []
    told.enrolled["00000000-0000-0000-0000-000000000000"] = 0.0
    told.deleted[next(iter(told.enrolled))] = 0.0
    told.without_receipt = 1
    told.receipts[0] = told.receipts[0]
    with psycopg.connect(fleet.url) as connection:
        connection.execute("UPDATE log_leaves SET leaf = leaf || '\\x00'::bytea WHERE idx = 12")
    faults = nodes.faults_in(fleet, told, fleet.nodes[1])
    for wanted in ("lost: 0000", "deleted and there", "without a receipt", "fsck"):
        assert any(wanted in each for each in faults), wanted


@pytest.mark.slow
def test_a_node_is_killed_and_comes_back(fleet: Fleet, images: list[bytes]) -> None:
    load = begun(fleet, images)
    since = time.monotonic()
    fleet.nodes[0].process.kill()
    fleet.nodes[0].process.wait()
    time.sleep(3)
    fleet.again(0)
    settled(fleet, load, fleet.nodes[1], "kill -9 of a node", since)


@pytest.fixture
def halves(cluster: Cluster, tmp_path: Path) -> Iterator[Fleet]:
    """Two nodes with one half of the collections each."""
    made = Fleet(tmp_path, cluster.create("countenance"), parts=("1/2", "2/2"))
    made.join()
    made.join()
    nodes.client_of(made.nodes[0], made.credentials).create_collection(CollectionId=nodes.COLLECTION)
    yield made
    made.stop()


@pytest.mark.slow
def test_a_node_with_a_part_is_killed_and_comes_back(halves: Fleet, images: list[bytes]) -> None:
    """Searches fail as long as it is away, rather than leave its part out: the load finds all that was enrolled."""
    load = begun(halves, images)
    since = time.monotonic()
    halves.nodes[1].process.kill()
    halves.nodes[1].process.wait()
    died = time.monotonic()
    time.sleep(3)
    back = time.monotonic()
    halves.again(1)
    settled(halves, load, halves.nodes[0], "kill -9 of a node with a part", since)
    reads = load.told.successes[(0, "read")]
    # what had its answer on the way when the process ended may come a moment later
    assert not [each for each in reads if died + 0.5 < each < back], "an answer with a part missing"


@pytest.mark.slow
def test_the_database_of_parts_is_killed_and_started_again(
    halves: Fleet, cluster: Cluster, images: list[bytes]
) -> None:
    load = begun(halves, images)
    since = time.monotonic()
    cluster.kill()
    cluster.start()
    settled(halves, load, halves.nodes[0], "kill -9 of the database of two parts", since)


@pytest.mark.slow
def test_a_node_is_killed_while_it_writes_to_the_log(fleet: Fleet, images: list[bytes]) -> None:
    """Stopped first, so that it is known to hold the transaction when it is killed."""
    load = begun(fleet, images)
    caught_writing(fleet, 0)
    since = time.monotonic()
    fleet.nodes[0].process.kill()
    fleet.nodes[0].process.wait()
    settled(fleet, load, fleet.nodes[1], "kill -9 of the ledger's writer", since)


@pytest.mark.slow
def test_a_writer_that_was_stopped_writes_nothing_when_it_comes_back(fleet: Fleet, images: list[bytes]) -> None:
    load = begun(fleet, images)
    caught_writing(fleet, 0)
    since = time.monotonic()
    time.sleep(9)  # beyond what the database allows an idle transaction
    fleet.nodes[0].process.send_signal(signal.SIGCONT)
    settled(fleet, load, fleet.nodes[1], "SIGSTOP of the ledger's writer for 9 s", since)


@pytest.mark.slow
def test_the_database_is_killed_and_started_again(fleet: Fleet, cluster: Cluster, images: list[bytes]) -> None:
    load = begun(fleet, images)
    since = time.monotonic()
    cluster.kill()
    took = cluster.start()
    print(f"\nthe database took connections again after {took:.2f} s")
    settled(fleet, load, fleet.nodes[0], "kill -9 of the database", since)


@pytest.mark.slow
def test_the_database_stands_still(fleet: Fleet, cluster: Cluster, images: list[bytes]) -> None:
    load = begun(fleet, images)
    since = time.monotonic()
    with cluster.paused():
        time.sleep(8)
    settled(fleet, load, fleet.nodes[0], "SIGSTOP of the database for 8 s", since)


@pytest.mark.slow
def test_one_node_is_cut_off_from_the_database(cluster: Cluster, tmp_path: Path, images: list[bytes]) -> None:
    fleet = Fleet(tmp_path, cluster.create("countenance"))
    wire = Wire(cluster)
    try:
        fleet.join()
        fleet.join(fleet.url.replace(f":{cluster.port}/", f":{wire.port}/"))
        nodes.client_of(fleet.nodes[0], fleet.credentials).create_collection(CollectionId=nodes.COLLECTION)
        load = begun(fleet, images)
        since = time.monotonic()
        with wire.paused():
            time.sleep(10)
        settled(fleet, load, fleet.nodes[0], "a network that stands still for 10 s, node 1", since)
    finally:
        fleet.stop()
        wire.close()


@pytest.mark.slow
def test_the_disk_of_the_database_fills_up(tmp_path: Path, images: list[bytes]) -> None:
    with small_disk() as disk:
        cluster = Cluster(within=disk, max_wal_size="'64MB'", min_wal_size="'32MB'")
        fleet = Fleet(tmp_path, "")
        try:
            cluster.start()
            fleet.url = cluster.create("countenance")
            fleet.join()
            fleet.join()
            nodes.client_of(fleet.nodes[0], fleet.credentials).create_collection(CollectionId=nodes.COLLECTION)
            load = begun(fleet, images)
            since = time.monotonic()
            filler = disk / "filler"
            fill(filler)
            time.sleep(6)
            filler.unlink()
            if not cluster.is_running():
                print(f"\nPostgreSQL had ended itself; it took {cluster.start():.2f} s to come back")
            settled(fleet, load, fleet.nodes[0], "a full disk under the database for 6 s", since)
        finally:
            fleet.stop()
            cluster.remove()


def caught_writing(fleet: Fleet, at: int) -> None:
    """Stop a node at a moment at which it has a writing transaction open."""
    process = fleet.nodes[at].process
    with psycopg.connect(fleet.url, autocommit=True) as connection:
        backends = _backends_of(connection, process.pid)
        for _ in range(400):
            process.send_signal(signal.SIGSTOP)
            time.sleep(0.02)  # what it had sent is done by then
            open_ = connection.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY(%s) AND state = 'idle in transaction'"
                " AND backend_xid IS NOT NULL",
                (backends,),
            ).fetchone()
            assert open_ is not None
            if open_[0]:
                return
            process.send_signal(signal.SIGCONT)
            time.sleep(0.013)
    raise AssertionError("the node was never caught in the middle of a transaction")


def _backends_of(connection: psycopg.Connection[tuple[int]], pid: int) -> list[int]:
    """The database's processes that serve a node, by the ports of its connections."""
    out = subprocess.run(["cat", f"/proc/{pid}/net/tcp"], capture_output=True, text=True, check=True).stdout
    inodes = set()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(each.readlink())
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    ports = [int(line.split()[1].split(":")[1], 16) for line in out.splitlines()[1:] if line.split()[9] in inodes]
    rows = connection.execute("SELECT pid FROM pg_stat_activity WHERE client_port = ANY(%s)", (ports,)).fetchall()
    return [row[0] for row in rows]


@contextlib.contextmanager
def small_disk() -> Iterator[Path]:
    """A file system of 400 MB."""
    folder = Path(tempfile.mkdtemp(prefix="countenance-disk-"))
    try:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=400m,mode=755", "tmpfs", str(folder)], capture_output=True, check=False
        )
        if mounted.returncode:
            pytest.skip("a small file system cannot be mounted here: it takes root, and the right to mount")
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def fill(file: Path) -> None:
    """Write until there is no space left."""
    with file.open("wb", buffering=0) as out:
        for size in (1 << 20, 1 << 12):
            with contextlib.suppress(OSError):
                while out.write(bytes(size)):
                    pass
