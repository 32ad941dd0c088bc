"""Evidence bundles: entries, certificates and what leads both to a signed checkpoint, in one file.

Knows which parts a bundle has and how they must agree; does not know the server, and takes no key from the bundle
(PROOFS section 6). What use a certificate proves must be, to the call, what the bundle's own openings add up to.

Members of the container (`container`, kind `evidence`):

    head.json          {"v", "origin", "from", "until", "made", "identifiers": [{"scheme", "value"}]}
    place.json         {"checkpoint", "first", "end", "peaks", "consistency"}: where `leaves` are in the tree
    leaves             the leaves from `first` to `end`, each after its length in two octets (C2SP tlog-tiles)
    entries            lines {"index", "opening"}: of leaves above
    acts               lines {"index", "opening", "proof"}: of leaves elsewhere
    public             lines {"index", "leaf", "proof"}: public leaves elsewhere
    certificates/NN    one for each identifier of the head, in their order
    texts/SHA256       texts that entries name by hash: policy sets, list documents
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

from countenance_audit import certificate, container, usage
from countenance_audit.certificate import Certified
from countenance_audit.errors import AuditError, Malformed, Rejected
from countenance_audit.leaf import Opening, Public, check_opening, parse
from countenance_audit.members import array, day, hexadecimal, integer, members, text
from countenance_audit.merkle import Frontier, leaf_hash, verify_consistency, verify_inclusion
from countenance_audit.mirror import Finding, Watch
from countenance_audit.note import SignedNote
from countenance_audit.policy import Cosigned, TrustPolicy
from countenance_audit.tiles import TILE_WIDTH, encode_bundle, parse_bundle

KIND: Final = "evidence"
SELECTED: Final = (
    "calls of these identifiers are all that the maps show; which acts and public entries are here besides was chosen "
    "by whoever made the bundle"
)
FIXED: Final = ("acts", "entries", "head.json", "leaves", "place.json", "public")

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_head: Final = members(
    {
        "v": integer(1, 1),
        "origin": text,
        "from": day,
        "until": day,
        "made": integer(0),
        "identifiers": array(members({"scheme": text, "value": text})),
    }
)
_place: Final = members(
    {
        "checkpoint": text,
        "first": integer(0),
        "end": integer(0),
        "peaks": array(hexadecimal),
        "consistency": array(hexadecimal),
    }
)


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry that was shown to be in the log."""

    index: int
    accounting: Mapping[str, Any]
    is_within: bool
    """In the range of leaves of the period, as opposed to an act from elsewhere."""


@dataclass(frozen=True, slots=True)
class Verified:
    """What a bundle proves. Nothing in it was taken on the bundle's word, but for `Certified.claimed` and `made_us`."""

    origin: str
    first: str
    last: str
    made_us: int
    cosigned: Cosigned
    certificates: tuple[Certified, ...]
    entries: tuple[Entry, ...]
    public: tuple[tuple[int, Public], ...]
    texts: Mapping[str, bytes] = field(repr=False)
    leaves: int = 0
    """How many leaves the days of the period have, opened or not."""
    findings: tuple[Finding, ...] = ()
    """What those leaves show: downtime, spans without a heartbeat or without witnesses; serious ones are leaves of no
    form and times that go back."""


@dataclass(slots=True)
class Builder:
    """Puts a bundle together; `write` gives the file. Nothing is checked here."""

    head: dict[str, Any]
    place: dict[str, Any]
    leaves: Sequence[bytes]
    entries: Sequence[tuple[int, Opening]]
    acts: Sequence[tuple[int, Opening, Sequence[bytes]]] = ()
    public: Sequence[tuple[int, bytes, Sequence[bytes]]] = ()
    certificates: Sequence[bytes] = ()
    texts: Sequence[bytes] = ()

    def write(self) -> bytes:
        """The container."""
        parts = {
            "head.json": container.lines(iter([self.head])),
            "place.json": container.lines(iter([self.place])),
            "leaves": b"".join(
                encode_bundle(self.leaves[at : at + TILE_WIDTH]) for at in range(0, len(self.leaves), TILE_WIDTH)
            ),
            "entries": container.lines({"index": at, "opening": each.to_json()} for at, each in self.entries),
            "acts": container.lines(
                {"index": at, "opening": each.to_json(), "proof": [one.hex() for one in proof]}
                for at, each, proof in self.acts
            ),
            "public": container.lines(
                {"index": at, "leaf": leaf.decode(), "proof": [one.hex() for one in proof]}
                for at, leaf, proof in self.public
            ),
        }
        parts |= {f"certificates/{at:02d}": each for at, each in enumerate(self.certificates)}
        parts |= {f"texts/{sha256(each).hexdigest()}": each for each in self.texts}
        return container.write(KIND, parts)


