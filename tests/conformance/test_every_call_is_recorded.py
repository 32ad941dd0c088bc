"""No answer and no effect without a leaf, through the whole pipeline in this process."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from countenance_audit import receipt as receipts
from countenance_audit.leaf import Opening
from countenance_audit.merkle import leaf_hash, verify_inclusion
from countenance_audit.policy import TrustPolicy

from countenance.ledger import fsck
from countenance.ledger.statement import check
from countenance.recognition import Busy
from countenance.wire.http import HttpRequest, HttpResponse

from .in_process import REGION, InProcess, ScriptedEngine, service_in

IMAGE = {"Bytes": b"faces: 2"}


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def at_home(tmp_path: Path, engine: ScriptedEngine) -> Iterator[InProcess]:
    with service_in(tmp_path, engine) as made:
        yield made


def openings(at_home: InProcess, kind: str) -> list[Opening]:
    log = at_home.service.ledger.log
    return [each for _, each in log.storage.openings(0, log.size) if each.accounting["kind"] == kind]


def header(answer: HttpResponse, name: str = receipts.HEADER) -> str | None:
    return dict(answer.headers).get(name)


def policy(at_home: InProcess) -> TrustPolicy:
    return TrustPolicy.parse(f"log {at_home.service.ledger.log.signer.verifier}\nquorum none\n")


def get_receipt(at_home: InProcess, request_id: str, keys: tuple[str, str] | None = None) -> HttpResponse:
    path = f"/receipts/{request_id}"
    request = AWSRequest("GET", f"http://127.0.0.1:8080{path}")
    SigV4Auth(Credentials(*(keys or at_home.credentials)), "rekognition", REGION).add_auth(request)
    lines = [(name.lower(), value) for name, value in request.headers.items()] + [("host", "127.0.0.1:8080")]
    http = HttpRequest("GET", path, "", tuple(lines), b"", datetime.now(UTC))
    return at_home.pipeline.receipt(http, request_id, "11111111-0000-4000-8000-000000000000")


@pytest.mark.parametrize(
    ("operation", "params", "code"),
    [
        ("ListCollections", {}, "OK"),
        ("DetectFaces", {"Image": IMAGE}, "OK"),
        ("DetectFaces", {"Image": {"Bytes": b"none"}}, "InvalidImageFormatException"),
        ("SearchFacesByImage", {"CollectionId": "missing", "Image": IMAGE}, "ResourceNotFoundException"),
        ("ListCollections", {"MaxResults": -1}, "ValidationException"),
        ("DetectLabels", {"Image": IMAGE}, "UnknownOperationException"),
    ],
)
def test_every_answer_and_every_refusal_has_its_leaf_and_a_receipt_for_it(
    at_home: InProcess, operation: str, params: dict[str, Any], code: str
) -> None:
    answer = at_home.call(operation, params)
    text = header(answer)
    assert text is not None
    log = at_home.service.ledger.log
    receipt = receipts.verify(text, log.signer.verifier)
    assert receipts.check_call(receipt, response_body=answer.body) == ("response",)
    said = openings(at_home, "call")[-1].accounting
    assert (said["operation"], said["code"], said["account"]) == (operation, code, at_home.account.account_id)
    assert (said["access_key"], said["holder"], said["purpose"]) == (at_home.credentials[0], "tests", "tests")
    assert said["time"] <= said["end"] == receipt.time
    assert said["response"] == hashlib.sha256(answer.body).hexdigest()
    kept = get_receipt(at_home, receipt.id)
    assert kept.status == 200
    shown = json.loads(kept.body)
    inclusion = receipts.check_inclusion(
        receipt,
        Opening.from_json(shown["opening"]),
        [bytes.fromhex(each) for each in shown["proof"]],
        shown["checkpoint"].encode(),
        policy(at_home),
    )
    assert inclusion.included
    assert inclusion.evidence is None
    assert header(kept) is not None  # reading a receipt is a call as well


def test_each_change_of_a_call_is_shown_with_its_proof(at_home: InProcess) -> None:
    made = at_home.call("CreateCollection", {"CollectionId": "people"})
    log = at_home.service.ledger.log
    shown = json.loads(get_receipt(at_home, receipts.verify(header(made) or "", log.signer.verifier).id).body)
    seen = log.keys.open(shown["checkpoint"].encode())
    assert [each["opening"]["accounting"]["operation"] for each in shown["effects"]] == ["CreateCollection"]
    for each in (shown, *shown["effects"]):
        leaf = leaf_hash(Opening.from_json(each["opening"]).leaf())
        verify_inclusion(each["index"], seen.size, leaf, [bytes.fromhex(one) for one in each["proof"]], seen.root)


def test_a_search_says_what_was_searched_and_commits_to_the_image(at_home: InProcess) -> None:
    at_home.ok("CreateCollection", {"CollectionId": "people"})
    indexed = at_home.ok("IndexFaces", {"CollectionId": "people", "Image": IMAGE, "ExternalImageId": "ann"})
    at_home.ok("SearchFacesByImage", {"CollectionId": "people", "Image": IMAGE})
    searched = openings(at_home, "call")[-1]
    assert searched.accounting["reference_database"] == {"collection": "people", "model": "scripted-1", "references": 2}
    assert searched.accounting["details"] == {"matches": 1}
    assert searched.person is not None
    assert [each["sha256"] for each in searched.person["images"]] == [hashlib.sha256(IMAGE["Bytes"]).hexdigest()]
    assert set(searched.person["face_ids"]) <= {each["Face"]["FaceId"] for each in indexed["FaceRecords"]}
    enrolled = openings(at_home, "call")[-2].person
    assert enrolled is not None
    assert enrolled["external_image_ids"] == ["ann"]
    assert b"faces: 2" not in (at_home.database.path.parent / "countenance.db-wal").read_bytes()


def test_the_references_of_a_gallery_are_those_enrolled_minus_those_deleted_by_the_log(at_home: InProcess) -> None:
    at_home.ok("CreateCollection", {"CollectionId": "people"})
    records = at_home.ok("IndexFaces", {"CollectionId": "people", "Image": {"Bytes": b"faces: 5"}})["FaceRecords"]
    at_home.ok("IndexFaces", {"CollectionId": "people", "Image": {"Bytes": b"faces: 5"}})  # the same again: nothing
    gone = [records[0]["Face"]["FaceId"], "00000000-0000-4000-8000-00000000abcd"]
    at_home.ok("DeleteFaces", {"CollectionId": "people", "FaceIds": gone})
    assert fsck.examine(at_home.service.ledger.log).references == 4
    at_home.ok("DeleteCollection", {"CollectionId": "people"})
    assert fsck.examine(at_home.service.ledger.log).references == 0
    assert fsck.examine(at_home.service.ledger.log).problems == []


def test_without_the_ledger_there_is_no_answer_and_no_effect(at_home: InProcess) -> None:
    at_home.ok("CreateCollection", {"CollectionId": "people"})
    writer = at_home.database._writer
    commit, writer._commit = writer._commit, lambda: (_ for _ in ()).throw(sqlite3.OperationalError("disk full"))  # type: ignore[method-assign]
    for operation, params in (
        ("DetectFaces", {"Image": IMAGE}),
        ("ListCollections", {}),
        ("CreateCollection", {"CollectionId": "more"}),
        ("DeleteCollection", {"CollectionId": "people"}),
    ):
        answer = at_home.call(operation, params)
        assert (answer.status, json.loads(answer.body)["__type"]) == (500, "InternalServerError")
        assert b"Face" not in answer.body
        assert header(answer) is None
    assert not at_home.service.ledger.healthy
    writer._commit = commit  # type: ignore[method-assign]
    assert at_home.ok("ListCollections", {})["CollectionIds"] == ["people"]
    assert at_home.service.ledger.healthy


def test_what_belongs_to_nobody_is_counted_and_gets_no_leaf_of_its_own(at_home: InProcess) -> None:
    log = at_home.service.ledger.log
    before = log.size
    known = at_home.credentials
    for keys in ((known[0], "wrong"), ("AKCNNOSUCHKEY", "wrong")) * 20:
        at_home.credentials = keys
        answer = at_home.call("ListCollections", {})
        assert header(answer) is None
    at_home.credentials = known
    assert log.size == before
    at_home.service.ledger._sum_up()
    (summary,) = openings(at_home, "unauthenticated")
    assert summary.accounting["count"] == 40
    assert summary.accounting["details"] == {"InvalidSignatureException": 20, "UnrecognizedClientException": 20}
    assert summary.accounting["account"] == ""
    at_home.service.ledger._sum_up()
    assert len(openings(at_home, "unauthenticated")) == 1


def test_throttled_calls_are_folded_into_one_leaf_with_their_count(at_home: InProcess, engine: ScriptedEngine) -> None:
    engine.error = Busy("Too many images are waiting to be worked on.")
    before = at_home.service.ledger.log.size
    for _ in range(7):
        answer = at_home.call("DetectFaces", {"Image": {"Bytes": b"raise"}})
        assert json.loads(answer.body)["__type"] == "ThrottlingException"
    assert at_home.service.ledger.log.size == before
    at_home.service.ledger._sum_up()
    (folded,) = openings(at_home, "throttled")
    assert (folded.accounting["count"], folded.accounting["operation"]) == (7, "DetectFaces")


def test_a_receipt_is_shown_to_its_own_account_alone(at_home: InProcess) -> None:
    at_home.ok("ListCollections", {})
    accounts, at = at_home.service.accounts, datetime.now(UTC)
    other = accounts.create_account("other", request_id="r", at=at)
    issued = accounts.create_key(other.account_id, purpose="tests", request_id="r", at=at)
    wanted = "00000000-0000-4000-8000-000000000000"
    assert get_receipt(at_home, wanted).status == 200
    refused = get_receipt(at_home, wanted, (issued.key.access_key_id, issued.secret))
    assert json.loads(refused.body)["__type"] == "ResourceNotFoundException"
    assert get_receipt(at_home, "no-such").status == 400
    assert get_receipt(at_home, wanted, (issued.key.access_key_id, "wrong")).status == 400


def test_what_was_charged_is_what_a_statement_shows(at_home: InProcess) -> None:
    for _ in range(3):
        at_home.ok("DetectFaces", {"Image": IMAGE})
    at_home.call("DetectFaces", {"Image": {"Bytes": b"none"}})
    at_home.ok("ListCollections", {})
    month = datetime.now(UTC).strftime("%Y-%m")
    statement, opened = at_home.service.ledger.statement(at_home.account.account_id, month)
    assert (statement.totals.calls, statement.totals.units, statement.totals.failed) == (5, 3, 1)
    assert statement.totals.charges == sum(each.accounting["amount"] for each in openings(at_home, "call")) > 0
    assert check(statement, opened, prices=at_home.service.ledger.prices) == []
    group = at_home.service.ledger.prices.group("DetectFaces")
    assert at_home.service.ledger.log.storage.usage() == [(at_home.account.account_id, group, month, 3)]
