"""Operators: how they come, log in, and decide by two; and that only acts of the log make anything of anybody."""

from __future__ import annotations

import sqlite3
import threading

import pytest
from tests.unit.operators.house import PASSWORD, STANDING, House

from countenance.operators import OperatorError, ProposalError, SessionError
from countenance.operators import credentials as module
from countenance.operators.state import HOST, LOCKED_US, VALID_US


def test_two_admins_are_made_by_the_host_and_no_more(two: House) -> None:
    with pytest.raises(OperatorError, match="made by them"):
        two.office.create("cyd", ["admin"], by=HOST, reason="x", request_id="r")
    code, proposal = two.office.create("cyd", ["reviewer"], by="ann", reason="hired", request_id=two.request)
    assert "cyd" not in two.office.state.operators
    two.office.approve(proposal, by="bea", request_id=two.request)
    two.enrol("cyd", code)
    for office in (two.office, two.again()):
        assert sorted(office.state.operators) == ["ann", "bea", "cyd"]
        assert office.state.operators["cyd"].roles == {"reviewer"}
    assert office.problems() == []


@pytest.mark.parametrize("handle", ["", "A", "a b", "a/b", "-a", "a" * 65, "é", "a.", "host", "ann"])
def test_names_that_no_operator_can_have_are_refused(two: House, handle: str) -> None:
    with pytest.raises(OperatorError):
        two.office.create(handle, ["admin"], by="ann", reason="x", request_id="r")


@pytest.mark.parametrize("roles", [[], ["king"], ["admin", "king"]])
def test_roles_that_there_are_not_are_refused(house: House, roles: list[str]) -> None:
    with pytest.raises(OperatorError):
        house.office.create("ann", roles, by=HOST, reason="x", request_id="r")


def test_a_login_takes_the_password_and_a_one_time_password_that_was_never_used(two: House) -> None:
    token = two.login("ann")
    assert two.office.who(token).handle == "ann"
    used = two.one_time("ann")
    for password, one_time in (
        (PASSWORD, used),  # good once
        (PASSWORD, "000000"),
        (PASSWORD, ""),
        ("wrong", two.one_time("ann", 30)),
        (PASSWORD, two.one_time("ann", 120)),  # of another time
    ):
        with pytest.raises(SessionError, match="is wrong"):
            two.office.login("ann", password, one_time, request_id="r")
        two.now_us += LOCKED_US
        two.now_us -= two.now_us % 30_000_000
    assert two.login("ann")


def test_a_one_time_password_is_not_good_again_after_a_restart(two: House) -> None:
    two.login("ann")
    used = two.one_time("ann")
    with pytest.raises(SessionError):
        two.again().login("ann", PASSWORD, used, request_id="r")


def test_after_wrong_logins_the_right_one_has_to_wait(two: House) -> None:
    for _ in range(module and 5):
        with pytest.raises(SessionError, match="is wrong"):
            two.office.login("ann", "wrong", "000000", request_id=two.request)
    size = two.log.log.size
    for office in (two.office, two.again()):
        with pytest.raises(SessionError, match="Too many"):
            office.login("ann", PASSWORD, two.one_time("ann"), request_id="r")
    assert two.log.log.size == size  # a flood of wrong logins does not grow the log
    two.now_us += LOCKED_US
    assert two.login("ann")


def test_nobody_learns_who_there_is(two: House) -> None:
    said = set()
    for handle in ("ann", "nobody", "host"):
        with pytest.raises(SessionError) as refused:
            two.office.login(handle, "wrong", "000000", request_id="r")
        said.add(refused.value.message)
    assert len(said) == 1


def test_a_session_is_over_after_half_an_hour_and_cannot_be_made_up(two: House) -> None:
    token = two.login("ann")
    two.now_us += module.SESSION_US + 1
    with pytest.raises(SessionError, match="over"):
        two.office.who(token)
    for wrong in ("", "x", token[:-4] + "AAAA", token.swapcase(), "Ö"):
        with pytest.raises(SessionError):
            two.office.who(wrong)


def test_a_code_is_good_once_and_for_its_operator(house: House) -> None:
    code, _ = house.office.create("ann", ["admin"], by=HOST, reason="x", request_id=house.request)
    other, _ = house.office.create("bea", ["admin"], by=HOST, reason="x", request_id=house.request)
    for handle, wrong in (("ann", other), ("ann", ""), ("nobody", code)):
        with pytest.raises(SessionError):
            house.office.enrol(handle, wrong, PASSWORD, request_id="r")
    with pytest.raises(OperatorError, match="password"):
        house.office.enrol("ann", code, "short", request_id="r")
    house.enrol("ann", code.lower())
    with pytest.raises(SessionError):
        house.office.enrol("ann", code, PASSWORD, request_id="r")


