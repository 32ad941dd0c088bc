"""Real answers of every built operation, over real photographs, as botocore's parser reads them."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import botocore
import pytest
from botocore.model import ListShape, MapShape, Shape, StructureShape
from botocore.validate import ParamValidator

from countenance.operations import OPERATIONS
from countenance.recognition import build_engine
from countenance.wire.http import HttpResponse
from tests.conformance.in_process import InProcess, service_in, service_model

NOT_ANSWERED = {
    "OrientationCorrection",  # Amazon's own is null since face model 3 (API reference, DetectFaces)
}
"""Members of Amazon's published samples that this server leaves out. (Attributes that are not estimated, such as
AgeRange, are in none of the samples of these operations.)"""


@pytest.fixture(scope="module")
def photos(test_data: Path) -> tuple[bytes, bytes, bytes]:
    """Two photographs of one person and one of another."""
    folder = test_data / "faces" / "dlib_johns"
    people: dict[str, list[Path]] = {}
    with (folder / "labels.csv").open(newline="") as rows:
        for row in csv.DictReader(rows):
            people.setdefault(row["identity"], []).append(folder / row["image"])
    first, second = sorted(people.items())[:2]
    ann, ben = sorted(first[1]), sorted(second[1])
    return ann[0].read_bytes(), ann[1].read_bytes(), ben[0].read_bytes()


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InProcess]:
    folder = tmp_path_factory.mktemp("built")
    engine = build_engine(cache_dir=folder / "models")
    with service_in(folder, engine) as running:
        yield running
    engine.close()


Answers = dict[str, tuple[HttpResponse, dict[str, Any]]]


@pytest.fixture(scope="module")
def answers(house: InProcess, photos: tuple[bytes, bytes, bytes]) -> Answers:
    """One successful answer of every built operation: raw, and as botocore parses it."""
    ann, again, ben = ({"Bytes": photo} for photo in photos)
    arn = house.arn("people")
    seen: Answers = {}

    def call(operation: str, **params: Any) -> dict[str, Any]:
        ParamValidator().validate(params, house.model.operation_model(operation).input_shape)
        answer = house.call(operation, params)
        assert answer.status == 200, (operation, answer.body)
        seen[operation] = answer, house.parsed(operation, answer)
        return seen[operation][1]

    call("CreateCollection", CollectionId="people", Tags={"team": "doors"})
    face = call("IndexFaces", CollectionId="people", Image=again, ExternalImageId="ann2")["FaceRecords"][0]["Face"]
    other = call("IndexFaces", CollectionId="people", Image=ben)["FaceRecords"][0]["Face"]
    call("IndexFaces", CollectionId="people", Image=ann, ExternalImageId="ann", DetectionAttributes=["ALL"])
    call("DetectFaces", Image=ann, Attributes=["DEFAULT"])
    call("CompareFaces", SourceImage=ann, TargetImage=again, SimilarityThreshold=0)
    call("DescribeCollection", CollectionId="people")
    call("ListCollections", MaxResults=10)
    call("ListFaces", CollectionId="people", MaxResults=2)
    call("SearchFaces", CollectionId="people", FaceId=face["FaceId"], FaceMatchThreshold=0)
    call("SearchFacesByImage", CollectionId="people", Image=ann, FaceMatchThreshold=0)
    call("TagResource", ResourceArn=arn, Tags={"a": "b"})
    call("ListTagsForResource", ResourceArn=arn)
    call("UntagResource", ResourceArn=arn, TagKeys=["a"])
    missing = "11111111-2222-5333-8444-555555555555"
    call("CreateUser", CollectionId="people", UserId="ben")
    call("DeleteUser", CollectionId="people", UserId="ben")
    call("CreateUser", CollectionId="people", UserId="ann", ClientRequestToken="token-1")
    call("AssociateFaces", CollectionId="people", UserId="ann", FaceIds=[face["FaceId"]])
    call("AssociateFaces", CollectionId="people", UserId="ann", FaceIds=[missing, other["FaceId"]])
    call("ListUsers", CollectionId="people", MaxResults=1)
    call("SearchUsers", CollectionId="people", FaceId=other["FaceId"], UserMatchThreshold=0)
    call("SearchUsersByImage", CollectionId="people", Image=ann, UserMatchThreshold=0)
    call("DisassociateFaces", CollectionId="people", UserId="ann", FaceIds=[face["FaceId"], missing])
    call("DeleteFaces", CollectionId="people", FaceIds=[face["FaceId"], missing])
    call("DeleteCollection", CollectionId="people")
    return seen


WITHOUT_SAMPLES = {
    "AssociateFaces",
    "CreateUser",
    "DeleteUser",
    "DisassociateFaces",
    "ListUsers",
    "SearchUsers",
    "SearchUsersByImage",
}
PYTHON = {
    "string": str,
    "integer": int,
    "long": int,
    "float": float,
    "double": float,
    "boolean": bool,
    "timestamp": datetime,
}


def wrong(value: Any, shape: Shape, path: str) -> Iterator[str]:
    """What in a parsed value is not as the output shape has it."""
    if isinstance(shape, StructureShape):
        yield from (f"{path}.{name} is not in the model" for name in value.keys() - shape.members.keys())
        for name, item in value.items():
            if name in shape.members:
                yield from wrong(item, shape.members[name], f"{path}.{name}")
    elif isinstance(shape, ListShape):
        for number, item in enumerate(value):
            yield from wrong(item, shape.member, f"{path}[{number}]")
    elif isinstance(shape, MapShape):
        for name, item in value.items():
            yield from wrong(item, shape.value, f"{path}[{name!r}]")
    elif not isinstance(value, PYTHON[shape.type_name]) and not (shape.type_name == "float" and type(value) is int):
        yield f"{path} is a {type(value).__name__}, not a {shape.type_name}"
    elif shape.type_name == "string":
        if getattr(shape, "enum", []) and value not in shape.enum:
            yield f"{path} is {value!r}"
    elif shape.type_name in ("float", "integer"):
        low, high = shape.metadata.get("min"), shape.metadata.get("max")
        if (low is not None and value < low) or (high is not None and value > high):
            yield f"{path} is {value}"


def output(operation: str) -> StructureShape:
    shape = service_model().operation_model(operation).output_shape
    assert isinstance(shape, StructureShape)
    return shape


def test_every_built_operation_was_called(answers: Answers) -> None:
    assert set(answers) == set(OPERATIONS)


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_every_member_of_an_answer_is_as_the_model_has_it(answers: Answers, operation: str) -> None:
    answer, parsed = answers[operation]
    meta = parsed["ResponseMetadata"]
    assert (meta["HTTPStatusCode"], len(meta["RequestId"])) == (200, 36)
    found = {name: value for name, value in parsed.items() if name != "ResponseMetadata"}
    assert list(wrong(found, output(operation), operation)) == []
    # The parser drops what it does not know, so the raw members are compared as well.
    assert set(json.loads(answer.body)) == set(found)


def test_the_answers_hold_something(answers: Answers) -> None:
    parsed = {operation: answer for operation, (_, answer) in answers.items()}
    assert len(parsed["DetectFaces"]["FaceDetails"]) == 1
    assert len(parsed["IndexFaces"]["FaceRecords"]) == 1
    assert len(parsed["CompareFaces"]["FaceMatches"]) == 1
    assert len(parsed["SearchFaces"]["FaceMatches"]) == 2
    assert len(parsed["SearchFacesByImage"]["FaceMatches"]) == 3
    assert len(parsed["ListFaces"]["Faces"]) == 2
    assert parsed["ListFaces"]["NextToken"]
    assert parsed["ListTagsForResource"]["Tags"] == {"team": "doors", "a": "b"}
    assert parsed["DescribeCollection"]["FaceCount"] == 3
    assert len(parsed["DeleteFaces"]["DeletedFaces"]) == len(parsed["DeleteFaces"]["UnsuccessfulFaceDeletions"]) == 1


def paths(value: Any, path: str = "") -> Iterator[str]:
    """Every member in a sample or an answer, lists taken as one."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield f"{path}.{name}"
            yield from paths(item, f"{path}.{name}")
    elif isinstance(value, list):
        for item in value:
            yield from paths(item, path)