def claimed_keys(data: bytes) -> list[str]:
    """Who claims to have signed the checkpoint and the certificates of a bundle, with the ids of the keys, unverified.

    Raises:
        Malformed, Rejected: it is no bundle.
    """
    parts = container.read(data, KIND)
    place = _one(parts, "place.json")
    _place(place, "place.json")
    signed = SignedNote.parse(place["checkpoint"].encode()).signatures
    found = [f"{each.name} with key {each.key_id.hex()}" for each in signed]
    for name in sorted(parts):
        if name.startswith("certificates/"):
            content, key, _ = certificate.read(parts[name])
            found.append(f"{content['origin']} with key {key} ({name})")
    return found


def verify(data: bytes, policy: TrustPolicy, *, now_us: int, max_age_us: int | None) -> Verified:
    """Checks a bundle against what a relying party trusts.

    Args:
        now_us, max_age_us: as in `certificate.verify`.

    Raises:
        Malformed: it is none.
        Rejected: some part of it does not hold, or parts do not agree.
    """
    return _Check(container.read(data, KIND), policy, now_us, max_age_us).done()


class _Check:
    def __init__(self, parts: dict[str, bytes], policy: TrustPolicy, now_us: int, max_age_us: int | None) -> None:
        self.parts, self.policy = parts, policy
        self.now_us, self.max_age_us = now_us, max_age_us
        missing = set(FIXED) - parts.keys()
        if missing:
            raise Malformed(f"The bundle lacks {', '.join(sorted(missing))}.")
        self.head, self.place = _one(parts, "head.json"), _one(parts, "place.json")
        _head(self.head, "head.json")
        _place(self.place, "place.json")
        if not self.head["identifiers"]:
            raise Malformed("The bundle is about nobody.")
        self.names = [f"certificates/{at:02d}" for at in range(len(self.head["identifiers"]))]
        texts = [name for name in parts if name.startswith("texts/")]
        known = {*FIXED, *self.names, *texts}
        if parts.keys() != known:
            raise Malformed("The bundle has members that do not belong in one, or lacks a certificate.")
        for name in texts:
            if name != f"texts/{sha256(parts[name]).hexdigest()}":
                raise Rejected(f"{name} is not the text of that hash.")
        self.texts = {name.removeprefix("texts/"): parts[name] for name in texts}

    def done(self) -> Verified:
        cosigned = self.policy.cosigned(self.place["checkpoint"].encode())
        if cosigned.checkpoint.origin != self.head["origin"]:
            raise Rejected("The checkpoint is of another log than the bundle.")
        leaves = self._leaves(cosigned)
        entries = [*self._entries(leaves), *self._acts(cosigned)]
        indices = [each.index for each in entries]
        if len(set(indices)) != len(indices):
            raise Malformed("An entry comes twice in the bundle.")
        certificates = tuple(self._certificates())
        self._compare(certificates, entries)
        self._same_log(cosigned, certificates)
        public = tuple(self._public(cosigned))
        self._named(entries, public)
        return Verified(
            origin=self.head["origin"],
            first=self.head["from"],
            last=self.head["until"],
            made_us=self.head["made"],
            cosigned=cosigned,
            certificates=certificates,
            entries=tuple(sorted(entries, key=lambda each: each.index)),
            public=public,
            texts=self.texts,
            leaves=len(leaves),
            findings=tuple(self._watched(leaves, entries)),
        )

    def _leaves(self, cosigned: Cosigned) -> list[bytes]:
        """The leaves of the period, shown to be the log's."""
        first, end = self.place["first"], self.place["end"]
        data = self.parts["leaves"]
        if not 0 <= first <= end <= cosigned.checkpoint.size:
            raise Rejected("The bundle's leaves are not within the checkpoint's tree.")
        leaves = _split(data, end - first)
        tree = Frontier.from_peaks(first, [bytes.fromhex(each) for each in self.place["peaks"]])
        for leaf in leaves:
            tree.append(leaf_hash(leaf))
        if end:
            proof = [bytes.fromhex(each) for each in self.place["consistency"]]
            checkpoint = cosigned.checkpoint
            verify_consistency(end, checkpoint.size, tree.root(), checkpoint.root, proof)
        return leaves

    def _watched(self, leaves: Sequence[bytes], entries: Sequence[Entry]) -> list[Finding]:
        """What a mirror would list of the period's leaves, with the times of the entries that are open here."""
        first, findings = self.place["first"], list[Finding]()
        watch, opened = Watch(findings), {each.index: each.accounting["end"] for each in entries}
        latest = 0
        for index, data in enumerate(leaves, start=first):
            leaf = watch.see(index, data)
            time = leaf.content.time if isinstance(leaf.content, Public) else opened.get(index, latest)
            if time < latest and not isinstance(leaf.content, Public):
                findings.append(Finding("time", index, "Its time is before that of a leaf before it.", True))
            elif time < latest and not any(each.index == index for each in findings[-1:]):
                findings.append(Finding("time", index, "Its time is before that of an entry before it.", True))
            latest = max(latest, time)
        watch.end()
        return findings

    def _entries(self, leaves: Sequence[bytes]) -> Iterator[Entry]:
        first = self.place["first"]
        for said in _lines(self.parts["entries"], "entries", {"index", "opening"}):
            at = said["index"] - first
            if not 0 <= at < len(leaves):
                raise Rejected(f"Entry {said['index']} is not among the bundle's leaves.")
            opening = Opening.from_json(said["opening"])
            _opens(opening, leaves[at], said["index"])
            yield Entry(said["index"], opening.accounting, True)

    def _acts(self, cosigned: Cosigned) -> Iterator[Entry]:
        for said in _lines(self.parts["acts"], "acts", {"index", "opening", "proof"}):
            opening = Opening.from_json(said["opening"])
            _included(said["index"], opening.leaf(), said["proof"], cosigned)
            yield Entry(said["index"], opening.accounting, False)

    def _public(self, cosigned: Cosigned) -> Iterator[tuple[int, Public]]:
        for said in _lines(self.parts["public"], "public", {"index", "leaf", "proof"}):
            text(said["leaf"], "A public leaf")
            leaf = said["leaf"].encode()
            _included(said["index"], leaf, said["proof"], cosigned)
            found = parse(leaf)
            if not isinstance(found, Public):
                raise Rejected(f"Leaf {said['index']} is not public.")
            yield said["index"], found

    def _certificates(self) -> Iterator[Certified]:
        for name, wanted in zip(self.names, self.head["identifiers"], strict=True):
            try:
                found = certificate.verify(
                    self.parts[name], self.policy, now_us=self.now_us, max_age_us=self.max_age_us
                )
            except AuditError as failure:
                raise type(failure)(f"{name}: {failure.message}", hint=failure.hint) from None
            about = {"scheme": found.scheme, "value": found.value}
            if about != wanted or (found.origin, found.first, found.last) != (
                self.head["origin"],
                self.head["from"],
                self.head["until"],
            ):
                raise Rejected(f"{name} is about somebody else, another period or another log.")
            yield found

    def _compare(self, certificates: Sequence[Certified], entries: Sequence[Entry]) -> None:
        """Openings and maps say the same: the identity of PROOFS section 5, for the identifiers of this bundle."""
        rows = [row for each in entries if (row := usage.row(each.index, each.accounting)) is not None]
        late = [one for each in entries if (one := usage.attribution(each.index, each.accounting)) is not None]
        rows.sort(key=lambda each: each.index)
        for found in certificates:
            if (found.days[0].root.first, found.days[-1].root.end) != (self.place["first"], self.place["end"]):
                raise Rejected("The bundle's leaves are not those of the days that it is about.")
            for shown in found.days:
                root = shown.root
                within = [each for each in rows if root.first <= each.index < root.end]
                known = [each for each in late if root.first <= each.index < root.known]
                given, _ = usage.tally(within, known, root.day)
                for form, used in zip(found.asked, shown.lookups, strict=True):
                    opened = given.get((found.scheme, form))
                    if opened != used:
                        raise Rejected(
                            f"{root.day}: the map says {_told(used)} of {found.scheme}:{form}, and the bundle's "
                            f"entries add up to {_told(opened)}."
                        )

    @staticmethod
    def _same_log(cosigned: Cosigned, certificates: Sequence[Certified]) -> None:
        """Checkpoints of one size are one checkpoint, or somebody signed two histories."""
        roots = {cosigned.checkpoint.size: cosigned.checkpoint.root}
        for each in certificates:
            checkpoint = each.cosigned.checkpoint
            if roots.setdefault(checkpoint.size, checkpoint.root) != checkpoint.root:
                raise Rejected(f"There are two trees of {checkpoint.size} leaves in the bundle: the log was forked.")

    def _named(self, entries: Sequence[Entry], public: Sequence[tuple[int, Public]]) -> None:
        """Each text is one that an entry names: nothing travels in a bundle unasked."""
        stray = set(self.texts)
        waiting: list[Any] = [each.accounting for each in entries] + [each.content for _, each in public]
        while stray and waiting:
            value = waiting.pop()
            if isinstance(value, str):
                stray.difference_update(_HASH.findall(value))
            elif isinstance(value, Mapping):
                waiting += value.values()
            elif isinstance(value, (list, tuple)):
                waiting += value
        if stray:
            raise Rejected(f"No entry of the bundle names texts/{min(stray)}.")


