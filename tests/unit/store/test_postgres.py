"""What is PostgreSQL's own: a lost connection, a constraint, one writer of several, a database that cannot be used."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from tests.postgres import Cluster

from countenance.store import DatabaseError
from countenance.store.postgres import PostgresDatabase, look
from countenance.store.postgres.connection import PostgresConnection, connect
from countenance.store.postgres.database import PostgresSession
from countenance.store.postgres.dialect import translated
from countenance.store.sql import Connection, ConstraintBroken, has_table, in_portions, restart_numbers, set_aside


@pytest.fixture
def database(tmp_path: Path, postgres_url: str) -> Iterator[PostgresDatabase]:
    made = PostgresDatabase(tmp_path, postgres_url)
    made.migrate("t", ["CREATE TABLE t (number INTEGER PRIMARY KEY AUTOINCREMENT, x TEXT NOT NULL UNIQUE) STRICT;"])
    yield made
    made.close()


def put(value: str) -> object:
    return lambda connection: connection.execute("INSERT INTO t (x) VALUES (?)", (value,))


def values(database: PostgresDatabase) -> list[str]:
    with database.reading() as connection:
        return [row[0] for row in connection.execute("SELECT x FROM t ORDER BY x").fetchall()]


def end_sessions(url: str, name: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE %s AND datname ="
            " current_database()",
            (name,),
        ).fetchall()
    return len(rows)


def test_a_reader_whose_connection_was_lost_asks_again(database: PostgresDatabase, postgres_url: str) -> None:
    database.maintain(put("a"))  # type: ignore[arg-type]
    assert values(database) == ["a"]
    assert end_sessions(postgres_url, "countenance % reads") == 1
    assert values(database) == ["a"]


def test_a_writer_whose_connection_was_lost_connects_again(database: PostgresDatabase, postgres_url: str) -> None:
    assert end_sessions(postgres_url, "countenance % writes") == 1
    database.maintain(put("a"))  # type: ignore[arg-type]
    assert values(database) == ["a"]


def test_a_change_whose_connection_is_lost_in_the_middle_leaves_nothing(
    database: PostgresDatabase, postgres_url: str
) -> None:
    """Nothing of it may go on over another connection, outside of any transaction."""

    def work(connection: Connection) -> None:
        connection.execute("INSERT INTO t (x) VALUES ('first')")
        assert end_sessions(postgres_url, "countenance % writes") == 1
        for value in ("second", "third"):
            try:
                connection.execute("INSERT INTO t (x) VALUES (?)", (value,))
            except DatabaseError:
                continue
        raise LookupError

    with pytest.raises((DatabaseError, LookupError)):
        database.maintain(work)
    assert values(database) == []
    database.maintain(put("after"))  # type: ignore[arg-type]
    assert values(database) == ["after"]


def test_a_snapshot_whose_connection_is_lost_is_told(database: PostgresDatabase, postgres_url: str) -> None:
    with database.reading(snapshot=True) as connection:
        connection.execute("SELECT 1 FROM t").fetchall()
        end_sessions(postgres_url, "countenance % reads")
        with pytest.raises(DatabaseError, match="cannot be reached"):
            connection.execute("SELECT 1 FROM t").fetchall()
    assert values(database) == []


def test_a_constraint_takes_back_its_own_change_alone(database: PostgresDatabase) -> None:
    database.maintain(put("a"))  # type: ignore[arg-type]
    with pytest.raises(ConstraintBroken):
        database.maintain(put("a"))  # type: ignore[arg-type]
    database.maintain(put("b"))  # type: ignore[arg-type]
    assert values(database) == ["a", "b"]


@pytest.mark.parametrize("said", ["INSERT INTO t (x) VALUES (?)", "SELECT CAST(CAST(? AS TEXT) AS INTEGER)"])
def test_the_log_of_a_refused_row_has_nothing_of_the_row(database: PostgresDatabase, said: str) -> None:
    badge = secrets.token_hex(8) + "x"
    database.maintain(put(badge))  # type: ignore[arg-type]
    with pytest.raises((ConstraintBroken, DatabaseError)) as refused:
        database.maintain(lambda connection: connection.execute(said, (badge,)))
    assert badge not in "".join(traceback.format_exception(refused.value))


def test_readers_cannot_write(database: PostgresDatabase) -> None:
    with pytest.raises(DatabaseError), database.reading() as connection:
        connection.execute("INSERT INTO t (x) VALUES ('a')")


def test_writers_of_two_nodes_come_one_after_the_other(
    database: PostgresDatabase, tmp_path: Path, postgres_url: str
) -> None:
    (tmp_path / "other").mkdir()
    other = PostgresDatabase(tmp_path / "other", postgres_url)
    inside, let_go, order = threading.Event(), threading.Event(), []
    try:
        before = database.state().term

        def slow(connection: Connection) -> None:
            inside.set()
            let_go.wait(10)
            connection.execute("INSERT INTO t (x) VALUES ('slow')")
            order.append("slow")

        def fast(connection: Connection) -> None:
            order.append("fast")
            assert connection.execute("SELECT count(*) FROM t").fetchone()[0] == 1  # what the other wrote is there

        first = threading.Thread(target=database.maintain, args=(slow,))
        first.start()
        inside.wait(10)
        second = threading.Thread(target=other.maintain, args=(fast,))
        second.start()
        time.sleep(0.2)
        assert order == []
        let_go.set()
        first.join()
        second.join()
        assert order == ["slow", "fast"]
        assert database.state().term > before  # it changed hands
    finally:
        let_go.set()
        other.close()


def test_writers_wait_for_one_another_whatever_the_default_isolation(tmp_path: Path, postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE \"{name}\" SET default_transaction_isolation = 'repeatable read'")
    nodes = [PostgresDatabase(tmp_path, postgres_url) for _ in range(2)]
    try:
        nodes[0].migrate("t", ["CREATE TABLE t (number INTEGER PRIMARY KEY, x INTEGER NOT NULL) STRICT;"])
        nodes[0].maintain(lambda connection: connection.execute("INSERT INTO t VALUES (1, 0)"))

        def count(node: PostgresDatabase) -> None:
            for _ in range(50):
                node.maintain(lambda connection: connection.execute("UPDATE t SET x = x + 1"))

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(count, nodes))
        with nodes[1].reading() as connection:
            assert connection.execute("SELECT x FROM t").fetchone() == (100,)
    finally:
        for each in nodes:
            each.close()


def test_a_node_that_stays_away_in_the_middle_loses_its_transaction(
    database: PostgresDatabase, tmp_path: Path, postgres_url: str
) -> None:
    (tmp_path / "other").mkdir()
    other = PostgresDatabase(tmp_path / "other", postgres_url)
    failures: list[BaseException] = []
    try:
        inside = threading.Event()

        def away(connection: Connection) -> None:
            connection.execute("INSERT INTO t (x) VALUES ('away')")
            inside.set()
            time.sleep(7)  # more than IDLE_S

        def write() -> None:
            try:
                database.maintain(away)
            except DatabaseError as failure:
                failures.append(failure)

        thread = threading.Thread(target=write)
        thread.start()
        inside.wait(10)
        other.maintain(put("other"))  # type: ignore[arg-type]  # waits for it, and goes on
        thread.join()
        assert len(failures) == 1
        assert values(other) == ["other"]
        database.maintain(put("again"))  # type: ignore[arg-type]
    finally:
        other.close()


def test_a_database_that_would_lose_what_it_acknowledged_is_refused(tmp_path: Path) -> None:
    cluster = Cluster(fsync="off")
    try:
        cluster.start()
        with pytest.raises(DatabaseError, match="fsync = off"):
            PostgresDatabase(tmp_path, cluster.create("d"))
        with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
            connection.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'")
        with pytest.raises(DatabaseError, match="encoding is LATIN1"):
            PostgresDatabase(tmp_path, cluster.url("latin"))
    finally:
        cluster.remove()


def test_what_cannot_be_reached_is_told_without_its_address(tmp_path: Path) -> None:
    with pytest.raises(DatabaseError) as refused:
        PostgresDatabase(tmp_path, "postgresql://ann:hush-hush@127.0.0.1:1/d")
    assert "cannot be reached" in str(refused.value)
    assert "hush" not in repr(refused.value) + repr(refused.value.__cause__)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("postgresql://stranger:hush-hush@127.0.0.1:{port}/postgres", "does not let this node in"),
        ("postgresql://postgres:hush-hush@127.0.0.1:{port}/nowhere", "no database of that name"),
        ("postgresql://postgres:hush-hush@[::1/postgres", "no address"),
        ("postgresql://postgres:hush-hush@127.0.0.1:{port}/postgres?hush=1", "no address"),
    ],
)
def test_who_is_not_let_in_is_told_why(tmp_path: Path, cluster: Cluster, address: str, said: str) -> None:
    with pytest.raises(DatabaseError, match=said) as refused:
        PostgresDatabase(tmp_path, address.format(port=cluster.port))
    assert "hush" not in repr(refused.value) + repr(refused.value.__cause__)


def test_options_of_the_address_hold(postgres_url: str) -> None:
    made = connect(
        f"{postgres_url}?options=-csearch_path%3Delsewhere", settings={"default_transaction_read_only": "on"}, name="t"
    )
    asked = "SELECT current_setting('search_path'), current_setting('default_transaction_read_only')"
    assert made.execute(asked).fetchone() == ("elsewhere", "on")
    made.close()


def test_nobody_reads_from_a_standby(tmp_path: Path, postgres_url: str) -> None:
    standby = Cluster()
    try:
        standby.start()
        standby.create("d")
        standby.stop()
        (standby.data / "standby.signal").touch()
        starting = threading.Thread(target=standby.start)  # until it is promoted
        starting.start()
        is_up = False
        while not is_up:
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(standby.url("d")):
                is_up = True
        with pytest.raises(DatabaseError, match="it is a standby"):
            connect(standby.url("d"), settings={}, name="t")
        primary = psycopg.conninfo.conninfo_to_dict(postgres_url)
        made = connect(
            f"postgresql://postgres@127.0.0.1:{standby.port},127.0.0.1:{primary['port']}/{primary['dbname']}",
            settings={},
            name="t",
        )
        assert made.info.port == int(str(primary["port"]))
        made.close()
        with psycopg.connect(standby.url("d"), autocommit=True) as connection:
            connection.execute("SELECT pg_promote()")
        starting.join()
        PostgresDatabase(tmp_path, standby.url("d")).close()
    finally:
        standby.remove()


def test_a_commit_that_was_none_is_told(tmp_path: Path, postgres_url: str) -> None:
    session = PostgresSession(postgres_url, "a")
    session.connection.execute("BEGIN")
    with pytest.raises(DatabaseError):
        session.connection.execute("SELECT 1 / 0")
    with pytest.raises(DatabaseError, match="nothing was changed"):
        session.commit()
    session.close()


def test_who_connects_again_looks_at_what_is_there(
    database: PostgresDatabase, postgres_url: str, cluster: Cluster
) -> None:
    name = psycopg.conninfo.conninfo_to_dict(postgres_url)["dbname"]
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" SET synchronous_commit = off')
    database.maintain(put("a"))  # type: ignore[arg-type]
    assert end_sessions(postgres_url, "countenance % writes") == 1
    for _ in range(2):
        with pytest.raises(DatabaseError, match="synchronous_commit = off"):
            database.maintain(put("b"))  # type: ignore[arg-type]
    with psycopg.connect(cluster.url("postgres"), autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" RESET synchronous_commit')
    database.maintain(put("c"))  # type: ignore[arg-type]
    assert values(database) == ["a", "c"]


def test_a_key_that_was_destroyed_is_gone_once_nobody_can_see_it(
    database: PostgresDatabase, postgres_url: str, cluster: Cluster
) -> None:
    key = secrets.token_bytes(48)
    database.maintain(lambda connection: connection.execute("CREATE TABLE kept (wrapped BLOB NOT NULL)"))
    database.maintain(lambda connection: connection.execute("INSERT INTO kept VALUES (?)", (key,)))
    database.keeps_keys_in("kept")

    def is_there() -> bool:
        with psycopg.connect(postgres_url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
            ((file,),) = connection.execute("SELECT pg_relation_filepath('kept')").fetchall()
        return key in (cluster.data / file).read_bytes()

    with psycopg.connect(postgres_url, autocommit=True) as copying:
        copying.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        copying.execute("SELECT 1")
        database.maintain(lambda connection: connection.execute("UPDATE kept SET wrapped = zeroblob(length(wrapped))"))
        assert not database.truncate_wal()
        assert is_there()
        copying.execute("SELECT 1 FROM kept")  # holds the table as well, as pg_dump does
        assert not database.truncate_wal()
        copying.execute("ROLLBACK")
    deadline = time.monotonic() + 30
    while is_there() and time.monotonic() < deadline:  # it is owed, and tried again
        time.sleep(0.1)
    assert not is_there()


def test_looking_says_what_it_is_and_changes_nothing(postgres_url: str) -> None:
    assert look(postgres_url).startswith("PostgreSQL 18.")
    with psycopg.connect(postgres_url) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
    with pytest.raises(DatabaseError):
        look(postgres_url + "_not")


def test_numbers_go_on_after_what_was_put_in_by_hand(database: PostgresDatabase) -> None:
    def work(connection: Connection) -> int:
        connection.execute("INSERT INTO t (number, x) VALUES (7, 'seven')")
        restart_numbers(connection, "t", "number")
        return int(connection.execute("INSERT INTO t (x) VALUES ('next') RETURNING number").fetchone()[0])

    assert database.maintain(work) == 8


def test_a_table_set_aside_leaves_an_empty_one_like_it(database: PostgresDatabase) -> None:
    database.maintain(put("a"))  # type: ignore[arg-type]
    database.maintain(lambda connection: set_aside(connection, "t", "old_"))
    assert values(database) == []
    with database.reading() as connection:
        assert has_table(connection, "old_t")
        assert connection.execute("SELECT x FROM old_t").fetchall() == [("a",)]
    with pytest.raises(ConstraintBroken):
        database.maintain(lambda connection: [put("b")(connection) for _ in range(2)])  # type: ignore[operator]


def test_many_rows_come_in_portions(database: PostgresDatabase) -> None:
    database.maintain(
        lambda connection: connection.executemany("INSERT INTO t (x) VALUES (?)", [(str(n),) for n in range(10_000)])
    )
    with database.reading(snapshot=True) as connection:
        portions = list(in_portions(connection, "SELECT number FROM t WHERE number > ?", (0,), 4_096))
    assert [len(each) for each in portions] == [4_096, 4_096, 1_808]


def test_the_writing_connection_is_made_anew_by_nobody_else(postgres_url: str) -> None:
    connection = PostgresConnection(lambda: connect(postgres_url, settings={}, name="t"), heals=False)
    with pytest.raises(DatabaseError):
        connection.execute("SELECT 1")
    connection.renew()
    assert connection.execute("SELECT 1").fetchone() == (1,)
    connection.close()


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("SELECT a FROM t WHERE b = ? AND c IN (?,?)", "SELECT a FROM t WHERE b = $1 AND c IN ($2,$3)"),
        ("WHERE ?1 IS NULL OR a = ?1", "WHERE CAST($1 AS TEXT) IS NULL OR a = $1"),
        ("SELECT '?' || x'7b'", "SELECT '?' || '\\x7b'::bytea"),
        ("SELECT 'it''s ?', ?", "SELECT 'it''s ?', $1"),
        ("CAST(a AS INTEGER)", "CAST(a AS BIGINT)"),
        (
            "CREATE TABLE t (\n a INTEGER PRIMARY KEY, c REAL -- ?\n) STRICT, WITHOUT ROWID;",
            "CREATE TABLE t (\n a BIGINT GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, c DOUBLE PRECISION \n)",
        ),
        (
            "CREATE TABLE t (one INTEGER PRIMARY KEY CHECK (one = 1), a TEXT)",
            'CREATE TABLE t (one BIGINT PRIMARY KEY CHECK (one = 1), a TEXT COLLATE "C")',
        ),
    ],
)
def test_statements_are_turned(sql: str, wanted: str) -> None:
    assert translated(sql) == wanted
