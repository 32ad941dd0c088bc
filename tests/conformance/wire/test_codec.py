"""Our codec against botocore's: its requests decode here, our answers and faults parse there."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import botocore.session
import pytest
from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.model import ListShape, MapShape, Shape, StructureShape
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from countenance.wire import constraints, request, response, sigv4
from countenance.wire.faults import COMMON_FAULTS, Fault, fault_response
from countenance.wire.http import HttpRequest, HttpResponse

SERVICE = botocore.session.get_session().get_service_model("rekognition")
SERIALIZER = create_serializer("json", include_validation=False)
PARSER = create_parser("json")
REQUEST_ID = "4b9d2c0e-7f3a-4d0f-9a51-2f6d3c8e1b70"


def sent(operation: str, params: dict[str, Any]) -> bytes:
    body = SERIALIZER.serialize_to_request(params, SERVICE.operation_model(operation))["body"]
    return body if isinstance(body, bytes) else body.encode()


def parsed(operation: str, answer: HttpResponse) -> Any:
    whole = {"status_code": answer.status, "headers": dict(answer.headers), "body": answer.body}
    return PARSER.parse(whole, SERVICE.operation_model(operation).output_shape)


def test_their_request_decodes_here(values: Any, operation: str) -> None:
    params = values.full(values.input(operation))
    assert request.decode(operation, sent(operation, params)) == params


def test_our_answer_parses_there(values: Any, operation: str) -> None:
    shape = SERVICE.operation_model(operation).output_shape
    result = values.full(shape) if shape else {}
    answer = parsed(operation, response.encode(operation, result, REQUEST_ID))
    metadata = answer.pop("ResponseMetadata")
    assert answer == result
    assert metadata["RequestId"] == REQUEST_ID
    assert metadata["HTTPStatusCode"] == 200


def test_an_empty_answer_parses_there(operation: str) -> None:
    answer = response.encode(operation, {}, REQUEST_ID)
    assert answer.body == b"{}"
    assert set(parsed(operation, answer)) == {"ResponseMetadata"}


@pytest.mark.parametrize("code", sorted(COMMON_FAULTS))
def test_our_faults_parse_there(code: str) -> None:
    for status in COMMON_FAULTS[code]:
        answer = parsed("ListFaces", fault_response(Fault(code, "A \u201ctext\u201d.", status), REQUEST_ID))
        assert answer["Error"] == {"Code": code, "Message": "A \u201ctext\u201d."}
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == status
        assert answer["ResponseMetadata"]["RequestId"] == REQUEST_ID


def arbitrary(shape: Shape, depth: int = 0) -> st.SearchStrategy[Any]:
    """Values of a shape, whatever its constraints: the codec knows none."""
    if isinstance(shape, StructureShape):
        members = {name: arbitrary(member, depth + 1) for name, member in shape.members.items()}
        return st.fixed_dictionaries({}, optional=members)
    if isinstance(shape, ListShape):
        return st.lists(arbitrary(shape.member, depth + 1), max_size=2)
    if isinstance(shape, MapShape):
        return st.dictionaries(arbitrary(shape.key), arbitrary(shape.value), max_size=2)
    kind = shape.type_name
    if kind == "string":
        return st.sampled_from(shape.enum) if shape.enum else st.text(max_size=6)
    if kind == "integer":
        return st.integers(-(2**31), 2**31 - 1)
    if kind == "long":
        return st.integers(-(2**63), 2**63 - 1)
    if kind in ("float", "double"):
        return st.floats(allow_nan=False, allow_infinity=False)
    if kind == "boolean":
        return st.booleans()
    if kind == "blob":
        return st.binary(max_size=9)
    assert kind == "timestamp", kind
    # Milliseconds: what goes over the wire.
    return st.integers(0, 4_102_444_800_000).map(lambda ms: datetime.fromtimestamp(ms / 1000, UTC))


BUSY = ("IndexFaces", "SearchFacesByImage", "ListFaces", "CreateCollection", "CreateStreamProcessor", "CompareFaces")


@pytest.mark.parametrize("name", BUSY)
def test_any_request_survives(name: str) -> None:
    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(arbitrary(SERVICE.operation_model(name).input_shape))
    def survives(params: dict[str, Any]) -> None:
        assert request.decode(name, sent(name, params)) == params

    survives()


@pytest.mark.parametrize("name", ["DetectFaces", "IndexFaces", "DescribeCollection", "GetFaceSearch"])
def test_any_answer_survives(name: str) -> None:
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(arbitrary(SERVICE.operation_model(name).output_shape))
    def survives(result: dict[str, Any]) -> None:
        answer = parsed(name, response.encode(name, result, REQUEST_ID))
        answer.pop("ResponseMetadata")
        assert answer == result

    survives()


@pytest.fixture
def client() -> Callable[[Callable[[HttpRequest], HttpResponse]], Any]:
    """A botocore client whose requests go to a function instead of a socket."""

    def build(answer: Callable[[HttpRequest], HttpResponse]) -> Any:
        made = botocore.session.get_session().create_client(
            "rekognition",
            region_name="eu-west-2",
            endpoint_url="http://127.0.0.1:8080",
            aws_access_key_id="AKIDEXAMPLE",
            aws_secret_access_key="secret",
            config=Config(retries={"max_attempts": 1}),
        )

        def serve(request: AWSPreparedRequest, **_: Any) -> AWSResponse:
            headers = [("host", "127.0.0.1:8080")]
            for name, value in request.headers.items():
                headers.append((name.lower(), value.decode() if isinstance(value, bytes) else value))
            body = request.body if isinstance(request.body, bytes) else request.body.encode()
            given = HttpRequest("POST", "/", "", tuple(headers), body, datetime.now(UTC))
            try:
                made = answer(given)
            except Fault as fault:
                made = fault_response(fault, REQUEST_ID)
            return Answered(made)

        made.meta.events.register("before-send.rekognition", serve)
        return made

    return build


class Answered(AWSResponse):
    def __init__(self, answer: HttpResponse) -> None:
        super().__init__("http://127.0.0.1:8080/", answer.status, dict(answer.headers), None)
        self._content = answer.body


def accepted(http: HttpRequest) -> tuple[str, dict[str, Any]]:
    parsed_signature = sigv4.parse(http)
    sigv4.verify(http, parsed_signature, "secret", datetime.now(UTC))
    name = request.operation_of(http)
    params = request.decode(name, http.body)
    constraints.check(name, params)
    return name, params


def test_a_whole_client_call(client: Any) -> None:
    image = bytes(range(256)) * 40
    face = {"FaceId": "11111111-2222-5333-8444-555555555555", "Confidence": 99.5}
    result = {"FaceMatches": [{"Similarity": 99.25, "Face": face}], "SearchedFaceConfidence": 100.0}
    seen = []

    def answer(http: HttpRequest) -> HttpResponse:
        seen.append(accepted(http))
        return response.encode("SearchFacesByImage", result, REQUEST_ID)

    got = client(answer).search_faces_by_image(CollectionId="people", Image={"Bytes": image}, MaxFaces=3)
    assert seen == [("SearchFacesByImage", {"CollectionId": "people", "Image": {"Bytes": image}, "MaxFaces": 3})]
    assert got["FaceMatches"] == result["FaceMatches"]
    assert got["ResponseMetadata"]["RequestId"] == REQUEST_ID


def test_a_client_sees_the_extension_only_in_the_raw_body(client: Any) -> None:
    result = {"CountenanceSearchedFaces": [{"SearchedFaceConfidence": 99.0, "FaceMatches": []}]}
    answer = response.encode("SearchFacesByImage", result, REQUEST_ID)
    assert json.loads(answer.body) == result
    got = client(lambda _: answer).search_faces_by_image(CollectionId="people", Image={"Bytes": b"x"})
    assert "CountenanceSearchedFaces" not in got


def test_a_client_raises_our_fault_by_its_own_class(client: Any) -> None:
    def answer(http: HttpRequest) -> HttpResponse:
        accepted(http)
        raise Fault("ResourceNotFoundException", "The collection id: people does not exist")

    made = client(answer)
    with pytest.raises(made.exceptions.ResourceNotFoundException, match="people does not exist"):
        made.describe_collection(CollectionId="people")


def test_a_client_gets_the_violations(client: Any) -> None:
    def answer(http: HttpRequest) -> HttpResponse:
        accepted(http)
        raise AssertionError("accepted")

    with pytest.raises(ClientError) as caught:
        client(answer).create_collection(CollectionId="two words")
    assert caught.value.response["Error"] == {
        "Code": "ValidationException",
        "Message": "1 validation error detected: Value 'two words' at 'collectionId' failed to satisfy "
        "constraint: Member must satisfy regular expression pattern: [a-zA-Z0-9_.\\-]+",
    }
