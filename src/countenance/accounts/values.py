"""What the account register hands out: accounts, access keys, credentials; and its errors.

Values only. Does not know rows, entries, or what a party declares.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from countenance.errors import Error

DEFAULT_PURPOSE: Final = "general"
NAME_LIMIT: Final = 200
"""Characters in an account's name, a purpose or a holder: they appear in listings and records."""


class AccountError(Error):
    """Something is wrong with an account, an access key or a grant that an operator named."""


class AccountNotFound(AccountError):
    """No account has this id."""


class AccessKeyNotFound(AccountError):
    """No access key has this id, it is revoked, or no entry of the log grants it."""


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
    party: tuple[tuple[str, str, str], ...] = ()
    """Role, scheme and identifier of whom the account belongs to now; empty while that is not declared."""
    jurisdiction: str = ""
    """Of that party: ISO 3166-1 alpha-2."""
    is_owner: bool = False
    """The account is the owner's, as the log has it."""
    declaration: str = ""
    """`Declared.key` of what is declared; empty while nothing is."""

    def __repr__(self) -> str:
        return f"Credentials({self.key.access_key_id})"


def micros(at: datetime) -> int:
    """As rows have it: microseconds since 1970."""
    return int(at.timestamp() * 1_000_000)


def moment(microseconds: int) -> datetime:
    """The aware time of a row."""
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)


def short_text(what: str, value: str) -> str:
    """The text without surrounding spaces. Raises AccountError when it is empty, too long or not printable."""
    text = value.strip()
    if not text or len(text) > NAME_LIMIT or not text.isprintable():
        raise AccountError(
            f"The {what} is empty, longer than {NAME_LIMIT} characters or not printable.",
            hint=f"give a {what} of 1 to {NAME_LIMIT} printable characters",
        )
    return text
