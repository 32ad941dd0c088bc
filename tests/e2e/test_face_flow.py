"""The first hour of a new user: two people enrolled, another photograph of one of them recognised."""

from __future__ import annotations

import contextlib
import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.e2e.operators import two_of
from tests.unit.accounts.declarations import CUSTOMER

from .conftest import People, Server, start


@pytest.fixture
def two(people: People) -> tuple[list[Path], list[Path]]:
    first, second = list(people.values())[:2]
    return first, second


@pytest.fixture
def collection(server: Server, request: pytest.FixtureRequest) -> Iterator[str]:
    name = f"c-{request.node.name}"[:255].replace("[", "-").replace("]", "")
    client = server.client()
    client.create_collection(CollectionId=name)
    yield name
    with contextlib.suppress(client.exceptions.ResourceNotFoundException):
        client.delete_collection(CollectionId=name)


def error_of(refused: pytest.ExceptionInfo[ClientError]) -> tuple[str, str, int]:
    answer = refused.value.response
    return answer["Error"]["Code"], answer["Error"]["Message"], answer["ResponseMetadata"]["HTTPStatusCode"]


def image(path: Path) -> dict[str, bytes]:
    return {"Bytes": path.read_bytes()}


def index(client: Any, collection: str, path: Path, name: str | None = None, **more: Any) -> dict[str, Any]:
    extra = {"ExternalImageId": name} if name else {}
    answer: dict[str, Any] = client.index_faces(CollectionId=collection, Image=image(path), **extra, **more)
    return answer


def test_boto3_enrols_searches_compares_and_deletes(
    server: Server, collection: str, two: tuple[list[Path], list[Path]]
) -> None:
    client = server.client()
    ann, ben = two
    first = index(client, collection, ann[0], "ann")
    second = index(client, collection, ben[0], "ben")
    assert [len(answer["FaceRecords"]) for answer in (first, second)] == [1, 1]
    face = first["FaceRecords"][0]["Face"]
    assert face["ExternalImageId"] == "ann"
    assert face["IndexFacesModelVersion"] == first["FaceModelVersion"]

    found = client.search_faces_by_image(CollectionId=collection, Image=image(ann[1]), MaxFaces=5)
    assert [match["Face"]["FaceId"] for match in found["FaceMatches"]] == [face["FaceId"]]
    assert found["FaceMatches"][0]["Similarity"] >= 80
    assert 0 < found["SearchedFaceBoundingBox"]["Width"] < 1.5
    assert found["SearchedFaceConfidence"] > 50

    same = client.compare_faces(SourceImage=image(ann[0]), TargetImage=image(ann[1]))
    assert len(same["FaceMatches"]) == 1
    assert same["UnmatchedFaces"] == []
    other = client.compare_faces(SourceImage=image(ann[0]), TargetImage=image(ben[0]))
    assert other["FaceMatches"] == []
    assert len(other["UnmatchedFaces"]) == 1
    itself = client.compare_faces(SourceImage=image(ann[0]), TargetImage=image(ann[0]))
    assert itself["FaceMatches"][0]["Similarity"] == pytest.approx(100, abs=0.01)

    described = client.describe_collection(CollectionId=collection)
    assert described["FaceCount"] == 2
    assert abs(datetime.now(UTC) - described["CreationTimestamp"]) < timedelta(minutes=10)
    account = described["CollectionARN"].split(":")[4]
    assert described["CollectionARN"] == f"arn:aws:rekognition:eu-west-2:{account}:collection/{collection}"

    deleted = client.delete_faces(
        CollectionId=collection, FaceIds=[face["FaceId"], "0" * 8 + "-0000-0000-0000-" + "0" * 12]
    )
    assert deleted["DeletedFaces"] == [face["FaceId"]]
    assert deleted["UnsuccessfulFaceDeletions"][0]["Reasons"] == ["FACE_NOT_FOUND"]
    gone = client.search_faces_by_image(CollectionId=collection, Image=image(ann[1]), FaceMatchThreshold=0)
    assert face["FaceId"] not in [match["Face"]["FaceId"] for match in gone["FaceMatches"]]


