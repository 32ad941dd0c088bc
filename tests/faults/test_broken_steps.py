"""Every step of a write broken once, before it was done and after: effect and record stay together.

After each failure: the change is wholly there or wholly absent, its outbox row exists exactly when it does,
the index agrees with the store, and either the next write works or writing is refused until a restart, which
finds a sound database.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from countenance.gallery.index import FaissIndex
from countenance.store import AfterCommitError, DatabaseError, SqliteDatabase
from tests.congruence.samples import ACCOUNT, World, enrolments, entry, name_id, unit_rows, world

ROWS = unit_rows(9, 16, 1)


class Faulty:
    """A connection on which the first statement with a given beginning fails, undone or done."""

    def __init__(self, real: Any, beginning: str, moment: str, code: int) -> None:
        self._real, self._beginning, self._moment, self._code = real, beginning, moment, code
        self.has_failed = False

    def _fail(self) -> None:
        self.has_failed = True
        failure = sqlite3.OperationalError("injected")
        failure.sqlite_errorcode = self._code
        failure.sqlite_errorname = "INJECTED"
        raise failure

    def _call(self, name: str, sql: str, *rest: Any) -> Any:
        is_due = not self.has_failed and sql.lstrip().startswith(self._beginning)
        if is_due and self._moment == "undone":
            self._fail()
        result = getattr(self._real, name)(sql, *rest)
        if is_due:
            result.close()  # done is done: a statement that is open still would hold the transaction
            self._fail()
        return result

    def execute(self, sql: str, *rest: Any) -> Any:
        return self._call("execute", sql, *rest)

    def executemany(self, sql: str, *rest: Any) -> Any:
        return self._call("executemany", sql, *rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def images_stored(opened: World) -> set[str]:
    found = opened.gallery.references(ACCOUNT, "c", after_seq=None, limit=1000, face_ids=None)
    counts: dict[str, int] = {}
    for _, each in found:
        counts[each.external_image_id or ""] = counts.get(each.external_image_id or "", 0) + 1
    assert set(counts.values()) <= {3}, "an image is half there"
    assert opened.gallery.collection(ACCOUNT, "c").face_count == len(found)
    return set(counts)


def images_recorded(opened: World) -> set[str]:
    return {each.request_id for _, each in opened.database.pending_outbox(100) if each.operation == "IndexFaces"}


def images_found(opened: World) -> set[str]:
    found = opened.gallery.identify(ACCOUNT, "c", ROWS, max_candidates=1)
    return {each[0].reference.external_image_id or "" for each in found if each and each[0].comparison_score > 0.999}


def enrol(opened: World, image: int) -> None:
    opened.gallery.enrol(
        ACCOUNT,
        "c",
        enrolments(
            [(image, face) for face in range(3)],
            ROWS[image * 3 : image * 3 + 3],
            image_id=name_id(f"image {image}"),
            external_image_id=str(image),
        ),
        entry=entry("IndexFaces", request_id=str(image)),
    )


STEPS = [
    "BEGIN",
    "SAVEPOINT",
    "INSERT INTO enrolled_references",
    "UPDATE collections",
    "INSERT INTO outbox",
    "RELEASE",
    "COMMIT",
]


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR])
@pytest.mark.parametrize("moment", ["undone", "done"])
@pytest.mark.parametrize("step", STEPS)
def test_a_broken_step_leaves_all_or_nothing(tmp_path: Path, step: str, moment: str, code: int) -> None:
    with world(tmp_path) as opened:
        opened.create()
        enrol(opened, 0)
        assert images_found(opened) == {"0"}
        opened.gallery._sweeper.wait()  # it looks once at the start, and must not meet the fault
        real = opened.database._writer._session.connection
        faulty: Any = Faulty(real, step, moment, code)
        opened.database._writer._session.connection = faulty
        with pytest.raises(DatabaseError):
            enrol(opened, 1)
        assert faulty.has_failed
        # Only a COMMIT that was done before it reported the failure can have left the change.
        expected = {"0", "1"} if (step, moment) == ("COMMIT", "done") else {"0"}
        assert images_stored(opened) == images_recorded(opened) == images_found(opened) == expected
        if code == sqlite3.SQLITE_IOERR and step in ("BEGIN", "SAVEPOINT", "COMMIT"):
            with pytest.raises(DatabaseError, match="no more changes"):
                enrol(opened, 2)
        else:
            enrol(opened, 2)
            expected |= {"2"}
        assert images_stored(opened) == images_recorded(opened) == images_found(opened) == expected
    with world(tmp_path) as opened:
        enrol(opened, 2)
        assert images_stored(opened) == images_recorded(opened) == images_found(opened) == expected | {"2"}


@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_failure_between_the_faces_of_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int) -> None:
    from countenance.gallery import sealing

    calls = []
    real = sealing.CollectionSeal.seal

    def seal(self: Any, face_id: bytes, template: bytes) -> bytes:
        calls.append(face_id)
        if len(calls) == nth:
            raise MemoryError
        return real(self, face_id, template)

    with world(tmp_path) as opened:
        opened.create()
        with monkeypatch.context() as patched:
            patched.setattr(sealing.CollectionSeal, "seal", seal)
            with pytest.raises(MemoryError):
                enrol(opened, 1)
        assert images_stored(opened) == images_recorded(opened) == images_found(opened) == set()
        enrol(opened, 1)
        assert images_stored(opened) == images_recorded(opened) == images_found(opened) == {"1"}


def test_an_index_that_cannot_take_a_stored_change_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world(tmp_path, index_factory=FaissIndex) as opened:
        opened.create()
        enrol(opened, 0)
        assert images_found(opened) == {"0"}
        with monkeypatch.context() as patched:
            patched.setattr(FaissIndex, "add", lambda *_: (_ for _ in ()).throw(MemoryError()))
            enrol(opened, 1)  # stored, so it is acknowledged
        assert images_stored(opened) == images_recorded(opened) == images_found(opened) == {"0", "1"}
        opened.gallery.erase(ACCOUNT, "c", [name_id((0, face)) for face in range(3)], entry=entry("DeleteFaces"))
        assert images_found(opened) == {"1"}


def test_a_failure_after_the_commit_says_that_it_was_stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with world(tmp_path) as opened:
        opened.create()
        with monkeypatch.context() as patched:
            patched.setattr(opened.gallery._shelves.references, "apply", lambda _: (_ for _ in ()).throw(MemoryError()))
            with pytest.raises(AfterCommitError, match="was stored"):
                enrol(opened, 1)
        assert images_stored(opened) == images_recorded(opened) == {"1"}
    with world(tmp_path) as opened:
        assert images_found(opened) == {"1"}


def test_a_full_disk_says_so_and_loses_nothing(tmp_path: Path) -> None:
    """SQLite's own page limit gives the result code of a full disk, at the moment at which a disk would."""
    with world(tmp_path) as opened:
        opened.create()
        pages = opened.database.maintain(lambda each: each.execute("PRAGMA page_count").fetchone()[0])
        opened.database.maintain(lambda each: each.execute(f"PRAGMA max_page_count = {pages + 4}").fetchone())
        acknowledged: list[int] = []

        def fill() -> None:
            for at in range(1000):
                faces = enrolments([at], unit_rows(1, 16, at), external_image_id="x" * 200)
                opened.gallery.enrol(ACCOUNT, "c", faces, entry=entry("IndexFaces", request_id=str(at)))
                acknowledged.append(at)

        with pytest.raises(DatabaseError, match="full") as full:
            fill()
        assert "Free space" in str(full.value.hint)
        stored = len(acknowledged)
        assert stored > 0
        assert opened.gallery.collection(ACCOUNT, "c").face_count == stored == len(images_recorded(opened))
        assert len(opened.gallery.identify(ACCOUNT, "c", ROWS[:1], max_candidates=4096)[0]) == stored
        opened.database.maintain(lambda each: each.execute("PRAGMA max_page_count = 1000000").fetchone())
        enrol(opened, 1)
        assert "1" in images_found(opened)


