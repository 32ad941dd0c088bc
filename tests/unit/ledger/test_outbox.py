from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from countenance.ledger import Consumer
from countenance.store import Database, Entry

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "countenance.db")
    yield opened
    opened.close()


def commit(database: Database, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        entry = Entry("CreateCollection", "123456789012", "AKCN", f"r{number}", AT, {"collection_id": "c"})
        database.write(entry, lambda connection: None)


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_entries_reach_the_file_once_and_in_order(tmp_path: Path, database: Database) -> None:
    path = tmp_path / "ledger" / "entries.jsonl"
    consumer = Consumer(database, path)
    commit(database, 5)
    consumer.close()
    written = lines(path)
    assert [entry["request_id"] for entry in written] == [f"r{n}" for n in range(5)]
    assert [entry["seq"] for entry in written] == sorted({entry["seq"] for entry in written})  # type: ignore[type-var]
    assert database.pending_outbox(10) == []
    assert path.stat().st_mode & 0o777 == 0o600


def test_an_entry_written_but_not_marked_is_not_written_twice(
    tmp_path: Path, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "entries.jsonl"
    commit(database, 3)
    consumer = Consumer(database, path)

    def die(upto: int) -> None:
        raise OSError("power cut between file and mark")

    monkeypatch.setattr(database, "outbox_drained", die)
    consumer.close()
    assert not consumer.healthy
    assert len(lines(path)) == 3
    monkeypatch.undo()

    commit(database, 2, start=3)
    again = Consumer(database, path)
    again.close()
    assert again.healthy
    assert [entry["request_id"] for entry in lines(path)] == [f"r{n}" for n in range(5)]


def test_a_torn_last_line_is_cut_off_and_written_again(tmp_path: Path, database: Database) -> None:
    path = tmp_path / "entries.jsonl"
    commit(database, 2)
    first = Consumer(database, path)
    first.close()
    whole = path.read_bytes()
    commit(database, 1, start=2)
    path.write_bytes(whole + b'{"seq":3,"oper')
    second = Consumer(database, path)
    second.close()
    assert [entry["request_id"] for entry in lines(path)] == ["r0", "r1", "r2"]
    assert path.read_bytes().startswith(whole)
