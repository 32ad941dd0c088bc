"""The record of every use and every change: entries, the log they are leaves of, receipts and checkpoints.

Formats and their verification are in the distribution `countenance-audit`, which this package builds on. Does not know
what a face is.
"""

from countenance.ledger.authority import Acts
from countenance.ledger.entry import Opaque, Place, Public, accounting, microseconds, person
from countenance.ledger.history import LogBehind
from countenance.ledger.ledger import Ledger, Recorded
from countenance.ledger.log import Log
from countenance.ledger.witnessing import Witnessing

__all__ = [
    "Acts",
    "Ledger",
    "Log",
    "LogBehind",
    "Opaque",
    "Place",
    "Public",
    "Recorded",
    "Witnessing",
    "accounting",
    "microseconds",
    "person",
]
