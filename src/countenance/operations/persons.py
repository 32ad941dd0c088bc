"""Consent, retention and the erasure of a person: what is on record about somebody who was enrolled.

Somebody is named by the external image id that the account gave; what stays on record for good is a digest of it under
a key of the account's own, which says nothing to anybody else. Brings together collections, entries and acts.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from countenance.accounts import Accounts
from countenance.errors import Error
from countenance.gallery import CollectionNotFound, Gallery, UserNotFound
from countenance.ledger import Ledger, retention
from countenance.operations import samples as kept
from countenance.operations.progress import Progress
from countenance.samples import Samples
from countenance.store import Database, Entry

RETIRED: Final = "retention.expire"
ERASED: Final = "person.erase"
"""Operations whose entries take references out on the host; see `ledger.acts`."""
DONE: Final = "person.erased"
"""The act at the end of an erasure: what was taken out in all."""
AT_ONCE: Final = 1_000
"""References looked at, or taken out, in one transaction."""
ROUNDS: Final = 8
"""How often collections are looked through for one person; the second time finds nobody, unless something is wrong."""


class NotErased(Error):
    """Somebody may still be there: no receipt says otherwise."""


@dataclass(frozen=True, slots=True)
class ErasedPerson:
    """What an erasure took out."""

    references: int
    samples: int
    entries: int


def subject(accounts: Accounts, account: str, external_image_id: str) -> str:
    """What stands for a person in entries that stay: HMAC-SHA256 under the account's key, in hexadecimal."""
    said = b"countenance/subject/v1\n" + external_image_id.encode()
    return hmac.digest(accounts.id_key(account), said, "sha256").hex()


def erase(
    gallery: Gallery,
    ledger: Ledger,
    database: Database,
    samples: Samples,
    entry_of: Callable[[str], Entry],
    withdraw: Callable[[], None],
    progress: Progress,
    *,
    account: str,
    external_image_id: str,
    ground: str,
    at: datetime,
) -> ErasedPerson:
    """Take a person out of every collection of an account, out of the kept images of searches that found them or that
    they were searched with, and out of the entries that name them.

    First, what lets them be enrolled is ended, and calls that were let through before are waited for: none of them puts
    anybody into a collection that was looked through already. Calls that begin meanwhile do not enrol them either.

    Args:
        entry_of: the entry of what is taken out of a collection.
        withdraw: ends every release of theirs.
        progress: of the calls of this server.
        at: the time, aware.

    Raises:
        HoldInForce: the account is under a legal hold; nothing was erased.
        NotErased: calls in progress do not end, or the person is found again and again.
        Error: no ground was given.
    """
    retention.check_ground(ground)
    with database.reading() as connection:
        retention.refuse_if_held(connection, account)
    with progress.erasing(account, external_image_id):
        withdraw()
        if not progress.wait():
            raise NotErased("Calls in progress do not end, so nobody was erased.", hint="try it again later")
        gone, is_gone = _taken_out(gallery, account, external_image_id, entry_of)
        # Searches that found them are recorded after they were answered.
        is_gone = progress.wait() and is_gone
        erased = _forgotten(ledger, database, samples, account, external_image_id, gone, ground, at)
    if not is_gone:
        raise NotErased(
            "Collections still had this person, or calls in progress did not end, so there is no receipt.",
            hint="what was found is erased; do it again",
        )
    return erased


def _taken_out(
    gallery: Gallery, account: str, external_image_id: str, entry_of: Callable[[str], Entry]
) -> tuple[list[str], bool]:
    """Takes a person out of collections until none of them has one; which references, and whether none is left."""
    gone: list[str] = []
    for _ in range(ROUNDS):
        is_gone = True
        for collection in _collections(gallery, account):
            found = [
                each.face_id
                for each in _references(gallery, account, collection)
                if external_image_id in (each.external_image_id, each.user_id)
            ]
            is_gone = is_gone and not found
            for start in range(0, len(found), AT_ONCE):
                portion = found[start : start + AT_ONCE]
                with suppress(CollectionNotFound):  # deleted meanwhile
                    gone += gallery.erase(account, collection, portion, entry=entry_of(collection))
            if _has_user(gallery, account, collection, external_image_id):  # without a reference: those went with them
                is_gone = False
                with suppress(CollectionNotFound, UserNotFound):
                    gallery.delete_user(account, collection, external_image_id, entry=entry_of(collection), once=None)
        if is_gone:
            return gone, True
    return gone, False


def _has_user(gallery: Gallery, account: str, collection: str, user_id: str) -> bool:
    try:
        gallery.user(account, collection, user_id)
    except (CollectionNotFound, UserNotFound):
        return False
    return True


def _forgotten(
    ledger: Ledger,
    database: Database,
    samples: Samples,
    account: str,
    external_image_id: str,
    gone: list[str],
    ground: str,
    at: datetime,
) -> ErasedPerson:
    """Takes a person out of kept images and entries."""
    with database.reading() as connection:  # before the entries forget whom the calls were about
        calls = retention.calls_naming(connection, account=account, external_image_id=external_image_id, face_ids=gone)
    images = kept.erase_of(ledger, samples, account=account, request_ids=calls, at=at, ground=ground)
    entries = retention.erase_person(
        ledger.log, account=account, external_image_id=external_image_id, face_ids=gone, ground=ground
    )
    database.truncate_wal()  # what was there before is in the log of writes until then
    return ErasedPerson(len(gone), images, entries)


def expire(
    gallery: Gallery,
    database: Database,
    days_of: Callable[[str, str], int],
    accounts: list[str],
    entry_of: Callable[[str, str], Entry],
    *,
    now: datetime,
    stopping: Callable[[], bool] = lambda: False,
) -> int:
    """Take references out of collections that were enrolled longer ago than the collection's retention; how many.

    Args:
        days_of: account and collection -> days, negative when none is set.
        entry_of: account and collection -> the entry of what is taken out.
    """
    total = 0
    for account in accounts:
        for collection in _collections(gallery, account):
            days = days_of(account, collection)
            with database.reading() as connection:
                is_held = account in retention.held(connection)
            if days < 0 or is_held or stopping():
                continue
            before = now - timedelta(days=days)
            old = [each.face_id for each in _references(gallery, account, collection) if each.enrolled_at < before]
            for start in range(0, len(old), AT_ONCE):
                portion = old[start : start + AT_ONCE]
                total += len(gallery.erase(account, collection, portion, entry=entry_of(account, collection)))
    if total:
        database.truncate_wal()
    return total


def _collections(gallery: Gallery, account: str) -> list[str]:
    found, after = [], None
    while page := gallery.collections(account, after_uid=after, limit=AT_ONCE):
        found += [each.collection_id for each in page]
        after = page[-1].uid
    return found


def _references(gallery: Gallery, account: str, collection: str) -> Iterator[Any]:
    after = None
    try:
        while page := gallery.references(account, collection, after_seq=after, limit=AT_ONCE, face_ids=None):
            yield from (reference for _, reference in page)
            after = page[-1][0]
    except CollectionNotFound:
        return  # deleted meanwhile
