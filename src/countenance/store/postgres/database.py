"""PostgreSQL as the database of record: any number of nodes, one of them writing at a time.

Every writing transaction takes the row `store_state` first and holds it until its commit, so that transactions of all
nodes come one after the other, as those of one SQLite file do: what is read inside is what there is, the log's leaves
have one order, and no two nodes disagree about either. The database elects the writer anew for each transaction; a node
that stops in the middle of one loses it after `IDLE_S`, the next goes on, and nothing that the stopped one began can
commit when it comes back (docs/design/decisions/0026).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg

from countenance.store.database import QUEUE_LIMIT, QUEUE_TIMEOUT_S, Database, new_node
from countenance.store.failures import DatabaseError
from countenance.store.postgres.connection import UTF8, PostgresConnection, connect
from countenance.store.postgres.dialect import FUNCTIONS
from countenance.store.postgres.listening import TELL, Listening
from countenance.store.session import TAKE, State
from countenance.store.sql import Connection

BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"
"""Whatever the database's default is: with a snapshot from before the row was had, whoever waited for it would fail."""
IDLE_S: Final = 5
"""How long a node may leave a writing transaction untouched before PostgreSQL ends it, and another node goes on."""
LOCK_S: Final = 15
"""How long a transaction waits for those of other nodes: until one that hangs was ended, and some more."""
WAIT_FOR_READERS_MS: Final = 100
"""How long a table that is to be written anew is waited for, as with the file."""
FIRST_LOCK: Final = 0x636F756E74656E61
"""Key of the advisory lock under which the store's own tables are made: "countena" in ASCII."""
START_LOCK: Final = FIRST_LOCK + 1
"""Key of the advisory lock of a node that starts."""
START_S: Final = 60
"""How long a node waits for another to have started: opening a long log takes seconds, asking witnesses five."""
OLDEST: Final = 160_000
"""PostgreSQL 16 (server_version_num)."""


class PostgresSession:
    """The writing connection of a node."""

    def __init__(self, url: str, node: str) -> None:
        """Connect. Raises DatabaseError: it cannot be reached, or is none that can be used."""
        settings = {"idle_in_transaction_session_timeout": f"{IDLE_S}s", "lock_timeout": f"{LOCK_S}s"}
        self._node = node
        self._connection = PostgresConnection(
            lambda: connect(url, settings=settings, name=f"countenance {node} writes"), heals=False
        )
        self.rewritten: list[str] = []
        """Tables that are written anew where what was overwritten in them must be gone."""
        self.connections = 0
        self._renew()

    def _renew(self) -> None:
        """Connect, and look at what is there each time: it may have been started with other settings, or elsewhere."""
        self._connection.renew()
        self.connections += 1
        try:
            _refuse_unusable(self._connection)
            # what was found holds for as long as the connection does, whatever its server is told to read anew
            self._connection.execute(
                "SELECT set_config('synchronous_commit', current_setting('synchronous_commit'), false)"
            )
        except BaseException:
            self._connection.close()
            raise

    @property
    def connection(self) -> Connection:
        """Another one after the connection was lost."""
        return self._connection

    def begin_first(self) -> None:
        self._connection.execute(BEGIN)
        self._connection.execute(f"SELECT pg_advisory_xact_lock({FIRST_LOCK})")
        for each in FUNCTIONS:
            self._connection.execute(each)

    def begin(self) -> State | None:
        try:
            self._connection.execute(BEGIN)
        except DatabaseError:
            self._renew()  # it was restarted, or this connection ended: nothing was begun yet
            self._connection.execute(BEGIN)
        return State(*self._connection.execute(TAKE, (self._node, self._node)).fetchone())

    def commit(self) -> None:
        # PostgreSQL answers the COMMIT of a transaction in which something failed by taking it back, without an error.
        if self._connection.execute("COMMIT").statusmessage != "COMMIT":
            raise DatabaseError("Something failed in the middle of a change; nothing was changed.", hint="Try again.")

    def rollback(self) -> None:
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except DatabaseError:
                self._connection.close()  # the server takes back what its client does not commit

    def is_open(self) -> bool:
        return self._connection.in_transaction

    def meaning(self, failure: BaseException) -> BaseException:
        return failure  # they were put into words where they came from

    def breaks(self, failure: BaseException) -> bool:
        """Never: whether a page was synced is for PostgreSQL to know, which stops when it cannot tell."""
        return False

    def tidy(self) -> None:
        """Nothing: PostgreSQL sees to itself."""

    def truncate(self) -> bool:
        """Write tables anew that keys were destroyed in: a row that was overwritten stays in its page otherwise. What
        the server's own log and its archive keep of it is for whoever sets up those (docs/operations/postgresql.md).

        A copy that is being made (`pg_dump`, an export) keeps the rows of its snapshot, and holds the table: then it is
        for later. Everybody who reads the table would wait behind who waits for it, and so would this node's changes.
        """
        self._connection.execute(f"SET lock_timeout = '{WAIT_FOR_READERS_MS}ms'")
        try:
            done = [self._connection.rewrite(table) for table in self.rewritten]
            return all(done)
        finally:
            self._connection.execute(f"SET lock_timeout = '{LOCK_S}s'")

    def abandon(self) -> None:
        self._connection.close()

    def close(self) -> None:
        self._connection.close()


