"""Acts that were taken away or altered: nobody decides by what is left, until they are back or the office is new."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.operators.house import STANDING, House

from countenance.ledger import Public
from countenance.ledger.copies import Copies
from countenance.ledger.recover import refill
from countenance.operators import Act, OperatorError, ProposalError, SessionError, State, tally
from countenance.operators.state import HOST, OPERATIONS, SILENCE_US, VALID_US
from countenance.store import DatabaseError, backup


def suspended(two: House) -> str:
    """Ann is suspended; the request of the act."""
    proposal = two.propose(by="ann", kind="operator.suspend", operator="ann")
    two.office.approve(proposal, by="bea", request_id="suspension")
    return "suspension"


def nobody_decides(two: House) -> None:
    office = two.office
    assert not office.state.is_whole
    two.now_us += 60_000_000
    for handle in ("ann", "bea"):
        with pytest.raises(SessionError, match="missing"):
            office.login(handle, "correct horse battery", two.one_time(handle), request_id="r")
        with pytest.raises(ProposalError, match="missing"):
            office.propose("account.standing", "1" * 12, STANDING, by=handle, reason="x", request_id="r")
    with pytest.raises(OperatorError, match="missing"):
        office.create("eve", ["admin"], by=HOST, reason="x", request_id="r")
    assert [each for each in office.problems() if "are missing or altered" in each]


SAID = "UPDATE log_openings SET accounting ="
EDITS = {
    "another operation": f"{SAID} replace(accounting, 'operator.suspend\"', 'x\"') WHERE {{}}",
    "another operator": f"{SAID} replace(accounting, '\"ann\"', '\"eve\"') WHERE {{}}",
    "another number": f"{SAID} replace(accounting, '\"number\":', '\"numbre\":') WHERE {{}}",
    "no opening": "DELETE FROM log_openings WHERE {}",
    "not known as an act": "DELETE FROM log_acts WHERE idx = (SELECT idx FROM log_openings WHERE {})",
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
@pytest.mark.parametrize("is_last", [True, False])
def test_who_was_suspended_does_not_come_back_by_editing_the_database(two: House, edit: str, is_last: bool) -> None:
    token = two.login("bea")
    suspended(two)
    if not is_last:
        two.login("bea")
    two.edit(edit.format("request_id = 'suspension'"))
    nobody_decides(two)
    with pytest.raises(SessionError, match="missing"):
        two.office.who(token)


def test_the_count_of_acts_cannot_be_set_back(two: House) -> None:
    suspended(two)
    number = two.office.state.number
    two.log.database.maintain(
        lambda connection: connection.execute("DELETE FROM log_openings WHERE request_id = 'suspension'").close()
    )
    for statement in ("UPDATE operator_acts SET number = ?", "DELETE FROM operator_acts WHERE number >= ?"):
        two.edit(statement, number - 1)
        nobody_decides(two)


def test_an_older_count_is_one_of_an_older_database(two: House) -> None:
    """A backup was put in place, and its log refilled to what was signed of it."""
    older = two.log.database.read().execute("SELECT number, seal FROM operator_acts").fetchone()
    two.decide("account.standing")
    two.edit("UPDATE operator_acts SET number = ?, seal = ?", *older)
    assert two.office.state.is_whole
    assert two.office.problems() == []
    two.decide("account.standing")


def test_an_older_count_put_back_together_with_its_acts_taken_away_is_missed(two: House) -> None:
    """All of it inside the database: what is outside knows better."""
    older = two.log.database.read().execute("SELECT number, seal FROM operator_acts").fetchone()
    suspended(two)
    for edit in ("DELETE FROM log_openings WHERE idx IN (SELECT max(idx) FROM log_openings)",) * 2:
        two.log.database.maintain(lambda connection, edit=edit: connection.execute(edit).close())  # type: ignore[misc]
    two.edit("UPDATE operator_acts SET number = ?, seal = ?", *older)
    nobody_decides(two)


@pytest.mark.parametrize("content", ["", "7", "7 00", "x y", "\udcff"])
def test_a_count_outside_that_cannot_be_relied_on_has_nobody_decide(two: House, content: str) -> None:
    (two.log.folder / tally.FILE).write_bytes(content.encode("utf-8", "surrogateescape"))
    two.again()
    nobody_decides(two)


def test_without_the_count_outside_a_recovery_that_lost_entries_may_have_lost_acts(two: House) -> None:
    def recovered(lost: int) -> None:
        said = {"kind": "recovery", "first": 1, "size": 2, "lost": lost, "reason": "disk"}
        two.log.log.append(Public(said))
        (two.log.folder / tally.FILE).unlink()
        two.again()

    recovered(0)
    assert two.office.state.is_whole
    two.log.log.append(Public({"kind": "recovery", "first": 1, "size": 2, "lost": 3, "reason": "disk"}))
    assert two.again().state.is_whole  # the count says that no act was among them
    recovered(3)
    nobody_decides(two)
    assert two.office.refound(reason="disk", request_id=two.request).state == "done"
    assert two.again().state.is_whole


def test_acts_that_were_taken_away_come_back_from_another_copy_of_the_database(two: House, tmp_path: Path) -> None:
    suspended(two)
    backup.copy(two.log.database.path, tmp_path / "copy.db")
    two.edit("DELETE FROM log_openings WHERE request_id = 'suspension'")
    nobody_decides(two)
    copies = Copies(databases=[tmp_path / "copy.db"])
    assert refill(two.log.database, two.log.keyring, two.log.folder, copies, reason="found it").filled == 1
    assert two.again().state.is_whole
    assert not two.office.state.operators["ann"].is_active
    assert two.office.problems() == []


def test_what_was_proposed_before_acts_were_lost_is_not_decided_after(two: House) -> None:
    proposal = two.propose()
    suspended(two)
    two.edit("DELETE FROM log_openings WHERE request_id = 'suspension'")
    two.office.refound(reason="x", request_id=two.request)
    two.make("eva", "admin")
    with pytest.raises(ProposalError, match="withdrawn"):
        two.office.approve(proposal, by="eva", request_id=two.request)


def test_the_host_begins_anew_at_once_when_acts_are_missing(two: House) -> None:
    suspended(two)
    two.edit(EDITS["no opening"].format("request_id = 'suspension'"))
    done = two.office.refound(reason="disk damage, case 3", request_id=two.request)
    assert done.state == "done"
    for _ in range(2):
        assert two.office.state.is_whole
        assert not [each for each in two.office.state.operators.values() if each.is_active]
        assert [each for each in two.office.problems() if "are missing or altered" in each]  # that stays to be known
        two.again()
    two.make("eva", "admin")
    two.make("fay", "admin")
    assert two.office.propose("account.standing", "1" * 12, STANDING, by="eva", reason="x", request_id=two.request)
    two.decide("operator.resume", "eva", "fay", operator="bea")
    assert two.again().who(two.login("bea")).handle == "bea"


def test_a_lost_second_factor_is_no_dead_end_but_takes_three_days_without_an_objection(two: House) -> None:
    token = two.login("ann")
    first = two.office.refound(reason="Bea lost her phone", request_id=two.request)
    assert first.state == "open"
    with pytest.raises(OperatorError, match="made by them"):
        two.office.create("eve", ["admin"], by=HOST, reason="x", request_id="r")
    two.now_us += SILENCE_US - 1
    assert two.again().refound(reason="again", request_id=two.request) == first
    assert two.office.state.operators["ann"].is_active
    two.now_us += 1
    assert two.again().refound(reason="again", request_id=two.request).state == "done"
    with pytest.raises(SessionError):
        two.office.who(token)
    with pytest.raises(ProposalError, match="no active operator"):
        two.propose(by="ann")
    two.make("eva", "admin")
    assert two.office.state.is_founding()


def test_an_admin_who_is_there_objects(two: House) -> None:
    made = two.office.refound(reason="the host wants to decide alone", request_id=two.request)
    for nobody in ("nobody", ""):
        with pytest.raises(ProposalError):
            two.office.withdraw(made.id, by=nobody, request_id="r")
    two.office.withdraw(made.id, by="ann", request_id=two.request)
    two.now_us += SILENCE_US + 1
    again = two.office.refound(reason="once more", request_id=two.request)
    assert (again.state, again.id != made.id) == ("open", True)
    two.now_us += VALID_US + 1  # too late
    assert two.office.refound(reason="once more", request_id=two.request).state == "open"
    for by in ("ann", "bea", HOST):
        with pytest.raises(ProposalError):
            two.office.approve(again.id, by=by, request_id="r")
    assert two.office.state.operators["ann"].is_active


@pytest.mark.parametrize(
    "details",
    [
        {"by": HOST},
        {"by": "ann"},
        {"by": HOST, "proposal": "made up"},
        {"by": HOST, "proposal": "open"},
        {"by": "ann", "and": "bea", "proposal": "open"},
    ],
)
def test_an_act_of_founding_anew_that_came_too_early_counts_for_nothing(two: House, details: dict[str, Any]) -> None:
    made = two.office.refound(reason="x", request_id=two.request)
    if details.get("proposal") == "open":
        details = {**details, "proposal": made.id}
    office = two.forge("operator.refound", "", {**details, "reason": "x"})
    assert office.state.operators["ann"].is_active
    assert [each for each in office.problems() if "counts for nothing" in each]


def test_what_was_reported_as_failed_and_was_stored_counts_before_the_next_act(
    two: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    proposal, other = two.propose(), two.propose()
    journal = two.office._records._journal
    append = journal.append

    def stored_but_not_confirmed(*args: Any, **more: Any) -> None:
        append(*args, **more)
        raise DatabaseError("The change could not be confirmed as stored.")

    monkeypatch.setattr(journal, "append", stored_but_not_confirmed)
    with pytest.raises(DatabaseError):
        two.office.approve(proposal, by="bea", request_id="in doubt")
    monkeypatch.setattr(journal, "append", append)
    assert two.office.proposal(proposal).state == "done"
    two.office.approve(other, by="bea", request_id=two.request)
    assert two.again().problems() == []
    assert [two.office.proposal(each).state for each in (proposal, other)] == ["done", "done"]


def test_a_folder_that_was_copied_is_whole(two: House) -> None:
    two.login("ann")
    two.log.database.close()
    copied = two.log.folder.with_name("copy")
    shutil.copytree(two.log.folder, copied)
    two.log.open()
    other = House(copied)
    assert other.office.problems() == []
    assert other.office.state.number == two.open().state.number
    other.log.database.close()


VALUES = st.one_of(
    st.integers(-2, 9), st.sampled_from(["", "ann", "bea", "host", "admin", "a,b", "p", "x" * 300, "\udcff"])
)
NAMES = st.sampled_from(
    ["operator", "by", "and", "proposal", "kind", "roles", "step", "credential", "code_sha256", "reason", "p.operator"]
)
MEMBERS = st.dictionaries(NAMES, st.one_of(VALUES, st.sampled_from(OPERATIONS)))


@given(st.lists(st.tuples(st.sampled_from((*OPERATIONS, "nonsense")), MEMBERS, st.booleans()), max_size=12))
def test_no_act_whatever_it_says_keeps_the_server_from_starting(acts: list[tuple[str, dict[str, Any], bool]]) -> None:
    state = State()
    for number, handle in enumerate(("ann", "bea"), 1):
        said = {"operator": handle, "roles": "admin", "code_sha256": "0", "by": HOST, "reason": "x", "number": number}
        assert state.apply(Act("operator.create", "", "r", 0, said))
    for operation, said, is_numbered in acts:
        numbered = {**said, "number": state.number + 1} if is_numbered else said
        before = len(state.problems)
        assert state.apply(Act(operation, "", "r", 1, numbered)) or len(state.problems) > before
