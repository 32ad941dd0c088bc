"""Samples and ledger together, through the whole pipeline: which images are kept, what the log says of them, who may
erase them and when, and that nothing is answered that should have been kept and was not."""

from __future__ import annotations

import base64
import errno
import hashlib
import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from countenance_audit.leaf import Opening, parse
from countenance_audit.leaf import Public as PublicLeaf
from tests.conformance.in_process import InProcess, ScriptedEngine, code_of, service_in
from tests.faults.test_broken_steps import Faulty

from countenance import pipeline
from countenance.errors import Error
from countenance.ledger.retention import HoldInForce
from countenance.operations import samples as meeting
from countenance.operations.administration import AdministrationError
from countenance.recognition import Busy
from countenance.samples import SampleCorrupt, SampleNotFound, samples
from countenance.store import backup

NOW = datetime.now(UTC)
TOMORROW = (NOW + timedelta(days=1)).strftime("%Y-%m-%d")


def image(faces: int, tag: int = 0) -> bytes:
    """An image with its own bytes: the scripted engine reads a number, and leading zeros do not change it."""
    return b"faces: " + b"0" * (64 + tag) + str(faces).encode()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[InProcess]:
    with service_in(tmp_path, ScriptedEngine(), samples=True) as running:
        running.ok("CreateCollection", {"CollectionId": "c"})
        running.ok("IndexFaces", {"CollectionId": "c", "Image": {"Bytes": image(1)}})
        yield running


def search(house: InProcess, request_id: str, given: bytes | None = None, **more: Any) -> Any:
    house.request_id = request_id
    given = image(1) if given is None else given
    return house.call("SearchFacesByImage", {"CollectionId": "c", "Image": {"Bytes": given}, **more})


def entries(house: InProcess, operation: str) -> list[Opening]:
    log = house.service.ledger.log
    return [each for _, each in log.storage.openings(0, log.size) if each.accounting["operation"] == operation]


def leaves(house: InProcess, kind: str) -> list[dict[str, Any]]:
    log = house.service.ledger.log
    found = [parse(leaf) for leaf in log.storage.leaves(0, log.size)]
    return [dict(each.content) for each in found if isinstance(each, PublicLeaf) and each.kind == kind]


def listed(house: InProcess) -> list[str]:
    answer = house.pipeline.administer("sample.list", {"account_id": house.account.account_id})
    return [each["request_id"] for each in answer["samples"]]


def files(house: InProcess) -> list[Path]:
    return sorted((house.database.path.parent / "samples").iterdir())


def sound(house: InProcess) -> None:
    found = house.pipeline.administer("ledger.fsck", {})
    assert found["problems"] == []
    assert found["samples"] == len(listed(house)) == len(files(house)) == house.service.samples.totals().samples


def test_a_search_that_matches_leaves_its_image_and_an_entry_that_says_so(house: InProcess) -> None:
    given = image(1, tag=7)
    assert search(house, "match", given, FaceMatchThreshold=90).status == 200
    (entry,) = entries(house, "SearchFacesByImage")
    assert entry.accounting["details"] == {"matches": 1, "sample": "kept"}
    assert entry.person is not None
    assert [each["sha256"] for each in entry.person["images"]] == [hashlib.sha256(given).hexdigest()]
    assert listed(house) == ["match"]
    for path in [each for each in house.database.path.parent.rglob("*") if each.is_file()]:
        assert given not in path.read_bytes(), path
    sound(house)


