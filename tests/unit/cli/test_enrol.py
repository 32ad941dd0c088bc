"""enrol: every file is accounted for, nothing is sent twice, and a run can be stopped and repeated."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from PIL import Image

from countenance.cli import enrolment
from countenance.cli.folder_images import external_image_id, files_of

from .conftest import BOX, Answer, Peer

Invoke = Callable[..., Result]

EXTERNAL_IMAGE_ID = re.compile(r"[a-zA-Z0-9_.\-:]{1,255}", re.ASCII)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "portraits"
    for name, colour in {"ann/1.jpg": "red", "ann/2.png": "blue", "bob ö.jpg": "green"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (100, 100), colour).save(folder / name)
    (folder / ".hidden.jpg").write_bytes(b"x")
    (folder / ".git").mkdir()
    (folder / ".git" / "a.jpg").write_bytes(b"x")
    return folder


@pytest.fixture
def gallery(peer: Peer) -> list[str]:
    """A collection that remembers ExternalImageIds, and lists two to a page."""
    ids: list[str] = []

    def index(params: dict[str, Any]) -> Answer:
        ids.append(params["ExternalImageId"])
        face = {"FaceId": "f", "BoundingBox": BOX, "Confidence": 99.0}
        return {"FaceRecords": [{"Face": face}], "UnindexedFaces": []}

    def list_faces(params: dict[str, Any]) -> Answer:
        start = int(params.get("NextToken", "0"))
        page: dict[str, Any] = {"Faces": [{"ExternalImageId": each} for each in ids[start : start + 2]]}
        return page | ({"NextToken": str(start + 2)} if len(ids) > start + 2 else {})

    peer.answers["IndexFaces"] = index
    peer.answers["ListFaces"] = list_faces
    peer.says("CreateCollection", {"StatusCode": 200})
    return ids


def test_every_image_is_enrolled_under_an_id_made_of_its_path(
    invoke: Invoke, peer: Peer, gallery: list[str], folder: Path
) -> None:
    result = invoke("enrol", folder, "--collection", "staff", "--json")
    assert result.exit_code == 0, result.output
    assert sorted(gallery)[:2] == ["ann:1.jpg", "ann:2.png"]
    assert re.fullmatch(r"bob__\.jpg-[0-9a-f]{16}", sorted(gallery)[2])
    answer = json.loads(result.stdout)
    assert (answer["collection_id"], answer["faces"]) == ("staff", 3)
    by_file = {each["file"]: each for each in answer["enrolled"]}
    assert set(by_file) == {"ann/1.jpg", "ann/2.png", "bob ö.jpg"}
    assert by_file["ann/1.jpg"]["faces"] == [{"face_id": "f", "confidence": 99.0, "box": BOX}]
    sent = {each.params["ExternalImageId"]: each.params for each in peer.of("IndexFaces")}
    assert base64.b64decode(sent["ann:1.jpg"]["Image"]["Bytes"]) == (folder / "ann/1.jpg").read_bytes()
    assert sent["ann:1.jpg"]["QualityFilter"] == "AUTO"
    assert "MaxFaces" not in sent["ann:1.jpg"]
    assert peer.of("CreateCollection") == []


def test_a_second_run_sends_only_what_is_new(invoke: Invoke, peer: Peer, gallery: list[str], folder: Path) -> None:
    invoke("enrol", folder, "--collection", "staff")
    Image.new("RGB", (100, 100)).save(folder / "new.jpg")
    peer.requests.clear()
    result = invoke("enrol", folder, "--collection", "staff", "--json")
    assert [each.params["ExternalImageId"] for each in peer.of("IndexFaces")] == ["new.jpg"]
    answer = json.loads(result.stdout)
    assert sorted(answer["already_there"]) == ["ann/1.jpg", "ann/2.png", "bob ö.jpg"]
    peer.requests.clear()
    invoke("enrol", folder, "--collection", "staff", "--again")
    assert len(peer.of("IndexFaces")) == 4
    peer.requests.clear()
    invoke("enrol", folder, "--collection", "staff", "--prefix", "site2:", "--max-faces", "1")
    assert len(peer.of("IndexFaces")) == 4
    assert all(each.params["ExternalImageId"].startswith("site2:") for each in peer.of("IndexFaces"))
    assert all(each.params["MaxFaces"] == 1 for each in peer.of("IndexFaces"))


def test_every_file_that_cannot_be_used_is_listed_with_the_reason(
    invoke: Invoke, peer: Peer, gallery: list[str], folder: Path
) -> None:
    (folder / "notes.txt").write_text("dear diary")
    (folder / "empty.jpg").touch()
    (folder / "dangling.jpg").symlink_to("nowhere")
    with (folder / "huge.png").open("wb") as file:
        Image.new("RGB", (100, 100)).save(file, "PNG")
        file.write(bytes(5_242_880))
    answers: dict[str, Answer] = {
        "ann:1.jpg": {"FaceRecords": [], "UnindexedFaces": []},
        "ann:2.png": {
            "FaceRecords": [],
            "UnindexedFaces": [{"Reasons": ["LOW_SHARPNESS", "EXTREME_POSE"]}, {"Reasons": ["EXTREME_POSE"]}],
        },
    }
    refused: Answer = (400, "InvalidImageFormatException", "Request has invalid image format")
    peer.answers["IndexFaces"] = lambda params: answers.get(params["ExternalImageId"], refused)
    result = invoke("enrol", folder, "--collection", "staff")
    assert result.exit_code == 1
    told = {line[10 : line.index("  ", 10)]: line for line in result.stdout.splitlines()[1:]}
    assert {name: line.rpartition("  ")[2] for name, line in told.items()} == {
        "ann/1.jpg": "no face found",
        "ann/2.png": "no face good enough: EXTREME_POSE, LOW_SHARPNESS",
        "bob ö.jpg": "InvalidImageFormatException: Request has invalid image format",
        "notes.txt": f"{folder / 'notes.txt'} is not an image",
        "empty.jpg": f"{folder / 'empty.jpg'} is not an image",
        "dangling.jpg": f"{folder / 'dangling.jpg'} is not a file",
        "huge.png": f"{folder / 'huge.png'} has 5.2 MB; a request carries images of at most 5.2 MB",
    }
    assert "0 faces of 0 files enrolled, 0 files already there, 7 unusable, 0 unanswered." in result.stderr


def test_the_collection_is_made_only_when_asked_and_may_exist(
    invoke: Invoke, peer: Peer, gallery: list[str], folder: Path
) -> None:
    assert invoke("enrol", folder, "--collection", "staff", "--create").exit_code == 0
    assert peer.of("CreateCollection")[0].params == {"CollectionId": "staff"}
    peer.says("CreateCollection", (400, "ResourceAlreadyExistsException", "The collection id: staff already exists"))
    assert invoke("enrol", folder, "--collection", "staff", "--create").exit_code == 0
    peer.says("CreateCollection", (400, "AccessDeniedException", "no"))
    assert invoke("enrol", folder, "--collection", "staff", "--create").exit_code == 3


def test_a_missing_collection_ends_the_run_before_anything_is_sent(
    invoke: Invoke, peer: Peer, gallery: list[str], folder: Path
) -> None:
    peer.says("ListFaces", (400, "ResourceNotFoundException", "The collection id: staff does not exist"))
    result = invoke("enrol", folder, "--collection", "staff")
    assert result.exit_code == 3
    assert peer.of("IndexFaces") == []


def test_a_refusal_that_meets_every_file_ends_the_run_and_keeps_the_report(
    invoke: Invoke, peer: Peer, gallery: list[str], folder: Path
) -> None:
    index = peer.answers["IndexFaces"]
    peer.answers["IndexFaces"] = lambda params: (
        index(params) if not gallery else (400, "AccessDeniedException", "revoked")
    )
    result = invoke("enrol", folder, "--collection", "staff", "--jobs", "1", "--json")
    assert result.exit_code == 3
    answer = json.loads(result.stdout)
    assert answer["stopped_by"] == "AccessDeniedException: revoked"
    assert [each["file"] for each in answer["enrolled"]] == ["bob ö.jpg"]
    assert len(peer.of("IndexFaces")) == 2
    # What is missing is sent by the next run, and nothing else.
    peer.answers["IndexFaces"] = index
    assert invoke("enrol", folder, "--collection", "staff").exit_code == 0
    assert len(gallery) == len(set(gallery)) == 3


def test_a_failing_server_is_given_up_after_a_while(
    invoke: Invoke, peer: Peer, gallery: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("countenance.cli.enrol.ATTEMPTS", 1)
    monkeypatch.setattr(enrolment, "GIVE_UP_AFTER", 2)
    peer.says("IndexFaces", (500, "InternalServerError", "Internal server error"))
    result = invoke("enrol", folder, "--collection", "staff", "--jobs", "1", "--json")
    assert result.exit_code == 3
    answer = json.loads(result.stdout)
    assert len(answer["failed"]) == 2
    assert len(peer.of("IndexFaces")) == 2
    assert answer["stopped_by"] == "InternalServerError: Internal server error"


def test_one_failure_between_others_is_reported_and_the_rest_is_sent(
    invoke: Invoke, peer: Peer, gallery: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("countenance.cli.enrol.ATTEMPTS", 1)
    index = peer.answers["IndexFaces"]
    failure: Answer = (500, "InternalServerError", "Internal server error")
    peer.answers["IndexFaces"] = lambda params: failure if params["ExternalImageId"] == "ann:1.jpg" else index(params)
    result = invoke("enrol", folder, "--collection", "staff")
    assert result.exit_code == 3
    assert result.stdout.splitlines()[1].split() == ["unanswered", "ann/1.jpg", "InternalServerError:",
                                                     "Internal", "server", "error"]  # fmt: skip
    assert len(gallery) == 2


def test_no_more_files_are_in_flight_than_allowed(invoke: Invoke, peer: Peer, gallery: list[str], folder: Path) -> None:
    for n in range(12):
        Image.new("RGB", (100, 100)).save(folder / f"{n}.jpg")
    index = peer.answers["IndexFaces"]
    # Nobody is answered before three are there, so fewer at once would never end.
    together = threading.Barrier(3)

    def wait_and_index(params: dict[str, Any]) -> Answer:
        together.wait(10)
        return index(params)

    peer.answers["IndexFaces"] = wait_and_index
    assert invoke("enrol", folder, "--collection", "staff", "--jobs", "3").exit_code == 0
    assert len(gallery) == 15
    assert peer.most_at_once == 3


def test_an_interrupt_lets_calls_finish_and_tells_what_was_done(
    invoke: Invoke, peer: Peer, gallery: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = 0
    real_wait = enrolment.wait

    def interrupted_wait(*args: Any, **named: Any) -> Any:
        nonlocal done
        done += 1
        if done == 2:
            raise KeyboardInterrupt
        return real_wait(*args, **named)

    monkeypatch.setattr(enrolment, "wait", interrupted_wait)
    result = invoke("enrol", folder, "--collection", "staff", "--jobs", "1", "--json")
    assert result.exit_code == 130
    answer = json.loads(result.stdout)
    assert answer["stopped_by"] == "stopped by Ctrl-C"
    assert len(answer["enrolled"]) == 1
    monkeypatch.setattr(enrolment, "wait", real_wait)
    assert invoke("enrol", folder, "--collection", "staff").exit_code == 0
    assert len(gallery) == len(set(gallery)) == 3


def test_no_bar_is_drawn_where_there_is_no_terminal(
    invoke: Invoke, peer: Peer, gallery: list[str], folder: Path
) -> None:
    result = invoke("enrol", folder, "--collection", "staff")
    assert result.stderr == "3 faces of 3 files enrolled, 0 files already there, 0 unusable, 0 unanswered.\n"


AWKWARD = [
    "a/b.jpg", "a:b.jpg", "a_b.jpg", "a b.jpg", "a+b.jpg", "a/b/c.jpg", "a:b/c.jpg", "ä.jpg", "ö.jpg", "A/b.jpg",
    "x" * 255, "x" * 256, "x" * 300 + "1", "x" * 300 + "2", "\udcff.jpg", "a\nb.jpg", "ａ.jpg",
]  # fmt: skip


def test_ids_fit_and_tell_different_paths_apart() -> None:
    ids = [external_image_id(name) for name in AWKWARD]
    assert len(set(ids)) == len(AWKWARD)
    assert all(EXTERNAL_IMAGE_ID.fullmatch(each) for each in ids)
    assert ids[0] == "a:b.jpg"
    assert ids[-7] == "x" * 255
    assert [external_image_id(name) for name in AWKWARD] == ids
    assert all(EXTERNAL_IMAGE_ID.fullmatch(external_image_id(name, prefix="é" * 300)) for name in AWKWARD)
    assert external_image_id("a.jpg", prefix="p") != external_image_id("a.jpg", prefix="q")


def test_files_come_in_order_without_hidden_ones_and_links_out(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "z.jpg").write_bytes(b"x")
    (folder / "link").symlink_to(tmp_path / "elsewhere")
    assert [each.name for each in files_of(folder)] == ["bob ö.jpg", "ann/1.jpg", "ann/2.png"]
