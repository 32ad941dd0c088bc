"""What is on record about people who are enrolled, and how they leave."""

from __future__ import annotations

import json
import shutil
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from countenance_audit.leaf import Opening
from countenance_audit.merkle import leaf_hash, verify_inclusion

from countenance import restoration
from countenance.ledger import fsck, retention
from countenance.ledger.copies import Copies
from countenance.operations import persons
from countenance.operations.instruction import AdministrationError
from countenance.policy.policyset import composed
from countenance.store import Entry, backup
from tests.conformance.in_process import InProcess, ScriptedAnalysis, ScriptedEngine, service_in

ANN = {"CollectionId": "people", "Image": {"Bytes": b"faces: 1"}, "ExternalImageId": "ann-secret-name", "MaxFaces": 1}
BEN = {"CollectionId": "people", "Image": {"Bytes": b"faces: 2"}, "ExternalImageId": "ben"}
GROUND = "Art. 17 GDPR"


@pytest.fixture
def at_home(tmp_path: Path) -> Iterator[InProcess]:
    (tmp_path / "data").mkdir()
    with service_in(tmp_path / "data", ScriptedEngine()) as made:
        made.ok("CreateCollection", {"CollectionId": "people"})
        yield made


def do(at_home: InProcess, verb: str, **params: Any) -> dict[str, Any]:
    return at_home.pipeline.administer(verb, {"account_id": at_home.account.account_id, **params})


def key_for(at_home: InProcess, purpose: str) -> None:
    issued = at_home.service.accounts.create_key(
        at_home.account.account_id, purpose=purpose, request_id="r", at=datetime.now(UTC)
    )
    at_home.credentials = (issued.key.access_key_id, issued.secret)


def in_force(at_home: InProcess, *packs: str) -> None:
    made = at_home.service.governance.shelf.keep(composed(packs))
    at_home.decided("policy.activate", "", {"policy_set": made, "previous": "", "from_us": 0})


def denied(at_home: InProcess, params: dict[str, Any]) -> str:
    answer = at_home.call("IndexFaces", params)
    return "" if answer.status == 200 else str(json.loads(answer.body)["message"])


def problems(at_home: InProcess) -> list[str]:
    found: list[str] = at_home.pipeline.administer("ledger.fsck", {})["problems"]
    return found


def test_nobody_is_enrolled_without_a_release_and_a_day_of_destruction(at_home: InProcess) -> None:
    in_force(at_home, "bipa")
    key_for(at_home, "access-control")
    later = (datetime.now(UTC) + timedelta(days=30)).isoformat()
    assert "bipa.destruction" in denied(at_home, ANN)
    do(at_home, "retention.set", collection_id="people", days=1095)
    assert "bipa.release" in denied(at_home, ANN)
    signed = {"external_image_id": "ann-secret-name", "evidence_sha256": "ab" * 32, "until": later}
    do(at_home, "consent.record", purpose="attendance", **signed)
    assert "bipa.release" in denied(at_home, ANN)  # for something else
    do(at_home, "consent.record", purpose="access-control", **signed)
    assert denied(at_home, ANN) == ""
    crowd = {**ANN, "Image": {"Bytes": b"faces: 9"}}
    for most in ({}, {"MaxFaces": 9}):  # a release is one person's
        assert "bipa.release" in denied(at_home, {**{k: v for k, v in crowd.items() if k != "MaxFaces"}, **most})
    assert "bipa.release" in denied(at_home, BEN)
    assert "bipa.release" in denied(at_home, {name: each for name, each in ANN.items() if name != "ExternalImageId"})
    listed = do(at_home, "consent.list", external_image_id="ann-secret-name")["consents"]
    assert [each["purpose"] for each in listed] == ["access-control", "attendance"]
    do(at_home, "consent.withdraw", external_image_id="ann-secret-name", purpose="access-control")
    assert "bipa.release" in denied(at_home, {**ANN, "Image": {"Bytes": b"faces: 3"}})
    with pytest.raises(AdministrationError, match="no such release"):
        do(at_home, "consent.withdraw", external_image_id="ben", purpose="access-control")
    assert problems(at_home) == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"until": "2001-01-01"},
        {"until": "2999-01-01"},
        {"until": "soon"},
        {"evidence_sha256": "AB" * 32},
        {"external_image_id": "a b"},
        {"external_image_id": ""},
    ],
)
def test_what_is_no_release_is_refused(at_home: InProcess, wrong: dict[str, str]) -> None:
    signed = {"external_image_id": "ann", "evidence_sha256": "ab" * 32, "until": "2099-01-01", "purpose": "testing"}
    size = at_home.service.ledger.log.size
    with pytest.raises(AdministrationError):
        do(at_home, "consent.record", **{**signed, **wrong})
    assert at_home.service.ledger.log.size == size