def test_search_faces_leaves_the_searched_face_out_and_sorts(
    server: Server, collection: str, two: tuple[list[Path], list[Path]]
) -> None:
    client = server.client()
    ann, ben = two
    ids = [
        index(client, collection, path, f"p{number}")["FaceRecords"][0]["Face"]["FaceId"]
        for number, path in enumerate([*ann[:3], *ben[:2]])
    ]
    found = client.search_faces(CollectionId=collection, FaceId=ids[0], FaceMatchThreshold=0)
    matches = [match["Face"]["FaceId"] for match in found["FaceMatches"]]
    assert found["SearchedFaceId"] == ids[0]
    assert sorted(matches) == sorted(ids[1:])
    assert set(matches[:2]) == set(ids[1:3])
    similarities = [match["Similarity"] for match in found["FaceMatches"]]
    assert similarities == sorted(similarities, reverse=True)
    assert (
        len(
            client.search_faces(CollectionId=collection, FaceId=ids[0], MaxFaces=1, FaceMatchThreshold=0)["FaceMatches"]
        )
        == 1
    )


def test_an_image_is_one_reference_per_external_image_id(
    server: Server, collection: str, two: tuple[list[Path], list[Path]]
) -> None:
    client = server.client()
    path = two[0][0]
    once, again = index(client, collection, path, "a"), index(client, collection, path, "a")
    assert once["FaceRecords"][0]["Face"] == again["FaceRecords"][0]["Face"]
    other = index(client, collection, path, "b")["FaceRecords"][0]["Face"]
    assert other["FaceId"] != once["FaceRecords"][0]["Face"]["FaceId"]
    assert other["ImageId"] == once["FaceRecords"][0]["Face"]["ImageId"]
    assert client.describe_collection(CollectionId=collection)["FaceCount"] == 2


def test_face_ids_are_equal_across_collections_of_an_account_and_not_across_accounts(
    server: Server, collection: str, two: tuple[list[Path], list[Path]]
) -> None:
    client, path = server.client(), two[0][0]
    client.create_collection(CollectionId="second")
    here = index(client, collection, path, "a")["FaceRecords"][0]["Face"]
    there = index(client, "second", path, "a")["FaceRecords"][0]["Face"]
    client.delete_collection(CollectionId="second")
    assert here["FaceId"] == there["FaceId"]

    guest = server.client(new_account(server, "Guest"))
    guest.create_collection(CollectionId=collection)
    elsewhere = index(guest, collection, path, "a")["FaceRecords"][0]["Face"]
    assert elsewhere["FaceId"] != here["FaceId"]
    assert elsewhere["ImageId"] != here["ImageId"]
    guest.delete_collection(CollectionId=collection)
    assert client.describe_collection(CollectionId=collection)["FaceCount"] == 1


def test_faces_are_listed_in_pages_and_by_id(
    server: Server, collection: str, two: tuple[list[Path], list[Path]]
) -> None:
    client = server.client()
    ids = [index(client, collection, path)["FaceRecords"][0]["Face"]["FaceId"] for path in [*two[0][:4], *two[1][:3]]]
    pages = list(client.get_paginator("list_faces").paginate(CollectionId=collection, PaginationConfig={"PageSize": 3}))
    assert [len(page["Faces"]) for page in pages] == [3, 3, 1]
    assert [face["FaceId"] for page in pages for face in page["Faces"]] == ids
    some = client.list_faces(CollectionId=collection, FaceIds=[ids[2], ids[5]])["Faces"]
    assert [face["FaceId"] for face in some] == [ids[2], ids[5]]
    with pytest.raises(client.exceptions.InvalidPaginationTokenException):
        client.list_faces(CollectionId=collection, NextToken="rubbish")
    with pytest.raises(client.exceptions.InvalidPaginationTokenException):
        client.list_collections(NextToken=pages[0]["NextToken"])


