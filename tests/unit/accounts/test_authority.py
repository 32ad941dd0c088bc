"""Rows count only with the entry that granted them: what is written into the database by other means grants nothing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.unit.accounts.declarations import CUSTOMER
from tests.unit.ledger.logs import Opened

from countenance.accounts import AccessKeyNotFound, Accounts, Party, held
from countenance.ledger import Acts, acts, retention
from countenance.ledger.recover import Copies, close

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Register(Opened):
    """A log and the accounts beside it, opened as often as a test wants."""

    def accounts(self) -> Accounts:
        return Accounts(self.database, self.keyring, Acts(self.log.storage).granted)

    def edit(self, statement: str, *values: object) -> None:
        """What an operator does to the file while the server is stopped."""
        self.database.close()
        connection = sqlite3.connect(self.folder / "countenance.db")
        with connection:
            assert connection.execute(statement, values).rowcount > 0
        connection.close()
        self.open()

    def differing(self) -> list[str]:
        with self.database.reading(snapshot=True) as connection:
            there = held(connection) | retention.holds(connection)
        return [str(each) for each in acts.differences(acts.replayed(self.log), there)]


@pytest.fixture
def register(tmp_path: Path) -> Iterator[Register]:
    made = Register(tmp_path / "data")
    yield made
    made.database.close()


def customer(register: Register) -> tuple[str, str]:
    """An account and a key in force."""
    accounts = register.accounts()
    account = accounts.create_account("Acme", party=Party.from_json(CUSTOMER), request_id="r1", at=AT).account_id
    key = accounts.create_key(account, purpose="door", holder="gate", request_id="r2", at=AT).key.access_key_id
    accounts.grant_bucket(account, "badges", request_id="r3", at=AT)
    assert accounts.credentials(key)
    assert accounts.may_read_bucket(account, "badges")
    assert register.differing() == []
    return account, key


def refused(register: Register, key: str) -> bool:
    try:
        register.accounts().credentials(key)
    except AccessKeyNotFound:
        return True
    return False


FORGED = [
    ("UPDATE access_key SET holder = 'somebody else'", "holder is 'somebody else' and 'gate' by the entries"),
    ("UPDATE access_key SET purpose = 'anything'", "purpose is 'anything'"),
    ("UPDATE access_key SET granted_by = 'r1'", None),
    ("UPDATE access_key SET granted_by = 'no such'", None),
    ("UPDATE account SET is_owner = 1", "owner is 1 and 0 by the entries"),
    ("UPDATE account SET name = 'Other'", "name is 'Other'"),
    ("UPDATE party SET content = replace(content, 'logistics', 'charity')", "party"),
    ("UPDATE party SET content = replace(content, 'Holding', 'Folding')", "party"),
    ("UPDATE party SET version = 2", "version"),
]


@pytest.mark.parametrize(("statement", "told"), FORGED)
def test_a_row_that_was_edited_grants_nothing(
    register: Register, statement: str, told: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    _, key = customer(register)
    register.edit(statement)
    assert refused(register, key)
    assert "no entry of the log grants it" in caplog.text
    if told == "version":
        assert len(register.differing()) == 2
    elif told is not None:
        (line,) = register.differing()
        assert told in line


def test_an_owner_made_by_hand_reads_no_bucket(register: Register) -> None:
    account, _ = customer(register)
    register.edit("UPDATE account SET is_owner = 1")
    assert not register.accounts().may_read_bucket(account, "anything")


def test_a_revoked_key_put_in_force_again_stays_refused(register: Register) -> None:
    _, key = customer(register)
    register.accounts().revoke_key(key, request_id="r9", at=AT)
    register.edit("UPDATE access_key SET revoked_at = NULL")
    assert refused(register, key)
    (line,) = register.differing()
    assert line == f"key {key}: revoked is 0 and 1 by the entries"


def test_a_key_that_was_copied_under_another_id_is_refused(register: Register) -> None:
    _, key = customer(register)
    register.edit("INSERT INTO access_key SELECT 'AKCNFORGED', account_id, purpose, holder, secret, created_at,"
                  " revoked_at, granted_by FROM access_key")  # fmt: skip
    assert refused(register, "AKCNFORGED")
    assert not refused(register, key)
    assert register.differing() == ["key AKCNFORGED: it is there, and no entry explains it"]


def test_what_entries_say_and_is_gone_is_listed(register: Register) -> None:
    account, key = customer(register)
    register.edit("DELETE FROM access_key")
    register.edit("DELETE FROM bucket_grant")
    assert register.differing() == [
        f"bucket {account} badges: entries say that it is there, and it is not",
        f"key {key}: entries say that it is there, and it is not",
    ]


def test_a_bucket_grant_counts_until_its_revocation_however_often_it_was_given(register: Register) -> None:
    account, _ = customer(register)
    accounts = register.accounts()
    accounts.grant_bucket(account, "badges", request_id="r4", at=AT)  # once more: the first stays
    accounts.revoke_bucket(account, "badges", request_id="r5", at=AT)
    assert not accounts.may_read_bucket(account, "badges")
    register.edit("INSERT INTO bucket_grant VALUES (?, 'badges', 0, 'r3')", account)
    assert not register.accounts().may_read_bucket(account, "badges")
    register.accounts().revoke_bucket(account, "badges", request_id="r6", at=AT)
    register.accounts().grant_bucket(account, "badges", request_id="r7", at=AT)
    assert register.accounts().may_read_bucket(account, "badges")
    register.edit("INSERT INTO bucket_grant VALUES (?, 'other', 0, 'r7')", account)
    assert not register.accounts().may_read_bucket(account, "other")
    assert register.differing() == [f"bucket {account} other: it is there, and no entry explains it"]


def test_an_opening_that_does_not_open_its_leaf_grants_nothing(register: Register) -> None:
    _, key = customer(register)
    register.edit("UPDATE access_key SET purpose = 'anything'")
    register.edit(
        'UPDATE log_openings SET accounting = replace(accounting, \'"purpose":"door"\', \'"purpose":"anything"\')'
    )
    assert refused(register, key)


def test_rows_from_before_grants_named_their_entries_get_the_one_in_the_log(register: Register) -> None:
    account, key = customer(register)
    for table in ("account", "access_key", "bucket_grant"):
        register.edit(f"UPDATE {table} SET granted_by = NULL")
    register.edit("INSERT INTO bucket_grant VALUES (?, 'forged', 0, NULL)", account)
    accounts = register.accounts()
    assert accounts.ungranted == [f"the grant of bucket forged to account {account}"]
    assert accounts.credentials(key)
    assert accounts.may_read_bucket(account, "badges")
    assert not accounts.may_read_bucket(account, "forged")
    assert register.accounts().ungranted == [f"the grant of bucket forged to account {account}"]


def test_what_a_log_that_ended_granted_goes_on(register: Register) -> None:
    account, key = customer(register)
    register.log.publish()
    register.database.close()
    register.open()
    close(register.database, register.keyring, register.folder, Copies(), reason="a test", successor="log.example/next")
    register.origin = "log.example/next"
    register.again()
    accounts = register.accounts()
    assert accounts.credentials(key)
    assert accounts.may_read_bucket(account, "badges")
    assert register.differing() == []
    accounts.revoke_key(key, request_id="r9", at=AT)
    register.edit("UPDATE access_key SET revoked_at = NULL")
    assert refused(register, key)


def test_a_hold_is_an_act(register: Register) -> None:
    account, _ = customer(register)
    retention.hold(register.log, account=account, reason="case 17/26")
    retention.hold(register.log, account=account, reason="another")
    assert register.differing() == []
    said = register.log.opening(register.log.size - 1)
    assert said is not None
    assert (said.accounting["operation"], said.accounting["details"]) == ("ledger.hold", {"reason": "case 17/26"})
    register.edit("DELETE FROM log_holds")
    assert register.differing() == [f"hold {account}: entries say that it is there, and it is not"]
    register.edit("INSERT INTO log_holds VALUES (?, 'case 17/26')", account)
    size = register.log.size
    retention.release(register.log, account=account)
    assert (register.differing(), register.log.size) == ([], size + 1)
    with pytest.raises(retention.NoSuchHold):
        retention.release(register.log, account=account)
    assert register.log.size == size + 1
