"""Answers: the wire form of every kind of value, and defects that must not reach a client."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from countenance.wire import response
from countenance.wire.faults import WireBug

REQUEST_ID = "4b9d2c0e-7f3a-4d0f-9a51-2f6d3c8e1b70"
FACE = {"FaceId": "11111111-2222-5333-8444-555555555555", "Confidence": 99.5}


def body(operation: str, result: dict[str, Any]) -> Any:
    return json.loads(response.encode(operation, result, REQUEST_ID).body)


def test_headers() -> None:
    answer = response.encode("ListCollections", {"CollectionIds": []}, REQUEST_ID)
    assert answer.status == 200
    assert dict(answer.headers) == {
        "content-type": "application/x-amz-json-1.1",
        "x-amzn-requestid": REQUEST_ID,
    }


def test_an_operation_without_an_answer_sends_an_empty_object() -> None:
    assert response.encode("TagResource", {}, REQUEST_ID).body == b"{}"
    assert response.encode("DeleteUser", {}, REQUEST_ID).body == b"{}"


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [
        (datetime(2026, 11, 22, 20, 41, 30, tzinfo=UTC), 1795380090.0),
        (datetime(2026, 11, 22, 20, 41, 30, 125_999, tzinfo=UTC), 1795380090.126),
        (datetime(2026, 11, 22, 22, 41, 30, tzinfo=timezone(timedelta(hours=2))), 1795380090.0),
    ],
)
def test_times_are_epoch_seconds(moment: datetime, seconds: float) -> None:
    sent = body("DescribeCollection", {"CreationTimestamp": moment})["CreationTimestamp"]
    assert sent == seconds
    assert isinstance(sent, float)


def test_members_that_are_none_are_left_out() -> None:
    result = {"NextToken": None, "Faces": [{**FACE, "UserId": None}]}
    assert body("ListFaces", result) == {"Faces": [FACE]}


@pytest.mark.parametrize("data", [b"\xff\x00", bytearray(b"\xff\x00"), memoryview(b"\xff\x00")])
def test_blobs_are_base64(data: bytes) -> None:
    sent = body("GetFaceLivenessSessionResults", {"ReferenceImage": {"Bytes": data}})
    assert sent == {"ReferenceImage": {"Bytes": "/wA="}}


def test_text_is_utf_8() -> None:
    answer = response.encode("ListTagsForResource", {"Tags": {"\u96c6": "\u00e9\U0001f600"}}, REQUEST_ID)
    assert "\u96c6".encode() in answer.body
    assert json.loads(answer.body) == {"Tags": {"\u96c6": "\u00e9\U0001f600"}}


def test_a_tuple_is_a_list() -> None:
    assert body("ListCollections", {"CollectionIds": ("a", "b")}) == {"CollectionIds": ["a", "b"]}


def test_the_extension_has_the_members_of_the_largest_face() -> None:
    face = {
        "SearchedFaceBoundingBox": {"Left": 0.1, "Top": 0.2, "Width": 0.3, "Height": 0.4},
        "SearchedFaceConfidence": 99.0,
        "FaceMatches": [{"Similarity": 98.0, "Face": FACE}],
    }
    result = {**face, "FaceModelVersion": "1", "CountenanceSearchedFaces": [face, face]}
    assert body("SearchFacesByImage", result) == result


@pytest.mark.parametrize(
    ("operation", "result", "text"),
    [
        ("ListFaces", {"Facez": []}, "Facez"),
        ("ListFaces", {"Faces": [{"faceId": "x"}]}, "faceId"),
        ("ListFaces", {"CountenanceSearchedFaces": []}, "CountenanceSearchedFaces"),
        ("SearchFacesByImage", {"CountenanceSearchedFaces": [{"Other": 1}]}, "Other"),
        ("SearchFacesByImage", {"CountenanceSearchedFaces": [{"SearchedFaceConfidence": math.nan}]}, "nan"),
        ("ListFaces", {"Faces": {}}, "Faces"),
        ("ListFaces", {"Faces": ["x"]}, "Face"),
        ("ListFaces", {"Faces": [{"Confidence": math.nan}]}, "nan for Percent in Confidence in Faces"),
        ("ListFaces", {"Faces": [{"Confidence": math.inf}]}, "Confidence"),
        ("ListFaces", {"Faces": [{"Confidence": "99"}]}, "Confidence"),
        ("ListFaces", {"Faces": [{"Confidence": True}]}, "Confidence"),
        ("ListFaces", {"Faces": [{"Confidence": np.float32(99)}]}, "Confidence"),
        ("ListFaces", {"Faces": [{"FaceId": 7}]}, "FaceId"),
        ("ListFaces", {"Faces": [{"FaceId": b"7"}]}, "FaceId"),
        ("DescribeCollection", {"FaceCount": 1.0}, "FaceCount"),
        ("DescribeCollection", {"FaceCount": True}, "FaceCount"),
        ("DescribeCollection", {"FaceCount": np.int64(1)}, "FaceCount"),
        ("DescribeCollection", {"CreationTimestamp": datetime(2026, 11, 22)}, "CreationTimestamp"),  # noqa: DTZ001
        ("DescribeCollection", {"CreationTimestamp": 1795380090.0}, "CreationTimestamp"),
        ("DetectFaces", {"FaceDetails": [{"Smile": {"Value": 1}}]}, "Smile"),
        ("IndexFaces", {"UnindexedFaces": [{"Reasons": ["TOO_UGLY"]}]}, "TOO_UGLY"),
        ("DetectFaces", {"FaceDetails": [{"Landmarks": [{"Type": "thirdEye"}]}]}, "thirdEye"),
        ("ListTagsForResource", {"Tags": {"a": 1}}, "Tags"),
        ("GetFaceLivenessSessionResults", {"ReferenceImage": {"Bytes": "text"}}, "Bytes"),
    ],
)
def test_a_result_that_does_not_fit_is_a_defect(operation: str, result: dict[str, Any], text: str) -> None:
    with pytest.raises(WireBug, match=text) as caught:
        response.encode(operation, result, REQUEST_ID)
    assert operation in caught.value.message
