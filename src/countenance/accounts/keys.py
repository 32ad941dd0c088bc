"""Access keys: issued, kept in memory while they are in force, and ended.

Secrets are shown once, at issue, and stored encrypted: SigV4 is symmetric, so the server must be able to recover them,
unlike a password. Credentials are kept in memory after their first use, because every call needs them, with whom the
account belongs to; what changes either removes them before it is acknowledged. Knows SQL and the keyring; no HTTP, no
signature.
"""

from __future__ import annotations

import base64
import secrets
import threading
from collections.abc import Callable
from typing import Any, Final

from countenance.accounts import authority, parties, revocations
from countenance.accounts.authority import Granted
from countenance.accounts.parties import Declared
from countenance.accounts.values import (
    AccessKey,
    AccessKeyNotFound,
    Account,
    Credentials,
    micros,
    moment,
    short_text,
)
from countenance.store import Connection, Database, Entry, Keyring

ACCESS_KEY_PREFIX: Final = "AKCN"
"""Not AWS's AKIA: a key of this server must never be mistaken for one that opens an AWS account."""
ACCESS_KEY_RANDOM: Final = 16
"""Base32 characters after the prefix (80 bits), so that an id has the 20 characters of an AWS one."""
SECRET_BYTES: Final = 30
"""240 bits: 40 characters of base64, the length AWS tools expect of a secret access key."""

_KEYS: Final = (
    "SELECT access_key_id, account_id, purpose, holder, created_at, revoked_at, secret, granted_by FROM access_key "
)


class Keys:
    """The access keys in the server's database.

    Args:
        granted: which rows count.
        account: an account and the act that opened it, by id; raises AccountNotFound.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        granted: Granted,
        account: Callable[[str], tuple[Account, str | None]],
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._granted = granted
        self._account = account
        self._in_force: dict[str, Credentials] = {}
        self._lock = threading.Lock()

    def create(self, account_id: str, purpose: str, holder: str, *, entry: Entry) -> Credentials:
        """Issues a key; `entry` is of the account, without what concerns the key. Raises AccountNotFound."""
        account, _ = self._account(account_id)
        key = AccessKey(
            ACCESS_KEY_PREFIX + base64.b32encode(secrets.token_bytes(10)).decode()[:ACCESS_KEY_RANDOM],
            account_id,
            short_text("purpose", purpose),
            short_text("holder", holder or account.name),
            entry.at,
            None,
        )
        secret = base64.b64encode(secrets.token_bytes(SECRET_BYTES)).decode()
        wrapped = self._keyring.wrap(secret.encode(), aad=_secret_aad(key.access_key_id, account_id))

        def insert(connection: Connection) -> None:
            connection.execute(
                "INSERT INTO access_key (access_key_id, account_id, purpose, holder, secret, created_at, granted_by)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (key.access_key_id, account_id, key.purpose, key.holder, wrapped, micros(entry.at), entry.request_id),
            )

        self._database.write(_about(entry, key), insert, once=True)
        return Credentials(key, secret, entry.party)

    def all(self, account_id: str | None) -> list[AccessKey]:
        """Revoked ones included, oldest first; of one account or of all."""
        rows = self._rows(
            _KEYS + "WHERE ?1 IS NULL OR account_id = ?1 ORDER BY created_at, access_key_id",
            account_id,
        )
        return [_key(row) for row in rows]

    def revoke(self, access_key_id: str, *, entry: Callable[[AccessKey], Entry]) -> AccessKey:
        """Ends a key for good. Raises AccessKeyNotFound; revoking twice is one revocation."""
        rows = self._rows(_KEYS + "WHERE access_key_id = ?", access_key_id)
        if not rows:
            raise AccessKeyNotFound(
                f"There is no access key {access_key_id[:128]!r}.", hint="`countenance key list` shows them"
            )
        key = _key(rows[0])
        if key.revoked_at is not None:
            return key
        said = entry(key)

        def end(connection: Connection) -> None:
            self._database.erasures.note(connection, revocations.note_of_key(access_key_id, micros(said.at)))
            connection.execute(
                "UPDATE access_key SET revoked_at = ? WHERE access_key_id = ? AND revoked_at IS NULL",
                (micros(said.at), access_key_id),
            )

        def forget(_: None) -> None:
            with self._lock:
                self._in_force.pop(access_key_id, None)

        self._database.write(_about(said, key), end, after_commit=forget, once=True)
        return AccessKey(key.access_key_id, key.account_id, key.purpose, key.holder, key.created_at, said.at)

    def credentials(self, access_key_id: str) -> Credentials:
        """The key in force with this id, its secret and whose it is. Raises AccessKeyNotFound."""
        with self._lock:
            known = self._in_force.get(access_key_id)
            if known is not None:
                return known
            # Read and remember under one lock: a revocation takes it after its commit, so what was read
            # before that commit cannot be put back after it.
            rows = self._rows(_KEYS + "WHERE access_key_id = ?", access_key_id)
            if not rows or rows[0][5] is not None:
                raise AccessKeyNotFound("The access key is unknown or revoked.")
            key, (wrapped, granted_by) = _key(rows[0]), rows[0][6:]
            account, declared = self._whose(key, granted_by)
            secret = self._keyring.unwrap(wrapped, aad=_secret_aad(key.access_key_id, key.account_id))
            party = declared.party if declared else None
            credentials = Credentials(
                key,
                secret.decode(),
                party.identified() if party else (),
                jurisdiction=party.jurisdiction if party else "",
                is_owner=account.is_owner,
                declaration=declared.key if declared else "",
            )
            self._in_force[access_key_id] = credentials
            return credentials

    def forget_account(self, account_id: str) -> None:
        """Have the keys of an account read again: what they stand for has changed."""
        with self._lock:
            for access_key_id in [each for each, known in self._in_force.items() if known.key.account_id == account_id]:
                del self._in_force[access_key_id]

    def forget(self) -> None:
        """Have all keys read again."""
        with self._lock:
            self._in_force.clear()

    def _whose(self, key: AccessKey, granted_by: str | None) -> tuple[Account, Declared | None]:
        """Account and party behind a key whose row, account and declaration all come from entries."""
        account, opened_by = self._account(key.account_id)
        with self._database.reading() as connection:
            declared = parties.current(connection, key.account_id)
        holds = self._granted.holds
        if (
            holds(authority.of_key(key), granted_by)
            and holds(authority.of_account(account), opened_by)
            and (
                declared is None
                or holds(
                    authority.of_party(key.account_id, declared.version, declared.party.digest()), declared.granted_by
                )
            )
        ):
            return account, declared
        raise AccessKeyNotFound("The access key is not granted by any entry of the log.")

    def _rows(self, statement: str, *values: Any) -> list[Any]:
        with self._database.reading() as connection:
            return connection.execute(statement, values).fetchall()


def _about(entry: Entry, key: AccessKey) -> Entry:
    details = {"access_key_id": key.access_key_id, "purpose": key.purpose, "holder": key.holder}
    return entry.of_key(holder=key.holder, purpose=key.purpose).with_details(details)


def _key(row: Any) -> AccessKey:
    revoked = moment(row[5]) if row[5] is not None else None
    return AccessKey(row[0], row[1], row[2], row[3], moment(row[4]), revoked)


def _secret_aad(access_key_id: str, account_id: str) -> bytes:
    return f"access-key/{account_id}/{access_key_id}/secret".encode()