@pytest.mark.parametrize(
    ("operation", "params", "code"),
    [
        ("SearchFacesByImage", {"CollectionId": "empty", "Image": {"Bytes": image(1)}}, "OK"),
        ("SearchFacesByImage", {"CollectionId": "c", "Image": {"Bytes": image(0)}}, "InvalidParameterException"),
        ("SearchFacesByImage", {"CollectionId": "c", "Image": {"Bytes": b"none"}}, "InvalidImageFormatException"),
        ("SearchFacesByImage", {"CollectionId": "no", "Image": {"Bytes": image(1)}}, "ResourceNotFoundException"),
        ("CompareFaces", {"SourceImage": {"Bytes": image(1)}, "TargetImage": {"Bytes": image(1)}}, "OK"),
        ("DetectFaces", {"Image": {"Bytes": image(1)}}, "OK"),
        ("IndexFaces", {"CollectionId": "c", "Image": {"Bytes": image(1)}}, "OK"),
    ],
)
def test_nothing_else_is_kept(house: InProcess, operation: str, params: dict[str, Any], code: str) -> None:
    house.ok("CreateCollection", {"CollectionId": "empty"})
    house.request_id = "asked"
    assert code_of(house.call(operation, params)) == code
    assert listed(house) == []
    assert files(house) == []
    assert "sample" not in entries(house, operation)[-1].accounting["details"]
    sound(house)


def test_a_search_by_face_has_no_image_to_keep(house: InProcess) -> None:
    house.ok("IndexFaces", {"CollectionId": "c", "Image": {"Bytes": image(1, tag=1)}, "ExternalImageId": "again"})
    face_id = house.ok("ListFaces", {"CollectionId": "c"})["Faces"][0]["FaceId"]
    assert len(house.ok("SearchFaces", {"CollectionId": "c", "FaceId": face_id})["FaceMatches"]) == 1
    assert listed(house) == []


def test_the_threshold_that_was_asked_for_decides(house: InProcess) -> None:
    """The second face of an image of two is another's; searched with all faces, one match is enough."""
    house.ok("CreateCollection", {"CollectionId": "second"})
    house.ok("IndexFaces", {"CollectionId": "second", "Image": {"Bytes": image(2)}})
    faces = house.ok("ListFaces", {"CollectionId": "second"})["Faces"]
    house.ok("DeleteFaces", {"CollectionId": "second", "FaceIds": [faces[0]["FaceId"]]})
    params = {"CollectionId": "second", "Image": {"Bytes": image(2)}}
    for number, (threshold, header, kept) in enumerate(
        [(90, "false", False), (90, "true", True), (0, "false", True), (51, "false", False)]
    ):
        house.request_id = f"r-{number}"
        answer = house.call(
            "SearchFacesByImage", params | {"FaceMatchThreshold": threshold}, {"x-countenance-all-faces": header}
        )
        assert answer.status == 200
        assert (f"r-{number}" in listed(house)) == kept
    sound(house)


def test_off_keeps_nothing_and_still_exports_and_erases_what_was_kept(house: InProcess) -> None:
    search(house, "before")
    house.service.samples.keeps = False
    assert search(house, "after").status == 200
    assert listed(house) == ["before"]
    assert "sample" not in entries(house, "SearchFacesByImage")[-1].accounting["details"]
    assert exported(house, "before")["bytes"] == len(image(1))
    assert meeting.retain(house.service.ledger, house.service.samples, days=1, now=NOW + timedelta(days=2)) == 1
    sound(house)


def exported(house: InProcess, request_id: str, reason: str = "case 17/26") -> dict[str, Any]:
    return house.pipeline.administer("sample.export", {"request_id": request_id, "reason": reason})


def test_an_export_gives_the_image_and_is_an_act(house: InProcess) -> None:
    given = image(1, tag=3)
    search(house, "match", given)
    answer = exported(house, "match")
    assert base64.b64decode(answer.pop("image")) == given
    (act,) = entries(house, "sample.export")
    digest = hashlib.sha256(given).hexdigest()
    account = house.account.account_id
    assert answer == {
        "request_id": "match",
        "account_id": account,
        "sha256": digest,
        "bytes": len(given),
        "act": act.accounting["request_id"],
    }
    said = act.accounting
    assert (said["kind"], said["account"], said["access_key"]) == ("act", account, "")
    assert said["details"] == {"exported": "match", "reason": "case 17/26", "bytes": len(given), "by": "host"}
    assert act.person is not None
    assert [each["sha256"] for each in act.person["images"]] == [digest]
    sound(house)


