"""What a server does unasked, each in a thread of its own and by one process of those that share the store.

Knows how often and with what; whoever starts one stops it.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

from countenance.assembly.register import Register
from countenance.config import Settings, SettingsError
from countenance.errors import Error
from countenance.gallery import SqliteGallery
from countenance.ledger.timestamp import Authority, Timestamping
from countenance.operations import certificates, persons
from countenance.operations.samples import retain
from countenance.samples import Daily
from countenance.store import Entry

PERIODS_EVERY_S = 300.0
"""Seconds between two looks at whether a day ended: as often as heartbeats, the first of which ends it."""
MOST_LABELLED = 1_000
"""Collections of an account whose tags are looked at for red flags."""

_log = logging.getLogger("countenance.assembly")


def timestamping(settings: Settings, register: Register) -> Timestamping:
    try:
        roots = settings.ledger_timestamp_roots.read_bytes() if settings.ledger_timestamp_roots else b""
    except OSError as error:
        raise SettingsError(f"ledger_timestamp_roots cannot be read: {error.strerror}") from None
    authority = Authority(settings.ledger_timestamp_url or "", roots)
    return Timestamping(
        register.ledger.log,
        authority,
        every_s=settings.ledger_timestamp_every_s,
        lease=register.presence.upkeep,
    )


def retention(settings: Settings, register: Register) -> Daily:
    """Also when samples are off: what was kept before does not stay for longer."""
    return Daily(
        lambda stopping: retain(
            register.ledger,
            register.samples,
            days=settings.sample_retention_days,
            now=datetime.now(UTC),
            stopping=stopping,
        ),
        name="sample retention",
        lease=register.presence.upkeep,
    )


def expiry(register: Register, gallery: SqliteGallery) -> Daily:
    """What collections kept for longer than their retention."""

    def expire(stopping: Callable[[], bool]) -> int:
        at, request_id = datetime.now(UTC), str(uuid.uuid4())

        def entry_of(account: str, collection: str) -> Entry:
            party = register.accounts.identified(account)
            return Entry(persons.RETIRED, account, "", request_id, at, {"collection_id": collection}, party=party)

        accounts = [each.account_id for each in register.accounts.accounts()]
        days_of = register.governance.retention_days
        return persons.expire(gallery, register.database, days_of, accounts, entry_of, now=at, stopping=stopping)

    return Daily(expire, name="collection retention", lease=register.presence.upkeep)


def screening(register: Register) -> Daily:
    """Lists are fetched, and whoever has to be screened again is."""

    def look_again(stopping: Callable[[], bool]) -> int:
        standings = register.governance.standings
        for source in standings.lists.sources:
            if stopping():
                return 0
            try:
                if standings.lists.is_due(source):
                    standings.lists.update(source, request_id=str(uuid.uuid4()))
            except Error as error:
                _log.error("the list %s was not updated: %s", source.list_id or source.form, error)
        return len(standings.screen_due()) if standings.due() else 0

    return Daily(look_again, name="screening", lease=register.presence.upkeep)


def labels(gallery: SqliteGallery, account: str) -> list[str]:
    """Values of the tags of an account's collections, the first of them."""
    found: list[str] = []
    for each in gallery.collections(account, after_uid=None, limit=MOST_LABELLED):
        try:
            found += gallery.tags(account, each.collection_id).values()
        except Error:
            continue  # deleted meanwhile
    return found


def period_maps(register: Register) -> Daily:
    """Days that ended get their maps, and past ones are revised; within minutes of midnight, UTC."""

    def keep_up(stopping: Callable[[], bool]) -> int:
        periods = register.ledger.periods
        if periods is None:
            return 0
        accounts = [each.account_id for each in register.accounts.accounts()]
        return len(certificates.keep_up(periods, register.governance.requests, accounts, stopping))

    return Daily(keep_up, name="period maps", every_s=PERIODS_EVERY_S, lease=register.presence.upkeep)
