"""Who did what: acts name the operator or the host, and a login allows what its role allows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest

from countenance.ledger import microseconds
from countenance.operations import entrusted
from countenance.operations.administration import INSTRUCTIONS
from countenance.operations.governance import Asking, Governance
from countenance.operations.instruction import AdministrationError
from countenance.operations.lists import StandingError
from countenance.operators import ProposalError, SessionError
from countenance.policy import Engine, PolicyError, cases
from countenance.policy.policyset import composed
from countenance.policy.purposes import PurposeError
from tests.conformance.in_process import InProcess, ScriptedEngine, code_of, service_in
from tests.unit.accounts.declarations import CUSTOMER

PASSWORD = "correct horse battery staple"


@pytest.fixture
def house(tmp_path: Path) -> Iterator[InProcess]:
    with service_in(tmp_path, ScriptedEngine()) as made:
        yield made


def do(house: InProcess, verb: str, token: str | None = None, **params: Any) -> dict[str, Any]:
    return house.pipeline.administer(verb, {**params, **({"session_token": token} if token else {})})


def login(house: InProcess, handle: str, code: str) -> str:
    address = do(house, "operator.enrol", operator=handle, code=code, password=PASSWORD)["otpauth"]
    totp = pyotp.TOTP(parse_qs(urlsplit(address).query)["secret"][0])
    one_time = totp.at(datetime.now(UTC))
    return str(do(house, "session.login", operator=handle, password=PASSWORD, one_time=one_time)["session"])


@pytest.fixture
def people(house: InProcess) -> dict[str, str]:
    """The session of one operator of each role; of two admins."""
    found = {}
    for handle in ("ann", "bea"):
        made = do(house, "operator.create", operator=handle, roles=["admin"], reason="founder")
        found[handle] = login(house, handle, made["code"])
    for handle, role in (("cyd", "compliance"), ("rev", "reviewer"), ("aud", "auditor")):
        made = do(house, "operator.create", found["ann"], operator=handle, roles=[role], reason="hired")
        do(house, "proposal.approve", found["bea"], proposal=made["proposal"])
        found[handle] = login(house, handle, made["code"])
    return found


def acts(house: InProcess) -> list[tuple[str, Any]]:
    log = house.service.ledger.log
    return [
        (opening.accounting["operation"], opening.accounting["details"].get("by"))
        for _, opening in log.storage.openings(0, log.size)
        if opening.accounting["kind"] == "act"
    ]


@pytest.mark.parametrize("who", ["host", "cyd"])
def test_every_act_of_the_register_says_who_did_it(
    house: InProcess, people: dict[str, str], who: str, tmp_path: Path
) -> None:
    before, token = len(acts(house)), people.get(who)
    account = do(house, "account.create", token, name="Acme", party=CUSTOMER)["account_id"]
    do(house, "account.declare", token, account_id=account, party=CUSTOMER)
    issued = do(house, "key.create", token, account_id=account, holder="gate")
    do(house, "bucket.grant", token, account_id=account, bucket="badges")
    do(house, "bucket.revoke", token, account_id=account, bucket="badges")
    do(house, "ledger.hold", token, account_id=account, reason="case 17/26")
    do(house, "ledger.release", token, account_id=account)
    do(house, "key.revoke", token, access_key_id=issued["access_key_id"])
    do(house, "backup.create", token, path=str(tmp_path / "backup.db"))
    found = acts(house)[before:]
    assert [operation for operation, _ in found] == [
        "account.create",
        "account.declare",
        "key.create",
        "bucket.grant",
        "bucket.revoke",
        "ledger.hold",
        "ledger.release",
        "key.revoke",
        "backup.create",
    ]
    assert {by for _, by in found} == {who}
    assert do(house, "ledger.fsck")["problems"] == []


def test_who_is_written_into_the_parameters_is_nobody(house: InProcess, people: dict[str, str]) -> None:
    do(house, "account.create", name="Acme", party=CUSTOMER, by="ann")
    assert acts(house)[-1] == ("account.create", "host")


def test_a_role_does_not_do_what_it_is_not_trusted_with(house: InProcess, people: dict[str, str]) -> None:
    log = house.service.ledger.log
    size = log.size
    for verb in INSTRUCTIONS:
        for handle in ("aud", "rev"):
            if verb in entrusted.READS | entrusted.OWN or (handle == "rev" and verb in entrusted.REVIEWS):
                continue
            with pytest.raises(AdministrationError, match="does not allow"):
                do(house, verb, people[handle])
    assert log.size == size
    for verb in ("operator.list", "proposal.list", "account.list", "ledger.fsck", "policy.status"):
        for handle in people:
            do(house, verb, people[handle])
    account = do(house, "account.create", people["cyd"], name="Acme", party=CUSTOMER)["account_id"]
    assert do(house, "account.standing", people["aud"], account_id=account)["standing"] == "pending"
    with pytest.raises(ProposalError, match="not trusted with"):
        do(house, "account.standing", people["aud"], account_id=account, standing="cleared", reason="x")


def test_every_verb_that_is_named_exists() -> None:
    assert set(INSTRUCTIONS) >= entrusted.READS | entrusted.OWN | entrusted.REVIEWS


def test_after_logging_out_a_token_is_worth_nothing_and_the_host_decides_nothing(
    house: InProcess, people: dict[str, str]
) -> None:
    account = do(house, "account.create", people["cyd"], name="Acme", party=CUSTOMER)["account_id"]
    words = {"account_id": account, "standing": "cleared", "reason": "file 12"}
    made = do(house, "account.standing", people["ann"], **words)["proposal"]
    do(house, "session.logout", people["bea"])
    with pytest.raises(SessionError, match="was ended"):
        do(house, "proposal.approve", people["bea"], proposal=made)
    with pytest.raises(ProposalError):
        do(house, "proposal.approve", proposal=made)
    with pytest.raises(ProposalError, match="Nobody approves"):
        do(house, "proposal.approve", people["ann"], proposal=made)
    assert house.service.governance.standing(account).standing == "pending"
    do(house, "proposal.approve", people["cyd"], proposal=made)
    assert house.service.governance.standing(account).standing == "cleared"


def test_while_acts_are_missing_every_call_is_denied(house: InProcess, people: dict[str, str]) -> None:
    account = house.account.account_id
    made = do(house, "account.standing", people["ann"], account_id=account, standing="refused", reason="x")
    do(house, "proposal.approve", people["bea"], proposal=made["proposal"])
    house.database.maintain(
        lambda connection: connection.execute(
            "DELETE FROM log_openings WHERE json_extract(accounting, '$.operation') = 'account.standing'"
        ).close()
    )
    journal = house.service.governance._journal
    again = Governance(house.database, house.service.governance.office._keyring, journal, house.service.accounts)
    decision = again.engine(0).decide(_any_request(house))
    assert (decision.allowed, decision.policies) == (False, ())
    assert "missing" in decision.reason
    assert [each for each in again.problems() if "are missing or altered" in each]


def test_who_declares_somebody_else_is_not_cleared_any_more(house: InProcess, people: dict[str, str]) -> None:
    account = do(house, "account.create", people["cyd"], name="Acme", party=CUSTOMER)["account_id"]
    made = do(house, "key.create", people["cyd"], account_id=account, purpose="access-control")
    house.credentials = made["access_key_id"], made["secret_access_key"]
    words = {"account_id": account, "standing": "cleared", "sector": "retail", "reason": "file 12"}

    def cleared() -> bool:
        return code_of(house.call("ListCollections", {})) == "OK"

    proposal = do(house, "account.standing", people["ann"], **words)["proposal"]
    do(house, "proposal.approve", people["bea"], proposal=proposal)
    assert cleared()
    waiting = do(house, "account.standing", people["ann"], **words)["proposal"]
    other = {**CUSTOMER, "owners": [{"name": "Zoe Other", "person": True, "share": "60"}]}  # a person's name
    do(house, "account.declare", account_id=account, party=other)
    assert not cleared()
    told = do(house, "account.standing", people["aud"], account_id=account)
    assert (told["standing"], told["why"]) == ("review", ["it declared something else since it was cleared"])
    with pytest.raises(StandingError, match="declared something else"):
        do(house, "proposal.approve", people["bea"], proposal=waiting)
    proposal = do(house, "account.standing", people["ann"], **words)["proposal"]
    do(house, "proposal.approve", people["bea"], proposal=proposal)
    assert cleared()


def test_a_proposal_counts_for_the_set_that_it_would_replace(house: InProcess, people: dict[str, str]) -> None:
    first, second = (
        do(house, "policy.draft", people["ann"], packs=packs)["policy_set"] for packs in (["standing"], ["gdpr"])
    )
    made = [do(house, "policy.activate", people["ann"], policy_set=each, reason="x") for each in (first, second)]
    assert [bool(each["warnings"]) for each in made] == [False, True]
    do(house, "proposal.approve", people["bea"], proposal=made[0]["proposal"])
    with pytest.raises(PolicyError, match="Another set than"):
        do(house, "proposal.approve", people["bea"], proposal=made[1]["proposal"])
    again = do(house, "policy.activate", people["ann"], policy_set=second, reason="x")
    do(house, "proposal.approve", people["bea"], proposal=again["proposal"])
    assert [each for each in house.service.governance.warnings() if "nobody cleared" in each]


def test_while_acts_are_missing_whoever_was_logged_in_may_look(house: InProcess, people: dict[str, str]) -> None:
    house.service.governance.office.state.is_whole = False
    assert "problems" in do(house, "ledger.fsck", people["ann"])
    assert [each for each in do(house, "ledger.status", people["ann"])["warnings"] if "every call is denied" in each]
    with pytest.raises(SessionError, match="missing"):
        do(house, "account.create", people["ann"], name="x", party=CUSTOMER)


def test_a_customer_has_no_key_for_the_owners_work(house: InProcess, people: dict[str, str]) -> None:
    account = do(house, "account.create", people["cyd"], name="Acme", party=CUSTOMER)["account_id"]
    with pytest.raises(AdministrationError, match="for the owner's account"):
        do(house, "key.create", people["cyd"], account_id=account, purpose="owner")


def test_a_purpose_that_policies_exempt_is_allowed_by_two(house: InProcess, people: dict[str, str]) -> None:
    account = do(house, "account.create", people["cyd"], name="Force", party=CUSTOMER)["account_id"]
    wanted = {"account_id": account, "purpose": "missing-person"}
    for nobody in ({}, {"session_token": people["ann"]}):
        with pytest.raises(PurposeError, match="Two operators allow"):
            house.pipeline.administer("key.create", {**wanted, **nobody})
    with pytest.raises(PurposeError, match="nobody's leave"):
        do(house, "purpose.allow", people["ann"], account_id=account, purpose="attendance", reason="x")
    made = do(house, "purpose.allow", people["ann"], **wanted, reason="order 7")["proposal"]
    do(house, "proposal.approve", people["bea"], proposal=made)
    assert do(house, "key.create", people["cyd"], **wanted)["purpose"] == "missing-person"
    other = do(house, "account.create", people["cyd"], name="Other", party=CUSTOMER)["account_id"]
    with pytest.raises(PurposeError, match="Two operators allow"):
        do(house, "key.create", people["cyd"], account_id=other, purpose="missing-person")


def test_the_example_of_the_page_does_what_it_says() -> None:
    page = (Path(__file__).parents[2] / "docs" / "concepts" / "policy.md").read_text("utf-8")
    text = page.partition("```cedar\n")[2].partition("```")[0]
    said = page.partition('```json\n{"defaults"')[2].partition("```")[0]
    ran = list(cases.run(cases.read('{"defaults"' + said), Engine(composed([], {"house": text}))))
    assert [each.passed for each in ran] == [True, True]


def test_after_decisions_were_lost_nobody_is_cleared_and_the_set_is_the_usual_one(
    house: InProcess, people: dict[str, str]
) -> None:
    """A refusal that nobody can read any more must not leave an account cleared when the office begins anew."""
    account = do(house, "account.create", people["cyd"], name="Acme", party=CUSTOMER)["account_id"]
    usual = house.service.governance.in_force(microseconds(datetime.now(UTC))).policy_set
    made = house.service.governance.shelf.keep(composed(["standing"]))
    house.decided("policy.activate", "", {"policy_set": made, "previous": usual, "from_us": 0})
    house.clear(account)
    house.clear(account, standing="refused")
    house.database.maintain(
        lambda connection: connection.execute(
            "DELETE FROM log_openings WHERE json_extract(accounting, '$.details.standing') = 'refused'"
        ).close()
    )
    service = house.service
    for _ in range(2):
        journal, keyring = service.governance._journal, service.governance.office._keyring
        again = Governance(house.database, keyring, journal, service.accounts)
        if not again.office.state.is_whole:
            again.office.refound(reason="lost", request_id="refounding")
            again = Governance(house.database, keyring, journal, service.accounts)
        assert again.standing(account).standing == "pending"
        assert again.in_force(microseconds(datetime.now(UTC))).policy_set == usual
        assert again.timeline()[-1].reason == "decisions were lost"


def _any_request(house: InProcess) -> Any:
    who = Asking(house.account.account_id, "owner", "NL", is_owner=True)
    request, _ = house.service.governance.asked(house.service.gallery, who, "ListCollections", {}, 0)
    return request