def test_max_faces_and_quality_report_what_was_left_out(server: Server, collection: str, test_data: Path) -> None:
    client = server.client()
    with (test_data / "faces" / "compreface_samples" / "labels.csv").open(newline="") as rows:
        crowd = max(csv.DictReader(rows), key=lambda row: int(row["n_faces"]))["image"]
    photo = test_data / "faces" / "compreface_samples" / crowd
    every = client.detect_faces(Image=image(photo))["FaceDetails"]
    areas = [face["BoundingBox"]["Width"] * face["BoundingBox"]["Height"] for face in every]
    assert len(every) > 2
    assert areas == sorted(areas, reverse=True)
    answer = index(client, collection, photo, MaxFaces=2, QualityFilter="NONE")
    assert len(answer["FaceRecords"]) == 2
    assert [face["Reasons"] for face in answer["UnindexedFaces"]] == [["EXCEEDS_MAX_FACES"]] * (len(every) - 2)
    assert answer["FaceRecords"][0]["FaceDetail"]["BoundingBox"] == every[0]["BoundingBox"]


def test_all_faces_of_an_image_are_searched_on_request(server: Server, collection: str, test_data: Path) -> None:
    client = server.client()
    with (test_data / "faces" / "compreface_samples" / "labels.csv").open(newline="") as rows:
        crowd = max(csv.DictReader(rows), key=lambda row: int(row["n_faces"]))["image"]
    photo = test_data / "faces" / "compreface_samples" / crowd
    enrolled = {
        record["Face"]["FaceId"] for record in index(client, collection, photo, QualityFilter="NONE")["FaceRecords"]
    }
    one = client.search_faces_by_image(CollectionId=collection, Image=image(photo), FaceMatchThreshold=99)
    assert len(one["FaceMatches"]) < len(enrolled)

    raw: list[bytes] = []
    client.meta.events.register(
        "before-call.rekognition.SearchFacesByImage",
        lambda params, **_: params["headers"].update({"x-countenance-all-faces": "true"}),
    )
    client.meta.events.register(
        "after-call.rekognition.SearchFacesByImage", lambda http_response, **_: raw.append(http_response.content)
    )
    found = client.search_faces_by_image(CollectionId=collection, Image=image(photo), FaceMatchThreshold=99)
    assert {match["Face"]["FaceId"] for match in found["FaceMatches"]} == enrolled
    detail = json.loads(raw[0])["CountenanceSearchedFaces"]
    assert len(detail) == len(enrolled)
    assert all(face["FaceMatches"][0]["Similarity"] > 99.9 for face in detail)


def test_images_without_a_face(server: Server, collection: str) -> None:
    import io

    from PIL import Image

    out = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(out, "PNG")
    blank = {"Bytes": out.getvalue()}
    client = server.client()
    assert client.detect_faces(Image=blank)["FaceDetails"] == []
    assert client.index_faces(CollectionId=collection, Image=blank)["FaceRecords"] == []
    with pytest.raises(ClientError) as refused:
        client.search_faces_by_image(CollectionId=collection, Image=blank)
    assert error_of(refused) == (
        "InvalidParameterException",
        "There are no faces in the image. Should be at least 1.",
        400,
    )
    with pytest.raises(client.exceptions.InvalidParameterException):
        client.compare_faces(SourceImage=blank, TargetImage=blank)


def test_images_come_from_buckets_that_are_folders(server: Server, two: tuple[list[Path], list[Path]]) -> None:
    bucket = server.data / "buckets" / "photos"
    (bucket / "a").mkdir(parents=True, exist_ok=True)
    (bucket / "a" / "ann.jpg").write_bytes(two[0][0].read_bytes())
    place = {"S3Object": {"Bucket": "photos", "Name": "a/ann.jpg"}}
    assert len(server.client().detect_faces(Image=place)["FaceDetails"]) == 1
    for bad in ({"Bucket": "photos", "Name": "a/none.jpg"}, {"Bucket": "photos", "Name": "../../credentials"}):
        with pytest.raises(ClientError) as refused:
            server.client().detect_faces(Image={"S3Object": bad})
        assert error_of(refused)[0] == "InvalidS3ObjectException"
    guest = server.client(new_account(server, "No bucket"))
    with pytest.raises(ClientError) as ungranted:
        guest.detect_faces(Image=place)
    with pytest.raises(ClientError) as missing:
        guest.detect_faces(Image={"S3Object": {"Bucket": "nowhere", "Name": "a.jpg"}})
    assert error_of(ungranted) == error_of(missing)


