"""A collection on its way to one process, and others that start meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest

from countenance.gallery import CollectionNotFound, SqliteGallery
from countenance.store import Database, Keyring
from countenance.store.leases import Presence
from countenance.store.postgres import PostgresDatabase

from .samples import ACCOUNT, AT, MODEL, entry


@pytest.mark.parametrize("is_here", [True, False])
def test_what_arrives_at_a_process_that_is_here_stays_when_another_one_starts(
    tmp_path: Path, postgres_url: str, is_here: bool
) -> None:
    keyring = Keyring.open(tmp_path / "master.key", create=True)
    opened: list[Database] = []

    def node(name: str) -> tuple[PostgresDatabase, SqliteGallery]:
        (tmp_path / name).mkdir()
        database = PostgresDatabase(tmp_path / name, postgres_url)
        opened.append(database)
        return database, SqliteGallery(database, keyring)

    try:
        database, gallery = node("a")
        if is_here:
            Presence(database).look()
        with gallery.arriving(ACCOUNT, "c", model_version=MODEL, dimension=16, created_at=AT) as arriving:
            arriving.add_users([("ann", AT)])
            _, other = node("b")
            if is_here:
                arriving.arrive({}, entry=entry())
                assert [each.collection_id for each in other.collections(ACCOUNT, after_uid=None, limit=9)] == ["c"]
            else:
                with pytest.raises(CollectionNotFound):  # nobody knows of it: as what a crash left
                    arriving.arrive({}, entry=entry())
                assert other.collections(ACCOUNT, after_uid=None, limit=9) == []
    finally:
        for each in opened:
            each.close()
