"""Where operators are made, log in, propose and approve.

Knows who may do what (`state`) and what each deed says as an act (`records`). What would count for nothing is refused
before it is written. Safe to use from any thread.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from countenance.operators import credentials
from countenance.operators.credentials import Tokens
from countenance.operators.records import Records
from countenance.operators.state import HOST, REFOUND, TRUSTED, Proposal, State
from countenance.operators.strangers import Strangers
from countenance.operators.values import (
    Act,
    Journal,
    Operator,
    OperatorError,
    ProposalError,
    SessionError,
    check_handle,
    check_reason,
    check_roles,
)
from countenance.store import Database, Keyring

REFUSED: Final = "The name, the password or the one-time password is wrong."
WAIT: Final = "Too many wrong logins."
MISSING: Final = "Acts of operators are missing from the log, so that nobody decides anything."
HOW_TO_MEND: Final = "`countenance ledger fsck` names them, `countenance ledger recover` puts them back"


class Office:
    """The operators of one server.

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
        party_of: Callable[[str], Sequence[tuple[str, str, str]]] = lambda _: (),
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._now_us = now_us
        self._tokens = Tokens(keyring)
        self._lock = threading.RLock()
        self._turned_away = 0
        self._strangers = Strangers()
        self._records = Records(database, keyring, journal, now_us=now_us, party_of=party_of)

    @property
    def state(self) -> State:
        """Who is in office, and what was decided."""
        return self._records.state

    def follow(self) -> None:
        """Take in what other processes did."""
        with self._lock:
            self._records.follow()

    # -- operators

    def create(self, handle: str, roles: Sequence[str], *, by: str, reason: str, request_id: str) -> tuple[str, str]:
        """Make an operator, or propose it: the host makes operators until two admins can log in; after that, two
        admins decide.

        Args:
            by: an operator's handle, or HOST.

        Returns:
            The code with which the new operator sets a password, and the proposal's id, "" when it is done.

        Raises:
            OperatorError: there is one of that name, or it may not be made so.
        """
        handle, named = check_handle(handle), ",".join(check_roles(roles))
        with self._lock:
            if handle in self.state.operators or handle == HOST:
                raise OperatorError(f"There is an operator {handle} already.", hint="names are given once")
            code = credentials.new_code()
            details = {"operator": handle, "roles": named, "code_sha256": credentials.code_digest(code)}
            if by != HOST:
                return code, self.propose(
                    "operator.create", "", details, by=by, reason=reason, request_id=request_id
                ).id
            if not self.state.is_whole:
                raise OperatorError(MISSING, hint=HOW_TO_MEND)
            if not self.state.is_founding():
                raise OperatorError(
                    "There are two admins: operators are made by them.", hint="`countenance login NAME` first"
                )
            self._records.do("operator.create", "", {**details, "by": HOST, "reason": check_reason(reason)}, request_id)
        return code, ""

    def reset(self, handle: str, *, by: str, reason: str, request_id: str) -> tuple[str, str]:
        """Propose that an operator sets a new password and second factor: one was forgotten, lost or stolen.

        Returns:
            The code for it, worth something once another admin approves, and the proposal's id.

        Raises:
            ProposalError: there is no such operator, or who asks may not, or is that operator.
        """
        code = credentials.new_code()
        details = {"operator": handle, "code_sha256": credentials.code_digest(code)}
        return code, self.propose("operator.reset", "", details, by=by, reason=reason, request_id=request_id).id

    def enrol(self, handle: str, code: str, password: str, *, request_id: str) -> str:
        """Set the password of an operator who has a code for it; returns what an authenticator app scans.

        Raises:
            SessionError: the code is not the one, was used, or is older than a week.
            OperatorError: the password cannot be one.
        """
        given = credentials.code_digest(code.strip().upper())
        with self._lock:
            self._refuse_code(handle, given)
        secret = credentials.new_secret()
        kept = credentials.hashed(password, handle)  # slow: outside the lock
        wrapped = self._keyring.wrap(secret.encode(), aad=b"operator/" + handle.encode())

        def insert(connection: Any) -> None:
            connection.execute(
                "INSERT INTO operator_credential (operator, password, totp) VALUES (?, ?, ?)"
                " ON CONFLICT (operator) DO UPDATE SET password = excluded.password, totp = excluded.totp",
                (handle, kept, wrapped),
            )

        with self._lock:
            self._refuse_code(handle, given)
            said = {"operator": handle, "credential": credentials.digest(kept, wrapped), "by": handle}
            self._records.do("operator.credential", "", said, request_id, insert)
        return credentials.address(secret, handle)

    def refound(self, *, reason: str, request_id: str) -> Proposal:
        """Begin anew on the host, with nobody in office, where two admins cannot decide any more.

        The first time this only proposes it. Every admin can withdraw that for three days; the next time after them, or
        at once while acts are missing, all operators are suspended and the host makes two admins again.

        Returns:
            The proposal: "open" while admins can object, else "done".
        """
        with self._lock:
            now = self._now_us()
            waiting = [each for each in self.state.proposals.values() if each.kind == REFOUND and each.is_open(now)]
            found = waiting[-1] if waiting else None
            if found is None:
                found = self._propose(REFOUND, "", {"reason": check_reason(reason)}, HOST, request_id)
            said = {**found.details, "proposal": found.id, "by": HOST}
            if not self._records.why_void(REFOUND, "", said):
                self._records.do(REFOUND, "", said, request_id)
            return self.state.proposals[found.id]

    # -- sessions

    def login(self, handle: str, password: str, one_time: str, *, request_id: str) -> str:
        """A session's token. Raises SessionError, which does not say what was wrong, nor whether there is an operator
        of that name: both take a hash, and both have to wait after as many wrong logins."""
        now = self._now_us()
        with self._lock:
            self._refuse_missing()
            self._refuse_locked(handle, now)
        row = self._credential(handle)
        is_right = credentials.is_password(password, None if row is None else row[0])  # slow: outside the lock
        with self._lock:
            self._refuse_missing()
            # Once more: of logins that were tried at the same time, no more than a few are answered.
            self._refuse_locked(handle, now)
            operator = self.state.operators.get(handle)
            step = None
            # The credential may have been replaced meanwhile.
            if row is not None and row == self._credential(handle) and is_right and operator and operator.is_active:
                secret = self._keyring.unwrap(row[1], aad=b"operator/" + handle.encode()).decode()
                step = credentials.step_of(one_time.strip(), secret, now, self.state.steps.get(handle, -1))
            if step is None:
                if operator is None:
                    self._turned_away += 1
                    self._strangers.count(handle, now)
                else:
                    self._record_login("operator.refused", {"operator": handle}, request_id)
                raise SessionError(REFUSED, hint="a one-time password is good once; wait for the next")
            self._record_login("operator.login", {"operator": handle, "step": step}, request_id)
        return self._tokens.issue(handle, now)

    def logout(self, handle: str, *, request_id: str) -> None:
        """End every session of an operator that was begun until now. Raises OperatorError when there is none."""
        with self._lock:
            self._records.do("operator.logout", "", {"operator": handle, "by": handle}, request_id)

    def who(self, token: str) -> Operator:
        """Whose session it is. Raises SessionError."""
        handle, since_us = self._tokens.read(token, self._now_us())
        with self._lock:
            self._refuse_missing()
            found = self.state.operators.get(handle)
            if found is None or not found.is_active:
                raise SessionError("The operator of this session is suspended.")
            if since_us <= self.state.ended.get(handle, -1):
                raise SessionError("The session was ended.", hint="`countenance login NAME`")
            return found

    # -- deciding

    def propose(
        self, kind: str, account: str, details: Mapping[str, int | str], *, by: str, reason: str, request_id: str
    ) -> Proposal:
        """Put something before a second operator.

        Raises:
            ProposalError: who asks may not, the reason is missing, or it could not come to anything.
        """
        words = {**details, "reason": check_reason(reason)}
        with self._lock:
            self._refuse(kind, by, words)
            return self._propose(kind, account, words, by, request_id)

    def approve(
        self, proposal: str, *, by: str, request_id: str, check: Callable[[Proposal], None] = lambda _: None
    ) -> Act:
        """Approve what another operator proposed; it takes effect with the act that comes back.

        Args:
            check: raises when it has become impossible.

        Raises:
            ProposalError: there is none, it is over, or who asks may not or proposed it.
        """
        with self._lock:
            found = self.proposal(proposal)
            if not found.is_open(self._now_us()):
                raise ProposalError(f"Proposal {found.id} is {found.state if found.state != 'open' else 'too old'}.")
            if by == found.by:
                raise ProposalError("Nobody approves what they proposed.", hint="another operator has to")
            self._refuse(found.kind, by, found.details)
            self._refuse(found.kind, found.by, found.details)
            check(found)
            said = {**found.details, "proposal": found.id, "by": found.by, "and": by}
            also = self._forget(str(found.details["operator"])) if found.kind == "operator.reset" else None
            return self._records.do(found.kind, found.account, said, request_id, also)

    def withdraw(self, proposal: str, *, by: str, request_id: str) -> None:
        """Take a proposal back, one's own or as an admin. Raises ProposalError."""
        with self._lock:
            found = self.proposal(proposal)
            if found.state != "open":
                raise ProposalError(f"Proposal {found.id} is {found.state}.")
            if by != found.by and self.state.why_not(by, "operator.create"):
                raise ProposalError("Only who proposed it, or an admin, withdraws a proposal.")
            self._records.do("proposal.withdraw", found.account, {"proposal": found.id, "by": by}, request_id)

    def proposal(self, proposal: str) -> Proposal:
        """One proposal. Raises ProposalError."""
        found = self.state.proposals.get(proposal)
        if found is None:
            raise ProposalError(
                f"There is no proposal {proposal[:40]!r}.", hint="`countenance proposal list` shows them"
            )
        return found

    def proposals(self) -> list[Proposal]:
        """All of them, the latest last."""
        with self._lock:
            return list(self.state.proposals.values())

    def problems(self) -> list[str]:
        """What `ledger fsck` should know: acts that are missing or void, and credentials that no act explains."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT operator, password, totp FROM operator_credential").fetchall()
        found = [
            f"operator {handle}: its credential is not the one that it set; nobody can log in with it"
            for handle, password, totp in rows
            if self.state.credentials.get(handle) != credentials.digest(password, totp)
        ]
        return [*self.state.problems, *found]

    # -- refusing

    def _refuse(self, kind: str, handle: str, said: Mapping[str, int | str]) -> None:
        if kind not in TRUSTED:
            raise ProposalError(f"Nobody decides {kind!r} by proposal.")
        if not self.state.is_whole:
            raise ProposalError(MISSING, hint=HOW_TO_MEND)
        why = self.state.why_not(handle, kind) or self.state.why_impossible(kind, said)
        if not why and self.state.is_about(kind, said, handle):
            why = "nobody decides that about themselves"
        if why:
            raise ProposalError(f"{why[0].upper()}{why[1:]}.", hint="`countenance operator list` shows who is")

    def _refuse_missing(self) -> None:
        if not self.state.is_whole:
            raise SessionError(MISSING, hint=HOW_TO_MEND)

    def _refuse_locked(self, handle: str, now: int) -> None:
        known = handle in self.state.operators
        if self.state.is_locked(handle, now) if known else self._strangers.is_locked(handle, now):
            self._turned_away += 1
            raise SessionError(WAIT, hint="wait a quarter of an hour; longer after each time in vain")

    def _refuse_code(self, handle: str, given: str) -> None:
        expected = self.state.code(handle, self._now_us())
        if not expected or not hmac.compare_digest(expected, given):
            raise SessionError("The name or the code is wrong, or the code was used or is too old.")

    # -- acts and rows

    def _propose(self, kind: str, account: str, words: Mapping[str, int | str], by: str, request_id: str) -> Proposal:
        proposal = secrets.token_hex(6)
        said = {"proposal": proposal, "kind": kind, "by": by, **{f"p.{name}": each for name, each in words.items()}}
        self._records.do("proposal.make", account, said, request_id)
        return self.state.proposals[proposal]

    def _record_login(self, operation: str, said: dict[str, int | str], request_id: str) -> None:
        """With how many logins were turned away since the last act of one: while locked, or of nobody."""
        told = self._turned_away
        self._records.do(operation, "", {**said, "turned_away": told} if told else said, request_id)
        self._turned_away -= told

    def _forget(self, handle: str) -> Callable[[Any], None]:
        return lambda connection: connection.execute("DELETE FROM operator_credential WHERE operator = ?", (handle,))

    def _credential(self, handle: str) -> tuple[str, bytes] | None:
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT password, totp FROM operator_credential WHERE operator = ?", (handle,)
            ).fetchone()
        # A row that somebody wrote there himself lets nobody in.
        if row is None or self.state.credentials.get(handle) != credentials.digest(row[0], row[1]):
            return None
        return row[0], row[1]
