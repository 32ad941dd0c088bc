"""Matches that people look at, and searches that rest on an authorisation."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from countenance.ledger.journal import Journal
from countenance.operations.governance import Governance
from countenance.operations.instruction import AdministrationError
from countenance.policy.policyset import PolicyError, composed
from countenance.wire.http import HttpRequest
from tests.conformance.in_process import REGION, InProcess, ScriptedEngine, service_in
from tests.conformance.test_use_policy import code, key

SEARCH = {"CollectionId": "people", "Image": {"Bytes": b"faces: 1"}, "FaceMatchThreshold": 99.0}
COMPARE = {"SourceImage": SEARCH["Image"], "TargetImage": SEARCH["Image"], "SimilarityThreshold": 99.0}
HOUR_US = 3_600_000_000


@pytest.fixture
def at_home(tmp_path: Path) -> Iterator[InProcess]:
    with service_in(tmp_path, ScriptedEngine()) as made:
        made.ok("CreateCollection", {"CollectionId": "people"})
        made.ok("CreateCollection", {"CollectionId": "empty"})
        made.ok("IndexFaces", {"CollectionId": "people", "Image": SEARCH["Image"]})
        office = made.service.governance.office
        roles = {"ann": "admin", "bea": "admin", "cyd": "reviewer", "dee": "auditor"}
        for handle in ("ann", "bea"):
            office.create(handle, [roles[handle]], by="host", reason="tests", request_id=str(uuid.uuid4()))
        for handle in ("cyd", "dee"):
            made.decided("operator.create", "", {"operator": handle, "roles": roles[handle], "code_sha256": "00" * 32})
        yield made


def in_force(at_home: InProcess, *packs: str) -> None:
    made = at_home.service.governance.shelf.keep(composed(packs))
    at_home.decided("policy.activate", "", {"policy_set": made, "previous": "", "from_us": 0})


def do(at_home: InProcess, by: str, verb: str, **params: Any) -> dict[str, Any]:
    """A verb for an operator who is logged in, or the host."""
    if by != "host":
        params["session_token"] = at_home.service.governance.office._tokens.issue(by, time.time_ns() // 1000)
    return at_home.pipeline.administer(verb, params)


def asked(at_home: InProcess, operation: str, params: dict[str, Any], purpose: str) -> dict[str, str]:
    """The headers of the answer to a call with a key of a purpose."""
    own, at_home.credentials = at_home.credentials, key(at_home, at_home.account.account_id, purpose)
    at_home.request_id = str(uuid.uuid4())
    try:
        answer = at_home.call(operation, params)
    finally:
        at_home.credentials = own
    assert answer.status == 200, answer.body
    return dict(answer.headers)


def receipt(at_home: InProcess, request_id: str) -> dict[str, Any]:
    request = AWSRequest("GET", f"http://127.0.0.1:8080/receipts/{request_id}")
    SigV4Auth(Credentials(*at_home.credentials), "rekognition", REGION).add_auth(request)
    lines = [*((name.lower(), value) for name, value in request.headers.items()), ("host", "127.0.0.1:8080")]
    path = f"/receipts/{request_id}"
    answer = at_home.pipeline.receipt(
        HttpRequest("GET", path, "", tuple(lines), b"", datetime.now(UTC)), request_id, str(uuid.uuid4())
    )
    assert answer.status == 200, answer.body
    found: dict[str, Any] = json.loads(answer.body)
    return found


def test_matches_are_marked_and_everybody_who_looks_is_on_record(at_home: InProcess) -> None:
    in_force(at_home, "public-safety")
    for operation, params in (("SearchFacesByImage", SEARCH), ("CompareFaces", COMPARE)):
        assert asked(at_home, operation, params, "missing-person")["x-countenance-review"] == "1"
        call = at_home.request_id
        assert "x-countenance-review" not in asked(at_home, operation, params, "access-control")
        (waits,) = do(at_home, "dee", "review.list", open=True)["told"]
        assert (waits["request_id"], waits["wanted"], waits["matches"]) == (call, 1, 1)
        words = {"request_id": call, "judgement": "confirmed", "reason": "the scar"}
        for refused, why in (("host", "nobody is logged in"), ("dee", "does not allow")):
            with pytest.raises(AdministrationError, match=why):
                do(at_home, refused, "review.verify", **words)
        for wrong in ({"judgement": "yes"}, {"reason": " "}, {"reason": "x" * 201}, {"request_id": "none"}):
            with pytest.raises(AdministrationError):
                do(at_home, "cyd", "review.verify", **{**words, **wrong})
        said = do(at_home, "cyd", "review.verify", **words)
        with pytest.raises(AdministrationError, match="already"):
            do(at_home, "cyd", "review.verify", **words)
        do(at_home, "ann", "review.verify", **{**words, "judgement": "rejected"})
        assert do(at_home, "dee", "review.list", open=True)["told"] == []
        (seen,) = [each for each in do(at_home, "dee", "review.list")["told"] if each["request_id"] == call]
        assert [(each["by"], each["judgement"]) for each in seen["verifications"]] == [
            ("cyd", "confirmed"),
            ("ann", "rejected"),
        ]
        at_home.service.ledger.log.publish()
        opened = receipt(at_home, call)
        assert opened["opening"]["accounting"]["details"]["review"] == 1
        assert [each["judgement"] for each in opened["reviews"]] == ["confirmed", "rejected"]
        assert opened["reviews"][0]["act"] == said["act"]
    assert at_home.pipeline.administer("ledger.fsck", {})["problems"] == []


def test_an_answer_without_matches_waits_for_nobody(at_home: InProcess) -> None:
    in_force(at_home, "public-safety")
    found = asked(at_home, "SearchFacesByImage", {**SEARCH, "CollectionId": "empty"}, "missing-person")
    assert "x-countenance-review" not in found
    assert do(at_home, "host", "review.list") == {
        "calls": 0,
        "told": [],
        "unopened": 0,
        "unopened_leaves": [],
    }


def test_whose_row_was_changed_is_not_told_and_verified_by_nobody(at_home: InProcess) -> None:
    in_force(at_home, "public-safety")
    asked(at_home, "SearchFacesByImage", SEARCH, "missing-person")
    call, index = at_home.request_id, at_home.service.ledger.log.size - 1
    fewer = "UPDATE log_openings SET accounting = json_remove(accounting, '$.details.review') WHERE idx = ?"
    more = "UPDATE log_openings SET accounting = json_set(accounting, '$.details.matches', 9) WHERE idx = ?"
    for how in (more, fewer):
        at_home.database.maintain(lambda connection, how=how: connection.execute(how, (index,)).close())
        assert do(at_home, "host", "review.list")["told"] == []
        assert do(at_home, "host", "review.list", open=True)["unopened_leaves"] == [index]
        with pytest.raises(AdministrationError, match="is not what the log says"):
            do(at_home, "cyd", "review.verify", request_id=call, judgement="confirmed", reason="x")


def test_what_was_verified_is_read_again_at_the_next_start(at_home: InProcess) -> None:
    in_force(at_home, "public-safety")
    asked(at_home, "SearchFacesByImage", SEARCH, "missing-person")
    call, service, account = at_home.request_id, at_home.service, at_home.account.account_id
    do(at_home, "ann", "review.verify", request_id=call, judgement="confirmed", reason="x")
    do(at_home, "ann", "authorisation.request", account_id=account, reference="7", authority="court")
    keyring = service.governance.office._keyring
    again = Governance(at_home.database, keyring, Journal(service.ledger.log), service.accounts)
    assert [each.by for each in again.verifications(call)] == ["ann"]
    assert [each.reference for each in again.authorisations(account)] == ["7"]


def test_an_obligation_that_nobody_can_meet_makes_no_set() -> None:
    text = '@id("own.a")\n@citation("house rule 1, page 2")\n@satisfy("-")\n@obligation("{}")\n'
    text += "{}(principal, action, resource);"
    assert composed([], {"own": text.format("two-person-review", "permit")}).policies
    for obligation, effect in (("three-people", "permit"), ("human-review", "forbid")):
        with pytest.raises(PolicyError, match="nobody can meet"):
            composed([], {"own": text.format(obligation, effect)})


# -- authorisations


@pytest.fixture
def investigation(at_home: InProcess) -> tuple[str, str]:
    """A key for investigations; each search is approved by two operators, so that only the authorisation is missing."""
    text = '@id("own.a")\n@citation("AI Act Art. 26(10)")\n@satisfy("an authorisation")\n' + (
        'forbid(principal, action in [Action::"Search"], resource)\n'
        'when { context.purpose == "criminal-investigation" && context.authorisation == "" };'
    )
    made = at_home.service.governance.shelf.keep(composed([], {"own": text}))
    at_home.decided("policy.activate", "", {"policy_set": made, "previous": "", "from_us": 0})
    return key(at_home, at_home.account.account_id, "criminal-investigation")


@pytest.fixture
def words(at_home: InProcess) -> dict[str, Any]:
    return {"account_id": at_home.account.account_id, "reference": "KG 1/26"}


def ago(at_home: InProcess, hours: int, verb: str, **params: Any) -> dict[str, Any]:
    """A verb that was carried out some hours ago: acts say the time of the register's clock."""
    governance = at_home.service.governance
    now = governance._now_us
    governance._now_us = lambda: now() - hours * HOUR_US
    try:
        return do(at_home, "ann", verb, **params)
    finally:
        governance._now_us = now


