"""Two workers over one folder: any of them answers for both, and one that is killed takes nothing with it."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError
from countenance_audit import receipt
from countenance_audit.note import VerifierKey

from tests.e2e.conftest import People, Server, start


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Server]:
    running = start(tmp_path / "data", "--workers", "2")
    yield running
    if running.process.poll() is None:
        running.stop()


def workers(server: Server) -> dict[str, int]:
    """Role -> process, of those who say that they are here."""
    told = json.loads(urllib.request.urlopen(f"{server.endpoint}/readyz", timeout=30).read())
    return {each["role"]: each["process"] for each in told["nodes"] if each["state"] == "ready"}


def command(server: Server, *words: str) -> dict[str, Any]:
    made = subprocess.run(
        [sys.executable, "-m", "countenance", *words, "--data", str(server.data), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    found: dict[str, Any] = json.loads(made.stdout)
    return found


def is_clean(server: Server) -> None:
    assert command(server, "ledger", "fsck")["problems"] == []


def test_what_is_written_through_one_is_read_through_the_other(served: Server, people: People) -> None:
    """Each client has a connection of its own, and with it a worker or another."""
    clients = [served.client() for _ in range(8)]
    clients[0].create_collection(CollectionId="people")
    photographs = [path.read_bytes() for paths in list(people.values())[:2] for path in paths[:2]]
    for number, photograph in enumerate(photographs):
        made = clients[number].index_faces(
            CollectionId="people", Image={"Bytes": photograph}, ExternalImageId=f"p{number}", MaxFaces=1
        )
        (record,) = made["FaceRecords"]
        for client in clients:  # at once, whoever is asked
            found = client.search_faces_by_image(
                CollectionId="people", Image={"Bytes": photograph}, MaxFaces=1, FaceMatchThreshold=99
            )
            assert found["FaceMatches"][0]["Face"]["FaceId"] == record["Face"]["FaceId"]
            assert client.describe_collection(CollectionId="people")["FaceCount"] == number + 1
    clients[1].delete_faces(CollectionId="people", FaceIds=[record["Face"]["FaceId"]])
    for client in clients:
        found = client.search_faces(CollectionId="people", FaceId=made_face(clients[2]), FaceMatchThreshold=0)
        assert all(each["Face"]["FaceId"] != record["Face"]["FaceId"] for each in found["FaceMatches"])
    issued = command(served, "key", "create", command(served, "account", "list")["accounts"][0]["account_id"])
    keys = issued["access_key_id"], issued["secret_access_key"]
    others = [served.client(keys) for _ in range(6)]
    for client in others:
        client.list_collections()
    command(served, "key", "revoke", issued["access_key_id"], "--yes")
    for client in others:
        with pytest.raises(ClientError, match="UnrecognizedClient"):
            client.list_collections()
    told = command(served, "topology")
    assert told["is_shared"]
    assert sorted(each["role"] for each in told["nodes"]) == ["worker 1 of 2", "worker 2 of 2"]
    assert sum(each["duties"] == ["upkeep"] for each in told["nodes"]) == 1
    page = urllib.request.urlopen(f"{served.endpoint}/metrics", timeout=30).read().decode()
    assert 'countenance_worker_up{worker="1"} 1' in page
    assert 'countenance_worker_up{worker="2"} 1' in page
    assert served.stop() == 0
    is_clean(served)


def made_face(client: Any) -> str:
    return str(client.list_faces(CollectionId="people")["Faces"][0]["FaceId"])


def test_a_worker_that_is_killed_under_load_takes_nothing_with_it(served: Server) -> None:
    """Whoever got an answer has what it says: in the store, and as a leaf; what is done by one only goes on."""
    acknowledged: list[tuple[str, str]] = []
    failures = 0
    stopping = threading.Event()
    lock = threading.Lock()

    def load(name: str) -> None:
        nonlocal failures
        client, number = served.client(), 0
        while not stopping.is_set():
            number += 1
            try:
                answer = client.create_collection(CollectionId=f"{name}-{number}")
            except (BotoCoreError, ClientError):
                with lock:
                    failures += 1
                client = served.client()
                time.sleep(0.05)
            else:
                headers = answer["ResponseMetadata"]["HTTPHeaders"]
                with lock:
                    acknowledged.append((f"{name}-{number}", headers["x-countenance-receipt"]))

    threads = [threading.Thread(target=load, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    try:
        for role in ("worker 1 of 2", "worker 2 of 2"):
            until(lambda: len(workers(served)) == 2, 60)
            killed = workers(served)[role]
            before = len(acknowledged)
            os.kill(killed, signal.SIGKILL)
            until(lambda before=before: len(acknowledged) > before + 20, 60)  # the other goes on
            until(lambda role=role, killed=killed: workers(served).get(role, killed) != killed, 90)
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    assert failures < 100
    client = served.client()
    there: set[str] = set()
    for page in client.get_paginator("list_collections").paginate():
        there.update(page["CollectionIds"])
    assert {name for name, _ in acknowledged} <= there
    assert "was killed by SIGKILL" in served.log.read_text()
    key = VerifierKey.parse(command(served, "ledger", "status")["key"])
    size = int(command(served, "ledger", "status")["size"])
    held = [receipt.verify(text, key) for _, text in acknowledged]
    assert len({each.index for each in held}) == len(held)
    assert all(each.index < size for each in held)
    assert served.stop() == 0
    is_clean(served)
    assert said_publicly(served, "start") == said_publicly(served, "stop") == 1  # the log's, not a worker's


def said_publicly(server: Server, kind: str) -> int:
    connection = sqlite3.connect(f"file:{server.data}/countenance.db?mode=ro", uri=True)
    try:
        leaves = connection.execute("SELECT leaf FROM log_leaves WHERE substr(leaf, 1, 1) = x'7b'").fetchall()
    finally:
        connection.close()
    return sum(json.loads(leaf)["kind"] == kind for (leaf,) in leaves)


def until(what: Any, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_one_that_is_suspended_loses_what_only_one_may_do(served: Server) -> None:
    """And when it goes on, it does not do it any more; checkpoints are published all the while."""
    found = json.loads(urllib.request.urlopen(f"{served.endpoint}/readyz", timeout=30).read())
    (holder,) = [each for each in found["nodes"] if each["duties"]]
    (other,) = [each for each in found["nodes"] if not each["duties"]]
    os.kill(holder["process"], signal.SIGSTOP)
    began = time.monotonic()
    try:
        until(lambda: duty(served) == other["node"], 20)
        took = time.monotonic() - began
    finally:
        os.kill(holder["process"], signal.SIGCONT)
    print(f"taken over after {took:.1f} s")
    assert took < 15
    time.sleep(3)  # two of its looks
    assert duty(served) == other["node"]
    served.client().list_collections()
    assert served.stop() == 0
    is_clean(served)


def duty(server: Server) -> str:
    """Who holds the lease, by the database itself: a worker that is suspended may have been given the request."""
    connection = sqlite3.connect(f"file:{server.data}/countenance.db?mode=ro", uri=True)
    try:
        return str(connection.execute("SELECT holder FROM store_lease WHERE duty = 'upkeep'").fetchone()[0])
    finally:
        connection.close()
