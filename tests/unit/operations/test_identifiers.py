from __future__ import annotations

import re
import uuid
from typing import Any

import pytest

from countenance.operations.identifiers import CollectionArn, face_id, image_id, parse_collection_arn

FACE: dict[str, Any] = {
    "model_version": "1.0",
    "image_sha256": bytes(32),
    "external_image_id": "ann-1",
    "pixel_box": (10, 20, 30, 40),
}


def test_a_face_id_has_the_form_the_service_model_asks_for() -> None:
    made = face_id(b"k" * 32, **FACE)
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", made)
    assert uuid.UUID(made).version == 5
    assert uuid.UUID(made).variant == uuid.RFC_4122


def test_a_face_id_is_deterministic_within_an_account_and_unrelated_between_two() -> None:
    assert face_id(b"k" * 32, **FACE) == face_id(b"k" * 32, **FACE)
    assert face_id(b"k" * 32, **FACE) != face_id(b"l" * 32, **FACE)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model_version", "1.1"),
        ("image_sha256", bytes(31) + b"\1"),
        ("external_image_id", "ann-2"),
        ("external_image_id", None),
        ("pixel_box", (10, 20, 30, 41)),
    ],
)
def test_every_field_counts(field: str, value: object) -> None:
    assert face_id(b"k" * 32, **FACE) != face_id(b"k" * 32, **{**FACE, field: value})


def test_an_image_id_never_equals_a_face_id_of_the_same_bytes() -> None:
    assert image_id(b"k" * 32, bytes(32)) == image_id(b"k" * 32, bytes(32))
    assert image_id(b"k" * 32, bytes(32)) != face_id(b"k" * 32, **FACE)


def test_arns_are_read_with_and_without_their_scheme() -> None:
    arn = CollectionArn("eu-west-2", "123456789012", "people")
    assert parse_collection_arn(str(arn)) == arn
    assert parse_collection_arn(arn.without_scheme()) == arn
    assert arn.without_scheme() == "aws:rekognition:eu-west-2:123456789012:collection/people"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "arn:aws:rekognition:eu-west-2:123456789012:project/x",
        "arn:aws:s3:::bucket",
        "arn:aws:rekognition:eu-west-2:123456789012:collection/a/b",
        "arn:aws:rekognition:eu-west-2:123456789012:collection/a\n",
    ],
)
def test_other_arns_are_not_collections(text: str) -> None:
    assert parse_collection_arn(text) is None
