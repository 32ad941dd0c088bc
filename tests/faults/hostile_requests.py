"""Requests made to hurt the server by their form: bodies, headers, names. One function for each kind.

Knows JSON 1.1 bodies and what is in them; does not know how they are sent (`vitals`) nor how a file is broken
(`hostile_images`). Where only some answers are right, a request names them; the rest may answer whatever the
operation's model declares.
"""

from __future__ import annotations

import base64
import gzip
import json
import random
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from countenance.operations import OPERATIONS
from countenance.wire import model

from . import hostile_images

SERIALIZATION = frozenset({"SerializationException"})
VALIDATION = frozenset({"ValidationException"})
UNKNOWN = frozenset({"UnknownOperationException"})
FACE_ID = "12345678-1234-5123-8123-123456789012"
COLLECTION = "hostile"
"""Exists while the corpus is sent, so that requests get past the look-up."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, not signed yet.

    Attributes:
        family: what kind of hostility, for the summary.
        headers: added before signing.
        forged: put in place of headers of the same name after signing.
        codes: the answers that are right, or None for any that the model declares.
    """

    family: str
    operation: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    forged: dict[str, str] = field(default_factory=dict)
    codes: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Material:
    """What requests are made of."""

    files: dict[str, bytes]
    bombs: tuple[hostile_images.Bomb, ...]
    arn: str
    """Of the collection that exists."""


def in_bytes(data: bytes) -> dict[str, str]:
    return {"Bytes": base64.b64encode(data).decode()}


def _valid(rng: random.Random, of: Material) -> tuple[str, dict[str, Any]]:
    """A call that would be in order."""
    picture, user = in_bytes(of.files["jpeg"]), f"user-{rng.randrange(20)}"
    calls: dict[str, dict[str, Any]] = {
        "CompareFaces": {"SourceImage": picture, "TargetImage": picture, "SimilarityThreshold": 50.5},
        "CreateCollection": {"CollectionId": f"made-{rng.randrange(50)}", "Tags": {"a": "b"}},
        "DeleteCollection": {"CollectionId": f"made-{rng.randrange(50)}"},
        "DeleteFaces": {"CollectionId": COLLECTION, "FaceIds": [FACE_ID]},
        "DescribeCollection": {"CollectionId": COLLECTION},
        "DetectFaces": {"Image": picture, "Attributes": ["DEFAULT"]},
        "IndexFaces": {"CollectionId": COLLECTION, "Image": picture, "MaxFaces": 3, "ExternalImageId": "x"},
        "ListCollections": {"MaxResults": 7},
        "ListFaces": {"CollectionId": COLLECTION, "MaxResults": 5, "FaceIds": [FACE_ID]},
        "ListTagsForResource": {"ResourceArn": of.arn},
        "SearchFaces": {"CollectionId": COLLECTION, "FaceId": FACE_ID, "FaceMatchThreshold": 70},
        "SearchFacesByImage": {"CollectionId": COLLECTION, "Image": picture, "MaxFaces": 10},
        "TagResource": {"ResourceArn": of.arn, "Tags": {"k": "v"}},
        "UntagResource": {"ResourceArn": of.arn, "TagKeys": ["k"]},
        "CreateUser": {"CollectionId": COLLECTION, "UserId": user, "ClientRequestToken": f"t-{rng.randrange(50)}"},
        "DeleteUser": {"CollectionId": COLLECTION, "UserId": user},
        "ListUsers": {"CollectionId": COLLECTION, "MaxResults": 5},
        "AssociateFaces": {
            "CollectionId": COLLECTION,
            "UserId": user,
            "FaceIds": [FACE_ID],
            "UserMatchThreshold": 70.5,
            "ClientRequestToken": f"t-{rng.randrange(50)}",
        },
        "DisassociateFaces": {"CollectionId": COLLECTION, "UserId": user, "FaceIds": [FACE_ID]},
        "SearchUsers": {"CollectionId": COLLECTION, "UserId": user, "MaxUsers": 5, "UserMatchThreshold": 70},
        "SearchUsersByImage": {"CollectionId": COLLECTION, "Image": picture, "MaxUsers": 5},
    }
    operation = rng.choice(sorted(calls))
    return operation, calls[operation]


def dumped(value: object) -> bytes:
    return json.dumps(value).encode()


def _member(rng: random.Random, params: dict[str, Any], value: object) -> dict[str, Any]:
    """The parameters with one member, at any depth, replaced."""
    changed = dict(params)
    name = rng.choice(sorted(changed))
    if isinstance(changed[name], dict) and changed[name] and rng.random() < 0.5:
        changed[name] = _member(rng, changed[name], value)
    else:
        changed[name] = value
    return changed


# -- families: each makes one request


def truncated(rng: random.Random, of: Material) -> Request:
    operation, params = _valid(rng, of)
    body = dumped(params)
    return Request("truncated", operation, body[: rng.randrange(1, len(body))], codes=SERIALIZATION)


