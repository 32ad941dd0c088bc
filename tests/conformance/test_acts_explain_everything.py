"""Whom entries are of, and that acts and effects replayed are what the database has."""

from __future__ import annotations

import logging
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from countenance_audit.leaf import Opening

from countenance.operations.administration import AdministrationError
from countenance.recognition import Busy
from countenance.store import Keyring, SqliteDatabase
from tests.unit.accounts.declarations import CUSTOMER, IDENTIFIED, OWNER

from .in_process import InProcess, ScriptedEngine, code_of, service_in

TOLD = [{"role": role, "scheme": scheme, "value": value} for role, scheme, value in IDENTIFIED]


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def house(tmp_path: Path, engine: ScriptedEngine) -> Iterator[InProcess]:
    with service_in(tmp_path, engine) as made:
        yield made


def openings(house: InProcess, account: str) -> list[Opening]:
    log = house.service.ledger.log
    return [each for _, each in log.storage.openings(0, log.size) if each.accounting["account"] == account]


def customer(house: InProcess, party: dict[str, Any] = CUSTOMER) -> str:
    """A new account, and calls signed with its key from now on."""
    account = house.pipeline.administer("account.create", {"name": "Acme", "party": party})["account_id"]
    issued = house.pipeline.administer(
        "key.create", {"account_id": account, "purpose": "access-control", "holder": "gate 3"}
    )
    house.clear(account)
    house.credentials = (issued["access_key_id"], issued["secret_access_key"])
    return str(account)


def problems(house: InProcess) -> list[str]:
    found: list[str] = house.pipeline.administer("ledger.fsck", {})["problems"]
    return found


def test_every_entry_of_an_account_says_whom_it_belongs_to_and_for_what_the_key_is(
    house: InProcess, engine: ScriptedEngine
) -> None:
    account = customer(house)
    house.ok("CreateCollection", {"CollectionId": "people"})
    house.ok("IndexFaces", {"CollectionId": "people", "Image": {"Bytes": b"faces: 2"}})
    house.call("ListFaces", {"CollectionId": "missing"})
    engine.error = Busy("Too many images are waiting to be worked on.")
    house.call("DetectFaces", {"Image": {"Bytes": b"raise"}})
    house.service.ledger._sum_up()
    house.pipeline.administer("ledger.hold", {"account_id": account, "reason": "case 17/26"})
    house.pipeline.administer("ledger.release", {"account_id": account})
    house.pipeline.administer("bucket.grant", {"account_id": account, "bucket": "badges"})
    house.pipeline.administer("bucket.revoke", {"account_id": account, "bucket": "badges"})
    house.pipeline.administer("key.revoke", {"access_key_id": house.credentials[0]})
    found = openings(house, account)
    assert {each.accounting["kind"] for each in found} == {"act", "call", "effect", "throttled"}
    for each in found:
        said = each.accounting
        assert said["party"] == TOLD, said["operation"]
        if said["access_key"] or said["operation"].startswith("key."):
            assert (said["holder"], said["purpose"]) == ("gate 3", "access-control")
        if said["kind"] != "act":
            assert each.person is not None
            assert not each.person.get("names")
    assert problems(house) == []


def test_a_declaration_counts_from_the_next_call_on(house: InProcess) -> None:
    account = customer(house)
    house.ok("ListCollections", {})
    house.pipeline.administer("account.declare", {"account_id": account, "party": {"lei": None}, "amend": True})
    house.ok("ListCollections", {})
    first, second = (each.accounting["party"] for each in openings(house, account) if each.accounting["kind"] == "call")
    assert first == TOLD
    assert second == [each for each in TOLD if each["scheme"] != "lei"]
    assert problems(house) == []


def test_a_call_takes_no_query_to_know_whose_it_is(house: InProcess) -> None:
    customer(house)
    house.ok("ListCollections", {})
    key = house.credentials[0]
    seen: list[str] = []
    with house.database.reading() as connection:
        connection.set_trace_callback(seen.append)
    assert house.service.accounts.credentials(key).party == IDENTIFIED
    with house.database.reading() as connection:
        assert connection.execute("SELECT 7").fetchall() == [(7,)]
        connection.set_trace_callback(None)
    assert seen == ["SELECT 7"]


def test_an_account_needs_a_party_and_one_without_gets_no_key(house: InProcess) -> None:
    with pytest.raises(AdministrationError, match="belongs to a legal entity") as refused:
        house.pipeline.administer("account.create", {"name": "Acme"})
    assert "--party" in (refused.value.hint or "")
    with pytest.raises(Exception, match="lacks signatory"):
        house.pipeline.administer("account.create", {"name": "Acme", "party": OWNER})
    old = house.service.accounts.create_account("From before", request_id="r", at=house.account.created_at).account_id
    with pytest.raises(AdministrationError, match="whom account"):
        house.pipeline.administer("key.create", {"account_id": old})
    house.pipeline.administer("account.declare", {"account_id": old, "party": CUSTOMER, "amend": True})
    assert house.pipeline.administer("key.create", {"account_id": old})["access_key_id"]


