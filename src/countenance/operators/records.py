"""Acts of operators: numbered, counted under a seal, replayed at the start.

Knows the journal, and how many acts there have to be; does not know what they mean (`state`). What would count for
nothing is refused before it is written.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final

from countenance.errors import Error
from countenance.operators.state import OPERATIONS, State
from countenance.operators.tally import FILE, Tally
from countenance.operators.values import Act, Journal, OperatorError, Said
from countenance.store import Database, DecidedMeanwhile, Keyring

_COUNT: Final = (
    "INSERT INTO operator_acts (one, number, seal) VALUES (1, ?, ?)"
    " ON CONFLICT (one) DO UPDATE SET number = excluded.number, seal = excluded.seal"
)

_log = logging.getLogger(__name__)


class Records:
    """What operators did. One thread at a time may use it.

    Args:
        now_us: the time, microseconds since 1970.
        party_of: role, scheme and identifier of those whom an account belongs to.
    """

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        journal: Journal,
        *,
        now_us: Callable[[], int],
        party_of: Callable[[str], Sequence[tuple[str, str, str]]],
    ) -> None:
        self._party_of = party_of
        self._database = database
        self._journal = journal
        self._now_us = now_us
        self._tally = Tally(database.folder, keyring)
        self._read = (-1, -1)
        """Place of the last act taken."""
        folder = files("countenance.operators").joinpath("schema")
        scripts = sorted((each.name, each) for each in folder.iterdir() if each.name.endswith(".sql"))
        database.migrate("operators", [each.read_text("utf-8") for _, each in scripts])
        self.state = self._replayed()

    def why_void(self, operation: str, account: str, details: Mapping[str, int | str]) -> str:
        """Why an act would count for nothing now; "" when it would count."""
        said = {**details, "number": self.state.number + 1}
        return self.state.why_void(Act(operation, account, "", self._now_us(), said))

    def do(
        self,
        operation: str,
        account: str,
        details: Mapping[str, int | str],
        request_id: str,
        also: Callable[[Any], object] | None = None,
    ) -> Act:
        """Write an act, durable when this returns, and take account of it.

        Args:
            also: what is to be done to the database in the same transaction.

        Raises:
            OperatorError: it would count for nothing.
            DatabaseError: whether it is in the log is not known; `state` says.
        """
        if why := self.why_void(operation, account, details):
            raise OperatorError(f"{operation} would count for nothing: {why}.")
        number = self.state.number + 1
        act = Act(operation, account, request_id, self._now_us(), {**details, "number": number})

        def rows(connection: Any) -> None:
            if also is not None:
                also(connection)
            connection.execute(_COUNT, (number, self._tally.seal(number)))

        party = self._party_of(account) if account else ()
        try:
            place = self._journal.append(operation, account, request_id, act.at_us, act.details, party=party, also=rows)
        except DecidedMeanwhile:
            raise  # nothing was written
        except BaseException:
            self._look_again()
            raise
        self.state.apply(act)
        self._read = place
        self._tell_outside()
        return act

    def follow(self) -> None:
        """Take in what other processes did."""
        row = self._counted()  # first: there are as many acts then, or more
        for said in self._journal.acts(OPERATIONS, self._read):
            self.state.apply(_act(said))
            self._read = said.place
        self._expect_what_was_counted(self.state, row)

    def _look_again(self) -> None:
        """What was reported as failed may be in the log all the same, and then its number was given."""
        try:
            self.state = self._replayed()
        except Error:
            self.state.is_whole = False  # until the next start: better nobody decides than twice under one number
            raise

    def _replayed(self) -> State:
        state, last = State(), (-1, -1)
        row, told = self._counted(), self._told()  # first: other processes may go on
        for said in self._journal.acts(OPERATIONS):
            state.apply(_act(said))
            last = said.place
        if row is None and not state.number:
            self._database.maintain(lambda connection: connection.execute(_COUNT, (0, self._tally.seal(0))).close())
        else:
            self._expect_what_was_counted(state, row)
        self._expect_what_was_told(state, told)
        self._read = last
        if not state.is_whole:
            _log.error("acts of operators are missing from the log; `countenance ledger fsck` names them")
        return state

    def _counted(self) -> tuple[int, bytes] | None:
        with self._database.reading() as connection:
            row = connection.execute("SELECT number, seal FROM operator_acts").fetchone()
        return None if row is None else (int(row[0]), bytes(row[1]))

    def _expect_what_was_counted(self, state: State, row: tuple[int, bytes] | None) -> None:
        """Compares with the count in the database."""
        if row is None or not self._tally.is_sealed(*row):
            state.expect(state.number + 1)
        else:
            state.expect(row[0])  # fewer than there are: an older database was put in place, and its log refilled

    def _told(self) -> int | None:
        """The count outside the database; -1 for a file that cannot be relied on."""
        try:
            return self._tally.read()
        except (OSError, ValueError) as error:
            _log.error("the file %s cannot be relied on: %s", FILE, error)
            return -1

    def _expect_what_was_told(self, state: State, told: int | None) -> None:
        """Compares with the count outside the database; without one, entries that a recovery lost may be acts."""
        if told == -1:
            state.expect(state.number + 1)
            return
        if told is not None:
            state.expect(told)
        elif self._journal.lost_us() > max(0, state.refounded_us):
            state.expect(state.number + 1)
        if state.is_whole and (told or 0) < state.number:
            self._tally.write(state.number)

    def _tell_outside(self) -> None:
        try:
            self._tally.write(self.state.number)
        except OSError as error:  # what was done is done; the next act, or the next start, tells it
            _log.error("the file %s cannot be written: %s", FILE, error)


def _act(said: Said) -> Act:
    return Act(said.operation, said.account, said.request_id, said.at_us, said.details)
