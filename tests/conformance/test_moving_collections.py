"""Collections in and out of archives: what goes with them, who does not come back, and what is on record of it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from countenance.errors import Error
from countenance.gallery import CollectionExists, CollectionNotFound, SqliteGallery
from countenance.operations import archive
from countenance.operations.archive import ArchiveError, Derivation, Opening, Sealing
from countenance.operations.instruction import AdministrationError
from tests.conformance.in_process import InProcess, ScriptedEngine, service_in

C = "people"
PASSWORD = "sixteen tigers eat plums"


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """The least work for a key: what it costs to guess a password is not what is tested here."""
    monkeypatch.setattr(archive, "MEMORY_KIB", 64)
    monkeypatch.setattr(archive, "PASSES", 1)


@pytest.fixture
def here(tmp_path: Path) -> Iterator[InProcess]:
    (tmp_path / "here").mkdir()
    with service_in(tmp_path / "here", ScriptedEngine()) as made:
        made.ok("CreateCollection", {"CollectionId": C, "Tags": {"site": "north"}})
        for number, name in enumerate(("ann", "ben", "cy"), 2):
            image = {"Bytes": f"faces: {number}".encode()}
            answer = made.ok("IndexFaces", {"CollectionId": C, "Image": image, "ExternalImageId": name, "MaxFaces": 1})
            face_id = answer["FaceRecords"][0]["Face"]["FaceId"]
            made.ok("CreateUser", {"CollectionId": C, "UserId": f"user-{name}"})
            made.ok("AssociateFaces", {"CollectionId": C, "UserId": f"user-{name}", "FaceIds": [face_id]})
        yield made


@pytest.fixture
def there(tmp_path: Path) -> Iterator[InProcess]:
    (tmp_path / "there").mkdir()
    with service_in(tmp_path / "there", ScriptedEngine()) as made:
        yield made


def do(house: InProcess, verb: str, **params: Any) -> dict[str, Any]:
    return house.pipeline.administer(verb, params)


def exported(house: InProcess, path: Path, **params: Any) -> dict[str, Any]:
    return do(house, "collection.export", collection_id=C, path=str(path), password=PASSWORD, **params)


def imported(house: InProcess, path: Path, **params: Any) -> dict[str, Any]:
    return do(house, "collection.import", path=str(path), password=PASSWORD, **params)


def faces(house: InProcess, collection: str = C) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = house.ok("ListFaces", {"CollectionId": collection})["Faces"]
    return found


def acts(house: InProcess, *operations: str) -> list[dict[str, Any]]:
    log = house.service.ledger.log
    said = [opening.accounting for _, opening in log.storage.openings(0, log.size)]
    return [each for each in said if each["kind"] == "act" and each["operation"] in operations]


def lines_of(path: Path) -> list[bytes]:
    with path.open("rb") as file:
        return list(Opening(file, PASSWORD).lines())


def written(path: Path, lines: list[bytes]) -> Path:
    """An archive of whoever knows the password and writes what no server does; its last line is of what precedes it."""
    body = b"".join(each + b"\n" for each in lines[:-1])
    old = hashlib.sha256(b"").hexdigest().encode()
    with path.open("wb") as out:
        sealing = Sealing(out, PASSWORD, Derivation(8, 1, 1, bytes(32)))
        sealing.write(body + lines[-1].replace(old, hashlib.sha256(body).hexdigest().encode()) + b"\n")
        sealing.finish()
    return path


def nothing_arrived(house: InProcess) -> bool:
    """No collection, and no row of one, whoever's."""
    gallery = house.service.gallery
    assert isinstance(gallery, SqliteGallery)
    gallery.finish_deletions()
    connection = house.database.read()
    counts = [
        connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        for table in ("collections", "enrolled_references", "collection_users", "collection_tags")
    ]
    return counts == [0, 0, 0, 0]


