"""A backup put in place: the log is no shorter than what was signed, and what was erased stays erased."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from countenance_audit.keeping import mirror
from tests.congruence.samples import ACCOUNT, AT, World, enrolments, entry, name_id, unit_rows
from tests.unit.ledger.logs import Opened

from countenance import accounts, assembly, gallery, restoration
from countenance.accounts import AccessKeyNotFound, Accounts
from countenance.config import Settings
from countenance.errors import Error
from countenance.gallery import SqliteGallery
from countenance.ledger import Acts, Log, LogBehind, Opaque, accounting, acts, fsck, person, retention
from countenance.ledger.copies import Copies, RecoveryFailed
from countenance.restoration import Mended, Restored, RestoreFailed, Successor
from countenance.store import Keyring, KeyringError, SqliteDatabase, backup

WHY = "the disk failed"


class House(World):
    """A gallery, accounts and a log on one database."""

    log: Log
    accounts: Accounts


@contextmanager
def house(folder: Path, origin: str | None = "log.example/house") -> Iterator[House]:
    keyring = Keyring.open(folder / "master.key", create=not (folder / "countenance.db").exists())
    database = SqliteDatabase(folder / "countenance.db")
    gallery = None
    try:
        log = Log(database, keyring, folder, origin=origin)
        restoration.replay_erasures(database, log)
        gallery = SqliteGallery(database, keyring)
        made = House(folder, database, keyring, gallery)
        made.log, made.accounts = log, Accounts(database, keyring, Acts(log.storage).granted)
        yield made
        log.publish()
    finally:
        if gallery is not None:
            gallery.close()
        database.close()


def enrol(at: House, names: list[str], collection: str = "c") -> None:
    rows = unit_rows(len(names), 16, len(names))
    at.gallery.enrol(
        ACCOUNT, collection, enrolments(names, rows), entry=entry().with_details({"collection_id": collection})
    )


def erase(at: House, names: list[str], collection: str = "c") -> None:
    wanted = [name_id(name) for name in names]
    at.gallery.erase(
        ACCOUNT, collection, wanted, entry=entry("DeleteFaces").with_details({"collection_id": collection})
    )


def names_in(at: House, collection: str = "c") -> list[str]:
    found = at.gallery.references(ACCOUNT, collection, after_seq=None, limit=1000, face_ids=None)
    return [reference.face_id for _, reference in found]


def differing(at: House) -> list[str]:
    """In what the database is not what the entries say."""
    with at.database.reading(snapshot=True) as connection:
        there = accounts.held(connection) | gallery.held(connection) | retention.holds(connection)
    return [str(each) for each in acts.differences(acts.replayed(at.log), there)]


def restore(folder: Path, source: Path, **more: Any) -> Restored:
    copies = more.pop("copies", Copies())
    return restoration.restore(folder, source, copies, reason=WHY, **more)


@pytest.fixture
def backed_up(tmp_path: Path) -> Path:
    """A data folder after a year: a backup from its middle beside it (backup.db), and erasures since."""
    folder = tmp_path / "data"
    folder.mkdir()
    with house(folder) as at:
        for name in ("c", "gone"):
            at.create(name)
        enrol(at, ["ann", "ben", "cid"])
        enrol(at, ["dee"], "gone")
        account = at.accounts.create_account("front desk", request_id="r", at=AT)
        kept = at.accounts.create_key(account.account_id, request_id="r", at=AT)
        revoked = at.accounts.create_key(account.account_id, request_id="r", at=AT)
        at.accounts.grant_bucket(account.account_id, "badges", request_id="r", at=AT)
        call = accounting(kind="call", time=1, operation="DetectFaces", request_id="c", account=ACCOUNT)
        at.log.append(Opaque(call | {"request": "00" * 32, "response": "11" * 32}, person(names=["Ada"])))
        (tmp_path / "keys").write_text(f"{kept.key.access_key_id} {revoked.key.access_key_id} {account.account_id}")
        backup.copy(at.database.path, tmp_path / "backup.db")
        erase(at, ["ben"])
        enrol(at, ["eve"])
        at.gallery.delete_collection(
            ACCOUNT, "gone", entry=entry("DeleteCollection").with_details({"collection_id": "gone"})
        )
        at.accounts.revoke_key(revoked.key.access_key_id, request_id="r", at=AT)
        at.accounts.revoke_bucket(account.account_id, "badges", request_id="r", at=AT)
        retention.erase_persons(at.log, account=ACCOUNT, before_us=2**53 - 1, ground="Art. 17 GDPR")
    return folder


def check_erased(folder: Path, **more: Any) -> None:
    """What was erased after the backup is gone; what was there before it and not erased is there."""
    kept, revoked, account = (folder.parent / "keys").read_text().split()
    with house(folder, **more) as at:
        assert names_in(at) == [name_id("ann"), name_id("cid")]
        with pytest.raises(Error):
            at.gallery.collection(ACCOUNT, "gone")
        assert at.accounts.credentials(kept)
        with pytest.raises(AccessKeyNotFound):
            at.accounts.credentials(revoked)
        assert at.accounts.bucket_grants(account) == []
        persons = [opening.person for _, opening in at.log.storage.openings(0, at.log.size)]
        assert not [each for each in persons if each and each["names"]]


def test_with_the_present_database_nothing_of_the_log_is_lost(backed_up: Path) -> None:
    with house(backed_up) as at:
        size = at.log.size
    done = restore(backed_up, backed_up.parent / "backup.db")
    assert done.mended.refilled is not None
    assert (done.mended.refilled.size, done.mended.refilled.lost) == (size, 0)
    assert done.mended.replayed == {"references": 1, "collection": 1, "key": 1, "bucket": 1, "persons": 1}
    assert [(each.thing, each.state) for each in done.mended.differences] == [
        (("collection", ACCOUNT, "c"), "changed")  # eve was enrolled after the backup, and is lost
    ]
    assert done.kept is not None
    assert done.kept.exists()
    check_erased(backed_up)
    with house(backed_up) as at:
        found = fsck.examine(at.log)
        assert found.problems == []
        assert found.references == 2
        assert acts.replayed(at.log)["collection", ACCOUNT, "c"] == {"references": 2}
        assert differing(at) == []


def test_after_a_lost_disk_a_mirror_and_the_two_files_kept_apart_do(backed_up: Path, tmp_path: Path) -> None:
    with house(backed_up) as at:
        reader = Opened.__new__(Opened)
        reader.log = at.log
        at.log.publish()
        mirror(reader.fetch, tmp_path / "mirror", reader.policy())
        size = at.log.size
    new = tmp_path / "new"
    new.mkdir()
    for name in ("master.key", "erasures", "high-water"):
        shutil.copy(backed_up / name, new / name)
    with pytest.raises(RecoveryFailed, match=f"is over {size} leaves"):
        restore(new, tmp_path / "backup.db")
    assert not (new / "countenance.db").exists()
    assert not (new / "restoring").exists()
    done = restore(new, tmp_path / "backup.db", copies=Copies(mirrors=[str(tmp_path / "mirror")]))
    assert done.mended.refilled is not None
    assert done.mended.refilled.lost > 0
    check_erased(new)
    with house(new) as at:
        found = fsck.examine(at.log)
        assert found.problems == []
        assert found.references == len(names_in(at))


def test_without_copies_the_log_is_given_up_and_the_next_one_names_it(backed_up: Path, tmp_path: Path) -> None:
    (backed_up / "countenance.db").write_bytes(b"")
    done = restore(backed_up, tmp_path / "backup.db", successor=Successor("log.example/second"))
    assert isinstance(done.mended, Mended)
    assert done.mended.closed is not None
    assert done.mended.closed.origin == "log.example/house"
    check_erased(backed_up, origin="log.example/second")
    with house(backed_up, origin="log.example/second") as at:
        assert acts.replayed(at.log)["collection", ACCOUNT, "c"] == {"references": 2}
        assert differing(at) == []


def test_a_copy_put_there_by_hand_is_red_and_then_erases_again(backed_up: Path, tmp_path: Path) -> None:
    shutil.copy(backed_up / "countenance.db", tmp_path / "newest.db")
    shutil.copy(tmp_path / "backup.db", backed_up / "countenance.db")
    with pytest.raises(LogBehind), house(backed_up):
        pass
    restoration.mend(backed_up, Copies(databases=[tmp_path / "newest.db"]), reason=WHY)
    check_erased(backed_up)  # the start erased again


def test_what_is_enrolled_again_after_a_restore_stays(backed_up: Path, tmp_path: Path) -> None:
    restore(backed_up, tmp_path / "backup.db")
    with house(backed_up) as at:
        enrol(at, ["ben"])
    with house(backed_up) as at:
        assert name_id("ben") in names_in(at)


@pytest.mark.parametrize("wrong", ["noise", "database", "key", "no key"])
def test_what_cannot_be_put_in_place_changes_nothing(backed_up: Path, tmp_path: Path, wrong: str) -> None:
    source = tmp_path / "backup.db"
    if wrong == "noise":
        source.write_bytes(b"noise" * 1000)
    elif wrong == "database":
        source.unlink()
        SqliteDatabase(source).close()
    elif wrong == "key":
        (backed_up / "master.key").unlink()
        Keyring.open(backed_up / "master.key", create=True)
    else:
        (backed_up / "master.key").unlink()
    before = (backed_up / "countenance.db").read_bytes()
    expected = KeyringError if wrong == "key" else RestoreFailed if wrong in ("no key", "database") else Error
    with pytest.raises(expected):
        restore(backed_up, source)
    assert (backed_up / "countenance.db").read_bytes() == before
    assert not (backed_up / "restoring").exists()


def test_the_moment_of_the_restore_is_an_entry(backed_up: Path, tmp_path: Path) -> None:
    before = int(datetime.now(UTC).timestamp())
    restore(backed_up, tmp_path / "backup.db")
    with house(backed_up) as at:
        entries = [
            opening.accounting
            for _, opening in at.log.storage.openings(0, at.log.size)
            if opening.accounting["operation"] == "backup.restore"
        ]
    assert [each["kind"] for each in entries] == ["effect", "act"]
    assert entries[0]["details"] == {"collection_id": "c", "removed": 1, "reason": WHY}
    assert entries[1]["details"]["reason"] == WHY
    assert entries[1]["end"] // 1_000_000 >= before


def test_what_was_erased_comes_out_though_the_file_of_erasures_lagged(backed_up: Path, tmp_path: Path) -> None:
    (backed_up / "erasures").unlink()
    done = restore(backed_up, tmp_path / "backup.db")
    assert done.mended.replayed == {"references": 1, "collection": 1, "key": 1, "bucket": 1, "persons": 1}
    check_erased(backed_up)
    assert len((backed_up / "erasures").read_text().splitlines()) == 5


def test_a_hold_stays_in_force_and_what_it_protects_is_not_erased(
    backed_up: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It came between two portions of an erasure: the first is erased again, and nothing more."""
    monkeypatch.setattr(retention, "PORTION", 2)
    with house(backed_up) as at:
        call = accounting(kind="call", time=1, operation="DetectFaces", request_id="c", account=ACCOUNT)
        for name in ("Bea", "Cal", "Dan", "Eli", "Flo"):
            at.log.append(Opaque(call | {"request": "00" * 32, "response": "11" * 32}, person(names=[name])))
        at.log.publish()
        backup.copy(at.database.path, tmp_path / "later.db")
        write = at.log.write

        def held_meanwhile(work: Any, said: Any) -> Any:
            monkeypatch.setattr(at.log, "write", write)
            done = write(work, said)
            retention.hold(at.log, account=ACCOUNT, reason="court")
            return done

        monkeypatch.setattr(at.log, "write", held_meanwhile)
        with pytest.raises(retention.HoldInForce):
            retention.erase_persons(at.log, account=ACCOUNT, before_us=2**53 - 1, ground="Art. 17 GDPR")
    done = restore(backed_up, tmp_path / "later.db")
    assert done.mended.replayed == {"persons": 2}
    assert [(each.thing, each.state) for each in done.mended.differences] == [(("hold", ACCOUNT), "carried over")]
    with house(backed_up) as at:
        persons = [opening.person for _, opening in at.log.storage.openings(0, at.log.size) if opening.person]
        assert [each["names"] for each in persons] == [["Cal"], ["Dan"], ["Eli"], ["Flo"]][1:]
        assert differing(at) == []
        assert fsck.examine(at.log).problems == []
        with pytest.raises(retention.HoldInForce, match="court"):
            retention.erase_persons(at.log, account=ACCOUNT, before_us=2**53 - 1, ground="Art. 17 GDPR")
        retention.release(at.log, account=ACCOUNT)
        assert differing(at) == []


