"""The store of record: a database, its writer thread, its outbox, and the keyring beside it.

Every store of the server (gallery, accounts) puts its tables into this one file, so that a change and the
record of it are one transaction. This package knows no table but its own.
"""

from __future__ import annotations

from countenance.store import durable
from countenance.store.database import Database
from countenance.store.entry import Entry
from countenance.store.erasures import Replay
from countenance.store.failures import (
    AfterCommitError,
    DatabaseBusy,
    DatabaseError,
    DecidedMeanwhile,
    FenceBroken,
    translate,
)
from countenance.store.keyring import Keyring, KeyringError, sync_folder
from countenance.store.sql import (
    Connection,
    IntegrityErrors,
    has_table,
    in_portions,
    restart_numbers,
    set_aside,
    tables,
)
from countenance.store.sqlite import SqliteDatabase

__all__ = [
    "AfterCommitError",
    "Connection",
    "Database",
    "DatabaseBusy",
    "DatabaseError",
    "DecidedMeanwhile",
    "Entry",
    "FenceBroken",
    "IntegrityErrors",
    "Keyring",
    "KeyringError",
    "Replay",
    "SqliteDatabase",
    "durable",
    "has_table",
    "in_portions",
    "restart_numbers",
    "set_aside",
    "sync_folder",
    "tables",
    "translate",
]
