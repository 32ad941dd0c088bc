"""Names and numbers of a party against those of listed entries: what is alike, how much, and why.

`retrieval` says which entries are worth scoring, `identifiers` which numbers settle it, `scoring` scores, `hit`
explains, `screener` is one party against all entries, `batch` all parties. Pure: no database, no network, no clock.
Does not know lists' formats, ownership, or what a hit does to an account.

Scoring needs the extra `countenance[standing]`; everything can be imported without it, and a `Screener` that is made
without it raises `MatcherMissing`.
"""

from countenance.standing.matching.batch import screen_all
from countenance.standing.matching.hit import Feature, Hit, Tier, entry_hash, party_hash
from countenance.standing.matching.retrieval import TrigramIndex
from countenance.standing.matching.scoring import MatcherMissing, Scorer
from countenance.standing.matching.screener import Screened, Screener

__all__ = [
    "Feature",
    "Hit",
    "MatcherMissing",
    "Scorer",
    "Screened",
    "Screener",
    "Tier",
    "TrigramIndex",
    "entry_hash",
    "party_hash",
    "screen_all",
]
