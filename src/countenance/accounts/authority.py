"""Which rows of the register count: those whose entry is in the log.

A row that was written into the database by other means than an act grants nothing (PROOFS, section 7). Knows what the
entry of each kind of row must say; does not know the log, which answers through an `Authority`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from countenance.accounts.values import AccessKey, Account

_log = logging.getLogger(__name__)


class Authority(Protocol):
    """What the log says about a grant."""

    def __call__(
        self,
        request_id: str | None,
        *,
        operations: Sequence[str],
        account: str,
        details: Mapping[str, int | str],
        lately: Mapping[str, int | str],
        ended_by: str,
    ) -> str | None:
        """The request id of the act that grants it, which nothing has taken back since; None when there is none.

        Args:
            request_id: of the act that the row names; None looks for one.
            operations: what the act may be.
            account: 12 digits.
            details: what its details must say.
            lately: the same, but entries from before these details were recorded lack all of them.
            ended_by: the operation that takes it back, its details being among those; empty when none does.
        """
        ...


@dataclass(frozen=True, slots=True)
class Grant:
    """What a row grants, and what its entry has to say."""

    what: str
    """For people."""
    account_id: str
    operations: tuple[str, ...]
    details: Mapping[str, int | str]
    lately: tuple[tuple[str, int | str], ...] = ()
    ended_by: str = ""


def of_account(account: Account) -> Grant:
    """An account is there, and is the owner's or is not."""
    return Grant(
        f"account {account.account_id}",
        account.account_id,
        ("account.create",),
        {"name": account.name},
        (("owner", int(account.is_owner)),),
    )


def of_key(key: AccessKey) -> Grant:
    """A key is in force."""
    return Grant(
        f"access key {key.access_key_id}",
        key.account_id,
        ("key.create",),
        {"access_key_id": key.access_key_id, "purpose": key.purpose, "holder": key.holder},
        ended_by="key.revoke",
    )


def of_bucket(account_id: str, bucket: str) -> Grant:
    """An account may read a bucket."""
    what = f"the grant of bucket {bucket} to account {account_id}"
    return Grant(what, account_id, ("bucket.grant",), {"bucket": bucket}, ended_by="bucket.revoke")


def of_party(account_id: str, version: int, digest: str) -> Grant:
    """An account belongs to a party."""
    return Grant(
        f"version {version} of the party of account {account_id}",
        account_id,
        ("account.create", "account.declare"),
        {"party_version": version, "party_sha256": digest},
    )


class Granted:
    """Asks the log about rows and says so when it does not know them. Safe to use from any thread."""

    def __init__(self, authority: Authority) -> None:
        self._authority = authority

    def holds(self, grant: Grant, granted_by: str | None) -> bool:
        """Whether the entry that a row names is there and grants it."""
        if granted_by is not None and self.find(grant, granted_by) is not None:
            return True
        _log.warning("%s is refused: no entry of the log grants it; `countenance ledger fsck` lists such", grant.what)
        return False

    def find(self, grant: Grant, request_id: str | None = None) -> str | None:
        """The request id of the entry that grants it; None when there is none."""
        return self._authority(
            request_id,
            operations=grant.operations,
            account=grant.account_id,
            details=grant.details,
            lately=dict(grant.lately),
            ended_by=grant.ended_by,
        )
