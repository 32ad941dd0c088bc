"""What the policies in force do to calls, and what the entries say of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from countenance_audit import canonical
from countenance_audit.leaf import make_opening

from countenance.ledger import Log, accounting, fsck, microseconds
from countenance.ledger.journal import Journal
from countenance.operations import OPERATIONS
from countenance.operations.governance import Governance
from countenance.policy import policyset
from countenance.policy.policyset import PolicyError, composed
from tests.conformance.in_process import InProcess, ScriptedEngine, service_in

IMAGE = {"Bytes": b"faces: 2"}
COMPARE = {"SourceImage": IMAGE, "TargetImage": IMAGE}
SEARCH = {"CollectionId": "people", "Image": IMAGE}
FACE = "00000000-0000-4000-8000-000000000001"


@pytest.fixture
def at_home(tmp_path: Path) -> Iterator[InProcess]:
    with service_in(tmp_path, ScriptedEngine()) as made:
        made.ok("CreateCollection", {"CollectionId": "people"})
        yield made


def customer(at_home: InProcess, purpose: str, **standing: str) -> tuple[str, str]:
    """The keys of a new account, that two operators cleared."""
    at = datetime.now(UTC)
    account = at_home.service.accounts.create_account("customer", request_id="r", at=at).account_id
    if standing:
        at_home.clear(account, **standing)  # type: ignore[arg-type]
    return key(at_home, account, purpose)


def key(at_home: InProcess, account: str, purpose: str) -> tuple[str, str]:
    issued = at_home.service.accounts.create_key(account, purpose=purpose, request_id="r", at=datetime.now(UTC))
    return issued.key.access_key_id, issued.secret


def account_of(at_home: InProcess, keys: tuple[str, str]) -> str:
    return at_home.service.accounts.credentials(keys[0]).key.account_id


def code(at_home: InProcess, keys: tuple[str, str], operation: str, params: dict[str, Any]) -> str:
    own, at_home.credentials = at_home.credentials, keys
    try:
        answer = at_home.call(operation, params)
    finally:
        at_home.credentials = own
    return "OK" if answer.status == 200 else str(json.loads(answer.body)["__type"])


def message(at_home: InProcess, keys: tuple[str, str], operation: str, params: dict[str, Any]) -> str:
    own, at_home.credentials = at_home.credentials, keys
    try:
        return str(json.loads(at_home.call(operation, params).body)["message"])
    finally:
        at_home.credentials = own


def calls(at_home: InProcess) -> list[dict[str, Any]]:
    log = at_home.service.ledger.log
    found = [opening.accounting for _, opening in log.storage.openings(0, log.size)]
    return [each for each in found if each["kind"] == "call"]


DENIED = "AccessDeniedException"


def test_an_account_that_nobody_cleared_may_do_nothing_and_learns_only_a_number(at_home: InProcess) -> None:
    keys = customer(at_home, "access-control")
    for operation, params in (("ListCollections", {}), ("DetectFaces", {"Image": IMAGE}), ("CompareFaces", COMPARE)):
        assert code(at_home, keys, operation, params) == DENIED
        assert message(at_home, keys, operation, params) == f"Account not enabled; reference {at_home.request_id}."
    for standing in ("pending", "review", "refused"):
        at_home.clear(account_of(at_home, keys), standing=standing)
        assert code(at_home, keys, "ListCollections", {}) == DENIED
    at_home.clear(account_of(at_home, keys))
    assert code(at_home, keys, "ListCollections", {}) == "OK"


def test_the_moratorium_lets_the_police_detect_and_look_for_the_missing_and_nothing_else(at_home: InProcess) -> None:
    police = customer(at_home, "criminal-investigation", sector="police")
    account = account_of(at_home, police)
    missing = key(at_home, account, "missing-person")
    assert code(at_home, police, "CompareFaces", COMPARE) == DENIED
    assert code(at_home, police, "DetectFaces", {"Image": IMAGE}) == "OK"
    assert code(at_home, missing, "CompareFaces", COMPARE) == "OK"
    assert code(at_home, police, "CreateCollection", {"CollectionId": "people"}) == "OK"
    assert code(at_home, police, "IndexFaces", SEARCH) == DENIED
    assert code(at_home, police, "SearchFacesByImage", SEARCH) == DENIED
    told = message(at_home, police, "CompareFaces", COMPARE)
    assert "moratorium.police" in told
    assert "missing-person" in told
    reseller = customer(at_home, "identity-verification", sector="software", end_users="police,retail")
    assert code(at_home, reseller, "CompareFaces", COMPARE) == DENIED
    claimed = customer(at_home, "general", sector="")
    assert "moratorium.unverified" in message(at_home, claimed, "CompareFaces", COMPARE)


def test_who_is_refused_cannot_tell_it_from_the_entries_of_their_calls(at_home: InProcess) -> None:
    """A receipt's holder may open the leaf: it must not say that they were found on a list."""
    keys = customer(at_home, "general", standing="refused")
    code(at_home, keys, "ListCollections", {})
    refused = calls(at_home)[-1]
    at_home.clear(account_of(at_home, keys), standing="review")
    code(at_home, keys, "ListCollections", {})
    under_review = calls(at_home)[-1]
    assert refused["decision"]["entities"] == under_review["decision"]["entities"]
    assert refused["decision"]["policies"] == under_review["decision"]["policies"]
    assert "refused" not in json.dumps(refused)


