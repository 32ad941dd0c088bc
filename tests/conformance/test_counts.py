"""How many collections, faces and users there may be, as quotas say."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from countenance.gallery import TooManyUsers
from countenance.operations.quotas import Quotas
from countenance.sources import SourceBusy
from countenance.store import Entry
from tests.conformance.in_process import InProcess, ScriptedEngine, code_of, service_in

FULL = "ServiceQuotaExceededException"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[InProcess]:
    with service_in(
        tmp_path, ScriptedEngine(), most=Quotas.parse(["collections=1", "faces=2", "users=1"]).most
    ) as made:
        yield made


def ended(house: InProcess, operation: str, **params: Any) -> str:
    return code_of(house.call(operation, params))


def test_what_is_beyond_the_quota_is_refused_and_what_leaves_makes_room(house: InProcess) -> None:
    assert ended(house, "CreateCollection", CollectionId="one") == "OK"
    assert ended(house, "CreateCollection", CollectionId="two") == FULL
    image = {"Bytes": b"faces: 2"}
    assert ended(house, "IndexFaces", CollectionId="one", Image=image) == "OK"
    assert ended(house, "IndexFaces", CollectionId="one", Image={"Bytes": b"faces: 3"}) == FULL
    assert ended(house, "IndexFaces", CollectionId="one", Image={"Bytes": b"faces: 0"}) == "OK"  # nothing to enrol
    assert ended(house, "CreateUser", CollectionId="one", UserId="ann") == "OK"
    assert ended(house, "CreateUser", CollectionId="one", UserId="ann") == "ConflictException"
    assert ended(house, "CreateUser", CollectionId="one", UserId="ben") == FULL
    assert ended(house, "CreateUser", CollectionId="none", UserId="ben") == "ResourceNotFoundException"
    face = house.ok("ListFaces", {"CollectionId": "one"})["Faces"][0]["FaceId"]
    assert ended(house, "DeleteFaces", CollectionId="one", FaceIds=[face]) == "OK"
    assert ended(house, "IndexFaces", CollectionId="one", Image=image) == "OK"
    assert ended(house, "DeleteUser", CollectionId="one", UserId="ann") == "OK"
    assert ended(house, "CreateUser", CollectionId="one", UserId="ben") == "OK"
    assert ended(house, "DeleteCollection", CollectionId="one") == "OK"
    assert ended(house, "CreateCollection", CollectionId="two") == "OK"


def test_calls_at_once_do_not_go_beyond_the_quota(house: InProcess) -> None:
    house.ok("CreateCollection", {"CollectionId": "one"})
    gallery, account = house.service.gallery, house.account.account_id
    begin, full = threading.Barrier(8), list[str]()

    def create(number: int) -> None:
        begin.wait()
        entry = Entry("CreateUser", account, "", f"r-{number}", house.now(), {})
        try:
            gallery.create_user(account, "one", f"u{number}", at=house.now(), entry=entry, once=None, most=3)
        except TooManyUsers:
            full.append(f"u{number}")

    threads = [threading.Thread(target=create, args=(number,)) for number in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert (gallery.collection(account, "one").user_count, len(full)) == (3, 5)


def test_a_repeated_call_is_answered_when_there_is_no_room_any_more(house: InProcess) -> None:
    house.ok("CreateCollection", {"CollectionId": "one"})
    made = {"CollectionId": "one", "UserId": "ann", "ClientRequestToken": "made"}
    assert ended(house, "CreateUser", **made) == "OK"
    assert ended(house, "DeleteUser", CollectionId="one", UserId="ann") == "OK"
    assert ended(house, "CreateUser", CollectionId="one", UserId="ben") == "OK"
    assert ended(house, "CreateUser", **made) == "OK"
    assert [each["UserId"] for each in house.ok("ListUsers", {"CollectionId": "one"})["Users"]] == ["ben"]


def test_a_store_that_asks_for_fewer_requests_is_a_reason_to_try_again(
    house: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(*_names: object) -> bytes:
        raise SourceBusy

    monkeypatch.setattr(type(house.service.source), "fetch", busy)
    where = {"S3Object": {"Bucket": "photos", "Name": "a.jpg"}}
    assert ended(house, "DetectFaces", Image=where) == "ProvisionedThroughputExceededException"