def test_a_read_only_database_says_so(tmp_path: Path) -> None:
    with world(tmp_path) as opened:
        opened.create()
        opened.database.maintain(lambda each: each.execute("PRAGMA query_only = ON"))
        with pytest.raises(DatabaseError, match="read-only"):
            enrol(opened, 1)
        opened.database._writer._session.connection.execute("PRAGMA query_only = OFF")
        assert images_stored(opened) == set()


def test_a_lock_of_another_program_says_so_and_passes(tmp_path: Path) -> None:
    with world(tmp_path) as opened:
        opened.create()
        opened.database.maintain(lambda each: each.execute("PRAGMA busy_timeout = 20"))
        other = sqlite3.connect(tmp_path / "countenance.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DatabaseError, match="Another program"):
            enrol(opened, 1)
        other.execute("ROLLBACK")
        other.close()
        enrol(opened, 1)
        assert images_stored(opened) == images_recorded(opened) == images_found(opened) == {"1"}


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    with world(tmp_path) as opened:
        opened.create()
        for image in range(3):
            enrol(opened, image)
        root = (
            opened.database.read()
            .execute("SELECT rootpage FROM sqlite_master WHERE name = 'enrolled_references'")
            .fetchone()[0]
        )
    path = tmp_path / "countenance.db"
    content = bytearray(path.read_bytes())
    content[(root - 1) * 4096 : root * 4096] = b"\xff" * 4096
    path.write_bytes(content)
    with world(tmp_path) as opened, pytest.raises(DatabaseError, match="damaged") as damaged:
        opened.gallery.identify(ACCOUNT, "c", ROWS, max_candidates=1)
    assert "backup" in str(damaged.value.hint)


def test_a_file_that_is_no_database_or_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(DatabaseError, match="in the data folder is not a database"):
        SqliteDatabase(tmp_path / "x.db")
    with pytest.raises(DatabaseError, match="cannot be created"):
        SqliteDatabase(tmp_path / "no such folder" / "x.db")
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(DatabaseError, match="cannot be opened"):
        SqliteDatabase(tmp_path / "folder.db")


def test_a_checkpoint_that_meets_a_disk_error_stops_all_writing(tmp_path: Path) -> None:
    with world(tmp_path) as opened:
        opened.create()
        enrol(opened, 0)
        faulty: Any = Faulty(
            opened.database._writer._session.connection, "PRAGMA wal_checkpoint", "undone", sqlite3.SQLITE_IOERR
        )
        opened.database._writer._session.connection = faulty
        assert opened.database.truncate_wal() is False
        with pytest.raises(DatabaseError, match="no more changes"):
            enrol(opened, 1)
        assert images_stored(opened) == images_found(opened) == {"0"}
    with world(tmp_path) as opened:
        enrol(opened, 1)
        assert images_stored(opened) == images_recorded(opened) == images_found(opened) == {"0", "1"}