def test_every_decision_is_in_the_entry_with_all_that_was_told(at_home: InProcess) -> None:
    at_home.ok("SearchFacesByImage", {**SEARCH, "FaceMatchThreshold": 91.5})
    decision = calls(at_home)[-1]["decision"]
    assert (decision["allowed"], decision["policies"]) == (True, ["base.allow"])
    assert decision["policy_set"] == composed(["standing", "moratorium"]).sha256
    assert decision["request"]["call"]["threshold"] == 91_500
    assert decision["entities"]["account"]["owner"] is True
    police = customer(at_home, "criminal-investigation", sector="police")
    code(at_home, police, "CompareFaces", COMPARE)
    said = calls(at_home)[-1]
    assert (said["code"], said["decision"]["allowed"]) == (DENIED, False)
    assert said["decision"]["policies"] == ["moratorium.police"]
    assert fsck.examine(at_home.service.ledger.log).problems == []


def swap(at_home: InProcess, packs: list[str], **more: int | str) -> str:
    governance = at_home.service.governance
    made = governance.shelf.keep(composed(packs))
    details: dict[str, int | str] = {"policy_set": made, "previous": "", "from_us": 0, **more}
    at_home.decided("policy.activate", "", details)
    return made


def test_ten_minutes_without_the_moratorium_leave_a_trace(at_home: InProcess) -> None:
    police = customer(at_home, "criminal-investigation", sector="police")
    governance = at_home.service.governance
    assert code(at_home, police, "CompareFaces", COMPARE) == DENIED
    lifted = swap(at_home, ["standing"])
    assert code(at_home, police, "CompareFaces", COMPARE) == "OK"
    swap(at_home, ["standing", "moratorium"])
    assert code(at_home, police, "CompareFaces", COMPARE) == DENIED
    first, during, after = governance.timeline()
    assert (during.policy_set, during.by, during.reason) == (lifted, ("ann", "bea"), "tests")
    assert first.policy_set == after.policy_set
    assert governance.in_force(during.from_us).policy_set == lifted
    assert governance.in_force(during.from_us - 1).policy_set == first.policy_set
    assert governance.in_force(after.from_us).policy_set == after.policy_set
    slipped = [each for each in calls(at_home) if each["decision"] and each["decision"]["policy_set"] == lifted]
    assert [(each["operation"], each["code"]) for each in slipped] == [("CompareFaces", "OK")]
    replayed = at_home.pipeline.administer("policy.replay", {"days": 1})
    assert (replayed["changed"], replayed["calls"]) == (0, len([each for each in calls(at_home) if each["decision"]]))
    simulated = at_home.pipeline.administer("policy.simulate", {"policy_set": first.policy_set, "days": 1})
    assert [(each["operation"], each["would_be"]["policies"]) for each in simulated["told"]] == [
        ("CompareFaces", ["moratorium.police"])
    ]


