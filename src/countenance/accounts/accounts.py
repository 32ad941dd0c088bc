"""The account register: accounts, whom they belong to, their keys and bucket grants.

An account owns collections and access keys, and belongs to a party that declares itself; later declarations are further
versions. Every row names the act that made it, and counts only while the log has that act (`authority`). Knows SQL and
the keyring; knows no HTTP and no face.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Mapping
from datetime import datetime
from importlib.resources import files
from typing import Any, Final

from countenance.accounts import adoption, authority, parties, revocations
from countenance.accounts.authority import Authority, Granted
from countenance.accounts.keys import Keys
from countenance.accounts.parties import Declared
from countenance.accounts.party import Identified, Party
from countenance.accounts.values import (
    DEFAULT_PURPOSE,
    AccessKey,
    Account,
    AccountError,
    AccountNotFound,
    Credentials,
    micros,
    moment,
    short_text,
)
from countenance.store import Connection, Database, Entry, Keyring

ACCOUNT_ID_DIGITS: Final = 12
"""AWS account ids have twelve digits; SDKs and ARNs expect that form."""
UNDECLARED: Final = "undeclared"
"""What entries say in `party` of their details while nobody has said whom an account belongs to."""

_ACCOUNTS: Final = "SELECT account_id, name, is_owner, created_at, granted_by FROM account "


class Accounts:
    """The register in the server's database. Safe to use from any thread.

    Args:
        authority: what the log says about grants; rows that it does not know grant nothing.
    """

    def __init__(self, database: Database, keyring: Keyring, authority: Authority) -> None:
        self._database = database
        self._keyring = keyring
        self._granted = Granted(authority)
        self._keys = Keys(database, keyring, self._granted, self._opened)
        self._id_keys: dict[str, bytes] = {}
        self._shown: set[tuple[str, str, str | None]] = set()
        self._lock = threading.Lock()
        folder = files("countenance.accounts").joinpath("schema")
        scripts = sorted((each.name, each) for each in folder.iterdir() if each.name.endswith(".sql"))
        database.followers.append(self.follow)
        database.migrate("accounts", [each.read_text("utf-8") for _, each in scripts])
        self.ungranted = adoption.adopt(database, self._granted)
        """What was in the register at the start without an act that explains it, for people; it grants nothing."""

    def follow(self) -> None:
        """Take in what other processes did: whatever is remembered is read again when it is next asked for."""
        self._keys.forget()
        with self._lock:
            self._shown.clear()

    # -- accounts

    def create_account(
        self,
        name: str,
        *,
        request_id: str,
        at: datetime,
        owner: bool = False,
        party: Party | None = None,
        by: str = "",
    ) -> Account:
        """Opens an account with a random id and its own id key.

        Args:
            party: whom it belongs to; None leaves that undeclared, and the entry says so.
            by: which operator opens it, or that the host does; its entry says so. The same for every act below.

        Raises:
            AccountError: the name is empty or too long, or a second owner was asked for.
        """
        name = short_text("name", name)
        account = Account(self._new_account_id(), name, owner, at)
        aad = b"account/" + account.account_id.encode() + b"/id-key"
        wrapped = self._keyring.wrap(secrets.token_bytes(32), aad=aad)

        def insert(connection: Connection) -> Declared | None:
            connection.execute(
                "INSERT INTO account (account_id, name, is_owner, id_key, created_at, granted_by)"
                " VALUES (?, ?, ?, ?, ?, ?)",
                (account.account_id, name, int(owner), wrapped, micros(at), request_id),
            )
            if party is None:
                return None
            return parties.insert(connection, account.account_id, party, request_id=request_id, at=at)

        said: dict[str, int | str] = {"name": name, "owner": int(owner), **_by(by)}
        self._database.write(
            lambda declared: _entry("account.create", account.account_id, request_id, at, said, declared),
            insert,
            once=True,
        )
        return account

    def accounts(self) -> list[Account]:
        """Every account, oldest first."""
        return [_account(row) for row in self._rows(_ACCOUNTS + "ORDER BY created_at, account_id")]

    def account(self, account_id: str) -> Account:
        """One account. Raises AccountNotFound."""
        return self._opened(account_id)[0]

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

    # -- whom they belong to

    def declare(self, account_id: str, party: Party, *, request_id: str, at: datetime, by: str = "") -> Declared:
        """Records the next version of whom an account belongs to; its entries say so from the next call on.

        Raises:
            AccountNotFound: there is no such account.
        """
        self.account(account_id)
        return self._database.write(
            lambda declared: _entry("account.declare", account_id, request_id, at, _by(by), declared),
            lambda connection: parties.insert(connection, account_id, party, request_id=request_id, at=at),
            after_commit=lambda _: self._keys.forget_account(account_id),
            once=True,
        )

    def party(self, account_id: str) -> Declared | None:
        """Whom an account belongs to now, as declared; None while it is not."""
        with self._database.reading() as connection:
            return parties.current(connection, account_id)

    def identified(self, account_id: str) -> tuple[Identified, ...]:
        """Role, scheme and identifier of those an account belongs to now, for its entries."""
        declared = self.party(account_id)
        return declared.party.identified() if declared else ()

    def declarations(self, account_id: str) -> list[Declared]:
        """Every version, the latest first. Raises AccountNotFound."""
        self.account(account_id)
        with self._database.reading() as connection:
            return parties.versions(connection, account_id)

    def undeclared(self) -> set[str]:
        """The accounts of which no party is declared."""
        with self._database.reading() as connection:
            return parties.undeclared(connection)

    def count_declarations(self) -> int:
        """How many declarations there are of all accounts: another number tells that somebody declared something."""
        with self._database.reading() as connection:
            return parties.count(connection)

    # -- access keys

    def create_key(
        self,
        account_id: str,
        *,
        request_id: str,
        at: datetime,
        purpose: str = DEFAULT_PURPOSE,
        holder: str = "",
        by: str = "",
    ) -> Credentials:
        """Issues an access key; the only moment at which its secret is handed out.

        Raises:
            AccountNotFound: there is no such account.
        """
        self.account(account_id)
        entry = _entry("key.create", account_id, request_id, at, _by(by), self.party(account_id))
        return self._keys.create(account_id, purpose, holder, entry=entry)

    def keys(self, account_id: str | None = None) -> list[AccessKey]:
        """Access keys, revoked ones included, oldest first; of one account or of all. Raises AccountNotFound."""
        if account_id is not None:
            self.account(account_id)
        return self._keys.all(account_id)

    def revoke_key(self, access_key_id: str, *, request_id: str, at: datetime, by: str = "") -> AccessKey:
        """Ends an access key for good. Raises AccessKeyNotFound; revoking twice is one revocation."""
        return self._keys.revoke(
            access_key_id, entry=lambda key: self._act("key.revoke", key.account_id, request_id, at, _by(by))
        )

    def credentials(self, access_key_id: str) -> Credentials:
        """The key in force with this id, its secret and whose it is. Raises AccessKeyNotFound."""
        return self._keys.credentials(access_key_id)

    # -- bucket grants

    def grant_bucket(self, account_id: str, bucket: str, *, request_id: str, at: datetime, by: str = "") -> None:
        """Lets an account read images from a bucket. Raises AccountNotFound."""
        self.account(account_id)
        bucket = short_text("bucket", bucket)
        self._database.write(
            self._act("bucket.grant", account_id, request_id, at, {"bucket": bucket, **_by(by)}),
            lambda connection: connection.execute(
                "INSERT INTO bucket_grant (account_id, bucket, granted_at, granted_by) VALUES (?, ?, ?, ?)"
                " ON CONFLICT DO NOTHING",
                (account_id, bucket, micros(at), request_id),
            ),
            once=True,
        )

    def revoke_bucket(self, account_id: str, bucket: str, *, request_id: str, at: datetime, by: str = "") -> None:
        """Takes a grant back. Raises AccountError when there is none."""
        if (account_id, bucket) not in self.bucket_grants(account_id):
            raise AccountError(
                f"Account {account_id[:40]} holds no grant for bucket {bucket[:63]!r}.",
                hint="`countenance bucket list` shows the grants",
            )

        def end(connection: Connection) -> None:
            self._database.erasures.note(connection, revocations.note_of_bucket(account_id, bucket))
            connection.execute("DELETE FROM bucket_grant WHERE account_id = ? AND bucket = ?", (account_id, bucket))

        entry = self._act("bucket.revoke", account_id, request_id, at, {"bucket": bucket, **_by(by)})
        self._database.write(entry, end, once=True)
        with self._lock:
            self._shown.clear()

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
        """True for a bucket that an entry grants, and for any bucket when the account is the owner's."""
        rows = self._rows(_ACCOUNTS + "WHERE account_id = ? AND is_owner = 1", account_id)
        if rows:
            return self._is_shown(authority.of_account(_account(rows[0])), rows[0][4])
        rows = self._rows("SELECT granted_by FROM bucket_grant WHERE account_id = ? AND bucket = ?", account_id, bucket)
        return bool(rows) and self._is_shown(authority.of_bucket(account_id, bucket), rows[0][0])

    # -- rows

    def _is_shown(self, grant: authority.Grant, granted_by: str | None) -> bool:
        """Whether an entry grants it; what was found once is remembered until a grant is taken back."""
        asked = (grant.account_id, repr(sorted(grant.details.items())) + repr(grant.lately), granted_by)
        with self._lock:
            if asked in self._shown:
                return True
        if not self._granted.holds(grant, granted_by):
            return False
        with self._lock:
            self._shown.add(asked)
        return True

    def _act(
        self, operation: str, account_id: str, request_id: str, at: datetime, details: Mapping[str, int | str]
    ) -> Entry:
        return Entry(operation, account_id, "", request_id, at, details, party=self.identified(account_id))

    def _opened(self, account_id: str) -> tuple[Account, str | None]:
        rows = self._rows(_ACCOUNTS + "WHERE account_id = ?", account_id)
        if not rows:
            raise AccountNotFound(
                f"There is no account {account_id[:40]!r}.", hint="`countenance account list` shows them"
            )
        return _account(rows[0]), rows[0][4]

    def _new_account_id(self) -> str:
        while True:
            account_id = f"{secrets.randbelow(10**ACCOUNT_ID_DIGITS):0{ACCOUNT_ID_DIGITS}d}"
            try:
                self.account(account_id)
            except AccountNotFound:
                return account_id

    def _rows(self, statement: str, *values: Any) -> list[Any]:
        with self._database.reading() as connection:
            return connection.execute(statement, values).fetchall()


def _by(by: str) -> dict[str, int | str]:
    return {"by": by} if by else {}


def _account(row: tuple[str, str, int, int, str | None]) -> Account:
    return Account(row[0], row[1], bool(row[2]), moment(row[3]))


def _entry(
    operation: str,
    account_id: str,
    request_id: str,
    at: datetime,
    details: Mapping[str, int | str],
    declared: Declared | None,
) -> Entry:
    """The entry of an opening, a declaration or the issue of a key: with whom it is for and what was agreed."""
    if declared is None:
        return Entry(operation, account_id, "", request_id, at, {**details, "party": UNDECLARED})
    party = declared.party
    return Entry(
        operation,
        account_id,
        "",
        request_id,
        at,
        {**details, **party.details(), "party_version": declared.version},
        party=party.identified(),
        names=party.names(),
    )
