"""Coming back after a loss: a log that is behind is mended, a backup put in place, and what was erased stays erased.

Knows the order of the steps, and which part of the server undoes the restore of what; how each is done is theirs. A
backup is staged in a folder of its own, mended, and put in place last: until then nothing of the present is touched.

    DIR/restoring/      only while a restore runs
    DIR/countenance.db.replaced-TIME    the database that was there before
"""

from __future__ import annotations

import logging
import shutil
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from countenance_audit.checkpoint import Checkpoint

from countenance import accounts, gallery
from countenance.accounts import Accounts, revocations
from countenance.errors import Error
from countenance.gallery import erasure
from countenance.ledger import Acts, Log, Opaque, accounting, acts, expiry, recover, retention
from countenance.ledger.acts import Difference
from countenance.ledger.copies import Copies
from countenance.ledger.history import HIGH_WATER
from countenance.ledger.recover import Refilled
from countenance.samples import Samples
from countenance.samples.samples import NOTE as SAMPLES
from countenance.store import (
    Connection,
    Database,
    Keyring,
    Replay,
    SqliteDatabase,
    backup,
    erasures,
    has_table,
    sync_folder,
)
from countenance.store.erasures import FILE as ERASURES

DATABASE: Final = "countenance.db"
MASTER_KEY: Final = "master.key"
STAGE: Final = "restoring"

REPLAYS: Final[Mapping[str, tuple[str, Replay]]] = {
    erasure.REFERENCES: ("collections", erasure.replay_references),
    erasure.COLLECTION: ("collections", erasure.replay_collections),
    erasure.CROPS: ("reference_crops", erasure.replay_crops),
    retention.PERSONS: ("log_openings", retention.replay),
    retention.NAMED: ("log_openings", retention.replay_named),
    expiry.ACCOUNTING: ("log_expired", expiry.replay),
    revocations.KEY: ("access_key", revocations.replay_keys),
    revocations.BUCKET: ("bucket_grant", revocations.replay_buckets),
    SAMPLES: ("samples", Samples.replay),
}
"""How each kind of erasure is done again, and the table that it takes from: an older database may not have it yet."""

Opened = AbstractContextManager[tuple[Database, Keyring]]
"""The database of record and the keys to it."""

Outside = Callable[[Log], None]
"""Compares a log with what others saw of it; raises LogBehind."""

_log = logging.getLogger(__name__)


class RestoreFailed(Error):
    """The backup cannot be put in place; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Successor:
    """The log that follows one that is given up; without a name, one is made up."""

    name: str | None = None


@dataclass(frozen=True, slots=True)
class Mended:
    """What became of the log: `refilled`, or `closed` and followed by another."""

    origin: str
    key: str
    size: int
    refilled: Refilled | None = None
    closed: Checkpoint | None = None
    replayed: Mapping[str, int] = field(default_factory=dict)
    """Kind of erasure -> how much of it an older database had brought back."""
    differences: Sequence[Difference] = ()
    """What the database had otherwise than the log's entries leave it, as entries say now."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What became of a backup."""

    mended: Mended
    kept: Path | None
    """The database that was there before."""


def mend(
    folder: Path,
    copies: Copies,
    *,
    reason: str,
    origin: str | None = None,
    successor: Successor | None = None,
    outside: Outside | None = None,
    is_backup: bool = False,
    opened: Opened | None = None,
) -> Mended:
    """Refill the log in a folder that is owned, or close it for a successor; then erase again what was erased, put in
    force the holds that are, and say in entries what else was lost or came back.

    Args:
        origin: that the log must have; None takes the one it has.
        outside: compares the mended log with what mirrors and witnesses saw, before anything is added or signed.
        is_backup: say it even when the log lacked nothing.
        opened: opens the database, where it is not the one in the folder.

    Raises:
        RecoveryFailed: it cannot be mended that way; nothing was changed.
        LogBehind: mirrors or witnesses saw more of it than the copies have; leaves that were put back stay.
    """
    with opened or _opened(folder) as (database, keyring):
        if successor is None:
            done = recover.refill(database, keyring, folder, copies, reason=reason)
            log = Log(database, keyring, folder, origin=origin, before_writing=outside)
            mended = Mended(log.origin, str(log.signer.verifier), log.size, refilled=done)
            was_behind = is_backup or done.size > done.first
        else:
            last = recover.close(database, keyring, folder, copies, reason=reason, successor=successor.name)
            log = Log(database, keyring, folder, origin=successor.name, before_writing=outside)
            mended = Mended(log.origin, str(log.signer.verifier), log.size, closed=last)
            was_behind = True
        Accounts(database, keyring, Acts(log.storage).granted)  # brings the register of an older copy up to date
        noted = [note for path in copies.databases for note in erasures.kept_in(path)]
        database.maintain(lambda connection: database.erasures.learn(connection, noted))
        replayed = replay_erasures(database, log)
        # Of a log that lacked nothing, a difference is no loss: `ledger fsck` goes on telling it.
        differences = reconcile(database, log, reason) if was_behind or replayed else []
        if is_backup:
            details = {f"erased_again.{kind}": count for kind, count in replayed.items()}
            log.append(_act(acts.RESTORED, {"differences": len(differences), **details, "reason": reason}))
        log.publish()
        return replace(mended, size=log.size, replayed=replayed, differences=differences)


