"""What may be answered, and that nothing else can be."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from countenance.errors import Error
from countenance.wire import model
from countenance.wire.faults import COMMON_FAULTS, Fault, WireBug, fault_response, require_declared

ERRORS = (Path(__file__).resolve().parents[3] / "docs" / "reference" / "errors.md").read_text("utf-8")


def test_body_and_headers() -> None:
    answer = fault_response(Fault("ResourceNotFoundException", "It is not there."), "an-id")
    assert answer.status == 400
    assert dict(answer.headers) == {"content-type": "application/x-amz-json-1.1", "x-amzn-requestid": "an-id"}
    assert json.loads(answer.body) == {
        "__type": "ResourceNotFoundException",
        "message": "It is not there.",
        "Message": "It is not there.",
    }


def test_the_note_stays_here() -> None:
    fault = Fault("InvalidSignatureException", "No.", note="for the log")
    assert fault.note == "for the log"
    assert b"for the log" not in fault_response(fault, "an-id").body
    assert str(fault) == "No."
    assert isinstance(fault, Error)


@pytest.mark.parametrize("operation", model.operations())
def test_every_declared_error_can_be_answered(operation: str) -> None:
    for code in model.errors(operation) - {"InternalServerError"}:
        fault = Fault(code, "text")
        assert require_declared(operation, fault) is fault


@pytest.mark.parametrize("operation", [None, "ListFaces"])
def test_every_common_error_can_be_answered_anywhere(operation: str | None) -> None:
    for code, statuses in COMMON_FAULTS.items():
        for status in statuses:
            require_declared(operation, Fault(code, "text", status))


@pytest.mark.parametrize(
    ("operation", "code", "status"),
    [
        ("ListFaces", "SomethingException", 400),
        ("ListFaces", "ImageTooLargeException", 400),
        ("DetectFaces", "ResourceNotFoundException", 400),
        (None, "ResourceNotFoundException", 400),
        ("ListFaces", "ResourceNotFoundException", 500),
        ("ListFaces", "InternalServerError", 400),
        ("ListFaces", "ValidationException", 200),
        ("ListFaces", "UnrecognizedClientException", 403),
    ],
)
def test_anything_else_is_a_defect(operation: str | None, code: str, status: int) -> None:
    with pytest.raises(WireBug):
        require_declared(operation, Fault(code, "text", status))


def test_the_page_lists_exactly_the_common_errors() -> None:
    section = ERRORS.partition("## Common errors")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| ([\d, ]+) \|", section, re.MULTILINE)
    assert {code: frozenset(map(int, statuses.split(","))) for code, statuses in rows} == COMMON_FAULTS
