"""Users over the wire: made, given faces, searched, taken apart, as botocore sees it."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from countenance.gallery import MAX_FACES_OF_A_USER

from .in_process import InProcess, ScriptedAnalysis, ScriptedEngine, code_of, face_at, service_in

C = "people"
MISSING = "11111111-2222-5333-8444-555555555555"


class People(ScriptedEngine):
    """`b"ann 3"` shows the third photograph of Ann: features near those of her other ones, far from all others'.
    Several faces are separated by `;`."""

    dimension = 64

    def analyse(self, image: bytes, *, max_faces: int = 100) -> ScriptedAnalysis:
        if image == b"nobody":
            return ScriptedAnalysis(1000, 1000, b"n" * 32, ())
        faces = tuple(
            face_at(0.01 * (number + 1) + 0.001 * (hash_of(each) % 50), 0.02, 0.5 / (number + 1))
            for number, each in enumerate(image.split(b";"))
        )
        self._shown = image.split(b";")
        return ScriptedAnalysis(1000, 1000, hash_of(image).to_bytes(32), faces)

    def extract(self, analysis: ScriptedAnalysis, faces: Any) -> np.ndarray:
        rows = [features(self._shown[analysis.faces.index(each)]) for each in faces]
        return np.stack(rows).astype(np.float32)


def hash_of(text: bytes) -> int:
    return int.from_bytes(uuid.uuid5(uuid.NAMESPACE_OID, text.decode()).bytes)


def features(text: bytes) -> np.ndarray:
    name, _, number = text.partition(b" ")
    person = np.random.default_rng(hash_of(name) % 2**32).normal(size=64)
    photograph = np.random.default_rng(hash_of(name + number) % 2**32).normal(size=64)
    row = person / np.linalg.norm(person) + 0.35 * photograph / np.linalg.norm(photograph)
    return (row / np.linalg.norm(row)).astype(np.float32)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[InProcess]:
    with service_in(tmp_path, People()) as running:
        running.ok("CreateCollection", {"CollectionId": C})
        yield running


def enrol(house: InProcess, *texts: str) -> list[str]:
    found = []
    for text in texts:
        answer = house.ok("IndexFaces", {"CollectionId": C, "Image": {"Bytes": text.encode()}})
        found.append(answer["FaceRecords"][0]["Face"]["FaceId"])
    return found


def user(house: InProcess, name: str, faces: list[str], **more: Any) -> dict[str, Any]:
    house.ok("CreateUser", {"CollectionId": C, "UserId": name})
    return house.ok("AssociateFaces", {"CollectionId": C, "UserId": name, "FaceIds": faces, **more})


def matches(answer: dict[str, Any]) -> list[str]:
    return [each["User"]["UserId"] for each in answer["UserMatches"]]


def by_image(house: InProcess, text: str, **more: Any) -> dict[str, Any]:
    return house.ok("SearchUsersByImage", {"CollectionId": C, "Image": {"Bytes": text.encode()}, **more})


def refusal(house: InProcess, operation: str, **params: Any) -> tuple[str, str]:
    answer = house.call(operation, {"CollectionId": C, **params})
    return code_of(answer), json.loads(answer.body).get("message", "")


def test_a_journey(house: InProcess) -> None:
    ann, ben, cid = (enrol(house, *(f"{name} {number}" for number in range(3))) for name in ("ann", "ben", "cid"))
    for name, faces in (("ann", ann), ("ben", ben), ("cid", cid)):
        assert user(house, name, faces[:2])["UserStatus"] == "ACTIVE"
    wrong = house.ok(
        "AssociateFaces", {"CollectionId": C, "UserId": "ann", "FaceIds": [ann[2], ben[2], ben[0], MISSING]}
    )
    assert wrong["AssociatedFaces"] == [{"FaceId": ann[2]}]
    refused = {each["FaceId"]: each for each in wrong["UnsuccessfulFaceAssociations"]}
    assert refused[ben[2]]["Reasons"] == ["LOW_MATCH_CONFIDENCE"]
    assert (refused[ben[2]]["UserId"], refused[ben[2]]["Confidence"] < 75) == ("ann", True)
    assert refused[ben[0]] == {
        "FaceId": ben[0],
        "UserId": "ben",
        "Reasons": ["ASSOCIATED_TO_A_DIFFERENT_USER"],
    }
    assert refused[MISSING]["Reasons"] == ["FACE_NOT_FOUND"]
    described = house.ok("DescribeCollection", {"CollectionId": C})
    assert (described["UserCount"], described["FaceCount"]) == (3, 9)
    found = by_image(house, "ann 7")
    assert matches(found) == ["ann"]
    assert found["UserMatches"][0]["User"]["UserStatus"] == "ACTIVE"
    assert found["SearchedFace"]["FaceDetail"]["BoundingBox"]
    assert matches(house.ok("SearchUsers", {"CollectionId": C, "FaceId": ben[2]})) == ["ben"]
    assert matches(house.ok("SearchUsers", {"CollectionId": C, "UserId": "ann"})) == []  # nobody else is like her
    everybody = house.ok("SearchUsers", {"CollectionId": C, "UserId": "ann", "UserMatchThreshold": 0})
    assert set(matches(everybody)) == {"ben", "cid"}
    assert everybody["SearchedUser"] == {"UserId": "ann"}
    listed = house.ok("ListFaces", {"CollectionId": C, "UserId": "ann"})["Faces"]
    assert [(each["FaceId"], each["UserId"]) for each in listed] == [(each, "ann") for each in ann]
    some = house.ok("ListFaces", {"CollectionId": C, "UserId": "ann", "FaceIds": [ann[0], ben[0]]})["Faces"]
    assert [each["FaceId"] for each in some] == [ann[0]]
    gone = house.ok("DeleteFaces", {"CollectionId": C, "FaceIds": [ann[0], ben[2]]})
    assert gone["DeletedFaces"] == [ben[2]]
    assert gone["UnsuccessfulFaceDeletions"] == [
        {"FaceId": ann[0], "UserId": "ann", "Reasons": ["ASSOCIATED_TO_AN_EXISTING_USER"]}
    ]
    taken = house.ok("DisassociateFaces", {"CollectionId": C, "UserId": "ann", "FaceIds": [*ann, ben[0], MISSING]})
    assert [each["FaceId"] for each in taken["DisassociatedFaces"]] == ann
    assert taken["UserStatus"] == "CREATED"
    assert [each["Reasons"] for each in taken["UnsuccessfulFaceDisassociations"]] == [
        ["ASSOCIATED_TO_A_DIFFERENT_USER"],
        ["FACE_NOT_FOUND"],
    ]
    assert by_image(house, "ann 7")["UserMatches"] == []
    assert house.ok("DeleteFaces", {"CollectionId": C, "FaceIds": [ann[0]]})["DeletedFaces"] == [ann[0]]
    house.ok("DeleteUser", {"CollectionId": C, "UserId": "ben"})
    assert "UserId" not in house.ok("ListFaces", {"CollectionId": C, "FaceIds": [ben[0]]})["Faces"][0]
    assert [each["UserId"] for each in house.ok("ListUsers", {"CollectionId": C})["Users"]] == ["ann", "cid"]


def test_more_faces_of_a_user_find_it_better(house: InProcess) -> None:
    faces = enrol(house, *(f"ann {number}" for number in range(8)))
    user(house, "one", faces[:1])
    user(house, "all", faces[1:])
    found = by_image(house, "ann 99", UserMatchThreshold=0)
    assert matches(found) == ["all", "one"]
    assert found["UserMatches"][0]["Similarity"] > found["UserMatches"][1]["Similarity"]


def test_an_image_without_a_face_is_answered_with_nobody(house: InProcess) -> None:
    user(house, "ann", enrol(house, "ann 1"))
    answer = by_image(house, "nobody")
    assert (answer["UserMatches"], answer["UnsearchedFaces"]) == ([], [])
    assert "SearchedFace" not in answer
    answer = by_image(house, "ann 2;ben 1")
    assert matches(answer) == ["ann"]
    assert [each["Reasons"] for each in answer["UnsearchedFaces"]] == [["FACE_NOT_LARGEST"]]


def test_pages_of_users(house: InProcess) -> None:
    names = [f"u{number}" for number in range(7)]
    for name in names:
        house.ok("CreateUser", {"CollectionId": C, "UserId": name})
    found, token = [], None
    while True:
        page = house.ok("ListUsers", {"CollectionId": C, "MaxResults": 3, **({"NextToken": token} if token else {})})
        found += page["Users"]
        token = page.get("NextToken")
        if token is None:
            break
    assert found == [{"UserId": name, "UserStatus": "CREATED"} for name in names]
    assert refusal(house, "ListUsers", NextToken="x")[0] == "InvalidPaginationTokenException"


def test_what_is_not_there_or_too_much(house: InProcess) -> None:
    (face,) = enrol(house, "ann 1")
    assert refusal(house, "AssociateFaces", UserId="x", FaceIds=[face])[0] == "ResourceNotFoundException"
    assert refusal(house, "DeleteUser", UserId="x") == ("ResourceNotFoundException", "The user id: x does not exist")
    assert refusal(house, "ListFaces", UserId="x")[0] == "ResourceNotFoundException"
    assert refusal(house, "SearchUsers", UserId="x")[0] == "ResourceNotFoundException"
    assert refusal(house, "SearchUsers", FaceId=MISSING)[0] == "InvalidParameterException"
    assert refusal(house, "SearchUsers")[0] == "InvalidParameterException"
    assert refusal(house, "SearchUsers", UserId="x", FaceId=face)[0] == "InvalidParameterException"
    house.ok("CreateUser", {"CollectionId": C, "UserId": "ann"})
    assert refusal(house, "CreateUser", UserId="ann")[0] == "ConflictException"
    assert refusal(house, "CreateUser", CollectionId="other", UserId="ann")[0] == "ResourceNotFoundException"
    assert house.ok("SearchUsers", {"CollectionId": C, "UserId": "ann"})["UserMatches"] == []


def test_a_user_has_a_hundred_faces_at_most(house: InProcess) -> None:
    faces = enrol(house, *(f"ann {number}" for number in range(MAX_FACES_OF_A_USER + 1)))
    user(house, "ann", faces[:100])
    code, _ = refusal(house, "AssociateFaces", UserId="ann", FaceIds=faces[100:], UserMatchThreshold=0)
    assert code == "ServiceQuotaExceededException"
    again = house.ok("AssociateFaces", {"CollectionId": C, "UserId": "ann", "FaceIds": faces[:3]})
    assert (again["AssociatedFaces"], again["UnsuccessfulFaceAssociations"]) == ([], [])


def test_a_token_is_good_for_one_call(house: InProcess) -> None:
    first, second = enrol(house, "ann 1", "ann 2")
    created = {"CollectionId": C, "UserId": "ann", "ClientRequestToken": "made"}
    assert house.ok("CreateUser", created)["ResponseMetadata"]["HTTPStatusCode"] == 200
    house.ok("CreateUser", created)  # no ConflictException: it is the same call
    asked = {"CollectionId": C, "UserId": "ann", "FaceIds": [first, MISSING], "ClientRequestToken": "put"}
    one, two = (house.ok("AssociateFaces", asked) for _ in range(2))
    assert [one[name] for name in one if name != "ResponseMetadata"] == [
        two[name] for name in two if name != "ResponseMetadata"
    ]
    assert one["AssociatedFaces"] == [{"FaceId": first}]
    for operation, changes in (
        ("AssociateFaces", {"FaceIds": [second]}),
        ("AssociateFaces", {"UserMatchThreshold": 50}),
        ("DisassociateFaces", {}),
    ):
        params = {name: value for name, value in (asked | changes).items() if name != "CollectionId"}
        code, message = refusal(house, operation, **params)
        assert code == "IdempotentParameterMismatchException"
        assert message == "The ClientRequestToken: put you have supplied is already in use."
    assert len(house.ok("ListFaces", {"CollectionId": C, "UserId": "ann"})["Faces"]) == 1


def test_a_repeated_call_is_told_what_was_so_when_it_was_made(house: InProcess) -> None:
    first, second = enrol(house, "ann 1", "ann 2")
    house.ok("CreateUser", {"CollectionId": C, "UserId": "ann"})
    put = {"CollectionId": C, "UserId": "ann", "FaceIds": [first], "ClientRequestToken": "put"}
    taken = {"CollectionId": C, "UserId": "ann", "FaceIds": [first], "ClientRequestToken": "taken"}
    assert house.ok("AssociateFaces", put)["UserStatus"] == "ACTIVE"
    assert house.ok("DisassociateFaces", taken)["UserStatus"] == "CREATED"
    assert house.ok("AssociateFaces", put)["UserStatus"] == "ACTIVE"  # though the user has no face any more
    house.ok("AssociateFaces", {"CollectionId": C, "UserId": "ann", "FaceIds": [second]})
    assert house.ok("DisassociateFaces", taken)["UserStatus"] == "CREATED"
    house.ok("DeleteUser", {"CollectionId": C, "UserId": "ann"})
    again = house.ok("AssociateFaces", put)
    assert (again["AssociatedFaces"], again["UserStatus"]) == ([{"FaceId": first}], "ACTIVE")


def test_an_erased_person_leaves_no_user_behind(house: InProcess, tmp_path: Path) -> None:
    faces = enrol(house, "ann 1", "ann 2", "ben 1")
    user(house, "Ann-Secret", faces[:2])
    house.ok("CreateUser", {"CollectionId": C, "UserId": "Only-A-Name"})  # and never given a face
    user(house, "ben", faces[2:])
    account = house.account.account_id
    for name in ("Ann-Secret", "Only-A-Name"):
        house.pipeline.administer(
            "person.erase", {"account_id": account, "external_image_id": name, "ground": "Art. 17 GDPR"}
        )
    assert [each["UserId"] for each in house.ok("ListUsers", {"CollectionId": C})["Users"]] == ["ben"]
    described = house.ok("DescribeCollection", {"CollectionId": C})
    assert (described["UserCount"], described["FaceCount"]) == (1, 1)
    assert matches(by_image(house, "ann 3", UserMatchThreshold=0)) == ["ben"]
    house.database.truncate_wal()
    for path in tmp_path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert b"Ann-Secret" not in content, path
            assert b"Only-A-Name" not in content, path


def test_searches_of_users_are_searches_to_policies(house: InProcess) -> None:
    """What forbids searching forbids this, too; and enrolling under a user is enrolling."""
    user(house, "ann", enrol(house, "ann 1"))
    other = house.service.accounts.create_account("police", request_id="r", at=house.now())
    issued = house.service.accounts.create_key(
        other.account_id, purpose="access-control", request_id="r", at=house.now()
    )
    house.clear(other.account_id, sector="police")
    house.credentials = (issued.key.access_key_id, issued.secret)
    for operation, params in (
        ("SearchUsers", {"UserId": "ann"}),
        ("SearchUsersByImage", {"Image": {"Bytes": b"ann 1"}}),
        ("AssociateFaces", {"UserId": "ann", "FaceIds": [MISSING]}),
    ):
        assert refusal(house, operation, **params)[0] == "AccessDeniedException", operation