def bits(rng: random.Random, of: Material) -> Request:
    operation, params = _valid(rng, of)
    body = bytearray(dumped(params))
    for _ in range(rng.choice((1, 1, 3, 20))):
        body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
    return Request("bits", operation, bytes(body))


def numbers(rng: random.Random, of: Material) -> Request:
    operation, params = _valid(rng, of)
    literal = rng.choice(
        (
            "1e400", "-1e400", "1e308", "9" * 19, "9" * 4000, "-" + "9" * 100_000, "0." + "1" * 50_000, "1e-999999",
            "2147483648", "-2147483649", "9223372036854775808", "-0", "-0.0", "1.5", "NaN", "Infinity", "-Infinity",
            "01", "1.", ".5", "+1", "0x10", "1e99999999999", "１",
        )
    )  # fmt: skip
    marker = "\u0001here"
    text = json.dumps(_member(rng, params, marker)).replace(json.dumps(marker), literal)
    return Request("numbers", operation, text.encode())


def deep(rng: random.Random, of: Material) -> Request:
    operation, params = _valid(rng, of)
    depth = rng.choice((65, 500, 5_000, 30_000))
    open_, close = rng.choice((("[", "]"), ('{"a":', "}"), ('{"Image":', "}"), ('[{"a":', "}]")))
    name = rng.choice(sorted(params))
    ends = rng.choice((close * depth, ""))
    return Request("deep", operation, f'{{"{name}":{open_ * depth}1{ends}}}'.encode(), codes=SERIALIZATION)


def duplicates(rng: random.Random, of: Material) -> Request:
    operation, params = _valid(rng, of)
    name = rng.choice(sorted(params))
    pair = f"{json.dumps(name)}:{json.dumps(params[name])}"
    spelled = "".join(f"\\u{ord(letter):04x}" for letter in name)
    other = rng.choice((pair, f'"{spelled}":null', f'"{name}":{{}}'))
    return Request("duplicates", operation, f"{{{pair},{other}}}".encode(), codes=SERIALIZATION)


def types(rng: random.Random, of: Material) -> Request:
    operation, params = _valid(rng, of)
    wrong = rng.choice(
        ([], {}, "", 0, -1, 1.5, True, False, [[]], [{}], {"": ""}, [None], "null", "0", ["x"] * 50, {"a": {"b": []}})
    )
    return Request("types", operation, dumped(_member(rng, params, wrong)))


def not_objects(rng: random.Random, of: Material) -> Request:
    operation, _ = _valid(rng, of)
    body = rng.choice(
        (b"[]", b"1", b'"x"', b"null", b"true", b" ", b"\0", b"{}{}", b"{},", b"<a/>", b"a=b&c=d", b"\x80")
    )
    return Request("not-objects", operation, body, codes=SERIALIZATION)


def surrogates(rng: random.Random, of: Material) -> Request:
    operation, params = _valid(rng, of)
    half = rng.choice((r"\ud800", r"\udfff", r"\udc00\ud800", r"a\ud83d", r"\ud83dx"))
    text = json.dumps(_member(rng, params, "\u0001here")).replace(r"\u0001here", half)
    return Request("surrogates", operation, text.encode())


