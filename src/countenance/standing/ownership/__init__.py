"""Who owns and controls whom, on any day, and what three laws make of it. Pure: no database, no network, no clock.

`interval` is a share that may be a band, `statements` are dated and never changed, `regimes` has the three tests,
`integrated` an advisory figure, `bods`, `psc` and `gleif` read what registers publish, `drawing` shows a chain.
"""

from countenance.standing.ownership.interval import Interval
from countenance.standing.ownership.regimes import EU, OFAC, REGIMES, TESTS, UK, Graph, Reached
from countenance.standing.ownership.statements import OwnershipError, Recorded, Statement, as_of

__all__ = [
    "EU",
    "OFAC",
    "REGIMES",
    "TESTS",
    "UK",
    "Graph",
    "Interval",
    "OwnershipError",
    "Reached",
    "Recorded",
    "Statement",
    "as_of",
]
