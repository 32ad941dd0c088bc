from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from countenance.accounts import AccessKeyNotFound, AccountError, AccountNotFound, Accounts
from countenance.store import Database, Keyring

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "countenance.db")
    yield opened
    opened.close()


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring.open(tmp_path / "master.key", create=True)


@pytest.fixture
def accounts(database: Database, keyring: Keyring) -> Accounts:
    return Accounts(database, keyring)


def make(accounts: Accounts, name: str = "Acme") -> str:
    return accounts.create_account(name, request_id="r", at=AT).account_id


def test_an_account_has_twelve_digits_and_is_listed(accounts: Accounts) -> None:
    account = accounts.create_account("Acme", request_id="r", at=AT)
    assert len(account.account_id) == 12
    assert account.account_id.isdigit()
    assert accounts.accounts() == [account]
    assert accounts.account(account.account_id) == account


def test_there_is_one_owner(accounts: Accounts) -> None:
    assert accounts.owner() is None
    owner = accounts.create_account("Owner", request_id="r", at=AT, owner=True)
    make(accounts)
    assert accounts.owner() == owner
    with pytest.raises(Exception, match=r"UNIQUE|already|constraint"):
        accounts.create_account("Usurper", request_id="r", at=AT, owner=True)
    assert len(accounts.accounts()) == 2


@pytest.mark.parametrize("name", ["", "   ", "x" * 201, "a\nb", "a\0b"])
def test_unusable_names_are_refused(accounts: Accounts, name: str) -> None:
    with pytest.raises(AccountError):
        accounts.create_account(name, request_id="r", at=AT)


def test_a_key_opens_until_it_is_revoked(accounts: Accounts) -> None:
    issued = accounts.create_key(make(accounts), purpose="door", holder="gate 3", request_id="r", at=AT)
    key_id = issued.key.access_key_id
    assert len(key_id) == 20
    assert len(issued.secret) == 40
    assert accounts.credentials(key_id) == issued
    assert accounts.credentials(key_id) == issued  # the second time from memory
    revoked = accounts.revoke_key(key_id, request_id="r", at=AT)
    assert revoked.revoked_at == AT
    with pytest.raises(AccessKeyNotFound):
        accounts.credentials(key_id)
    assert accounts.revoke_key(key_id, request_id="r", at=datetime.now(UTC)).revoked_at == AT


def test_keys_survive_a_restart_with_the_same_master_key(
    database: Database, keyring: Keyring, accounts: Accounts
) -> None:
    issued = accounts.create_key(make(accounts), request_id="r", at=AT)
    again = Accounts(database, keyring)
    assert again.credentials(issued.key.access_key_id) == issued
    assert again.id_key(issued.key.account_id) == accounts.id_key(issued.key.account_id)


def test_id_keys_differ_between_accounts(accounts: Accounts) -> None:
    assert accounts.id_key(make(accounts, "A")) != accounts.id_key(make(accounts, "B"))


def test_secrets_are_in_no_file_and_no_representation(tmp_path: Path, database: Database, accounts: Accounts) -> None:
    issued = accounts.create_key(make(accounts), request_id="r", at=AT)
    id_key = accounts.id_key(issued.key.account_id)
    assert issued.secret not in repr(issued)
    for path in tmp_path.iterdir():
        raw = path.read_bytes()
        assert issued.secret.encode() not in raw
        assert id_key not in raw


def test_issue_and_revocation_leave_entries(database: Database, accounts: Accounts) -> None:
    account_id = make(accounts)
    issued = accounts.create_key(account_id, request_id="r2", at=AT)
    accounts.revoke_key(issued.key.access_key_id, request_id="r3", at=AT)
    entries = [entry for _, entry in database.pending_outbox(10)]
    assert [entry.operation for entry in entries] == ["account.create", "key.create", "key.revoke"]
    assert all(entry.account_id == account_id for entry in entries)
    assert all(issued.secret not in str(entry.details) for entry in entries)


def test_keys_of_unknown_accounts_are_refused(accounts: Accounts) -> None:
    with pytest.raises(AccountNotFound):
        accounts.create_key("000000000000", request_id="r", at=AT)
    with pytest.raises(AccountNotFound):
        accounts.keys("000000000000")
    with pytest.raises(AccessKeyNotFound):
        accounts.revoke_key("AKCNNOTTHERE", request_id="r", at=AT)
    with pytest.raises(AccountNotFound):
        accounts.id_key("000000000000")


def test_buckets_are_granted_one_by_one_and_the_owner_needs_none(accounts: Accounts) -> None:
    owner = accounts.create_account("Owner", request_id="r", at=AT, owner=True).account_id
    guest = make(accounts)
    assert accounts.may_read_bucket(owner, "photos")
    assert not accounts.may_read_bucket(guest, "photos")
    accounts.grant_bucket(guest, "photos", request_id="r", at=AT)
    accounts.grant_bucket(guest, "photos", request_id="r", at=AT)
    assert accounts.may_read_bucket(guest, "photos")
    assert not accounts.may_read_bucket(guest, "other")
    assert accounts.bucket_grants() == [(guest, "photos")]
    accounts.revoke_bucket(guest, "photos", request_id="r", at=AT)
    assert not accounts.may_read_bucket(guest, "photos")
    with pytest.raises(AccountError):
        accounts.revoke_bucket(guest, "photos", request_id="r", at=AT)
    assert not accounts.may_read_bucket("000000000000", "photos")