def test_a_set_can_be_put_in_force_later_and_never_earlier(at_home: InProcess) -> None:
    governance, now = at_home.service.governance, microseconds(datetime.now(UTC))
    later = now + 3_600_000_000
    swap(at_home, [], from_us=later)
    assert governance.in_force(now).policy_set == composed(["standing", "moratorium"]).sha256
    assert governance.in_force(later).policy_set == composed([]).sha256
    swap(at_home, ["standing"], from_us=1)  # as if it had been in force all the time
    assert governance.in_force(now - 1).policy_set == composed(["standing", "moratorium"]).sha256


def test_what_two_operators_decided_is_in_force_after_a_restart(tmp_path: Path) -> None:
    with service_in(tmp_path, ScriptedEngine()) as before:
        keys = customer(before, "criminal-investigation", sector="police")
        lifted = swap(before, ["standing"])
        before.decided("purpose.add", "", {"purpose": "visitor-lists", "meaning": "who is in the building"})
        timeline = before.service.governance.timeline()
    with service_in_again(tmp_path) as after:
        governance = after.service.governance
        assert governance.standings.verdict(account_of(after, keys)).sector == "police"
        assert governance.timeline() == timeline
        assert governance.in_force(microseconds(datetime.now(UTC))).policy_set == lifted
        assert governance.purposes()["visitor-lists"] == "who is in the building"


def service_in_again(folder: Path) -> Any:
    """The folder has its owner already."""
    from contextlib import contextmanager
    from unittest import mock

    @contextmanager
    def opened() -> Iterator[InProcess]:
        with mock.patch.object(InProcess, "__init__", _reopened), service_in(folder, ScriptedEngine()) as made:
            yield made

    return opened()


def _reopened(self: InProcess, service: Any, database: Any, _now: Any) -> None:
    self.service, self.database = service, database


def test_a_row_written_into_the_database_grants_nothing(at_home: InProcess) -> None:
    """Policies are found by their hash; standing, purposes and operators are nowhere but in the log."""
    weak = composed([])
    in_force = at_home.service.governance.in_force(microseconds(datetime.now(UTC))).policy_set
    at_home.database.maintain(
        lambda connection: connection.execute(
            "UPDATE policy_set SET text = ? WHERE sha256 = ?", (weak.text, in_force)
        ).close()
    )
    at_home.service.governance.shelf._engines.clear()
    answer = at_home.call("ListCollections", {})
    assert json.loads(answer.body)["__type"] == DENIED
    assert "could not be evaluated" in json.loads(answer.body)["message"]
    assert calls(at_home)[-1]["details"]["undecided"] == 1  # why is not for the caller, who may open the entry
    assert at_home.service.governance.problems() == [f"The policy set {in_force[:16]} is damaged."]


