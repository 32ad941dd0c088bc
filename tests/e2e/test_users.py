"""Three people with several photographs each, as users, over unmodified boto3 and real inference; all of it twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from .conftest import People, Server

C = "the-users"


def image(path: Path) -> dict[str, bytes]:
    return {"Bytes": path.read_bytes()}


def journey(client: Any, photographs: dict[str, list[Path]], run: str) -> dict[str, Any]:
    """What a team's script does; `run` makes its tokens those of this run, which a script that is tried again keeps."""
    faces: dict[str, list[str]] = {}
    for name, several in photographs.items():
        faces[name] = [
            client.index_faces(CollectionId=C, Image=image(each), MaxFaces=1)["FaceRecords"][0]["Face"]["FaceId"]
            for each in several[:-1]
        ]
        client.create_user(CollectionId=C, UserId=name, ClientRequestToken=f"create-{name}-{run}")
        associated = client.associate_faces(
            CollectionId=C, UserId=name, FaceIds=faces[name], ClientRequestToken=f"associate-{name}-{run}"
        )
        assert [each["FaceId"] for each in associated["AssociatedFaces"]] == faces[name]
        assert associated["UnsuccessfulFaceAssociations"] == []
        assert associated["UserStatus"] == "ACTIVE"
    first, second, *_ = photographs
    wrong = client.associate_faces(
        CollectionId=C, UserId=first, FaceIds=[faces[second][0]], ClientRequestToken=f"wrong-{run}"
    )
    assert wrong["UnsuccessfulFaceAssociations"][0]["Reasons"] == ["ASSOCIATED_TO_A_DIFFERENT_USER"]
    found = {}
    for name, several in photographs.items():
        answer = client.search_users_by_image(CollectionId=C, Image=image(several[-1]), UserMatchThreshold=80)
        found[name] = [(each["User"]["UserId"], each["User"]["UserStatus"]) for each in answer["UserMatches"]]
        assert answer["SearchedFace"]["FaceDetail"]["Confidence"] > 90
    return found


def test_a_journey_twice(server: Server, people: People) -> None:
    photographs = {name: several[:4] for name, several in people.items() if len(several) >= 4}
    photographs = dict(list(photographs.items())[:3])
    assert len(photographs) == 3
    client = server.client()
    client.create_collection(CollectionId=C)
    try:
        expected = {name: [(name, "ACTIVE")] for name in photographs}
        assert journey(client, photographs, "1") == expected
        assert journey(client, photographs, "1") == expected  # the same script again: the same answers, nothing twice
        described = client.describe_collection(CollectionId=C)
        assert (described["UserCount"], described["FaceCount"]) == (3, 9)
        pages = client.get_paginator("list_users").paginate(CollectionId=C, PaginationConfig={"PageSize": 2})
        assert [each["UserId"] for page in pages for each in page["Users"]] == list(photographs)
        first, second, third = photographs
        stranger = client.index_faces(CollectionId=C, Image=image(photographs[third][-1]), MaxFaces=1)
        face = stranger["FaceRecords"][0]["Face"]["FaceId"]
        refused = client.associate_faces(CollectionId=C, UserId=first, FaceIds=[face])
        assert refused["UnsuccessfulFaceAssociations"][0]["Reasons"] == ["LOW_MATCH_CONFIDENCE"]
        assert refused["UnsuccessfulFaceAssociations"][0]["Confidence"] < 75
        by_face = client.search_users(CollectionId=C, FaceId=face)
        assert [each["User"]["UserId"] for each in by_face["UserMatches"]] == [third]
        by_user = client.search_users(CollectionId=C, UserId=first)
        assert by_user["UserMatches"] == []
        mine = [each["FaceId"] for each in client.list_faces(CollectionId=C, UserId=first)["Faces"]]
        assert len(mine) == 3
        kept = client.delete_faces(CollectionId=C, FaceIds=mine)
        assert {each["Reasons"][0] for each in kept["UnsuccessfulFaceDeletions"]} == {"ASSOCIATED_TO_AN_EXISTING_USER"}
        taken = client.disassociate_faces(CollectionId=C, UserId=first, FaceIds=mine)
        assert (len(taken["DisassociatedFaces"]), taken["UserStatus"]) == (3, "CREATED")
        assert client.delete_faces(CollectionId=C, FaceIds=mine)["DeletedFaces"] == mine
        client.delete_user(CollectionId=C, UserId=second)
        with pytest.raises(ClientError) as gone:
            client.delete_user(CollectionId=C, UserId=second)
        assert gone.value.response["Error"]["Code"] == "ResourceNotFoundException"
        with pytest.raises(ClientError) as taken_token:
            client.create_user(CollectionId=C, UserId="another", ClientRequestToken=f"create-{first}-1")
        assert taken_token.value.response["Error"]["Code"] == "IdempotentParameterMismatchException"
    finally:
        client.delete_collection(CollectionId=C)
