"""The life of a call: the order of its steps, and what is told to the client, the log, the metrics and the record."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conformance.in_process import InProcess, ScriptedEngine, code_of, service_in
from tests.unit.accounts.declarations import CUSTOMER

from countenance import pipeline
from countenance.errors import Error
from countenance.gallery import CollectionExists, TemplateCorrupt
from countenance.operations import OPERATIONS
from countenance.operations.administration import INSTRUCTIONS, AdministrationError
from countenance.operations.quotas import Quotas
from countenance.recognition import Busy, ModelPackError
from countenance.store import DatabaseError
from countenance.wire import constraints, model

FACES = {"Bytes": b"faces: 2"}


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def house(tmp_path: Path, engine: ScriptedEngine) -> Iterator[InProcess]:
    with service_in(tmp_path, engine) as running:
        yield running


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("secret: /a/secret/path"),
        KeyError("secret"),
        MemoryError("secret"),
        RecursionError("secret"),
        Error("secret", hint="secret"),
        DatabaseError("secret"),
        TemplateCorrupt("secret"),
        ModelPackError("secret"),
    ],
)
def test_a_bug_is_answered_without_a_word_of_its_own(
    house: InProcess, engine: ScriptedEngine, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    engine.error = error
    answer = house.call("DetectFaces", {"Image": {"Bytes": b"raise"}})
    assert (answer.status, code_of(answer)) == (500, "InternalServerError")
    assert b"secret" not in answer.body
    assert json.loads(answer.body)["message"] == "Internal server error"
    (record,) = [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert "00000000-0000-4000-8000-000000000000" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_an_answer_that_does_not_fit_its_shape_is_a_bug(house: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPERATIONS, "ListCollections", lambda call, params: {"Invented": 1})
    answer = house.call("ListCollections", {})
    assert (answer.status, code_of(answer)) == (500, "InternalServerError")
    assert b"Invented" not in answer.body
    assert [outcome.code for outcome in house.outcomes] == ["InternalServerError"]


def test_an_error_the_operation_does_not_declare_is_a_bug(
    house: InProcess, engine: ScriptedEngine, caplog: pytest.LogCaptureFixture
) -> None:
    assert "ResourceAlreadyExistsException" not in model.errors("DetectFaces")
    engine.error = CollectionExists("The collection id: x already exists")
    answer = house.call("DetectFaces", {"Image": {"Bytes": b"raise"}})
    assert (answer.status, code_of(answer)) == (500, "InternalServerError")
    assert "undeclared" in caplog.text
    assert [outcome.code for outcome in house.outcomes] == ["InternalServerError"]


def test_a_busy_engine_asks_to_slow_down(house: InProcess, engine: ScriptedEngine) -> None:
    engine.error = Busy("Too many images are waiting to be worked on.")
    answer = house.call("DetectFaces", {"Image": {"Bytes": b"raise"}})
    assert (answer.status, code_of(answer)) == (400, "ThrottlingException")


def test_the_steps_run_in_their_order(house: InProcess) -> None:
    """Each wrong thing hides the ones after it, so nobody without a key learns what a body would have met."""
    wrong = {"X-Amz-Target": "RekognitionService.Nothing"}
    credentials = house.credentials
    house.credentials = (credentials[0], "wrong")
    assert code_of(house.send("x", b"{", wrong)) == "InvalidSignatureException"
    house.credentials = credentials
    assert code_of(house.send("x", b"{", wrong)) == "UnknownOperationException"
    assert code_of(house.send("DetectLabels", b"{")) == "SerializationException"
    assert code_of(house.send("DetectLabels", b'{"MaxLabels":-1}')) == "ValidationException"
    assert code_of(house.call("DetectLabels", {"Image": {"Bytes": b"x"}})) == "UnknownOperationException"
    assert [step.__name__ for step in pipeline.STEPS] == [
        "authenticate",
        "locate",
        "name_operation",
        "admit",
        "decode",
        "constrain",
        "permit",
        "operate",
        "mark_for_review",
        "keep_sample",
    ]


def test_a_call_beyond_the_quota_is_refused_before_its_body_is_read(tmp_path: Path, engine: ScriptedEngine) -> None:
    now = [0.0]
    quotas = Quotas.parse(["ListCollections=2"], clock=lambda: now[0])
    with service_in(tmp_path, engine, admits=quotas.take) as house:
        answers = [house.call("ListCollections", {}) for _ in range(3)]
        assert [code_of(each) for each in answers] == ["OK", "OK", "ThrottlingException"]
        assert json.loads(answers[2].body)["message"] == "Slow down; sudden increase in rate of requests."
        assert code_of(house.send("ListCollections", b"no json")) == "ThrottlingException"
        assert (
            house.call("DescribeCollection", {"CollectionId": "c"}).status == 400
        )  # another operation, another bucket
        now[0] += 0.5
        assert house.call("ListCollections", {}).status == 200
        assert [outcome.code for outcome in house.outcomes].count("ThrottlingException") == 2
        size = house.service.ledger.log.size
        house.call("ListCollections", {})
        assert house.service.ledger.log.size == size  # refusals are summed up, so that nobody grows the log with them


def test_an_operation_not_built_is_refused_by_name(house: InProcess) -> None:
    unbuilt = sorted(set(model.operations()) - set(OPERATIONS))
    assert len(unbuilt) == 54
    for operation in unbuilt:
        answer = house.send(operation, json.dumps(_least(model.input_shape(operation))).encode())
        assert (answer.status, code_of(answer)) == (400, "UnknownOperationException"), answer.body
        message = json.loads(answer.body)["message"]
        assert message.startswith(f"{operation} is not supported by this server")
        assert "compatibility.md" in message


def _least(shape: model.Shape) -> Any:
    """The least JSON that keeps a shape's rules, good enough for the operations not built."""
    if shape.kind == "structure":
        if shape.name == "Image":
            return {"Bytes": "eA=="}
        return {name: _least(shape.members[name]) for name in shape.required}
    if shape.kind == "list":
        assert shape.element is not None
        return [_least(shape.element)] * int(shape.minimum or 0)
    if shape.kind == "map":
        return {}
    if shape.kind == "string":
        return shape.enum[0] if shape.enum else _text(shape)
    return {"boolean": True, "blob": "eA==", "timestamp": 0}.get(shape.kind, shape.minimum or 0)


