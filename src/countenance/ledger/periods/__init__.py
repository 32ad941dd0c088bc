"""Maps of days: who used the service, published so that use and non-use can be proved to outsiders.

Formats and their verification are in `countenance_audit`; here they are made and kept.
"""

from countenance.ledger.periods.keeping import Behind, Periods
from countenance.ledger.periods.rows import PeriodError

__all__ = ["Behind", "PeriodError", "Periods"]
