"""Notes of what was taken out for good: in the transaction, in a file beside it, and replayed on an older database."""

from __future__ import annotations

import errno
import json
import shutil
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from countenance.store import Database, DatabaseError, SqliteDatabase, erasures
from countenance.store.erasures import FILE


def noted(database: Database, number: int, kind: str = "thing") -> None:
    database.maintain(lambda connection: database.erasures.note(connection, {"kind": kind, "n": number}))


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / FILE).read_text().splitlines()]


def replayed(database: Database, kind: str = "thing") -> tuple[list[int], dict[str, int]]:
    """The numbers that were replayed, and what was said."""
    seen: list[int] = []

    def again(connection: sqlite3.Connection, notes: Sequence[Mapping[str, Any]]) -> int:
        seen.extend(each["n"] for each in notes)
        return len(notes)

    return seen, database.maintain(lambda connection: database.erasures.replay(connection, {kind: again}))


def test_a_note_is_in_the_file_when_the_erasure_is_answered(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "countenance.db")
    for number in range(3):
        noted(database, number)
        assert [each["what"]["n"] for each in lines(tmp_path)] == list(range(number + 1))
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    database.close()


def test_an_erasure_that_was_taken_back_is_not_noted(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "countenance.db")

    def fails(connection: sqlite3.Connection) -> None:
        database.erasures.note(connection, {"kind": "thing", "n": 1})
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        database.maintain(fails)
    noted(database, 2)
    assert [each["what"]["n"] for each in lines(tmp_path)] == [2]
    database.close()


def test_an_older_database_replays_what_it_lacks_once(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "countenance.db")
    noted(database, 1)
    database.close()
    shutil.copy(tmp_path / "countenance.db", tmp_path / "older.db")
    database = SqliteDatabase(tmp_path / "countenance.db")
    noted(database, 2)
    noted(database, 3)
    database.close()
    shutil.copy(tmp_path / "older.db", tmp_path / "countenance.db")
    database = SqliteDatabase(tmp_path / "countenance.db")
    assert replayed(database) == ([2, 3], {"thing": 2})
    assert replayed(database) == ([], {})
    noted(database, 4)
    assert [(each["number"], each["what"]["n"]) for each in lines(tmp_path)] == [(1, 1), (2, 2), (3, 3), (4, 4)]
    database.close()


def test_a_replay_that_fails_is_owed_again(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "countenance.db")
    database.close()
    (tmp_path / FILE).write_text('{"number":1,"what":{"kind":"thing","n":1}}\n')
    database = SqliteDatabase(tmp_path / "countenance.db")

    def fails(connection: sqlite3.Connection, notes: Sequence[Mapping[str, Any]]) -> int:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        database.maintain(lambda connection: database.erasures.replay(connection, {"thing": fails}))
    assert replayed(database) == ([1], {"thing": 1})
    database.close()


def test_a_line_that_a_crash_cut_off_is_written_again(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "countenance.db")
    noted(database, 1)
    noted(database, 2)
    database.close()
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[:-7])
    SqliteDatabase(tmp_path / "countenance.db").close()
    assert (tmp_path / FILE).read_bytes() == content


def test_a_lost_file_is_written_again_from_the_database(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "countenance.db")
    noted(database, 1)
    database.close()
    (tmp_path / FILE).unlink()
    SqliteDatabase(tmp_path / "countenance.db").close()
    assert [each["what"]["n"] for each in lines(tmp_path)] == [1]


@pytest.mark.parametrize("line", [b"{}", b"nothing", b'{"number":"1","what":{}}', b'{"number":1,"what":[]}', b"\xff"])
def test_a_damaged_file_stops_the_start(tmp_path: Path, line: bytes) -> None:
    (tmp_path / FILE).write_bytes(line + b"\n")
    with pytest.raises(DatabaseError, match="Line 1 of the file of erasures"):
        SqliteDatabase(tmp_path / "countenance.db")


