"""The first consumer of the outbox: one append-only file of what was changed.

A state-changing call commits its entry in the transaction of its effect (`store.Database.write`). This
consumer copies committed entries, in commit order, to `entries.jsonl`, one JSON object a line, and makes them
durable before it marks them drained. Drained twice after a crash, never lost: each line carries its sequence
number, and lines already in the file are skipped when it is opened again.

It knows no face and no AWS word; an entry holds identifiers and counts, never an image or a template.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from pathlib import Path

from countenance.errors import Error
from countenance.store import Database, Entry, sync_folder

BATCH = 1000
"""Entries moved per round, so that a long backlog is drained in bounded memory."""
PERIOD_S = 1.0
"""How long a committed entry may wait for the file. It is durable in the database from its commit on."""

_log = logging.getLogger(__name__)


class RecordAhead(Error):
    """The record knows of changes that the database does not: an older database lies beside it."""

    def __init__(self, path: Path, recorded: int, known: int) -> None:
        super().__init__(
            f"The record {path} holds {recorded} changes, the database only {known}: the database is older.",
            hint="Restore the database that belongs to this record, or move the record away and keep it.",
        )


class Consumer:
    """Moves entries from the database to the file, on a thread of its own.

    Args:
        database: where entries are committed.
        path: the file to append to; made with mode 0600.
    """

    def __init__(self, database: Database, path: Path) -> None:
        self._database = database
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._last = self._recover()
        sync_folder(path.parent)  # a new file survives a power cut when its folder's entry does
        sync_folder(path.parent.parent)
        if self._last > (known := database.last_outbox_position()):
            os.close(self._file)
            raise RecordAhead(path, self._last, known)
        self._stop = threading.Event()
        self._failed = False
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    @property
    def healthy(self) -> bool:
        """False while the last attempt to write the file failed."""
        return not self._failed

    def drain(self) -> int:
        """Moves everything committed so far; returns how many entries."""
        moved = 0
        while pending := self._database.pending_outbox(BATCH):
            fresh = [(number, entry) for number, entry in pending if number > self._last]
            if fresh:
                self._append("".join(_line(number, entry) for number, entry in fresh).encode())
                self._last = fresh[-1][0]
            self._database.outbox_drained(pending[-1][0])
            moved += len(fresh)
        return moved

    def close(self) -> None:
        """Stops the thread, moves what is left and closes the file."""
        self._stop.set()
        self._thread.join()
        self._attempt()
        os.close(self._file)

    def _run(self) -> None:
        while not self._stop.wait(PERIOD_S):
            self._attempt()

    def _attempt(self) -> None:
        try:
            self.drain()
            self._failed = False
        except (OSError, Error) as error:
            # Nothing is lost: the entries stay in the database until they are drained.
            self._failed = True
            _log.error("the record of changes cannot be written: %s", error)

    def _append(self, raw: bytes) -> None:
        end = os.fstat(self._file).st_size
        try:
            while raw:
                raw = raw[os.write(self._file, raw) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, end)  # no half line: the next attempt starts clean
            raise

    def _recover(self) -> int:
        """Cuts a torn last line off and returns the last sequence number in the file, 0 when empty."""
        size = os.fstat(self._file).st_size
        last, at = b"", size
        while at > 0 and last.count(b"\n") < 2:
            step = min(65536, at)
            at -= step
            last = os.pread(self._file, step, at) + last
        whole = last.rfind(b"\n") + 1
        os.ftruncate(self._file, at + whole)
        lines = last[:whole].splitlines()
        try:
            return int(json.loads(lines[-1])["seq"]) if lines else 0
        except (ValueError, KeyError, TypeError):
            raise Error(
                "The last line of the record of changes is damaged.",
                hint="Restore ledger/entries.jsonl from the latest backup, or move it away and keep it.",
            ) from None


def _line(number: int, entry: Entry) -> str:
    record = {
        "seq": number,
        "operation": entry.operation,
        "account_id": entry.account_id,
        "access_key_id": entry.access_key_id,
        "request_id": entry.request_id,
        "at": entry.at.isoformat(),
        "details": dict(entry.details),
    }
    return json.dumps(record, separators=(",", ":"), sort_keys=True) + "\n"
