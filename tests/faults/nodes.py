"""Nodes on one PostgreSQL under a load of enrolments, deletions and searches, and what must be true of it afterwards.

The load is of a few threads and as long as a test lets it be. It keeps what was acknowledged and when; an answer that
did not come, or said that something failed, promises nothing. `faults_in` compares that with what the nodes and the
log say once all is quiet.
"""

from __future__ import annotations

import itertools
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from botocore.exceptions import BotoCoreError, ClientError
from countenance_audit.merkle import leaf_hash
from countenance_audit.receipt import parse as parse_receipt

from tests.e2e.conftest import Server, start
from tests.postgres import Cluster

from . import relay

COLLECTION = "faces"
RECEIPT = "x-countenance-receipt"


@dataclass
class Fleet:
    """Nodes that share a database and a master key."""

    folder: Path
    url: str
    nodes: list[Server] = field(default_factory=list)
    credentials: tuple[str, str] = ("", "")
    parts: tuple[str, ...] = ()
    """Of the collections, which node indexes which; beyond them, and without: everything."""

    def join(self, url: str | None = None) -> Server:
        """Starts one more node; `url` for one that reaches the database another way."""
        data = self.folder / f"node{len(self.nodes)}"
        data.mkdir(parents=True)
        if self.nodes:
            shutil.copy2(self.nodes[0].data / "master.key", data / "master.key")
        made = start(data, environ=self._environ(len(self.nodes), url))
        if not self.nodes:
            self.credentials = made.credentials
        self.nodes.append(made)
        return made

    def again(self, at: int) -> Server:
        """Starts a node that died, in its own folder."""
        self.nodes[at] = start(self.nodes[at].data, environ=self._environ(at))
        return self.nodes[at]

    def _environ(self, at: int, url: str | None = None) -> dict[str, str]:
        part = {"COUNTENANCE_SEARCH_SHARD": self.parts[at]} if at < len(self.parts) else {}
        return {"COUNTENANCE_DATABASE": url or self.url, **part}

    def stop(self) -> None:
        """Ends all that run."""
        for each in self.nodes:
            if each.process.poll() is None:
                each.process.send_signal(signal.SIGCONT)
                each.stop()


@dataclass
class Acknowledged:
    """What was answered with 200."""

    enrolled: dict[str, float] = field(default_factory=dict)
    """FaceId -> when that was known."""
    deleted: dict[str, float] = field(default_factory=dict)
    receipts: list[str] = field(default_factory=list)
    without_receipt: int = 0
    searches: int = 0
    refused: int = 0
    """Calls that failed or were not answered."""
    found_after_deletion: list[str] = field(default_factory=list)
    missed_after_enrolment: list[str] = field(default_factory=list)
    successes: dict[tuple[int, str], list[float]] = field(default_factory=dict)
    """(node, "write" or "read") -> when calls succeeded, monotonic."""


class Load:
    """Threads that call whichever node until `stop`."""

    def __init__(self, fleet: Fleet, images: Sequence[bytes], *, seed: int = 1) -> None:
        self.told = Acknowledged()
        self._fleet = fleet
        self._images = images
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._number = 0
        self._deleting: set[str] = set()
        """May be gone already, or not."""
        works: list[Callable[[random.Random], None]] = [
            self._enrol,
            self._enrol,
            self._delete,
            self._search,
            self._search,
        ]
        self._threads = [
            threading.Thread(target=self._run, args=(work, random.Random(seed * 100 + at)), daemon=True)
            for at, work in enumerate(works)
        ]
        # And one of each kind that keeps to a node: the others all come to wait at one that does not answer.
        self._kept_to = threading.local()
        self._threads += [
            threading.Thread(
                target=self._keep_to, args=(node, work, random.Random(seed * 100 + 50 + node)), daemon=True
            )
            for node in range(len(fleet.nodes))
            for work in (self._enrol, self._search)
        ]

    def start(self) -> None:
        """Begin; the collection has to be there."""
        for each in self._threads:
            each.start()

    def stop(self) -> Acknowledged:
        """End, once every call under way was answered or gave up."""
        self._stopping.set()
        for each in self._threads:
            each.join(60)
            assert not each.is_alive(), "a call was never answered"
        return self.told

    def _run(self, work: Callable[[random.Random], None], rng: random.Random) -> None:
        while not self._stopping.is_set():
            work(rng)
            time.sleep(rng.uniform(0.0, 0.02))

    def _keep_to(self, node: int, work: Callable[[random.Random], None], rng: random.Random) -> None:
        self._kept_to.node = node
        self._run(work, rng)

    def _client(self, rng: random.Random) -> tuple[int, Any]:
        at = getattr(self._kept_to, "node", rng.randrange(len(self._fleet.nodes)))
        node = self._fleet.nodes[at]
        return at, client_of(node, self._fleet.credentials)

    def _call(self, rng: random.Random, kind: str, act: Callable[[Any], Any]) -> Any:
        at, client = self._client(rng)
        try:
            answer = act(client)
        except (BotoCoreError, ClientError) as failure:
            code = failure.response["Error"]["Code"] if isinstance(failure, ClientError) else ""
            if code not in ("ResourceNotFoundException", "InvalidParameterException"):
                with self._lock:
                    self.told.refused += 1
                time.sleep(0.05)
            return None
        with self._lock:
            self.told.successes.setdefault((at, kind), []).append(time.monotonic())
            receipt = answer["ResponseMetadata"]["HTTPHeaders"].get(RECEIPT)
            if receipt is None:
                self.told.without_receipt += 1
            else:
                self.told.receipts.append(receipt)
        return answer

    def _enrol(self, rng: random.Random) -> None:
        with self._lock:
            self._number += 1
            number = self._number
        image = rng.choice(self._images) + b"%d" % number  # another image to the server, the same to a decoder
        answer = self._call(
            rng,
            "write",
            lambda client: client.index_faces(CollectionId=COLLECTION, Image={"Bytes": image}, MaxFaces=1),
        )
        if answer is not None:
            with self._lock:
                for each in answer["FaceRecords"]:
                    self.told.enrolled[each["Face"]["FaceId"]] = time.monotonic()

    def _delete(self, rng: random.Random) -> None:
        with self._lock:
            there = [each for each in self.told.enrolled if each not in self.told.deleted]
        time.sleep(rng.uniform(0.1, 0.4))  # fewer than are enrolled meanwhile
        if len(there) < 10:
            return
        wanted = rng.sample(there, 2)
        with self._lock:
            self._deleting.update(wanted)
        answer = self._call(rng, "write", lambda client: client.delete_faces(CollectionId=COLLECTION, FaceIds=wanted))
        # One that was tried and failed may be gone or not: it takes no part from here on.
        with self._lock:
            gone = set(answer["DeletedFaces"]) if answer is not None else set()
            for each in wanted:
                self.told.enrolled.pop(each)
                if each in gone:
                    self.told.deleted[each] = time.monotonic()

    def _search(self, rng: random.Random) -> None:
        with self._lock:
            there = [each for each in self.told.enrolled if each not in self.told.deleted]
            deleted = set(self.told.deleted)
            enrolled = dict(self.told.enrolled)
        if not there:
            time.sleep(0.1)
            return
        probe = rng.choice(there)
        answer = self._call(
            rng,
            "read",
            lambda client: client.search_faces(
                CollectionId=COLLECTION, FaceId=probe, MaxFaces=4096, FaceMatchThreshold=0
            ),
        )
        if answer is None:
            return
        found = {each["Face"]["FaceId"] for each in answer["FaceMatches"]}
        with self._lock:
            self.told.searches += 1
            self.told.found_after_deletion += found & deleted
            if len(found) < 4096:
                still = {each for each in enrolled if each in self.told.enrolled and each not in self._deleting}
                self.told.missed_after_enrolment += still - found - {probe}


