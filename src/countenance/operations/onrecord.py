"""What is on record by one operator's word: releases, retention, authorisations, and who looked at which result.

Read from acts of the log, in order, and kept as it stands; nothing of it is in a table. An authorisation lets calls
through, so one counts only when an operator who was logged in recorded it: the host alone authorises nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from countenance.operators.state import HOST
from countenance.operators.values import Said
from countenance.policy.request import UNKNOWN

RECORDED: Final = (
    "authorisation.grant",
    "authorisation.refuse",
    "authorisation.request",
    "consent.record",
    "consent.withdraw",
    "person.erased",
    "result.verify",
    "retention.set",
)
"""Acts that put something on record."""
GRACE_US: Final = 48 * 3_600_000_000
"""How long a search may go on while its authorisation was only asked for: Regulation (EU) 2024/1689, Art. 26(10)."""
JUDGEMENTS: Final = ("confirmed", "rejected", "inconclusive")
"""What whoever looks at a result says of it."""


@dataclass(frozen=True, slots=True)
class Authorisation:
    """What a court or another authority was asked for, and what it said.

    Attributes:
        collection: of which it speaks; "" for all of the account's.
        state: "requested", "granted" or "refused".
        requested_us, until_us: microseconds since 1970; the latter of one that was granted, else 0.
        has_grace: it lets searches through for GRACE_US before it is granted.
    """

    account: str
    reference: str
    authority: str
    collection: str
    state: str
    requested_us: int
    granted_us: int = 0
    until_us: int = 0
    has_grace: bool = True

    def is_in_force(self, at_us: int) -> bool:
        """Whether searches may rest on it at a moment."""
        if self.state == "granted":
            return self.granted_us <= at_us <= self.until_us or self._in_grace(at_us)
        return self.state == "requested" and self._in_grace(at_us)

    def _in_grace(self, at_us: int) -> bool:
        end = min(self.requested_us + GRACE_US, self.granted_us or self.requested_us + GRACE_US)
        return self.has_grace and self.requested_us <= at_us < end

    def told_state(self, at_us: int) -> str:
        """As people are told: a request that nobody answered in time has lapsed, a grant ends."""
        if self.state == "requested" and at_us >= self.requested_us + GRACE_US:
            return "lapsed"
        return "ended" if self.state == "granted" and at_us > self.until_us else self.state


@dataclass(frozen=True, slots=True)
class Verification:
    """That somebody looked at the answer of a call.

    Attributes:
        request_id: of the call.
        act: request id of the act.
        judgement: one of JUDGEMENTS.
        by: the operator.
    """

    request_id: str
    judgement: str
    by: str
    at_us: int
    act: str


class OnRecord:
    """What acts say, as it stands. Not safe for several threads: whoever holds it locks.

    Args:
        is_operator: whether an operator of that name there ever was.
    """

    def __init__(self, is_operator: Callable[[str], bool]) -> None:
        self._is_operator = is_operator
        self._consents: dict[tuple[str, str, str], int] = {}
        self._retention: dict[tuple[str, str], int] = {}
        self._authorisations: dict[str, dict[str, Authorisation]] = {}
        self._verifications: dict[str, list[Verification]] = {}
        self._since_us = 0

    def note(self, act: Said) -> None:
        """Takes one act."""
        noting = _NOTED.get(act.operation)
        assert noting is not None  # RECORDED
        if act.operation in _GRANTING and act.at_us < self._since_us:
            return
        noting(self, act, act.details)

    def forget(self, before_us: int) -> None:
        """What lets calls through and was recorded before a moment counts for nothing: whether it was taken back is not
        known any more."""
        self._since_us = before_us
        self._consents.clear()
        self._authorisations.clear()

    # -- asking

    def consents(self, account_id: str) -> list[tuple[str, str, int]]:
        """Subject, purpose, and until when (microseconds since 1970), of an account."""
        return sorted((who, what, until) for (of, who, what), until in self._consents.items() if of == account_id)

    def consent_until(self, account_id: str, subject: str, purpose: str) -> int:
        """Until when a release is in force, microseconds since 1970; 0 without one."""
        return self._consents.get((account_id, subject, purpose), 0)

    def retention_days(self, account_id: str, collection_id: str) -> int:
        """Days that a collection keeps what is enrolled; UNKNOWN when none is set."""
        return self._retention.get((account_id, collection_id), UNKNOWN)

    def authorisations(self, account_id: str) -> list[Authorisation]:
        """Of an account, the oldest first."""
        return list(self._authorisations.get(account_id, {}).values())

    def authorisation(self, account_id: str, collection_id: str, at_us: int) -> str:
        """Reference of one in force, the latest; "" when there is none."""
        for each in reversed(self.authorisations(account_id)):
            if each.collection in ("", collection_id) and each.is_in_force(at_us):
                return each.reference
        return ""

    def verifications(self, request_id: str) -> list[Verification]:
        """Of the answer of a call, the oldest first."""
        return list(self._verifications.get(request_id, ()))

    # -- taking acts

    def _person_erased(self, act: Said, said: Mapping[str, int | str]) -> None:
        for key in [key for key in self._consents if key[:2] == (act.account, said["subject"])]:
            del self._consents[key]

    def _retention_set(self, act: Said, said: Mapping[str, int | str]) -> None:
        self._retention[act.account, str(said["collection_id"])] = int(said["days"])

    def _consent_recorded(self, act: Said, said: Mapping[str, int | str]) -> None:
        self._consents[act.account, str(said["subject"]), str(said["purpose"])] = int(said["until_us"])

    def _consent_withdrawn(self, act: Said, said: Mapping[str, int | str]) -> None:
        self._consents[act.account, str(said["subject"]), str(said["purpose"])] = 0

    def _authorisation_requested(self, act: Said, said: Mapping[str, int | str]) -> None:
        known, reference = self._authorisations.setdefault(act.account, {}), str(said["reference"])
        if reference in known or not self._is_somebodys(said):
            return
        collection = str(said["collection_id"])
        # Nobody gets around the 48 hours by asking for the same thing again and again.
        before = (
            each for each in self.authorisations(act.account) if each.collection in ("", collection) or not collection
        )
        has_grace = all(each.state == "granted" for each in before)
        known[reference] = Authorisation(
            act.account, reference, str(said["authority"]), collection, "requested", act.at_us, has_grace=has_grace
        )

    def _authorisation_granted(self, act: Said, said: Mapping[str, int | str]) -> None:
        known, reference = self._authorisations.get(act.account, {}), str(said["reference"])
        found = known.get(reference)
        if found is not None and found.state == "requested" and self._is_somebodys(said):
            until_us = int(said["until_us"])
            known[reference] = replace(found, state="granted", granted_us=act.at_us, until_us=until_us)

    def _authorisation_refused(self, act: Said, said: Mapping[str, int | str]) -> None:
        known, reference = self._authorisations.get(act.account, {}), str(said["reference"])
        if reference in known:  # also one that was granted, and taken back
            known[reference] = replace(known[reference], state="refused")

    def _verified(self, act: Said, said: Mapping[str, int | str]) -> None:
        if not self._is_somebodys(said):
            return
        wanted, by = str(said["verified"]), str(said["by"])
        known = self._verifications.setdefault(wanted, [])
        if all(each.by != by for each in known):
            known.append(Verification(wanted, str(said["judgement"]), by, act.at_us, act.request_id))

    def _is_somebodys(self, said: Mapping[str, int | str]) -> bool:
        by = str(said.get("by", ""))
        return by != HOST and self._is_operator(by)


_GRANTING: Final = frozenset({"authorisation.grant", "authorisation.request", "consent.record"})
_NOTED: Final = {
    "authorisation.grant": OnRecord._authorisation_granted,
    "authorisation.refuse": OnRecord._authorisation_refused,
    "authorisation.request": OnRecord._authorisation_requested,
    "consent.record": OnRecord._consent_recorded,
    "consent.withdraw": OnRecord._consent_withdrawn,
    "person.erased": OnRecord._person_erased,
    "result.verify": OnRecord._verified,
    "retention.set": OnRecord._retention_set,
}
