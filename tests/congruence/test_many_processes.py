"""Two servers over one database: what one of them did, the next request to the other knows.

Both are in this process, with everything of their own that a process has: connections, caches, indexes, log.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest
from countenance_audit import receipt
from countenance_audit.merkle import verify_inclusion

from countenance.accounts import AccessKeyNotFound
from countenance.errors import Error
from countenance.ledger import Opaque, accounting, fsck, microseconds, statement
from countenance.ledger.metering import PriceTable
from countenance.operations.elsewhere import Elsewhere
from countenance.operations.persons import subject
from countenance.policy.policyset import composed
from countenance.standing import places
from countenance.store import DatabaseError, DecidedMeanwhile, FenceBroken
from countenance.store.leases import Presence
from tests.conformance.in_process import InProcess, ScriptedEngine, code_of, service_in
from tests.unit.accounts.declarations import CUSTOMER

IMAGE = {"Bytes": b"faces: 1"}
PASSWORD = "correct horse battery staple"


@contextmanager
def two(folder: Path, **more: Any) -> Iterator[tuple[InProcess, InProcess]]:
    with (
        service_in(folder, ScriptedEngine(), is_shared=True, **more) as one,
        service_in(folder, ScriptedEngine(), is_shared=True, beside=one, **more) as other,
    ):
        yield one, other


@pytest.fixture
def both(tmp_path: Path) -> Iterator[tuple[InProcess, InProcess]]:
    with two(tmp_path) as made:
        yield made


def do(house: InProcess, verb: str, token: str | None = None, **params: Any) -> dict[str, Any]:
    return house.pipeline.administer(verb, {**params, **({"session_token": token} if token else {})})


def code(house: InProcess, keys: tuple[str, str], operation: str, params: dict[str, Any]) -> str:
    own, house.credentials = house.credentials, keys
    try:
        return code_of(house.call(operation, params))
    finally:
        house.credentials = own


def key(house: InProcess, account: str, purpose: str = "general") -> tuple[str, str]:
    made = do(house, "key.create", account_id=account, purpose=purpose)
    return made["access_key_id"], made["secret_access_key"]


def is_clean(*houses: InProcess) -> None:
    for house in houses:
        log = house.service.ledger.log
        found = fsck.examine(log)
        assert found.problems == []
        assert house.service.governance.problems() == []


def test_keys_made_and_revoked_through_one_count_at_the_other(both: tuple[InProcess, InProcess]) -> None:
    one, other = both
    keys = key(one, one.account.account_id)
    for house in (other, one, other):
        assert code(house, keys, "ListCollections", {}) == "OK"
    do(one, "key.revoke", access_key_id=keys[0])
    for house in (other, one):
        assert code(house, keys, "ListCollections", {}) == "UnrecognizedClientException"
    with pytest.raises(AccessKeyNotFound):
        other.service.accounts.credentials(keys[0])
    again = do(other, "key.revoke", access_key_id=keys[0])
    assert again["revoked_at"] is not None
    revocations = [each for each in acts(one) if each["operation"] == "key.revoke"]
    assert len(revocations) == 1
    is_clean(one, other)


def acts(house: InProcess) -> list[dict[str, Any]]:
    log = house.service.ledger.log
    return [each.accounting for _, each in log.storage.openings(0, log.size) if each.accounting["kind"] == "act"]


def test_declarations_and_buckets_follow(both: tuple[InProcess, InProcess]) -> None:
    one, other = both
    account = do(one, "account.create", name="customer", party=CUSTOMER)["account_id"]
    keys = key(other, account)
    assert code(one, keys, "ListCollections", {}) == "AccessDeniedException"  # nobody cleared it
    before = one.service.accounts.credentials(keys[0]).declaration
    do(other, "account.declare", account_id=account, party={"legal_name": "Another name"}, amend=True)
    assert code(one, keys, "ListCollections", {}) == "AccessDeniedException"
    assert one.service.accounts.credentials(keys[0]).declaration != before
    assert one.service.governance.standings.record.party(account, 1 << 60) == one.service.governance.declaration(
        account
    )
    do(one, "bucket.grant", account_id=account, bucket="pictures")
    assert other.service.accounts.may_read_bucket(account, "pictures")
    do(other, "bucket.revoke", account_id=account, bucket="pictures")
    assert not one.service.accounts.may_read_bucket(account, "pictures")
    is_clean(one, other)


def test_what_two_operators_decide_is_in_force_everywhere(both: tuple[InProcess, InProcess]) -> None:
    one, other = both
    account = do(one, "account.create", name="customer", party=CUSTOMER)["account_id"]
    keys = key(one, account)
    assert code(other, keys, "ListCollections", {}) == "AccessDeniedException"
    one.clear(account)
    assert code(other, keys, "ListCollections", {}) == "OK"
    other.service.database.follow()
    other.clear(account, standing="suspended")
    assert code(one, keys, "ListCollections", {}) == "AccessDeniedException"
    one.clear(account)
    policy_set = one.service.governance.shelf.keep(composed([]))
    one.decided("policy.activate", "", {"policy_set": policy_set, "previous": "", "from_us": 0})
    other.service.database.follow()
    assert other.service.governance.timeline() == one.service.governance.timeline()
    assert other.service.governance.timeline()[-1].policy_set == policy_set
    assert other.service.governance.office.state == one.service.governance.office.state
    is_clean(one, other)


def test_what_is_on_record_and_calls_that_wait_are_known_everywhere(both: tuple[InProcess, InProcess]) -> None:
    one, other = both
    owner = one.account.account_id
    for number, house in enumerate((one, other, one)):
        said = {"external_image_id": f"person-{number}", "purpose": "general", "until": "2099-01-01T00:00:00Z"}
        do(house, "consent.record", account_id=owner, evidence_sha256="ab" * 32, **said)
    told = [do(house, "consent.list", account_id=owner) for house in both]
    assert told[0] == told[1]
    assert len(told[0]["consents"]) == 3
    one.ok("CreateCollection", {"CollectionId": "people"})
    one.decided("policy.activate", "", {"policy_set": ai_act(one), "previous": "", "from_us": 0, "change": "x"})
    keys = key(other, owner, "remote-identification")
    search = {"CollectionId": "people", "Image": IMAGE}
    assert code(one, keys, "SearchFacesByImage", search) == "AccessDeniedException"
    (awaited,) = other.service.governance.awaited()
    other.service.database.follow()
    other.decided("call.approve", owner, awaited.details())
    assert code(one, keys, "SearchFacesByImage", search) == "OK"
    is_clean(one, other)


def ai_act(house: InProcess) -> str:
    return house.service.governance.shelf.keep(composed(["ai-act"]))


def admins(one: InProcess, other: InProcess) -> tuple[str, str]:
    """Sessions of two admins, each made at another server."""
    sessions = []
    for house, handle in ((one, "ann"), (other, "bea")):
        made = do(house, "operator.create", operator=handle, roles=["admin"], reason="founding")
        address = do(house, "operator.enrol", operator=handle, code=made["code"], password=PASSWORD)["otpauth"]
        totp = pyotp.TOTP(parse_qs(urlsplit(address).query)["secret"][0])
        told = do(house, "session.login", operator=handle, password=PASSWORD, one_time=totp.at(datetime.now(UTC)))
        sessions.append(str(told["session"]))
    return sessions[0], sessions[1]


def test_operators_and_four_eyes_alternate_between_servers(both: tuple[InProcess, InProcess]) -> None:
    one, other = both
    ann, bea = admins(one, other)
    proposed = do(one, "purpose.add", ann, purpose="door-opening", meaning="opening doors", reason="new")["proposal"]
    assert [each["proposal"] for each in do(other, "proposal.list", bea)["proposals"]] == [proposed]
    do(other, "proposal.approve", bea, proposal=proposed)
    do(one, "purpose.list", ann)
    assert "door-opening" in one.service.governance.purposes()
    with pytest.raises(Error):
        do(one, "proposal.approve", ann, proposal=proposed)
    do(one, "session.logout", ann)
    with pytest.raises(Error, match="ended"):
        do(other, "proposal.list", ann)
    is_clean(one, other)


def test_two_who_approve_at_once_end_in_one_state(both: tuple[InProcess, InProcess]) -> None:
    """Each approves what the other proposed, and both approve the same: at the same moment, at two servers."""
    one, other = both
    ann, bea = admins(one, other)
    third = do(one, "operator.create", ann, operator="eve", roles=["admin"], reason="more")
    do(other, "proposal.approve", bea, proposal=third["proposal"])
    address = do(one, "operator.enrol", operator="eve", code=third["code"], password=PASSWORD)["otpauth"]
    totp = pyotp.TOTP(parse_qs(urlsplit(address).query)["secret"][0])
    told = do(one, "session.login", operator="eve", password=PASSWORD, one_time=totp.at(datetime.now(UTC)))
    eve = str(told["session"])
    for number in range(8):
        made = do(one, "purpose.add", ann, purpose=f"word-{number}", meaning="m", reason="r")["proposal"]
        outcomes = at_once(
            lambda made=made: do(one, "proposal.approve", eve, proposal=made),
            lambda made=made: do(other, "proposal.approve", bea, proposal=made),
        )
        assert sum(not isinstance(each, Error) for each in outcomes) == 1, outcomes
        assert not any(isinstance(each, DatabaseError) for each in outcomes), outcomes
    for house in both:
        house.service.database.follow()
    states = [house.service.governance.office.state for house in both]
    assert states[0] == states[1]
    assert states[0].is_whole
    assert states[0].problems == []
    decided = [each for each in acts(one) if each["operation"] == "purpose.add"]
    assert len(decided) == 8
    is_clean(one, other)


def at_once(*works: Any) -> list[Any]:
    """What each returned or raised, all begun at the same moment."""
    found: list[Any] = [None] * len(works)
    gate = threading.Barrier(len(works))

    def run(number: int) -> None:
        gate.wait()
        try:
            found[number] = works[number]()
        except Exception as failure:  # noqa: BLE001 -- looked at by the test
            found[number] = failure

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_an_act_decided_on_a_stale_copy_is_not_written(both: tuple[InProcess, InProcess]) -> None:
    one, other = both
    office = other.service.governance.office
    one.service.governance.office.create("ann", ["admin"], by="host", reason="r", request_id=str(uuid.uuid4()))
    before = one.service.ledger.log.size
    with pytest.raises(DecidedMeanwhile, match="nothing was changed"):
        office.create("bea", ["admin"], by="host", reason="r", request_id=str(uuid.uuid4()))
    assert one.service.ledger.log.size == before
    assert other.ok("ListCollections", {}) is not None  # what is no act is written, and follows
    office.create("bea", ["admin"], by="host", reason="r", request_id=str(uuid.uuid4()))
    one.service.database.follow()
    assert set(one.service.governance.office.state.operators) == {"ann", "bea"}
    is_clean(one, other)


def test_an_act_of_a_process_that_was_fenced_off_is_not_written(both: tuple[InProcess, InProcess]) -> None:
    one, _ = both
    log, before = one.service.ledger.log, one.service.ledger.log.size

    def gone(connection: Any) -> None:
        raise FenceBroken("another one does that now")

    said = accounting(kind="act", time=microseconds(datetime.now(UTC)), operation="x", request_id=str(uuid.uuid4()))
    with one.database.fenced(gone), pytest.raises(FenceBroken):
        log.append(Opaque(said))
    assert log.size == before
    log.append(Opaque(said))
    assert log.size == before + 1


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_country_is_put_on_record_once_however_many_see_it(tmp_path: Path) -> None:
    where = places.load(written(tmp_path / "places.csv", "203.0.113.0/24,BR\n"))
    with two(tmp_path, places=where) as (one, other):
        account = do(one, "account.create", name="customer", party=CUSTOMER)["account_id"]
        keys = key(one, account)
        one.peer = other.peer = "203.0.113.7"
        outcomes = at_once(*[lambda house=house: code(house, keys, "ListCollections", {}) for house in (one, other)])
        assert outcomes == ["AccessDeniedException"] * 2
        assert sum(each["operation"] == "account.country" for each in acts(one)) == 1
        one.service.database.follow()
        other.service.database.follow()
        at = 1 << 60
        records = [house.service.governance.standings.record for house in (one, other)]
        assert [each.countries(account, at) for each in records] == [("BR",)] * 2
        is_clean(one, other)


def test_checkpoints_and_tiles_are_those_published_last_by_any(both: tuple[InProcess, InProcess]) -> None:
    one, other = both
    for house in (one, other, one):
        for _ in range(150):
            house.ok("ListCollections", {})
    size, note = one.service.ledger.log.publish()
    assert other.service.ledger.log.checkpoint() == (size, note)
    mine, theirs = one.service.ledger.log, other.service.ledger.log
    assert size == mine.size == theirs.size > 450
    for level, n, width in ((0, 0, 256), (0, 1, size - 256), (1, 0, 1)):
        assert mine.tile(level, n, width) == theirs.tile(level, n, width) is not None
    assert theirs.root(size) == mine.root(size)
    assert theirs.consistency(100, size) == mine.consistency(100, size)
    other.ok("ListCollections", {})
    assert theirs.leaves(size, size + 1) is None  # no checkpoint covers it
    assert theirs.publish()[0] == size + 1 == mine.checkpoint()[0]
    key_before = mine.signer.verifier
    theirs.rotate()
    assert mine.keys.is_signed(mine.publish()[1]) or mine.signer.verifier != key_before
    one.ok("ListCollections", {})
    assert mine.signer.verifier == theirs.signer.verifier != key_before
    is_clean(one, other)


def test_a_checkpoint_of_a_process_that_has_not_heard_of_a_new_key_is_signed_by_it(
    both: tuple[InProcess, InProcess],
) -> None:
    one, other = both
    mine, theirs = one.service.ledger.log, other.service.ledger.log
    theirs.rotate(lost=True)
    one.database.record(Opaque(accounting(kind="call", time=0, operation="x", request_id="r", code="OK", status=200)))
    _, note = mine.publish()
    assert theirs.keys.is_signed(note)
    assert mine.keys.is_signed(note)


def test_tiers_are_charged_by_what_all_processes_charged(
    both: tuple[InProcess, InProcess], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = both
    prices = PriceTable.load()
    low = replace(
        prices,
        groups=tuple(
            replace(
                group,
                tiers=(replace(group.tiers[0], up_to=7), *group.tiers[-1:]) if len(group.tiers) > 1 else group.tiers,
            )
            for group in prices.groups
        ),
    )
    for house in both:
        monkeypatch.setattr(house.service.ledger, "prices", low)

    def load(house: InProcess) -> None:
        for _ in range(12):
            house.ok("DetectFaces", {"Image": IMAGE})

    assert at_once(lambda: load(one), lambda: load(other), lambda: load(one)) == [None] * 3
    month = datetime.now(UTC).strftime("%Y-%m")
    told, openings = other.service.ledger.statement(one.account.account_id, month)
    assert told.totals.units == 36
    assert told.totals.charges == low.price("DetectFaces", 36, 0)
    assert statement.check(told, openings, prices=low) == []
    assert one.service.ledger.statement(one.account.account_id, month)[0].totals == told.totals
    is_clean(one, other)


def test_a_load_on_both_ends_in_one_log_and_every_receipt_holds(both: tuple[InProcess, InProcess]) -> None:
    one, other = both
    account = one.account.account_id
    receipts: list[str] = []

    def load(house: InProcess, name: str) -> None:
        for number in range(15):
            house.ok("CreateCollection", {"CollectionId": f"{name}-{number}"})
            answer = house.call("ListCollections", {})
            receipts.append(dict(answer.headers)["x-countenance-receipt"])
            if number % 5 == 0:
                do(house, "key.revoke", access_key_id=key(house, account)[0])
                house.service.ledger.log.publish()

    works = [
        lambda house=house, name=name: load(house, name) for name, house in zip("abcd", (one, other) * 2, strict=True)
    ]
    assert at_once(*works) == [None] * 4
    size, note = one.service.ledger.log.publish()
    assert size == other.service.ledger.log.size
    log = other.service.ledger.log
    checkpoint = log.keys.open(note)
    assert len(receipts) == 60
    for text in receipts:
        held = receipt.verify(text, log.signer.verifier)
        verify_inclusion(held.index, size, bytes.fromhex(held.leaf), log.inclusion(held.index, size), checkpoint.root)
    names = json.dumps(one.ok("ListCollections", {}))
    assert all(f"{name}-{number}" in names for name in "abcd" for number in range(15))
    assert sum(each["operation"] == "key.revoke" for each in acts(one)) == 12
    is_clean(one, other)


def test_a_third_joins_and_knows_everything(tmp_path: Path) -> None:
    with two(tmp_path) as (one, other):
        one.clear(one.account.account_id)
        keys = key(other, one.account.account_id)
        with service_in(tmp_path, ScriptedEngine(), is_shared=True, beside=one) as third:
            assert code(third, keys, "ListCollections", {}) == "OK"
            assert third.service.governance.office.state == one.service.governance.office.state
            do(third, "key.revoke", access_key_id=keys[0])
        assert code(one, keys, "ListCollections", {}) == "UnrecognizedClientException"
        is_clean(one, other)


@contextmanager
def present(*houses: InProcess) -> Iterator[None]:
    """Each says what its calls are doing."""
    made = []
    for house in houses:
        progress = house.service.governance.progress
        presence = Presence(house.database, renew_s=0.05)
        elsewhere = Elsewhere(house.database, presence, progress, partial(subject, house.service.accounts))
        progress.elsewhere = elsewhere
        presence.tell(elsewhere.told)
        presence.start()
        made.append(presence)
    try:
        yield
    finally:
        for presence in made:
            presence.stop()


def test_an_erasure_waits_for_calls_elsewhere_that_do_not_know_of_it(both: tuple[InProcess, InProcess]) -> None:
    one, other = both
    one.ok("CreateCollection", {"CollectionId": "people"})
    enrol = {"CollectionId": "people", "Image": IMAGE, "ExternalImageId": "ann", "MaxFaces": 1}
    one.ok("IndexFaces", enrol)
    owner, events = one.account.account_id, list[str]()
    is_in, may_go_on = threading.Event(), threading.Event()
    real = other.service.engine.analyse

    def slow(image: bytes, *, max_faces: int = 100) -> Any:
        is_in.set()
        may_go_on.wait(30)
        return real(image, max_faces=max_faces)

    def enrolment() -> None:
        other.ok("IndexFaces", enrol)
        events.append("enrolled")

    def erasure() -> None:
        do(one, "person.erase", account_id=owner, external_image_id="ann", ground="asked for it")
        events.append("erased")

    with present(one, other), pytest.MonkeyPatch.context() as patched:
        patched.setattr(other.service.engine, "analyse", slow)
        first = threading.Thread(target=enrolment)
        first.start()
        assert is_in.wait(30)  # it was let through
        second = threading.Thread(target=erasure)
        second.start()
        deadline = time.monotonic() + 30
        while not (one.service.governance.progress.erased() and elsewhere_erases(other, owner)):
            assert time.monotonic() < deadline
        patched.setattr(other.service.engine, "analyse", real)
        assert code_of(other.call("IndexFaces", enrol)) != "OK"  # a call that begins now knows
        assert events == []
        may_go_on.set()
        first.join()
        second.join()
    assert events == ["enrolled", "erased"]
    assert one.ok("ListFaces", {"CollectionId": "people"})["Faces"] == []
    assert other.ok("ListFaces", {"CollectionId": "people"})["Faces"] == []
    is_clean(one, other)


def elsewhere_erases(house: InProcess, account: str) -> bool:
    return house.service.governance.progress.is_erasing(account)
