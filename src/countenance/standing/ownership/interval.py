"""Shares as intervals: registers publish bands, so what somebody owns is often "more than 25 and not more than 50 %".

Whole millionths of the whole, so that 50 % is exactly 50 %; no fraction is ever rounded in a decision.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

WHOLE: Final = 1_000_000
"""100 %, in millionths."""
HALF: Final = WHOLE // 2
PER_CENT: Final = WHOLE // 100
_PERCENTAGE: Final = re.compile(r"([0-9]{1,3})(?:[.]([0-9]{1,4})0*)?")


@dataclass(frozen=True, slots=True)
class Interval:
    """From `low` to `high`, in millionths; an open end is not itself part of it."""

    low: int
    high: int
    low_open: bool = False
    high_open: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high <= WHOLE or (self.low == self.high and (self.low_open or self.high_open)):
            raise ValueError(f"{self.low} to {self.high} millionths is no share")

    @classmethod
    def exactly(cls, percentage: str) -> Interval:
        """A percentage as people write it, with at most four decimals. Raises ValueError."""
        found = _PERCENTAGE.fullmatch(percentage.strip())
        if found is None:
            raise ValueError(f"{percentage[:20]!r} is no percentage with at most four decimals")
        value = int(found[1]) * PER_CENT + int((found[2] or "0").ljust(4, "0"))
        return cls(value, value)

    def at_least(self, bound: int) -> bool:
        """It certainly is that much or more."""
        return self.low >= bound

    def over(self, bound: int) -> bool:
        """It certainly is more than that."""
        return self.low > bound or (self.low == bound and self.low_open)

    def maybe_at_least(self, bound: int) -> bool:
        """It can be that much or more."""
        return self.high > bound or (self.high == bound and not self.high_open)

    def maybe_over(self, bound: int) -> bool:
        """It can be more than that."""
        return self.high > bound

    def __add__(self, other: Interval) -> Interval:
        """Of both together; never more than all of it."""
        low, high = self.low + other.low, self.high + other.high
        return Interval(
            min(low, WHOLE),
            min(high, WHOLE),
            low < WHOLE and (self.low_open or other.low_open),
            high <= WHOLE and (self.high_open or other.high_open) and low < min(high, WHOLE),
        )

    def hull(self, other: Interval) -> Interval:
        """What two sources say of one thing, taken at its most: the higher of each end."""
        low = max((self.low, self.low_open), (other.low, other.low_open))
        high = max((self.high, not self.high_open), (other.high, not other.high_open))
        return Interval(low[0], high[0], low[1] and low[0] < high[0], not high[1] and low[0] < high[0])

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{_told(self.low)} %"
        since, until = "over" if self.low_open else "from", "to under" if self.high_open else "to"
        return f"{since} {_told(self.low)} {until} {_told(self.high)} %"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {"low": self.low, "high": self.high, "low_open": self.low_open, "high_open": self.high_open}

    @classmethod
    def from_json(cls, said: Any) -> Interval:
        """What `to_json` wrote. Raises ValueError."""
        wanted = {"low": int, "high": int, "low_open": bool, "high_open": bool}
        if not isinstance(said, dict) or set(said) != set(wanted):
            raise ValueError("a share has low, high, low_open and high_open")
        if any(type(said[name]) is not kind for name, kind in wanted.items()):
            raise ValueError("a share has whole millionths and true or false")
        return cls(**said)


NOTHING: Final = Interval(0, 0)
UNKNOWN: Final = Interval(0, WHOLE)


def _told(millionths: int) -> str:
    return f"{millionths / PER_CENT:.4f}".rstrip("0").rstrip(".")
