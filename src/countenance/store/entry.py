"""What a state-changing call records about itself, in the transaction of its effect.

An entry says who did what and when, never with what face: details hold counts, identifiers and settings as
whole numbers or text. No floating point (its text form is not canonical across languages), no bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime

_ACCOUNT_ID = re.compile(r"[0-9]{12}")  # AWS account ids are 12 digits, and so are ours


@dataclass(frozen=True, slots=True)
class Entry:
    """One record for the outbox.

    Raises:
        ValueError: the account id is not 12 digits, the time has no zone, or a detail is neither int nor str.
    """

    operation: str
    """What was asked for, such as "CreateCollection" or "account.create"."""
    account_id: str
    """12 digits."""
    access_key_id: str
    """Empty for work done on the host."""
    request_id: str
    at: datetime
    """Aware; stored as UTC with microseconds."""
    details: Mapping[str, int | str]
    holder: str = ""
    """Who the access key was issued to."""
    purpose: str = ""
    """What it was issued for."""
    party: tuple[tuple[str, str, str], ...] = ()
    """Role, scheme and identifier of those the account belonged to then."""
    names: tuple[str, ...] = ()
    """Natural persons named by it; they can be erased from its record."""

    def __post_init__(self) -> None:
        if not _ACCOUNT_ID.fullmatch(self.account_id):
            raise ValueError("an entry's account id is 12 digits")
        if self.at.tzinfo is None:
            raise ValueError("an entry's time has a zone")
        for name, value in self.details.items():
            if not isinstance(name, str) or type(value) not in (int, str):
                raise ValueError(f"an entry's detail {name!r} is an int or a str")

    def with_details(self, more: Mapping[str, int | str]) -> Entry:
        """The same entry saying more."""
        return replace(self, details={**self.details, **more})

    def of_key(self, *, holder: str, purpose: str) -> Entry:
        """The same entry, of an act that concerns this key."""
        return replace(self, holder=holder, purpose=purpose)

    def row(self) -> tuple[str, str, str, str, str, str]:
        """The columns of the outbox after its position. Only a store without a log writes rows; they lack what came to
        entries after logs did: holder, purpose, party and names."""
        at = self.at.astimezone(UTC).isoformat(timespec="microseconds")
        details = json.dumps(dict(self.details), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return (self.operation, self.account_id, self.access_key_id, self.request_id, at, details)

    @classmethod
    def from_row(cls, row: tuple[str, str, str, str, str, str]) -> Entry:
        """The entry that `row` came from."""
        operation, account_id, access_key_id, request_id, at, details = row
        return cls(
            operation=operation,
            account_id=account_id,
            access_key_id=access_key_id,
            request_id=request_id,
            at=datetime.fromisoformat(at),
            details=json.loads(details),
        )
