"""A copy of the database while it is in use."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest

from countenance.store import Database, DatabaseError, SqliteDatabase, backup


@pytest.fixture
def full(tmp_path: Path) -> Database:
    database = SqliteDatabase(tmp_path / "countenance.db")
    database.maintain(lambda connection: connection.execute("CREATE TABLE t (n INTEGER PRIMARY KEY, x BLOB)").close())
    return database


def test_a_copy_is_one_moment_while_writers_go_on(full: Database, tmp_path: Path) -> None:
    stop = threading.Event()
    written = [0]

    def write() -> None:
        while not stop.is_set():
            # Two rows at a time: a copy that is not of one moment could have one of them.
            full.maintain(
                lambda connection: connection.executemany("INSERT INTO t (x) VALUES (?)", [(b"x" * 500,)] * 2).close()
            )
            written[0] += 2

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for number in range(5):
            while written[0] < 100 * (number + 1):
                stop.wait(0.01)
            before = written[0]
            backup.copy(full.path, tmp_path / f"copy{number}.db")
            with sqlite3.connect(tmp_path / f"copy{number}.db") as copy:
                (count,) = copy.execute("SELECT count(*) FROM t").fetchone()
            assert count >= before
            assert count % 2 == 0
            assert (tmp_path / f"copy{number}.db").stat().st_mode & 0o777 == 0o600
    finally:
        stop.set()
        thread.join()
        full.close()


def test_what_was_deleted_is_not_in_the_copy(full: Database, tmp_path: Path) -> None:
    full.maintain(lambda connection: connection.execute("INSERT INTO t (x) VALUES (?)", (b"secret" * 1000,)).close())
    full.maintain(lambda connection: connection.execute("DELETE FROM t").close())
    backup.copy(full.path, tmp_path / "copy.db")
    assert b"secret" not in (tmp_path / "copy.db").read_bytes()
    full.close()


def test_nothing_is_replaced_and_nothing_is_left_of_a_failure(full: Database, tmp_path: Path) -> None:
    (tmp_path / "there").write_text("mine")
    for target in (tmp_path / "there", tmp_path / "nowhere" / "copy.db"):
        with pytest.raises(DatabaseError, match="cannot be created"):
            backup.copy(full.path, target)
    assert (tmp_path / "there").read_text() == "mine"
    full.close()
    (tmp_path / "noise").write_bytes(b"not a database at all" * 1000)
    with pytest.raises(DatabaseError):
        backup.copy(tmp_path / "noise", tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_a_damaged_copy_is_told(full: Database, tmp_path: Path) -> None:
    full.maintain(
        lambda connection: connection.executemany("INSERT INTO t (x) VALUES (?)", [(b"x" * 3000,)] * 200).close()
    )
    full.close()
    content = bytearray((tmp_path / "countenance.db").read_bytes())
    content[4096 * 3 : 4096 * 30] = bytes(4096 * 27)
    (tmp_path / "damaged.db").write_bytes(content)
    with pytest.raises(DatabaseError):
        backup.check(tmp_path / "damaged.db")


def test_the_log_of_the_replaced_database_does_not_meet_the_new_one(full: Database, tmp_path: Path) -> None:
    full.maintain(lambda connection: connection.execute("INSERT INTO t (x) VALUES ('staged')").close())
    backup.copy(full.path, tmp_path / "staged.db")
    full.maintain(lambda connection: connection.execute("INSERT INTO t (x) VALUES ('later')").close())
    # As after a crash: the database with its write-ahead log, nobody having it open.
    for suffix in ("", "-wal"):
        (tmp_path / f"crashed.db{suffix}").write_bytes((tmp_path / f"countenance.db{suffix}").read_bytes())
    full.close()
    backup.put_in_place(tmp_path / "staged.db", tmp_path / "crashed.db", kept=tmp_path / "kept.db")
    for name, expected in (("crashed.db", ["staged"]), ("kept.db", ["staged", "later"])):
        with sqlite3.connect(tmp_path / name) as connection:
            assert [row[0] for row in connection.execute("SELECT x FROM t ORDER BY n")] == expected


def crashed(full: Database, folder: Path) -> Path:
    """As after a crash: a database with its write-ahead log, nobody having it open."""
    full.maintain(lambda connection: connection.execute("INSERT INTO t (x) VALUES ('later')").close())
    for suffix in ("", "-wal"):
        (folder / f"crashed.db{suffix}").write_bytes((folder / f"countenance.db{suffix}").read_bytes())
    assert (folder / "crashed.db-wal").stat().st_size
    full.close()
    return folder / "crashed.db"


def test_an_exchange_that_does_not_come_to_its_end_leaves_the_database_whole(full: Database, tmp_path: Path) -> None:
    present = crashed(full, tmp_path)
    with pytest.raises(FileNotFoundError):
        backup.put_in_place(tmp_path / "nowhere.db", present, kept=tmp_path / "kept.db")
    with sqlite3.connect(present) as connection:
        assert connection.execute("SELECT count(*) FROM t WHERE x = 'later'").fetchone() == (1,)


def test_the_log_of_a_database_that_cannot_be_opened_goes_with_it(
    full: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup.copy(full.path, tmp_path / "staged.db")
    present = crashed(full, tmp_path)
    rest = (tmp_path / "crashed.db-wal").read_bytes()

    def broken(*_: object, **__: object) -> sqlite3.Connection:
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(backup.sqlite3, "connect", broken)
        backup.put_in_place(tmp_path / "staged.db", present, kept=tmp_path / "kept.db")
    assert not (tmp_path / "crashed.db-wal").exists()
    assert (tmp_path / "kept.db-wal").read_bytes() == rest
    with sqlite3.connect(present) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