def _opens(opening: Opening, leaf: bytes, index: int) -> None:
    try:
        check_opening(opening, leaf)
    except AuditError as failure:
        raise type(failure)(f"Entry {index}: {failure.message}", hint=failure.hint) from None


def _included(index: Any, leaf: bytes, proof: Any, cosigned: Cosigned) -> None:
    if type(index) is not int or not isinstance(proof, list):
        raise Malformed("An act of the bundle has no index or no proof.")
    for each in proof:
        hexadecimal(each, "A hash of a proof")
    tree = cosigned.checkpoint
    verify_inclusion(index, tree.size, leaf_hash(leaf), [bytes.fromhex(each) for each in proof], tree.root)


def _one(parts: Mapping[str, bytes], name: str) -> Any:
    found = list(container.read_lines(parts.get(name, b""), name))
    if len(found) != 1 or not isinstance(found[0], dict):
        raise Malformed(f"{name} of the bundle is not one object.")
    return found[0]


def _lines(data: bytes, what: str, names: set[str]) -> Iterator[dict[str, Any]]:
    before = -1
    for each in container.read_lines(data, what):
        if not isinstance(each, dict) or set(each) != names or type(each["index"]) is not int:
            raise Malformed(f"A line of {what} does not have {', '.join(sorted(names))}.")
        if each["index"] <= before:
            raise Malformed(f"The lines of {what} are not in the order of their leaves.")
        before = each["index"]
        yield each


def _split(data: bytes, count: int) -> list[bytes]:
    """The leaves of the member `leaves`. Raises Malformed."""
    return parse_bundle(data, count) if count else _nothing(data)


def _nothing(data: bytes) -> list[bytes]:
    if data:
        raise Malformed("The bundle has leaves of no range.")
    return []


def _told(used: Any) -> str:
    return "no use" if used is None else f"{used.calls} calls, {used.units} units, {used.amount} micro-units"
