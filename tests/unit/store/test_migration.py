from __future__ import annotations

from pathlib import Path

import pytest

from countenance.store import Database, DatabaseError, SqliteDatabase, migration

ONE = """
-- a comment; with a semicolon
CREATE TABLE a (x TEXT DEFAULT ';');
CREATE TRIGGER t AFTER INSERT ON a BEGIN
  UPDATE a SET x = 'y;';
END;
-- the end
"""
TWO = "CREATE TABLE b (y);"


def tables(database: Database) -> set[str]:
    return {row[0] for row in database.read().execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()}


def test_statements_end_where_sqlite_says() -> None:
    assert len(list(migration.statements(ONE))) == 2
    with pytest.raises(ValueError, match="middle"):
        list(migration.statements("CREATE TABLE a (x)"))


def test_scripts_run_once_and_in_order_per_component(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "x.db")
    database.migrate("one", [ONE])
    database.migrate("one", [ONE])
    database.migrate("two", ["CREATE TABLE c (z);"])
    assert tables(database) >= {"a", "c"}
    assert "b" not in tables(database)
    database.close()
    database = SqliteDatabase(tmp_path / "x.db")
    database.migrate("one", [ONE, TWO])
    assert tables(database) >= {"a", "b", "c"}
    database.close()


def test_a_failing_script_leaves_the_old_version_whole(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "x.db")
    with pytest.raises(DatabaseError, match="refused a statement"):
        database.migrate("one", [ONE, "CREATE TABLE b (y); CREATE TABLE b (y);"])
    assert not tables(database) & {"a", "b"}
    database.migrate("one", [ONE])
    assert "a" in tables(database)
    database.close()


def test_a_newer_component_is_refused(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "x.db")
    database.migrate("one", [ONE, TWO])
    with pytest.raises(DatabaseError, match=r"newer version .*one schema 2, this program knows 1") as refused:
        database.migrate("one", [ONE])
    assert refused.value.hint is not None
    database.close()


def test_a_newer_store_is_refused_at_opening(tmp_path: Path) -> None:
    database = SqliteDatabase(tmp_path / "x.db")
    database.maintain(lambda connection: connection.execute("UPDATE component_versions SET version = 99"))
    database.close()
    with pytest.raises(DatabaseError, match="newer version"):
        SqliteDatabase(tmp_path / "x.db")