def test_no_image_leaves_without_the_leaf_of_its_export(house: InProcess) -> None:
    search(house, "match")
    writer = house.database._writer
    real = writer._session.connection
    writer._session.connection = Faulty(real, "INSERT INTO log_leaves", "undone", sqlite3.SQLITE_FULL)  # type: ignore[assignment]
    with pytest.raises(Error, match="full"):
        exported(house, "match")
    writer._session.connection = real
    assert entries(house, "sample.export") == []
    assert exported(house, "match")["bytes"] == len(image(1))


@pytest.mark.parametrize("reason", [" ", "x" * 201, "a\nb"])
def test_an_export_without_a_reason_is_refused(house: InProcess, reason: str) -> None:
    search(house, "match")
    with pytest.raises(Error, match="reason"):
        exported(house, "match", reason)
    with pytest.raises(SampleNotFound):
        exported(house, "another")
    assert entries(house, "sample.export") == []


def test_what_is_exported_is_what_the_entry_names(house: InProcess) -> None:
    search(house, "one", image(1, tag=1))
    search(house, "two", image(1, tag=2))
    first, second = files(house)
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    for request_id in ("one", "two"):
        with pytest.raises(SampleCorrupt):
            exported(house, request_id)
    assert entries(house, "sample.export") == []
    problems = house.pipeline.administer("ledger.fsck", {})["problems"]
    assert len(problems) == 2  # the two images differ in length
    first.unlink()
    assert len(house.pipeline.administer("ledger.fsck", {})["problems"]) == 2


def test_a_row_that_vanished_without_a_leaf_is_found(house: InProcess) -> None:
    search(house, "match")
    house.database.maintain(lambda connection: connection.execute("DELETE FROM samples").close())
    assert house.pipeline.administer("ledger.fsck", {})["problems"] == ["1 samples by the log, 0 in the database"]


def test_an_erasure_is_a_public_leaf_with_its_ground_and_its_count(
    house: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "PORTION", 2)
    for number in range(3):
        search(house, f"r-{number}")
    account = house.account.account_id
    words = {"account_id": account, "before": TOMORROW, "ground": "Art. 17 GDPR"}
    today = NOW.strftime("%Y-%m-%d")
    assert house.pipeline.administer("sample.erase", words | {"before": today}) == {"account_id": account, "erased": 0}
    assert house.pipeline.administer("sample.erase", words) == {"account_id": account, "erased": 3}
    said = [(each["class"], each["ground"], each["count"]) for each in leaves(house, "retention")]
    assert said == [("sample", "Art. 17 GDPR", 2), ("sample", "Art. 17 GDPR", 1)]
    with pytest.raises(SampleNotFound):
        exported(house, "r-0")
    (entry, *_) = entries(house, "SearchFacesByImage")
    assert entry.person is not None, "what the log says of the search stays"
    for wrong in ({"before": "soon"}, {"ground": ""}):
        with pytest.raises(AdministrationError):
            house.pipeline.administer("sample.erase", words | wrong)
    with pytest.raises(Error, match="legal ground"):
        house.pipeline.administer("sample.erase", words | {"ground": "x" * 201})
    sound(house)


def test_erasing_persons_erases_the_samples_of_their_entries(house: InProcess) -> None:
    search(house, "match")
    account = house.account.account_id
    words = {"account_id": account, "before": TOMORROW, "ground": "Art. 17 GDPR"}
    answer = house.pipeline.administer("ledger.erase", words)
    assert (answer["erased"], answer["samples"]) == (2, 1)  # of the enrolment and of the search
    assert [each["class"] for each in leaves(house, "retention")] == ["sample", "person"]
    assert files(house) == []
    sound(house)


