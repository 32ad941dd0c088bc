"""Bodies and targets: what is read, and the one kind of error that comes out for everything else."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countenance.wire import model, request
from countenance.wire.faults import Fault, require_declared
from countenance.wire.http import HttpRequest


def received(
    target: str | None = "RekognitionService.ListFaces",
    content_type: str | None = "application/x-amz-json-1.1",
    method: str = "POST",
    more: tuple[tuple[str, str], ...] = (),
) -> HttpRequest:
    headers = [("x-amz-target", target), ("content-type", content_type)]
    kept = tuple((name, value) for name, value in headers if value is not None)
    return HttpRequest(method, "/", "", kept + more, b"{}", datetime.now(UTC))


def decode(body: bytes | str, operation: str = "ListFaces") -> dict[str, Any]:
    return request.decode(operation, body if isinstance(body, bytes) else body.encode())


def refuse(body: bytes | str, operation: str = "ListFaces") -> str:
    with pytest.raises(Fault) as caught:
        decode(body, operation)
    fault = require_declared(operation, caught.value)
    assert (fault.code, fault.status) == ("SerializationException", 400)
    assert len(fault.message) < 300
    return fault.message


@pytest.mark.parametrize("name", model.operations())
def test_every_operation_is_known(name: str) -> None:
    assert request.operation_of(received(f"RekognitionService.{name}")) == name


@pytest.mark.parametrize(
    "content_type",
    ["application/x-amz-json-1.1", "application/x-amz-json-1.1; charset=utf-8", "Application/X-Amz-Json-1.1"],
)
def test_content_types_that_are_read(content_type: str) -> None:
    assert request.operation_of(received(content_type=content_type)) == "ListFaces"


@pytest.mark.parametrize(
    "target",
    [
        None,
        "",
        "ListFaces",
        "RekognitionService",
        "RekognitionService.",
        "RekognitionService.listFaces",
        "RekognitionService.ListFaces.",
        "RekognitionService.NoSuchThing",
        "Kinesis_20131202.ListFaces",
        " RekognitionService.ListFaces",
    ],
)
def test_unknown_targets(target: str | None) -> None:
    with pytest.raises(Fault) as caught:
        request.operation_of(received(target))
    assert (caught.value.code, caught.value.status) == ("UnknownOperationException", 400)
    require_declared(None, caught.value)


@pytest.mark.parametrize(
    "refused",
    [
        received(content_type=None),
        received(content_type=""),
        received(content_type="application/json"),
        received(content_type="application/x-amz-json-1.0"),
        received(content_type="application/x-www-form-urlencoded"),
        received(more=(("content-type", "application/json"),)),
        received(method="GET"),
        received(method="PUT"),
    ],
)
def test_what_is_not_the_protocol(refused: HttpRequest) -> None:
    with pytest.raises(Fault) as caught:
        request.operation_of(refused)
    assert (caught.value.code, caught.value.status) == ("UnknownOperationException", 404)
    require_declared(None, caught.value)


def test_two_targets() -> None:
    with pytest.raises(Fault) as caught:
        request.operation_of(received(more=(("x-amz-target", "RekognitionService.DeleteFaces"),)))
    assert caught.value.code == "UnknownOperationException"


def test_members_that_the_shape_lacks_are_ignored() -> None:
    body = '{"CollectionId":"a","collectionId":"b","Nothing":[{"deep":[1,2,{}]}],"MaxResults":3}'
    assert decode(body) == {"CollectionId": "a", "MaxResults": 3}


def test_null_is_absent_everywhere() -> None:
    assert decode('{"CollectionId":null,"FaceIds":[null,"a"],"MaxResults":null}') == {"FaceIds": ["a"]}
    assert decode('{"Tags":{"a":null,"b":"c"}}', "CreateCollection") == {"Tags": {"b": "c"}}
    assert decode('{"Image":{"Bytes":null}}', "DetectFaces") == {"Image": {}}


@pytest.mark.parametrize("body", ["{}", " {} ", "\n{\t}\r\n"])
def test_empty_parameters(body: str) -> None:
    assert decode(body) == {}


@pytest.mark.parametrize("data", [b"", b"\x00", b"\xff" * 2, b"abc", bytes(range(256)) * 1000])
def test_blobs(data: bytes) -> None:
    body = json.dumps({"Image": {"Bytes": base64.b64encode(data).decode()}})
    assert decode(body, "DetectFaces") == {"Image": {"Bytes": data}}


@pytest.mark.parametrize(
    "text",
    [
        "A",
        "AA",
        "AAA",
        "AAA\n",
        "AAAA\n",
        "AA AA===",
        "====",
        "A===",
        "AA=A",
        "AAAA====",
        "AB==",
        "AAB=",
        "AA-_",
        "AAAA=AAA",
        "\u0410AAA",
        "AA==AAAA",
        "\ud800AAA",
    ],
)
def test_bad_base64(text: str) -> None:
    message = refuse(json.dumps({"Image": {"Bytes": text}}), "DetectFaces")
    assert message.startswith("The value can not be converted to a Blob: ")


def test_a_bad_blob_is_not_quoted_back() -> None:
    text = base64.b64encode(b"somebody's face" * 1000).decode() + "!"
    assert len(refuse(json.dumps({"Image": {"Bytes": text}}), "DetectFaces")) < 200


@pytest.mark.parametrize(
    ("body", "operation", "message"),
    [
        # As measured on services of the same framework: docs/reference/errors.md.
        ('{"MaxResults":"1"}', "ListFaces", "STRING_VALUE can not be converted to an Integer"),
        ('{"MaxResults":true}', "ListFaces", "TRUE_VALUE can not be converted to an Integer"),
        ('{"MaxResults":false}', "ListFaces", "FALSE_VALUE can not be converted to an Integer"),
        ('{"MaxResults":[1]}', "ListFaces", "Start of list found where not expected"),
        ('{"MaxResults":{"a":1}}', "ListFaces", "Start of structure or map found where not expected."),
        ('{"CollectionId":1}', "ListFaces", "NUMBER_VALUE can not be converted to a String"),
        ('{"CollectionId":1.5}', "ListFaces", "NUMBER_VALUE can not be converted to a String"),
        ('{"CollectionId":true}', "ListFaces", "TRUE_VALUE can not be converted to a String"),
        ('{"CollectionId":["x"]}', "ListFaces", "Start of list found where not expected"),
        ('{"CollectionId":{}}', "ListFaces", "Start of structure or map found where not expected."),
        ('{"FaceIds":[1]}', "ListFaces", "NUMBER_VALUE can not be converted to a String"),
        ('{"FaceIds":"x"}', "ListFaces", "Expected list or null"),
        ('{"FaceIds":1}', "ListFaces", "Expected list or null"),
        ('{"FaceIds":{}}', "ListFaces", "Start of structure or map found where not expected."),
        ('{"FaceIds":[["a"]]}', "ListFaces", "Start of list found where not expected"),
        ('{"Image":"x"}', "DetectFaces", "Expected null"),
        ('{"Image":1}', "DetectFaces", "Expected null"),
        ('{"Image":[]}', "DetectFaces", "Start of list found where not expected"),
        ('{"Image":{"Bytes":1}}', "DetectFaces", "NUMBER_VALUE can not be converted to a Blob"),
        ('{"Image":{"Bytes":[]}}', "DetectFaces", "Start of list found where not expected"),
        ('{"Tags":"x"}', "CreateCollection", "Expected map or null"),
        ('{"Tags":[]}', "CreateCollection", "Start of list found where not expected"),
        ('{"Tags":{"a":1}}', "CreateCollection", "NUMBER_VALUE can not be converted to a String"),
        ('{"FaceMatchThreshold":"80"}', "SearchFaces", "STRING_VALUE can not be converted to a Float"),
        ('{"FaceMatchThreshold":true}', "SearchFaces", "TRUE_VALUE can not be converted to a Float"),
        (
            '{"StopSelector":{"MaxDurationInSeconds":"1"}}',
            "StartStreamProcessor",
            "STRING_VALUE can not be converted to a Long",
        ),
        (
            '{"DataSharingPreference":{"OptIn":"true"}}',
            "CreateStreamProcessor",
            "STRING_VALUE can not be converted to an Boolean",
        ),
        ("[]", "ListFaces", "Start of list found where not expected"),
    ],
)
def test_wrong_types_are_worded_as_aws_words_them(body: str, operation: str, message: str) -> None:
    assert refuse(body, operation) == message


@pytest.mark.parametrize(
    ("literal", "value"),
    [
        ("0", 0),
        ("-0", 0),
        ("10", 10),
        ("10.0", 10),
        ("1e2", 100),
        ("2147483647", 2147483647),
        ("-2147483648", -2147483648),
    ],
)
def test_integers(literal: str, value: int) -> None:
    found = decode(f'{{"MaxResults":{literal}}}')["MaxResults"]
    assert found == value
    assert type(found) is int


@pytest.mark.parametrize(
    "literal",
    ["1.5", "2147483648", "-2147483649", "1e10", "9" * 19, "9" * 21, "-" + "9" * 300, "1e308", "0.1e-300"],
)
def test_no_integers(literal: str) -> None:
    assert refuse(f'{{"MaxResults":{literal}}}') == "NUMBER_VALUE can not be converted to an Integer"


@pytest.mark.parametrize(
    ("literal", "accepted"),
    [("9223372036854775807", True), ("-9223372036854775808", True), ("9223372036854775808", False)],
)
def test_long_integers(literal: str, accepted: bool) -> None:
    body = f'{{"StopSelector":{{"MaxDurationInSeconds":{literal}}}}}'
    if accepted:
        assert decode(body, "StartStreamProcessor") == {"StopSelector": {"MaxDurationInSeconds": int(literal)}}
    else:
        assert refuse(body, "StartStreamProcessor") == "NUMBER_VALUE can not be converted to a Long"


@pytest.mark.parametrize(("literal", "value"), [("80", 80.0), ("0.5", 0.5), ("1" + "0" * 30, 1e30), ("1e-400", 0.0)])
def test_floats(literal: str, value: float) -> None:
    found = decode(f'{{"FaceMatchThreshold":{literal}}}', "SearchFaces")["FaceMatchThreshold"]
    assert found == value
    assert type(found) is float


HOSTILE = {
    "nothing": b"",
    "space": b"  ",
    "null": b"null",
    "true": b"true",
    "number": b"1",
    "text": b'"x"',
    "open": b"{",
    "closed": b"}",
    "trailing comma": b'{"CollectionId":"a",}',
    "two documents": b"{} {}",
    "trailing text": b"{}x",
    "single quotes": b"{'CollectionId':'a'}",
    "comment": b"{/**/}",
    "no quotes": b"{CollectionId:1}",
    "NaN": b'{"x":NaN}',
    "Infinity": b'{"x":Infinity}',
    "minus Infinity": b'{"x":-Infinity}',
    "huge exponent": b'{"x":1e400}',
    "huge exponent in a list": b'{"x":[1,2,-1e999]}',
    "many digits": b'{"x":' + b"9" * 100_000 + b"}",
    "many decimals of a huge number": b'{"x":1' + b"0" * 400 + b".5}",
    "leading zero": b'{"x":01}',
    "plus": b'{"x":+1}',
    "hexadecimal": b'{"x":0x1}',
    "same key twice": b'{"CollectionId":"a","CollectionId":"b"}',
    "same escaped key twice": b'{"CollectionId":"a","Collection\\u0049d":"b"}',
    "same key twice, deep": b'{"x":[{"y":{"z":1,"z":1}}]}',
    "lone surrogate": b'{"CollectionId":"\\ud800"}',
    "reversed surrogates": b'{"CollectionId":"\\udc00\\ud800"}',
    "lone surrogate as a map key": b'{"FaceIds":["\\udfff"]}',
    "bad escape": b'{"CollectionId":"\\x"}',
    "cut escape": b'{"CollectionId":"\\u12"}',
    "raw control character": b'{"CollectionId":"a\x00b"}',
    "raw newline": b'{"CollectionId":"a\nb"}',
    "not UTF-8": b'{"CollectionId":"\xff"}',
    "surrogate in UTF-8": b'{"CollectionId":"\xed\xa0\x80"}',
    "overlong UTF-8": b'{"CollectionId":"\xc0\xaf"}',
    "byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"CollectionId":"a"}'.encode("utf-16"),
    "deep lists": b"[" * 60_000,
    "deep objects": b'{"x":' * 60_000,
    "deep lists, closed": b'{"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}",
    "escaped quotes without end": b"[" * 100 + b'"' + b'\\"' * 1_000_000,
    "very deep lists": b"[" * 5_000_000,
    "many elements": b'{"x":[' + b"1," * 100_000 + b"1]}",
    "many objects": b'{"x":[' + b"{}," * 100_000 + b"{}]}",
    "many keys": b"{" + b",".join(b'"%d":1' % n for n in range(100_000)) + b"}",
    "bytes": bytes(range(256)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bodies(name: str) -> None:
    refuse(HOSTILE[name])


def test_nesting_just_below_the_limit_is_read() -> None:
    depth = request.MAX_DEPTH - 1
    assert decode('{"x":' + "[" * depth + "]" * depth + ',"MaxResults":1}') == {"MaxResults": 1}
    depth += 1
    refuse('{"x":' + "[" * depth + "]" * depth + ',"MaxResults":1}')


def test_brackets_in_a_text_are_no_nesting() -> None:
    text = "[{" * 500
    assert decode(json.dumps({"CollectionId": text})) == {"CollectionId": text}


def test_the_largest_list_of_the_model_is_read() -> None:
    ids = ["11111111-2222-5333-8444-555555555555"] * 4097
    assert len(decode(json.dumps({"FaceIds": ids}))["FaceIds"]) == 4097


def attempt(body: bytes, operation: str) -> dict[str, Any] | Fault:
    try:
        return request.decode(operation, body)
    except Fault as fault:
        return fault


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["Image", "Bytes", "S3Object", "Bucket", "FaceIds", "CollectionId", "MaxFaces", "Tags"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(JSON, st.sampled_from(["IndexFaces", "ListFaces", "CreateCollection", "CreateStreamProcessor"]))
def test_any_json_is_read_or_refused(document: Any, operation: str) -> None:
    found = attempt(json.dumps(document).encode(), operation)
    if isinstance(found, Fault):
        assert found.code == "SerializationException"
    else:
        assert set(found) <= set(model.input_shape(operation).members)


BODY = json.dumps(
    {
        "CollectionId": "people",
        "Image": {"Bytes": base64.b64encode(b"some image bytes").decode()},
        "MaxFaces": 10,
        "DetectionAttributes": ["ALL", "DEFAULT"],
    }
).encode()


@given(st.integers(0, len(BODY) - 1), st.integers(0, 255), st.integers(0, len(BODY)))
def test_any_damaged_body_is_read_or_refused(position: int, byte: int, end: int) -> None:
    damaged = bytearray(BODY)
    damaged[position] = byte
    for body in (bytes(damaged), BODY[:end]):
        found = attempt(body, "IndexFaces")
        assert isinstance(found, dict) or found.code == "SerializationException"


@given(st.binary(max_size=2000) | st.binary(max_size=200).map(lambda part: part.replace(b"a", b",") * 20))
def test_bytes_are_counted_as_bytes_count_counts_them(body: bytes) -> None:
    for wanted in (b",", b"[", b"{"):
        assert request._count(body, wanted) == body.count(wanted)
    commas = body + b"," * (2 * request._FEW)
    assert request._count(commas, b",") == commas.count(b",")


def test_a_body_may_hold_so_many_separators_and_no_more() -> None:
    head, tail = b'{"CollectionId": "', b'"}'
    most = head + b"," * (request.MAX_SEPARATORS - 1) + tail  # the brace is one
    assert request.decode("DescribeCollection", most)["CollectionId"] == "," * (request.MAX_SEPARATORS - 1)
    with pytest.raises(Fault, match="too many elements"):
        request.decode("DescribeCollection", head + b"," * request.MAX_SEPARATORS + tail)


@given(
    st.binary(max_size=40).map(lambda data: base64.b64encode(data).decode())
    | st.text(st.sampled_from("AQgw09+/=\n -_\x00\u00e9"), max_size=16)
)
def test_base64_is_refused_and_decoded_as_the_standard_library_does_when_strict(text: str) -> None:
    try:
        expected = binascii.a2b_base64(text, strict_mode=True)
        is_canonical = base64.b64encode(expected).decode() == text
    except ValueError:
        is_canonical = False
    if is_canonical:
        assert request._blob(text) == expected
    else:
        with pytest.raises(Fault):
            request._blob(text)