def test_every_account_key_and_grant_that_is_lost_is_told(backed_up: Path, tmp_path: Path) -> None:
    with house(backed_up) as at:
        account = at.accounts.create_account("back office", request_id="r", at=AT).account_id
        key = at.accounts.create_key(account, request_id="r", at=AT).key.access_key_id
        at.accounts.grant_bucket(account, "badges", request_id="r", at=AT)
    done = restore(backed_up, tmp_path / "backup.db")
    lost = {each.thing for each in done.mended.differences if each.state == "lost"}
    assert lost == {("account", account), ("key", key), ("bucket", account, "badges")}


def test_a_recovery_too_says_what_was_lost_and_keeps_holds(backed_up: Path, tmp_path: Path) -> None:
    with house(backed_up) as at:
        shutil.copy(at.database.path, tmp_path / "before.db")
        at.database.truncate_wal()
        shutil.copy(at.database.path, tmp_path / "before.db")
        retention.hold(at.log, account=ACCOUNT, reason="court")
        account = at.accounts.create_account("back office", request_id="r", at=AT).account_id
    (backed_up / "countenance.db").rename(tmp_path / "newest.db")
    shutil.copy(tmp_path / "before.db", backed_up / "countenance.db")
    done = restoration.mend(backed_up, Copies(databases=[tmp_path / "newest.db"]), reason=WHY)
    assert {(each.thing, each.state) for each in done.differences} == {
        (("hold", ACCOUNT), "carried over"),
        (("account", account), "lost"),
    }
    with house(backed_up) as at:
        assert differing(at) == []
        assert retention.held(at.database.read()) == [ACCOUNT]
    assert restoration.mend(backed_up, Copies(), reason=WHY).differences == []


