"""A collection exported on one server and imported on another: the same searches, the same scores and ids."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import People, Server, start

C = "moving-house"
PASSWORD = "sixteen tigers eat plums"
TAGS = {"site": "north", "owner": "facilities"}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Another server, with another master key and another account."""
    running = start(tmp_path_factory.mktemp("elsewhere") / "data")
    yield running
    running.stop()


def verb(server: Server, *words: str, status: int = 0) -> Any:
    """A verb on the host of a server."""
    done = subprocess.run(
        [sys.executable, "-m", "countenance", *words, "--data", str(server.data), "--json"],
        env=server.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout if status != 3 else done.stderr)


def account_of(server: Server) -> str:
    return str(verb(server, "account", "list")["accounts"][0]["account_id"])


def furnished(client: Any, people: People) -> tuple[dict[str, list[Path]], dict[str, list[str]]]:
    """A collection with tags, users, and faces of users and of nobody; what was not enrolled, and the FaceIds."""
    chosen = {name: several for name, several in people.items() if len(several) >= 3}
    client.create_collection(CollectionId=C, Tags=TAGS)
    faces: dict[str, list[str]] = {}
    for at, (name, several) in enumerate(chosen.items()):
        for path in several[:-1]:
            answer = client.index_faces(
                CollectionId=C,
                Image={"Bytes": path.read_bytes()},
                ExternalImageId=f"{name.replace(' ', '_')}:{path.stem}",
                MaxFaces=1,
            )
            faces.setdefault(name, []).extend(each["Face"]["FaceId"] for each in answer["FaceRecords"])
        if at % 2 == 0:
            user = name.replace(" ", "_")
            client.create_user(CollectionId=C, UserId=user)
            client.associate_faces(CollectionId=C, UserId=user, FaceIds=faces[name][:100], UserMatchThreshold=0)
    return {name: several[-1:] for name, several in chosen.items()}, faces


def answers(client: Any, probes: dict[str, list[Path]], face_ids: list[str]) -> list[Any]:
    """What a collection answers to everything that can be asked of it, without what is of the request alone."""
    said: list[Any] = []

    def ask(operation: str, **params: Any) -> dict[str, Any]:
        answer: dict[str, Any] = getattr(client, operation)(CollectionId=C, **params)
        answer.pop("ResponseMetadata")
        said.append((operation, answer))
        return answer

    for several in probes.values():
        image = {"Bytes": several[0].read_bytes()}
        found = ask("search_faces_by_image", Image=image, FaceMatchThreshold=0, MaxFaces=4096)
        assert len(found["FaceMatches"]) == len(face_ids)
        ask("search_users_by_image", Image=image, UserMatchThreshold=0)
    for face_id in face_ids:
        ask("search_faces", FaceId=face_id, FaceMatchThreshold=0)
        ask("search_users", FaceId=face_id, UserMatchThreshold=0)
    ask("list_faces")
    for user in ask("list_users")["Users"]:
        ask("search_users", UserId=user["UserId"], UserMatchThreshold=0)
        ask("list_faces", UserId=user["UserId"])
    described = client.describe_collection(CollectionId=C)
    arn = described["CollectionARN"]
    said.append({name: described[name] for name in ("FaceCount", "UserCount", "FaceModelVersion", "CreationTimestamp")})
    said.append(client.list_tags_for_resource(ResourceArn=arn)["Tags"])
    return said


def test_the_same_searches_have_the_same_answers_elsewhere(
    server: Server, other: Server, people: People, tmp_path: Path
) -> None:
    password, archive = tmp_path / "password", tmp_path / "moved.archive"
    password.write_text(PASSWORD + "\n")
    here, there = server.client(), other.client()
    probes, faces = furnished(here, people)
    try:
        face_ids = [each for several in faces.values() for each in several]
        before = answers(here, probes, face_ids)
        verb(server, "retention", "set", account_of(server), C, "--days", "400", "--yes")
        made = verb(server, "export", C, str(archive), "--password-file", str(password))
        assert (made["faces"], made["users"]) == (len(face_ids), before[-2]["UserCount"])
        assert archive.stat().st_mode & 0o777 == 0o600
        sealed = archive.read_bytes()
        assert face_ids[0].encode() not in sealed
        assert b"facilities" not in sealed

        moved = verb(other, "import", str(archive), "--password-file", str(password))
        assert (moved["faces"], moved["users"], moved["tags"]) == (len(face_ids), made["users"], len(TAGS))
        assert moved["retention_days"] == 400
        assert answers(there, probes, face_ids) == before

        again = verb(other, "import", str(archive), "--password-file", str(password), status=3)
        assert "has a collection" in again["error"]["message"]
        renamed = verb(other, "import", str(archive), "--password-file", str(password), "--as", "copy")
        assert there.describe_collection(CollectionId="copy")["FaceCount"] == renamed["faces"] == len(face_ids)

        sealed_wrong = bytearray(sealed)
        sealed_wrong[len(sealed) // 2] ^= 1
        (tmp_path / "changed").write_bytes(sealed_wrong)
        refused = verb(
            other, "import", str(tmp_path / "changed"), "--password-file", str(password), "--as", "no", status=3
        )
        assert "changed or damaged" in refused["error"]["message"]
        with pytest.raises(ClientError):
            there.describe_collection(CollectionId="no")
        for each in (server, other):
            assert verb(each, "ledger", "fsck")["problems"] == []

        # Enrolling goes on there: a new face is found, and an erased one is gone.
        last = next(iter(probes.values()))[0]
        new = there.index_faces(CollectionId=C, Image={"Bytes": last.read_bytes()}, MaxFaces=1)["FaceRecords"][0]
        found = there.search_faces_by_image(CollectionId=C, Image={"Bytes": last.read_bytes()}, MaxFaces=1)
        assert found["FaceMatches"][0]["Face"]["FaceId"] == new["Face"]["FaceId"]
        assert there.describe_collection(CollectionId=C)["FaceCount"] == len(face_ids) + 1
    finally:
        here.delete_collection(CollectionId=C)
