"""The command line against a running server: the way in for people without an SDK."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.e2e.operators import two_of
from tests.unit.accounts.declarations import CUSTOMER

from .conftest import People, Server, start


def run(server: Server, *words: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "countenance", *words],
        env=server.environment() | {"COUNTENANCE_DATA_DIR": str(server.data)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def answer(server: Server, *words: str, code: int = 0) -> Any:
    return json.loads(run(server, *words, "--json", code=code).stdout)


@pytest.fixture
def folder(people: People, tmp_path: Path) -> Path:
    """Two people in a folder each, a file that is no image and an image without a face."""
    root = tmp_path / "portraits"
    for name, paths in zip(("ann", "ben"), list(people.values())[:2], strict=True):
        (root / name).mkdir(parents=True)
        for number, path in enumerate(paths[:3]):
            shutil.copy(path, root / name / f"{number}.jpg")
    (root / "notes.jpg").write_bytes(b"not an image")
    Image.new("RGB", (200, 200), "grey").save(root / "wall.png")
    return root


def test_a_folder_is_enrolled_resumed_and_searched(
    server: Server, folder: Path, people: People, tmp_path: Path
) -> None:
    first = answer(server, "enrol", str(folder), "--collection", "cli-enrol", "--create", code=1)
    text = json.dumps(first)
    assert "notes.jpg" in text
    assert "wall.png" in text
    faces = server.client().list_faces(CollectionId="cli-enrol")["Faces"]
    assert len(faces) == 6
    assert {face["ExternalImageId"].split(":")[0] for face in faces} == {"ann", "ben"}
    answer(server, "enrol", str(folder), "--collection", "cli-enrol", code=1)
    assert server.client().describe_collection(CollectionId="cli-enrol")["FaceCount"] == 6

    other = next(iter(people.values()))[5]
    found = answer(server, "search", str(other), "--collection", "cli-enrol")
    assert "ann:" in json.dumps(found)
    assert "ben:" not in json.dumps(found)
    drawn = tmp_path / "who.png"
    run(server, "search", str(other), "--collection", "cli-enrol", "--all-faces", "--draw", str(drawn))
    assert Image.open(drawn).size[0] > 0
    server.client().delete_collection(CollectionId="cli-enrol")


def test_one_person_under_two_names_is_told(server: Server, people: People) -> None:
    client = server.client()
    client.create_collection(CollectionId="cli-twice")
    ann, ben = list(people.values())[:2]
    for path, name in ((ann[0], "ann:1"), (ann[1], "ann:2"), (ann[0], "another"), (ben[0], "ben:1")):
        client.index_faces(
            CollectionId="cli-twice", Image={"Bytes": path.read_bytes()}, ExternalImageId=name, MaxFaces=1
        )
    words = ("collection", "duplicates", "cli-twice", "--threshold", "80")
    told = answer(server, *words)
    pairs = {tuple(sorted(each["ExternalImageId"] for each in pair["Faces"])) for pair in told["Pairs"]}
    assert pairs == {("ann:1", "ann:2"), ("ann:1", "another"), ("ann:2", "another")}
    assert told["Faces"] == 4
    by_folder = answer(server, *words, "--by-folder")
    assert len(by_folder["Pairs"]) == 2
    assert [pair["Similarity"] for pair in by_folder["Pairs"]] == sorted(
        (pair["Similarity"] for pair in by_folder["Pairs"]), reverse=True
    )
    faces = [each["FaceId"] for each in client.list_faces(CollectionId="cli-twice")["Faces"]]
    client.create_user(CollectionId="cli-twice", UserId="ann")
    client.associate_faces(CollectionId="cli-twice", UserId="ann", FaceIds=faces[:3])
    assert answer(server, *words)["Pairs"] == []
    text = run(server, *words).stderr
    assert "0 pairs among 4 faces" in text
    assert "1 in 10,000" in text
    client.delete_collection(CollectionId="cli-twice")


def test_compare_answers_by_exit_status(server: Server, people: People, tmp_path: Path) -> None:
    ann, ben = list(people.values())[:2]
    run(server, "compare", str(ann[0]), str(ann[1]), "--draw", str(tmp_path / "both.png"))
    assert Image.open(tmp_path / "both.png").format == "PNG"
    run(server, "compare", str(ann[0]), str(ben[0]), code=1)


def test_detect_draws_what_it_found(server: Server, people: People, tmp_path: Path) -> None:
    path = next(iter(people.values()))[0]
    found = answer(server, "detect", str(path), "--draw", str(tmp_path / "faces.png"))
    assert "BoundingBox" in json.dumps(found) or "box" in json.dumps(found)
    before, after = Image.open(path).convert("RGB"), Image.open(tmp_path / "faces.png").convert("RGB")
    assert before.tobytes() != after.resize(before.size).tobytes()
    wall = tmp_path / "wall.png"
    Image.new("RGB", (200, 200), "grey").save(wall)
    run(server, "detect", str(wall), code=1)


def test_key_env_points_a_shell_with_real_aws_keys_at_this_server(server: Server) -> None:
    aws = Path(sys.executable).with_name("aws")
    script = f'eval "$({sys.executable} -m countenance key env)" && {aws} rekognition list-collections'
    done = subprocess.run(
        ["bash", "-c", script],
        env=server.environment()
        | {
            "COUNTENANCE_DATA_DIR": str(server.data),
            "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "AWS_SESSION_TOKEN": "FwoGZXIvYXdz",
            "AWS_PROFILE": "work",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "CollectionIds" in done.stdout


def test_administration_works_with_and_without_a_server(tmp_path: Path) -> None:
    server = start(tmp_path / "data")
    (tmp_path / "acme.json").write_text(json.dumps(CUSTOMER))
    made = answer(server, "account", "create", "Acme", "--party", str(tmp_path / "acme.json"))
    account = made["account_id"]
    assert made["party"] == {"legal_name": "Acme Access B.V.", "jurisdiction": "NL"}
    assert "undeclared" in run(server, "account", "list").stdout  # the owner
    assert "has not declared its party" in run(server, "ledger", "status").stdout
    issued = answer(server, "key", "create", account, "--purpose", "access-control", "--holder", "gate 3")
    two_of(server).clear(account)
    assert server.client((issued["access_key_id"], issued["secret_access_key"])).list_collections()
    assert server.stop() == 0

    listed = answer(server, "key", "list", account)
    assert "secret" not in json.dumps(listed)
    assert "access-control" in json.dumps(listed)
    declared = answer(server, "account", "declare", account, "--end-use", "door control, both sites")
    assert (declared["version"], declared["party"]["sector"]) == (2, "logistics")
    assert [each["version"] for each in answer(server, "account", "party", account)["versions"]] == [2, 1]
    assert answer(server, "ledger", "fsck")["problems"] == []
    answer(server, "key", "revoke", issued["access_key_id"], "--yes")
    again = start(tmp_path / "data")
    try:
        with pytest.raises(Exception, match="UnrecognizedClientException"):
            again.client((issued["access_key_id"], issued["secret_access_key"])).list_collections()
        assert len(answer(again, "account", "list")["accounts"]) == 2
    finally:
        assert again.stop() == 0
    assert issued["secret_access_key"] not in server.log.read_text()


def test_models_doctor_and_settings(server: Server) -> None:
    run(server, "models", "verify")
    assert "yunet-sface" in run(server, "models", "list").stdout
    assert server.credentials[1] not in run(server, "config", "show").stdout
    doctor = run(server, "doctor")
    assert str(server.process.pid) in doctor.stdout
