"""Speed and memory of the shipped configuration, as ratios against peers in the same run.

`python -m bench` runs the sections; each is a module with `run(quick) -> Section` and times nothing at import.
A section says in its notes what each side of a comparison does, and marks every target met or missed.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One figure."""

    name: str
    value: float | None
    """None when it could not be measured; `note` says why."""
    unit: str
    target: str = ""
    """As a person reads it: "at most 0.50". Empty: the figure stands for itself."""
    met: bool | None = None
    note: str = ""

    def verdict(self) -> str:
        """ "met", "missed by how much" or nothing."""
        if not self.target or self.met is None or self.value is None:
            return ""
        if self.met:
            return "met"
        return f"MISSED by {abs(self.value - float(self.target.split()[-1])):.3g}"


@dataclass(slots=True)
class Section:
    """The rows of one subject and what has to be known to read them."""

    name: str
    title: str
    notes: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def add(self, name: str, value: float | None, unit: str, note: str = "") -> None:
        """A figure without a target."""
        self.rows.append(Row(name, value, unit, note=note))

    def at_most(self, name: str, value: float, unit: str, limit: float, note: str = "") -> None:
        """A figure that must not be above `limit`."""
        self.rows.append(Row(name, value, unit, f"at most {limit:g}", value <= limit, note))

    def at_least(self, name: str, value: float, unit: str, limit: float, note: str = "") -> None:
        """A figure that must not be below `limit`."""
        self.rows.append(Row(name, value, unit, f"at least {limit:g}", value >= limit, note))

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "title": self.title,
            "notes": self.notes,
            "rows": [asdict(row) for row in self.rows],
        }
