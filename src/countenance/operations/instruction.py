"""What an administrative verb acts on, and how its parameters are read.

Knows no verb. Parameters come as JSON from the admin socket, or as they are in process.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from countenance.accounts import Accounts
from countenance.errors import Error
from countenance.gallery import Gallery
from countenance.ledger import Ledger, microseconds
from countenance.operations.governance import Governance
from countenance.operators import Proposal
from countenance.operators.state import HOST
from countenance.recognition import Engine
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
    gallery: Gallery | None = None
    """The collections, for the verbs that need them."""
    engine: Engine | None = None
    """The model in use, for the verbs that need it."""
    model_version: str = ""
    """Of the face model that the server runs, for the verbs that take templates."""
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
    """The text, when a database, a leaf or an answer can hold it. Whether it is printable is asked where it is kept.
    Nothing of it is told: it may be a password."""
    try:
        value.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, as Python reads what is not UTF-8 on a command line
        raise AdministrationError(
            f"The {name.replace('_', ' ')} is not UTF-8.", hint="give it in a terminal that writes UTF-8"
        ) from None
    return value


def account_of(on: Instruction, params: dict[str, Any]) -> str:
    """The account that is named, or the operator's own. Raises AdministrationError, or that there is none."""
    wanted = params.get("account_id")
    if wanted is None:
        owner = on.accounts.owner()
        if owner is None:
            raise AdministrationError("There is no account yet.")
        wanted = owner.account_id
    return on.accounts.account(required({"account_id": wanted}, "account_id")).account_id


def day(params: dict[str, Any], name: str) -> datetime:
    """The beginning of a day in UTC. Raises AdministrationError."""
    try:
        return datetime.strptime(required(params, name), "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise AdministrationError("The day is not a date.", hint="give it as YYYY-MM-DD") from None


def told_time(at_us: int) -> str:
    """A time as answers have it, from microseconds since 1970."""
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat()


def instant(text: str) -> int:
    """Microseconds since 1970 of a time or a day in ISO 8601; UTC where it says none. Raises AdministrationError."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise AdministrationError(
            f"{text[:40]!r} is no time.", hint="give it as 2026-11-23T14:05:00Z, or a day"
        ) from None
    return microseconds(found if found.tzinfo else found.replace(tzinfo=UTC))


def proposed(
    on: Instruction, kind: str, account: str, details: Mapping[str, int | str], params: dict[str, Any]
) -> dict[str, Any]:
    """Puts something before a second operator. Raises AdministrationError, ProposalError."""
    if on.by == HOST:
        raise AdministrationError(
            "Two operators decide that, and nobody is logged in.", hint="`countenance login NAME` first"
        )
    reason = required(params, "reason")
    made = on.governance.office.propose(kind, account, details, by=on.by, reason=reason, request_id=on.request_id)
    return told_proposal(made, microseconds(on.at))


def told_proposal(each: Proposal, now_us: int) -> dict[str, Any]:
    """A proposal as answers have it."""
    state = each.state if each.state != "open" or each.is_open(now_us) else "too old"
    return {
        "proposal": each.id,
        "kind": each.kind,
        "account_id": each.account or None,
        "details": dict(each.details),
        "by": each.by,
        "at": told_time(each.at_us),
        "approved_by": each.approved_by or None,
        "state": state,
    }