def searched(at_home: InProcess, keys: tuple[str, str], collection: str = "people") -> str:
    return code(at_home, keys, "SearchFacesByImage", {**SEARCH, "CollectionId": collection})


OK, DENIED = "OK", "AccessDeniedException"


def test_a_search_rests_on_an_authorisation_that_was_granted(
    at_home: InProcess, investigation: tuple[str, str], words: dict[str, Any]
) -> None:
    assert searched(at_home, investigation) == DENIED
    asked_for = ago(at_home, 60, "authorisation.request", **words, authority="court", collection_id="people")
    assert asked_for["state"] == "lapsed"
    assert searched(at_home, investigation) == DENIED
    until = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    grant = {"until": until, "evidence_sha256": "ab" * 32}
    for wrong in ({"until": "2001-01-01"}, {"until": "2099-01-01"}, {"evidence_sha256": "x"}, {"reference": "other"}):
        with pytest.raises(AdministrationError):
            do(at_home, "ann", "authorisation.grant", **{**words, **grant, **wrong})
    assert do(at_home, "ann", "authorisation.grant", **words, **grant)["state"] == "granted"
    assert searched(at_home, investigation) == OK
    assert searched(at_home, investigation, "empty") == DENIED
    refused = do(at_home, "bea", "authorisation.refuse", **words)
    assert (refused["state"], refused["calls"]) == ("refused", 1)
    assert searched(at_home, investigation) == DENIED
    with pytest.raises(AdministrationError, match="refused"):
        do(at_home, "ann", "authorisation.grant", **words, **grant)
    assert do(at_home, "dee", "authorisation.calls", **words)["calls"] == 1
    assert at_home.pipeline.administer("ledger.fsck", {})["problems"] == []