def test_four_eyes_over_one_call(at_home: InProcess) -> None:
    at_home.ok("IndexFaces", SEARCH)
    owner = at_home.account.account_id
    swap(at_home, ["ai-act"])
    keys = key(at_home, owner, "remote-identification")
    told = message(at_home, keys, "SearchFacesByImage", SEARCH)
    approval = told.rpartition("Approval ")[2].rstrip(".")
    assert len(approval) == 32
    at_home.pipeline.administer("approval.list", {})
    awaited = at_home.service.governance.awaited()
    assert [each.id for each in awaited] == [approval]
    at_home.decided("call.approve", owner, awaited[0].details())
    assert code(at_home, keys, "SearchFacesByImage", SEARCH) == "OK"
    assert code(at_home, keys, "SearchFacesByImage", SEARCH) == "OK"
    for other in ({"Image": {"Bytes": b"faces: 1"}}, {"FaceMatchThreshold": 0.0}, {"MaxFaces": 1}):
        assert code(at_home, keys, "SearchFacesByImage", {**SEARCH, **other}) == DENIED
    another = key(at_home, owner, "border-control")
    assert code(at_home, another, "SearchFacesByImage", SEARCH) == DENIED
    own, at_home.credentials = at_home.credentials, keys
    assert at_home.call("SearchFacesByImage", SEARCH, {"x-countenance-all-faces": "true"}).status == 400
    at_home.credentials = own
    at_home.service.governance.shelf.keep(composed([]))
    stranger = customer(at_home, "remote-identification", sector="retail")
    code(at_home, stranger, "CreateCollection", {"CollectionId": "people"})
    assert code(at_home, stranger, "SearchFacesByImage", SEARCH) == DENIED
    clock = at_home.pipeline._clock
    at_home.pipeline._clock = lambda: datetime.now(UTC) + timedelta(minutes=4)
    assert code(at_home, keys, "SearchFacesByImage", SEARCH) == "OK"
    at_home.pipeline._clock = clock
    for id_, until in list(at_home.service.governance._approved.items()):
        at_home.service.governance._approved[id_] = until - 3_700_000_000
    assert code(at_home, keys, "SearchFacesByImage", SEARCH) == DENIED


def test_an_approval_names_the_call_that_it_is_for(at_home: InProcess) -> None:
    """One in other words approves nothing."""
    at_home.ok("IndexFaces", SEARCH)
    owner = at_home.account.account_id
    swap(at_home, ["ai-act"])
    keys = key(at_home, owner, "remote-identification")
    code(at_home, keys, "SearchFacesByImage", SEARCH)
    (awaited,) = at_home.service.governance.awaited()
    at_home.decided("call.approve", owner, {**awaited.details(), "operation": "SearchFaces"})
    assert code(at_home, keys, "SearchFacesByImage", SEARCH) == DENIED


def test_every_operation_is_asked_about(at_home: InProcess) -> None:
    swap(at_home, ["standing"])
    keys = customer(at_home, "general")
    params: dict[str, dict[str, Any]] = {
        "CompareFaces": COMPARE,
        "DetectFaces": {"Image": IMAGE},
        "IndexFaces": SEARCH,
        "SearchFacesByImage": SEARCH,
        "SearchFaces": {"CollectionId": "people", "FaceId": FACE},
        "DeleteFaces": {"CollectionId": "people", "FaceIds": [FACE]},
        "ListCollections": {},
        "TagResource": {"ResourceArn": at_home.arn("people"), "Tags": {"a": "b"}},
        "UntagResource": {"ResourceArn": at_home.arn("people"), "TagKeys": ["a"]},
        "ListTagsForResource": {"ResourceArn": at_home.arn("people")},
        "CreateUser": {"CollectionId": "people", "UserId": "ann"},
        "DeleteUser": {"CollectionId": "people", "UserId": "ann"},
        "AssociateFaces": {"CollectionId": "people", "UserId": "ann", "FaceIds": [FACE]},
        "DisassociateFaces": {"CollectionId": "people", "UserId": "ann", "FaceIds": [FACE]},
        "SearchUsers": {"CollectionId": "people", "UserId": "ann"},
        "SearchUsersByImage": SEARCH,
    }
    for operation in OPERATIONS:
        assert code(at_home, keys, operation, params.get(operation, {"CollectionId": "people"})) == DENIED, operation


def test_an_image_that_can_be_another_by_then_cannot_be_approved(at_home: InProcess) -> None:
    swap(at_home, ["ai-act"])
    keys = key(at_home, at_home.account.account_id, "remote-identification")
    lies = {"Bucket": "b-1", "Name": "x.jpg"}
    told = message(at_home, keys, "SearchFacesByImage", {"CollectionId": "people", "Image": {"S3Object": lies}})
    assert "Approval" not in told
    versioned = {"CollectionId": "people", "Image": {"S3Object": {**lies, "Version": "1"}}}
    assert "Approval" in message(at_home, keys, "SearchFacesByImage", versioned)


