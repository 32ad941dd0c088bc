from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from countenance_audit.leaf import Opening
from tests.unit.accounts.declarations import CUSTOMER, IDENTIFIED

from countenance.accounts import AccessKeyNotFound, AccountError, AccountNotFound, Accounts, Party
from countenance.ledger import Acts, Log
from countenance.store import Database, Keyring, SqliteDatabase

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = SqliteDatabase(tmp_path / "countenance.db")
    yield opened
    opened.close()


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return Keyring.open(tmp_path / "master.key", create=True)


@pytest.fixture
def log(tmp_path: Path, database: Database, keyring: Keyring) -> Log:
    return Log(database, keyring, tmp_path, origin="log.example/accounts")


@pytest.fixture
def accounts(database: Database, keyring: Keyring, log: Log) -> Accounts:
    return Accounts(database, keyring, Acts(log.storage).granted)


def acts(log: Log) -> list[Opening]:
    return [each for _, each in log.storage.openings(0, log.size)]


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
    database: Database, keyring: Keyring, log: Log, accounts: Accounts
) -> None:
    issued = accounts.create_key(make(accounts), request_id="r", at=AT)
    again = Accounts(database, keyring, Acts(log.storage).granted)
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


def test_issue_and_revocation_leave_entries(log: Log, accounts: Accounts) -> None:
    account_id = make(accounts)
    issued = accounts.create_key(account_id, purpose="door", holder="gate 3", request_id="r2", at=AT)
    accounts.revoke_key(issued.key.access_key_id, request_id="r3", at=AT)
    entries = [each.accounting for each in acts(log)]
    assert [each["operation"] for each in entries] == ["account.create", "key.create", "key.revoke"]
    assert all(each["account"] == account_id and each["kind"] == "act" for each in entries)
    assert [(each["holder"], each["purpose"]) for each in entries] == [("", ""), ("gate 3", "door"), ("gate 3", "door")]
    assert all(issued.secret not in str(each) for each in entries)


# -- whom an account belongs to


def test_an_opening_says_for_whom_under_what_contract_and_who_signed(log: Log, accounts: Accounts) -> None:
    party = Party.from_json(CUSTOMER)
    account = accounts.create_account("Acme", party=party, request_id="r1", at=AT)
    accounts.create_key(account.account_id, request_id="r2", at=AT)
    accounts.grant_bucket(account.account_id, "badges", request_id="r3", at=AT)
    opened, issued, granted = acts(log)
    told = [{"role": role, "scheme": scheme, "value": value} for role, scheme, value in IDENTIFIED]
    for each in (opened, issued):
        assert each.accounting["party"] == told
        assert each.accounting["details"]["contract_sha256"] == "aa" * 32
        assert each.accounting["details"]["party_version"] == 1
        assert each.accounting["details"]["end_use"] == CUSTOMER["end_use"]
        assert each.person is not None
        assert each.person["names"] == ["Sam Signatory", "Ada Owner"]
        assert "Sam" not in str(each.accounting)
        assert "Ada" not in str(each.accounting)
    assert granted.accounting["party"] == told
    assert granted.person == {}


def test_an_account_without_a_party_says_that_nobody_is_declared(log: Log, accounts: Accounts) -> None:
    account_id = make(accounts)
    (opened,) = acts(log)
    assert opened.accounting["details"] == {"name": "Acme", "owner": 0, "party": "undeclared"}
    assert opened.accounting["party"] == []
    assert accounts.party(account_id) is None
    assert accounts.declarations(account_id) == []


def test_a_later_declaration_is_another_version_and_counts_from_the_next_use(log: Log, accounts: Accounts) -> None:
    account = accounts.create_account("Acme", party=Party.from_json(CUSTOMER), request_id="r1", at=AT)
    key_id = accounts.create_key(account.account_id, request_id="r2", at=AT).key.access_key_id
    assert accounts.credentials(key_id).party == IDENTIFIED
    changed = Party.from_json(CUSTOMER | {"legal_name": "Acme International B.V."})
    declared = accounts.declare(account.account_id, changed, request_id="r3", at=AT)
    assert (declared.version, declared.granted_by) == (2, "r3")
    assert ("party", "name", "Acme International B.V.") in accounts.credentials(key_id).party
    assert [each.version for each in accounts.declarations(account.account_id)] == [2, 1]
    assert accounts.declarations(account.account_id)[1].party == Party.from_json(CUSTOMER)
    last = acts(log)[-1].accounting
    assert (last["operation"], last["details"]["party_version"]) == ("account.declare", 2)
    assert {"role": "party", "scheme": "name", "value": "Acme International B.V."} in last["party"]
    with pytest.raises(AccountNotFound):
        accounts.declare("000000000000", changed, request_id="r4", at=AT)


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
