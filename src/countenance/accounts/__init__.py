"""Accounts, the parties they belong to, access keys and purposes."""

from countenance.accounts.accounts import UNDECLARED, Accounts
from countenance.accounts.authority import Authority
from countenance.accounts.parties import Declared
from countenance.accounts.party import Identified, Involved, Party, PartyError
from countenance.accounts.register import held
from countenance.accounts.values import (
    DEFAULT_PURPOSE,
    AccessKey,
    AccessKeyNotFound,
    Account,
    AccountError,
    AccountNotFound,
    Credentials,
)

__all__ = [
    "DEFAULT_PURPOSE",
    "UNDECLARED",
    "AccessKey",
    "AccessKeyNotFound",
    "Account",
    "AccountError",
    "AccountNotFound",
    "Accounts",
    "Authority",
    "Credentials",
    "Declared",
    "Identified",
    "Involved",
    "Party",
    "PartyError",
    "held",
]