def test_one_account_does_not_push_out_anothers_calls_that_wait(at_home: InProcess) -> None:
    swap(at_home, ["ai-act"])
    keys = key(at_home, at_home.account.account_id, "remote-identification")
    code(at_home, keys, "SearchFacesByImage", SEARCH)
    noisy = customer(at_home, "remote-identification", sector="retail")
    for number in range(60):
        code(at_home, noisy, "SearchFacesByImage", {**SEARCH, "MaxFaces": number + 1})
    waiting = at_home.service.governance.awaited()
    assert sorted({each.account for each in waiting}) == sorted(
        {at_home.account.account_id, account_of(at_home, noisy)}
    )
    assert len(waiting) == 51


def test_a_threshold_a_hair_below_the_floor_is_below_it(at_home: InProcess) -> None:
    swap(at_home, ["public-safety"])
    keys = key(at_home, at_home.account.account_id, "public-safety")
    compared = [
        code(at_home, keys, "CompareFaces", {**COMPARE, "SimilarityThreshold": each}) for each in (98.9995, 99.0)
    ]
    assert compared == [DENIED, "OK"]


def test_a_clock_set_back_brings_nothing_back(at_home: InProcess) -> None:
    police = customer(at_home, "criminal-investigation", sector="police")
    usual = at_home.service.governance.in_force(microseconds(datetime.now(UTC))).policy_set
    governance, clock = at_home.service.governance, at_home.pipeline._clock
    swap(at_home, ["standing"])
    lifted = datetime.now(UTC)
    assert code(at_home, police, "CompareFaces", COMPARE) == "OK"
    at_home.decided("policy.activate", "", {"policy_set": usual, "previous": "", "from_us": 0})
    at_home.pipeline._clock = lambda: lifted
    assert code(at_home, police, "CompareFaces", COMPARE) == DENIED
    at_home.pipeline._clock = clock
    assert len(governance.timeline()) == 3
    # What is decided while the clock is set back is in force after what began before, and takes nothing out.
    now = governance._now_us
    for part in (governance, governance.office, governance.office._records):
        part._now_us = lambda: now() - 60_000_000  # type: ignore[attr-defined]
    at_home.decided("policy.activate", "", {"policy_set": usual, "previous": "", "from_us": 0})
    times = [each.from_us for each in governance.timeline()]
    assert len(times) == 4
    assert times == sorted(times)
    assert governance.timeline()[-1].policy_set == usual
    assert code(at_home, police, "CompareFaces", COMPARE) == DENIED


def test_what_was_decided_to_come_later_still_comes(at_home: InProcess) -> None:
    governance = at_home.service.governance
    now = microseconds(datetime.now(UTC))
    usual = governance.in_force(now).policy_set
    later = now + 600_000_000
    at_home.decided("policy.activate", "", {"policy_set": usual, "previous": "", "from_us": later})
    swap(at_home, ["standing"])
    assert governance.in_force(now + 60_000_000).policy_set != usual
    assert governance.in_force(later).policy_set == usual


def forge(at_home: InProcess, operation: str, account: str, details: dict[str, Any]) -> None:
    """Rows of an act, as somebody writes them who has the database and no key: leaf, opening and index."""
    log = at_home.service.ledger.log
    said = accounting(
        kind="act", time=microseconds(datetime.now(UTC)), operation=operation, request_id=f"forged {operation}",
        account=account, details=details,
    )  # fmt: skip
    opening = make_opening({**said, "end": log.last_time}, {})
    accounted = canonical.encode(opening.accounting).decode()

    def write(connection: Any) -> None:
        (index,) = connection.execute("SELECT max(idx) + 1 FROM log_leaves").fetchone()
        connection.execute("INSERT INTO log_leaves (idx, leaf) VALUES (?, ?)", (index, opening.leaf()))
        connection.execute("INSERT INTO log_acts (account, idx) VALUES (?, ?)", (account, index))
        connection.execute(
            "INSERT INTO log_openings (idx, request_id, accounting, accounting_salt, person, person_salt)"
            " VALUES (?, ?, ?, ?, '{}', ?)",
            (index, said["request_id"], accounted, opening.accounting_salt, opening.person_salt),
        )

    at_home.database.maintain(write)


