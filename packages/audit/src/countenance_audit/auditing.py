"""The auditor: opens every leaf of a day, rebuilds its map, and says whether it is the published one.

Knows openings, attributions and maps; does not know the server. An operator hands over a *pack*: the accounting
openings of all leaves from the day's first to the last that its root knew, and the proof for the key of every
identifier. A missing opening is a failure, not a gap (PROOFS section 6).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox
from nacl.signing import SigningKey, VerifyKey

from countenance_audit import container, periodmap, usage, vrf
from countenance_audit.checkpoint import Checkpoint
from countenance_audit.errors import AuditError, Malformed, Rejected
from countenance_audit.leaf import Opaque, Opening, Public, check_opening
from countenance_audit.members import day, hexadecimal, hexadecimal_of, integer, members, octets, text
from countenance_audit.merkle import leaf_hash
from countenance_audit.mirror import Finding, Leaf
from countenance_audit.monitor import AUDIT, Statement
from countenance_audit.note import VerifierKey
from countenance_audit.periodmap import PeriodMap, Usage
from countenance_audit.periods import LATE_US, Chain, Root

PACK: Final = "audit-pack"
SEALED: Final = b"countenance/sealed/v1\n"
"""Before an audit pack that is encrypted to an auditor's key."""


@dataclass(frozen=True, slots=True)
class Key:
    """What shows that an identifier has one key in a map, and what its value hides.

    Attributes:
        value: the form that maps have (`usage.keyed`).
        proof: of the VRF, 80 octets.
        salt: of the usage, 32 octets.
    """

    scheme: str
    value: str
    proof: bytes
    salt: bytes

    @classmethod
    def from_json(cls, content: Any) -> Key:
        """Raises Malformed."""
        _key(content, "A key of the pack")
        proof = bytes.fromhex(content["proof"])
        return cls(content["scheme"], content["value"], proof, octets(content["salt"], "salt"))

    def to_json(self) -> dict[str, str]:
        return {"scheme": self.scheme, "value": self.value, "proof": self.proof.hex(), "salt": self.salt.hex()}


_key: Final = members({"scheme": text, "value": text, "proof": hexadecimal_of(vrf.PROOF_BYTES), "salt": hexadecimal})
_head: Final = members({"origin": text, "day": day, "revision": integer(0), "root_index": integer(0)})


@dataclass(frozen=True, slots=True)
class Pack:
    """What an operator gives an auditor for one map.

    Attributes:
        openings: index -> opening, person sections left out, of all leaves from the range's first to the last known.
    """

    origin: str
    day: str
    revision: int
    root_index: int
    openings: Mapping[int, Opening]
    keys: tuple[Key, ...]

    @classmethod
    def read(cls, data: bytes) -> Pack:
        """Reads a pack that is not sealed.

        Raises:
            Malformed, Rejected: it is none.
        """
        parts = container.read(data, PACK)
        if sorted(parts) != ["head.json", "keys", "openings"]:
            raise Malformed("An audit pack has head.json, keys and openings.")
        (head,) = [*container.read_lines(parts["head.json"], "head.json")][:1] or [None]
        _head(head, "The pack's head")
        openings: dict[int, Opening] = {}
        for each in container.read_lines(parts["openings"], "openings"):
            if not isinstance(each, dict) or set(each) != {"index", "opening"} or type(each["index"]) is not int:
                raise Malformed("A line of the pack's openings is no object of index and opening.")
            openings[each["index"]] = Opening.from_json(each["opening"])
        keys = tuple(Key.from_json(each) for each in container.read_lines(parts["keys"], "keys"))
        return cls(head["origin"], head["day"], head["revision"], head["root_index"], openings, keys)

    def write(self) -> bytes:
        """The container."""
        head = {"origin": self.origin, "day": self.day, "revision": self.revision, "root_index": self.root_index}
        opened = ({"index": index, "opening": self.openings[index].to_json()} for index in sorted(self.openings))
        return container.write(
            PACK,
            {
                "head.json": container.lines(iter([head])),
                "keys": container.lines(each.to_json() for each in self.keys),
                "openings": container.lines(opened),
            },
        )