def restore(
    folder: Path,
    source: Path,
    copies: Copies,
    *,
    reason: str,
    origin: str | None = None,
    successor: Successor | None = None,
    outside: Outside | None = None,
) -> Restored:
    """Put a backup in the place of the database of a folder that is owned.

    The log of the backup is refilled from the database that is there, as far as it can be read, and from `copies`. What
    was erased since the backup is erased again, and what the collections have less or more than the log says is said in
    entries, before anything is put in place.

    Raises:
        RestoreFailed: there is no master key, or the file is no backup.
        RecoveryFailed: the log of the backup is behind what was signed, and the copies do not mend it.
        LogBehind: the same, by what mirrors and witnesses saw.
        KeyringError: another master key made the backup.
    """
    present = folder / DATABASE
    if not (folder / MASTER_KEY).exists():
        raise RestoreFailed(
            f"There is no {MASTER_KEY} in {folder}.",
            hint="put it there from its own backup first: without it nothing in the database can be opened",
        )
    _check_backup(source)
    if present.exists():
        copies = replace(copies, databases=[*copies.databases, *_readable(present)])
    stage = folder / STAGE
    sweep(folder)
    stage.mkdir(mode=0o700)
    try:
        _stage(folder, source, stage)
        mended = mend(stage, copies, reason=reason, origin=origin, successor=successor, outside=outside, is_backup=True)
        kept = None
        if present.exists():
            kept = present.with_name(f"{DATABASE}.replaced-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}")
        backup.put_in_place(stage / DATABASE, present, kept=kept or present)
        for name in (ERASURES, HIGH_WATER):
            if (stage / name).exists():
                (stage / name).replace(folder / name)
        sync_folder(folder)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return Restored(mended, kept)


def sweep(folder: Path) -> None:
    """Remove what a restore left that was killed: it never came into force, and holds a copy of everything."""
    if (folder / STAGE).exists():
        shutil.rmtree(folder / STAGE)
        _log.warning("a restore had not come to its end; what it had staged was removed")


def replay_erasures(database: Database, log: Log) -> dict[str, int]:
    """Erase again what an older database brought back, with an entry that says how much; at every start, before
    anything is served. Returns kind -> how much there was; empty when nothing had to be replayed."""
    with database.reading() as connection:
        if not database.erasures.unreplayed(connection):
            return {}
    done = database.write(
        lambda counts: _act(acts.REPLAYED, dict(counts)),
        lambda connection: database.erasures.replay(connection, _replays(connection)),
    )
    database.truncate_wal()
    _log.warning("an older database had brought back what was erased; erased again: %s", done)
    return done


def reconcile(database: Database, log: Log, reason: str) -> list[Difference]:
    """Say in entries in what the database differs from what the entries so far leave: what was lost between the backup
    and the loss. A hold does not get lost: it is put in force again, so that nothing that it protects is erased."""
    with database.reading(snapshot=True) as connection:
        there = accounts.held(connection) | gallery.held(connection) | retention.holds(connection)
    found = []
    for each in acts.differences(acts.replayed(log), there):
        also = None
        if each.thing[0] == "hold" and each.by_log is not None and each.there is None:
            account, why = each.thing[1], str(each.by_log["reason"])
            also = partial(retention.carry_over, account=account, reason=why)
            each = replace(each, there=each.by_log, was_carried=True)
        kind, account, details = acts.of_restore(each, reason)
        log.append(_act(acts.RESTORED, details, kind=kind, account=account), also)
        found.append(each)
    return found


def _replays(connection: Connection) -> dict[str, Replay]:
    return {
        kind: replay if has_table(connection, table) else lambda connection, notes: 0
        for kind, (table, replay) in REPLAYS.items()
    }


def _act(operation: str, details: Mapping[str, int | str], *, kind: str = "act", account: str = "") -> Opaque:
    return Opaque(
        accounting(
            kind=kind,
            time=time.time_ns() // 1000,
            operation=operation,
            request_id=str(uuid.uuid4()),
            account=account,
            details=details,
        )
    )


@contextmanager
def _opened(folder: Path) -> Iterator[tuple[Database, Keyring]]:
    keyring = Keyring.open(folder / MASTER_KEY, create=False)
    database = SqliteDatabase(folder / DATABASE)
    try:
        yield database, keyring
    finally:
        database.close()


def _check_backup(source: Path) -> None:
    backup.check(source)
    try:
        connection = sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)
        try:
            connection.execute("SELECT 1 FROM log_leaves LIMIT 1").fetchall()
        finally:
            connection.close()
    except sqlite3.Error:
        raise RestoreFailed(f"{source} is a database, but no backup of this server.") from None


def _readable(database: Path) -> list[Path]:
    try:
        backup.check(database)
    except Error as error:
        _log.warning("the present database takes no part: %s", error.message)
        return []
    return [database]


def _stage(folder: Path, source: Path, stage: Path) -> None:
    for name in (MASTER_KEY, HIGH_WATER, ERASURES):
        if (folder / name).exists():
            shutil.copy2(folder / name, stage / name)
    backup.copy(source, stage / DATABASE)  # and not as a file: what a write-ahead log beside it has belongs to it