class _Reader(PostgresConnection):
    """A connection that can be held weakly, so that it goes with its thread."""

    def __del__(self) -> None:
        self.close()


class PostgresDatabase(Database):
    """The open database of a node.

    Args:
        folder: of the node's own files.
        url: `postgresql://...`, as libpq takes it.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        *,
        queue_limit: int = QUEUE_LIMIT,
        queue_timeout_s: float = QUEUE_TIMEOUT_S,
    ) -> None:
        """Connect, and make the tables if there are none.

        Raises:
            DatabaseError: it cannot be reached, or is none that can be used.
        """
        self._url = url
        self._is_closed = False
        self._threads = threading.local()
        self._readers: weakref.WeakSet[_Reader] = weakref.WeakSet()
        self._readers_lock = threading.Lock()
        node = new_node()
        self._of_postgres = PostgresSession(url, node)
        super().__init__(
            folder,
            self._of_postgres,
            is_shared=True,
            node=node,
            queue_limit=queue_limit,
            queue_timeout_s=queue_timeout_s,
        )

    @contextmanager
    def alone(self) -> Iterator[None]:
        settings = {"lock_timeout": f"{START_S}s"}
        holder = PostgresConnection(
            lambda: connect(self._url, settings=settings, name=f"countenance {self.node} starts"), heals=False
        )
        holder.renew()
        try:
            holder.execute(f"SELECT pg_advisory_lock({START_LOCK})")
            yield
        finally:
            holder.close()  # and the lock with it

    def keeps_keys_in(self, table: str) -> None:
        self._of_postgres.rewritten.append(table)
        self._writer.owe_truncation()  # a node that was killed may have left it undone

    @contextmanager
    def reading(self, *, snapshot: bool = False) -> Iterator[Connection]:
        connection = self._reader()
        if not snapshot:
            yield connection
            return
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            yield connection
        finally:
            if connection.in_transaction:
                try:
                    connection.execute("ROLLBACK")
                except DatabaseError:
                    connection.close()

    def clock_us(self, connection: Connection) -> int:
        ((now,),) = connection.execute(
            "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS INTEGER)"
        ).fetchall()
        return int(now)

    def tell(self, connection: Connection, what: str) -> None:
        connection.execute(TELL, (f"{self.node} {what}",))

    def listen(self) -> Listening:
        return Listening(lambda: connect(self._url, settings={}, name=f"countenance {self.node} listens"), self.node)

    def copy_to(self, target: Path) -> None:
        raise DatabaseError(
            "This server's database is PostgreSQL, which is backed up by its own tools.",
            hint="`pg_dump` or a base backup with the archived log: docs/operations/postgresql.md",
        )

    def close(self) -> None:
        self._writer.stop()
        with self._readers_lock:
            if self._is_closed:
                return
            self._is_closed = True
            readers = list(self._readers)
        for reader in readers:
            reader.close()
        super().close()

    def _reader(self) -> _Reader:
        reader: _Reader | None = getattr(self._threads, "reader", None)
        if reader is None or self._is_closed:
            with self._readers_lock:
                if self._is_closed:
                    raise DatabaseError("The database is closed.")
                reader = _Reader(self._connect_to_read, heals=True)
                self._readers.add(reader)
            self._threads.reader = reader
        return reader

    def _connect_to_read(self) -> psycopg.Connection[Any]:
        if self._is_closed:
            raise DatabaseError("The database is closed.")
        settings = {"default_transaction_read_only": "on"}
        return connect(self._url, settings=settings, name=f"countenance {self.node} reads")


def look(url: str) -> str:
    """What a database is, for people, when a node could use it; changes nothing. Raises DatabaseError."""
    connection = PostgresConnection(lambda: connect(url, settings={}, name="countenance looks"), heals=False)
    connection.renew()
    try:
        _refuse_unusable(connection)
        ((version, name, synced, standby),) = connection.execute(
            "SELECT current_setting('server_version'), current_database(), current_setting('synchronous_commit'),"
            " pg_is_in_recovery()"
        ).fetchall()
    finally:
        connection.close()
    if standby:
        raise DatabaseError(
            "The database takes no changes: it is a standby.", hint="Name the primary in the setting `database`."
        )
    return f"PostgreSQL {version.split(' ')[0]}, database {name}, synchronous_commit = {synced}"


def _refuse_unusable(connection: PostgresConnection) -> None:
    """Raises DatabaseError for a database that would not keep what it acknowledges, or is none of ours to use."""

    def said(name: str) -> str:
        return str(connection.execute("SELECT current_setting(?)", (name,)).fetchone()[0])

    if int(said("server_version_num")) < OLDEST:
        raise DatabaseError(
            f"PostgreSQL {said('server_version')} is too old.", hint="Countenance needs PostgreSQL 16 or newer."
        )
    if said("server_encoding") != UTF8:
        raise DatabaseError(
            f"The database's encoding is {said('server_encoding')}.",
            hint="createdb --encoding UTF8 --template template0",
        )
    for name in ("fsync", "full_page_writes"):
        if said(name) != "on":
            raise DatabaseError(
                f"PostgreSQL runs with {name} = {said(name)}: it would lose what it acknowledged.", hint=f"{name} = on"
            )
    if said("synchronous_commit") == "off":
        raise DatabaseError(
            "PostgreSQL runs with synchronous_commit = off: it would lose what it acknowledged.",
            hint="synchronous_commit = on, for this database or its user at least",
        )
