"""A call that two operators approve, and the attempts to get around them: over boto3 and the command line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import People, start
from tests.e2e.operators import Two, two_of
from tests.e2e.test_moratorium import client, denied, opened


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    server = start(tmp_path_factory.mktemp("four-eyes") / "data")
    try:
        yield two_of(server)
    finally:
        server.stop()


def test_four_eyes_over_one_call(house: Two, tmp_path: Path, people: People) -> None:
    photograph, other = (images[0].read_bytes() for images in list(people.values())[:2])
    ours, theirs = (
        client(house, opened(house, tmp_path, name, "--sector", "transport"), "remote-identification")
        for name in ("Ours", "Theirs")
    )
    for each in (ours, theirs):
        each.create_collection(CollectionId="people")
        each.index_faces(CollectionId="people", Image={"Bytes": photograph}, ExternalImageId="one")
    made = house.answer("ann", "policy", "draft", "standing", "moratorium", "ai-act")["policy_set"]
    house.decide("policy", "activate", made)
    wanted: dict[str, Any] = {"CollectionId": "people", "Image": {"Bytes": photograph}}
    approval = denied(ours.search_faces_by_image, **wanted).rpartition("Approval ")[2].rstrip(".")
    (waits,) = house.answer("ann", "approval", "list")["approvals"]
    assert waits["approval"] == approval

    alone = house.run("host", "approval", "give", approval, "--reason", "x", check=False)
    assert alone.returncode == 3
    assert "nobody is logged in" in alone.stderr
    proposal = house.answer("ann", "approval", "give", approval, "--reason", "file 12")["proposal"]
    own = house.run("ann", "proposal", "approve", proposal, "--yes", check=False)
    assert own.returncode == 3
    assert "Nobody approves what they proposed" in own.stderr
    host = house.run("host", "proposal", "approve", proposal, "--yes", check=False)
    assert host.returncode == 3
    denied(ours.search_faces_by_image, **wanted)
    house.answer("bea", "proposal", "approve", proposal, "--yes")

    answer = ours.search_faces_by_image(**wanted)
    assert answer["FaceMatches"][0]["Face"]["ExternalImageId"] == "one"
    denied(ours.search_faces_by_image, **{**wanted, "Image": {"Bytes": other}})
    denied(theirs.search_faces_by_image, **wanted)

    headers = answer["ResponseMetadata"]["HTTPHeaders"]
    assert headers["x-countenance-review"] == "2"
    call = answer["ResponseMetadata"]["RequestId"]
    for who, seen in (("ann", 1), ("bea", 2)):
        said = house.answer(who, "review", "verify", call, "--judgement", "confirmed", "--reason", "same scar")
        assert said["verified"] == seen
    assert house.answer("ann", "review", "list", "--open")["calls"] == 0
    assert house.answer("host", "ledger", "fsck")["problems"] == []
