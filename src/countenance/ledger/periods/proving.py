"""Cuts certificates and audit packs from what is kept.

Knows the formats of `countenance_audit.certificate` and `auditing`; does not know who may have them. What is
put together here is not verified here: whoever gets it does that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from countenance_audit import certificate, periodmap, usage
from countenance_audit.auditing import Key as PackKey
from countenance_audit.auditing import Pack
from countenance_audit.errors import AuditError
from countenance_audit.leaf import Public, parse
from countenance_audit.limits import UNDETECTABLE
from countenance_audit.merkle import inclusion_proof, leaf_hash, root_of
from countenance_audit.monitor import AUDIT, MONITOR, Statement
from countenance_audit.note import SignedNote
from countenance_audit.periodmap import PeriodMap
from countenance_audit.periods import Head, Root, first_to_open
from countenance_audit.vrf import Secret

from countenance.ledger.periods.keeping import Periods
from countenance.ledger.periods.rows import PeriodError


class _Heads:
    """The tree of heads, with proofs."""

    def __init__(self, heads: Sequence[Head]) -> None:
        self._first = heads[0].day
        self._levels = [[each.hash for each in heads]]
        while len(self._levels[-1]) > 1:
            level = self._levels[-1]
            self._levels.append([root_of(level[at : at + 2]) for at in range(0, len(level) - 1, 2)])

    def proof(self, day: str) -> list[bytes]:
        at = usage.days_between(self._first, day)
        return inclusion_proof(at, len(self._levels[0]), lambda level, index: self._levels[level][index])


def certify(
    periods: Periods,
    scheme: str,
    raw: str,
    first: str,
    last: str,
    *,
    request: str,
    requester: str,
    coverage: Mapping[str, Any],
    at: tuple[int, bytes] | None = None,
) -> bytes:
    """A certificate about an identifier and the days from one to another, both included.

    Args:
        request: id of the entry that asked for it.
        coverage: what the operator states besides.
        at: size and note of the checkpoint that it leads to, which has the newest root; None: one made for it.

    Raises:
        PeriodError: a day has no map, or what is kept of one does not prove.
        Malformed: the identifier is none.
    """
    value, asked = certificate.asked_forms(scheme, raw)
    days = usage.days_from(first, last)
    if not days or len(days) > certificate.MAX_DAYS:
        raise PeriodError(f"A certificate is about 1 to {certificate.MAX_DAYS} days, the first one first.")
    size, note = at or periods.log.publish()
    newest, heads = periods.newest, _Heads(periods.heads)
    content = {
        "v": 1,
        "format": certificate.FORMAT,
        "identifier": {"scheme": scheme, "value": value},
        "asked": list(asked),
        "from": first,
        "until": last,
        "origin": periods.log.origin,
        "issued": periods.log.now_us(),
        "request": request,
        "requester": requester,
        "checkpoint": note.decode(),
        "newest": _entry(periods, newest.index, size),
        "days": [
            {**_entry(periods, periods.root_of(on).index, size), **_shown(periods, on, scheme, asked, heads)}
            for on in days
        ],
        "monitors": [
            each.decode()
            for each in periods.rows.statements(newest.heads_last)
            if _said(each).get("heads") == newest.heads_root
        ],
        "coverage": dict(coverage),
        "limits": list(UNDETECTABLE),
    }
    return certificate.sign(content, periods.log.signer)


def pack(periods: Periods, day: str, revision: int | None = None) -> Pack:
    """What an auditor needs for the map of a day: every accounting opening, the keys, the salts.

    Args:
        revision: None: the latest.

    Raises:
        PeriodError: there is no such map.
    """
    root = periods.root_of(day)
    if revision is not None and revision != root.revision:
        raise PeriodError(f"The latest revision of {day} is {root.revision}; packs are made of the latest.")
    begin = root.first
    if root.day == periods.heads[0].day:
        begin = first_to_open(list(_times(periods, root.first)), root)
    openings = {
        index: opening.without_person()
        for start in range(begin, root.known, 4_096)
        for index, opening in periods.log.storage.openings(start, min(start + 4_096, root.known))
    }
    secret = periods.secret_of(day)
    keys = []
    for scheme, value in sorted(periods.rows.used(day)):
        proof = secret.prove(periodmap.alpha(periods.log.origin, day, scheme, value))
        key = periodmap.key_of(secret.output(periodmap.alpha(periods.log.origin, day, scheme, value)))
        keys.append(PackKey(scheme, value, proof, periods.salt(secret, key)))
    return Pack(periods.log.origin, day, root.revision, root.index, openings, tuple(keys))


def keep_statement(periods: Periods, note: bytes) -> Statement:
    """Takes in what a monitor or an auditor signed about this log. Whether anybody trusts the key is theirs to say; it
    must be a statement about maps that there are.

    Raises:
        PeriodError: it is about another log or other maps.
        Malformed: it is none.
    """
    said = _statement_of(note)
    known = {(each.day, each.revision, leaf_hash(each.leaf()).hex()) for each in periods.roots}
    heads = {each.heads_root for each in periods.roots}
    if said.origin != periods.log.origin:
        raise PeriodError(f"The statement is about the log {said.origin}, not {periods.log.origin}.")
    is_known = said.heads in heads if said.format == MONITOR else (said.last, said.revision, said.heads) in known
    if not is_known:
        raise PeriodError("The statement is about maps that this log does not have.")
    periods.rows.keep_statement(said.last, note)
    return said


def _times(periods: Periods, end: int) -> Iterator[tuple[int, int]]:
    """Index and time of the public leaves before a leaf."""
    for index, leaf in periods.rows.public_leaves(0, end):
        found = parse(leaf)
        if isinstance(found, Public):
            yield index, found.time


def _entry(periods: Periods, index: int, size: int) -> dict[str, Any]:
    (leaf,) = periods.log.storage.leaves(index, index + 1)
    proof = [each.hex() for each in periods.log.inclusion(index, size)]
    return {"index": index, "leaf": leaf.decode(), "proof": proof}


def _shown(periods: Periods, on: str, scheme: str, asked: Sequence[str], heads: _Heads) -> dict[str, Any]:
    root = periods.root_of(on)
    secret = periods.secret_of(on)
    made = periods.rows.map_of(on, root.revision)
    if made is None or made.root.hex() != root.root:
        raise PeriodError(
            f"The map of {on}, revision {root.revision}, is not here as it was published.",
            hint="restore it from a backup, or from whoever mirrors /log/",
        )
    return {
        "head": [each.hex() for each in heads.proof(on)],
        "lookups": [_lookup(periods, on, scheme, form, secret, made) for form in asked],
        "statements": [each.decode() for each in periods.rows.statements(on) if _is_about(each, root)],
    }


def _lookup(periods: Periods, on: str, scheme: str, form: str, secret: Secret, made: PeriodMap) -> dict[str, Any]:
    """Where a form of an identifier is in a map, or would be."""
    alpha = periodmap.alpha(periods.log.origin, on, scheme, form)
    key = periodmap.key_of(secret.output(alpha))
    places = made.find(key)
    used = periods.rows.usage(on, scheme, form) if len(places) == 1 else None
    if len(places) == 1 and used is None:
        raise PeriodError(
            f"{scheme}:{form} used the service on {on}, and what it used is not on record here any more.",
            hint="its accounting records are past their floor and were erased; the published map stays",
        )
    return {
        "vrf": secret.prove(alpha).hex(),
        "places": [each.to_json() for each in places],
        "salt": None if used is None else periods.salt(secret, key).hex(),
        "usage": None if used is None else used.to_json(),
    }


def _is_about(note: bytes, root: Root) -> bool:
    said = _said(note)
    leaf = leaf_hash(root.leaf()).hex()
    return (said.get("format"), said.get("revision"), said.get("heads")) == (AUDIT, root.revision, leaf)


def _said(note: bytes) -> Mapping[str, Any]:
    try:
        said = _statement_of(note)
    except AuditError:
        return {}
    return {"format": said.format, "revision": said.revision, "heads": said.heads}


def _statement_of(note: bytes) -> Statement:
    """A statement, whoever signed it."""
    return Statement.parse(SignedNote.parse(note))


__all__ = ["certify", "keep_statement", "pack"]