def test_a_difference_of_a_log_that_lacks_nothing_is_not_explained_away(backed_up: Path) -> None:
    with house(backed_up) as at:
        at.database.maintain(
            lambda connection: connection.execute("INSERT INTO log_holds VALUES ('999999999999', 'forged')").close()
        )
    assert restoration.mend(backed_up, Copies(), reason=WHY).differences == []
    with house(backed_up) as at:
        assert differing(at) == ["hold 999999999999: it is there, and no entry explains it"]


def test_what_a_write_ahead_log_beside_the_backup_has_belongs_to_it(backed_up: Path, tmp_path: Path) -> None:
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    with house(backed_up) as at:
        at.database.truncate_wal()
        enrol(at, ["fay"])
        at.log.publish()
        for name in ("countenance.db", "countenance.db-wal"):
            shutil.copy(backed_up / name, snapshot / name)
    done = restore(backed_up, snapshot / "countenance.db")
    assert done.mended.differences == []
    with house(backed_up) as at:
        assert name_id("fay") in names_in(at)


@pytest.mark.parametrize("verb", ["restore", "recover", "on the host"])
def test_nothing_is_added_or_signed_before_mirrors_were_asked(backed_up: Path, tmp_path: Path, verb: str) -> None:
    with house(backed_up) as at:
        reader = Opened.__new__(Opened)
        reader.log = at.log
        at.log.publish()
        mirror(reader.fetch, tmp_path / "mirror", reader.policy())
        size = at.log.size
    new = tmp_path / "new"
    new.mkdir()
    shutil.copy(backed_up / "master.key", new / "master.key")
    settings = Settings(data_dir=new, ledger_origin="log.example/house", ledger_mirrors=(str(tmp_path / "mirror"),))
    if verb == "restore":
        restored = assembly.restore(settings, tmp_path / "backup.db", Copies(), reason=WHY)
        assert restored.mended.refilled is not None
        assert restored.mended.refilled.size == size
        return
    shutil.copy(tmp_path / "backup.db", new / "countenance.db")
    if verb == "recover":
        assert assembly.recover(settings, Copies(), reason=WHY).size > size
        return
    before = leaves_in(new)
    with pytest.raises(LogBehind, match="at the mirror"), assembly.open_admin(settings):
        pass
    assert leaves_in(new) == before
    assert not (new / "high-water").exists()