def test_two_operators_decide_and_not_one(two: House) -> None:
    proposal = two.propose()
    with pytest.raises(ProposalError, match="Nobody approves what they proposed"):
        two.office.approve(proposal, by="ann", request_id="r")
    for nobody in (HOST, "nobody", ""):
        with pytest.raises(ProposalError, match="no active operator"):
            two.office.approve(proposal, by=nobody, request_id="r")
    act = two.office.approve(proposal, by="bea", request_id=two.request)
    assert (act.account, dict(act.details)) == (
        "123456789012",
        {
            **STANDING,
            "reason": "file 12",
            "proposal": proposal,
            "by": "ann",
            "and": "bea",
            "number": act.details["number"],
        },
    )
    with pytest.raises(ProposalError, match="is done"):
        two.office.approve(proposal, by="bea", request_id="r")
    assert [each.operation for each in two.again().state.decided][-1] == "account.standing"


def test_roles_decide_what_somebody_may_take_part_in(two: House) -> None:
    for handle, role in (("rev", "reviewer"), ("aud", "auditor")):
        code, proposal = two.office.create(handle, [role], by="ann", reason="x", request_id=two.request)
        assert code
        two.office.approve(proposal, by="bea", request_id=two.request)
    for handle in ("rev", "aud", HOST):
        with pytest.raises(ProposalError):
            two.propose(by=handle)
        with pytest.raises(ProposalError):
            two.office.approve(two.propose(), by=handle, request_id="r")
    with pytest.raises(ProposalError):
        two.propose(by="aud", kind="call.approve", approval="x")
    assert two.propose(by="rev", kind="call.approve", approval="x")
    with pytest.raises(ProposalError, match="Nobody decides"):
        two.propose(kind="account.create")


@pytest.mark.parametrize("reason", ["", " ", "x" * 201, "a\nb", "x\udcff"])
def test_a_proposal_has_a_reason(two: House, reason: str) -> None:
    with pytest.raises(ProposalError, match="reason"):
        two.office.propose("account.standing", "1" * 12, STANDING, by="ann", reason=reason, request_id="r")


def test_a_proposal_is_not_good_for_ever(two: House) -> None:
    old = two.propose()
    two.now_us += VALID_US + 1
    with pytest.raises(ProposalError, match="too old"):
        two.office.approve(old, by="bea", request_id="r")
    withdrawn = two.propose()
    two.office.withdraw(withdrawn, by="ann", request_id=two.request)
    with pytest.raises(ProposalError, match="withdrawn"):
        two.office.approve(withdrawn, by="bea", request_id="r")
    with pytest.raises(ProposalError, match="no proposal"):
        two.office.approve("nonsense", by="bea", request_id="r")


def test_who_was_suspended_decides_nothing_more_and_is_logged_out(two: House) -> None:
    token, open_still = two.login("ann"), two.propose(by="ann")
    proposal = two.propose(by="ann", kind="operator.suspend", operator="ann")
    two.office.approve(proposal, by="bea", request_id=two.request)
    for office in (two.office, two.again()):
        with pytest.raises(SessionError, match="suspended"):
            office.who(token)
        with pytest.raises(ProposalError, match="no active operator"):
            office.approve(open_still, by="bea", request_id="r")
    two.now_us += 60_000_000
    with pytest.raises(SessionError, match="is wrong"):
        two.office.login("ann", PASSWORD, two.one_time("ann"), request_id="r")


