"""Reports of the look back: what an account's standing was as known then and as known now, and what it used meanwhile.

A report's hash is in an act of the log (`party.lookback`), and the report carries what opens that act and leads from
its leaf to a signed checkpoint. Knows that form; does not know who was listed when, and decides nothing anew: what is
shown is that this report, word for word, is what the operator put on record, and when.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, Final

from countenance_audit import canonical
from countenance_audit.errors import Malformed, Rejected
from countenance_audit.leaf import Opening

ACT: Final = "party.lookback"
_NOT_OF_IT: Final = ("sha256", "receipt")
"""Members that were added after the report was hashed."""
_RECEIPT: Final = frozenset({"index", "opening", "proof", "checkpoint"})
_WINDOW: Final[Mapping[str, type]] = {
    "from": str, "to": str, "as_known_then": str, "as_known_now": str, "calls": int, "answered": int, "leaves": list,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lookback:
    """A report whose words are those that its entry's hash is of."""

    account: str
    windows: tuple[Mapping[str, Any], ...]
    recorded_us: int
    """When it was put on record, by the operator's clock: microseconds since 1970."""
    index: int
    opening: Opening
    proof: tuple[bytes, ...]
    note: bytes
    """The checkpoint that the proof leads to."""


def read(data: bytes) -> Lookback:
    """A report, as `countenance party lookback --report` writes it, held against the entry it carries.

    Raises:
        Malformed: it is no such report.
        Rejected: it is not the report that its entry is about.
    """
    report = canonical.read(data.strip())
    if not isinstance(report, Mapping) or report.get("v") != 1 or not isinstance(report.get("receipt"), Mapping):
        raise Malformed(
            "The file is no report of the look back.",
            hint="countenance party lookback ACCOUNT --report FILE writes one",
        )
    windows, account = report.get("windows"), report.get("account_id")
    if not isinstance(windows, list) or not isinstance(account, str):
        raise Malformed("The report has no windows, or no account.")
    for each in windows:
        if not isinstance(each, Mapping) or any(type(each.get(name)) is not kind for name, kind in _WINDOW.items()):
            raise Malformed("A window of the report lacks a member, or has one of the wrong type.")
    index, opening, proof, note = _receipt(report["receipt"])
    said = sha256(canonical.encode({k: v for k, v in report.items() if k not in _NOT_OF_IT})).hexdigest()
    if report.get("sha256") != said:
        raise Rejected("The report's words are not those that its own hash is of: it was changed.")
    entry = opening.accounting
    if (entry["kind"], entry["operation"]) != ("act", ACT):
        raise Rejected(f"The entry that it carries is of {entry['operation'] or entry['kind']}, not of a look back.")
    if entry["account"] != account or entry["details"].get("report_sha256") != said:
        raise Rejected("The entry that it carries is about another report or another account.")
    return Lookback(account, tuple(windows), entry["time"], index, opening, proof, note)


def _receipt(told: Mapping[str, Any]) -> tuple[int, Opening, tuple[bytes, ...], bytes]:
    if set(told) != _RECEIPT or type(told["index"]) is not int or not isinstance(told["checkpoint"], str):
        raise Malformed("The report's receipt has an index, an opening, a proof and a checkpoint, and nothing else.")
    try:
        proof = tuple(bytes.fromhex(each) for each in told["proof"])
    except (TypeError, ValueError):
        raise Malformed("The receipt's proof is not an array of hexadecimal hashes.") from None
    return told["index"], Opening.from_json(told["opening"]), proof, told["checkpoint"].encode()