def test_copies_that_end_before_what_a_mirror_or_witness_saw_are_not_enough(backed_up: Path, tmp_path: Path) -> None:
    def saw_more(log: Log) -> None:
        raise LogBehind("it saw more")

    with pytest.raises(LogBehind):
        restore(backed_up, tmp_path / "backup.db", outside=saw_more)
    check_erased_not_yet(backed_up)


def leaves_in(folder: Path) -> tuple[int, int]:
    connection = sqlite3.connect(folder / "countenance.db")
    try:
        (leaves,) = connection.execute("SELECT count(*) FROM log_leaves").fetchone()
        (notes,) = connection.execute("SELECT count(*) FROM log_checkpoints").fetchone()
    finally:
        connection.close()
    return leaves, notes


def check_erased_not_yet(folder: Path) -> None:
    """The database is still the newest one."""
    with house(folder) as at:
        assert name_id("eve") in names_in(at)
        assert differing(at) == []


def test_what_a_killed_restore_staged_is_removed_at_the_next_start(backed_up: Path) -> None:
    (backed_up / "restoring").mkdir()
    (backed_up / "restoring" / "countenance.db").write_bytes(b"everything")
    with assembly.open_admin(Settings(data_dir=backed_up)):
        pass
    assert not (backed_up / "restoring").exists()


