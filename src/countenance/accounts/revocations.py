"""Revocations, noted so that a restored older database does not put a revoked key or grant in force again.

Knows the notes (`store.erasures`) and the two tables; decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from countenance.store import Connection

KEY: Final = "key"
BUCKET: Final = "bucket"
"""Kinds of notes."""


def note_of_key(access_key_id: str, revoked_at: int) -> dict[str, Any]:
    """What is noted of a revoked key; `revoked_at` in microseconds since 1970."""
    return {"kind": KEY, "access_key_id": access_key_id, "revoked_at": revoked_at}


def note_of_bucket(account_id: str, bucket: str) -> dict[str, Any]:
    """What is noted of a bucket grant that was taken back."""
    return {"kind": BUCKET, "account": account_id, "bucket": bucket}


def replay_keys(connection: Connection, notes: Sequence[Mapping[str, Any]]) -> int:
    """Revoke again the keys that an older database put in force; returns how many there were."""
    return sum(
        connection.execute(
            "UPDATE access_key SET revoked_at = ? WHERE access_key_id = ? AND revoked_at IS NULL",
            (note["revoked_at"], note["access_key_id"]),
        ).rowcount
        for note in notes
    )


def replay_buckets(connection: Connection, notes: Sequence[Mapping[str, Any]]) -> int:
    """Take back again the grants that an older database brought back; returns how many there were.

    A grant that was taken back and given again after the backup is lost with the rest of that time: it has to be given
    a third time.
    """
    return sum(
        connection.execute(
            "DELETE FROM bucket_grant WHERE account_id = ? AND bucket = ?", (note["account"], note["bucket"])
        ).rowcount
        for note in notes
    )
