"""Rows of denied calls that wait for an approval, where several processes answer calls.

Knows ids and words; does not know what a call is. Losing one costs its caller to ask once more.
"""

from __future__ import annotations

from countenance.store import Connection, Database


class Waiting:
    """The calls that wait, by all processes.

    Args:
        most: of all accounts together.
        of_account: of one account: it pushes out its own before it can push out others'.
    """

    def __init__(self, database: Database, *, most: int, of_account: int) -> None:
        self._database = database
        self._most, self._of_account = most, of_account

    def keep(self, id_: str, account: str, told: str) -> None:
        """Remember one, as the latest; durable when this returns."""

        def change(connection: Connection) -> None:
            connection.execute("DELETE FROM awaited_call WHERE id = ?", (id_,))
            connection.execute("INSERT INTO awaited_call (id, account, told) VALUES (?, ?, ?)", (id_, account, told))
            connection.execute(
                "DELETE FROM awaited_call WHERE account = ? AND number NOT IN"
                " (SELECT number FROM awaited_call WHERE account = ? ORDER BY number DESC LIMIT ?)",
                (account, account, self._of_account),
            )
            connection.execute(
                "DELETE FROM awaited_call WHERE number NOT IN"
                " (SELECT number FROM awaited_call ORDER BY number DESC LIMIT ?)",
                (self._most,),
            )

        self._database.maintain(change)

    def all(self) -> list[tuple[str, str]]:
        """Account and words of each, the latest last."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT account, told FROM awaited_call ORDER BY number").fetchall()
        return [(row[0], row[1]) for row in rows]
