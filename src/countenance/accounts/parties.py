"""The rows of declarations: every version of every account's party, and which one counts.

Functions over an open connection, for whoever decides about transactions. Nothing changes or removes a row.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from countenance_audit import canonical

from countenance.accounts.party import Party
from countenance.accounts.values import micros, moment
from countenance.store import Connection


@dataclass(frozen=True, slots=True)
class Declared:
    """One version of what an account's party declared."""

    party: Party
    version: int
    """From 1."""
    recorded_at: datetime
    granted_by: str
    """The request id of the act."""

    @property
    def key(self) -> str:
        """Which declaration it is: its version and digest. The digest alone leaves out the names of persons."""
        return f"{self.version}/{self.party.digest()}"


def insert(connection: Connection, account_id: str, party: Party, *, request_id: str, at: datetime) -> Declared:
    """Record the next version."""
    (version,) = connection.execute(
        "SELECT coalesce(max(version), 0) + 1 FROM party WHERE account_id = ?", (account_id,)
    ).fetchone()
    connection.execute(
        "INSERT INTO party (account_id, version, recorded_at, content, granted_by) VALUES (?, ?, ?, ?, ?)",
        (account_id, version, micros(at), canonical.encode(party.to_json()).decode(), request_id),
    )
    return Declared(party, version, at, request_id)


def versions(connection: Connection, account_id: str) -> list[Declared]:
    """All of them, the latest first."""
    rows = connection.execute(
        "SELECT content, version, recorded_at, granted_by FROM party WHERE account_id = ? ORDER BY version DESC",
        (account_id,),
    ).fetchall()
    return [_declared(row) for row in rows]


def current(connection: Connection, account_id: str) -> Declared | None:
    """The latest version; None while nothing is declared."""
    row = connection.execute(
        "SELECT content, version, recorded_at, granted_by FROM party WHERE account_id = ?"
        " ORDER BY version DESC LIMIT 1",
        (account_id,),
    ).fetchone()
    return None if row is None else _declared(row)


def count(connection: Connection) -> int:
    """How many declarations there are, of all accounts and versions: none ever goes."""
    (found,) = connection.execute("SELECT count(*) FROM party").fetchone()
    return int(found)


def undeclared(connection: Connection) -> set[str]:
    """The accounts of which no party is declared."""
    rows = connection.execute("SELECT account_id FROM account WHERE account_id NOT IN (SELECT account_id FROM party)")
    return {row[0] for row in rows}


def digests(connection: Connection) -> dict[tuple[str, int], str]:
    """(account, version) -> digest of every declaration, for `ledger fsck`."""
    rows = connection.execute("SELECT account_id, version, content FROM party").fetchall()
    return {(account_id, version): _party(content).digest() for account_id, version, content in rows}


def _declared(row: tuple[str, int, int, str]) -> Declared:
    return Declared(_party(row[0]), row[1], moment(row[2]), row[3])


def _party(content: str) -> Party:
    return Party.from_json(canonical.decode(content))
