"""The monitor: reads a whole log and every map, and says whether maps are sorted, rebuilt, and one chain.

Knows public leaves and maps; opens nothing, so it cannot tell whether a map is complete (`auditing` does). What it
found right it can sign: a statement about a tree, which certificates carry (PROOFS section 5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final

from countenance_audit import canonical
from countenance_audit.checkpoint import Checkpoint
from countenance_audit.errors import AuditError, Malformed, Rejected, Unavailable
from countenance_audit.leaf import Public
from countenance_audit.members import day, hexadecimal, integer, members, one_of, text
from countenance_audit.mirror import Finding, Leaf
from countenance_audit.note import SignedNote, Signer, VerifierKey
from countenance_audit.periodmap import PeriodMap
from countenance_audit.periods import Chain, Root

MONITOR: Final = "countenance/monitor/v1"
AUDIT: Final = "countenance/audit/v1"

FetchMap = Callable[[str, int], bytes]
"""(day, revision) -> the map's file, or Unavailable."""


@dataclass(frozen=True, slots=True)
class Statement:
    """What a monitor or an auditor signs: one line of canonical JSON, as a C2SP signed note.

    Attributes:
        format: `MONITOR`: every map up to this tree is sorted and leads to its root, and the roots are one chain.
            `AUDIT`: of one day besides, every leaf in its range was opened, and the map is what they give.
        size, root: of the tree that was read.
        first, last: the days with a root in it (MONITOR), or twice the day that was audited (AUDIT).
        heads: root of the tree of heads, the newest included (MONITOR), or the hash of the period-root leaf (AUDIT), so
            that it holds for no other leaf that names the same map; hexadecimal.
        revision: of the map that was audited; -1 for a monitor.
        time: when, in microseconds since 1970, by the clock of whoever signed.
    """

    format: str
    origin: str
    size: int
    root: str
    first: str
    last: str
    heads: str
    revision: int
    time: int

    @classmethod
    def open(cls, note: bytes | SignedNote, key: VerifierKey) -> Statement:
        """Reads a statement and checks its signature.

        Raises:
            Malformed: it is none.
            Rejected: this key did not sign it.
        """
        signed = note if isinstance(note, SignedNote) else SignedNote.parse(note)
        signed.verify(key)
        return cls.parse(signed)

    @classmethod
    def parse(cls, signed: SignedNote) -> Statement:
        """Reads a statement, whoever signed it. Raises Malformed."""
        content = canonical.decode(signed.text.removesuffix("\n"))
        _statement(content, "The statement")
        return cls(**content)

    def sign(self, signer: Signer) -> bytes:
        """The signed note."""
        content = {name: getattr(self, name) for name in _MEMBERS}
        return signer.sign(canonical.encode(content).decode() + "\n")


_MEMBERS: Final = {
    "format": one_of(MONITOR, AUDIT),
    "origin": text,
    "size": integer(1),
    "root": hexadecimal,
    "first": day,
    "last": day,
    "heads": hexadecimal,
    "revision": integer(-1),
    "time": integer(0),
}
_statement: Final = members(_MEMBERS)


@dataclass(frozen=True, slots=True)
class Monitored:
    """What a monitor saw.

    Attributes:
        maps: how many were rebuilt.
        findings: serious ones have a cheat of the threat model as their kind.
    """

    chain: Chain
    maps: int
    findings: tuple[Finding, ...]

    @property
    def holds(self) -> bool:
        """Whether all is as it must be."""
        return not any(each.serious for each in self.findings)


def monitor(leaves: Iterator[Leaf], fetch_map: FetchMap) -> Monitored:
    """Reads all leaves of a log and the map of each of its roots.

    Raises:
        Unavailable: a map cannot be had: nothing is decided.
        AuditError: of `leaves`.
    """
    chain = Chain()
    for leaf in leaves:
        chain.add(leaf.index, leaf.content if isinstance(leaf.content, Public) else None)
    chain.end()
    findings = [Finding(cheat, index, said, True) for index, cheat, said in chain.wrong]
    before: dict[str, PeriodMap] = {}
    for root in chain.roots:
        found, map_ = check_map(root, fetch_map)
        findings += found
        if map_ is None:
            continue
        older = before.get(root.day)
        if older is not None and not _keys(older) <= _keys(map_):
            said = f"Revision {root.revision} of {root.day} lacks keys of the one before it."
            findings.append(Finding("two-roots", root.index, said, True))
        before[root.day] = map_
    if not chain.roots:
        findings.append(Finding("periods", None, "The log has no period root yet.", False))
    return Monitored(chain, len(chain.roots), tuple(findings))


def check_map(root: Root, fetch_map: FetchMap) -> tuple[list[Finding], PeriodMap | None]:
    """Whether the published map of a root is well-formed and leads to it; and the map, if it can be read.

    Raises:
        Unavailable: it cannot be had.
    """
    where = f"The map of {root.day}, revision {root.revision}: "
    try:
        map_ = PeriodMap(fetch_map(root.day, root.revision))
    except Unavailable:
        raise
    except AuditError as failure:
        return [Finding("unsorted-map", root.index, where + failure.message, True)], None
    findings = []
    if map_.size != root.size or map_.root.hex() != root.root:
        findings.append(Finding("altered-tiles", root.index, where + "it does not lead to the signed root.", True))
    try:
        map_.check()
    except Rejected as failure:
        findings.append(Finding("unsorted-map", root.index, where + failure.message, True))
    return findings, map_


def statement(chain: Chain, checkpoint: Checkpoint, time_us: int) -> Statement:
    """What a monitor signs when all is as it must be.

    Raises:
        Malformed: the log has no period root.
    """
    if not chain.heads:
        raise Malformed("The log has no period root, so there is nothing to state.")
    return Statement(
        MONITOR,
        checkpoint.origin,
        checkpoint.size,
        checkpoint.root.hex(),
        chain.heads[0].day,
        chain.heads[-1].day,
        chain.roots[-1].heads_root,
        -1,
        time_us,
    )


def map_path(on: str, revision: int) -> str:
    """Where a map is under `/log/`: `period/2026/10/05/0`, for the first revision."""
    return f"period/{date.fromisoformat(on):%Y/%m/%d}/{revision}"


def _keys(map_: PeriodMap) -> set[bytes]:
    return {map_.key(index) for index in range(map_.size)}