def test_of_two_who_approve_at_once_one_does(two: House) -> None:
    code, made = two.office.create("cyd", ["admin"], by="ann", reason="x", request_id=two.request)
    assert code
    two.office.approve(made, by="bea", request_id=two.request)
    proposal, outcomes = two.propose(), []

    def approve(by: str) -> None:
        try:
            outcomes.append(two.office.approve(proposal, by=by, request_id=by).operation)
        except ProposalError as error:
            outcomes.append(error.message)

    threads = [threading.Thread(target=approve, args=(by,)) for by in ("bea", "cyd") * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("account.standing") == 1
    assert [each.operation for each in two.again().state.decided].count("account.standing") == 1


def test_a_name_is_given_once_also_by_two(two: House) -> None:
    first, again = (
        two.office.create("cyd", [role], by="ann", reason="x", request_id=two.request) for role in ("reviewer", "admin")
    )
    two.office.approve(first[1], by="bea", request_id=two.request)
    with pytest.raises(ProposalError, match="of that name"):
        two.office.approve(again[1], by="bea", request_id=two.request)
    for _ in range(2):
        assert two.office.state.operators["cyd"].roles == {"reviewer"}
        assert two.office.problems() == []
        two.again()
    with pytest.raises(SessionError):
        two.enrol("cyd", again[0])


@pytest.mark.parametrize("kind", ["operator.roles", "operator.reset", "operator.resume"])
def test_nobody_decides_about_themselves_what_gives_them_something(two: House, kind: str) -> None:
    code, proposal = two.office.create("cyd", ["admin"], by="ann", reason="x", request_id=two.request)
    two.office.approve(proposal, by="bea", request_id=two.request)
    two.enrol("cyd", code)
    if kind == "operator.resume":
        two.decide("operator.suspend", operator="bea")
    words = {"operator": "bea", "roles": "auditor", "code_sha256": "0" * 64}
    words = {name: words[name] for name in ("operator", *(["roles"] if kind == "operator.roles" else []),
                                            *(["code_sha256"] if kind == "operator.reset" else []))}  # fmt: skip
    with pytest.raises(ProposalError, match=r"themselves|no active operator"):
        two.propose("bea", kind, **words)
    proposal = two.propose("ann", kind, **words)
    with pytest.raises(ProposalError, match=r"themselves|no active operator"):
        two.office.approve(proposal, by="bea", request_id="r")
    two.office.approve(proposal, by="cyd", request_id=two.request)
    known = two.again().state.operators["bea"]
    assert (known.is_active, known.can_log_in) == (True, kind != "operator.reset")
    assert known.roles == ({"auditor"} if kind == "operator.roles" else {"admin", "compliance"})


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("operator.suspend", {"operator": "nobody"}),
        ("operator.resume", {"operator": "bea"}),
        ("operator.roles", {"operator": "bea", "roles": "king"}),
        ("operator.roles", {"operator": "nobody", "roles": "admin"}),
        ("operator.reset", {"operator": "nobody", "code_sha256": "0"}),
    ],
)
def test_what_could_come_to_nothing_is_not_proposed(two: House, kind: str, words: dict[str, str]) -> None:
    size = two.log.log.size
    with pytest.raises(ProposalError):
        two.propose(kind=kind, **words)
    assert two.log.log.size == size


def test_a_credential_written_into_the_database_lets_nobody_in_and_is_told(two: House) -> None:
    row = (
        two.log.database.read()
        .execute("SELECT password, totp FROM operator_credential WHERE operator='ann'")
        .fetchone()
    )

    def forge(connection: sqlite3.Connection) -> None:
        connection.execute("UPDATE operator_credential SET password = ?", (module.hashed("a forged password", "ann"),))
        connection.execute("INSERT INTO operator_credential VALUES ('eve', ?, ?)", row)

    two.log.database.maintain(forge)
    office = two.again()
    two.now_us += 30_000_000
    with pytest.raises(SessionError):
        office.login("ann", "a forged password", two.one_time("ann"), request_id="r")
    with pytest.raises(SessionError):
        office.login("eve", PASSWORD, two.one_time("ann"), request_id="r")
    assert [each.split(":")[0] for each in office.problems()] == ["operator ann", "operator bea", "operator eve"]


@pytest.mark.parametrize(
    ("operation", "details"),
    [
        ("account.standing", {**STANDING, "reason": "x", "proposal": "made up", "by": "ann", "and": "bea"}),
        ("operator.create", {"operator": "eve", "roles": "admin", "code_sha256": "0", "by": "host", "reason": "x"}),
        ("policy.activate", {"policy_set": "0", "previous": "0", "from_us": 0, "by": "ann", "and": "bea"}),
        ("proposal.make", {"proposal": "x", "kind": "account.standing", "by": "eve"}),
        ("proposal.make", {"proposal": "x", "kind": "world.peace", "by": "ann"}),
        ("operator.credential", {"operator": "eve", "credential": "0"}),
        ("proposal.withdraw", {"proposal": "x"}),
    ],
)
def test_an_act_that_nobody_may_have_done_counts_for_nothing_and_is_told(
    two: House, operation: str, details: dict[str, int | str]
) -> None:
    """As if somebody had got an entry into the log past this program."""
    decided = two.office.state.decided
    office = two.forge(operation, "", details)
    assert office.state.decided == decided
    assert "eve" not in office.state.operators
    assert [each for each in office.problems() if f"act forged ({operation})" in each]


@pytest.mark.parametrize(
    "change", [{"standing": "refused"}, {"and": "ann"}, {"by": "bea"}, {"and": "eve"}, {"extra": 1}]
)
def test_a_decision_is_in_the_words_of_its_proposal_and_of_two(two: House, change: dict[str, int | str]) -> None:
    proposal = two.propose()
    said = {**STANDING, "reason": "file 12", "proposal": proposal, "by": "ann", "and": "bea", **change}
    office = two.forge("account.standing", "123456789012", said)
    assert [each.operation for each in office.state.decided if each.operation == "account.standing"] == []
    assert office.problems()


def test_neither_passwords_nor_secrets_are_in_the_log_or_the_database(two: House) -> None:
    two.login("ann")
    two.log.database.truncate_wal()
    content = (two.log.folder / "countenance.db").read_bytes()
    assert PASSWORD.encode() not in content
    for secret in two.secrets.values():
        assert secret.encode() not in content