def _text(shape: model.Shape) -> str:
    """One text out of those that fit some string of the model."""
    arn = "arn:aws:rekognition:eu-west-2:111122223333:"
    texts = (
        "a" * int(shape.minimum or 1), "1" * int(shape.minimum or 1), "1.0.0", "{}", "a" * 64,
        "11111111-2222-5333-8444-555555555555", arn + "project/p/1", arn + "project/p/version/v/1",
        arn + "project/p/dataset/train/1", arn + "streamprocessor/s", "arn:aws:iam::111122223333:role/r",
        "arn:aws:kinesisvideo:eu-west-2:111122223333:s", "arn:aws:sns:eu-west-2:111122223333:t", arn + "x" * 20,
    )  # fmt: skip
    long_enough = [text for text in texts if (shape.minimum or 0) <= len(text) <= (shape.maximum or 1 << 30)]
    return next(t for t in long_enough if not shape.pattern or constraints.compiled(shape.pattern).fullmatch(t))


def test_every_call_is_observed_once(house: InProcess) -> None:
    house.call("ListCollections", {})
    house.call("DescribeCollection", {"CollectionId": "none"})
    house.call("DetectFaces", {"Image": {"Bytes": b"raise"}})
    house.send("Nothing", b"{}")
    house.credentials = ("AKCNUNKNOWN", "x")
    house.call("ListCollections", {})
    seen = [(outcome.operation, outcome.code, outcome.status, outcome.account_id) for outcome in house.outcomes]
    account = house.account.account_id
    assert seen == [
        ("ListCollections", "OK", 200, account),
        ("DescribeCollection", "ResourceNotFoundException", 400, account),
        ("DetectFaces", "InternalServerError", 500, account),
        ("", "UnknownOperationException", 400, account),
        ("", "UnrecognizedClientException", 400, ""),
    ]
    assert all(outcome.seconds > 0 for outcome in house.outcomes)


def test_the_all_faces_header_searches_every_face(house: InProcess) -> None:
    house.ok("CreateCollection", {"CollectionId": "c"})
    house.ok("IndexFaces", {"CollectionId": "c", "Image": FACES})
    search = {"CollectionId": "c", "Image": FACES, "FaceMatchThreshold": 90}
    for value, faces in (("true", 2), (" TRUE ", 2), ("false", None), ("1", None), ("", None)):
        answer = house.call("SearchFacesByImage", search, {"x-countenance-all-faces": value})
        assert answer.status == 200
        result = json.loads(answer.body)
        assert len(result["FaceMatches"]) == (2 if faces else 1), value
        assert (len(result["CountenanceSearchedFaces"]) if faces else None) == faces
        assert ("CountenanceSearchedFaces" in result) == (faces is not None)