def test_erasing_somebody_erases_the_samples_of_their_searches_and_of_nobody_elses(house: InProcess) -> None:
    house.ok("IndexFaces", {"CollectionId": "c", "Image": {"Bytes": image(1, tag=1)}, "ExternalImageId": "ann"})
    search(house, "match")
    account = house.account.account_id
    words = {"account_id": account, "ground": "Art. 17 GDPR"}
    answer = house.pipeline.administer("person.erase", {**words, "external_image_id": "nobody"})
    assert (answer["samples"], len(files(house))) == (0, 1)
    answer = house.pipeline.administer("person.erase", {**words, "external_image_id": "ann"})
    assert (answer["references"], answer["samples"]) == (1, 1)
    assert (files(house), listed(house)) == ([], [])
    with pytest.raises(SampleNotFound):
        exported(house, "match")
    sound(house)


def test_a_sample_whose_entry_no_longer_names_its_image_is_not_given_out(house: InProcess) -> None:
    """Only an older version, or a hand, erases the one and not the other."""
    search(house, "match")
    house.database.maintain(
        lambda connection: connection.execute(
            "UPDATE log_openings SET person = NULL, person_salt = NULL, person_hash = zeroblob(32)"
        ).close()
    )
    with pytest.raises(SampleCorrupt, match="does not say which image"):
        exported(house, "match")


def test_a_hold_forbids_erasing_and_spares_from_retention(house: InProcess) -> None:
    search(house, "match")
    account = house.account.account_id
    house.pipeline.administer("ledger.hold", {"account_id": account, "reason": "case 17/26"})
    words = {"account_id": account, "before": TOMORROW, "ground": "Art. 17 GDPR"}
    for verb in ("sample.erase", "ledger.erase"):
        with pytest.raises(HoldInForce, match="case 17/26"):
            house.pipeline.administer(verb, words)
    ledger, kept = house.service.ledger, house.service.samples
    assert meeting.retain(ledger, kept, days=1, now=NOW + timedelta(days=400)) == 0
    assert leaves(house, "retention") == []
    assert exported(house, "match")["bytes"] == len(image(1))
    house.pipeline.administer("ledger.release", {"account_id": account})
    assert meeting.retain(ledger, kept, days=1, now=NOW + timedelta(days=400)) == 1
    sound(house)


def test_retention_takes_what_is_older_in_portions_and_says_so(
    house: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samples, "PORTION", 2)
    clock = [NOW - timedelta(days=200)]
    house.pipeline._clock = lambda: clock[0]
    monkeypatch.setattr(pipeline.sigv4, "verify", lambda *_: None)  # signatures are only good for minutes
    for number in range(5):
        search(house, f"r-{number}")
        clock[0] += timedelta(days=5)
    ledger, kept = house.service.ledger, house.service.samples
    assert meeting.retain(ledger, kept, days=184, now=NOW, stopping=lambda: True) == 0
    assert meeting.retain(ledger, kept, days=184, now=NOW) == 4  # 200, 195, 190 and 185 days old; the last is 180
    assert [(each["ground"], each["count"]) for each in leaves(house, "retention")] == [
        ("retention period of 184 days", 2),
        ("retention period of 184 days", 2),
    ]
    assert listed(house) == ["r-4"]
    assert meeting.retain(ledger, kept, days=184, now=NOW) == 0
    assert len(leaves(house, "retention")) == 2
    sound(house)


def test_a_deleted_collection_leaves_the_samples_of_its_searches(house: InProcess) -> None:
    search(house, "match")
    house.ok("DeleteCollection", {"CollectionId": "c"})
    assert exported(house, "match")["bytes"] == len(image(1))


