"""Rows from before grants named their entries: each gets the one that the log has of it.

Runs at every start and finds work only after an upgrade, or when somebody wrote into the database. What the log does
not explain stays as it is, and grants nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

from countenance.accounts import authority
from countenance.accounts.authority import Grant, Granted
from countenance.accounts.values import AccessKey, Account, moment
from countenance.store import Connection, Database

_log = logging.getLogger(__name__)

_ACCOUNT = "UPDATE account SET granted_by = ? WHERE account_id = ?"
_KEY = "UPDATE access_key SET granted_by = ? WHERE access_key_id = ?"
_BUCKET = "UPDATE bucket_grant SET granted_by = ? WHERE account_id = ? AND bucket = ?"


def adopt(database: Database, granted: Granted) -> list[str]:
    """Name the acts of rows that name none; returns, for people, those that no act explains."""
    with database.reading() as connection:
        nameless = list(_nameless(connection))
    found: list[tuple[str, tuple[str, ...]]] = []
    unexplained = []
    for grant, statement, row in nameless:
        request_id = granted.find(grant)
        if request_id is None:
            unexplained.append(grant.what)
            _log.warning("%s grants nothing: no entry of the log explains it", grant.what)
        else:
            found.append((statement, (request_id, *row)))
    if found:

        def name(connection: Connection) -> None:
            for statement, values in found:
                connection.execute(statement, values)

        database.maintain(name)
        _log.info("%d accounts, keys and bucket grants now name the entries that granted them", len(found))
    return unexplained


def _nameless(connection: Connection) -> Iterator[tuple[Grant, str, tuple[str, ...]]]:
    for account_id, name, is_owner, created_at in connection.execute(
        "SELECT account_id, name, is_owner, created_at FROM account WHERE granted_by IS NULL"
    ).fetchall():
        account = Account(account_id, name, bool(is_owner), moment(created_at))
        yield authority.of_account(account), _ACCOUNT, (account_id,)
    for key_id, account_id, purpose, holder, created_at in connection.execute(
        "SELECT access_key_id, account_id, purpose, holder, created_at FROM access_key"
        " WHERE granted_by IS NULL AND revoked_at IS NULL"
    ).fetchall():
        key = AccessKey(key_id, account_id, purpose, holder, moment(created_at), None)
        yield authority.of_key(key), _KEY, (key_id,)
    for account_id, bucket in connection.execute(
        "SELECT account_id, bucket FROM bucket_grant WHERE granted_by IS NULL"
    ).fetchall():
        yield authority.of_bucket(account_id, bucket), _BUCKET, (account_id, bucket)
