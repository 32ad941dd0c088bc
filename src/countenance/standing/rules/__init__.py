"""Red flags and nexus: rules as data, checks as code, facts in plain values, findings out.

Knows nothing of accounts, lists or the log. A rule that fits opens a case or makes a note; two different notes about
one account are a case as well. All of it is for review: no rule blocks anybody.
"""

from countenance.standing.rules.facts import Facts, Place, Somebody, Usage, fitting
from countenance.standing.rules.raising import USE, Raised, raised
from countenance.standing.rules.rule import Rule, RuleError, built_in, digest_of, in_force, load, parsed

__all__ = [
    "USE",
    "Facts",
    "Place",
    "Raised",
    "Rule",
    "RuleError",
    "Somebody",
    "Usage",
    "built_in",
    "digest_of",
    "fitting",
    "in_force",
    "load",
    "parsed",
    "raised",
]