def test_while_it_was_only_asked_for_a_search_goes_on_for_48_hours(
    at_home: InProcess, investigation: tuple[str, str], words: dict[str, Any]
) -> None:
    assert ago(at_home, 47, "authorisation.request", **words, authority="court")["state"] == "requested"
    assert searched(at_home, investigation) == OK
    assert searched(at_home, investigation, "empty") == OK
    do(at_home, "ann", "authorisation.refuse", **words)
    assert searched(at_home, investigation) == DENIED


def test_asking_again_and_again_does_not_go_on_for_another_48_hours(
    at_home: InProcess, investigation: tuple[str, str], words: dict[str, Any]
) -> None:
    ago(at_home, 49, "authorisation.request", **words, authority="court")
    again = do(at_home, "ann", "authorisation.request", **{**words, "reference": "KG 2/26"}, authority="court")
    assert again["answer_due"] is None
    assert searched(at_home, investigation) == DENIED
    narrower = {**words, "reference": "KG 3/26", "collection_id": "people"}
    assert do(at_home, "ann", "authorisation.request", **narrower, authority="court")["answer_due"] is None
    assert searched(at_home, investigation) == DENIED


def test_one_that_ended_lets_nobody_through(
    at_home: InProcess, investigation: tuple[str, str], words: dict[str, Any]
) -> None:
    ago(at_home, 60, "authorisation.request", **words, authority="court")
    soon = (datetime.now(UTC) + timedelta(seconds=120)).isoformat()
    do(at_home, "ann", "authorisation.grant", **words, until=soon, evidence_sha256="ab" * 32)
    assert searched(at_home, investigation) == OK
    at_home.pipeline._clock = lambda: datetime.now(UTC) + timedelta(seconds=180)
    assert searched(at_home, investigation) == DENIED
    (told,) = do(at_home, "dee", "authorisation.list", account_id=words["account_id"])["authorisations"]
    assert told["state"] == "ended"


def test_the_host_and_whoever_writes_in_its_name_authorises_nobody(
    at_home: InProcess, investigation: tuple[str, str], words: dict[str, Any]
) -> None:
    for verb in ("authorisation.request", "authorisation.grant", "authorisation.refuse"):
        with pytest.raises(AdministrationError, match="nobody is logged in"):
            do(at_home, "host", verb, **words, authority="court", until="2099-01-01", evidence_sha256="ab" * 32)
        for no_one in ("cyd", "dee"):
            with pytest.raises(AdministrationError, match="does not allow"):
                do(at_home, no_one, verb, **words)
    for by in ("host", "nobody", ""):
        details = {"reference": by, "authority": "court", "collection_id": "", "by": by}
        at_home.service.governance.record(
            "authorisation.request", words["account_id"], details, request_id=str(uuid.uuid4())
        )
    assert searched(at_home, investigation) == DENIED


def test_a_call_that_was_moved_to_another_account_is_missed_in_what_an_account_used(at_home: InProcess) -> None:
    words = {"account_id": at_home.account.account_id, "from": "2020-01-01"}
    at_home.ok("ListCollections", {})
    index = at_home.service.ledger.log.size - 1
    whole = at_home.pipeline.administer("party.lookback", words)
    assert index in whole["windows"][-1]["leaves"]
    moved = "UPDATE log_openings SET accounting = json_set(accounting, '$.account', '000000000000') WHERE idx = ?"
    at_home.database.maintain(lambda connection: connection.execute(moved, (index,)).close())
    told = at_home.pipeline.administer("party.lookback", words)
    assert index not in told["windows"][-1]["leaves"]
    assert (whole["unopened"], told["unopened_leaves"]) == (0, [index])
    assert told["receipt"]["opening"]["accounting"]["details"]["report_sha256"] == told["sha256"]
