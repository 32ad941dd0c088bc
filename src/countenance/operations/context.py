"""What an operation may use, and on whose behalf it runs.

`Service` holds the long-lived parts, put together once in `assembly`; `Invocation` is one call of a known
caller. Both are values: an operation cannot change them, so calls on different threads share nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from countenance.accounts import Accounts
from countenance.gallery import Gallery
from countenance.ledger import Ledger
from countenance.operations.governance import Governance
from countenance.operations.pagination import Cursors
from countenance.recognition import Engine
from countenance.samples import Samples
from countenance.sources import ImageSource
from countenance.standing.places import Places
from countenance.store import Database, Entry


@dataclass(frozen=True, slots=True)
class Service:
    """The assembled server, as the operations see it."""

    engine: Engine
    gallery: Gallery
    accounts: Accounts
    source: ImageSource
    """Where an S3Object comes from; refuses buckets the account was not granted."""
    cursors: Cursors
    ledger: Ledger
    """Where every call of a known key is recorded before it is answered."""
    database: Database
    """What holds it all: for backups. The tables in it are for their owners."""
    samples: Samples
    """Where images that led to a match are kept, when the settings say so."""
    governance: Governance
    """What calls are decided by, and who decided that."""
    region: str
    """The region in every ARN of this server."""
    places: Places = field(default_factory=Places)
    """Which country an address is in, as far as the operator brought a table."""
    keeps_crops: bool = False
    """Whether IndexFaces keeps the crops that features are made of, for a migration to another model."""
    admits: Callable[[str, str], bool] = lambda account, operation: True
    """Whether an account may make one more call of an operation now: `quotas.Quotas.take`."""
    most: Callable[[str, str], int | None] = lambda account, what: None
    """How many collections an account, or faces or users a collection of its may have: `quotas.Quotas.most`."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who signed the call."""

    account_id: str
    access_key_id: str
    purpose: str
    holder: str = ""
    """Who the key was issued to; empty when nobody is named."""
    party: tuple[tuple[str, str, str], ...] = ()
    """Role, scheme and identifier of those the account belongs to, as declared."""
    jurisdiction: str = ""
    """Of the account's party."""
    is_owner: bool = False
    declaration: str = ""
    """Which declaration the account has: `accounts.Declared.key`."""


@dataclass(slots=True)
class Trace:
    """What a call's entry says about it besides who and when; operations add to it as they go."""

    images: list[bytes] = field(default_factory=list)
    """SHA-256 of each image looked at."""
    face_ids: list[str] = field(default_factory=list)
    """Of references enrolled, erased, searched with or found."""
    external_image_ids: list[str] = field(default_factory=list)
    details: dict[str, int | str] = field(default_factory=dict)
    """Counts and settings, nothing about persons."""
    reference_database: dict[str, str | int] | None = None
    """What was searched: collection, model, references."""
    matched_image: bytes | None = None
    """The image of a 1:N search that led to a match, which may have to be kept. Not part of the entry."""


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call: the service, the caller and the moment."""

    service: Service
    caller: Caller
    operation: str
    request_id: str
    at: datetime
    search_all_faces: bool = False
    """The extension header `x-countenance-all-faces: true` was sent."""
    trace: Trace = field(default_factory=Trace)

    @property
    def account_id(self) -> str:
        return self.caller.account_id

    def entry(self, details: Mapping[str, int | str]) -> Entry:
        """What a state-changing operation commits together with its effect."""
        return Entry(
            operation=self.operation,
            account_id=self.caller.account_id,
            access_key_id=self.caller.access_key_id,
            request_id=self.request_id,
            at=self.at,
            details=details,
            holder=self.caller.holder,
            purpose=self.caller.purpose,
            party=self.caller.party,
        )
