"""What an administrative verb acts on, and how its parameters are read.

Knows no verb. Parameters come as JSON from the admin socket, or as they are in process.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from countenance.accounts import Accounts
from countenance.errors import Error
from countenance.ledger import Ledger
from countenance.operations.governance import Governance
from countenance.operators.state import HOST
from countenance.samples import Samples
from countenance.store import Database


class AdministrationError(Error):
    """The verb is unknown or its parameters are not what it takes."""


@dataclass(frozen=True, slots=True)
class Instruction:
    """One administrative call: the register it acts on and the moment."""

    accounts: Accounts
    ledger: Ledger
    database: Database
    samples: Samples
    governance: Governance
    request_id: str
    at: datetime
    by: str = HOST
    """The operator who is logged in, or the host."""


def required(params: dict[str, Any], name: str) -> str:
    """A text that is there and not empty. Raises AdministrationError."""
    value = params.get(name)
    if not isinstance(value, str) or not value:
        raise AdministrationError(f"The {name.replace('_', ' ')} is empty or missing.")
    return _whole(value, name)


def optional(params: dict[str, Any], name: str, default: str | None = None) -> str | None:
    """A text, or the default. Raises AdministrationError."""
    value = params.get(name)
    if value is not None and not isinstance(value, str):
        raise AdministrationError(f"The parameter {name} is not a string.")
    return _whole(value, name) if value else default


def _whole(value: str, name: str) -> str:
    """The text, when a database, a leaf or an answer can hold it. Whether it is printable is asked where it is kept."""
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, as Python reads what is not UTF-8 on a command line
        raise AdministrationError(
            f"The {name.replace('_', ' ')} is not UTF-8: {value[:80]!a}.",
            hint="give it in a terminal that writes UTF-8",
        ) from None
    return value


def day(params: dict[str, Any], name: str) -> datetime:
    """The beginning of a day in UTC. Raises AdministrationError."""
    try:
        return datetime.strptime(required(params, name), "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise AdministrationError("The day is not a date.", hint="give it as YYYY-MM-DD") from None
