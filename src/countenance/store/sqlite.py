"""The embedded database: one SQLite file in the data folder.

Several processes of one machine can share it when they say so; SQLite's own lock lets one of them write at a time.

Sources: https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from countenance.store import backup
from countenance.store.database import QUEUE_LIMIT, QUEUE_TIMEOUT_S, Database, new_node
from countenance.store.failures import DatabaseError, is_io_error, translate
from countenance.store.keyring import sync_folder
from countenance.store.session import TAKE, State
from countenance.store.sql import Connection

_SYNCHRONOUS = ("FULL", "EXTRA", "NORMAL", "OFF")  # the values of PRAGMA synchronous
_BUSY_TIMEOUT_MS = 5_000  # how long SQLite itself waits for a lock of another program
_WRITER_CACHE_KIB = 32_768  # holds the upper levels of the FaceId index of about a million references
CHECKPOINT_AFTER_CHANGES = 500  # rows; about SQLite's own default of 1000 WAL pages for single enrolments
TURN_SUFFIX = "-turn"
"""Of the file beside a shared database that is locked by whoever writes."""
_WAIT_FOR_READERS_MS = 100  # of a truncation: every other change waits for it as well


class _Reader(sqlite3.Connection):
    """A read connection that can be held weakly, so that it goes with its thread."""

    def __del__(self) -> None:
        self.close()


class SqliteSession:
    """The writing connection to the file.

    After an input/output error in a commit or a checkpoint nothing may be written any more: Linux may mark pages
    that it failed to sync as clean, so a later sync can report success for lost data
    (https://www.usenix.org/conference/atc20/presentation/rebello).
    """

    def __init__(self, path: Path, *, synchronous: str, node: str, is_shared: bool) -> None:
        """Open the file and recover what a crash left behind. Raises DatabaseError."""
        self._take = (node, node) if is_shared else None
        self._emptying = "PASSIVE" if is_shared else "TRUNCATE"  # others may need what is in the log, and go on
        try:
            self._sqlite = sqlite3.connect(
                _uri(path), uri=True, isolation_level=None, check_same_thread=False, cached_statements=256
            )
        except sqlite3.Error as failure:
            raise translate(failure) from failure
        self.connection: Connection = self._sqlite
        self._checkpointed_changes = 0
        self._turn = _Turn(path.with_name(path.name + TURN_SUFFIX)) if is_shared else None
        try:
            _prepare(self._sqlite, synchronous)
            if not is_shared:  # others may read in the middle of a statement, and are not waited for
                self._sqlite.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except BaseException as failure:
            self._sqlite.close()
            if isinstance(failure, sqlite3.Error):
                raise translate(failure) from failure
            raise

    @property
    def connections(self) -> int:
        return 1

    def begin_first(self) -> None:
        """Open the transaction in which the store's own tables are made."""
        self.connection.execute("BEGIN IMMEDIATE")

    def begin(self) -> State | None:
        if self._turn is None or self._take is None:
            self.connection.execute("BEGIN IMMEDIATE")
            return None
        self._turn.take()
        self.connection.execute("BEGIN IMMEDIATE")
        return State(*self.connection.execute(TAKE, self._take).fetchone())

    def commit(self) -> None:
        self.connection.execute("COMMIT")
        if self._turn is not None:
            self._turn.give()

    def rollback(self) -> None:
        try:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
        finally:
            if self._turn is not None:
                self._turn.give()

    def is_open(self) -> bool:
        return self.connection.in_transaction

    def meaning(self, failure: BaseException) -> BaseException:
        if isinstance(failure, sqlite3.Error) and not isinstance(failure, sqlite3.IntegrityError):
            meaning = translate(failure)
            meaning.__cause__ = failure
            return meaning
        return failure

    def breaks(self, failure: BaseException) -> bool:
        return is_io_error(failure)

    def tidy(self) -> None:
        """Our own checkpoints: SQLite's automatic ones run inside the commit and drop their errors."""
        changes = self._sqlite.total_changes
        if changes - self._checkpointed_changes < CHECKPOINT_AFTER_CHANGES:
            return
        self._checkpointed_changes = changes
        self.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def truncate(self) -> bool:
        """Moves the write-ahead log into the database and cuts it to zero bytes."""
        connection = self.connection
        (patience_ms,) = connection.execute("PRAGMA busy_timeout").fetchone()
        try:
            connection.execute(f"PRAGMA busy_timeout = {_WAIT_FOR_READERS_MS}")
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            connection.execute(f"PRAGMA busy_timeout = {patience_ms}")
        if not busy:
            self._checkpointed_changes = self._sqlite.total_changes
        return not busy

    def abandon(self) -> None:
        self._sqlite.close()
        if self._turn is not None:
            self._turn.close()

    def close(self) -> None:
        try:
            self._sqlite.execute(f"PRAGMA wal_checkpoint({self._emptying})").fetchall()
        except sqlite3.Error as failure:
            raise translate(failure) from failure
        finally:
            self.abandon()


class _Turn:
    """Whose turn it is to write: SQLite's own lock is waited for by sleeping, up to a tenth of a second at a time, so
    that who is busy stays ahead of who waits; this one wakes whoever waits. It ends with its process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def take(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def give(self) -> None:
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        os.close(self._file)


class SqliteDatabase(Database):
    """The open file."""

    def __init__(
        self,
        path: Path,
        *,
        synchronous: str = "FULL",
        is_shared: bool = False,
        queue_limit: int = QUEUE_LIMIT,
        queue_timeout_s: float = QUEUE_TIMEOUT_S,
    ) -> None:
        """Open the file, made with mode 0600 if there is none, and recover what a crash left behind.

        Args:
            synchronous: anything but FULL and EXTRA gives up durability; for tests and measurements.
            is_shared: whether other processes write to the file meanwhile.
            queue_limit: how many writes may wait; more of them wait outside for `queue_timeout_s`.

        Raises:
            DatabaseError: no such folder, no permission, not a database, damaged, written by a newer version.
        """
        if synchronous not in _SYNCHRONOUS:
            raise ValueError(f"synchronous is one of {', '.join(_SYNCHRONOUS)}")
        self.path = path
        self._is_closed = False
        self._threads = threading.local()
        self._readers: weakref.WeakSet[_Reader] = weakref.WeakSet()
        self._readers_lock = threading.Lock()
        _ensure_file(path)
        node = new_node()
        super().__init__(
            path.parent,
            SqliteSession(path, synchronous=synchronous, node=node, is_shared=is_shared),
            is_shared=is_shared,
            node=node,
            queue_limit=queue_limit,
            queue_timeout_s=queue_timeout_s,
        )

    def read(self) -> sqlite3.Connection:
        """This thread's read connection. Fetch every row at once: an open cursor holds the log back.

        Raises:
            DatabaseError: the database is closed or cannot be opened.
        """
        reader: _Reader | None = getattr(self._threads, "reader", None)
        if reader is not None and not self._is_closed:
            return reader
        with self._readers_lock:
            if self._is_closed:
                raise DatabaseError("The database is closed.")
            try:
                reader = sqlite3.connect(
                    _uri(self.path),
                    uri=True,
                    isolation_level=None,
                    check_same_thread=False,
                    factory=_Reader,
                )
                reader.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
                reader.execute("PRAGMA temp_store = MEMORY")
                reader.execute("PRAGMA query_only = ON")
            except sqlite3.Error as failure:
                raise translate(failure) from failure
            self._readers.add(reader)
        self._threads.reader = reader
        return reader

    @contextmanager
    def reading(self, *, snapshot: bool = False) -> Iterator[Connection]:
        """This thread's read connection with SQLite's errors put into words.

        With `snapshot`, all statements inside see one state of the database.
        """
        connection = self.read()
        try:
            if snapshot:
                connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if snapshot and connection.in_transaction:
                    connection.execute("ROLLBACK")
        except sqlite3.Error as failure:
            if self._is_closed:
                raise DatabaseError("The database is closed.") from failure
            raise translate(failure) from failure

    def copy_to(self, target: Path) -> None:
        backup.copy(self.path, target)

    def close(self) -> None:
        """Finish the queued writes, empty the write-ahead log and close every connection."""
        self._writer.stop()
        with self._readers_lock:
            if self._is_closed:
                return
            self._is_closed = True
            readers = list(self._readers)
        for reader in readers:
            reader.close()
        super().close()


def _ensure_file(path: Path) -> None:
    """Make the file with mode 0600 before SQLite would make it with the umask's; its folder is synced."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        sync_folder(path.parent)
    except FileExistsError:
        return
    except OSError as failure:
        raise DatabaseError(
            f"The database {path} cannot be created: {failure.strerror}.",
            hint="Check that the folder exists and that this user may write it.",
        ) from failure


def _uri(path: Path) -> str:
    # mode=rw: a file that vanished is an error, never silently an empty database
    return f"{path.absolute().as_uri()}?mode=rw"


def _prepare(connection: sqlite3.Connection, synchronous: str) -> None:
    connection.execute(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise DatabaseError(
            "The database cannot use a write-ahead log here.",
            hint="The file must be writable and on a local file system: network file systems do not work.",
        )
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute(f"PRAGMA cache_size = -{_WRITER_CACHE_KIB}")
