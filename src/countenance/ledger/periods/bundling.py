"""Puts evidence bundles together: all entries about somebody in a period, and what leads them to a checkpoint.

Knows the format of `countenance_audit.evidence`; does not know who may have one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import Any, Final

import orjson
from countenance_audit import usage
from countenance_audit.evidence import Builder
from countenance_audit.leaf import Opening, parse
from countenance_audit.leaf import Public as PublicLeaf
from countenance_audit.merkle import Subtree

from countenance.ledger.periods.keeping import Periods
from countenance.ledger.periods.rows import PeriodError

ABOUT_ACCOUNTS: Final = ("account.", "key.", "purpose.allow", "screening.", "case.", "party.", "proposal.")
"""How acts begin that say who an account belongs to and what it may do."""
IN_FORCE: Final = ("policy.activate", "policy.default", "list.take", "list.seen")
"""Acts that concern everybody: which policies and lists were in force."""
_PORTION: Final = 4_096


def bundle(
    periods: Periods,
    identified: Sequence[tuple[str, str]],
    first: str,
    last: str,
    certificates: Sequence[bytes],
    texts: Sequence[bytes] = (),
    *,
    at: tuple[int, bytes] | None = None,
) -> bytes:
    """An evidence bundle.

    Args:
        identified: scheme and normal form of each identifier, in the order of the certificates.
        first, last: days, both included.
        certificates: about them, signed.
        texts: what entries name by hash; others are left out.
        at: as for `certify`.

    Raises:
        PeriodError: a day has no map.
    """
    begin, end = periods.root_of(first), periods.root_of(last)
    size, note = at or periods.log.checkpoint()
    wanted = set[usage.Identifier]().union(*(usage.keyed(*each) for each in identified))
    inside, outside = _entries(periods, wanted, usage.days_from(first, last), size)
    named = _named([*inside, *outside]) if texts else set[str]()
    subtree = periods.log.tree.subtree(periods.log.storage.tile, periods.log.storage.layers)
    made = Builder(
        head={
            "v": 1,
            "origin": periods.log.origin,
            "from": first,
            "until": last,
            "made": periods.log.now_us(),
            "identifiers": [{"scheme": scheme, "value": value} for scheme, value in identified],
        },
        place={
            "checkpoint": note.decode(),
            "first": begin.first,
            "end": end.end,
            "peaks": [each.hex() for each in _peaks(begin.first, subtree)],
            "consistency": [each.hex() for each in periods.log.consistency(end.end, size)] if end.end else [],
        },
        leaves=periods.log.storage.leaves(begin.first, end.end),
        entries=inside,
        acts=[(index, opening, periods.log.inclusion(index, size)) for index, opening in outside],
        public=[
            (index, leaf, periods.log.inclusion(index, size)) for index, leaf in _public(periods, begin.first, size)
        ],
        certificates=certificates,
        texts=[each for each in texts if sha256(each).hexdigest() in named],
    )
    return made.write()


def _named(entries: Sequence[tuple[int, Opening]]) -> set[str]:
    """Hashes that entries name: of the policy set that decided, and what acts say. A text that none of them names has
    no place in a bundle."""
    found: set[str] = set()
    for _, opening in entries:
        said = opening.accounting
        if said["decision"] is not None:
            found.add(said["decision"]["policy_set"])
        found.update(each for each in said["details"].values() if isinstance(each, str))
    return found


def _entries(
    periods: Periods, wanted: set[usage.Identifier], days: Sequence[str], size: int
) -> tuple[list[tuple[int, Opening]], list[tuple[int, Opening]]]:
    """Openings within the leaves of the days, and acts elsewhere, each in order."""
    accounts, calls, late = set[str](), set[int](), set[int]()
    for day in days:
        if not any(periods.rows.usage(day, *each) for each in wanted):
            continue
        root = periods.root_of(day)
        rows, attributions = periods.read(root.first, root.end, root.known)
        telling = [each for each in attributions if each.first <= day <= each.last and each.keyed & wanted]
        behind = {each.account for each in telling}
        used = [each for each in rows if each.keyed & wanted or each.account in behind]
        accounts |= {each.account for each in used}
        calls |= {each.index for each in used}
        late |= {each.index for each in telling}
    begin, end = periods.root_of(days[0]).first, periods.root_of(days[-1]).end
    acts = set(_acts(periods, accounts, begin, end))
    inside = sorted({each for each in calls | late | acts if begin <= each < end})
    outside = sorted({each for each in late | acts if not begin <= each < end and each < size})
    return list(_opened(periods, inside)), list(_opened(periods, outside))


def _acts(periods: Periods, accounts: set[str], begin: int, end: int) -> Iterator[int]:
    """Acts about accounts up to the end of the period, and those that put in force what held in it: the latest of each
    kind before it begins, and all within it."""
    latest: dict[str, int] = {}
    for index, leaf, said in periods.rows.openings(0, end):
        if said is None or leaf[:1] == b"{" or '"kind":"act"' not in said:
            continue
        entry = orjson.loads(said)
        operation = str(entry["operation"])
        if (entry["account"] in accounts and operation.startswith(ABOUT_ACCOUNTS)) or (
            operation in IN_FORCE and index >= begin
        ):
            yield index
        elif operation in IN_FORCE:
            latest[_of(operation, entry["details"])] = index
    yield from latest.values()


def _of(operation: str, details: dict[str, Any]) -> str:
    return f"list {details.get('list_id', '')}" if operation.startswith("list.") else operation


def _opened(periods: Periods, indices: Sequence[int]) -> Iterator[tuple[int, Opening]]:
    """The openings of leaves, person sections left out."""
    at = 0
    while at < len(indices):
        start = indices[at]
        several = {index for index in indices[at : at + _PORTION] if index < start + _PORTION}
        for index, opening in periods.log.storage.openings(start, max(several) + 1):
            if index in several:
                yield index, opening.without_person()
        at += len(several)


def _public(periods: Periods, begin: int, size: int) -> Iterator[tuple[int, bytes]]:
    """The keys of maps, and the start of the software that ran when the period began."""
    found = {index: leaf for index, leaf in periods.rows.leaves_of_kind("vrf-key") if index < size}
    starts = [each for each in periods.rows.leaves_of_kind("start") if each[0] <= begin]
    found |= dict(starts[-1:])
    for index in sorted(found):
        if not isinstance(parse(found[index]), PublicLeaf):
            raise PeriodError(f"Leaf {index} is not public.")
        yield index, found[index]


def _peaks(size: int, subtree: Subtree) -> list[bytes]:
    """The roots of the complete subtrees of the first `size` leaves, the largest first."""
    peaks, at = [], 0
    for level in range(size.bit_length() - 1, -1, -1):
        if size >> level & 1:
            peaks.append(subtree(level, at >> level))
            at += 1 << level
    return peaks