def test_acts_written_into_the_database_grant_nothing_and_are_found(at_home: InProcess, tmp_path: Path) -> None:
    keys = customer(at_home, "general", standing="refused")
    account, governance = account_of(at_home, keys), at_home.service.governance
    number = governance.office.state.number
    weak = governance.shelf.keep(composed([]))
    cleared = {"standing": "cleared", "sector": "retail", "end_user_sectors": "", "reason": "x"}
    lifted: dict[str, Any] = {"policy_set": weak, "previous": "", "from_us": 0, "reason": "x"}
    for at, (kind, whose, said) in enumerate((("account.standing", account, cleared), ("policy.activate", "", lifted))):
        words = {f"p.{name}": value for name, value in said.items()}
        made = {"proposal": f"f{at}", "kind": kind, "by": "ann", "number": number + 1 + 2 * at, **words}
        forge(at_home, "proposal.make", whose, made)
        done = {**said, "proposal": f"f{at}", "by": "ann", "and": "bea", "number": number + 2 + 2 * at}
        forge(at_home, kind, whose, done)
    signed = {"subject": "00" * 32, "purpose": "general", "until_us": 2**52, "evidence_sha256": "ab" * 32, "by": "ann"}
    forge(at_home, "consent.record", account, signed)
    keyring = governance.office._keyring
    log = Log(at_home.database, keyring, tmp_path, origin="log.example/test")
    again = Governance(at_home.database, keyring, Journal(log), at_home.service.accounts)
    now = microseconds(datetime.now(UTC)) + 60_000_000
    assert again.standing(account).standing == "refused"
    assert again.in_force(now).policy_set != weak
    assert again.consents(account) == []
    assert sum("no seal of this server" in each for each in again.problems()) == 5


def test_an_act_that_the_index_lacks_is_found(at_home: InProcess) -> None:
    customer(at_home, "general", standing="refused")
    at_home.database.maintain(
        lambda connection: connection.execute(
            "DELETE FROM log_acts WHERE idx = (SELECT max(idx) FROM log_acts WHERE account <> '')"
        ).close()
    )
    found = fsck.examine(at_home.service.ledger.log).problems
    assert [each for each in found if "the index of acts lacks it" in each]


def test_what_a_changed_row_says_of_a_decision_is_told_to_nobody(at_home: InProcess) -> None:
    police = customer(at_home, "criminal-investigation", sector="police")
    assert code(at_home, police, "CompareFaces", COMPARE) == DENIED
    log, set_now = at_home.service.ledger.log, composed(["standing", "moratorium"]).sha256
    verbs: list[tuple[str, dict[str, Any]]] = [("policy.replay", {}), ("policy.simulate", {"policy_set": set_now})]
    whole = [at_home.pipeline.administer(verb, params) for verb, params in verbs]
    assert [(each["changed"], each["unopened"]) for each in whole] == [(0, 0), (0, 0)]
    denied = log.size - 1
    for changed in (
        "UPDATE log_openings SET accounting = json_set(accounting, '$.decision', NULL) WHERE idx = ?",
        "DELETE FROM log_openings WHERE idx = ?",
    ):
        at_home.database.maintain(lambda connection, how=changed: connection.execute(how, (denied,)).close())
        for (verb, params), before in zip(verbs, whole, strict=True):
            told = at_home.pipeline.administer(verb, params)
            assert (told["calls"], told["changed"]) == (before["calls"] - 1, 0)
            assert (told["unopened"], told["unopened_leaves"]) == (1, [denied])


def relabelled(text: str, **packs: str) -> str:
    said = json.loads(text)
    return json.dumps(
        {**said, "packs": {**said["packs"], **packs}}, sort_keys=True, ensure_ascii=False, separators=(",", ":")
    )


