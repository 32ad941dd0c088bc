"""Where the texts of policy sets are kept, by their hash, and the engines that decide by them.

Knows texts; which set is in force is for whoever reads the acts. A set that is missing or was altered decides nothing,
and what decides nothing denies.
"""

from __future__ import annotations

import threading
from hashlib import sha256
from importlib.resources import files

from countenance.policy.engine import Engine
from countenance.policy.policyset import PolicyError, PolicySet, read
from countenance.store import Connection, Database


class Shelf:
    """The sets of one server. Safe to use from any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        schema = files("countenance.policy") / "schema"
        database.migrate("policy", [(schema / name).read_text("utf-8") for name in ("0001.sql", "0002.sql")])
        self._engines: dict[str, Engine] = {}
        self._lock = threading.Lock()

    def keep(self, policy_set: PolicySet) -> str:
        """Keep a set, durable when this returns; its hash."""
        self._database.maintain(lambda connection: self.insert(connection, policy_set))
        self.forget(policy_set.sha256)
        return policy_set.sha256

    @staticmethod
    def insert(connection: Connection, policy_set: PolicySet) -> None:
        """Keep a set in an open transaction; `forget` comes after it."""
        connection.execute(
            "INSERT INTO policy_set (sha256, text) VALUES (?, ?)"
            " ON CONFLICT (sha256) DO UPDATE SET text = excluded.text",  # the same, unless it was altered
            (policy_set.sha256, policy_set.text),
        )

    def forget(self, digest: str) -> None:
        """Read a set again when it is next asked for."""
        with self._lock:
            self._engines.pop(digest, None)

    def find(self, digest: str) -> PolicySet:
        """A set by its hash, or by how its hash begins.

        Raises:
            PolicyError: there is none, or several, or its text is not the one that was hashed.
        """
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT sha256, text FROM policy_set WHERE substr(sha256, 1, CAST(? AS INT)) = ? LIMIT 2",
                (len(digest), digest),
            ).fetchall()
        if len(rows) != 1 or not digest:
            raise PolicyError(
                f"There {'are several policy sets' if len(rows) > 1 else 'is no policy set'} {digest[:64]!r}.",
                hint="`countenance policy status` shows them",
            )
        found, text = rows[0]
        if sha256(text.encode()).hexdigest() != found:
            raise PolicyError(
                f"The policy set {found[:16]} is damaged.", hint="keep it again: `countenance policy draft`"
            )
        return read(text)

    def all(self) -> list[str]:
        """The hashes."""
        with self._database.reading() as connection:
            return [row[0] for row in connection.execute("SELECT sha256 FROM policy_set ORDER BY rowid").fetchall()]

    def engine(self, digest: str) -> Engine:
        """What decides by a set; one that cannot be read denies everything."""
        with self._lock:
            known = self._engines.get(digest)
        if known is not None:
            return known
        try:
            made = Engine(self.find(digest))
        except PolicyError as error:
            return Engine(None, reason=error.message)  # not kept: somebody may mend it
        with self._lock:
            return self._engines.setdefault(digest, made)
