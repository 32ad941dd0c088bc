"""The server's only record of truth: one writer at a time, many readers, an outbox. What both databases have in common.

    db = SqliteDatabase(folder / "countenance.db")     # or PostgresDatabase(folder, url)
    db.migrate("gallery", scripts)
    db.write(entry, work)          # durable when it returns
    with db.reading() as connection: ...

Guarantees: a `write` that returned survives a power cut and is seen by every later read; a write that
raised left nothing, except for `AfterCommitError`. The outbox row of a change exists exactly when its
effect does. It knows no table but its own, and nothing of faces or accounts.
"""

from __future__ import annotations

import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar, cast

from countenance.store import migration
from countenance.store.entry import Entry
from countenance.store.erasures import FILE as ERASURES_FILE
from countenance.store.erasures import Erasures
from countenance.store.failures import DatabaseError, DecidedMeanwhile
from countenance.store.listening import Ears, Polling
from countenance.store.session import LOOK, Session, State
from countenance.store.sql import Connection
from countenance.store.writer import Job, Sequencer, Truncation, Writer

T = TypeVar("T")

QUEUE_LIMIT = 1_024  # jobs; each holds at most the faces of one image
TRIES = 50  # of an act that others keep coming before: each time one of them got through, in milliseconds
QUEUE_TIMEOUT_S = 30.0  # then the disk is hopelessly behind and the caller is told so