def holds_anywhere(folder: Path, words: bytes) -> list[str]:
    return [
        str(each.relative_to(folder)) for each in folder.rglob("*") if each.is_file() and words in each.read_bytes()
    ]


def test_somebody_who_was_erased_is_nowhere_and_the_proof_says_when(at_home: InProcess, tmp_path: Path) -> None:
    at_home.ok("CreateCollection", {"CollectionId": "others"})
    at_home.ok("IndexFaces", ANN)
    face = at_home.ok("IndexFaces", {**ANN, "CollectionId": "others"})["FaceRecords"][0]["Face"]["FaceId"]
    at_home.ok("IndexFaces", BEN)
    at_home.ok("SearchFacesByImage", {"CollectionId": "people", "Image": ANN["Image"]})
    do(
        at_home,
        "consent.record",
        external_image_id="ann-secret-name",
        evidence_sha256="ab" * 32,
        until="2099-01-01",
        purpose="testing",
    )
    log = at_home.service.ledger.log
    log.publish()
    backup.copy(at_home.database.path, tmp_path / "backup.db")
    folder = tmp_path / "data"
    assert holds_anywhere(folder, b"ann-secret-name")
    done = do(at_home, "person.erase", external_image_id="ann-secret-name", ground=GROUND)
    assert done["references"] == 2
    assert done["entries"] >= 4
    assert holds_anywhere(folder, b"ann-secret-name") == []
    assert holds_anywhere(folder, face.encode()) == []
    faces = at_home.ok("ListFaces", {"CollectionId": "people"})["Faces"]
    assert {each["ExternalImageId"] for each in faces} == {"ben"}
    assert do(at_home, "consent.list")["consents"] == []
    receipt = done["receipt"]
    opening, seen = Opening.from_json(receipt["opening"]), log.keys.open(receipt["checkpoint"].encode())
    proof = [bytes.fromhex(each) for each in receipt["proof"]]
    verify_inclusion(receipt["index"], seen.size, leaf_hash(opening.leaf()), proof, seen.root)
    assert opening.accounting["operation"] == persons.DONE
    assert opening.accounting["details"]["references"] == 2
    assert problems(at_home) == []
    assert fsck.examine(log).references == 2
    again = do(at_home, "person.erase", external_image_id="ann-secret-name", ground=GROUND)
    assert (again["references"], again["entries"]) == (0, 0)