def test_a_collection_moves_whole_and_both_sides_are_on_record(
    here: InProcess, there: InProcess, tmp_path: Path
) -> None:
    path = tmp_path / "archive"
    do(here, "retention.set", account_id=here.account.account_id, collection_id=C, days=90)
    signed = {"evidence_sha256": "ab" * 32, "until": "2090-01-01", "purpose": "testing"}
    do(here, "consent.record", account_id=here.account.account_id, external_image_id="ann", **signed)
    made = exported(here, path)
    assert (made["faces"], made["users"], made["consents"]) == (3, 3, 1)
    moved = imported(there, path)
    assert (moved["faces"], moved["users"], moved["consents"], moved["retention_days"]) == (3, 3, 1, 90)
    assert moved["from"]["account_id"] == here.account.account_id
    assert faces(there) == faces(here)
    assert there.ok("ListTagsForResource", {"ResourceArn": there.arn(C)})["Tags"] == {"site": "north"}
    released = do(there, "consent.list", account_id=there.account.account_id, external_image_id="ann")["consents"]
    assert [each["purpose"] for each in released] == ["testing"]
    (out,) = acts(here, "collection.export")
    assert out["details"] | {"by": "host", "faces": 3, "sha256": made["sha256"]} == out["details"]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == made["sha256"] == moved["sha256"]
    (into,) = acts(there, "collection.import")
    assert into["account"] == there.account.account_id
    assert into["details"] | {"collection_id": C, "added": 3, "refused": 0, "sha256": made["sha256"]} == into["details"]
    for house in (here, there):
        assert do(house, "ledger.fsck")["problems"] == []
        assert PASSWORD.encode() not in b"".join(each.read_bytes() for each in house.database.path.parent.glob("*.db*"))


def test_a_release_that_was_taken_back_here_stays_so(here: InProcess, there: InProcess, tmp_path: Path) -> None:
    signed = {"evidence_sha256": "ab" * 32, "until": "2090-01-01", "purpose": "testing", "external_image_id": "ann"}
    for house in (here, there):
        do(house, "consent.record", account_id=house.account.account_id, **signed)
    do(
        there,
        "consent.withdraw",
        account_id=there.account.account_id,
        external_image_id="ann",
        purpose="testing",
    )
    exported(here, tmp_path / "archive")
    moved = imported(there, tmp_path / "archive")
    assert (moved["consents"], moved["left_out"]["consents"]) == (0, 1)
    assert there.service.governance.consents(there.account.account_id)[0][2] == 0


def test_who_was_erased_does_not_come_back_and_that_is_told(here: InProcess, tmp_path: Path) -> None:
    path, before = tmp_path / "archive", faces(here)
    exported(here, path)
    account = here.account.account_id
    do(here, "person.erase", account_id=account, external_image_id="ann", ground="Art. 17 GDPR")
    do(here, "person.erase", account_id=account, external_image_id="user-cy", ground="Art. 17 GDPR")
    here.ok("DeleteCollection", {"CollectionId": C})
    moved = imported(here, path)
    assert [each["ExternalImageId"] for each in faces(here)] == ["ben"]
    assert moved["left_out"]["erased_persons"] == {"count": 2, "face_ids": [before[0]["FaceId"], before[2]["FaceId"]]}
    assert moved["left_out"]["users"] == 2
    assert [each["UserId"] for each in here.ok("ListUsers", {"CollectionId": C})["Users"]] == ["user-ben"]
    assert acts(here, "collection.import")[0]["details"]["refused"] == 2
    renamed = imported(here, path, **{"as": "elsewhere"})  # a person's erasure is of the whole account
    assert renamed["faces"] == 1
    assert do(here, "ledger.fsck")["problems"] == []


def test_faces_that_were_deleted_do_not_come_back_under_the_same_name(here: InProcess, tmp_path: Path) -> None:
    path, (ann, *_) = tmp_path / "archive", faces(here)
    exported(here, path)
    here.ok("DisassociateFaces", {"CollectionId": C, "UserId": "user-ann", "FaceIds": [ann["FaceId"]]})
    here.ok("DeleteFaces", {"CollectionId": C, "FaceIds": [ann["FaceId"]]})
    here.ok("DeleteCollection", {"CollectionId": C})
    moved = imported(here, path)
    assert moved["left_out"]["erased_faces"] == {"count": 1, "face_ids": [ann["FaceId"]]}
    assert moved["left_out"]["users"] == 1
    assert [each["ExternalImageId"] for each in faces(here)] == ["ben", "cy"]


def test_nothing_is_imported_while_somebody_is_erased(here: InProcess, there: InProcess, tmp_path: Path) -> None:
    exported(here, tmp_path / "archive")
    with (
        there.service.governance.progress.erasing(there.account.account_id, "zed"),
        pytest.raises(Error, match="erased meanwhile"),
    ):
        imported(there, tmp_path / "archive")
    assert nothing_arrived(there)


def test_a_collection_that_is_there_is_not_touched(here: InProcess, tmp_path: Path) -> None:
    exported(here, tmp_path / "archive")
    before = faces(here)
    with pytest.raises(CollectionExists, match="already"):
        imported(here, tmp_path / "archive")
    assert faces(here) == before
    assert acts(here, "collection.import") == []
    with pytest.raises(AdministrationError, match="exists already"):
        exported(here, tmp_path / "archive")
    with pytest.raises(CollectionNotFound):
        do(here, "collection.export", collection_id="none", path=str(tmp_path / "none"), password=PASSWORD)
    assert list(tmp_path.glob("none*")) == []


