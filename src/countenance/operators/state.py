"""What is in force by the acts of the log: operators, proposals, and what two of them decided together.

Replays acts in order and passes over those that nobody may have done (`why_void`): an act of a kind that needs two
operators counts only with the proposal of one, in the same words, and another one who approved, both active and trusted
with it at that moment. What does not count is a problem that `ledger fsck` lists.

Acts are numbered from 1 without gaps, so that one that was taken away or altered is missed: a suspension that nobody
can read any more must not put somebody back in office. While acts are missing nobody decides anything (`is_whole`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from countenance.operators.values import Act, Operator, OperatorError, Role, check_handle, check_roles

HOST: Final = "host"
"""Who acts without a login, on the server's own host; never one of two persons."""
FOUNDERS: Final = 2
"""Admins that the host alone may make: without two of them nothing can be decided by two."""
VALID_US: Final = 7 * 86_400_000_000
"""How long a proposal waits for a second operator, and a code for its operator: a week."""
SILENCE_US: Final = 3 * 86_400_000_000
"""How long every admin can object before the host founds the office anew: three days, which is more than a weekend."""
WRONG_LOGINS: Final = 5
LOCKED_US: Final = 15 * 60_000_000
LONGEST_LOCK_US: Final = 86_400_000_000
"""After so many wrong logins in a row the next has to wait a quarter of an hour, after as many more twice that, and so
on up to a day: a wait that grows, as NIST SP 800-63B section 5.2.2 has it. It ends by itself: whoever guesses must not
be able to keep every operator out for good."""

REFOUND: Final = "operator.refound"
_DECIDE: Final = frozenset({Role.ADMIN, Role.COMPLIANCE})
_ADMIN: Final = frozenset({Role.ADMIN})
TRUSTED: Final[Mapping[str, frozenset[Role]]] = {
    "account.standing": _DECIDE,
    "case.judge": _DECIDE | {Role.REVIEWER},
    "list.accept": _DECIDE,
    "list.attest": _DECIDE,
    "list.retire": _DECIDE,
    "policy.activate": _DECIDE,
    "purpose.add": _DECIDE,
    "purpose.allow": _DECIDE,
    "operator.create": _ADMIN,
    "operator.suspend": _ADMIN,
    "operator.resume": _ADMIN,
    "operator.roles": _ADMIN,
    "operator.reset": _ADMIN,
    "call.approve": _DECIDE | {Role.REVIEWER},
}
"""What two operators decide together, and the roles that each of them needs one of."""
ABOUT_OTHERS: Final = frozenset({"operator.resume", "operator.roles", "operator.reset"})
"""What whoever it is about takes no part in."""
OPERATIONS: Final = (
    *TRUSTED,
    "operator.credential",
    "operator.login",
    "operator.logout",
    "operator.refused",
    REFOUND,
    "proposal.make",
    "proposal.withdraw",
)
_OF_DECISION: Final = frozenset({"proposal", "by", "and", "number"})
"""Members of an effect that its proposal does not have."""
_SAYS: Final[Mapping[str, Mapping[str, type]]] = {
    "operator.create": {"operator": str, "roles": str, "code_sha256": str},
    "operator.suspend": {"operator": str},
    "operator.resume": {"operator": str},
    "operator.roles": {"operator": str, "roles": str},
    "operator.reset": {"operator": str, "code_sha256": str},
    "operator.credential": {"operator": str, "credential": str},
    "operator.login": {"operator": str, "step": int},
    "operator.logout": {"operator": str},
    "operator.refused": {"operator": str},
    REFOUND: {"proposal": str, "by": str},
    "proposal.make": {"proposal": str, "kind": str, "by": str},
    "proposal.withdraw": {"proposal": str, "by": str},
}
"""Operation -> members that it cannot be without."""


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


@dataclass(frozen=True, slots=True)
class Code:
    """What a new operator, or one who was reset, sets a password with."""

    sha256: str
    at_us: int
    is_of_host: bool
    """It is worth nothing any more when there are two admins: the host makes no more of them."""