def seal(pack: bytes, auditor: VerifierKey) -> bytes:
    """A pack that only this auditor's key opens: libsodium's sealed box under the X25519 form of the Ed25519 key."""
    box: SealedBox[PublicKey] = SealedBox(VerifyKey(auditor.public).to_curve25519_public_key())
    return SEALED + bytes(box.encrypt(pack))


def unseal(data: bytes, seed: bytes) -> bytes:
    """The pack that was sealed to the auditor with this seed; another pack as it is.

    Raises:
        Rejected: it was sealed to somebody else, or altered.
    """
    if not data.startswith(SEALED):
        return data
    box: SealedBox[PrivateKey] = SealedBox(SigningKey(seed).to_curve25519_private_key())
    try:
        return bytes(box.decrypt(data[len(SEALED) :]))
    except (CryptoError, ValueError):
        raise Rejected("The pack is not sealed to this key, or was altered.") from None


@dataclass(frozen=True, slots=True)
class Audited:
    """What an audit of one map came to.

    Attributes:
        opened: leaves of the day's range that were opened.
        identifiers: in the map.
        accounts: account -> calls and units of the day, to be held beside contracts: what an operator books to his own
            account is nobody else's use.
    """

    opened: int
    identifiers: int
    totals: usage.Totals
    findings: tuple[Finding, ...]
    accounts: Mapping[str, tuple[int, int]]

    @property
    def holds(self) -> bool:
        """Whether the map is complete and right."""
        return not any(each.serious for each in self.findings)


def audit(root: Root, chain: Chain, origin: str, leaves: Iterable[Leaf], pack: Pack, published: bytes) -> Audited:
    """Audits one map.

    Args:
        chain: of the whole log.
        leaves: those from `chain.begin_of(root)` up to, not including, `root.known`, each shown to be in the log.
        published: the map's file as `/log/` has it.

    Raises:
        Malformed: the pack is of another map, or the map's file is none.
    """
    if (pack.origin, pack.day, pack.revision, pack.root_index) != (origin, root.day, root.revision, root.index):
        raise Malformed(f"The pack is of revision {pack.revision} of {pack.day} of {pack.origin}, another map.")
    work = _Audit(root, chain)
    for leaf in leaves:
        work.see(leaf, pack.openings.get(leaf.index))
    given, totals = work.tally()
    work.compare_totals(totals)
    work.compare_map(given, pack.keys, origin, published)
    work.compare_late()
    accounts = {value: (used.calls, used.units) for (scheme, value), used in given.items() if scheme == "account"}
    return Audited(work.opened, len(given), totals, tuple(work.findings), accounts)


def statement(root: Root, checkpoint: Checkpoint, time_us: int) -> Statement:
    """What an auditor signs when a map is complete and right."""
    return Statement(
        AUDIT,
        checkpoint.origin,
        checkpoint.size,
        checkpoint.root.hex(),
        root.day,
        root.day,
        leaf_hash(root.leaf()).hex(),
        root.revision,
        time_us,
    )


