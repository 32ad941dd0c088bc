"""PostgreSQL put back to a point in time: nothing erased comes back, and the log is no shorter than what was signed."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from countenance_audit.keeping import mirror

from countenance import restoration
from countenance.accounts import Accounts
from countenance.gallery import SqliteGallery
from countenance.ledger import Acts, Log, LogBehind, fsck
from countenance.ledger.copies import Copies
from countenance.store import Database, DatabaseError, Keyring
from countenance.store.postgres import PostgresDatabase
from tests.congruence.samples import ACCOUNT, enrolments, entry, name_id, unit_rows
from tests.postgres import NOBODY, Cluster
from tests.unit.ledger.logs import Opened


class Node:
    """What a server keeps, on a database of PostgreSQL."""

    def __init__(self, folder: Path, url: str) -> None:
        self.keyring = Keyring.open(folder / "master.key", create=True)
        self.database: Database = PostgresDatabase(folder, url)
        try:
            self.log = Log(self.database, self.keyring, folder, origin="log.example/nodes")
            self.accounts = Accounts(self.database, self.keyring, Acts(self.log.storage).granted)
            restoration.replay_erasures(self.database, self.log)
            self.gallery = SqliteGallery(self.database, self.keyring)
        except BaseException:
            self.database.close()
            raise

    def close(self) -> None:
        self.gallery.close()
        self.database.close()

    def enrol(self, *names: str) -> None:
        rows = unit_rows(len(names), 16, len(names))
        said = entry().with_details({"collection_id": "c"})
        self.gallery.enrol(ACCOUNT, "c", enrolments(names, rows), entry=said)

    def there(self) -> list[str]:
        found = self.gallery.references(ACCOUNT, "c", after_seq=None, limit=99, face_ids=None)
        return [each.face_id for _, each in found]


@contextmanager
def node(folder: Path, url: str) -> Iterator[Node]:
    made = Node(folder, url)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def archive() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="countenance-archive-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def test_a_point_in_time_from_before_an_erasure(tmp_path: Path, archive: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    cluster = Cluster(
        archive_mode="on", archive_command=f"'cp %p {archive}/%f'", wal_level="replica", max_wal_senders="4"
    )
    restored: Cluster | None = None
    try:
        cluster.start()
        url = cluster.create("countenance")
        with node(data, url) as at:
            at.gallery.create_collection(
                ACCOUNT,
                "c",
                model_version="test-model-1",
                dimension=16,
                tags={},
                entry=entry("CreateCollection").with_details({"collection_id": "c"}),
            )
            at.enrol("ann", "ben")
            base = archive / "base"
            cluster.run(
                "pg_basebackup",
                "-D",
                str(base),
                "-h",
                "127.0.0.1",
                "-p",
                str(cluster.port),
                "-U",
                "postgres",
                "-c",
                "fast",
            )
            at.enrol("cid", "dee", "eve")
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("SELECT pg_create_restore_point('before the mistake')")
            said = entry("DeleteFaces").with_details({"collection_id": "c"})
            at.gallery.erase(ACCOUNT, "c", [name_id("ben"), name_id("eve")], entry=said)
            at.enrol("fay", "gus", "hal", "ida")
            at.log.publish()
            size = at.log.size
            reader = Opened.__new__(Opened)
            reader.log = at.log
            mirror(reader.fetch, tmp_path / "mirror", reader.policy())
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("SELECT pg_switch_wal()")
        cluster.stop()  # the archive has all of it

        restored = Cluster.restored(base, archive, "before the mistake")
        restored.start()
        url = restored.url("countenance")
        with pytest.raises(LogBehind), node(data, url):
            pass
        mended = restoration.mend(
            data,
            Copies(mirrors=[str(tmp_path / "mirror")]),
            reason="a point in time",
            opened=opened(data, url),
        )
        assert mended.refilled is not None
        assert mended.refilled.size == size
        assert mended.replayed["references"] == 2
        with node(data, url) as at:
            assert at.there() == [name_id("ann"), name_id("cid"), name_id("dee")]
            assert fsck.examine(at.log).problems == []
            at.enrol("fay", "gus", "hal", "ida")  # lost, and enrolled again
            assert len(at.there()) == 7
    finally:
        for each in (cluster, restored):
            if each is not None:
                each.remove()


@contextmanager
def opened(folder: Path, url: str) -> Iterator[tuple[Database, Keyring]]:
    database = PostgresDatabase(folder, url)
    try:
        yield database, Keyring.open(folder / "master.key", create=False)
    finally:
        database.close()


def test_a_node_keeps_to_what_it_saw_when_the_database_goes_back(
    tmp_path: Path, archive: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A standby that had not all of it takes the place of the primary while a node runs: nothing is added to it."""
    data = tmp_path / "data"
    data.mkdir()
    cluster = Cluster(wal_level="replica", max_wal_senders="4")
    second: Cluster | None = None
    try:
        cluster.start()
        url = cluster.create("countenance")
        with node(data, url) as at:
            at.gallery.create_collection(
                ACCOUNT, "c", model_version="test-model-1", dimension=16, tags={}, entry=entry("CreateCollection")
            )
            at.enrol("ann", "ben")
            base = archive / "base"
            cluster.run(
                "pg_basebackup",
                "-D",
                str(base),
                "-h",
                "127.0.0.1",
                "-p",
                str(cluster.port),
                "-U",
                "postgres",
                "-c",
                "fast",
            )
            at.enrol("cid")
            port = cluster.port
            cluster.kill()
            second = Cluster()
            shutil.rmtree(second.data)
            base.rename(second.data)
            with (second.data / "postgresql.auto.conf").open("a") as conf:
                conf.write(f"port = {port}\nunix_socket_directories = '{second.folder}'\n")
            if second._user is not None:
                for each in (second.data, *second.data.rglob("*")):
                    shutil.chown(each, NOBODY)
            second.port = port
            second.start()
            for _ in range(2):
                with pytest.raises(DatabaseError):
                    at.enrol("dee")
            assert "The database had 4 leaves and has 3 now" in caplog.text
            with psycopg.connect(url) as connection:
                found = connection.execute("SELECT count(*) FROM log_leaves").fetchone()
            assert found is not None
            assert found[0] == 3  # nothing was added to the shorter one
    finally:
        for each in (cluster, second):
            if each is not None:
                each.remove()
