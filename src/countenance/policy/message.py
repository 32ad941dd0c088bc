"""What a denied caller is told: which policy, and what would satisfy it.

Whoever is denied for standing is told a reference number and nothing else: telling a listed party that it was found
would be tipping off (PROOFS, section 7).
"""

from __future__ import annotations

from typing import Final

from countenance.policy.engine import STANDING, Decision, Engine

UNDECIDED: Final = "The use policy could not be evaluated, so the call is denied. Ask whoever runs this server."


def told(decision: Decision, engine: Engine, *, reference: str, approval: str = "") -> str:
    """The message of the AccessDeniedException.

    Args:
        reference: under which the operator finds the denial.
        approval: id under which two operators can approve this very call, where a policy asks for that.
    """
    if any(each.startswith(STANDING) for each in decision.policies):
        return f"Account not enabled; reference {reference}."
    if not decision.policies:
        return f"{UNDECIDED} Reference {reference}."
    said = " ".join(f"Denied by policy {each.id}: {each.satisfy}" for each in engine.policies(decision.policies))
    return f"{said} Approval {approval}." if approval else said
