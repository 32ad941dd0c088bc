"""What is in force by the acts of the log: operators, proposals, and what two of them decided together.

Replays acts in order and passes over those that nobody may have done: an act of a kind that needs two operators counts
only with the proposal of one, in the same words, and another one who approved, both active and trusted with it at that
moment. What does not count is a problem that `ledger fsck` lists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from countenance.operators.values import Act, Operator, Role

HOST: Final = "host"
"""Who acts without a login, on the server's own host; never one of two persons."""
FOUNDERS: Final = 2
"""Admins that the host alone may make: without two of them nothing can be decided by two."""
VALID_US: Final = 7 * 86_400_000_000
"""How long a proposal waits for a second operator: a week."""
WRONG_LOGINS: Final = 5
LOCKED_US: Final = 15 * 60_000_000
"""So many wrong logins within a quarter of an hour, and the next has to wait: NIST SP 800-63B section 5.2.2 allows 100
in all; this is stricter, and ends by itself."""

_DECIDE: Final = frozenset({Role.ADMIN, Role.COMPLIANCE})
TRUSTED: Final[Mapping[str, frozenset[Role]]] = {
    "account.standing": _DECIDE,
    "policy.activate": _DECIDE,
    "purpose.add": _DECIDE,
    "authorisation.record": _DECIDE,
    "operator.create": frozenset({Role.ADMIN}),
    "operator.suspend": frozenset({Role.ADMIN}),
    "call.approve": _DECIDE | {Role.REVIEWER},
}
"""What two operators decide together, and the roles that each of them needs one of."""
OPERATIONS: Final = (
    *TRUSTED,
    "operator.credential",
    "operator.login",
    "operator.refused",
    "proposal.make",
    "proposal.withdraw",
)
_OF_DECISION: Final = frozenset({"proposal", "by", "and"})
"""Members of an effect that its proposal does not have."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """Something that one operator proposed to decide.

    Attributes:
        kind: the operation of the act that it becomes.
        account: 12 digits, or "".
        details: those of the act, the reason among them.
        approved_by: who approved it; "" while nobody has.
        state: "open", "done" or "withdrawn".
    """

    id: str
    kind: str
    account: str
    details: Mapping[str, int | str]
    by: str
    at_us: int
    approved_by: str = ""
    state: str = "open"

    def is_open(self, at_us: int) -> bool:
        """Whether it may still be approved."""
        return self.state == "open" and at_us - self.at_us <= VALID_US


@dataclass(slots=True)
class State:
    """What is in force. One thread at a time may apply acts."""

    operators: dict[str, Operator] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)
    """Handle -> SHA-256 of the code with which a new operator sets a password."""
    credentials: dict[str, str] = field(default_factory=dict)
    """Handle -> SHA-256 of the credential's row."""
    steps: dict[str, int] = field(default_factory=dict)
    """Handle -> time step of the last one-time password that was used."""
    refused: dict[str, list[int]] = field(default_factory=dict)
    """Handle -> times of wrong logins since the last right one."""
    proposals: dict[str, Proposal] = field(default_factory=dict)
    decided: list[Act] = field(default_factory=list)
    """Acts that two operators decided, in order."""
    problems: list[str] = field(default_factory=list)

    def apply(self, act: Act) -> bool:
        """Take account of an act; False when it does not count."""
        why = self._refusal(act)
        if why:
            self.problems.append(f"act {act.request_id} ({act.operation}): {why}; it counts for nothing")
            return False
        said = act.details
        handle = str(said.get("operator", ""))
        if act.operation == "proposal.make":
            made = _proposed(act)
            self.proposals[made.id] = made
        elif act.operation == "proposal.withdraw":
            self._end(str(said["proposal"]), "withdrawn")
        elif act.operation == "operator.credential":
            self.credentials[handle] = str(said["credential"])
            self.codes.pop(handle, None)
            self.operators[handle] = replace(self.operators[handle], can_log_in=True)
        elif act.operation == "operator.login":
            self.steps[handle] = int(said["step"])
            self.refused.pop(handle, None)
        elif act.operation == "operator.refused":
            self.refused.setdefault(handle, []).append(act.at_us)
        else:
            self._decide(act)
        return True

    def why_not(self, handle: str, kind: str) -> str:
        """Why an operator may not take part in a decision of a kind; "" when it may."""
        operator = self.operators.get(handle)
        if operator is None or not operator.is_active:
            return f"{handle!r} is no active operator"
        if not operator.roles & TRUSTED[kind]:
            return f"{handle} is not trusted with {kind}: that takes {' or '.join(sorted(TRUSTED[kind]))}"
        return ""

    def is_founding(self) -> bool:
        """Whether there are too few admins for two of them to decide."""
        return sum(Role.ADMIN in each.roles and each.is_active for each in self.operators.values()) < FOUNDERS

    def is_locked(self, handle: str, at_us: int) -> bool:
        """Whether a login has to wait after wrong ones."""
        return sum(at_us - each < LOCKED_US for each in self.refused.get(handle, [])) >= WRONG_LOGINS

    def _refusal(self, act: Act) -> str:
        said = act.details
        if act.operation == "proposal.make":
            kind = str(said.get("kind", ""))
            if kind not in TRUSTED:
                return "it proposes nothing that can be decided"
            return self.why_not(str(said.get("by", "")), kind)
        if act.operation == "proposal.withdraw":
            found = self.proposals.get(str(said.get("proposal", "")))
            return "" if found is not None and found.state == "open" else "there is no such open proposal"
        if act.operation in ("operator.credential", "operator.login", "operator.refused"):
            return "" if str(said.get("operator", "")) in self.operators else "there is no such operator"
        if act.operation == "operator.create" and said.get("by") == HOST:
            if not self.is_founding():
                return "the host alone makes no operators once two admins are there"
            return "" if said.get("operator") not in self.operators else "there is an operator of that name"
        return self._refusal_of_two(act)

    def _refusal_of_two(self, act: Act) -> str:
        said = act.details
        proposal = self.proposals.get(str(said.get("proposal", "")))
        if proposal is None or proposal.kind != act.operation or not proposal.is_open(act.at_us):
            return "there is no open proposal of it"
        first, second = str(said.get("by", "")), str(said.get("and", ""))
        if first != proposal.by:
            return "it names another proposer than the proposal"
        if first == second:
            return "one operator cannot be both persons"
        words = {name: value for name, value in said.items() if name not in _OF_DECISION}
        if words != dict(proposal.details) or act.account != proposal.account:
            return "it is not what was proposed"
        return self.why_not(first, act.operation) or self.why_not(second, act.operation)

    def _decide(self, act: Act) -> None:
        said = act.details
        if "proposal" in said:
            self._end(str(said["proposal"]), "done", str(said["and"]))
        if act.operation == "operator.create":
            handle = str(said["operator"])
            roles = frozenset(Role(each) for each in str(said["roles"]).split(","))
            self.operators[handle] = Operator(handle, roles, is_active=True, can_log_in=False)
            self.codes[handle] = str(said["code_sha256"])
        elif act.operation == "operator.suspend":
            handle = str(said["operator"])
            self.operators[handle] = replace(self.operators[handle], is_active=False)
        self.decided.append(act)

    def _end(self, proposal: str, state: str, by: str = "") -> None:
        self.proposals[proposal] = replace(self.proposals[proposal], state=state, approved_by=by)


def _proposed(act: Act) -> Proposal:
    said = act.details
    details = {name.removeprefix("p."): value for name, value in said.items() if name.startswith("p.")}
    return Proposal(str(said["proposal"]), str(said["kind"]), act.account, details, str(said["by"]), act.at_us)
