"""A copy of the database as it is at one moment, while it is in use; and whether a file is such a copy.

Knows SQLite; does not know what is in the tables. The copy holds everything but the master key, without which its
templates and secrets cannot be opened, and without the files that backups leave out: the high-water checkpoint, the
count of operators' acts and the erasures. Made with VACUUM INTO (https://www.sqlite.org/lang_vacuum.html): one read
transaction, so writers go on, and pages that were freed are not carried over.
"""

from __future__ import annotations

import os
import sqlite3
from hashlib import file_digest
from pathlib import Path

from countenance.store.failures import DatabaseError, translate
from countenance.store.keyring import sync_folder


def copy(source: Path, target: Path) -> None:
    """Write a copy with mode 0600, durable when this returns.

    Raises:
        DatabaseError: the target exists already or cannot be written, or the disk is full; nothing is left there.
    """
    try:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as failure:
        raise DatabaseError(
            f"{target} cannot be created: {failure.strerror}.", hint="name a new file in a folder that can be written"
        ) from None
    try:
        connection = sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        try:
            connection.execute("VACUUM INTO ?", (str(target),))  # an empty file is taken for a new database
        finally:
            connection.close()
        _sync(target)
        check(target)
    except BaseException as failure:
        target.unlink(missing_ok=True)
        if isinstance(failure, sqlite3.Error):
            raise translate(failure) from failure
        raise


def check(path: Path) -> None:
    """Look at the structure of every page.

    Raises:
        DatabaseError: the file is no database, or damaged.
    """
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            (said,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as failure:
        raise translate(failure) from failure
    if said != "ok":
        raise DatabaseError(f"{path.name} is damaged.", hint="use another copy")


def sha256(path: Path) -> str:
    """Of the file, in hexadecimal."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def put_in_place(staged: Path, database: Path, *, kept: Path) -> None:
    """Exchange the database for a staged one that was closed cleanly; the one that was there is kept.

    A write-ahead log left by a crash belongs to the database that is replaced, and must not meet the new one: it goes
    with the old file, or into it.
    """
    if database.exists():
        try:
            connection = sqlite3.connect(database, isolation_level=None)
            try:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                connection.close()  # removes the log when it is the last
        except sqlite3.Error:
            pass  # damaged: that is why it is replaced; its log stays beside it
        os.link(database, kept)
        for suffix in ("-wal", "-shm"):
            rest = database.with_name(database.name + suffix)
            if rest.exists():
                rest.rename(kept.with_name(kept.name + suffix))
    staged.replace(database)
    sync_folder(database.parent)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
    sync_folder(path.parent)
