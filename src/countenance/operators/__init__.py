"""The people who run this server, what they may decide, and that two of them decide together.

Knows roles, credentials, sessions and proposals. What is in force is read from acts of the log and from nothing else,
so that a row written into the database grants nothing. Does not know what a policy or an account's standing means.
"""

from countenance.operators.office import Office
from countenance.operators.state import Proposal, State
from countenance.operators.values import (
    ROLES,
    Act,
    Journal,
    Operator,
    OperatorError,
    ProposalError,
    Role,
    SessionError,
)

__all__ = [
    "ROLES",
    "Act",
    "Journal",
    "Office",
    "Operator",
    "OperatorError",
    "Proposal",
    "ProposalError",
    "Role",
    "SessionError",
    "State",
]