@dataclass(slots=True)
class State:
    """What is in force. One thread at a time may apply acts."""

    operators: dict[str, Operator] = field(default_factory=dict)
    codes: dict[str, Code] = field(default_factory=dict)
    """Handle -> the code that waits for it."""
    credentials: dict[str, str] = field(default_factory=dict)
    """Handle -> SHA-256 of the credential's row."""
    steps: dict[str, int] = field(default_factory=dict)
    """Handle -> time step of the last one-time password that was used."""
    wrong: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Handle -> how many wrong logins since the last right one, and when the last was."""
    ended: dict[str, int] = field(default_factory=dict)
    """Handle -> sessions from before this moment are over."""
    proposals: dict[str, Proposal] = field(default_factory=dict)
    decided: list[Act] = field(default_factory=list)
    """Acts that two operators decided, in order."""
    problems: list[str] = field(default_factory=list)
    number: int = 0
    """Of the last act that counts."""
    is_whole: bool = True
    """No act is missing, or the office was founded anew since."""
    is_founded: bool = False
    """There were two admins who can log in."""
    refounded_us: int = -1
    """When the office was last founded anew while acts were missing."""
    refounded_without: list[str] = field(default_factory=list)
    """Acts that founded the office anew while others were missing: what was decided before them is not known, and
    counts for nothing (a refusal may be among what is missing)."""

    def apply(self, act: Act) -> bool:
        """Take account of an act; False when it does not count. Never raises, whatever the act says."""
        why = self.why_void(act)
        if why:
            self.problems.append(f"act {act.request_id} ({act.operation}): {why}; it counts for nothing")
            return False
        said = act.details
        handle, number = str(said.get("operator", "")), int(said["number"])
        self.expect(number - 1)
        self.number = number
        if act.operation == "proposal.make":
            self.proposals[str(said["proposal"])] = _proposed(act)
        elif act.operation == "proposal.withdraw":
            self._end(str(said["proposal"]), "withdrawn")
        elif act.operation == "operator.credential":
            self.credentials[handle] = str(said["credential"])
            self.steps.pop(handle, None)  # of another secret
            self.wrong.pop(handle, None)
            self.codes.pop(handle)
            self.operators[handle] = replace(self.operators[handle], can_log_in=True)
        elif act.operation == "operator.login":
            self.steps[handle] = int(said["step"])
            self.wrong.pop(handle, None)
        elif act.operation == "operator.logout":
            self.ended[handle] = act.at_us
        elif act.operation == "operator.refused":
            count, _ = self.wrong.get(handle, (0, 0))
            self.wrong[handle] = count + 1, act.at_us
        elif act.operation == REFOUND:
            self._refound(act)
        else:
            self._decide(act)
        able = [each for each in self.operators.values() if each.is_active and each.can_log_in]
        self.is_founded = self.is_founded or sum(Role.ADMIN in each.roles for each in able) >= FOUNDERS
        return True

    def expect(self, number: int) -> None:
        """There have to be acts up to this number."""
        if number > self.number:
            self.problems.append(
                f"acts {self.number + 1} to {number} of operators are missing or altered: nobody decides anything "
                "until they are back, or the host founds the office anew"
            )
            self.number, self.is_whole = number, False

    def why_void(self, act: Act) -> str:
        """Why an act counts for nothing; "" when it counts."""
        number = act.details.get("number")
        if type(number) is not int or number < 1:
            return "it has no number"
        if number <= self.number:
            return "its number was given before"
        says = _SAYS.get(act.operation, {})
        if any(type(act.details.get(name)) is not kind for name, kind in says.items()):
            return "it does not say what such an act says"
        return self._refusal(act)

    def why_not(self, handle: str, kind: str) -> str:
        """Why an operator may not take part in a decision of a kind; "" when it may."""
        operator = self.operators.get(handle)
        if operator is None or not operator.is_active:
            return f"{handle!r} is no active operator"
        if not operator.roles & TRUSTED[kind]:
            return f"{handle} is not trusted with {kind}: that takes {' or '.join(sorted(TRUSTED[kind]))}"
        return ""

    def why_impossible(self, kind: str, said: Mapping[str, int | str]) -> str:
        """Why a decision about operators can have no effect, whoever decides it; "" for any other."""
        if not kind.startswith("operator."):
            return ""
        handle = str(said.get("operator", ""))
        known = self.operators.get(handle)
        try:
            check_handle(handle)
            if kind in ("operator.create", "operator.roles"):
                check_roles(str(said.get("roles", "")).split(","))
        except OperatorError as error:
            return error.message
        if kind == "operator.create":
            return "there is an operator of that name" if known is not None or handle == HOST else ""
        if known is None:
            return "there is no such operator"
        if kind in ("operator.suspend", "operator.resume") and known.is_active is (kind == "operator.resume"):
            return f"{handle} is {'active' if known.is_active else 'suspended'} already"
        return ""

    def is_about(self, kind: str, said: Mapping[str, int | str], handle: str) -> bool:
        """Whether a decision is about an operator who therefore takes no part in it."""
        return kind in ABOUT_OTHERS and said.get("operator") == handle

    def is_founding(self) -> bool:
        """Whether there never were two admins who can log in, since the office was founded (anew): once there were,
        the host alone makes no more of them."""
        return self.is_whole and not self.is_founded

    def is_locked(self, handle: str, at_us: int) -> bool:
        """Whether a login has to wait after wrong ones."""
        return is_locked_after(*self.wrong.get(handle, (0, 0)), at_us)

    def code(self, handle: str, at_us: int) -> str:
        """SHA-256 of the code that an operator may set a password with; "" when there is none."""
        found = self.codes.get(handle)
        if found is None or at_us - found.at_us > VALID_US or (found.is_of_host and not self.is_founding()):
            return ""
        return found.sha256

    def _refusal(self, act: Act) -> str:
        said, handle = act.details, str(act.details.get("operator", ""))
        by = str(said.get("by", ""))
        if act.operation == "proposal.make":
            kind = str(said["kind"])
            if said["proposal"] in self.proposals:
                return "there is a proposal of that name"
            if kind == REFOUND:
                return "" if by == HOST else "that is for the host to propose"
            return self.why_not(by, kind) if kind in TRUSTED else "it proposes nothing that can be decided"
        if act.operation == "proposal.withdraw":
            found = self.proposals.get(str(said["proposal"]))
            if found is None or found.state != "open":
                return "there is no such open proposal"
            return "" if by == found.by else self.why_not(by, "operator.create")
        if act.operation == "operator.credential":
            return "" if self.code(handle, act.at_us) else "no code was given for it"
        if act.operation in ("operator.login", "operator.logout", "operator.refused"):
            return "" if handle in self.operators else "there is no such operator"
        if act.operation == REFOUND:
            return self._refusal_of_refounding(act)
        if act.operation == "operator.create" and by == HOST:
            if not self.is_founding():
                return "the host alone makes no operators once two admins are there"
            return self.why_impossible(act.operation, said)
        return self._refusal_of_two(act)

    def _refusal_of_refounding(self, act: Act) -> str:
        found = self.proposals.get(str(act.details["proposal"]))
        if act.details["by"] != HOST or found is None or found.kind != REFOUND or not found.is_open(act.at_us):
            return "there is no open proposal of it by the host"
        if self.is_whole and act.at_us - found.at_us < SILENCE_US:
            return "admins can still object"
        return ""

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
        if any(self.is_about(act.operation, said, each) for each in (first, second)):
            return "it is about one of the two who decide it"
        words = {name: value for name, value in said.items() if name not in _OF_DECISION}
        if words != dict(proposal.details) or act.account != proposal.account:
            return "it is not what was proposed"
        return (
            self.why_impossible(act.operation, said)
            or self.why_not(first, act.operation)
            or self.why_not(second, act.operation)
        )

    def _decide(self, act: Act) -> None:
        said, handle = act.details, str(act.details.get("operator", ""))
        if "proposal" in said:
            self._end(str(said["proposal"]), "done", str(said["and"]))
        if act.operation == "operator.create":
            self.operators[handle] = Operator(handle, _roles(said), is_active=True, can_log_in=False)
        elif act.operation in ("operator.suspend", "operator.resume"):
            self.operators[handle] = replace(self.operators[handle], is_active=act.operation == "operator.resume")
        elif act.operation == "operator.roles":
            self.operators[handle] = replace(self.operators[handle], roles=_roles(said))
        elif act.operation == "operator.reset":
            self.credentials.pop(handle, None)
            self.operators[handle] = replace(self.operators[handle], can_log_in=False)
        if act.operation in ("operator.create", "operator.reset"):
            self.codes[handle] = Code(str(said["code_sha256"]), act.at_us, is_of_host="proposal" not in said)
        if handle:
            self.ended[handle] = act.at_us
        self.decided.append(act)

    def _refound(self, act: Act) -> None:
        self._end(str(act.details["proposal"]), "done")
        self.operators = {name: replace(each, is_active=False) for name, each in self.operators.items()}
        self.codes.clear()
        self.ended = dict.fromkeys(self.operators, act.at_us)
        if not self.is_whole:
            self.refounded_without.append(act.request_id)
            self.refounded_us = act.at_us
            for each in [each for each in self.proposals.values() if each.state == "open"]:
                self._end(each.id, "withdrawn")
        self.is_whole, self.is_founded = True, False
        self.decided.append(act)

    def _end(self, proposal: str, state: str, by: str = "") -> None:
        self.proposals[proposal] = replace(self.proposals[proposal], state=state, approved_by=by)


def is_locked_after(count: int, last_us: int, at_us: int) -> bool:
    """Whether a login has to wait after so many wrong ones, the last at that moment."""
    if count == 0 or count % WRONG_LOGINS:
        return False
    doubled = min(count // WRONG_LOGINS - 1, 20)
    return at_us - last_us < min(LOCKED_US << doubled, LONGEST_LOCK_US)


def _roles(said: Mapping[str, int | str]) -> frozenset[Role]:
    return frozenset(check_roles(str(said["roles"]).split(",")))


def _proposed(act: Act) -> Proposal:
    said = act.details
    details = {name.removeprefix("p."): value for name, value in said.items() if name.startswith("p.")}
    return Proposal(str(said["proposal"]), str(said["kind"]), act.account, details, str(said["by"]), act.at_us)