def test_a_note_of_a_newer_program_stops_the_replay(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('{"number":1,"what":{"kind":"hologram"}}\n')
    database = SqliteDatabase(tmp_path / "countenance.db")
    with pytest.raises(DatabaseError, match="unknown kind: hologram"):
        replayed(database)
    database.close()


def test_a_file_that_cannot_be_written_does_not_undo_the_erasure_and_is_tried_again(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "countenance.db")
    (tmp_path / FILE).mkdir()  # in the way, for whoever runs the tests
    noted(database, 1)
    (tmp_path / FILE).rmdir()
    noted(database, 2)
    assert [each["what"]["n"] for each in lines(tmp_path)] == [1, 2]
    database.close()


def test_a_file_that_vanishes_or_loses_a_line_while_running_is_whole_after_the_next_erasure(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "countenance.db")
    for number in range(3):
        noted(database, number)
    (tmp_path / FILE).unlink()
    noted(database, 3)
    assert sorted(each["what"]["n"] for each in lines(tmp_path)) == [0, 1, 2, 3]
    kept = (tmp_path / FILE).read_text().splitlines(keepends=True)
    (tmp_path / FILE).write_text("".join(kept[:1] + kept[2:]))
    noted(database, 4)
    assert sorted(each["what"]["n"] for each in lines(tmp_path)) == [0, 1, 2, 3, 4]
    database.close()


def test_a_gap_in_the_file_is_filled_at_the_start(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "countenance.db")
    for number in range(4):
        noted(database, number)
    database.close()
    kept = (tmp_path / FILE).read_text().splitlines(keepends=True)
    (tmp_path / FILE).write_text(kept[0] + kept[3])
    SqliteDatabase(tmp_path / "countenance.db").close()
    assert sorted(each["what"]["n"] for each in lines(tmp_path)) == [0, 1, 2, 3]
    before = (tmp_path / FILE).read_bytes()
    SqliteDatabase(tmp_path / "countenance.db").close()
    assert (tmp_path / FILE).read_bytes() == before


def test_what_another_database_notes_is_learnt_from_it(tmp_path: Path) -> None:
    """Its file was lost with it, or could not be written; numbers were given out again since."""
    here = SqliteDatabase(tmp_path / "countenance.db")
    noted(here, 0)
    here.close()
    shutil.copytree(tmp_path, other := tmp_path / "other", ignore=lambda *_: ["other"])
    newer = SqliteDatabase(other / "countenance.db")
    for number in (1, 2, 1):
        noted(newer, number)
    newer.close()
    here = SqliteDatabase(tmp_path / "countenance.db")
    noted(here, 7)  # number 2 here, as that of 1 there
    found = erasures.kept_in(other / "countenance.db")
    assert [number for number, _ in found] == [1, 2, 3, 4]
    assert here.maintain(lambda connection: here.erasures.learn(connection, found)) == 3
    assert here.maintain(lambda connection: here.erasures.learn(connection, found)) == 0
    assert replayed(here) == ([1, 2, 1], {"thing": 3})
    noted(here, 8)
    here.close()
    here = SqliteDatabase(tmp_path / "countenance.db")
    assert replayed(here) == ([], {})
    assert sorted(each["what"]["n"] for each in lines(tmp_path)) == [0, 1, 1, 2, 7, 8]
    here.close()


def test_a_copy_that_is_no_database_notes_nothing(tmp_path: Path) -> None:
    (tmp_path / "noise.db").write_bytes(b"noise" * 1000)
    assert erasures.kept_in(tmp_path / "noise.db") == []


def test_a_line_that_a_full_disk_cut_short_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = SqliteDatabase(tmp_path / "countenance.db")
    noted(database, 0)

    def full(file: int) -> None:
        with (tmp_path / FILE).open("r+b") as half:
            half.truncate((tmp_path / FILE).stat().st_size - 5)
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(erasures.os, "fsync", full)
        noted(database, 1)
    assert not (tmp_path / FILE).read_text().endswith("\n")
    noted(database, 2)
    assert [each["what"]["n"] for each in lines(tmp_path)] == [0, 1, 2]
    database.close()
