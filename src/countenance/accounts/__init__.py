"""Accounts, access keys and purposes."""

from countenance.accounts.accounts import (
    DEFAULT_PURPOSE,
    AccessKey,
    AccessKeyNotFound,
    Account,
    AccountError,
    AccountNotFound,
    Accounts,
    Credentials,
)

__all__ = [
    "DEFAULT_PURPOSE",
    "AccessKey",
    "AccessKeyNotFound",
    "Account",
    "AccountError",
    "AccountNotFound",
    "Accounts",
    "Credentials",
]
