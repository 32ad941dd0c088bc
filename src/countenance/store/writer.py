"""The one thread that changes the database: it gathers waiting jobs and commits them with one sync.

A sync of the disk costs the same for one change as for a hundred, so jobs that arrive while a commit is
being synced are committed together by the next one (group commit). Each job that does work has its own
savepoint: a job that fails takes back its own changes and nobody else's. One that only brings an entry for the
sequencer needs none. Nothing here knows what the jobs do.

Order of a group: the session begins a transaction that no other writer has beside it; what others wrote meanwhile is
looked at; per job SAVEPOINT, work, outbox row, RELEASE; what the sequencer makes of the entries; the commit; every
job's after_commit in order; then the callers are answered. A failed commit fails every job of the group, the ones that
had already failed included, because their failure may rest on changes that were taken back.

After a failure that leaves open what is on the disk the thread refuses to write on: see `session`.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from countenance.store.entry import Entry
from countenance.store.failures import AfterCommitError, DatabaseBusy, DatabaseError, DecidedMeanwhile
from countenance.store.session import NOTE_ACTS, Session, State
from countenance.store.sql import Connection

_LOG = logging.getLogger(__name__)

GROUP_LIMIT = 128  # jobs: bounds how long the first of a group waits for the last
_RETRY_TRUNCATE_S = 0.25  # when an owed truncation is tried again; twice as long after each time in vain
_RETRY_TRUNCATE_MOST_S = 8.0  # an online backup may read for minutes

_INSERT_ENTRY = (
    "INSERT INTO outbox (operation, account_id, access_key_id, request_id, at, details) VALUES (?, ?, ?, ?, ?, ?)"
)


class _Task:
    """Something that a thread has queued and waits for."""

    __slots__ = ("_done", "failure", "result")

    def __init__(self) -> None:
        # A bare lock, released once: a `Future` makes a condition with two locks for the same, and each hand-over
        # between threads is a system call (docs/performance.md).
        self._done = threading.Lock()
        self._done.acquire()
        self.result: Any = None
        self.failure: BaseException | None = None

    def answer(self) -> None:
        """Let the waiting thread have `result` or `failure`. Once."""
        self._done.release()

    def outcome(self) -> Any:
        """Wait for the answer: the result, or the failure raised. Once."""
        self._done.acquire()
        if self.failure is None:
            return self.result
        try:
            raise self.failure
        finally:
            self = None  # type: ignore[assignment]  # the traceback holds this frame: no cycle with the task


class Job(_Task):
    """One change: `work` inside the transaction, `after_commit` with its result once it is durable."""

    __slots__ = ("after_commit", "entry", "fence", "record", "work")

    def __init__(
        self,
        entry: object | Callable[[Any], object] | None,
        work: Callable[[Connection], Any] | None,
        after_commit: Callable[[Any], None] | None = None,
        fence: Callable[[Connection], None] | None = None,
    ) -> None:
        """One change.

        Args:
            entry: an `Entry`, something else that the sequencer knows, or what makes one of them from the work's
                result.
            work: None when there is nothing but the entry.
            fence: raises, inside the transaction, when whoever queued it may not write any more.
        """
        super().__init__()
        self.entry = entry
        self.work = work
        self.after_commit = after_commit
        self.fence = fence
        self.record: object | None = None


class Truncation(_Task):
    """A request to move everything from the WAL into the database and cut the WAL to nothing."""

    __slots__ = ()


class Sequencer(Protocol):
    """Gives records their order inside the transaction of their effects; called in the writer thread only."""

    def foreign(self, connection: Connection) -> None:
        """Others wrote since the last group: look at what they left, inside the transaction that keeps them out."""

    def has_acts(self, records: Sequence[object]) -> bool:
        """Whether some of the prepared records say what processes keep in memory."""

    def prepared(self, record: object) -> object:
        """What `sequence` takes for a record. Raising loses the record's own change alone."""

    def sequence(self, connection: Connection, records: Sequence[object]) -> None:
        """Write the prepared records of a group, in order, before its commit. Raising loses the whole group."""

    def committed(self) -> None:
        """The group is durable."""


class Stop:
    """The last thing in the queue."""

    __slots__ = ()