def test_no_answer_without_the_sample_and_the_refusal_is_recorded(
    house: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def full(handle: int) -> None:
        if "/samples/" in str(Path(f"/proc/self/fd/{handle}").readlink()):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    answer = search(house, "full")
    assert (answer.status, code_of(answer)) == (500, "InternalServerError")
    assert b"FaceMatches" not in answer.body
    assert dict(answer.headers)["x-countenance-receipt"]
    (entry,) = entries(house, "SearchFacesByImage")
    assert (entry.accounting["code"], entry.accounting["units"]) == ("InternalServerError", 0)
    assert "sample" not in entry.accounting["details"]
    house.ok("CreateCollection", {"CollectionId": "empty"})
    house.request_id = "no match"
    params = {"CollectionId": "empty", "Image": {"Bytes": image(1)}}
    assert house.call("SearchFacesByImage", params).status == 200  # nothing has to be kept of it
    monkeypatch.undo()
    assert search(house, "room again").status == 200
    sound(house)


def test_a_reached_limit_is_answered_the_same(house: InProcess) -> None:
    house.service.samples.max_bytes = 2 * len(image(1))
    codes = [code_of(search(house, f"r-{number}")) for number in range(4)]
    assert codes == ["OK", "OK", "InternalServerError", "InternalServerError"]
    assert listed(house) == ["r-0", "r-1"]
    sound(house)


@pytest.mark.parametrize("step", ["SAVEPOINT", "INSERT INTO samples", "INSERT INTO sample_keys", "INSERT INTO log_lea"])
@pytest.mark.parametrize("moment", ["undone", "done"])
def test_a_call_that_cannot_be_recorded_keeps_nothing(house: InProcess, step: str, moment: str) -> None:
    writer = house.database._writer
    real = writer._session.connection
    faulty = Faulty(real, step, moment, sqlite3.SQLITE_FULL)
    writer._session.connection = faulty  # type: ignore[assignment]
    answer = search(house, "failed")
    assert faulty.has_failed
    writer._session.connection = real
    assert (answer.status, code_of(answer)) == (500, "InternalServerError")
    assert "x-countenance-receipt" not in dict(answer.headers)
    assert entries(house, "SearchFacesByImage") == []
    assert files(house) == []
    assert search(house, "next").status == 200
    sound(house)


def test_a_commit_that_took_effect_though_it_failed_has_leaf_and_sample(house: InProcess) -> None:
    writer = house.database._writer
    real = writer._session.connection
    writer._session.connection = Faulty(real, "COMMIT", "done", sqlite3.SQLITE_FULL)  # type: ignore[assignment]
    assert search(house, "doubtful").status == 500
    writer._session.connection = real
    assert listed(house) == ["doubtful"]
    assert exported(house, "doubtful")["bytes"] == len(image(1))
    sound(house)


def test_an_answer_that_cannot_be_worded_takes_its_sample_back(
    house: InProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise Busy("anything that goes wrong after the sample was written")

    with monkeypatch.context() as patched:
        patched.setattr(pipeline.response, "encode", broken)
        assert code_of(search(house, "failed")) == "ThrottlingException"
    assert files(house) == []
    assert listed(house) == []
    assert search(house, "next").status == 200
    sound(house)


def test_an_older_database_brings_no_erased_sample_back(house: InProcess) -> None:
    for name in ("first", "second"):
        assert search(house, name).status == 200
    older = house.database.path.with_name("older.db")
    backup.copy(house.database.path, older)
    house.pipeline.administer(
        "sample.erase", {"account_id": house.account.account_id, "before": TOMORROW, "ground": "Art. 17 GDPR"}
    )
    notes = [json.loads(line) for line in (house.database.path.parent / "erasures").read_text().splitlines()]
    assert [len(each["what"]["files"]) for each in notes] == [2]
    with closing(sqlite3.connect(older)) as connection, connection:
        assert samples.Samples.replay(connection, [each["what"] for each in notes]) == 2
        assert connection.execute("SELECT count(*) FROM samples").fetchone() == (0,)
        keys = connection.execute("SELECT wrapped FROM sample_keys").fetchall()
        assert keys
        assert not any(any(key) for (key,) in keys)