class Database(ABC):
    """The open database. Safe to use from any thread; `close` it once, at the end.

    Attributes:
        folder: of the files beside the database.
        node: this process, for others that have the database open as well.
        is_shared: whether others may write to it.
    """

    def __init__(
        self,
        folder: Path,
        session: Session,
        *,
        is_shared: bool,
        node: str,
        queue_limit: int = QUEUE_LIMIT,
        queue_timeout_s: float = QUEUE_TIMEOUT_S,
    ) -> None:
        """Bring the store's own tables up to date and start the writer thread; `session` is closed when that fails."""
        self.folder = folder
        self.node = node
        self.is_shared = is_shared
        self.erasures = Erasures(folder / ERASURES_FILE)
        """What was taken out for good, noted outside the database as well."""
        self.followers: list[Callable[[], None]] = []
        """What brings a copy in memory up to the acts of other processes, in this order; see `follow`."""
        self._following = threading.Lock()
        self._fences = threading.local()
        self._session = session
        self._writer = Writer(session, queue_limit=queue_limit, queue_timeout_s=queue_timeout_s)
        self._writer.after_commit.append(self.erasures.flush)
        try:
            session.begin_first()
            migration.apply(session.connection, "store", _own_scripts())
            session.commit()
            self.erasures.open(session.connection)
            self._writer.acts_known = state_of(session.connection).acts
        except BaseException as failure:
            session.abandon()
            meaning = session.meaning(failure)
            if meaning is failure:
                raise
            raise meaning from failure
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
        work: Callable[[Connection], T],
        *,
        after_commit: Callable[[T], None] | None = None,
        once: bool = False,
    ) -> T:
        """Run `work` in the writer thread and make its effect and `entry` durable together.

        Args:
            entry: an `Entry`, something else that the sequencer knows, or a function of the work's result that makes
                one, so that a record can say what was really changed.
            work: gets the writing connection inside a savepoint; must not begin, commit or keep it.
            after_commit: gets the result in the writer thread once it is durable, before this returns.
            once: it is decided by what this process keeps in memory: when it was not up to date, whoever decided has to
                look again. Otherwise it is written as soon as what others did was taken in.

        Raises:
            DecidedMeanwhile: `once`, and others decided something that was not taken in yet; nothing happened.
            DatabaseBusy: the queue stayed full; nothing happened.
            AfterCommitError: stored, but `after_commit` failed.
            DatabaseError: not stored.
            Exception: whatever `work` raised; then its changes are taken back.
        """
        return cast("T", self._submit(lambda: Job(entry, work, after_commit, self._fence()), once=once))

    def record(self, entry: Entry | object, *, once: bool = False) -> None:
        """Make an entry durable that has no effect beside itself, as `write` makes one with its effect."""
        self._submit(lambda: Job(entry, None, None, self._fence()), once=once)

    def _submit(self, job: Callable[[], Job], *, once: bool) -> Any:
        if once:
            return self._writer.submit(job())
        return self.again(lambda: self._writer.submit(job()))

    def maintain(self, work: Callable[[Connection], T]) -> T:
        """Like `write`, for housekeeping whose effect was recorded before: no outbox row."""
        return cast("T", self._writer.submit(Job(None, work, None, self._fence())))

    @contextmanager
    def fenced(self, fence: Callable[[Connection], None]) -> Iterator[None]:
        """Have everything that this thread writes inside checked by `fence` first, in the transaction that writes it.

        Args:
            fence: raises, mostly `FenceBroken`, when this process may not write that any more.
        """
        before, self._fences.fence = self._fence(), fence
        try:
            yield
        finally:
            self._fences.fence = before

    def _fence(self) -> Callable[[Connection], None] | None:
        return getattr(self._fences, "fence", None)

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

    @property
    def is_closed(self) -> bool:
        """Whether `close` was called."""
        return self._writer.is_closed

    @abstractmethod
    def reading(self, *, snapshot: bool = False) -> AbstractContextManager[Connection]:
        """This thread's connection for reading, with the driver's errors put into words.

        Fetch every row at once: an open cursor can hold others back. With `snapshot`, all statements inside see one
        state of the database.

        Raises:
            DatabaseError: the database is closed or cannot be read.
        """

    def keeps_keys_in(self, table: str) -> None:
        """Say that keys are destroyed in a table by overwriting them, for databases that keep what was overwritten."""
        del table  # SQLite overwrites in place

    def alone(self) -> AbstractContextManager[None]:
        """Keeps other nodes from starting meanwhile: for what is made once. Nothing where one process starts.

        Raises:
            DatabaseError: another one has been starting for too long.
        """
        return nullcontext()

    @abstractmethod
    def copy_to(self, target: Path) -> None:
        """Write a copy of the database as it is at one moment to a file, with mode 0600, durable when this returns.

        Raises:
            DatabaseError: the target exists already or cannot be written, or this database is copied by its own tools.
        """

    def state(self) -> State:
        """Where the database stands; counted only where several processes write."""
        with self.reading() as connection:
            return state_of(connection)

    def follow(self) -> None:
        """Take in what other processes did that this one keeps in memory. Costs one small read; nothing where nobody
        else writes.

        Raises:
            DatabaseError: it cannot be told, so that nothing may be decided.
        """
        if not self.is_shared or self.state().acts == self._writer.acts_known:
            return
        with self._following:
            acts = self.state().acts
            if acts == self._writer.acts_known:
                return
            for each in self.followers:
                each()
            self._writer.acts_known = acts

    def begin_following(self) -> None:
        """Everything that keeps a copy in memory is there: from now on an act of this process is refused while it has
        not taken in all acts of others (`DecidedMeanwhile`)."""
        self._writer.refuses_stale = self.is_shared
        self.follow()

    def again(self, work: Callable[[], T], *, repeats: bool = False) -> T:
        """What `work` returns; when another process decided something meanwhile, that is taken in and `work` is tried
        again, unless it had written something before. Not for who holds a lock that a follower takes.

        Args:
            repeats: what it writes before its act can be written twice.

        Raises:
            DecidedMeanwhile: somebody else was faster each time, or `work` cannot be tried again.
        """
        for _ in range(TRIES):
            written = self._writer.written
            try:
                return work()
            except DecidedMeanwhile:
                if self._writer.written != written and not repeats:
                    raise
                self.follow()
        return work()

    def tell(self, connection: Connection, what: str) -> None:
        """Have others hear, after the commit of the open transaction, that it changed something; see `listen`."""
        del connection, what  # they look by themselves

    def listen(self) -> Ears:
        """What hears the changes of others from now on. For one thread, which closes it.

        Raises:
            DatabaseError: the database cannot be reached.
        """
        return Polling(lambda: self.state().change)

    def clock_us(self, connection: Connection) -> int:
        """The time by which processes that share the database agree on who does what, microseconds since 1970."""
        return time.time_ns() // 1000

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

        def move(connection: Connection) -> None:
            connection.execute("UPDATE outbox_cursor SET drained = ? WHERE drained < ?", (upto, upto))
            connection.execute("DELETE FROM outbox WHERE position <= ?", (upto,))

        self.maintain(move)

    def last_outbox_position(self) -> int:
        """The position given last, whether drained or not; 0 when there was none."""
        with self.reading() as connection:
            row = connection.execute("SELECT max(position) FROM outbox").fetchone()
        return int(row[0]) if row else 0

    def outbox_position(self) -> int:
        """The position up to which the consumer has everything."""
        with self.reading() as connection:
            return int(connection.execute("SELECT drained FROM outbox_cursor").fetchone()[0])

    def close(self) -> None:
        """Finish the queued writes, let go of what was overwritten and close every connection."""
        self._writer.stop()
        self._session.close()


def state_of(connection: Connection) -> State:
    """Where the database stands, as a connection sees it."""
    return State(*connection.execute(LOOK).fetchone())


def new_node() -> str:
    """A name for this process among those that share a database."""
    return uuid.uuid4().hex[:12]


def _own_scripts() -> list[str]:
    folder = resources.files("countenance.store") / "schema"
    return [(folder / name).read_text(encoding="utf-8") for name in ("0001.sql", "0002.sql", "0003.sql")]
