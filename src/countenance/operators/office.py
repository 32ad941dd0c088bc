"""Where operators are made, log in, propose and approve.

Knows who may do what (`state`) and writes each deed as an act before it takes effect here. Safe to use from any thread.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Callable, Mapping, Sequence
from importlib.resources import files
from typing import Any, Final

from countenance.operators import credentials
from countenance.operators.credentials import Tokens
from countenance.operators.state import HOST, OPERATIONS, TRUSTED, Proposal, State
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
        self._party_of = party_of
        self._database = database
        self._keyring = keyring
        self._journal = journal
        self._now_us = now_us
        self._tokens = Tokens(keyring)
        self._lock = threading.RLock()
        script = files("countenance.operators").joinpath("schema", "0001.sql").read_text("utf-8")
        database.migrate("operators", [script])
        self.state = State()
        for said in journal.acts(OPERATIONS):
            self.state.apply(Act(said.operation, said.account, said.request_id, said.at_us, said.details))

    # -- operators

    def create(self, handle: str, roles: Sequence[str], *, by: str, reason: str, request_id: str) -> tuple[str, str]:
        """Make an operator, or propose it: the host makes the first two admins, and after that two admins decide.

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
            if not self.state.is_founding():
                raise OperatorError(
                    "There are two admins: operators are made by them.", hint="`countenance login NAME` first"
                )
            self._do("operator.create", "", {**details, "by": HOST, "reason": check_reason(reason)}, request_id)
        return code, ""

    def enrol(self, handle: str, code: str, password: str, *, request_id: str) -> str:
        """Set the password of a new operator, who has the code; returns what an authenticator app scans.

        Raises:
            SessionError: the code is not the one, or was used.
            OperatorError: the password is too short or too long.
        """
        with self._lock:
            expected = self.state.codes.get(handle, "")
            if not expected or not hmac.compare_digest(expected, credentials.code_digest(code.strip().upper())):
                raise SessionError("The name or the code is wrong, or the code was used.")
            secret = credentials.new_secret()
            kept = credentials.hashed(password)
            wrapped = self._keyring.wrap(secret.encode(), aad=b"operator/" + handle.encode())

            def insert(connection: Any) -> None:
                connection.execute(
                    "INSERT OR REPLACE INTO operator_credential (operator, password, totp) VALUES (?, ?, ?)",
                    (handle, kept, wrapped),
                )

            said = {"operator": handle, "credential": credentials.digest(kept, wrapped), "by": handle}
            self._do("operator.credential", "", said, request_id, insert)
        return credentials.address(secret, handle)

    def login(self, handle: str, password: str, one_time: str, *, request_id: str) -> str:
        """A session's token. Raises SessionError, which does not say what was wrong."""
        now = self._now_us()
        with self._lock:
            operator = self.state.operators.get(handle)
            if self.state.is_locked(handle, now):
                raise SessionError("Too many wrong logins.", hint="try again in a quarter of an hour")
        row = self._credential(handle) if operator is not None else None
        is_right = credentials.is_password(password, None if row is None else row[0])  # slow: outside the lock
        with self._lock:
            step = None
            if row is not None and is_right and operator is not None and operator.is_active:
                secret = self._keyring.unwrap(row[1], aad=b"operator/" + handle.encode()).decode()
                step = credentials.step_of(one_time.strip(), secret, now, self.state.steps.get(handle, -1))
            if step is None:
                if operator is not None and not self.state.is_locked(handle, now):
                    self._do("operator.refused", "", {"operator": handle}, request_id)
                raise SessionError(REFUSED, hint="a one-time password is good once; wait for the next")
            self._do("operator.login", "", {"operator": handle, "step": step}, request_id)
        return self._tokens.issue(handle, now)

    def who(self, token: str) -> Operator:
        """Whose session it is. Raises SessionError."""
        found = self.state.operators.get(self._tokens.handle(token, self._now_us()))
        if found is None or not found.is_active:
            raise SessionError("The operator of this session is suspended.")
        return found

    # -- deciding

    def propose(
        self, kind: str, account: str, details: Mapping[str, int | str], *, by: str, reason: str, request_id: str
    ) -> Proposal:
        """Put something before a second operator.

        Raises:
            ProposalError: who asks may not, or the reason is missing.
        """
        words = {**details, "reason": check_reason(reason)}
        with self._lock:
            self._refuse(kind, by)
            proposal = secrets.token_hex(6)
            said = {"proposal": proposal, "kind": kind, "by": by, **{f"p.{name}": each for name, each in words.items()}}
            self._do("proposal.make", account, said, request_id)
            return self.state.proposals[proposal]

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
            self._refuse(found.kind, by)
            self._refuse(found.kind, found.by)
            check(found)
            said = {**found.details, "proposal": found.id, "by": found.by, "and": by}
            return self._do(found.kind, found.account, said, request_id)

    def withdraw(self, proposal: str, *, by: str, request_id: str) -> None:
        """Take a proposal back, one's own or as an admin. Raises ProposalError."""
        with self._lock:
            found = self.proposal(proposal)
            if found.state != "open":
                raise ProposalError(f"Proposal {found.id} is {found.state}.")
            if by != found.by and self.state.why_not(by, "operator.create"):
                raise ProposalError("Only who proposed it, or an admin, withdraws a proposal.")
            self._do("proposal.withdraw", found.account, {"proposal": found.id, "by": by}, request_id)

    def proposal(self, proposal: str) -> Proposal:
        """One proposal. Raises ProposalError."""
        found = self.state.proposals.get(proposal)
        if found is None:
            raise ProposalError(
                f"There is no proposal {proposal[:40]!r}.", hint="`countenance proposal list` shows them"
            )
        return found

    def problems(self) -> list[str]:
        """What `ledger fsck` should know: acts that count for nothing, and credentials that no act explains."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT operator, password, totp FROM operator_credential").fetchall()
        found = [
            f"operator {handle}: its credential is not the one that it set; nobody can log in with it"
            for handle, password, totp in rows
            if self.state.credentials.get(handle) != credentials.digest(password, totp)
        ]
        return [*self.state.problems, *found]

    def _refuse(self, kind: str, handle: str) -> None:
        if kind not in TRUSTED:
            raise ProposalError(f"Nobody decides {kind!r} by proposal.")
        if why := self.state.why_not(handle, kind):
            raise ProposalError(f"{why[0].upper()}{why[1:]}.", hint="`countenance operator list` shows who is")

    def _credential(self, handle: str) -> tuple[str, bytes] | None:
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT password, totp FROM operator_credential WHERE operator = ?", (handle,)
            ).fetchone()
        # A row that somebody wrote there himself lets nobody in.
        if row is None or self.state.credentials.get(handle) != credentials.digest(row[0], row[1]):
            return None
        return row[0], row[1]

    def _do(
        self,
        operation: str,
        account: str,
        details: Mapping[str, int | str],
        request_id: str,
        also: Callable[[Any], None] | None = None,
    ) -> Act:
        act = Act(operation, account, request_id, self._now_us(), details)
        party = self._party_of(account) if account else ()
        self._journal.append(operation, account, request_id, act.at_us, details, party=party, also=also)
        if not self.state.apply(act):
            raise OperatorError(f"The act {operation} counts for nothing: {self.state.problems[-1]}")
        return act