def samples() -> dict[str, list[Any]]:
    """Amazon's published sample answers that botocore carries."""
    folder = Path(botocore.__file__).parent / "data" / "rekognition" / "2016-06-27"
    plain, packed = folder / "examples-1.json", folder / "examples-1.json.gz"
    text = plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes())
    examples = json.loads(text)["examples"]
    return {name: [one["output"] for one in examples.get(name, []) if "output" in one] for name in OPERATIONS}


def test_there_are_samples() -> None:
    assert {name for name, found in samples().items() if found} == set(OPERATIONS) - {
        "DescribeCollection", "ListTagsForResource", "TagResource", "UntagResource", *WITHOUT_SAMPLES,
    }  # fmt: skip


@pytest.mark.parametrize("operation", sorted(name for name, found in samples().items() if found))
def test_an_answer_has_what_clients_read_in_the_published_sample(answers: Answers, operation: str) -> None:
    answer, _ = answers[operation]
    ours = set(paths(json.loads(answer.body)))
    for sample in samples()[operation]:
        expected = {path for path in paths(sample) if path.rsplit(".", 1)[1] not in NOT_ANSWERED}
        if operation in ("SearchFaces", "ListFaces"):  # the sample's faces have the optional name, one of ours too
            expected -= {".FaceMatches.Face.ExternalImageId", ".Faces.ExternalImageId"} - ours
        assert expected <= ours, expected - ours
