"""Logins, sessions and new credentials: what guessing gets, what ends a session, and that nothing is told."""

from __future__ import annotations

import logging
import threading
from collections import Counter

import pytest
from tests.unit.operators.house import PASSWORD, House

from countenance.operators import OperatorError, ProposalError, SessionError, credentials
from countenance.operators.state import HOST, LOCKED_US, LONGEST_LOCK_US, VALID_US, WRONG_LOGINS
from countenance.operators.strangers import Strangers


def wrong(house: House, handle: str = "ann", count: int = 1) -> None:
    for _ in range(count):
        with pytest.raises(SessionError, match="is wrong"):
            house.office.login(handle, "wrong", "000000", request_id=house.request)


def test_of_many_guesses_at_once_no_more_are_answered_than_one_after_another(
    two: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    two.now_us += 30_000_000
    together, is_password = threading.Barrier(20), credentials.is_password

    def slow(password: str, kept: str | None) -> bool:
        found = is_password(password, kept)
        together.wait(timeout=60)  # all of them have been let in by now
        return found

    monkeypatch.setattr(credentials, "is_password", slow)
    told: Counter[str] = Counter()

    def guess(number: int) -> None:
        try:
            two.office.login("ann", f"wrong {number}", "000000", request_id=f"guess {number}")
        except SessionError as error:
            told[error.message] += 1

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == {
        "The name, the password or the one-time password is wrong.": WRONG_LOGINS,
        "Too many wrong logins.": 20 - WRONG_LOGINS,
    }


def test_one_code_sent_twice_at_once_lets_one_in(two: House) -> None:
    two.now_us += 30_000_000
    code, outcomes = two.one_time("ann"), []

    def login(number: int) -> None:
        try:
            two.office.login("ann", PASSWORD, code, request_id=f"r at once {number}")
            outcomes.append("in")
        except SessionError:
            outcomes.append("refused")

    threads = [threading.Thread(target=login, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["in", "refused", "refused", "refused"]


def test_the_wait_doubles_with_each_time_in_vain_up_to_a_day_and_outlives_a_restart(two: House) -> None:
    for expected in [LOCKED_US << doubled for doubled in range(7)] + [LONGEST_LOCK_US] * 3:
        assert expected <= LONGEST_LOCK_US
        wrong(two, count=WRONG_LOGINS)
        two.now_us += expected - 1
        for office in (two.office, two.again()):
            with pytest.raises(SessionError, match="Too many"):
                office.login("ann", PASSWORD, two.one_time("ann"), request_id=two.request)
        two.now_us += 1
    assert two.login("ann")
    wrong(two, count=WRONG_LOGINS)
    two.now_us += LOCKED_US
    assert two.login("ann")


def test_logins_that_were_turned_away_are_counted_and_folded_into_the_next_act(two: House) -> None:
    for number in range(7):
        wrong(two, f"nobody{number}")
    wrong(two, count=WRONG_LOGINS)
    for _ in range(30):
        with pytest.raises(SessionError, match="Too many"):
            two.office.login("ann", "wrong", "000000", request_id=two.request)
    size = two.log.log.size
    two.login("bea")
    assert two.log.log.size == size + 1
    told = [
        opening.accounting["details"].get("turned_away", 0)
        for _, opening in two.log.log.storage.openings(0, two.log.log.size)
        if opening.accounting["operation"] in ("operator.refused", "operator.login")
    ]
    assert told == [7, 0, 0, 0, 0, 30]


def test_a_name_that_nobody_has_is_locked_like_that_of_an_operator(two: House, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes: list[str] = []
    is_password = credentials.is_password

    def told(password: str, kept: str | None) -> bool:
        hashes.append(password)
        return is_password(password, kept)

    monkeypatch.setattr(credentials, "is_password", told)

    def tried(handle: str) -> list[tuple[str, str | None, int]]:
        """The answers of logins over two days, with how many hashes each took."""
        found = []
        for minutes in [0] * 7 + [14, 1] + [0] * 7 + [29, 1] + [0] * 7 + [59, 1, 2880, 0]:
            two.now_us += minutes * 60_000_000
            hashes.clear()
            with pytest.raises(SessionError) as refused:
                two.office.login(handle, "wrong", "000000", request_id=two.request)
            found.append((refused.value.message, refused.value.hint, len(hashes)))
        return found

    known = tried("ann")
    assert len({message for message, _, _ in known}) == 2
    assert tried("nobody") == known == tried("Nobody at all " + "x" * 2000)


def test_the_first_answer_about_a_name_that_nobody_has_takes_one_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    whole, known = credentials._nobody().split("$"), credentials.hashed(PASSWORD, "ann").split("$")
    assert whole[:4] == known[:4]
    assert [len(each) for each in whole] == [len(each) for each in known]
    assert not credentials.is_password("wrong", None)


def test_of_names_that_nobody_has_so_many_are_remembered_and_locked_ones_the_longest() -> None:
    strangers = Strangers(most=5)
    for _ in range(WRONG_LOGINS):
        strangers.count("locked", 1)
    for number in range(1000):
        strangers.count(f"name {number}", 2)
        assert len(strangers) <= 6
    assert strangers.is_locked("locked", LOCKED_US)
    assert not strangers.is_locked("locked", 1 + LOCKED_US)
    for number in range(5 * WRONG_LOGINS):
        strangers.count(f"other {number // WRONG_LOGINS}", 3)
    assert len(strangers) <= 10
    assert not strangers.is_locked("locked", 4)
    assert all(strangers.is_locked(f"other {number}", 4) for number in range(5))


def test_logging_out_ends_every_session_of_that_operator_and_of_nobody_else(two: House) -> None:
    first, second, other = two.login("ann"), two.login("ann"), two.login("bea")
    two.office.logout("ann", request_id=two.request)
    for office in (two.office, two.again()):
        for token in (first, second):
            with pytest.raises(SessionError, match="was ended"):
                office.who(token)
        assert office.who(other).handle == "bea"
    assert two.office.who(two.login("ann")).handle == "ann"


def test_other_roles_end_the_sessions(two: House) -> None:
    cyd(two, "reviewer")
    token = two.login("cyd")
    two.decide("operator.roles", operator="cyd", roles="auditor")
    assert two.office.state.operators["cyd"].roles == {"auditor"}
    with pytest.raises(SessionError, match="was ended"):
        two.again().who(token)


def cyd(house: House, *roles: str) -> None:
    code, proposal = house.office.create("cyd", roles, by="ann", reason="x", request_id=house.request)
    house.office.approve(proposal, by="bea", request_id=house.request)
    house.enrol("cyd", code)


def test_two_admins_reset_a_third_operator_and_the_old_credential_is_gone(two: House) -> None:
    cyd(two, "admin")
    token, old = two.login("cyd"), two.secrets["cyd"]
    code, proposal = two.office.reset("cyd", by="ann", reason="lost the phone", request_id=two.request)
    with pytest.raises(SessionError):
        two.office.enrol("cyd", code, PASSWORD, request_id="r")  # nobody has approved it
    for alone in ("ann", "cyd"):
        with pytest.raises(ProposalError):
            two.office.approve(proposal, by=alone, request_id="r")
    two.office.approve(proposal, by="bea", request_id=two.request)
    with pytest.raises(SessionError, match="was ended"):
        two.office.who(token)
    rows = two.log.database.read().execute("SELECT operator FROM operator_credential ORDER BY operator").fetchall()
    assert rows == [("ann",), ("bea",)]
    two.now_us += 60_000_000
    with pytest.raises(SessionError, match="is wrong"):
        two.office.login("cyd", PASSWORD, two.one_time("cyd"), request_id=two.request)
    two.enrol("cyd", code)
    assert two.secrets["cyd"] != old
    assert two.again().who(two.login("cyd")).handle == "cyd"
    assert two.office.problems() == []


def test_a_code_is_good_for_a_week(two: House) -> None:
    code, proposal = two.office.create("cyd", ["reviewer"], by="ann", reason="x", request_id=two.request)
    two.office.approve(proposal, by="bea", request_id=two.request)
    two.now_us += VALID_US + 1
    with pytest.raises(SessionError, match="too old"):
        two.office.enrol("cyd", code, PASSWORD, request_id="r")


def test_codes_that_the_host_gave_are_worth_nothing_when_there_are_two_admins(house: House) -> None:
    made = {
        handle: house.office.create(handle, ["admin"], by=HOST, reason="x", request_id=house.request)[0]
        for handle in ("ann", "bea", "cyd")
    }
    house.enrol("ann", made["ann"])
    house.enrol("cyd", made["cyd"])  # bea lost hers: the host could make one more
    with pytest.raises(SessionError):
        house.office.enrol("bea", made["bea"], PASSWORD, request_id="r")
    with pytest.raises(OperatorError, match="made by them"):
        house.office.create("eve", ["admin"], by=HOST, reason="x", request_id="r")


@pytest.mark.parametrize("password", ["short", "x" * 1025, "ab" * 10, "I am ann and nobody else", "aaaaaaaaaaaaaaaa"])
def test_passwords_that_are_easily_guessed_are_refused(house: House, password: str) -> None:
    code, _ = house.office.create("ann", ["admin"], by=HOST, reason="x", request_id=house.request)
    with pytest.raises(OperatorError) as refused:
        house.office.enrol("ann", code, password, request_id="r")
    assert password not in f"{refused.value.message} {refused.value.hint}"
    house.enrol("ann", code)


@pytest.mark.parametrize(
    ("password", "why"),
    [
        ("for-a.jones-only", "operator's name"),
        ("Hello A_JONES hello", "operator's name"),
        ("ajones ajones ajones", "operator's name"),
        ("4j0n3s at the gate", "operator's name"),
        ("\uff21.\uff2a\uff4f\uff4e\uff45\uff53 in wide letters", "operator's name"),
        ("Countenance2026!", "name of this program"),
        ("c0unt3n@nce rules", "name of this program"),
        ("C-o-u-n-t-e-n-a-n-c-e", "name of this program"),
        ("aaaaaaaaaabcd1e", "more than a repeated character"),
        ("aaaabbbbccccdddd1111", "more than a repeated character"),
        ("123456789012", "more than a repeated character"),
        ("098765432109", "more than a repeated character"),
        ("abcdefghijklm", "more than a repeated character"),
        ("ZYXWVUTSRQPO", "more than a repeated character"),
        ("abcd1234efgh5678", "more than a repeated character"),
        ("qwertyuiop12", "more than a repeated character"),
        ("Qwertzuiop\u00fc+1", "more than a repeated character"),
        ("poiuytrewq!1", "more than a repeated character"),
        ("asdfghjkl;'!!", "more than a repeated character"),
        ("1qaz2wsx3edc", "more than a repeated character"),
        ("1q2w3e4r5t6y", "more than a repeated character"),
    ],
)
def test_a_password_that_is_tried_first_is_refused_and_it_is_said_why(password: str, why: str) -> None:
    with pytest.raises(OperatorError, match=why) as refused:
        credentials.hashed(password, "a.jones")
    assert password not in f"{refused.value.message} {refused.value.hint}"


@pytest.mark.parametrize(
    "password",
    [
        PASSWORD,
        "plain sailing abc 123",
        "x7Gq9z123456",
        "a jonesing for tea",
        "the count in France",
        "\U0001f431 and five cats",
    ],
)
def test_a_password_that_only_has_some_of_it_is_none_of_these(password: str) -> None:
    assert credentials.is_password(password, credentials.hashed(password, "a.jonas"))


def test_a_name_of_a_letter_or_two_is_refused_as_a_word() -> None:
    assert credentials.hashed("a new day at the office", "e1")
    for password in ("it is e1 who is here", "e1-e1-e1-and-more"):
        with pytest.raises(OperatorError, match="operator's name"):
            credentials.hashed(password, "e1")


def test_a_password_is_the_same_from_every_keyboard(house: House) -> None:
    code, _ = house.office.create("ann", ["admin"], by=HOST, reason="x", request_id=house.request)
    house.enrol("ann", code, "Grüße aus Zürich")  # composed letters
    assert house.login("ann", "Gru\u0308ße aus Zu\u0308rich")
    with pytest.raises(SessionError):
        house.office.login("ann", "\udcff" * 12, "\udcff", request_id=house.request)


def test_the_parameters_are_those_of_rfc_9106(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    kept = credentials.hashed(PASSWORD, "ann")
    assert kept.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    assert credentials.is_password(PASSWORD, kept)
    assert not credentials.is_password(PASSWORD + "x", kept)
    assert not credentials.is_password("nobody's", None)


def test_no_password_code_or_secret_is_told_to_anybody(two: House, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    guessed = "another horse battery"
    for handle, password, one_time in (("ann", guessed, "123456"), ("nobody", PASSWORD, "123456")):
        with pytest.raises(SessionError) as refused:
            two.office.login(handle, password, one_time, request_id=two.request)
        said.append(f"{refused.value.message} {refused.value.hint}")
    code, proposal = two.office.create("cyd", ["reviewer"], by="ann", reason="x", request_id=two.request)
    two.office.approve(proposal, by="bea", request_id=two.request)
    with pytest.raises(SessionError) as refused:
        two.office.enrol("cyd", "A" * 26, guessed, request_id=two.request)
    said.append(f"{refused.value.message} {refused.value.hint}")
    two.enrol("cyd", code)
    token = two.login("cyd")
    two.log.database.truncate_wal()
    content = (two.log.folder / "countenance.db").read_bytes()
    for secret in (PASSWORD, guessed, code, token, *two.secrets.values()):
        assert secret not in caplog.text
        assert not [each for each in said if secret in each]
        assert secret.encode() not in content
