"""Use policies: what an account may do, decided by signed sets of Cedar policies; in doubt, it may not.

Knows policies, what they are told, and how they decide. Does not know HTTP, the store or the log: who asks collects the
facts, and records the decision.
"""

from countenance.policy.engine import Decision, Engine
from countenance.policy.policyset import PACKS, PolicyError, PolicySet, packs
from countenance.policy.request import Account, Call, Collection, Request

__all__ = [
    "PACKS",
    "Account",
    "Call",
    "Collection",
    "Decision",
    "Engine",
    "PolicyError",
    "PolicySet",
    "Request",
    "packs",
]
