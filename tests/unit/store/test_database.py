from __future__ import annotations

import sqlite3
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.congruence.samples import entry

from countenance.store import AfterCommitError, Database, DatabaseBusy, DatabaseError, SqliteDatabase

TABLE = ["CREATE TABLE things (name TEXT PRIMARY KEY, size INTEGER NOT NULL DEFAULT 0);"]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = SqliteDatabase(tmp_path / "x.db")
    opened.migrate("things", TABLE)
    yield opened
    opened.close()


def insert(name: str) -> Any:
    return lambda connection: connection.execute("INSERT INTO things (name) VALUES (?)", (name,)).rowcount


def names(database: Database) -> list[str]:
    return [row[0] for row in database.read().execute("SELECT name FROM things ORDER BY name").fetchall()]


class Held:
    """Keeps the writer thread busy, so that what follows gathers behind it."""

    def __init__(self, database: Database) -> None:
        self._entered, self._release = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=database.maintain, args=(self._work,))
        self._thread.start()
        self._entered.wait()

    def _work(self, _: sqlite3.Connection) -> None:
        self._entered.set()
        self._release.wait()

    def release(self) -> None:
        self._release.set()
        self._thread.join()


def start_all(works: list[Any], database: Database) -> tuple[list[threading.Thread], dict[int, Any]]:
    """Queue one write per work, in order; outcomes by position."""
    outcomes: dict[int, Any] = {}

    def run(at: int, work: Any) -> None:
        try:
            outcomes[at] = database.write(entry(request_id=f"r{at}"), work)
        except BaseException as failure:  # noqa: BLE001 - the outcome is what the test looks at
            outcomes[at] = failure

    threads = []
    for at, work in enumerate(works):
        queued = database._writer.queued
        threads.append(threading.Thread(target=run, args=(at, work)))
        threads[-1].start()
        while database._writer.queued == queued:
            pass
    return threads, outcomes


def test_the_settings_that_durability_and_erasure_rest_on(database: Database) -> None:
    def settings(connection: sqlite3.Connection) -> dict[str, Any]:
        wanted = ("journal_mode", "synchronous", "secure_delete", "foreign_keys", "wal_autocheckpoint", "temp_store")
        return {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in wanted}

    assert database.maintain(settings) == {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "secure_delete": 1,
        "foreign_keys": 1,
        "wal_autocheckpoint": 0,
        "temp_store": 2,  # memory
    }


def test_the_files_are_for_their_owner_only(database: Database, tmp_path: Path) -> None:
    database.write(entry(), insert("a"))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {"x.db": 0o600, "x.db-wal": 0o600, "x.db-shm": 0o600}


def test_a_write_that_returned_is_seen_by_every_thread_at_once(database: Database) -> None:
    missing: list[str] = []

    def work(thread: int) -> None:
        for at in range(50):
            name = f"{thread}-{at}"
            assert database.write(entry(), insert(name)) == 1
            if name not in names(database):
                missing.append(name)

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert missing == []
    assert len(names(database)) == 400


def test_read_connections_cannot_write_and_belong_to_their_thread(database: Database) -> None:
    mine = database.read()
    assert database.read() is mine
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        mine.execute("INSERT INTO things (name) VALUES ('x')")
    others: list[sqlite3.Connection] = []
    thread = threading.Thread(target=lambda: others.append(database.read()))
    thread.start()
    thread.join()
    assert others[0] is not mine


def test_a_snapshot_does_not_move(database: Database) -> None:
    with database.reading(snapshot=True) as connection:
        assert connection.execute("SELECT count(*) FROM things").fetchone() == (0,)
        done = threading.Thread(target=database.write, args=(entry(), insert("a")))
        done.start()
        done.join()
        assert connection.execute("SELECT count(*) FROM things").fetchone() == (0,)
    assert names(database) == ["a"]


