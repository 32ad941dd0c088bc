"""The move from the embedded file to PostgreSQL: whole, row by row, whatever happens meanwhile."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
import psycopg
import pytest
from tests.congruence.samples import ACCOUNT, World, enrolments, entry, name_id, unit_rows, world

from countenance import relocation
from countenance.ledger import Log, recover
from countenance.ledger.copies import Copies
from countenance.ledger.fsck import examine
from countenance.relocation import Copied, migrate
from countenance.store import DatabaseError, Keyring, SqliteDatabase
from countenance.store.leases import Presence
from countenance.store.postgres import PostgresDatabase

PROBES = unit_rows(5, 16, 99)


def copied(folder: Path, url: str, *, is_owned: bool = True) -> Copied:
    keyring = Keyring.open(folder / "master.key", create=False)
    return relocation.copy(folder / "countenance.db", url, is_owned=is_owned, keyring=keyring, folder=folder)


def enrol(at: World, names: list[str], seed: int = 1) -> None:
    at.gallery.enrol(ACCOUNT, "c", enrolments(names, unit_rows(len(names), 16, seed)), entry=entry())


def answers(at: World) -> list[list[tuple[str, float]]]:
    found = at.gallery.identify(ACCOUNT, "c", PROBES, max_candidates=50)
    return [[(each.reference.face_id, each.comparison_score) for each in one] for one in found]


def filled(at: World) -> Log:
    """A log and a gallery with what moves about: replaced, erased, users, a collection that is gone."""
    log = Log(at.database, at.keyring, at.folder, origin="log.example/moves")
    migrate(at.database)
    at.create()
    at.create("gone")
    enrol(at, [f"n{each}" for each in range(300)])
    enrol(at, ["n3", "n4"], seed=2)
    at.gallery.erase(ACCOUNT, "c", [name_id("n7"), name_id("n299")], entry=entry())
    at.gallery.create_user(ACCOUNT, "c", "ann", at=entry().at, entry=entry(), once=None)
    at.gallery.associate(ACCOUNT, "c", "ann", [name_id("n5")], is_same=lambda _: True, entry=entry(), once=None)
    at.gallery.delete_collection(ACCOUNT, "gone", entry=entry())
    return log


def test_every_row_is_there_and_the_same_answers_are_given(tmp_path: Path, postgres_url: str) -> None:
    with world(tmp_path) as before:
        log = filled(before)
        expected, size, root = answers(before), log.size, log.root(log.size)
        log.publish()
    done = copied(tmp_path, postgres_url)
    assert done.is_whole
    assert done.left == 0
    assert done.leaves == size
    with world(tmp_path, postgres_url=postgres_url) as after:
        assert answers(after) == expected
        moved = Log(after.database, after.keyring, tmp_path)
        assert moved.root(size) == root
        assert moved.size == size + 1  # that it was moved
        assert [each.user_id for each in after.gallery.users(ACCOUNT, "c", after_seq=None, limit=9)] == ["ann"]
        # no uid and no position is given a second time
        after.create("d")
        assert after.gallery.collection(ACCOUNT, "d").uid == 3
        enrol(after, ["another"], seed=5)
        assert name_id("another") in {
            each.face_id for _, each in after.gallery.references(ACCOUNT, "c", after_seq=None, limit=999, face_ids=None)
        }


def test_it_is_taken_up_where_it_was_cut_off_and_writes_only_what_differs(tmp_path: Path, postgres_url: str) -> None:
    with world(tmp_path) as before:
        filled(before)
        first = copied(tmp_path, postgres_url, is_owned=False)
        assert not first.is_whole
        assert first.left == 0
        with psycopg.connect(postgres_url) as connection:  # as if it had been killed, and something else done to it
            connection.execute("DELETE FROM enrolled_references WHERE ref_id % 3 = 0")
            connection.execute("UPDATE log_openings SET accounting = '{}' WHERE idx = 4")
            connection.execute("INSERT INTO log_holds (account, reason) VALUES ('nobody', 'x')")
        enrol(before, ["late"], seed=3)
        before.gallery.erase(ACCOUNT, "c", [name_id("n9")], entry=entry())
        expected = answers(before)
    done = copied(tmp_path, postgres_url)
    assert done.is_whole
    assert 100 < done.written < 140  # a third of 298 references, and what came
    with world(tmp_path, postgres_url=postgres_url) as after:
        assert answers(after) == expected


def test_under_load_what_was_acknowledged_before_the_stop_is_there(tmp_path: Path, postgres_url: str) -> None:
    acknowledged: list[str] = []
    with world(tmp_path) as before:
        filled(before)
        stopping = threading.Event()

        def load() -> None:
            at = 0
            while not stopping.is_set():
                name = f"under load {at}"
                enrol(before, [name], seed=1_000 + at)
                acknowledged.append(name)
                if at % 5 == 4:
                    gone = acknowledged.pop(0)
                    before.gallery.erase(ACCOUNT, "c", [name_id(gone)], entry=entry())
                at += 1

        thread = threading.Thread(target=load)
        thread.start()
        try:
            for _ in range(3):
                assert not copied(tmp_path, postgres_url, is_owned=False).is_whole
        finally:
            stopping.set()
            thread.join()
        expected = answers(before)
    assert copied(tmp_path, postgres_url).is_whole
    assert len(acknowledged) > 20
    with world(tmp_path, postgres_url=postgres_url) as after:
        assert answers(after) == expected
        there = {
            each.face_id
            for _, each in after.gallery.references(ACCOUNT, "c", after_seq=None, limit=9_999, face_ids=None)
        }
        assert {name_id(each) for each in acknowledged} <= there
        log = Log(after.database, after.keyring, tmp_path)
        assert not examine(log).problems


def test_a_target_with_another_log_is_refused(tmp_path: Path, postgres_url: str) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with world(other, postgres_url=postgres_url) as there:
        filled(there)
    with world(tmp_path) as before:
        filled(before)
    with pytest.raises(DatabaseError, match="a log of its own"):
        copied(tmp_path, postgres_url)


def test_what_was_moved_is_not_moved_again(tmp_path: Path, postgres_url: str) -> None:
    with world(tmp_path) as before:
        filled(before)
    assert copied(tmp_path, postgres_url).is_whole
    with pytest.raises(DatabaseError, match="it was moved"):
        copied(tmp_path, postgres_url)


def test_a_target_that_nodes_run_on_is_refused(tmp_path: Path, postgres_url: str) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with world(tmp_path) as before:
        filled(before)
        assert not copied(tmp_path, postgres_url, is_owned=False).is_whole
        shutil.copy2(tmp_path / "master.key", other)
        with world(other, postgres_url=postgres_url) as there:
            Presence(there.database).look()
            there.create("acknowledged")
            with pytest.raises(DatabaseError, match="Nodes answer calls"):
                copied(tmp_path, postgres_url, is_owned=False)
            assert there.gallery.collection(ACCOUNT, "acknowledged").face_count == 0


def test_a_file_of_another_version_is_refused(tmp_path: Path, postgres_url: str) -> None:
    with world(tmp_path) as before:
        filled(before)
        before.database.maintain(
            lambda connection: connection.execute(
                "UPDATE component_versions SET version = 4 WHERE component = 'gallery'"
            )
        )
    with pytest.raises(DatabaseError, match="another version"):
        copied(tmp_path, postgres_url)


def test_logs_that_ended_move_as_well(tmp_path: Path, postgres_url: str) -> None:
    with world(tmp_path) as before:
        filled(before).publish()
    keyring = Keyring.open(tmp_path / "master.key", create=False)
    database = SqliteDatabase(tmp_path / "countenance.db")
    ended = recover.close(database, keyring, tmp_path, Copies(), reason="disk failed")
    Log(database, keyring, tmp_path).publish()
    database.close()
    assert copied(tmp_path, postgres_url).is_whole
    after = PostgresDatabase(tmp_path, postgres_url)
    try:
        log = Log(after, keyring, tmp_path)
        (closed,) = log.storage.closed()
        assert (closed.origin, closed.size) == (ended.origin, ended.size)
        assert len(log.storage.of_closed(closed).leaves(0, closed.size)) == closed.size
    finally:
        after.close()


def test_a_file_that_is_not_there_is_told(tmp_path: Path, postgres_url: str) -> None:
    Keyring.open(tmp_path / "master.key", create=True)
    with pytest.raises(DatabaseError, match="There is no file"):
        copied(tmp_path, postgres_url)


def test_the_probes_find_somebody(tmp_path: Path) -> None:
    """Or the comparisons above would hold of nothing."""
    with world(tmp_path) as before:
        filled(before)
        assert all(len(one) == 50 for one in answers(before))
        assert np.ptp([score for _, score in answers(before)[0]]) > 0
