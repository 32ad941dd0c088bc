"""Accounts, access keys and bucket grants: who may call, and with which secret.

An account owns collections and access keys. Secrets are shown once, at issue, and stored encrypted: SigV4
is symmetric, so the server must be able to recover them, unlike a password. Knows SQL and the keyring; knows
no HTTP, no signature and no face.
"""

from __future__ import annotations

import base64
import secrets
import sqlite3
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from countenance.accounts import revocations
from countenance.errors import Error
from countenance.store import Database, Entry, Keyring

ACCOUNT_ID_DIGITS = 12
"""AWS account ids have twelve digits; SDKs and ARNs expect that form."""
ACCESS_KEY_PREFIX = "AKCN"
"""Not AWS's AKIA: a key of this server must never be mistaken for one that opens an AWS account."""
ACCESS_KEY_RANDOM = 16
"""Base32 characters after the prefix (80 bits), so that an id has the 20 characters of an AWS one."""
SECRET_BYTES = 30
"""240 bits: 40 characters of base64, the length AWS tools expect of a secret access key."""
DEFAULT_PURPOSE = "general"
NAME_LIMIT = 200
"""Characters in an account's name, a purpose or a holder: they appear in listings and records."""


class AccountError(Error):
    """Something is wrong with an account, an access key or a grant that an operator named."""


class AccountNotFound(AccountError):
    """No account has this id."""


class AccessKeyNotFound(AccountError):
    """No access key has this id, or it is revoked."""