_clients: dict[tuple[str, str], Any] = {}
_clients_lock = threading.Lock()


def client_of(node: Server, credentials: tuple[str, str]) -> Any:
    """One per node: making one takes longer than a call."""
    key = node.endpoint, credentials[0]
    with _clients_lock:
        if key not in _clients:
            _clients[key] = node.client(credentials, connect_timeout=3, read_timeout=25, max_pool_connections=16)
        return _clients[key]


def faults_in(fleet: Fleet, told: Acknowledged, alive: Server) -> list[str]:
    """What is not as it was acknowledged; empty when all is."""
    client = client_of(alive, fleet.credentials)
    there: set[str] = set()
    for page in client.get_paginator("list_faces").paginate(CollectionId=COLLECTION, MaxResults=1000):
        there |= {each["FaceId"] for each in page["Faces"]}
    faults = [f"lost: {each}" for each in told.enrolled.keys() - there]
    faults += [f"deleted and there: {each}" for each in told.deleted.keys() & there]
    faults += [f"found after it was deleted: {each}" for each in told.found_after_deletion]
    faults += [f"not found after it was enrolled: {each}" for each in told.missed_after_enrolment]
    if told.without_receipt:
        faults.append(f"{told.without_receipt} answers without a receipt")
    leaves: dict[int, bytes] = {}
    with psycopg.connect(fleet.url) as connection:
        leaves = {idx: bytes(leaf) for idx, leaf in connection.execute("SELECT idx, leaf FROM log_leaves").fetchall()}
    for text in told.receipts:
        receipt = parse_receipt(text)
        leaf = leaves.get(receipt.index)
        if leaf is None or leaf_hash(leaf).hex() != receipt.leaf:
            faults.append(f"an answer without its leaf: {receipt.index}")
    checked = command(alive, "ledger", "fsck")
    if checked.returncode:
        faults.append(f"fsck: {checked.stdout} {checked.stderr}")
    return faults


def command(node: Server, *words: str) -> subprocess.CompletedProcess[str]:
    """Our command line against a node's data folder."""
    return subprocess.run(
        [sys.executable, "-m", "countenance", *words, "--data", str(node.data)],
        capture_output=True,
        text=True,
        env=node.environment(),
        check=False,
    )


def recovered_s(told: Acknowledged, at: int, kind: str, since: float) -> float | None:
    """Seconds from a moment to the first success of a node after it; None when there was none."""
    later = [each - since for each in told.successes.get((at, kind), []) if each > since]
    return min(later, default=None)


def longest_gap_s(told: Acknowledged, kind: str, since: float, until: float) -> float:
    """The longest time without a success at any node."""
    times = sorted(each for (_, of), all_ in told.successes.items() if of == kind for each in all_)
    inside = [since, *(each for each in times if since < each < until), until]
    return max(later - earlier for earlier, later in itertools.pairwise(inside))


class Wire:
    """A proxy in a process of its own between a node and the database, which can be stopped like a network."""

    def __init__(self, cluster: Cluster) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self._process = subprocess.Popen([sys.executable, relay.__file__, str(self.port), str(cluster.port)])
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                assert time.monotonic() < deadline
                time.sleep(0.05)
            else:
                return

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Nothing goes through; connections stay."""
        self._process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