def test_templates_of_another_model_are_refused(here: InProcess, there: InProcess, tmp_path: Path) -> None:
    exported(here, tmp_path / "archive")
    there.service.engine.model_version = "scripted-2"
    with pytest.raises(AdministrationError, match="scripted-1, and this server runs scripted-2"):
        imported(there, tmp_path / "archive")
    assert nothing_arrived(there)


def test_what_no_server_writes_leaves_nothing_behind(here: InProcess, there: InProcess, tmp_path: Path) -> None:
    exported(here, tmp_path / "archive")
    lines = lines_of(tmp_path / "archive")
    told = hashlib.sha256(b"".join(each + b"\n" for each in lines[:-1])).hexdigest().encode()
    lines[-1] = lines[-1].replace(told, hashlib.sha256(b"").hexdigest().encode())
    assert imported(there, written(tmp_path / "same", lines), **{"as": "control"})["faces"] == 3
    there.ok("DeleteCollection", {"CollectionId": "control"})
    first_face = next(at for at, each in enumerate(lines) if each.startswith(b'{"face"'))
    harmed = {
        "a face twice": [*lines[:-1], lines[first_face], lines[-1].replace(b'"faces":3', b'"faces":4')],
        "a face fewer": [*lines[:first_face], *lines[first_face + 1 :]],
        "no end": lines[:-1],
        "two ends": [*lines, lines[-1]],
        "an unknown kind": [*lines[:-1], b'{"secret":{}}', lines[-1]],
        "not an object": [*lines[:-1], b"[]", lines[-1]],
        "another user": [each.replace(b'"user_id":"user-ann","box"', b'"user_id":"zed","box"') for each in lines],
        "no uuid": [each.replace(b'{"face_id":"', b'{"face_id":"x') for each in lines],
        "a name that cannot be one": [each.replace(b'"ann"', b'"a nn"') for each in lines],
        "a box of nothing": [each.replace(b'"box":[', b'"box":[1e400,') for each in lines],
        "a template of another size": [each.replace(b'"dimension":8', b'"dimension":4') for each in lines],
        "too much time": [each.replace(b'"enrolled_us":', b'"enrolled_us":999999') for each in lines],
    }
    harmed["a template of length 0"] = [
        each[: each.index(b'"template":"') + 12] + b"AAAAAAAAAAAAAAAAAAAAAA==" + b'"}}'
        if b'"template"' in each
        else each
        for each in lines
    ]
    for what, harm in harmed.items():
        with pytest.raises(Error, match=r"archive|A |user|template"):
            imported(there, written(tmp_path / what.replace(" ", "-"), harm))
    assert nothing_arrived(there)
    assert len(acts(there, "collection.import")) == 1
    with pytest.raises(ArchiveError, match="does not open with this password"):
        do(there, "collection.import", path=str(tmp_path / "archive"), password="another password of mine")


def test_what_a_crash_left_of_an_import_is_gone_after_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    with service_in(folder, ScriptedEngine()) as house:
        made = house.service.gallery.arriving(
            house.account.account_id, C, model_version="scripted-1", dimension=8, created_at=datetime.now(UTC)
        )
        arriving = made.__enter__()
        monkeypatch.setattr(arriving, "give_up", lambda: False)  # a process that is killed does not tidy up
        arriving.add_users([("ann", datetime.now(UTC))])
        assert house.ok("ListCollections", {})["CollectionIds"] == []
        assert do(house, "ledger.fsck")["problems"] == []
        count = house.database.read().execute("SELECT count(*) FROM collection_users").fetchone()[0]
        assert count == 1
        house.service.gallery.close()
        again = SqliteGallery(house.database, house.service.gallery._keyring)  # type: ignore[attr-defined]
        again.finish_deletions()
        again.close()
        assert nothing_arrived(house)


def test_short_passwords_and_relative_paths_are_refused(here: InProcess, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="fewer than"):
        do(here, "collection.export", collection_id=C, path=str(tmp_path / "archive"), password="short")
    with pytest.raises(AdministrationError, match="not absolute"):
        do(here, "collection.export", collection_id=C, path="archive", password=PASSWORD)
    with pytest.raises(AdministrationError, match="cannot be written"):
        exported(here, tmp_path / "no folder" / "archive")
    with pytest.raises(AdministrationError, match="cannot be read"):
        imported(here, tmp_path / "nothing")
    assert acts(here, "collection.export", "collection.import") == []