@dataclass(frozen=True, slots=True)
class Account:
    """A customer, or the owner of this server."""

    account_id: str
    name: str
    is_owner: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class AccessKey:
    """What a caller signs with; its secret is not part of this value."""

    access_key_id: str
    account_id: str
    purpose: str
    """What the key was issued for."""
    holder: str
    """Who keeps it: a person or a system of the account."""
    created_at: datetime
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key in force together with its secret. Never log or print one."""

    key: AccessKey
    secret: str

    def __repr__(self) -> str:
        return f"Credentials({self.key.access_key_id})"


def _micros(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000)


def _moment(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1_000_000, UTC)


def _text(what: str, value: str) -> str:
    text = value.strip()
    if not text or len(text) > NAME_LIMIT or not text.isprintable():
        raise AccountError(
            f"The {what} is empty, longer than {NAME_LIMIT} characters or not printable.",
            hint=f"give a {what} of 1 to {NAME_LIMIT} printable characters",
        )
    return text


class Accounts:
    """The account register in the server's database.

    Credentials in force are kept in memory after their first use, because every call needs them; a
    revocation removes them before it is acknowledged, so that a revoked key is refused on the next request.
    """

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring
        self._in_force: dict[str, Credentials] = {}
        self._id_keys: dict[str, bytes] = {}
        self._lock = threading.Lock()
        schema = files("countenance.accounts").joinpath("schema")
        database.migrate("accounts", [schema.joinpath("0001_accounts.sql").read_text("utf-8")])

    # -- accounts

    def create_account(self, name: str, *, request_id: str, at: datetime, owner: bool = False) -> Account:
        """Opens an account with a random id and its own id key.

        Raises:
            AccountError: the name is empty or too long, or a second owner was asked for.
        """
        name = _text("name", name)
        account = Account(self._new_account_id(), name, owner, at)
        aad = b"account/" + account.account_id.encode() + b"/id-key"
        wrapped = self._keyring.wrap(secrets.token_bytes(32), aad=aad)

        def insert(connection: sqlite3.Connection) -> Account:
            connection.execute(
                "INSERT INTO account (account_id, name, is_owner, id_key, created_at) VALUES (?, ?, ?, ?, ?)",
                (account.account_id, name, int(owner), wrapped, _micros(at)),
            )
            return account

        return self._database.write(
            self._entry("account.create", account.account_id, request_id, at, {"name": name}), insert
        )

    def accounts(self) -> list[Account]:
        """Every account, oldest first."""
        rows = self._rows("SELECT account_id, name, is_owner, created_at FROM account ORDER BY created_at, account_id")
        return [Account(row[0], row[1], bool(row[2]), _moment(row[3])) for row in rows]

    def account(self, account_id: str) -> Account:
        """One account. Raises AccountNotFound."""
        rows = self._rows("SELECT account_id, name, is_owner, created_at FROM account WHERE account_id = ?", account_id)
        if not rows:
            raise AccountNotFound(
                f"There is no account {account_id[:40]!r}.", hint="`countenance account list` shows them"
            )
        row = rows[0]
        return Account(row[0], row[1], bool(row[2]), _moment(row[3]))

    def owner(self) -> Account | None:
        """The owner's account, or None before the first start."""
        return next((account for account in self.accounts() if account.is_owner), None)

    def id_key(self, account_id: str) -> bytes:
        """The 32-byte key under which the account's identifiers are derived, so that none links across accounts."""
        with self._lock:
            known = self._id_keys.get(account_id)
        if known is not None:
            return known
        rows = self._rows("SELECT id_key FROM account WHERE account_id = ?", account_id)
        if not rows:
            raise AccountNotFound(f"There is no account {account_id[:40]!r}.")
        key = self._keyring.unwrap(rows[0][0], aad=b"account/" + account_id.encode() + b"/id-key")
        with self._lock:
            self._id_keys[account_id] = key
        return key

    # -- access keys

    def create_key(
        self,
        account_id: str,
        *,
        request_id: str,
        at: datetime,
        purpose: str = DEFAULT_PURPOSE,
        holder: str = "",
    ) -> Credentials:
        """Issues an access key; the only moment at which its secret is handed out.

        Raises:
            AccountNotFound: there is no such account.
        """
        account = self.account(account_id)
        key = AccessKey(
            ACCESS_KEY_PREFIX + base64.b32encode(secrets.token_bytes(10)).decode()[:ACCESS_KEY_RANDOM],
            account_id,
            _text("purpose", purpose),
            _text("holder", holder or account.name),
            at,
            None,
        )
        secret = base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
        wrapped = self._keyring.wrap(secret.encode(), aad=self._secret_aad(key.access_key_id, account_id))

        def insert(connection: sqlite3.Connection) -> None:
            connection.execute(
                "INSERT INTO access_key (access_key_id, account_id, purpose, holder, secret, created_at)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (key.access_key_id, account_id, key.purpose, key.holder, wrapped, _micros(at)),
            )

        details = {"access_key_id": key.access_key_id, "purpose": key.purpose, "holder": key.holder}
        self._database.write(self._entry("key.create", account_id, request_id, at, details), insert)
        return Credentials(key, secret)

    def keys(self, account_id: str | None = None) -> list[AccessKey]:
        """Access keys, revoked ones included, oldest first; of one account or of all. Raises AccountNotFound."""
        if account_id is not None:
            self.account(account_id)
        rows = self._rows(
            "SELECT access_key_id, account_id, purpose, holder, created_at, revoked_at FROM access_key"
            " WHERE ?1 IS NULL OR account_id = ?1 ORDER BY created_at, access_key_id",
            account_id,
        )
        return [self._key(row) for row in rows]

    def revoke_key(self, access_key_id: str, *, request_id: str, at: datetime) -> AccessKey:
        """Ends an access key for good. Raises AccessKeyNotFound; revoking twice is one revocation."""
        row = self._key_row(access_key_id)
        if row is None:
            raise AccessKeyNotFound(
                f"There is no access key {access_key_id[:128]!r}.", hint="`countenance key list` shows them"
            )
        key = self._key(row)
        if key.revoked_at is not None:
            return key

        def end(connection: sqlite3.Connection) -> None:
            self._database.erasures.note(connection, revocations.note_of_key(access_key_id, _micros(at)))
            connection.execute(
                "UPDATE access_key SET revoked_at = ? WHERE access_key_id = ? AND revoked_at IS NULL",
                (_micros(at), access_key_id),
            )

        def forget(_: None) -> None:
            with self._lock:
                self._in_force.pop(access_key_id, None)

        entry = self._entry("key.revoke", key.account_id, request_id, at, {"access_key_id": access_key_id})
        self._database.write(entry, end, after_commit=forget)
        return AccessKey(key.access_key_id, key.account_id, key.purpose, key.holder, key.created_at, at)

    def credentials(self, access_key_id: str) -> Credentials:
        """The key in force with this id and its secret. Raises AccessKeyNotFound."""
        with self._lock:
            known = self._in_force.get(access_key_id)
            if known is not None:
                return known
            # Read and remember under one lock: a revocation takes it after its commit, so what was read
            # before that commit cannot be put back after it.
            row = self._key_row(access_key_id)
            if row is None or row[5] is not None:
                raise AccessKeyNotFound("The access key is unknown or revoked.")
            key = self._key(row)
            secret = self._keyring.unwrap(row[6], aad=self._secret_aad(key.access_key_id, key.account_id))
            credentials = Credentials(key, secret.decode())
            self._in_force[access_key_id] = credentials
            return credentials

    # -- bucket grants

    def grant_bucket(self, account_id: str, bucket: str, *, request_id: str, at: datetime) -> None:
        """Lets an account read images from a bucket. Raises AccountNotFound."""
        self.account(account_id)
        bucket = _text("bucket", bucket)
        entry = self._entry("bucket.grant", account_id, request_id, at, {"bucket": bucket})
        self._database.write(
            entry,
            lambda connection: connection.execute(
                "INSERT OR IGNORE INTO bucket_grant (account_id, bucket, granted_at) VALUES (?, ?, ?)",
                (account_id, bucket, _micros(at)),
            ),
        )

    def revoke_bucket(self, account_id: str, bucket: str, *, request_id: str, at: datetime) -> None:
        """Takes a grant back. Raises AccountError when there is none."""
        if (account_id, bucket) not in self.bucket_grants(account_id):
            raise AccountError(
                f"Account {account_id[:40]} holds no grant for bucket {bucket[:63]!r}.",
                hint="`countenance bucket list` shows the grants",
            )
        entry = self._entry("bucket.revoke", account_id, request_id, at, {"bucket": bucket})

        def end(connection: sqlite3.Connection) -> None:
            self._database.erasures.note(connection, revocations.note_of_bucket(account_id, bucket))
            connection.execute("DELETE FROM bucket_grant WHERE account_id = ? AND bucket = ?", (account_id, bucket))

        self._database.write(entry, end)

    def bucket_grants(self, account_id: str | None = None) -> list[tuple[str, str]]:
        """Pairs of account id and bucket, sorted; of one account or of all. Raises AccountNotFound."""
        if account_id is not None:
            self.account(account_id)
        rows = self._rows(
            "SELECT account_id, bucket FROM bucket_grant WHERE ?1 IS NULL OR account_id = ?1"
            " ORDER BY account_id, bucket",
            account_id,
        )
        return [(row[0], row[1]) for row in rows]

    def may_read_bucket(self, account_id: str, bucket: str) -> bool:
        """True for a granted bucket, and for any bucket when the account is the owner's."""
        rows = self._rows(
            "SELECT 1 FROM account WHERE account_id = ?1 AND is_owner = 1"
            " UNION ALL SELECT 1 FROM bucket_grant WHERE account_id = ?1 AND bucket = ?2",
            account_id,
            bucket,
        )
        return bool(rows)

    # -- rows

    def _new_account_id(self) -> str:
        while True:
            account_id = f"{secrets.randbelow(10**ACCOUNT_ID_DIGITS):0{ACCOUNT_ID_DIGITS}d}"
            try:
                self.account(account_id)
            except AccountNotFound:
                return account_id

    def _key_row(self, access_key_id: str) -> tuple[str, str, str, str, int, int | None, bytes] | None:
        rows = self._rows(
            "SELECT access_key_id, account_id, purpose, holder, created_at, revoked_at, secret"
            " FROM access_key WHERE access_key_id = ?",
            access_key_id,
        )
        return rows[0] if rows else None

    def _rows(self, statement: str, *values: Any) -> list[Any]:
        with self._database.reading() as connection:
            return connection.execute(statement, values).fetchall()

    @staticmethod
    def _key(row: tuple[str, str, str, str, int, int | None, bytes]) -> AccessKey:
        revoked = _moment(row[5]) if row[5] is not None else None
        return AccessKey(row[0], row[1], row[2], row[3], _moment(row[4]), revoked)

    @staticmethod
    def _secret_aad(access_key_id: str, account_id: str) -> bytes:
        return f"access-key/{account_id}/{access_key_id}/secret".encode()

    @staticmethod
    def _entry(
        operation: str, account_id: str, request_id: str, at: datetime, details: Mapping[str, int | str]
    ) -> Entry:
        return Entry(
            operation=operation,
            account_id=account_id,
            access_key_id="",
            request_id=request_id,
            at=at,
            details=details,
        )
