"""A real server whose disk is full: no answer without a leaf, /readyz red; with room again, green by itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.e2e.conftest import Server, start

ROOM = "192m"
"""For the folded models (77 MB), the database, and no more than that."""
PATIENCE_S = 60


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a file system of its own, in memory."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def readiness(server: Server) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(f"{server.endpoint}/readyz", timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def fill(folder: Path) -> Path:
    """Take all the room there is."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as out:
        for size in (1 << 20, 4096, 1):
            while True:
                try:
                    if out.write(bytes(size)) < size:
                        break
                except OSError:
                    break
    return filler


def outcome(client: Any, collection: str) -> str:
    try:
        client.create_collection(CollectionId=collection)
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return "OK"


def test_a_full_disk_closes_the_door_and_room_opens_it_again(small_disk: Path) -> None:
    server = start(small_disk / "data")
    try:
        client = server.client()
        client.create_collection(CollectionId="before")
        assert readiness(server)[0] == 200
        filler = fill(small_disk)
        refused = 0
        for number in range(400):  # the log may still have room in pages it has already
            code = outcome(client, f"c{number}")
            assert code in ("OK", "InternalServerError")
            refused += code != "OK"
            if refused == 3:
                break
        assert refused == 3
        status, report = readiness(server)
        assert (status, report["ledger_writable"]) == (503, False)
        with pytest.raises(ClientError, match="InternalServerError"):
            client.list_collections()  # a reading call needs its leaf, too
        filler.unlink()
        deadline = time.monotonic() + PATIENCE_S
        while readiness(server)[0] != 200 and time.monotonic() < deadline:
            time.sleep(0.2)
        assert readiness(server)[0] == 200
        names = client.list_collections()["CollectionIds"]
        assert names == ["before", *(f"c{each}" for each in range(len(names) - 1))]  # the refused ones are not there
        assert number + 1 - refused == len(names) - 1
    finally:
        server.stop()
    words = [sys.executable, "-m", "countenance", "ledger", "fsck", "--data", server.data, "--json"]
    examined = subprocess.run(words, capture_output=True, text=True, timeout=120, env=dict(os.environ))
    assert json.loads(examined.stdout)["problems"] == [], examined.stderr
