"""Documents by their hash: inputs and findings of screenings, statements of ownership, removed entries of lists.

An act in the log names the hash of a document and says what it is; here are only the bytes. Documents may name natural
persons, so they are not in the log, and can be erased: the act stays, and its hash opens nothing any more.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final

from countenance_audit import canonical

from countenance.errors import Error
from countenance.store import Database

KEPT: Final = 1_024
"""Documents kept in memory: the reports of as many accounts, a few kilobytes each."""


class DocumentMissing(Error):
    """There is no document with that hash, or not any more, or it was altered."""


class Documents:
    """The documents of one server. Safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = self.database = database
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Any] = OrderedDict()
        database.migrate("standing", [(files("countenance.standing") / "schema" / "0001.sql").read_text("utf-8")])

    def keep(self, content: Any) -> str:
        """Keep a document, durable when this returns; its hash, in hexadecimal.

        Args:
            content: plain values of JSON.
        """
        encoded = canonical.encode(content)
        digest = sha256(encoded).hexdigest()
        self._database.maintain(
            lambda connection: connection.execute(
                "INSERT INTO standing_document (sha256, content) VALUES (?, ?)"
                " ON CONFLICT (sha256) DO UPDATE SET content = excluded.content",  # the same, unless it was altered
                (digest, encoded),
            ).close()
        )
        return digest

    def find(self, digest: str) -> Any:
        """The content of a document. Raises DocumentMissing."""
        with self._lock:
            if digest in self._known:
                self._known.move_to_end(digest)
                return self._known[digest]
        with self._database.reading() as connection:
            row = connection.execute("SELECT content FROM standing_document WHERE sha256 = ?", (digest,)).fetchone()
        if row is None or sha256(row[0]).hexdigest() != digest:
            raise DocumentMissing(
                f"The document {digest[:16]} is {'not there' if row is None else 'damaged'}.",
                hint="restore it from a backup, or screen again",
            )
        content = canonical.decode(row[0])
        with self._lock:
            self._known[digest] = content
            while len(self._known) > KEPT:
                self._known.popitem(last=False)
        return content

    def damaged(self) -> list[str]:
        """Hashes of documents whose content is another, for `ledger fsck`."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT sha256, content FROM standing_document").fetchall()
        return [digest for digest, content in rows if sha256(content).hexdigest() != digest]