def test_accounts_cannot_see_or_name_each_others_collections(server: Server, collection: str) -> None:
    owner, guest = server.client(), server.client(new_account(server, "Other"))
    arn = owner.describe_collection(CollectionId=collection)["CollectionARN"]
    assert guest.list_collections()["CollectionIds"] == []
    for call in (
        lambda: guest.describe_collection(CollectionId=collection),
        lambda: guest.delete_collection(CollectionId=collection),
        lambda: guest.list_faces(CollectionId=collection),
        lambda: guest.list_tags_for_resource(ResourceArn=arn),
        lambda: guest.tag_resource(ResourceArn=arn, Tags={"a": "b"}),
    ):
        with pytest.raises(ClientError) as refused:
            call()
        assert error_of(refused)[0] == "ResourceNotFoundException"
    guest.create_collection(CollectionId=collection)
    assert guest.list_collections()["CollectionIds"] == [collection]
    guest.delete_collection(CollectionId=collection)
    assert owner.describe_collection(CollectionId=collection)["FaceCount"] == 0


def test_tags(server: Server) -> None:
    client = server.client()
    made = client.create_collection(CollectionId="tagged", Tags={"team": "doors"})
    assert made["CollectionArn"].startswith("aws:rekognition:eu-west-2:")
    arn = client.describe_collection(CollectionId="tagged")["CollectionARN"]
    client.tag_resource(ResourceArn=arn, Tags={"team": "gates", "größe": "5"})
    assert client.list_tags_for_resource(ResourceArn=arn)["Tags"] == {"team": "gates", "größe": "5"}
    client.untag_resource(ResourceArn=arn, TagKeys=["team", "never"])
    assert client.list_tags_for_resource(ResourceArn=made["CollectionArn"])["Tags"] == {"größe": "5"}
    with pytest.raises(client.exceptions.ServiceQuotaExceededException):
        client.tag_resource(ResourceArn=arn, Tags={f"k{n}": "v" for n in range(200)})
    client.delete_collection(CollectionId="tagged")
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        client.list_tags_for_resource(ResourceArn=arn)


def test_collections_exist_once_and_are_listed_in_pages(server: Server) -> None:
    client = server.client(new_account(server, "Lister"))
    names = [f"list-{number}" for number in range(7)]
    for name in names:
        client.create_collection(CollectionId=name)
    with pytest.raises(ClientError) as refused:
        client.create_collection(CollectionId=names[0])
    assert error_of(refused)[:2] == ("ResourceAlreadyExistsException", f"The collection id: {names[0]} already exists")
    pages = list(client.get_paginator("list_collections").paginate(PaginationConfig={"PageSize": 3}))
    assert [name for page in pages for name in page["CollectionIds"]] == names
    assert all(len(page["CollectionIds"]) == len(page["FaceModelVersions"]) for page in pages)
    for name in names:
        client.delete_collection(CollectionId=name)
    with pytest.raises(ClientError) as missing:
        client.delete_collection(CollectionId=names[0])
    assert error_of(missing)[:2] == ("ResourceNotFoundException", f"The collection id: {names[0]} does not exist")


def test_operations_that_are_not_built_say_so(server: Server) -> None:
    with pytest.raises(ClientError) as refused:
        server.client().detect_labels(Image={"Bytes": b"x"})
    code, message, status = error_of(refused)
    assert (code, status) == ("UnknownOperationException", 400)
    assert "DetectLabels is not supported by this server" in message
    assert "compatibility.md" in message


def test_a_revoked_key_is_refused_on_the_next_request(server: Server) -> None:
    credentials = new_account(server, "Revoked")
    client = server.client(credentials)
    client.list_collections()
    cli(server, "key", "revoke", credentials[0], "--yes")
    with pytest.raises(ClientError) as refused:
        client.list_collections()
    assert error_of(refused)[0] == "UnrecognizedClientException"