def test_the_owner_may_go_undeclared_and_everybody_is_told(house: InProcess) -> None:
    house.ok("ListCollections", {})
    assert all(each.accounting["party"] == [] for each in openings(house, house.account.account_id))
    (warning,) = house.pipeline.administer("ledger.status", {})["warnings"]
    assert f"countenance account declare {house.account.account_id}" in warning
    house.pipeline.administer("account.declare", {"account_id": house.account.account_id, "party": OWNER})
    assert house.pipeline.administer("ledger.status", {})["warnings"] == []
    house.ok("ListCollections", {})
    party = openings(house, house.account.account_id)[-1].accounting["party"]
    assert {"role": "party", "scheme": "reg", "value": "DE-HRB:F1103RHRB6684"} in party
    assert problems(house) == []


def test_a_forged_key_is_answered_like_an_unknown_one(house: InProcess, caplog: pytest.LogCaptureFixture) -> None:
    customer(house)
    house.database.maintain(lambda connection: connection.execute("UPDATE access_key SET holder = 'x'").close())
    known, house.credentials = house.credentials, ("AKCNNOSUCHKEY", house.credentials[1])
    unknown = house.call("ListCollections", {})
    house.credentials = known
    with caplog.at_level(logging.WARNING):
        forged = house.call("ListCollections", {})
    assert forged.body == unknown.body
    assert code_of(forged) == "UnrecognizedClientException"
    assert known[0] in caplog.text
    assert any(known[0] in each and "holder" in each for each in problems(house))


def test_random_work_is_explained_and_whatever_is_changed_behind_it_is_listed(house: InProcess) -> None:
    """200 changes at random; then each of the tables is tampered with, row by row."""
    chance = random.Random(7)
    account = customer(house)
    for turn in range(200):
        name = f"c{chance.randrange(4)}"
        operation, params = chance.choice(
            [
                ("CreateCollection", {"CollectionId": name}),
                ("DeleteCollection", {"CollectionId": name}),
                *[("IndexFaces", {"CollectionId": name, "Image": {"Bytes": b"faces: %d" % chance.randrange(9)}})] * 4,
            ]
        )
        house.call(operation, params)
        if turn % 20 == 0:
            issued = house.pipeline.administer("key.create", {"account_id": account})
            house.pipeline.administer("bucket.grant", {"account_id": account, "bucket": f"bucket-{turn}"})
            if turn % 40 == 0:
                house.pipeline.administer("key.revoke", {"access_key_id": issued["access_key_id"]})
                house.pipeline.administer("bucket.revoke", {"account_id": account, "bucket": f"bucket-{turn}"})
    house.pipeline.administer("ledger.hold", {"account_id": account, "reason": "case 17/26"})
    house.ok("CreateCollection", {"CollectionId": "last"})
    house.ok("IndexFaces", {"CollectionId": "last", "Image": {"Bytes": b"faces: 3"}})
    assert problems(house) == []
    for number, (statement, told) in enumerate(TAMPERING, 1):

        def tamper(connection: sqlite3.Connection, edit: str = statement) -> None:
            connection.execute("PRAGMA defer_foreign_keys = ON")
            assert connection.execute(edit).rowcount == 1

        house.database.maintain(tamper)
        found = problems(house)
        assert len(found) == number, (statement, found)
        assert any(told in each for each in found), (statement, found)


TAMPERING = [
    ("DELETE FROM bucket_grant WHERE bucket = 'bucket-20'", "bucket-20: entries say that it is there, and it is not"),
    (
        "INSERT INTO bucket_grant SELECT account_id, 'forged', 0, 'r' FROM account WHERE is_owner = 1",
        "forged: it is there",
    ),
    (
        "UPDATE access_key SET revoked_at = NULL WHERE access_key_id ="
        " (SELECT access_key_id FROM access_key WHERE revoked_at IS NOT NULL LIMIT 1)",
        "revoked is 0 and 1 by the entries",
    ),
    ("DELETE FROM log_holds", "hold"),
    ("UPDATE account SET name = 'Other' WHERE is_owner = 1", "name is 'Other' and 'tests' by the entries"),
    (
        "DELETE FROM enrolled_references WHERE ref_id = (SELECT max(ref_id) FROM enrolled_references)",
        "last: references is 2 and 3 by the entries",
    ),
    (
        "INSERT INTO collections (account_id, collection_id, model_version, dimension, created_at)"
        " VALUES ('999999999999', 'forged', 'm', 8, 0)",
        "collection 999999999999 forged: it is there, and no entry explains it",
    ),
]


def test_an_entry_of_another_party_than_the_declared_is_listed(house: InProcess) -> None:
    account = customer(house)
    house.service.ledger.log.append(house_entry(account, house.credentials[0], party=(("party", "name", "Nobody"),)))
    house.service.ledger.log.append(house_entry(account, house.credentials[0], holder="another"))
    first, second = problems(house)
    assert "its party is not the one" in first
    assert "its account, holder or purpose" in second


def house_entry(account: str, key: str, **more: Any) -> Any:
    from countenance.ledger import Opaque, accounting

    said = {"holder": "gate 3", "purpose": "access-control", "party": IDENTIFIED} | more
    return Opaque(
        accounting(
            kind="call",
            time=2**50,
            operation="DetectFaces",
            request_id="r",
            account=account,
            access_key=key,
            **said,
        )
    )


def test_fsck_on_a_folder_that_never_had_a_gallery(tmp_path: Path) -> None:
    from countenance.gallery import held

    database = SqliteDatabase(tmp_path / "countenance.db")
    Keyring.open(tmp_path / "master.key", create=True)
    with database.reading() as connection:
        assert held(connection) == {}
    database.close()
