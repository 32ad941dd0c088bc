"""Statements of ownership and control: who holds what in whom, from when to when, and who says so.

A statement is never changed: a later one replaces or retracts it, and both stay. What was true on a day (`valid_from`,
`valid_to`) and what was known at a moment (`Recorded.at_us`) are two questions, and `as_of` asks both. Words for
interests are those of the Beneficial Ownership Data Standard, v0.4 (standard.openownership.org). Nodes are texts: what
somebody is called by an identifier (`lei:...`, `reg:...`) or, without one, by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

from countenance.errors import Error
from countenance.standing.ownership.interval import Interval

INTERESTS: Final = (
    "shareholding",
    "votingRights",
    "appointmentOfBoard",
    "otherInfluenceOrControl",
    "seniorManagingOfficial",
    "settlor",
    "trustee",
    "protector",
    "beneficiaryOfLegalArrangement",
    "rightsToSurplusAssetsOnDissolution",
    "rightsToProfitOrIncome",
    "rightsGrantedByContract",
    "conditionalRightsGrantedByContract",
    "controlViaCompanyRulesOrArticles",
    "controlByLegalFramework",
    "boardMember",
    "boardChair",
    "unknownInterest",
    "unpublishedInterest",
    "enjoymentAndUseOfAssets",
    "rightToProfitOrIncomeFromAssets",
    "nominee",
    "nominator",
)
"""The interestType codelist of BODS v0.4."""
OWNING: Final = frozenset({"shareholding"})
VOTING: Final = frozenset({"votingRights"})
CONTROLLING: Final = frozenset(
    {
        "appointmentOfBoard",
        "otherInfluenceOrControl",
        "controlViaCompanyRulesOrArticles",
        "controlByLegalFramework",
        "rightsGrantedByContract",
        "settlor",
        "trustee",
    }
)
"""Interests that are control whatever the share."""
HIDDEN: Final = frozenset({"unknownInterest", "unpublishedInterest", "nominee", "nominator"})
LONGEST: Final = 1_000
_TEXTS: Final = ("id", "owner", "owned", "interest", "source")


class OwnershipError(Error):
    """A statement, or a file of statements, cannot be read."""


@dataclass(frozen=True, slots=True)
class Statement:
    """Somebody holds an interest in somebody.

    Attributes:
        id: unique among statements of one source.
        owner, owned: nodes.
        interest: one of INTERESTS.
        share: of what the interest is in; None where there is no percentage, or nobody says.
        is_direct: None when nobody says.
        valid_from, valid_to: the first day, and the first day no more; None: open.
        source: who says so: a register, a document, an operator.
        source_sha256: of the document, in hexadecimal; "" without one.
        joint: names an arrangement under which holders act together; "" without one.
        replaces: id of a statement of the same source that this one takes the place of; "" for none.
        is_retraction: nothing takes its place: it was wrong.
    """

    id: str
    owner: str
    owned: str
    interest: str = "shareholding"
    share: Interval | None = None
    is_direct: bool | None = None
    valid_from: date | None = None
    valid_to: date | None = None
    source: str = ""
    source_sha256: str = ""
    joint: str = ""
    replaces: str = ""
    is_retraction: bool = False

    def __post_init__(self) -> None:
        for name in _TEXTS:
            text = getattr(self, name)
            if not text or len(text) > LONGEST or not text.isprintable():
                raise OwnershipError(f"A statement's {name} has 1 to {LONGEST} printable characters.")
        if self.interest not in INTERESTS:
            raise OwnershipError(
                f"There is no interest {self.interest[:40]!r}.", hint=f"there are {', '.join(INTERESTS)}"
            )
        if self.valid_from and self.valid_to and self.valid_to < self.valid_from:
            raise OwnershipError(f"The statement {self.id[:80]} ends before it begins.")

    def holds_on(self, day: date) -> bool:
        """Whether it was true on a day, as it says."""
        return (self.valid_from is None or self.valid_from <= day) and (self.valid_to is None or day < self.valid_to)

    def __str__(self) -> str:
        share = f" of {self.share}" if self.share is not None else ""
        since = f" since {self.valid_from}" if self.valid_from else ""
        until = f" until {self.valid_to}" if self.valid_to else ""
        return f"{self.owner} -> {self.owned}: {self.interest}{share}{since}{until} ({self.source})"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "id": self.id,
            "owner": self.owner,
            "owned": self.owned,
            "interest": self.interest,
            "share": self.share.to_json() if self.share else None,
            "is_direct": self.is_direct,
            "valid_from": self.valid_from.isoformat() if self.valid_from else None,
            "valid_to": self.valid_to.isoformat() if self.valid_to else None,
            "source": self.source,
            "source_sha256": self.source_sha256,
            "joint": self.joint,
            "replaces": self.replaces,
            "is_retraction": self.is_retraction,
        }

    @classmethod
    def from_json(cls, said: Any) -> Statement:
        """What `to_json` wrote, or a person typed; members that go without saying may be left out.

        Raises:
            OwnershipError: a member is missing, unknown or of another type.
        """
        if not isinstance(said, Mapping) or not {"id", "owner", "owned", "source"} <= set(said):
            raise OwnershipError("A statement is an object with id, owner, owned, source and more.")
        known = {each: said[each] for each in said if each in cls.__slots__}
        if len(known) != len(said):
            unknown = sorted(str(each) for each in said if each not in cls.__slots__)[0]
            raise OwnershipError(f"A statement has no member {unknown[:40]!r}.")
        kinds: dict[str, tuple[type, ...]] = {"is_direct": (bool, type(None)), "is_retraction": (bool,)}
        kinds |= {"share": (Mapping, type(None)), "valid_from": (str, type(None)), "valid_to": (str, type(None))}
        for name, value in known.items():
            if not isinstance(value, kinds.get(name, (str,))):
                raise OwnershipError(f"A statement's {name} is of the wrong type.")
        try:
            if known.get("share") is not None:
                known["share"] = Interval.from_json(dict(known["share"]))
            for name in ("valid_from", "valid_to"):
                if known.get(name) is not None:
                    known[name] = date.fromisoformat(known[name])
        except ValueError as error:
            raise OwnershipError(f"The statement {str(said['id'])[:80]} cannot be read: {error}.") from None
        return cls(**known)


@dataclass(frozen=True, slots=True)
class Recorded:
    """A statement, and when it was put on record: microseconds since 1970."""

    statement: Statement
    at_us: int


def as_of(recorded: Iterable[Recorded], *, valid_on: date, known_at_us: int) -> list[Statement]:
    """What was true on a day by what was known at a moment, in the order of recording."""
    return [each for each in known(recorded, known_at_us) if each.holds_on(valid_on)]


def known(recorded: Iterable[Recorded], known_at_us: int) -> list[Statement]:
    """What was known at a moment, of whatever day, in the order of recording.

    A statement counts until another of the same source that was known by then replaces or retracts it.
    """
    by_then = sorted((each for each in recorded if each.at_us <= known_at_us), key=lambda each: each.at_us)
    replaced = {(each.statement.source, each.statement.replaces) for each in by_then if each.statement.replaces}
    found: dict[tuple[str, str], Statement] = {}
    for each in by_then:
        statement = each.statement
        if (statement.source, statement.id) not in replaced and not statement.is_retraction:
            found[statement.source, statement.id] = statement  # said twice: the latter
    return list(found.values())
