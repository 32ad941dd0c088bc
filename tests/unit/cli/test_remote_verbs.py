"""detect, compare, search, collection: what is asked for over the wire, what is printed, how they end."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from PIL import Image

from .conftest import Peer

Invoke = Callable[..., Result]

FACE = {"FaceId": "11111111-1111-5111-8111-111111111111", "ExternalImageId": "ann:1.jpg", "Confidence": 99.0}


def test_detect_prints_a_line_per_face(invoke: Invoke, peer: Peer, image: Path, face_detail: dict[str, Any]) -> None:
    peer.says("DetectFaces", {"FaceDetails": [face_detail]})
    result = invoke("detect", image)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "FACE  CONFIDENCE  LEFT    TOP     WIDTH   HEIGHT  YAW  PITCH  ROLL  BRIGHTNESS  SHARPNESS",
        "1     99.5        0.2500  0.2000  0.5000  0.6000  -12  3      1     60          80",
    ]
    assert result.stderr == ""
    (request,) = peer.requests
    assert base64.b64decode(request.params["Image"]["Bytes"]) == image.read_bytes()
    assert request.headers["authorization"].startswith("AWS4-HMAC-SHA256 Credential=AKCNTEST/")
    assert "x-amz-security-token" not in request.headers


def test_detect_answers_in_the_shape_of_the_api(
    invoke: Invoke, peer: Peer, image: Path, face_detail: dict[str, Any]
) -> None:
    peer.says("DetectFaces", {"FaceDetails": [face_detail]})
    assert json.loads(invoke("detect", image, "--json").stdout) == {"FaceDetails": [face_detail]}


def test_detect_asks_for_attributes_and_tells_them_below_the_table(
    invoke: Invoke, peer: Peer, image: Path, face_detail: dict[str, Any]
) -> None:
    more = {
        "AgeRange": {"Low": 31, "High": 47},
        "Gender": {"Value": "Female", "Confidence": 97.4},
        "Emotions": [{"Type": "CALM", "Confidence": 80.0}, {"Type": "HAPPY", "Confidence": 20.0}],
        "Smile": {"Value": False, "Confidence": 71.0},
        "EyesOpen": {"Value": True, "Confidence": 99.0},
        "EyeDirection": {"Yaw": -3.5, "Pitch": 1.25, "Confidence": 90.0},
    }
    peer.says("DetectFaces", {"FaceDetails": [face_detail, face_detail | more]})
    result = invoke("detect", image, "--attribute", "age_range", "--attribute", "SMILE")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[3:] == [
        "face 2: 31 to 47 years, female 97 %, calm 80 %, no smile 71 %, eyes open 99 %, looks -4 +1 degrees 90 %"
    ]
    assert peer.requests[0].params["Attributes"] == ["DEFAULT", "AGE_RANGE", "SMILE"]


def test_no_face_is_a_no(invoke: Invoke, peer: Peer, image: Path) -> None:
    peer.says("DetectFaces", {"FaceDetails": []})
    result = invoke("detect", image, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"FaceDetails": []}


def test_detect_draws_on_the_upright_image(
    invoke: Invoke, peer: Peer, tmp_path: Path, face_detail: dict[str, Any]
) -> None:
    lying = Image.new("RGB", (400, 200), "white")
    exif = lying.getexif()
    exif[0x0112] = 6
    lying.save(tmp_path / "lying.jpg", exif=exif)
    peer.says("DetectFaces", {"FaceDetails": [face_detail]})
    assert invoke("detect", tmp_path / "lying.jpg", "--draw", "out.png").exit_code == 0
    with Image.open("out.png") as drawn:
        assert drawn.size == (200, 400)
        green = drawn.convert("RGB").getpixel((50, 200))
    assert isinstance(green, tuple)
    assert green[1] > green[0] + 50, "the left side of the box is a quarter from the left"


def test_a_drawing_never_overwrites_the_image(
    invoke: Invoke, peer: Peer, image: Path, face_detail: dict[str, Any]
) -> None:
    peer.says("DetectFaces", {"FaceDetails": [face_detail]})
    before = image.read_bytes()
    result = invoke("detect", image, "--draw", image)
    assert result.exit_code == 3
    assert "is the image itself" in result.stderr
    assert image.read_bytes() == before


@pytest.mark.parametrize(("matches", "status"), [(True, 0), (False, 1)])
def test_compare_says_yes_or_no(
    invoke: Invoke, peer: Peer, image: Path, face_detail: dict[str, Any], matches: bool, status: int
) -> None:
    found = {"BoundingBox": face_detail["BoundingBox"], "Confidence": 99.0, "Landmarks": face_detail["Landmarks"]}
    peer.says(
        "CompareFaces",
        {
            "SourceImageFace": {"BoundingBox": face_detail["BoundingBox"], "Confidence": 99.0},
            "FaceMatches": [{"Similarity": 97.123, "Face": found}] if matches else [],
            "UnmatchedFaces": [] if matches else [found],
        },
    )
    result = invoke("compare", image, image, "--threshold", "90", "--draw", "out.png")
    assert result.exit_code == status
    line = result.stdout.splitlines()[1].split()
    assert line[0] == ("yes" if matches else "no")
    assert ("97.12" in line) == matches
    assert peer.requests[0].params["SimilarityThreshold"] == 90
    with Image.open("out.png") as drawn:
        assert drawn.width > 2 * 200


def test_compare_without_a_face_is_undecided(invoke: Invoke, peer: Peer, image: Path) -> None:
    peer.says("CompareFaces", (400, "InvalidParameterException", "There are no faces in the image."))
    result = invoke("compare", image, image)
    assert result.exit_code == 3
    assert result.stdout == ""
    assert result.stderr == "Error: InvalidParameterException: There are no faces in the image.\n"


def test_an_error_is_json_on_stderr_when_json_was_asked_for(invoke: Invoke, peer: Peer, image: Path) -> None:
    peer.says("CompareFaces", (400, "InvalidParameterException", "No."))
    result = invoke("compare", image, image, "--json")
    assert (result.exit_code, result.stdout) == (3, "")
    assert json.loads(result.stderr) == {"error": {"message": "InvalidParameterException: No.", "hint": None}}


def searched(matches: list[dict[str, Any]], box: dict[str, float]) -> dict[str, Any]:
    return {"SearchedFaceBoundingBox": box, "SearchedFaceConfidence": 99.0, "FaceMatches": matches}


def test_search_prints_the_matches(invoke: Invoke, peer: Peer, image: Path, face_detail: dict[str, Any]) -> None:
    box = face_detail["BoundingBox"]
    peer.says("SearchFacesByImage", searched([{"Similarity": 98.765, "Face": FACE}], box))
    result = invoke("search", image, "--collection", "staff", "--draw", "out.png")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split() == ["1", "98.77", "ann:1.jpg", FACE["FaceId"]]
    (request,) = peer.requests
    assert request.params["CollectionId"] == "staff"
    assert (request.params["FaceMatchThreshold"], request.params["MaxFaces"]) == (80, 5)
    assert "x-countenance-all-faces" not in request.headers
    assert Path("out.png").stat().st_size > 0
    peer.says("SearchFacesByImage", searched([], box))
    assert invoke("search", image, "--collection", "staff").exit_code == 1


def test_search_of_all_faces_signs_its_header_and_reads_the_extension(
    invoke: Invoke, peer: Peer, image: Path, face_detail: dict[str, Any]
) -> None:
    box = face_detail["BoundingBox"]
    each = [searched([], box), searched([{"Similarity": 98.7, "Face": FACE}], box)]
    peer.says("SearchFacesByImage", searched([], box) | {"CountenanceSearchedFaces": each})
    result = invoke("search", image, "--collection", "staff", "--all-faces")
    assert result.exit_code == 0
    assert [line.split()[:3] for line in result.stdout.splitlines()[1:]] == [
        ["1", "-", "-"],
        ["2", "98.70", "ann:1.jpg"],
    ]
    (request,) = peer.requests
    assert request.headers["x-countenance-all-faces"] == "true"
    signed = request.headers["authorization"].partition("SignedHeaders=")[2].partition(",")[0]
    assert "x-countenance-all-faces" in signed.split(";")
    answer = json.loads(invoke("search", image, "--collection", "staff", "--all-faces", "--json").stdout)
    assert answer["CountenanceSearchedFaces"] == each


def test_search_of_all_faces_on_another_server_is_not_taken_for_done(
    invoke: Invoke, peer: Peer, image: Path, face_detail: dict[str, Any]
) -> None:
    peer.says("SearchFacesByImage", searched([], face_detail["BoundingBox"]))
    result = invoke("search", image, "--collection", "staff", "--all-faces")
    assert result.exit_code == 3
    assert "largest face only" in result.stderr


def test_a_throttled_call_is_repeated_and_a_refused_one_is_not(
    invoke: Invoke, peer: Peer, image: Path, face_detail: dict[str, Any]
) -> None:
    peer.answers["DetectFaces"] = lambda _params: (
        (400, "ThrottlingException", "Slow down.") if len(peer.requests) == 1 else {"FaceDetails": [face_detail]}
    )
    assert invoke("detect", image).exit_code == 0
    assert len(peer.requests) == 2
    peer.requests.clear()
    peer.says("DetectFaces", (400, "AccessDeniedException", "no"))
    assert invoke("detect", image).exit_code == 3
    assert len(peer.requests) == 1


def test_a_refused_key_says_where_it_came_from_and_shows_no_secret(invoke: Invoke, peer: Peer, image: Path) -> None:
    peer.says("DetectFaces", (400, "UnrecognizedClientException", "The security token is invalid."))
    result = invoke("detect", image)
    assert result.exit_code == 3
    assert "environment AWS_ACCESS_KEY_ID" in result.stderr
    assert "secret-of-the-test" not in result.output


def test_nobody_there_is_undecided(invoke: Invoke, peer: Peer, image: Path) -> None:
    result = invoke("detect", image, "--endpoint-url", "http://127.0.0.1:1")
    assert result.exit_code == 3
    assert "http://127.0.0.1:1 cannot be reached" in result.stderr
    assert peer.requests == []


def test_an_image_too_large_is_shrunk_only_when_asked(
    invoke: Invoke, peer: Peer, tmp_path: Path, face_detail: dict[str, Any]
) -> None:
    large = tmp_path / "large.png"
    Image.new("RGB", (300, 200), "white").save(large)
    with large.open("ab") as file:
        file.write(bytes(5_242_880))  # decoders stop at the end of the picture
    peer.says("DetectFaces", {"FaceDetails": [face_detail]})
    result = invoke("detect", large)
    assert result.exit_code == 3
    assert "--shrink" in result.stderr
    assert peer.requests == []
    assert invoke("detect", large, "--shrink").exit_code == 0
    sent = base64.b64decode(peer.requests[0].params["Image"]["Bytes"])
    assert len(sent) <= 5_242_880
    assert sent.startswith(b"\xff\xd8")


def test_what_is_no_image_is_never_sent(invoke: Invoke, peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "notes.jpg").write_text("dear diary")
    result = invoke("detect", tmp_path / "notes.jpg")
    assert result.exit_code == 3
    assert "is not an image" in result.stderr
    assert peer.requests == []
    assert invoke("detect", tmp_path / "missing.jpg").exit_code == 2


def test_collections_are_made_listed_and_deleted(invoke: Invoke, peer: Peer) -> None:
    arn = "arn:aws:rekognition:eu-west-2:123456789012:collection/staff"
    peer.says("CreateCollection", {"StatusCode": 200, "CollectionArn": arn, "FaceModelVersion": "m"})
    peer.answers["ListCollections"] = lambda params: (
        {"CollectionIds": ["guests"], "FaceModelVersions": ["m"]}
        if "NextToken" in params
        else {"CollectionIds": ["staff"], "FaceModelVersions": ["m"], "NextToken": "more"}
    )
    peer.says(
        "DescribeCollection",
        {"FaceCount": 3, "FaceModelVersion": "m", "CollectionARN": arn, "CreationTimestamp": 1767225600.0},
    )
    peer.says("DeleteCollection", {"StatusCode": 200})
    assert invoke("collection", "create", "staff").stdout == f"{arn}\n"
    lines = invoke("collection", "list").stdout.splitlines()
    assert [line.split()[:3] for line in lines[1:]] == [["staff", "3", "m"], ["guests", "3", "m"]]
    listed = json.loads(invoke("collection", "list", "--json").stdout)
    assert [each["CollectionId"] for each in listed["Collections"]] == ["staff", "guests"]
    assert invoke("collection", "delete", "staff").exit_code == 2
    assert peer.of("DeleteCollection") == []
    assert invoke("collection", "delete", "staff", "--yes").exit_code == 0
    assert peer.of("DeleteCollection")[0].params == {"CollectionId": "staff"}


def test_control_characters_from_the_server_do_not_reach_the_terminal(invoke: Invoke, peer: Peer, image: Path) -> None:
    peer.says("DetectFaces", (400, "AccessDeniedException", "\x1b]0;owned\x07"))
    result = invoke("detect", image)
    assert "\x1b" not in result.output
    assert "\\x1b]0;owned\\x07" in result.stderr
