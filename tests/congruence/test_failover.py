"""A standby takes the place of a database and lacks what was written last; another node writes there first."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from countenance.ledger import Log, Public
from countenance.ledger.fsck import examine
from countenance.store import DatabaseError, Keyring
from countenance.store.postgres import PostgresDatabase

LEAF = {"kind": "clock", "step_us": 2_000_000}


@pytest.mark.parametrize("last", ["a", "b"])
def test_a_node_whose_last_leaf_was_lost_adds_nothing_behind_the_leaf_of_another(
    tmp_path: Path, postgres_url: str, last: str
) -> None:
    """The count of transactions is as the node would expect it, and so may the term be."""
    keyring = Keyring.open(tmp_path / "master.key", create=True)
    databases: dict[str, PostgresDatabase] = {}
    logs: dict[str, Log] = {}
    try:
        for name in ("a", "b"):
            folder = tmp_path / name
            folder.mkdir()
            databases[name] = PostgresDatabase(folder, postgres_url)
            logs[name] = Log(databases[name], keyring, folder, origin="log.example/nodes")
        logs["b"].append(Public(LEAF))
        logs[last].append(Public(LEAF))
        size = logs["a"].size
        with psycopg.connect(postgres_url) as connection:
            before = connection.execute("SELECT change, acts, term, holder FROM store_state").fetchone()
        assert before is not None
        logs["a"].append(Public(LEAF))
        with psycopg.connect(postgres_url, autocommit=True) as connection:  # what the standby lacks, and its beginning
            connection.execute("DELETE FROM log_leaves WHERE idx >= %s", (size,))
            connection.execute("UPDATE store_state SET change = %s, acts = %s, term = %s, holder = %s", before)
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid()"
                " AND datname = current_database()"
            )
        logs["b"].append(Public(LEAF))
        with pytest.raises(DatabaseError):
            logs["a"].append(Public(LEAF))
        assert logs["b"].size == size + 1
        assert examine(logs["b"]).problems == []
    finally:
        for each in databases.values():
            each.close()