@pytest.mark.parametrize(
    ("name", "wording"), [("standing", "changed"), ("base", "changed"), ("stricter-standing", "unknown")]
)
def test_a_set_with_other_words_under_the_name_of_a_pack_is_told_and_not_put_in_force(
    at_home: InProcess, name: str, wording: str
) -> None:
    usual = composed(["standing", "moratorium"])
    words = json.loads(usual.text)["packs"].get(name, "") + "\n// nothing else\n"
    made = policyset.read(relabelled(usual.text, **{name: words}))
    governance = at_home.service.governance
    governance.shelf.keep(made)
    status = {each["policy_set"]: each for each in at_home.pipeline.administer("policy.status", {})["sets"]}
    assert set(status[usual.sha256]["wording"].values()) == {"as shipped"}
    assert status[made.sha256]["wording"][name] == wording
    shown = at_home.pipeline.administer("policy.show", {"policy_set": made.sha256})
    assert shown["wording"] == {**status[usual.sha256]["wording"], name: wording}
    with pytest.raises(PolicyError, match=f"{name} in other words"):
        at_home.pipeline.administer("policy.activate", {"policy_set": made.sha256, "reason": "x"})
    with pytest.raises(PolicyError, match=f"{name} in other words"):  # what was proposed otherwise is not approved
        at_home.decided("policy.activate", "", {"policy_set": made.sha256, "previous": "", "from_us": 0})
    assert governance.in_force(microseconds(datetime.now(UTC))).policy_set == usual.sha256


def test_a_set_that_an_older_version_worded_otherwise_stays_in_force_and_is_told(
    at_home: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = {**policyset.packs(), "moratorium": policyset.packs()["moratorium"] + "// of the next version\n"}
    monkeypatch.setattr(policyset, "packs", lambda: later)
    assert at_home.pipeline.administer("policy.show", {})["wording"]["moratorium"] == "changed"
    assert at_home.service.governance.warnings() == [
        "the policies in force have moratorium in other words than this program's"
    ]


def test_a_text_of_ones_own_has_not_the_name_of_a_pack() -> None:
    for name in ("base", "standing"):
        with pytest.raises(PolicyError, match="name of a pack"):
            composed([], {name: "// nothing"})


def test_a_set_written_into_the_database_is_found_though_it_decides_nothing(at_home: InProcess) -> None:
    def found() -> list[str]:
        told: list[str] = at_home.pipeline.administer("ledger.fsck", {})["problems"]
        return told

    drafted = at_home.pipeline.administer("policy.draft", {"packs": ["gdpr"]})["policy_set"]
    assert found() == []
    forged, again = composed(["bipa"]), composed(["ai-act"])
    insert = "INSERT INTO policy_set (sha256, text) VALUES (?, ?)"
    for row in ((forged.sha256, forged.text), (again.sha256, again.text), ("ab" * 32, "{}")):
        at_home.database.maintain(lambda connection, row=row: connection.execute(insert, row).close())
    unexplained = [
        f"policy set {each}: it is there, and no entry explains it" for each in (forged.sha256, again.sha256, "ab" * 32)
    ]
    assert found() == ["The policy set abababababababab is damaged.", *unexplained]
    assert at_home.pipeline.administer("policy.draft", {"packs": ["ai-act"]})["policy_set"] == again.sha256
    assert found() == ["The policy set abababababababab is damaged.", unexplained[0], unexplained[2]]
    # An act that somebody wrote there as well is no act.
    forge(at_home, "policy.draft", "", {"policy_set": forged.sha256, "by": "ann"})
    told = at_home.service.governance.problems()
    assert unexplained[0] in told
    assert [each for each in told if "(policy.draft): it has no seal of this server" in each]
    kept = Journal(at_home.service.ledger.log).acts(("policy.draft",))
    assert [each.details["policy_set"] for each in kept] == [drafted, again.sha256]
