"""Which administrative verbs an operator may use, by role: what a login must not allow that its role does not.

Knows verbs and roles; that two of them decide together is for `operators`. Work on the host without a login is not held
to this: it is recorded as the host's, and whoever may open the socket has the data folder anyway.
"""

from __future__ import annotations

from typing import Final

from countenance.operations.instruction import AdministrationError
from countenance.operators import Operator, Role

READS: Final = frozenset(
    {
        "account.list",
        "account.party",
        "account.standing",  # shows it; to change it is to propose, which `operators` allows or not
        "approval.list",
        "authorisation.calls",
        "authorisation.list",
        "bucket.list",
        "case.list",
        "case.show",
        "certificate.list",
        "collection.describe",
        "collection.progress",
        "collection.verify",
        "consent.list",
        "key.list",
        "ledger.fsck",
        "ledger.statement",
        "ledger.status",
        "list.list",
        "list.removed",
        "operator.list",
        "party.show",
        "period.list",
        "policy.at",
        "policy.diff",
        "policy.explain",
        "policy.replay",
        "policy.show",
        "policy.simulate",
        "policy.status",
        "policy.test",
        "proposal.list",
        "purpose.list",
        "review.list",
        "sample.list",
        "screening.progress",
        "topology.show",
    }
)
"""What changes nothing and hands out no image: for every operator. What is not named here is not for auditors."""
OWN: Final = frozenset({"operator.enrol", "session.login", "session.logout", "session.show"})
"""What concerns nobody but whoever is or gets logged in."""
REVIEWS: Final = frozenset({"approval.give", "proposal.approve", "proposal.withdraw", "review.verify", "case.judge"})
"""What reviewers do beside reading; which proposals, `operators` says."""
_ANYTHING: Final = frozenset({Role.ADMIN, Role.COMPLIANCE})


def refuse(verb: str, operator: Operator) -> None:
    """Raises AdministrationError when none of an operator's roles allows a verb."""
    if verb in READS | OWN or operator.roles & _ANYTHING:
        return
    if verb in REVIEWS and Role.REVIEWER in operator.roles:
        return
    raise AdministrationError(
        f"{operator.handle} is {' and '.join(sorted(operator.roles))}, which does not allow {verb}.",
        hint="an admin or compliance has to; `countenance operator list` shows who is",
    )