def test_waiting_jobs_share_one_commit(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    commits: list[int] = []
    real = database._writer._commit
    monkeypatch.setattr(database._writer, "_commit", lambda: (commits.append(1), real()))
    held = Held(database)
    threads, outcomes = start_all([insert(f"n{at}") for at in range(20)], database)
    held.release()
    for thread in threads:
        thread.join()
    assert outcomes == dict.fromkeys(range(20), 1)
    assert len(commits) == 2  # the held one, and all the others


def test_a_failing_job_takes_back_its_own_changes_only(database: Database) -> None:
    def half(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO things (name) VALUES ('half')")
        raise LookupError("no")

    held = Held(database)
    threads, outcomes = start_all([insert("a"), half, insert("a"), insert("b")], database)
    held.release()
    for thread in threads:
        thread.join()
    assert outcomes[0] == 1
    assert isinstance(outcomes[1], LookupError)
    assert isinstance(outcomes[2], sqlite3.IntegrityError)
    assert outcomes[3] == 1
    assert names(database) == ["a", "b"]
    assert [each.request_id for _, each in database.pending_outbox(10)] == ["r0", "r3"]


def test_work_after_commit_runs_in_the_order_of_commits(database: Database) -> None:
    seen: list[str] = []
    held = Held(database)
    threads = []
    for name in ("a", "b", "c"):
        queued = database._writer.queued
        work: Any = lambda connection, name=name: (insert(name)(connection), name)[1]  # noqa: E731
        threads.append(
            threading.Thread(target=database.write, args=(entry(), work), kwargs={"after_commit": seen.append})
        )
        threads[-1].start()
        while database._writer.queued == queued:
            pass
    held.release()
    for thread in threads:
        thread.join()
    assert seen == ["a", "b", "c"]


def test_work_after_commit_sees_the_committed_state(database: Database) -> None:
    seen: list[list[str]] = []
    database.write(entry(), insert("a"), after_commit=lambda _: seen.append(names(database)))
    assert seen == [["a"]]


def test_a_failure_after_the_commit_is_told_apart_and_leaves_the_effect(database: Database) -> None:
    def explode(_: int) -> None:
        raise LookupError("boom")

    with pytest.raises(AfterCommitError) as raised:
        database.write(entry(), insert("a"), after_commit=explode)
    assert isinstance(raised.value.__cause__, LookupError)
    assert names(database) == ["a"]
    database.write(entry(), insert("b"))
    assert names(database) == ["a", "b"]


def test_a_job_cannot_wait_for_another_job(database: Database) -> None:
    with pytest.raises(RuntimeError, match="writer thread"):
        database.write(entry(), lambda _: database.write(entry(), insert("a")))


def test_the_queue_is_bounded_and_says_so(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "x.db", queue_limit=2, queue_timeout_s=0.1)
    database.migrate("things", TABLE)
    held = Held(database)
    threads, outcomes = start_all([insert("a"), insert("b")], database)
    with pytest.raises(DatabaseBusy, match="Too many changes"):
        database.write(entry(), insert("c"))
    held.release()
    for thread in threads:
        thread.join()
    assert outcomes == {0: 1, 1: 1}
    assert names(database) == ["a", "b"]
    database.close()


def test_closing_finishes_what_is_queued_and_refuses_the_rest(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "x.db")
    database.migrate("things", TABLE)
    held = Held(database)
    threads, outcomes = start_all([insert("a"), insert("b")], database)
    closing = threading.Thread(target=database.close)
    closing.start()
    held.release()
    closing.join()
    for thread in threads:
        thread.join()
    assert outcomes == {0: 1, 1: 1}
    for refused in (lambda: database.write(entry(), insert("c")), database.read):
        with pytest.raises(DatabaseError, match="closed"):
            refused()
    database.close()
    assert [path.name for path in tmp_path.iterdir()] == ["x.db"]


def test_a_busy_reader_delays_truncation_but_does_not_prevent_it(database: Database, tmp_path: Path) -> None:
    wal = tmp_path / "x.db-wal"
    database.write(entry(), insert("a"))
    database.maintain(lambda connection: connection.execute("PRAGMA busy_timeout = 10"))
    with database.reading(snapshot=True) as connection:
        connection.execute("SELECT * FROM things").fetchall()
        assert database.truncate_wal() is False
        assert wal.stat().st_size > 0
    assert database.truncate_wal() is True
    assert wal.stat().st_size == 0


def test_an_owed_truncation_is_done_as_soon_as_the_reader_has_left(database: Database, tmp_path: Path) -> None:
    database.write(entry(), insert("a"))
    database.maintain(lambda connection: connection.execute("PRAGMA busy_timeout = 10"))
    with database.reading(snapshot=True) as connection:
        connection.execute("SELECT * FROM things").fetchall()
        database.truncate_wal()
    waited = threading.Event()
    for _ in range(400):
        if (tmp_path / "x.db-wal").stat().st_size == 0:
            break
        waited.wait(0.05)
    assert (tmp_path / "x.db-wal").stat().st_size == 0


def test_the_log_is_checkpointed_by_ourselves(database: Database, tmp_path: Path) -> None:
    for portion in range(40):
        database.write(
            entry(),
            lambda connection, portion=portion: connection.executemany(
                "INSERT INTO things (name) VALUES (?)", [(f"{portion}-{at}",) for at in range(200)]
            ),
        )
    # without checkpoints the log would hold every page of 40 transactions; with them it starts over
    assert (tmp_path / "x.db-wal").stat().st_size < 40 * 200 * 100
    assert (tmp_path / "x.db").stat().st_size > 100_000


def test_the_outbox_is_drained_in_order_and_remembers_where(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "x.db")
    for at in range(5):
        database.write(entry(request_id=f"r{at}"), lambda _: None)
    pending = database.pending_outbox(3)
    assert [(position, each.request_id) for position, each in pending] == [(1, "r0"), (2, "r1"), (3, "r2")]
    database.outbox_drained(3)
    database.close()
    database = SqliteDatabase(tmp_path / "x.db")
    assert database.outbox_position() == 3
    assert [position for position, _ in database.pending_outbox(10)] == [4, 5]
    database.outbox_drained(5)
    database.outbox_drained(1)  # an old message of the consumer does not move it back
    assert database.outbox_position() == 5
    database.write(entry(request_id="later"), lambda _: None)
    assert [position for position, _ in database.pending_outbox(10)] == [6]
    database.close()


def test_an_unknown_synchronous_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="synchronous"):
        SqliteDatabase(tmp_path / "x.db", synchronous="full; DROP TABLE outbox")


def test_a_reader_that_holds_the_log_does_not_hold_up_the_writers(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "x.db")
    try:
        database.migrate("t", ["CREATE TABLE t (n INTEGER);"])

        def note(connection: sqlite3.Connection, number: int) -> None:
            connection.execute("INSERT INTO t VALUES (?)", (number,))

        outside = sqlite3.connect(tmp_path / "x.db", isolation_level=None)
        outside.execute("BEGIN")
        outside.execute("SELECT count(*) FROM t").fetchall()  # as an online backup does
        database.maintain(lambda connection: note(connection, 1))
        started = time.monotonic()
        assert not database.truncate_wal()
        for number in range(20):
            database.maintain(lambda connection, n=number: note(connection, n))  # type: ignore[misc]
        assert time.monotonic() - started < 3  # SQLite's own patience, 5 s, once for each
        outside.execute("ROLLBACK")
        outside.close()
        deadline = time.monotonic() + 20
        while (tmp_path / "x.db-wal").stat().st_size and time.monotonic() < deadline:
            time.sleep(0.05)
        assert (tmp_path / "x.db-wal").stat().st_size == 0
    finally:
        database.close()


def test_a_truncation_that_finds_the_queue_full_is_owed_and_raises_nothing(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "x.db", queue_limit=1, queue_timeout_s=0.1)
    inside, go_on = threading.Event(), threading.Event()

    def block(connection: sqlite3.Connection) -> None:
        inside.set()
        assert go_on.wait(10)
        connection.execute("CREATE TABLE t (n INTEGER)")

    try:
        jobs = [threading.Thread(target=database.maintain, args=(block,))]
        jobs[0].start()
        assert inside.wait(10)
        jobs.append(threading.Thread(target=database.maintain, args=(lambda _connection: None,)))
        jobs[1].start()
        while database._writer.queued < 1:
            time.sleep(0.01)
        assert not database.truncate_wal()
        go_on.set()
        for job in jobs:
            job.join(10)
        deadline = time.monotonic() + 20
        while (tmp_path / "x.db-wal").stat().st_size and time.monotonic() < deadline:
            time.sleep(0.05)
        assert (tmp_path / "x.db-wal").stat().st_size == 0
    finally:
        database.close()


def test_an_entry_alone_is_recorded_without_a_sequencer_too(database: Database) -> None:
    database.record(entry(request_id="alone"))
    assert [each.request_id for _, each in database.pending_outbox(10)] == ["alone"]
    with pytest.raises(TypeError, match="sequencer"):
        database.record(object())
    assert [each.request_id for _, each in database.pending_outbox(10)] == ["alone"]


def test_entries_alone_share_a_commit_with_changes_and_keep_their_order(database: Database) -> None:
    class Sequenced:
        def __init__(self) -> None:
            self.groups: list[list[object]] = []

        def prepared(self, record: object) -> object:
            if record == "bad":
                raise TypeError("bad")
            return record

        def sequence(self, connection: sqlite3.Connection, records: Any) -> None:
            self.groups.append(list(records))

        def committed(self) -> None:
            pass

    def fail(_: sqlite3.Connection) -> None:
        raise LookupError("no")

    sequencer = Sequenced()
    database.sequence_with(sequencer)
    held = Held(database)
    acts: list[Any] = [
        lambda: database.record("a"),
        lambda: database.write("lost", fail),
        lambda: database.write(lambda rows: f"{rows} row", insert("x")),
        lambda: database.record("b"),
        lambda: database.record("bad"),
        lambda: database.write("bad", insert("y")),
    ]
    failures: list[BaseException] = []

    def run(act: Any) -> None:
        try:
            act()
        except (LookupError, TypeError) as failure:
            failures.append(failure)

    threads = []
    for act in acts:
        queued = database._writer.queued
        threads.append(threading.Thread(target=run, args=(act,)))
        threads[-1].start()
        while database._writer.queued == queued:
            pass
    held.release()
    for thread in threads:
        thread.join()
    assert sequencer.groups == [["a", "1 row", "b"]]
    # What cannot be recorded is its own caller's trouble, and its change is taken back.
    assert sorted(type(failure).__name__ for failure in failures) == ["LookupError", "TypeError", "TypeError"]
    assert names(database) == ["x"]
