"""What can go wrong with the database file, in words a person can act on.

Knows SQLite's result codes (https://www.sqlite.org/rescode.html) and nothing about tables. Messages never
carry SQL, row contents or key bytes.
"""

from __future__ import annotations

import sqlite3

from countenance.errors import Error


class DatabaseError(Error):
    """The database cannot be opened, read or written."""


class DatabaseBusy(DatabaseError):
    """The writer has more work queued than it may hold; nothing was changed."""


class DecidedMeanwhile(DatabaseError):
    """Another process decided something that this one had not taken in yet, so what was decided here was not written.

    Whoever raises it has changed nothing; `Database.again` takes the news in and tries once more.
    """


class FenceBroken(DatabaseError):
    """What only one process may do at a time was given to another one meanwhile; nothing was changed."""


class AfterCommitError(DatabaseError):
    """The change is durable, but the step that follows the commit failed. Its cause is chained."""


_PRIMARY_CODE_MASK = 0xFF  # the low byte of an extended result code is its primary code

_WORDS: dict[int, tuple[str, str]] = {
    sqlite3.SQLITE_FULL: (
        "The disk or the quota under the database is full; nothing was changed.",
        "Free space on the file system of the data folder and try again.",
    ),
    sqlite3.SQLITE_READONLY: (
        "The database is read-only; nothing was changed.",
        "Check the owner and the mode of the database file and its folder, and whether the file system is "
        "mounted read-only.",
    ),
    sqlite3.SQLITE_CORRUPT: (
        "The database file is damaged.",
        "Stop the server, keep a copy of the file, and restore the latest backup.",
    ),
    sqlite3.SQLITE_NOTADB: (
        "The file countenance.db in the data folder is not a database.",
        "Check the path of the data folder; if the file was damaged, restore the latest backup.",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "The database file cannot be opened.",
        "Check that the folder exists and that this user may read and write it.",
    ),
    sqlite3.SQLITE_BUSY: (
        "Another program holds a lock on the database; nothing was changed.",
        "Only one server may own a data folder. Close other programs that have the file open.",
    ),
    sqlite3.SQLITE_LOCKED: (
        "A table of the database is locked; nothing was changed.",
        "Close other programs that have the database file open.",
    ),
    sqlite3.SQLITE_IOERR: (
        "The disk reported an error while the database was read or written.",
        "Look at the system log for disk errors, then restart the server: it recovers what was acknowledged.",
    ),
    sqlite3.SQLITE_NOMEM: ("SQLite ran out of memory; nothing was changed.", "Give the server more memory."),
    sqlite3.SQLITE_TOOBIG: ("A value is larger than SQLite stores; nothing was changed.", ""),
}


def primary_code(failure: sqlite3.Error) -> int:
    """SQLite's primary result code of an exception, 0 when the module raised it without one."""
    code: int = getattr(failure, "sqlite_errorcode", 0) or 0
    return code & _PRIMARY_CODE_MASK


def is_io_error(failure: BaseException) -> bool:
    """Whether the operating system failed a read, a write or a sync: what is on the disk is then unknown."""
    return isinstance(failure, sqlite3.Error) and primary_code(failure) == sqlite3.SQLITE_IOERR


def translate(failure: sqlite3.Error) -> DatabaseError:
    """The `DatabaseError` that says what a sqlite3 exception means."""
    words = _WORDS.get(primary_code(failure))
    if words is not None:
        message, hint = words
        return DatabaseError(message, hint=hint or None)
    name = getattr(failure, "sqlite_errorname", None) or type(failure).__name__
    return DatabaseError(f"The database refused a statement ({name}).", hint="This is a defect: please report it.")