class Writer:
    """Owns the writing connection from `start` to `stop`."""

    def __init__(self, session: Session, *, queue_limit: int, queue_timeout_s: float) -> None:
        self._session = session
        self._queue_timeout_s = queue_timeout_s
        self._queue_limit = queue_limit
        self._queue: queue.SimpleQueue[Job | Truncation | Stop] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="countenance-writer", daemon=True)
        self._door = threading.Lock()
        self._is_closed = False
        self._broken: DatabaseError | None = None
        self._owes_truncation = False
        self._retry_in_s = _RETRY_TRUNCATE_S
        self._retry_at = 0.0
        self._left: State | None = None
        """Where the last group of this process left the database; None while that is not known."""
        self._connections = 0
        """How many connections there had been by then."""
        self.acts_known = 0
        """The last act that this process has taken in; see `Database.follow`."""
        self.refuses_stale = False
        """Whether an act is refused while there are others that this process has not taken in."""
        self._mine = threading.local()
        self.sequencer: Sequencer | None = None
        self.when_in_doubt: list[Callable[[], None]] = []
        self.after_commit: list[Callable[[Connection], None]] = []
        """Called after each commit, before anybody is answered; must not raise."""

    def start(self) -> None:
        """Begin to serve the queue."""
        self._thread.start()

    def stop(self) -> None:
        """Refuse new jobs, finish the queued ones and end the thread. Safe to call twice."""
        with self._door:
            was_closed, self._is_closed = self._is_closed, True
        if not was_closed:
            self._queue.put(Stop())
        self._thread.join()

    @property
    def is_closed(self) -> bool:
        """Whether it was stopped."""
        return self._is_closed

    @property
    def queued(self) -> int:
        """Jobs that wait, about."""
        return self._queue.qsize()

    def owe_truncation(self) -> None:
        """Have the write-ahead log truncated as soon as that is possible."""
        self._owes_truncation = True

    def submit(self, task: Job | Truncation) -> Any:
        """Queue a task and wait until it is done.

        Raises:
            DatabaseBusy: no place became free in the queue in time.
            DatabaseError: the database is closed, or refuses to write since a disk error.
        """
        if threading.current_thread() is self._thread:
            raise RuntimeError("a job of the writer thread cannot wait for another one")
        self._enqueue(task)
        try:
            result = task.outcome()
        finally:
            del task  # a failure's traceback holds this frame: no cycle with the task
        self._mine.written = self.written + 1
        return result

    @property
    def written(self) -> int:
        """How often this thread has written something, ever."""
        return int(getattr(self._mine, "written", 0))

    def _enqueue(self, task: Job | Truncation) -> None:
        # A place in the queue is awaited outside the lock, or a full queue would also block `stop`.
        deadline_steps = max(1, int(self._queue_timeout_s / 0.05))
        for _ in range(deadline_steps):
            with self._door:
                if self._is_closed:
                    raise DatabaseError("The database is closed.")
                if self._queue.qsize() < self._queue_limit:  # whoever puts something in holds the door
                    self._queue.put(task)
                    return
            threading.Event().wait(0.05)
        raise DatabaseBusy(
            "Too many changes wait for the database; nothing was changed.",
            hint="The disk is slower than the load. Send fewer concurrent changes or use a faster disk.",
        )

    def _run(self) -> None:
        postponed: Truncation | Stop | None = None
        while True:
            task = postponed or self._next()
            postponed = None
            if isinstance(task, Stop):
                return
            if isinstance(task, Truncation):
                task.result = self._truncate()
                task.answer()
            elif isinstance(task, Job):
                group = [task]
                while len(group) < GROUP_LIMIT:
                    try:
                        following = self._queue.get_nowait()
                    except queue.Empty:
                        break
                    if not isinstance(following, Job):
                        postponed = following
                        break
                    group.append(following)
                self._serve(group)
                self._tidy()
            if self._owes_truncation and time.monotonic() >= self._retry_at:
                self._truncate()

    def _next(self) -> Job | Truncation | Stop | None:
        try:
            wait_s = max(0.001, self._retry_at - time.monotonic()) if self._owes_truncation else None
            return self._queue.get(timeout=wait_s)
        except queue.Empty:
            return None

    def _serve(self, group: list[Job]) -> None:
        connection = self._session.connection
        try:
            if self._broken is not None:
                raise self._broken
            state = self._begin()
            connection = self._session.connection  # a lost one is replaced
            is_behind = self.refuses_stale and state is not None and state.acts != self.acts_known
            knows = None
            for job in group:
                self._perform(connection, job, is_behind=is_behind)
            records = [job.record for job in group if job.failure is None and job.record is not None]
            if self.sequencer is not None and records:
                self.sequencer.sequence(connection, records)
                if state is not None and self.sequencer.has_acts(records):
                    connection.execute(NOTE_ACTS)
                    # Whoever had taken in all acts before this one knows this one, too: it is its own.
                    if self.acts_known == state.acts:
                        knows = state.change
                    state = State(state.change, state.change, state.term)
            self._commit()
            self._left = state
            if knows is not None:
                self.acts_known = knows
            if self.sequencer is not None:
                self.sequencer.committed()
            for act in self.after_commit:
                act(connection)
        except Exception as failure:  # noqa: BLE001 - whatever broke the group is each caller's answer
            self._left = None
            self._abandon(group, failure)
            return
        for job in group:
            if job.failure is None and job.after_commit is not None:
                try:
                    job.after_commit(job.result)
                except BaseException as failure:  # noqa: BLE001 - must not take the writer thread down
                    job.failure = AfterCommitError(
                        "The change was stored, but the step after it failed.",
                        hint="The change will be seen after a restart at the latest.",
                    )
                    job.failure.__cause__ = failure
        for job in group:
            job.answer()

    def _perform(self, connection: Connection, job: Job, *, is_behind: bool) -> None:
        if job.work is None and job.fence is None and self.sequencer is not None and not callable(job.entry):
            try:
                record = self.sequencer.prepared(job.entry)  # nothing is done that could have to be taken back
                if is_behind:
                    self._refuse_stale(record)
                job.record = record
            except Exception as failure:  # noqa: BLE001 -- its own caller's answer
                job.failure = failure
            return
        connection.execute("SAVEPOINT job")
        try:
            if job.fence is not None:
                job.fence(connection)
            if job.work is not None:
                job.result = job.work(connection)
            job.record = job.entry(job.result) if callable(job.entry) else job.entry
            if job.record is not None:
                if self.sequencer is not None:
                    job.record = self.sequencer.prepared(job.record)
                    if is_behind:
                        self._refuse_stale(job.record)
                elif isinstance(job.record, Entry):
                    connection.execute(_INSERT_ENTRY, job.record.row())
                else:
                    raise TypeError("without a sequencer only an Entry can be recorded")
            connection.execute("RELEASE job")
        except BaseException as failure:
            if not self._session.is_open():
                raise  # the whole transaction was taken back (disk full, disk error, connection lost): so is the group
            connection.execute("ROLLBACK TO job")
            connection.execute("RELEASE job")
            job.failure = self._session.meaning(failure)

    def _refuse_stale(self, record: object) -> None:
        """What was decided by a copy that lacks the acts of others must not be written."""
        if self.sequencer is not None and self.sequencer.has_acts([record]):
            raise DecidedMeanwhile(
                "Somebody else decided something at the same moment; nothing was changed.", hint="try again"
            )

    def _begin(self) -> State | None:
        state = self._session.begin()
        if self._session.connections != self._connections:
            # A database that lacks the last transactions can count as many as this process left, others' among them.
            self._left = None
        if state is not None and (self._left is None or state.change != self._left.change + 1) and self.sequencer:
            self.sequencer.foreign(self._session.connection)
        self._connections = self._session.connections  # not before it was looked at
        return state

    def _commit(self) -> None:
        self._session.commit()

    def _abandon(self, group: list[Job], failure: Exception) -> None:
        try:
            self._session.rollback()
        except Exception as second:  # noqa: BLE001 - what the driver raises
            self._break(second)
        if self._session.breaks(failure):
            self._break(failure)
        meaning = self._session.meaning(failure)
        if not isinstance(meaning, DatabaseError):
            _LOG.error("nothing is written: %s", failure)  # why is for whoever runs the server, not for callers
            meaning = DatabaseError("The change could not be confirmed as stored.")
        for check in self.when_in_doubt:
            try:
                check()
            except Exception:  # noqa: BLE001 - the callers below must be answered whatever happens
                _LOG.exception("a copy in memory could not be compared with the database")
        for job in group:
            # one exception object in several threads would mix their tracebacks
            job.failure = type(meaning)(meaning.message, hint=meaning.hint)
            job.failure.__cause__ = failure
            job.answer()

    def _break(self, failure: BaseException) -> None:
        self._broken = DatabaseError(
            "The database takes no more changes since the disk reported an error.",
            hint="Look at the system log for disk errors, then restart the server: it recovers what was acknowledged.",
        )
        self._broken.__cause__ = failure

    def _tidy(self) -> None:
        if self._broken is not None:
            return
        try:
            self._session.tidy()
        except Exception as failure:  # noqa: BLE001 - what the driver raises
            if self._session.breaks(failure):
                self._break(failure)  # anything else is tried again the next time

    def _truncate(self) -> bool:
        """Whether nothing is left of what was overwritten; when a reader still needs it, it is tried again until it is
        gone."""
        self._owes_truncation = self._broken is None
        if self._broken is not None:
            return False
        try:
            is_done = self._session.truncate()
        except Exception as failure:  # noqa: BLE001 - what the driver raises
            if self._session.breaks(failure):
                self._break(failure)
            is_done = False
        self._owes_truncation = not is_done and self._broken is None
        if is_done:
            self._retry_in_s = _RETRY_TRUNCATE_S
        else:
            self._retry_at = time.monotonic() + self._retry_in_s
            self._retry_in_s = min(2 * self._retry_in_s, _RETRY_TRUNCATE_MOST_S)
        return is_done