def test_what_was_enrolled_is_there_after_a_restart(tmp_path: Path, two: tuple[list[Path], list[Path]]) -> None:
    first = start(tmp_path / "data")
    client = first.client()
    client.create_collection(CollectionId="people")
    face = index(client, "people", two[0][0], "ann")["FaceRecords"][0]["Face"]
    assert first.stop() == 0
    second = start(tmp_path / "data")
    try:
        client = second.client()
        assert client.list_faces(CollectionId="people")["Faces"] == [face]
        found = client.search_faces_by_image(CollectionId="people", Image=image(two[0][1]))
        assert [match["Face"] for match in found["FaceMatches"]] == [face]
        assert index(client, "people", two[0][0], "ann")["FaceRecords"][0]["Face"] == face
    finally:
        assert second.stop() == 0
    examined = subprocess.run(
        [sys.executable, "-m", "countenance", "ledger", "fsck", "--data", tmp_path / "data", "--json"],
        check=True,
        capture_output=True,
    )
    found = json.loads(examined.stdout)
    # Key, key of the maps, start, account, access key, the policy set that decides; each call; the effects of the
    # creation and of enrolling (twice, the second time changing nothing); stop, start, stop.
    assert (found["leaves"], found["references"], found["problems"]) == (17, 1, [])


def test_templates_of_another_model_version_are_never_compared(
    tmp_path: Path, two: tuple[list[Path], list[Path]]
) -> None:
    first = start(tmp_path / "data")
    first.client().create_collection(CollectionId="plain")
    index(first.client(), "plain", two[0][0], "ann")
    assert first.stop() == 0
    second = start(tmp_path / "data", environ={"COUNTENANCE_FLIP": "false"})
    try:
        client = second.client()
        for call in (
            lambda: index(client, "plain", two[0][1], "ann-2"),
            lambda: client.search_faces_by_image(CollectionId="plain", Image=image(two[0][1])),
        ):
            with pytest.raises(ClientError) as refused:
                call()
            code, message, _ = error_of(refused)
            assert code == "InvalidParameterException"
            assert "face model" in message
        assert len(client.list_faces(CollectionId="plain")["Faces"]) == 1
        client.create_collection(CollectionId="flipped")
        index(client, "flipped", two[0][0], "ann")
        found = client.search_faces_by_image(CollectionId="flipped", Image=image(two[0][1]))
        assert len(found["FaceMatches"]) == 1
    finally:
        assert second.stop() == 0


def test_the_aws_cli_works(server: Server, two: tuple[list[Path], list[Path]]) -> None:
    aws = str(Path(sys.executable).with_name("aws"))
    ann, ben = two

    def run(*words: str) -> dict[str, Any]:
        done = subprocess.run(
            [aws, "rekognition", *words, "--output", "json"],
            env=server.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer

    assert run("create-collection", "--collection-id", "cli")["StatusCode"] == 200
    for name, path in (("ann", ann[0]), ("ben", ben[0])):
        answer = run(
            "index-faces", "--collection-id", "cli", "--external-image-id", name, "--image-bytes", f"fileb://{path}"
        )
        assert len(answer["FaceRecords"]) == 1
    found = run("search-faces-by-image", "--collection-id", "cli", "--image-bytes", f"fileb://{ann[1]}")
    assert [match["Face"]["ExternalImageId"] for match in found["FaceMatches"]] == ["ann"]
    same = run(
        "compare-faces", "--source-image-bytes", f"fileb://{ann[0]}", "--target-image-bytes", f"fileb://{ann[2]}"
    )
    assert len(same["FaceMatches"]) == 1
    assert "cli" in run("list-collections")["CollectionIds"]
    assert run("delete-collection", "--collection-id", "cli")["StatusCode"] == 200


def cli(server: Server, *words: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "countenance", *words, "--json"],
        env=server.environment() | {"COUNTENANCE_DATA_DIR": str(server.data)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def new_account(server: Server, name: str) -> tuple[str, str]:
    """Opens an account through the admin socket; its first access key."""
    declaration = server.data.parent / "customer.json"
    declaration.write_text(json.dumps(CUSTOMER))
    account = cli(server, "account", "create", name, "--party", str(declaration))["account_id"]
    two_of(server).clear(account)
    issued = cli(server, "key", "create", account)
    return issued["access_key_id"], issued["secret_access_key"]
