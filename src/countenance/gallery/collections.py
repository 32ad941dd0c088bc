"""The rows of collections: creating, finding, listing, tagging, and the keys that belong to them.

Functions over an open connection; whoever calls them decides about transactions. Every lookup by name takes
the account, and nothing else finds a collection for a caller.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from countenance.gallery import records
from countenance.gallery.faults import (
    CollectionExists,
    CollectionNotFound,
    TagLimitExceeded,
)
from countenance.gallery.sealing import CollectionSeal
from countenance.gallery.values import (
    MAX_TAGS,
    Collection,
)
from countenance.store import Connection, Database, IntegrityErrors, Keyring, has_table

_MASTER_CHECK = b"countenance gallery master check v1"
_CHECKED = "SELECT wrapped FROM gallery_master_check"


def check_master_key(database: Database, keyring: Keyring) -> None:
    """Find out at the start, not at the first search, that the master key is the one of this database.

    Raises:
        KeyringError: it is another one.
    """
    with database.reading() as connection:
        row = connection.execute(_CHECKED).fetchone()
    if row is None:
        wrapped = keyring.wrap(bytes(32), aad=_MASTER_CHECK)

        def insert(connection: Connection) -> Any:
            connection.execute(
                "INSERT INTO gallery_master_check (only_row, wrapped) VALUES (1, ?) ON CONFLICT DO NOTHING", (wrapped,)
            )
            return connection.execute(_CHECKED).fetchone()  # of a process that started at the same moment, maybe

        row = database.maintain(insert)
    keyring.unwrap(row[0], aad=_MASTER_CHECK)


def create(
    connection: Connection,
    keyring: Keyring,
    account_id: str,
    collection_id: str,
    model_version: str,
    dimension: int,
    tags: Mapping[str, str],
    at: datetime,
) -> Collection:
    """Insert a collection with a fresh key and its tags.

    Raises:
        CollectionExists, TagLimitExceeded
    """
    try:
        (uid,) = connection.execute(
            "INSERT INTO collections (account_id, collection_id, model_version, dimension, created_at) "
            "VALUES (?, ?, ?, ?, ?) RETURNING uid",
            (account_id, collection_id, model_version, dimension, records.to_microseconds(at)),
        ).fetchone()
    except IntegrityErrors:
        raise CollectionExists("The collection exists already.") from None
    wrapped = CollectionSeal.new_wrapped_key(keyring, account_id=account_id, uid=uid)
    connection.execute("INSERT INTO collection_keys (uid, wrapped) VALUES (?, ?)", (uid, wrapped))
    if tags:
        tag(connection, uid, tags)
    return Collection(
        account_id=account_id,
        collection_id=collection_id,
        uid=uid,
        model_version=model_version,
        dimension=dimension,
        created_at=at,
        face_count=0,
    )


def find(connection: Connection, account_id: str, collection_id: str) -> Collection:
    """A collection by its owner and name.

    Raises:
        CollectionNotFound
    """
    row = connection.execute(
        f"SELECT {records.COLLECTION_COLUMNS} FROM collections "  # noqa: S608 - fixed column names
        "WHERE account_id = ? AND collection_id = ?",
        (account_id, collection_id),
    ).fetchone()
    if row is None:
        raise CollectionNotFound("There is no such collection.")
    return records.collection_of(row)


def find_by_uid(connection: Connection, uid: int) -> Collection:
    """A collection, for the index; never for a caller's name.

    Raises:
        CollectionNotFound
    """
    row = connection.execute(
        f"SELECT {records.COLLECTION_COLUMNS} FROM collections WHERE uid = ?",  # noqa: S608
        (uid,),
    ).fetchone()
    if row is None:
        raise CollectionNotFound("There is no such collection.")
    return records.collection_of(row)


def listed(connection: Connection, account_id: str, after_uid: int | None, limit: int) -> list[Collection]:
    """An account's collections by uid, those beyond `after_uid`."""
    rows = connection.execute(
        f"SELECT {records.COLLECTION_COLUMNS} FROM collections "  # noqa: S608 - fixed column names
        "WHERE account_id = ? AND uid > ? ORDER BY uid LIMIT ?",
        (account_id, after_uid or 0, limit),
    ).fetchall()
    return [records.collection_of(row) for row in rows]


def seal_of(connection: Connection, keyring: Keyring, collection: Collection) -> CollectionSeal:
    """What seals and opens a collection's templates.

    Raises:
        CollectionNotFound: the collection was deleted since it was looked up.
        KeyringError: the stored key does not open.
    """
    row = connection.execute(
        "SELECT wrapped FROM collection_keys JOIN collections USING (uid) WHERE uid = ?", (collection.uid,)
    ).fetchone()
    if row is None:
        raise CollectionNotFound("There is no such collection.")
    return CollectionSeal.unwrapped(
        keyring,
        row[0],
        account_id=collection.account_id,
        uid=collection.uid,
        collection_id=collection.collection_id,
        model_version=collection.model_version,
    )


def tags_of(connection: Connection, uid: int) -> dict[str, str]:
    """All tags, by name."""
    return dict(
        connection.execute("SELECT name, value FROM collection_tags WHERE uid = ? ORDER BY name", (uid,)).fetchall()
    )


def tag(connection: Connection, uid: int, tags: Mapping[str, str]) -> dict[str, str]:
    """Set some tags and keep the others.

    Raises:
        TagLimitExceeded
    """
    together = tags_of(connection, uid) | dict(tags)
    if len(together) > MAX_TAGS:
        raise TagLimitExceeded(f"A collection has at most {MAX_TAGS} tags.")
    connection.executemany(
        "INSERT INTO collection_tags (uid, name, value) VALUES (?, ?, ?) "
        "ON CONFLICT (uid, name) DO UPDATE SET value = excluded.value",
        [(uid, name, value) for name, value in tags.items()],
    )
    return tags_of(connection, uid)


def untag(connection: Connection, uid: int, names: Sequence[str]) -> dict[str, str]:
    """Remove some tags; names that are not there are ignored."""
    connection.executemany("DELETE FROM collection_tags WHERE uid = ? AND name = ?", [(uid, name) for name in names])
    return tags_of(connection, uid)


def held(connection: Connection) -> dict[tuple[str, ...], dict[str, int | str]]:
    """Every collection with the number of its references, counted: what `ledger fsck` compares with the entries. Empty
    while no gallery was ever opened on this database."""
    if not has_table(connection, "enrolled_references"):
        return {}
    rows = connection.execute(
        "SELECT account_id, collection_id,"
        " (SELECT count(*) FROM enrolled_references WHERE enrolled_references.uid = collections.uid) FROM collections"
        " WHERE account_id <> ''"  # not those that are still arriving: see `moving`
    ).fetchall()
    return {("collection", account, collection): {"references": count} for account, collection, count in rows}