def test_a_restored_backup_does_not_bring_them_back(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with service_in(folder, ScriptedEngine()) as at_home:
        at_home.ok("CreateCollection", {"CollectionId": "people"})
        at_home.ok("IndexFaces", ANN)
        at_home.ok("IndexFaces", BEN)
        at_home.service.ledger.log.publish()
        backup.copy(at_home.database.path, tmp_path / "backup.db")
        do(at_home, "person.erase", external_image_id="ann-secret-name", ground=GROUND)
    shutil.copytree(folder, tmp_path / "kept")
    restored = restoration.restore(folder, tmp_path / "backup.db", Copies(), reason="tried")
    assert restored.mended.replayed == {"references": 1, "named": 1}
    assert restored.kept is not None
    restored.kept.unlink()
    assert holds_anywhere(folder, b"ann-secret-name") == []


def test_under_a_hold_nobody_is_erased(at_home: InProcess) -> None:
    at_home.ok("IndexFaces", ANN)
    do(at_home, "ledger.hold", reason="court")
    with pytest.raises(retention.HoldInForce):
        do(at_home, "person.erase", external_image_id="ann-secret-name", ground=GROUND)
    assert len(at_home.ok("ListFaces", {"CollectionId": "people"})["Faces"]) == 1


def expired(at_home: InProcess, days_later: int) -> int:
    service, now = at_home.service, datetime.now(UTC) + timedelta(days=days_later)
    account = at_home.account.account_id

    def entry_of(account: str, collection: str) -> Entry:
        return Entry(persons.RETIRED, account, "", "r", now, {"collection_id": collection})

    return persons.expire(
        service.gallery, at_home.database, service.governance.retention_days, [account], entry_of, now=now
    )


def test_what_a_collection_kept_long_enough_goes_but_for_a_hold(at_home: InProcess) -> None:
    at_home.ok("CreateCollection", {"CollectionId": "kept"})
    at_home.ok("IndexFaces", ANN)
    at_home.ok("IndexFaces", {**BEN, "CollectionId": "kept"})
    do(at_home, "retention.set", collection_id="people", days=30)
    assert expired(at_home, 29) == 0
    do(at_home, "ledger.hold", reason="court")
    assert expired(at_home, 31) == 0
    do(at_home, "ledger.release")
    assert expired(at_home, 31) == 1
    assert at_home.ok("ListFaces", {"CollectionId": "people"})["Faces"] == []
    assert len(at_home.ok("ListFaces", {"CollectionId": "kept"})["Faces"]) == 2
    assert problems(at_home) == []
    for days in (0, -1, 1.5, "30", True):
        with pytest.raises(AdministrationError):
            do(at_home, "retention.set", collection_id="people", days=days)


class SlowEngine(ScriptedEngine):
    """Tells when it looks at an image of two faces, and goes on when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.has_begun, self.may_end = threading.Event(), threading.Event()

    def analyse(self, image: bytes, *, max_faces: int = 100) -> ScriptedAnalysis:
        if image == b"faces: 2":
            self.has_begun.set()
            assert self.may_end.wait(30)
        return super().analyse(image, max_faces=max_faces)


def test_who_is_erased_is_not_enrolled_by_a_call_that_was_let_through_before(tmp_path: Path) -> None:
    engine, later = SlowEngine(), {**ANN, "Image": {"Bytes": b"faces: 2"}}
    signed = {"evidence_sha256": "ab" * 32, "until": "2099-01-01", "purpose": "access-control"}
    with service_in(tmp_path, engine) as at_home, ThreadPoolExecutor(2) as pool:
        at_home.ok("CreateCollection", {"CollectionId": "people"})
        in_force(at_home, "bipa")
        key_for(at_home, "access-control")
        do(at_home, "retention.set", collection_id="people", days=1095)
        do(at_home, "consent.record", external_image_id="ann-secret-name", **signed)
        at_home.ok("IndexFaces", ANN)
        enrolling = pool.submit(at_home.call, "IndexFaces", later)
        assert engine.has_begun.wait(30)  # policies have let it through
        at_home.request_id = str(uuid.uuid4())
        erasing = pool.submit(do, at_home, "person.erase", external_image_id="ann-secret-name", ground=GROUND)
        while do(at_home, "consent.list")["consents"][0]["until"] is not None:
            assert not erasing.done(), erasing.result()
            time.sleep(0.01)
        assert "bipa.release" in denied(at_home, {**ANN, "Image": {"Bytes": b"faces: 3"}})
        assert not erasing.done()
        engine.may_end.set()
        assert enrolling.result().status == 200
        assert erasing.result()["references"] == 2
        assert at_home.ok("ListFaces", {"CollectionId": "people"})["Faces"] == []
        assert holds_anywhere(tmp_path, b"ann-secret-name") == []  # nor in the entry of that call
        assert problems(at_home) == []


def test_nobody_is_enrolled_while_they_are_erased(at_home: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    progress, account = at_home.service.governance.progress, at_home.account.account_id
    with progress.erasing(account, "ann-secret-name"):
        assert "being erased" in denied(at_home, ANN)
        assert denied(at_home, BEN) == ""
    assert denied(at_home, ANN) == ""
    monkeypatch.setattr(progress, "wait", lambda: False)
    with pytest.raises(persons.NotErased):
        do(at_home, "person.erase", external_image_id="ann-secret-name", ground=GROUND)
    assert len(at_home.ok("ListFaces", {"CollectionId": "people"})["Faces"]) == 3


def test_collections_are_looked_through_until_nobody_is_found(
    at_home: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_home.ok("IndexFaces", ANN)
    gallery, waits = at_home.service.gallery, iter(range(1000))
    looked = gallery.references

    def references(account: str, collection: str, **how: Any) -> Any:
        found = looked(account, collection, **how)
        if next(waits) == 0:  # somebody was enrolled behind the one who looks
            monkeypatch.setattr(at_home.service.governance.progress, "refuse_erased", lambda *_: None)
            at_home.ok("IndexFaces", {**ANN, "Image": {"Bytes": b"faces: 2"}})
        return found

    monkeypatch.setattr(gallery, "references", references)
    done = do(at_home, "person.erase", external_image_id="ann-secret-name", ground=GROUND)
    assert done["references"] == 2
    assert at_home.ok("ListFaces", {"CollectionId": "people"})["Faces"] == []