def changes(house: InProcess) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Every state-changing operation in an order that works: what succeeds, and what then fails."""
    nowhere = {"CollectionId": "nowhere"}
    ids = "11111111-2222-5333-8444-555555555555"
    return [
        ("CreateCollection", {"CollectionId": "c", "Tags": {"a": "b"}}, {"CollectionId": "c"}),
        ("IndexFaces", {"CollectionId": "c", "Image": FACES}, {**nowhere, "Image": FACES}),
        ("TagResource", {"ResourceArn": house.arn("c"), "Tags": {"x": "y"}},
         {"ResourceArn": house.arn("c"), "Tags": {f"k{n}": "" for n in range(200)}}),
        ("UntagResource", {"ResourceArn": house.arn("c"), "TagKeys": ["x"]},
         {"ResourceArn": house.arn("nowhere"), "TagKeys": ["x"]}),
        ("DeleteFaces", {"CollectionId": "c", "FaceIds": [ids]}, {**nowhere, "FaceIds": [ids]}),
        ("CreateUser", {"CollectionId": "c", "UserId": "ann"}, {"CollectionId": "c", "UserId": "ann"}),
        ("AssociateFaces", {"CollectionId": "c", "UserId": "ann", "FaceIds": [ids]},
         {"CollectionId": "c", "UserId": "ben", "FaceIds": [ids]}),
        ("DisassociateFaces", {"CollectionId": "c", "UserId": "ann", "FaceIds": [ids]},
         {"CollectionId": "c", "UserId": "ben", "FaceIds": [ids]}),
        ("DeleteUser", {"CollectionId": "c", "UserId": "ann"}, {"CollectionId": "c", "UserId": "ann"}),
        ("DeleteCollection", {"CollectionId": "c"}, {"CollectionId": "c"}),
    ]  # fmt: skip


def test_a_change_leaves_exactly_one_entry_and_a_failure_none(house: InProcess) -> None:
    for operation, succeeds, fails in changes(house):
        before = house.entries()
        house.ok(operation, succeeds)
        new = house.entries()[len(before) :]
        assert [entry.operation for entry in new] == [operation]
        assert new[0].account_id == house.account.account_id
        assert new[0].access_key_id == house.credentials[0]
        assert new[0].request_id == "00000000-0000-4000-8000-000000000000"
        assert house.call(operation, fails).status == 400
        assert len(house.entries()) == len(before) + 1, operation


def test_reading_leaves_no_entry(house: InProcess) -> None:
    house.ok("CreateCollection", {"CollectionId": "c"})
    indexed = house.ok("IndexFaces", {"CollectionId": "c", "Image": FACES})
    before = house.entries()
    face_id = indexed["FaceRecords"][0]["Face"]["FaceId"]
    readings: list[tuple[str, dict[str, Any]]] = [
        ("CompareFaces", {"SourceImage": FACES, "TargetImage": FACES}),
        ("DescribeCollection", {"CollectionId": "c"}),
        ("DetectFaces", {"Image": FACES}),
        ("ListCollections", {}),
        ("ListFaces", {"CollectionId": "c"}),
        ("ListTagsForResource", {"ResourceArn": house.arn("c")}),
        ("SearchFaces", {"CollectionId": "c", "FaceId": face_id}),
        ("SearchFacesByImage", {"CollectionId": "c", "Image": FACES}),
        ("ListUsers", {"CollectionId": "c"}),
        ("SearchUsers", {"CollectionId": "c", "FaceId": face_id}),
        ("SearchUsersByImage", {"CollectionId": "c", "Image": FACES}),
    ]
    for operation, params in readings:
        house.ok(operation, params)
    assert house.entries() == before
    assert {operation for operation, _ in readings} | {operation for operation, _, _ in changes(house)} == set(
        OPERATIONS
    )


def test_an_enrolment_that_finds_no_face_changes_nothing(house: InProcess) -> None:
    house.ok("CreateCollection", {"CollectionId": "c"})
    before = house.entries()
    answer = house.ok("IndexFaces", {"CollectionId": "c", "Image": {"Bytes": b"faces: 0"}})
    assert answer["FaceRecords"] == []
    assert house.entries() == before


def test_an_administrative_verb_nobody_knows(house: InProcess) -> None:
    with pytest.raises(AdministrationError) as refused:
        house.pipeline.administer("account.destroy", {})
    assert "account.destroy" in refused.value.message


def test_administration_goes_through_the_same_door(house: InProcess) -> None:
    made = house.pipeline.administer("account.create", {"name": "Second", "party": CUSTOMER})
    issued = house.pipeline.administer("key.create", {"account_id": made["account_id"]})
    house.ok("CreateCollection", {"CollectionId": "c"})
    house.clear(made["account_id"])
    house.credentials = (issued["access_key_id"], issued["secret_access_key"])
    assert house.ok("ListCollections", {})["CollectionIds"] == []
    house.pipeline.administer("key.revoke", {"access_key_id": issued["access_key_id"]})
    assert code_of(house.call("ListCollections", {})) == "UnrecognizedClientException"


NOT_UTF8 = "x\udcff"
"""As Python reads it on a command line."""


TEXTS = {
    "account.create": ("name",),
    "account.declare": ("account_id",),
    "account.list": (),
    "account.party": ("account_id",),
    "account.standing": ("account_id",),
    "approval.give": ("approval",),
    "approval.list": (),
    "authorisation.calls": ("account_id", "reference"),
    "authorisation.grant": ("account_id", "reference", "evidence_sha256", "until"),
    "authorisation.list": ("account_id",),
    "authorisation.refuse": ("account_id", "reference"),
    "authorisation.request": ("account_id", "reference", "authority", "collection_id"),
    "backup.create": ("path",),
    "bucket.grant": ("account_id", "bucket"),
    "bucket.list": ("account_id",),
    "bucket.revoke": ("account_id", "bucket"),
    "case.judge": ("account_id", "case", "judgement"),
    "case.list": ("account_id",),
    "case.show": ("account_id", "case"),
    "list.accept": ("act",),
    "list.attest": ("act",),
    "list.import": ("list", "format", "report_date"),
    "list.list": (),
    "list.removed": ("act",),
    "list.retire": ("list",),
    "list.update": ("list",),
    "party.lookback": ("account_id", "from", "to"),
    "party.screen": (),
    "party.show": ("account_id",),
    "party.statements": (),
    "screening.progress": (),
    "topology.show": (),
    "certificate.issue": ("identifier", "from", "until", "requester"),
    "certificate.list": (),
    "certificate.refuse": ("request",),
    "certificate.request": ("identifier", "from", "until", "requester"),
    "evidence.export": ("from", "until", "requester"),
    "evidence.pack": ("day",),
    "period.close": (),
    "period.list": (),
    "period.rotate": (),
    "period.statement": ("note",),
    "consent.list": ("account_id", "external_image_id"),
    "collection.describe": ("account_id", "collection_id"),
    "collection.verify": ("account_id", "collection_id"),
    "collection.export": ("account_id", "collection_id", "path", "password"),
    "collection.import": ("account_id", "path", "password", "as"),
    "collection.migrate": ("account_id", "collection_id"),
    "collection.progress": (),
    "consent.record": ("account_id", "external_image_id"),
    "consent.withdraw": ("account_id", "external_image_id"),
    "crops.erase": ("account_id", "collection_id"),
    "key.create": ("account_id", "purpose", "holder"),
    "key.list": ("account_id",),
    "key.revoke": ("access_key_id",),
    "ledger.erase": ("account_id", "before", "ground"),
    "ledger.expire": ("account_id", "before"),
    "ledger.fsck": (),
    "ledger.hold": ("account_id", "reason"),
    "ledger.release": ("account_id",),
    "ledger.retire": ("key_id",),
    "ledger.rotate": (),
    "ledger.statement": ("account_id", "month", "form"),
    "ledger.status": (),
    "operator.create": ("operator",),
    "operator.enrol": ("operator", "code", "password"),
    "operator.list": (),
    "operator.refound": ("reason",),
    "operator.reset": (),
    "operator.resume": ("operator",),
    "operator.roles": (),
    "operator.suspend": ("operator",),
    "person.erase": ("account_id", "external_image_id", "ground"),
    "policy.activate": ("policy_set",),
    "policy.at": ("at",),
    "policy.diff": ("before",),
    "policy.draft": (),
    "policy.explain": ("request",),
    "policy.replay": (),
    "policy.show": ("policy_set",),
    "policy.simulate": ("policy_set",),
    "policy.status": (),
    "policy.test": ("policy_set",),
    "proposal.approve": ("proposal",),
    "proposal.list": (),
    "proposal.withdraw": ("proposal",),
    "purpose.add": ("purpose",),
    "purpose.allow": ("account_id", "purpose"),
    "purpose.list": (),
    "session.login": ("operator", "password", "one_time"),
    "session.logout": (),
    "session.show": (),
    "retention.set": ("account_id", "collection_id"),
    "review.list": (),
    "review.verify": ("request_id", "judgement", "reason"),
    "sample.erase": ("account_id", "before", "ground"),
    "sample.export": ("request_id", "reason"),
    "sample.list": ("account_id", "after"),
}
"""What each verb takes as text, beside declarations."""


@pytest.mark.parametrize(("verb", "name"), [(verb, name) for verb in INSTRUCTIONS for name in TEXTS[verb]])
def test_text_that_is_not_utf8_is_refused_and_changes_nothing(house: InProcess, verb: str, name: str) -> None:
    log = house.service.ledger.log
    size = log.size
    params: dict[str, Any] = dict.fromkeys(TEXTS[verb], "2001-01-01")
    params |= {"account_id": house.account.account_id, "party": CUSTOMER, "month": "2026-01", "purpose": "testing"}
    with pytest.raises(AdministrationError, match="is not UTF-8") as refused:
        house.pipeline.administer(verb, {**params, name: f"hunter2{NOT_UTF8}"})
    assert "hunter2" not in refused.value.message  # it may be a password
    assert log.size == size
