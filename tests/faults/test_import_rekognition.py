"""An account moves from "AWS" (a second server) by `import-rekognition`, killed again and again: nothing is missing and
nothing is there twice."""

from __future__ import annotations

import csv
import io
import json
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.e2e.conftest import Server, start

PEOPLE, CROWD = "people", "crowd"
TAGS = {"site": "north"}
LARGE = 36
"""Photographs in the collection that is moved while the import is killed."""
KILLS = 3


@dataclass
class Moving:
    """Amazon and the server that people move to, with the images of both collections in a folder."""

    amazon: Server
    here: Server
    images: Path
    users: dict[str, list[str]]
    """FaceIds there by user."""

    def command(self, *words: str) -> list[str]:
        return [
            *(sys.executable, "-m", "countenance", "import-rekognition", "--json", "--data", str(self.here.data)),
            *("--from-endpoint-url", self.amazon.endpoint, "--from-profile", "default", "--from-region", "eu-west-2"),
            *("--images", str(self.images), "--name", "{external_path}", *words),
        ]

    def environment(self, **more: str) -> dict[str, str]:
        """AWS's files are those of the server that plays it, as a team has them in its home."""
        return self.amazon.environment() | more

    def run(self, *words: str, status: int = 0, **more: str) -> dict[str, Any]:
        done = subprocess.run(
            self.command(*words), env=self.environment(**more), capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
        found: dict[str, Any] = json.loads(done.stdout or done.stderr.splitlines()[-1])
        return found


def faces(client: Any, collection: str) -> list[dict[str, Any]]:
    pages = client.get_paginator("list_faces").paginate(CollectionId=collection)
    return [face for page in pages for face in page["Faces"]]


def index(client: Any, collection: str, path: Path, external: str, **more: Any) -> list[dict[str, Any]]:
    answer = client.index_faces(
        CollectionId=collection,
        Image={"Bytes": path.read_bytes()},
        ExternalImageId=external,
        QualityFilter="NONE",
        **more,
    )
    return [each["Face"] for each in answer["FaceRecords"]]


@pytest.fixture
def moving(tmp_path: Path, test_data: Path) -> Iterator[Moving]:
    images = tmp_path / "images"
    shutil.copytree(test_data / "faces" / "dlib_johns" / "images", images / "johns")
    shutil.copy(test_data / "faces" / "compreface_samples" / "images" / "000_5.jpg", images / "crowd.jpg")
    amazon = start(tmp_path / "amazon" / "data", environ={"COUNTENANCE_QUOTAS": "ListTagsForResource=5,*=50"})
    here = start(tmp_path / "here" / "data")
    try:
        client = amazon.client()
        client.create_collection(CollectionId=PEOPLE, Tags=TAGS)
        users: dict[str, list[str]] = {}
        for path in sorted((images / "johns").rglob("*.jpg"))[:LARGE]:
            external = path.relative_to(images).as_posix().replace("/", ":")
            (face,) = index(client, PEOPLE, path, external, MaxFaces=1)
            users.setdefault(path.parent.name, []).append(face["FaceId"])
        for name, ids in users.items():
            client.create_user(CollectionId=PEOPLE, UserId=name)
            client.associate_faces(CollectionId=PEOPLE, UserId=name, FaceIds=ids, UserMatchThreshold=0)
        # Of a group photograph only two people are enrolled there, and not the largest.
        client.create_collection(CollectionId=CROWD)
        there = index(client, CROWD, images / "crowd.jpg", "crowd.jpg")
        assert len(there) >= 4
        client.delete_faces(CollectionId=CROWD, FaceIds=[each["FaceId"] for each in [there[0], *there[3:]]])
        yield Moving(amazon, here, images, users)
    finally:
        amazon.stop()
        here.stop()


def counts(client: Any, collection: str) -> tuple[int, int]:
    said = client.describe_collection(CollectionId=collection)
    return said["FaceCount"], said["UserCount"]


def moved_faces(report: Path) -> dict[str, str]:
    with report.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {each["state"] for each in rows} == {"moved"}
    return {each["face_id"]: each["new_face_id"] for each in rows}


def test_an_import_that_is_killed_and_resumed_has_everything_once(moving: Moving, tmp_path: Path) -> None:
    journal, report = tmp_path / "journal", tmp_path / "report.csv"
    words = ("--journal", str(journal), "--jobs", "2")
    plan = moving.run(*words, "--dry-run")
    assert {each["collection"]: each["states"] for each in plan["collections"]} == {
        PEOPLE: {"to-move": LARGE},
        CROWD: {"to-move": 2},
    }
    here, there = moving.here.client(), moving.amazon.client()
    assert here.list_collections()["CollectionIds"] == []
    assert not journal.exists()

    chance = random.Random(3)
    for at in range(KILLS):
        child = subprocess.Popen(
            moving.command(*words), env=moving.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wanted = (at + 1) * LARGE // (KILLS + 2)  # faces here, by whatever was written down of them

        def enrolled() -> int:
            if PEOPLE not in here.list_collections()["CollectionIds"]:
                return 0
            return int(here.describe_collection(CollectionId=PEOPLE)["FaceCount"])

        while child.poll() is None and enrolled() < wanted:
            time.sleep(0.002)
        time.sleep(chance.uniform(0, 0.03))
        child.kill()
        assert child.wait() == -9
        print(f"killed with {enrolled()} of {LARGE} faces here")
    with journal.open("ab") as file:
        file.write(b'{"image":["people","cut off in the mid')  # as a kill in the middle of a line leaves it

    done = moving.run(*words, "--report", str(report))
    new = moved_faces(report)
    by_collection = {each["collection"]: each for each in done["collections"]}
    for collection in (PEOPLE, CROWD):
        assert counts(here, collection) == counts(there, collection)
        told = by_collection[collection]
        assert (told["faces_here"], told["users_here"]) == counts(here, collection)
        assert told["users_incomplete"] == {}
        # Old and new are the same faces of the same images, each once.
        mine = {each["FaceId"]: each for each in faces(here, collection)}
        for face in faces(there, collection):
            twin = mine.pop(new[face["FaceId"]])
            assert twin["ExternalImageId"] == face["ExternalImageId"]
            assert twin["BoundingBox"] == face["BoundingBox"]
            assert twin.get("UserId") == face.get("UserId")
        assert mine == {}
    arn = here.describe_collection(CollectionId=PEOPLE)["CollectionARN"]
    assert here.list_tags_for_resource(ResourceArn=arn)["Tags"] == TAGS
    for name, ids in moving.users.items():
        listed = here.list_faces(CollectionId=PEOPLE, UserId=name)["Faces"]
        assert {each["FaceId"] for each in listed} == {new[each] for each in ids}

    size = journal.stat().st_size
    again = moving.run(*words)  # once more, when there is nothing left to do
    assert [each["states"] for each in again["collections"]] == [each["states"] for each in done["collections"]]
    assert journal.stat().st_size == size
    for collection in (PEOPLE, CROWD):
        assert counts(here, collection) == counts(there, collection)


def test_what_cannot_move_is_told_and_moves_when_it_can(moving: Moving, tmp_path: Path) -> None:
    report, table = tmp_path / "report.json", tmp_path / "table.csv"
    words = ("--journal", str(tmp_path / "journal"), "--report", str(report))
    first, second, third, *_ = sorted((moving.images / "johns").rglob("*.jpg"))[:LARGE]
    aside = {each: each.with_suffix(".aside") for each in (first, second)}
    for path, elsewhere in aside.items():
        path.rename(elsewhere)
    second.write_bytes(b"no image")
    own = third.read_bytes()
    third.write_bytes(blank())

    done = moving.run(*words, status=1)
    told = next(each for each in done["collections"] if each["collection"] == PEOPLE)
    assert told["states"] == {"moved": LARGE - 3, "no-image": 1, "not-there": 1, "unusable": 1}
    assert len(told["users_incomplete"]) >= 1
    rows = {each["external_image_id"]: each for each in json.loads(report.read_text())["faces"]}
    states = [rows[each.relative_to(moving.images).as_posix().replace("/", ":")]["state"] for each in aside]
    assert states == ["no-image", "unusable"]

    third.write_bytes(own)
    for path, elsewhere in aside.items():
        path.unlink(missing_ok=True)
        elsewhere.rename(path.with_name(f"renamed-{path.name}"))
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["collection", "face_id", "external_image_id", "image"])
        for path in aside:
            name = path.relative_to(moving.images)
            external = name.as_posix().replace("/", ":")
            writer.writerow([PEOPLE, "", external, (name.parent / f"renamed-{name.name}").as_posix()])
    done = moving.run(*words, "--map", str(table))
    assert {each["collection"]: each["states"] for each in done["collections"]} == {
        PEOPLE: {"moved": LARGE},
        CROWD: {"moved": 2},
    }
    here, there = moving.here.client(), moving.amazon.client()
    assert counts(here, PEOPLE) == counts(there, PEOPLE)
    per_user = Counter(each.get("UserId") for each in faces(here, PEOPLE))
    assert per_user == Counter({name: len(ids) for name, ids in moving.users.items()})


def blank() -> bytes:
    """A picture of nobody."""
    out = io.BytesIO()
    Image.new("RGB", (200, 200), (90, 120, 90)).save(out, "JPEG")
    return out.getvalue()


def test_neither_sides_keys_stand_in_for_the_other(moving: Moving, tmp_path: Path) -> None:
    journal = ("--journal", str(tmp_path / "journal"))
    itself = moving.run(*journal, AWS_SHARED_CREDENTIALS_FILE=str(moving.here.data / "credentials"), status=3)
    assert "is the one of this server" in itself["error"]["message"]
    # Where this machine's AWS set-up points at this server, Amazon is read at its own address all the same.
    moving.run("--dry-run", AWS_ENDPOINT_URL_REKOGNITION=moving.here.endpoint)
    moving.here.client().create_collection(CollectionId=CROWD)
    taken = moving.run(*journal, "--collection", CROWD, status=3)
    assert "did not make it" in str(taken["stopped_by"])
    assert faces(moving.here.client(), CROWD) == []
