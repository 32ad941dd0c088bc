"""Answers given under a client's token: the same call again gets the same answer and changes nothing.

SDKs send a token of their own with each call and repeat it when they try again (botocore: `idempotencyToken`).
"""

from __future__ import annotations

import json
from datetime import timedelta

from countenance.gallery.faults import (
    TokenInUse,
)
from countenance.gallery.records import to_microseconds
from countenance.gallery.values import (
    Associated,
    NotAssociated,
    Once,
    Why,
)
from countenance.store import Connection

KEPT = timedelta(hours=24)
"""How long: longer than any SDK goes on trying. Amazon states no time for these operations."""
_AT_ONCE = 100
"""Old rows removed by each call."""


def answered(connection: Connection, once: Once) -> Associated | None:
    """The answer that was given under this token, if any.

    Raises:
        TokenInUse: it was given for another call.
    """
    row = connection.execute(
        "SELECT asked, answer FROM client_tokens WHERE account_id = ? AND token = ? AND at > ?",
        (once.account_id, once.token, to_microseconds(once.at - KEPT)),
    ).fetchone()
    if row is None:
        return None
    if row[0] != once.asked:
        raise TokenInUse(f"The ClientRequestToken: {once.token} you have supplied is already in use.")
    face_ids, refused, user_faces = json.loads(row[1])
    return Associated(
        tuple(face_ids),
        tuple(NotAssociated(face_id, Why(why), user_id, score) for face_id, why, user_id, score in refused),
        user_faces,
    )


def keep(connection: Connection, once: Once, done: Associated) -> None:
    """Remembers an answer, and forgets old ones."""
    refused = [[each.face_id, each.why.value, each.user_id, each.score] for each in done.refused]
    answer = json.dumps([done.face_ids, refused, done.user_faces])
    connection.execute(
        "INSERT INTO client_tokens (account_id, token, asked, answer, at) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (account_id, token)"
        " DO UPDATE SET asked = excluded.asked, answer = excluded.answer, at = excluded.at",
        (once.account_id, once.token, once.asked, answer, to_microseconds(once.at)),
    )
    connection.execute(
        "DELETE FROM client_tokens WHERE (account_id, token) IN"
        " (SELECT account_id, token FROM client_tokens WHERE at <= ? LIMIT ?)",
        (to_microseconds(once.at - KEPT), _AT_ONCE),
    )


def forget(connection: Connection, account_id: str) -> None:
    """Forgets all answers of an account: they name references and users, of whom somebody was erased."""
    connection.execute("DELETE FROM client_tokens WHERE account_id = ?", (account_id,))
