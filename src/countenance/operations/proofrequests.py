"""Requests for proofs and what became of them, as acts say.

Knows the acts; does not know certificates. A request is an act with a deadline, its answer another; one that nobody
answered in time is an act, too (PROOFS section 6). Each act is read once: whoever is asked for many certificates would
otherwise read all of them for each.
"""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from countenance_audit import usage

from countenance.errors import Error
from countenance.operators.values import Journal

REQUEST: Final = "certificate.request"
ISSUE: Final = "certificate.issue"
REFUSE: Final = "certificate.refuse"
OVERDUE: Final = "certificate.overdue"
DEADLINE_DAYS: Final = 30
"""When a request is to be answered: one month, as Regulation (EU) 2016/679, Art. 12(3) has it for what persons ask."""
MOST_A_DAY: Final = 100
"""Certificates to one requester in 24 hours: enough for a party's identifiers, too few to search a map with."""


class TooManyProofs(Error):
    """One requester asked for more certificates than he gets in a day."""


@dataclass(slots=True)
class Asked:
    """A request for a proof, as acts say."""

    request: str
    scheme: str
    value: str
    first: str
    last: str
    requester: str
    at_us: int
    deadline_us: int
    issued: list[tuple[int, str]] = field(default_factory=list)
    """When, and the SHA-256 of the certificate."""
    refused: str = ""
    is_overdue: bool = False

    @property
    def state(self) -> str:
        return "refused" if self.refused else "answered" if self.issued else "overdue" if self.is_overdue else "open"


class Requests:
    """All of them. Safe to use from any thread."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._known: dict[str, Asked] = {}
        self._read = (-1, -1)

    def known(self) -> Mapping[str, Asked]:
        """Every request, the oldest first, by its id."""
        with self._lock:
            for act in self._journal.acts((REQUEST, ISSUE, REFUSE, OVERDUE), after=self._read):
                self._read = act.place
                said = act.details
                if act.operation == REQUEST:
                    self._known[act.request_id] = Asked(
                        act.request_id,
                        str(said["scheme"]),
                        str(said["value"]),
                        str(said["from"]),
                        str(said["until"]),
                        str(said["requester"]),
                        act.at_us,
                        int(said["deadline_us"]),
                    )
                    continue
                asked = self._known.get(str(said["request"]))
                if asked is None:
                    continue
                if act.operation == ISSUE:
                    asked.issued.append((act.at_us, str(said["sha256"])))
                elif act.operation == REFUSE:
                    asked.refused = str(said["reason"])
                else:
                    asked.is_overdue = True
            return dict(self._known)

    def note_overdue(self, now_us: int) -> int:
        """Writes an act for each request whose deadline has passed without an answer; how many."""
        late = [each for each in self.known().values() if each.state == "open" and each.deadline_us < now_us]
        for each in late:
            self._journal.note(OVERDUE, "", str(uuid.uuid4()), now_us, {"request": each.request})
        return len(late)

    def check_limit(self, requester: str, now_us: int, more: int = 1) -> None:
        """Refuses (TooManyProofs) what would be too many certificates to one requester."""
        since = now_us - usage.DAY_US
        known = self.known().values()
        given = sum(at > since for each in known if each.requester == requester for at, _ in each.issued)
        if given + more > MOST_A_DAY:
            raise TooManyProofs(
                f"{requester} was given {given} certificates in 24 hours; {MOST_A_DAY} are the most.",
                hint="more of them would let somebody search the maps for names",
            )