def bad_utf8(rng: random.Random, of: Material) -> Request:
    operation, params = _valid(rng, of)
    bad = rng.choice(
        (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80", b"\xf8\x88\x80")
    )
    body = dumped(_member(rng, params, "\u0001here")).replace(rb"\u0001here", bad)
    return Request("bad-utf8", operation, body, codes=SERIALIZATION)


def marks(rng: random.Random, of: Material) -> Request:
    operation, params = _valid(rng, of)
    codec = rng.choice(("utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-7-with-mark", "utf-16-le"))
    text = json.dumps(params)
    body = b"+/v8-" + text.encode("utf-7") if codec == "utf-7-with-mark" else text.encode(codec)
    return Request("byte-order-marks", operation, body, codes=SERIALIZATION)


def packed(rng: random.Random, of: Material) -> Request:
    operation, params = _valid(rng, of)
    plain = rng.choice((dumped(params), bytes(10_000_000)))
    name, body = rng.choice(
        (("gzip", gzip.compress(plain, 6, mtime=0)), ("deflate", zlib.compress(plain, 6)), ("br", b"\x8b" + plain[:99]))
    )
    return Request("packed", operation, body, headers={"Content-Encoding": name}, codes=SERIALIZATION)


def content_types(rng: random.Random, of: Material) -> Request:
    operation, params = _valid(rng, of)
    kind = rng.choice(
        ("application/json", "text/plain", "application/x-amz-json-1.0", "application/x-www-form-urlencoded",
         "multipart/form-data; boundary=x", "application/cbor", "x" * 4000, ";",
         "application/x-amz-json-1.1, text/plain")
    )  # fmt: skip
    return Request("content-types", operation, dumped(params), headers={"Content-Type": kind}, codes=UNKNOWN)


def strings(rng: random.Random, of: Material) -> Request:
    operation, params = _valid(rng, of)
    text = rng.choice(
        ("a" * 300_000, "é" * 100_000, "\0" * 1_000, "../" * 500, "a" * 256, "𝒳" * 5_000, "\u202e" * 300, " " * 300,
         "${jndi:ldap://x}", "'; DROP TABLE collections; --", "%s%n%x" * 50, "\r\nX-Injected: 1", "‮ﷺ" * 100)
    )  # fmt: skip
    return Request("strings", operation, dumped(_member(rng, params, text)))


def nulls(rng: random.Random, of: Material) -> Request:
    operation, params = _valid(rng, of)
    changed = dict.fromkeys(params) if rng.random() < 0.3 else _member(rng, params, None)
    return Request("nulls", operation, dumped(changed))


def crowds(rng: random.Random, of: Material) -> Request:
    operation, params = _valid(rng, of)
    many = rng.choice(
        ([FACE_ID] * 5_000, ["DEFAULT"] * 60_000, {f"k{n}": "v" for n in range(2_000)}, [[]] * 70_000, [0] * 300_000)
    )
    extra = {f"Member{n}": n for n in range(rng.choice((0, 30_000)))}
    return Request("crowds", operation, dumped(_member(rng, params, many) | extra))


def base64s(rng: random.Random, of: Material) -> Request:
    text = base64.b64encode(of.files["jpeg"]).decode()
    bad = rng.choice(
        (text[:-1], text + "=", text.replace("A", "-"), text[:76] + "\r\n" + text[76:], "====", text + "\0\0\0\0",
         "data:image/jpeg;base64," + text, "Zh==", " " + text[1:])
    )  # fmt: skip
    codes = SERIALIZATION if bad != text else None
    return Request("base64", "DetectFaces", dumped({"Image": {"Bytes": bad}}), codes=codes)


def objects(rng: random.Random, of: Material) -> Request:
    places = (
        "../../etc",
        "/etc/passwd",
        "..",
        ".",
        "a/../../b",
        "a\0b",
        "%2e%2e/x",
        "x" * 1025,
        "",
        "~/x",
        "\\..\\x",
        "a//b",
    )
    bucket = rng.choice(("photos", "..", "../..", "a" * 64, "", ".", "UPPER", "xn--a", "arn:aws:s3:::x", "127.0.0.1"))
    version = rng.choice((None, "null", "../1", "v" * 1025))
    place = {"Bucket": bucket, "Name": rng.choice(places), "Version": version}
    image: dict[str, Any] = {"S3Object": rng.choice((place, {}, {"Bucket": bucket}, {"Name": "x"}))}
    if rng.random() < 0.2:
        image["Bytes"] = "aGVsbG8="
    return Request("objects", "DetectFaces", dumped({"Image": image}))


def tokens(rng: random.Random, of: Material) -> Request:
    token = rng.choice(
        (
            "",
            "x",
            "A" * 44,
            base64.b64encode(rng.randbytes(33)).decode(),
            "é",
            "A" * 255,
            "A" * 256,
            "\0",
            "====",
            "0" * 44,
        )
    )
    operation = rng.choice(("ListCollections", "ListFaces"))
    return Request("tokens", operation, dumped({"CollectionId": COLLECTION, "NextToken": token}))


def targets(rng: random.Random, of: Material) -> Request:
    name = rng.choice(
        (
            *sorted(set(model.operations()) - set(OPERATIONS)),
            "NoSuch",
            "",
            ".",
            "detectfaces",
            "x" * 4000,
            "DetectFaces ;",
        )
    )
    return Request("targets", name, b"{}")


def signatures(rng: random.Random, of: Material) -> Request:
    forged = rng.choice(
        (
            {"Authorization": "AWS4-HMAC-SHA256 " + "Credential=" * 100},
            {"Authorization": "AWS4-HMAC-SHA256 Credential=" + "a/" * 5000},
            {"Authorization": "Basic " + "QUFB" * 100},
            {"Authorization": "AWS4-HMAC-SHA256 Credential=é/ä/ö/ü/ß, SignedHeaders=host;é, Signature=ÿ"},
            {"Authorization": "AWS4-HMAC-SHA256 " + ",".join(f"k{n}=v" for n in range(2000))},
            {"X-Amz-Date": "99999999T999999Z"},
            {"X-Amz-Date": "00010101T000000Z"},
            {"X-Amz-Date": "x" * 5000},
            {"X-Amz-Content-Sha256": "UNSIGNED-PAYLOAD"},
            {"X-Amz-Security-Token": "t" * 8000},
            {"Host": "é" * 100},
        )
    )
    return Request("signatures", "ListCollections", b"{}", forged=forged)


def extensions(rng: random.Random, of: Material) -> Request:
    operation, params = _valid(rng, of)
    value = rng.choice(("true", "TRUE", "yes", "true,true", "", "x" * 8000))
    return Request("extensions", operation, dumped(params), headers={"x-countenance-all-faces": value})


FAMILIES: tuple[Callable[[random.Random, Material], Request], ...] = (
    truncated, bits, numbers, deep, duplicates, types, not_objects, surrogates, bad_utf8, marks, packed, content_types,
    strings, nulls, crowds, base64s, objects, tokens, targets, signatures, extensions,
)  # fmt: skip