def test_what_a_killed_backup_left_is_removed_by_the_next_to_the_same_place(tmp_path: Path) -> None:
    target, others = tmp_path / "today.db", tmp_path / "mine.db.12345678.partial"
    left = tmp_path / "today.db.12345678.partial"
    for each in (left, others):
        each.write_bytes(b"everything")
    with assembly.open_admin(Settings(data_dir=tmp_path / "data")) as register:
        said = register.administer("backup.create", {"path": str(target)})
    assert (target.exists(), left.exists(), others.exists()) == (True, False, True)
    assert said["sha256"] == backup.sha256(target)


def test_crops_that_were_erased_stay_erased_with_and_without_their_face(tmp_path: Path) -> None:
    folder, crop = tmp_path / "data", np.zeros((112, 112, 3), np.uint8)
    folder.mkdir()

    def crops(at: House, collection: str) -> int:
        return len(at.gallery.unstaged(ACCOUNT, collection, "other", limit=99))

    def enrol_with_crops(at: House, names: list[str], collection: str) -> None:
        faces = [replace(each, crop=crop) for each in enrolments(names, unit_rows(len(names), 16, 1))]
        at.gallery.enrol(ACCOUNT, collection, faces, entry=entry().with_details({"collection_id": collection}))

    with house(folder) as at:
        for name in ("c", "d"):
            at.create(name)
            enrol_with_crops(at, ["ann", "ben"], name)
        backup.copy(at.database.path, tmp_path / "backup.db")
        erase(at, ["ben"])
        assert at.gallery.forget_crops(ACCOUNT, "d", entry=entry("crops.erase")) == 2
        enrol_with_crops(at, ["cid"], "d")
    done = restore(folder, tmp_path / "backup.db")
    assert done.mended.replayed == {"references": 1, "crops": 2}
    with house(folder) as at:
        assert (crops(at, "c"), crops(at, "d")) == (1, 0)
        assert names_in(at, "d") == [name_id("ann"), name_id("ben")]
        assert differing(at) == []
