"""A server moves from its file to PostgreSQL under load: copied while it answers, cut over, the answers the same."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e.conftest import Server, start
from tests.faults import nodes
from tests.faults.nodes import Fleet, Load, client_of, command


def copy(server: Server, url: str) -> subprocess.CompletedProcess[str]:
    source = f"sqlite:{server.data / 'countenance.db'}"
    return subprocess.run(
        [sys.executable, "-m", "countenance", "database", "copy", source, url, "--json", "--data", str(server.data)],
        capture_output=True,
        text=True,
        check=False,
    )


def answers(fleet: Fleet, faces: list[str]) -> list[list[tuple[str, float]]]:
    client = client_of(fleet.nodes[0], fleet.credentials)
    found = []
    for face in faces:
        answer = client.search_faces(CollectionId=nodes.COLLECTION, FaceId=face, MaxFaces=4096, FaceMatchThreshold=0)
        found.append([(each["Face"]["FaceId"], each["Similarity"]) for each in answer["FaceMatches"]])
    return found


@pytest.fixture
def images(test_data: Path) -> list[bytes]:
    found = sorted((test_data / "faces" / "dlib_johns").rglob("*.jpg"))
    return [path.read_bytes() for path in found]


def test_a_server_moves_under_load(tmp_path: Path, images: list[bytes], postgres_url: str) -> None:
    data = tmp_path / "data"
    server = start(data)
    fleet = Fleet(tmp_path, postgres_url, [server], server.credentials)
    try:
        client_of(server, fleet.credentials).create_collection(CollectionId=nodes.COLLECTION)
        load = Load(fleet, images)
        load.start()
        time.sleep(3)
        during = copy(server, postgres_url)
        assert during.returncode == 1, during.stderr
        assert not json.loads(during.stdout)["whole"]
        time.sleep(2)
        told = load.stop()
        assert told.refused == 0
        assert len(told.enrolled) > 5
        probes = sorted(told.enrolled)[:5]
        before = answers(fleet, probes)
        assert server.stop() == 0

        after = copy(server, postgres_url)
        assert after.returncode == 0, after.stderr
        said = json.loads(after.stdout)
        print(f"\n{said}")
        assert said["whole"]
        assert said["left"] == 0

        fleet.nodes[0] = start(data, environ={"COUNTENANCE_DATABASE": postgres_url})
        assert answers(fleet, probes) == before
        assert nodes.faults_in(fleet, told, fleet.nodes[0]) == []
        assert command(fleet.nodes[0], "ledger", "status").returncode == 0
        # the log goes on there: the file is behind it
        fleet.nodes[0].stop()
        with pytest.raises(RuntimeError, match="The log has"):
            start(data)
    finally:
        fleet.stop()