class _Audit:
    def __init__(self, root: Root, chain: Chain) -> None:
        self.root, self.chain = root, chain
        self.opened = 0
        self.findings: list[Finding] = []
        self._rows: list[usage.Row] = []
        self._late: list[usage.Attribution] = []
        self._said: dict[int, int] = {}
        """Attribution's leaf -> its time."""
        self._next = chain.begin_of(root)
        self._time = 0

    def see(self, leaf: Leaf, opening: Opening | None) -> None:
        """Opens one leaf."""
        if leaf.index != self._next:
            raise Malformed(f"Leaf {self._next} was not given to the audit.")
        self._next += 1
        if isinstance(leaf.content, Public) or leaf.content is None:
            if isinstance(leaf.content, Public):
                self._timed(leaf.index, leaf.content.time)
            else:
                self._say("malformed-leaf", leaf.index, "it is of no form that can be opened, and may stand for a call")
            return
        inside = leaf.index < self.root.end
        if opening is None:
            cheat = "erased-accounting" if inside else "openings-withheld-from-auditor"
            self._say(cheat, leaf.index, "it has no accounting opening")
            return
        try:
            self._open(leaf.index, leaf.content, opening, leaf.data)
        except AuditError as failure:
            self._say("openings-withheld-from-auditor", leaf.index, failure.message)

    def tally(self) -> tuple[dict[usage.Identifier, Usage], usage.Totals]:
        if self._next < self.root.known:
            raise Malformed(f"Leaf {self._next} was not given to the audit.")
        try:
            return usage.tally(self._rows, self._late, self.root.day)
        except Rejected as failure:
            self._say("totals-differ", None, failure.message)
            return {}, usage.Totals(0, 0, 0, "")

    def compare_totals(self, totals: usage.Totals) -> None:
        for name in ("calls", "units", "amount", "currency"):
            stated, found = getattr(self.root, name), getattr(totals, name)
            if stated != found:
                self._say("totals-differ", self.root.index, f"{name}: {stated!r} declared, {found!r} opened")

    def compare_map(
        self, given: Mapping[usage.Identifier, Usage], keys: Iterable[Key], origin: str, published: bytes
    ) -> None:
        public = bytes.fromhex(self.root.vrf_key)
        values: dict[bytes, bytes] = {}
        missing = dict(given)
        for each in keys:
            identifier = (each.scheme, each.value)
            used = missing.pop(identifier, None)
            if used is None:
                self._say("omitted-from-map", None, f"{each.scheme}:{each.value} has a key and no entry of the day")
                continue
            alpha = periodmap.alpha(origin, self.root.day, each.scheme, each.value)
            try:
                key = periodmap.key_of(vrf.verify(public, alpha, each.proof))
            except AuditError as failure:
                self._say("omitted-from-map", None, f"{each.scheme}:{each.value}: {failure.message}")
                continue
            values[key] = used.commitment(each.salt)
        for scheme, value in sorted(missing):
            self._say("omitted-from-map", None, f"{scheme}:{value} used the service and has no key")
        if PeriodMap.of(values).leaves != published:
            self._say("omitted-from-map", self.root.index, "the published map is not what the openings give")
        if PeriodMap.of(values).root.hex() != self.root.root:
            self._say("omitted-from-map", self.root.index, "the openings lead to another root than the log signs")

    def compare_late(self) -> None:
        """What became known on this day about days before it is in their maps within 7 days (PROOFS section 5)."""
        latest = {each.index: each for each in self.chain.roots}
        for late in self._late:
            if self.chain.last_time - self._said[late.index] <= LATE_US:
                continue
            for head in self.chain.heads:
                if late.first <= head.day <= late.last and latest[head.index].known <= late.index:
                    said = f"it says who stood behind an account on {head.day}, and no map of that day knows it"
                    self._say("omitted-from-map", late.index, said)

    def _open(self, index: int, leaf: Opaque, opening: Opening, data: bytes) -> None:
        check_opening(opening, data)
        said = opening.accounting
        self._timed(index, said["end"])
        if self.root.first <= index < self.root.end:
            self.opened += 1
            row = usage.row(index, said)
            if row is not None:
                self._rows.append(row)
        late = usage.attribution(index, said)
        if late is not None:
            self._late.append(late)
            self._said[late.index] = said["end"]

    def _timed(self, index: int, time_us: int) -> None:
        if time_us < self._time:
            self._say("backdating", index, "its time is before that of the leaf before it")
        self._time = max(self._time, time_us)
        start, end = usage.start_of(self.root.day), usage.start_of(usage.next_day(self.root.day))
        if index < self.root.end and time_us >= end:
            self._say("two-roots", index, f"it is in the range of {self.root.day}, and its time is later")
        if index >= self.root.end and time_us < end:
            self._say("two-roots", index, f"it is of {self.root.day}, and not in its range")
        if index < self.root.first and time_us >= start:
            self._say("two-roots", index, f"it is of {self.root.day}, and before its range")
        if self.root.first <= index < self.root.end and self.root.first and time_us < start:
            self._say("two-roots", index, f"it is in the range of {self.root.day}, and its time is earlier")

    def _say(self, cheat: str, index: int | None, said: str) -> None:
        self.findings.append(Finding(cheat, index, said, True))
