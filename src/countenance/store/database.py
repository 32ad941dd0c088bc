"""One SQLite file that is the server's only record of truth: one writer, many readers, an outbox.

    db = Database(folder / "countenance.db")
    db.migrate("gallery", scripts)
    db.write(entry, work)          # durable when it returns
    with db.reading() as connection: ...

Guarantees: a `write` that returned survives a power cut and is seen by every later read; a write that
raised left nothing, except for `AfterCommitError`. The outbox row of a change exists exactly when its
effect does. It knows no table but its own, and nothing of faces or accounts.

Sources: https://www.sqlite.org/wal.html, https://www.sqlite.org/pragma.html.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import resources
from pathlib import Path
from typing import TypeVar, cast

from countenance.store import migration
from countenance.store.entry import Entry
from countenance.store.erasures import FILE as ERASURES_FILE
from countenance.store.erasures import Erasures
from countenance.store.failures import DatabaseError, translate
from countenance.store.keyring import sync_folder
from countenance.store.writer import Job, Sequencer, Truncation, Writer

T = TypeVar("T")

_SYNCHRONOUS = ("FULL", "EXTRA", "NORMAL", "OFF")  # the values of PRAGMA synchronous
_BUSY_TIMEOUT_MS = 5_000  # how long SQLite itself waits for a lock of another program
_WRITER_CACHE_KIB = 32_768  # holds the upper levels of the FaceId index of about a million references
_QUEUE_LIMIT = 1_024  # jobs; each holds at most the faces of one image
_QUEUE_TIMEOUT_S = 30.0  # then the disk is hopelessly behind and the caller is told so


class _Reader(sqlite3.Connection):
    """A read connection that can be held weakly, so that it goes with its thread."""

    def __del__(self) -> None:
        self.close()


class Database:
    """The open file. Safe to use from any thread; `close` it once, at the end."""

    def __init__(
        self,
        path: Path,
        *,
        synchronous: str = "FULL",
        queue_limit: int = _QUEUE_LIMIT,
        queue_timeout_s: float = _QUEUE_TIMEOUT_S,
    ) -> None:
        """Open the file, made with mode 0600 if there is none, and recover what a crash left behind.

        Args:
            synchronous: anything but FULL and EXTRA gives up durability; for tests and measurements.
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
        try:
            connection = sqlite3.connect(
                _uri(path), uri=True, isolation_level=None, check_same_thread=False, cached_statements=256
            )
        except sqlite3.Error as failure:
            raise translate(failure) from failure
        try:
            _prepare(connection, synchronous)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            connection.execute("BEGIN IMMEDIATE")
            migration.apply(connection, "store", _own_scripts())
            connection.execute("COMMIT")
        except BaseException as failure:
            connection.close()
            if isinstance(failure, sqlite3.Error):
                raise translate(failure) from failure
            raise
        self._connection = connection
        self.erasures = Erasures(path.with_name(ERASURES_FILE))
        """What was taken out for good, noted outside the file as well."""
        self._writer = Writer(connection, queue_limit=queue_limit, queue_timeout_s=queue_timeout_s)
        self._writer.after_commit.append(self.erasures.flush)
        try:
            self.erasures.open(connection)
        except BaseException:
            connection.close()
            raise
        self._writer.start()

    def migrate(self, component: str, scripts: Sequence[str]) -> None:
        """Apply the scripts that `component` lacks, all in one transaction.

        Raises:
            DatabaseError: the database is at a later version than `scripts` reach.
        """
        self.maintain(lambda connection: migration.apply(connection, component, scripts))

    def write(
        self,
        entry: Entry | object | Callable[[T], object],
        work: Callable[[sqlite3.Connection], T],
        *,
        after_commit: Callable[[T], None] | None = None,
    ) -> T:
        """Run `work` in the writer thread and make its effect and `entry` durable together.

        Args:
            entry: an `Entry`, something else that the sequencer knows, or a function of the work's result that makes
                one, so that a record can say what was really changed.
            work: gets the writing connection inside a savepoint; must not begin, commit or keep it.
            after_commit: gets the result in the writer thread once it is durable, before this returns.

        Raises:
            DatabaseBusy: the queue stayed full; nothing happened.
            AfterCommitError: stored, but `after_commit` failed.
            DatabaseError: not stored.
            Exception: whatever `work` raised; then its changes are taken back.
        """
        return cast("T", self._writer.submit(Job(entry, work, after_commit)))

    def record(self, entry: Entry | object) -> None:
        """Make an entry durable that has no effect beside itself, as `write` makes one with its effect."""
        self._writer.submit(Job(entry, None))

    def maintain(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Like `write`, for housekeeping whose effect was recorded before: no outbox row."""
        return cast("T", self._writer.submit(Job(None, work)))

    def sequence_with(self, sequencer: Sequencer) -> None:
        """Have what `write` records given its order by `sequencer`, in the same transaction, from now on.

        Until then an `Entry` goes to the outbox. The sequencer's `in_doubt`, if it has one, is to be registered with
        `when_in_doubt`.
        """
        self._writer.sequencer = sequencer

    def when_in_doubt(self, check: Callable[[], None]) -> None:
        """Have `check` called in the writer thread whenever a commit failed.

        A commit that reports a failure may have taken effect all the same. Whoever keeps a copy of the
        database in memory compares it then; the callers of the failed writes wait until it has.
        """
        self._writer.when_in_doubt.append(check)

    def truncate_wal(self) -> bool:
        """Move the write-ahead log into the database and cut it to zero bytes.

        Returns whether it is empty now. A reader in the middle of a statement can hold it, or the queue be full; then
        the writer thread goes on trying until it has succeeded. Never raises: what it follows was committed before.
        """
        try:
            return cast("bool", self._writer.submit(Truncation()))
        except DatabaseError:
            self._writer.owe_truncation()
            return False

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
    def reading(self, *, snapshot: bool = False) -> Iterator[sqlite3.Connection]:
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

    def pending_outbox(self, limit: int) -> list[tuple[int, Entry]]:
        """The oldest entries not yet drained, at most `limit`, with their positions in ascending order.

        Positions grow and are never given twice; gaps do not occur while nothing was rolled back.
        """
        with self.reading() as connection:
            rows = connection.execute(
                "SELECT position, operation, account_id, access_key_id, request_id, at, details FROM outbox "
                "WHERE position > (SELECT drained FROM outbox_cursor) ORDER BY position LIMIT ?",
                (limit,),
            ).fetchall()
        return [(row[0], Entry.from_row(row[1:])) for row in rows]

    def outbox_drained(self, upto: int) -> None:
        """Say that the consumer holds every entry up to this position durably; they are dropped here.

        A consumer that dies before it says so gets the same entries, with the same positions, again.
        """

        def move(connection: sqlite3.Connection) -> None:
            connection.execute("UPDATE outbox_cursor SET drained = max(drained, ?)", (upto,))
            connection.execute("DELETE FROM outbox WHERE position <= ?", (upto,))

        self.maintain(move)

    def last_outbox_position(self) -> int:
        """The position given last, whether drained or not; 0 when there was none."""
        with self.reading() as connection:
            row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'outbox'").fetchone()
        return int(row[0]) if row else 0

    def outbox_position(self) -> int:
        """The position up to which the consumer has everything."""
        with self.reading() as connection:
            return int(connection.execute("SELECT drained FROM outbox_cursor").fetchone()[0])

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
        try:
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as failure:
            raise translate(failure) from failure
        finally:
            self._connection.close()


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


def _own_scripts() -> list[str]:
    folder = resources.files("countenance.store") / "schema"
    return [(folder / name).read_text(encoding="utf-8") for name in ("0001.sql", "0002.sql")]
