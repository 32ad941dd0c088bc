"""Certificates: whether somebody used the service on the days of a period, and what that is worth.

Knows the format and how each part leads to a checkpoint that a trusted log signed; does not know the server. Every
statement of a certificate is either proved here, or printed as the operator's word. Its grade is not read from it: it
is found by whose statements it carries, under the policy of whoever relies on it (PROOFS section 6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from countenance_audit import canonical, identifiers, periodmap, usage, vrf
from countenance_audit.errors import AuditError, Malformed, Rejected
from countenance_audit.members import (
    array,
    day,
    hexadecimal,
    hexadecimal_of,
    integer,
    json_object,
    members,
    nullable,
    text,
)
from countenance_audit.merkle import leaf_hash, verify_inclusion
from countenance_audit.monitor import AUDIT, MONITOR, Statement
from countenance_audit.note import SIGNATURE_BYTES, SignedNote, Signer
from countenance_audit.periodmap import Place, Usage
from countenance_audit.periods import Root, check_head, read_root
from countenance_audit.policy import Cosigned, TrustPolicy

FORMAT: Final = "countenance/certificate/v1"
ASSERTED: Final = "asserted"
AUDITED: Final = "audited"
MAX_DAYS: Final = 3_660
"""Longest period of one certificate: ten years."""
MAX_AGE_US: Final = 7 * usage.DAY_US
"""Older knowledge is refused unless the relying party says otherwise: late knowledge may take 7 days to be in the maps
(PROOFS section 5)."""

COULD_HAVE_LEFT_OUT: Final = "the operator could have left the identifier out of the map: nobody opened every entry"
NOT_MONITORED: Final = "map order and uniqueness not checked"
BY_NAME: Final = (
    "by name alone, which is weak: names are of legal entities as they were declared, natural persons are in no map by "
    "name, and another spelling is another name"
)
NOT_SIGNED_BY_CUSTOMER: Final = "recorded by the operator; not signed by the customer"
UNWITNESSED: Final = (
    "the policy's quorum of witnesses did not cosign the checkpoint: others may have been shown another log"
)

_CONTEXT: Final = b"countenance/certificate/v1\n"

_entry: Final = {"index": integer(0), "leaf": text, "proof": array(hexadecimal)}
_day: Final = members(
    {
        **_entry,
        "head": array(hexadecimal),
        "vrf": hexadecimal_of(vrf.PROOF_BYTES),
        "places": array(json_object),
        "salt": nullable(hexadecimal),
        "usage": nullable(json_object),
        "statements": array(text),
    }
)
_certificate: Final = members(
    {
        "v": integer(1, 1),
        "format": text,
        "identifier": members({"scheme": text, "value": text}),
        "asked": text,
        "from": day,
        "until": day,
        "origin": text,
        "issued": integer(0),
        "request": text,
        "requester": text,
        "checkpoint": text,
        "newest": members(_entry),
        "days": array(_day),
        "monitors": array(text),
        "coverage": json_object,
        "limits": array(text),
    }
)
_signed: Final = members({"certificate": json_object, "key": text, "signature": hexadecimal_of(SIGNATURE_BYTES)})


@dataclass(frozen=True, slots=True)
class DayShown:
    """What one day of a certificate shows. `usage` is None for a day without use."""

    root: Root
    usage: Usage | None
    is_audited: bool


@dataclass(frozen=True, slots=True)
class Certified:
    """What a certificate proves to whoever trusts this policy.

    Attributes:
        asked: the form of the identifier that maps have, which is what was looked for.
        grade: `AUDITED` when every day is, else `ASSERTED`.
        is_weak: it is about a name alone.
        is_monitored: somebody the policy names checked maps and their chain up to the newest root.
        knowledge_us: when the newest root was made: what was known then is in the maps.
        limits: what it cannot prove, by what was found; always printed.
        claimed: what the operator says besides, unproved: coverage, requester, when it was issued.
    """

    origin: str
    scheme: str
    value: str
    asked: str
    first: str
    last: str
    days: tuple[DayShown, ...]
    grade: str
    is_weak: bool
    is_monitored: bool
    knowledge_us: int
    cosigned: Cosigned
    limits: tuple[str, ...]
    claimed: Mapping[str, Any]

    @property
    def used(self) -> tuple[DayShown, ...]:
        """The days with use."""
        return tuple(each for each in self.days if each.usage is not None)

    @property
    def is_absence(self) -> bool:
        """Whether no day has any use."""
        return not self.used


def sign(content: Mapping[str, Any], signer: Signer) -> bytes:
    """A certificate as a file: canonical JSON of it, the log's key and its signature.

    Raises:
        Malformed: it is none.
    """
    _certificate(content, "The certificate")
    signature = signer.sign_bytes(_CONTEXT + canonical.encode(dict(content)))
    return canonical.encode(
        {"certificate": dict(content), "key": signer.verifier.key_id.hex(), "signature": signature.hex()}
    )


def read(data: bytes) -> tuple[dict[str, Any], str, bytes]:
    """The certificate, the id of the key that is said to have signed it, and the signature: nothing is verified.

    Raises:
        Malformed: it is none.
    """
    content = canonical.decode(data)
    _signed(content, "The file")
    _certificate(content["certificate"], "The certificate")
    if content["certificate"]["format"] != FORMAT:
        raise Malformed(f"The format is {content['certificate']['format'][:60]!r}, not {FORMAT}.")
    return content["certificate"], content["key"], bytes.fromhex(content["signature"])


def verify(data: bytes, policy: TrustPolicy, *, now_us: int, max_age_us: int | None = MAX_AGE_US) -> Certified:
    """Checks a certificate against what a relying party trusts.

    Args:
        now_us: when it is relied on, in microseconds since 1970.
        max_age_us: how old its knowledge may be then; None: as old as it likes.

    Raises:
        Malformed: it is none.
        Rejected: some part of it does not hold, or it is older than allowed.
    """
    content, key_id, signature = read(data)
    key = policy.key_of(content["origin"], key_id)
    key.verify(_CONTEXT + canonical.encode(content), signature)
    return _Check(content, policy).done(now_us, max_age_us)


def asked_form(scheme: str, raw: str) -> tuple[str, str]:
    """The normal form of an identifier, and the form of it that maps have. Raises Malformed."""
    value = identifiers.normal(scheme, raw)
    return value, usage.keyed(scheme, value)[1]


def read_day_root(said: Mapping[str, Any]) -> Root:
    """The period root in a day of a certificate, not verified. Raises Malformed."""
    return read_root(said["index"], said["leaf"].encode())


class _Check:
    def __init__(self, content: Mapping[str, Any], policy: TrustPolicy) -> None:
        self.content = content
        self.policy = policy
        self.origin: str = content["origin"]
        self.scheme: str = content["identifier"]["scheme"]
        self.value: str = content["identifier"]["value"]
        identifiers.check(self.scheme, self.value, "The identifier")
        self.asked = usage.keyed(self.scheme, self.value)[1]
        if self.asked != content["asked"]:
            raise Rejected("What was asked for is not the form of the identifier that maps have.")
        self.cosigned = policy.cosigned(content["checkpoint"].encode())
        if self.cosigned.checkpoint.origin != self.origin:
            raise Rejected("The checkpoint is of another log than the certificate.")
        self.newest = self._root(content["newest"])

    def done(self, now_us: int, max_age_us: int | None) -> Certified:
        content = self.content
        if max_age_us is not None and now_us - self.newest.time > max_age_us:
            raise Rejected(
                f"What it knows is of {usage.moment(self.newest.time)}, older than is allowed "
                f"({max_age_us // usage.DAY_US} days).",
                hint="Ask for a newer one, or allow a greater age if you know that nothing came since.",
            )
        wanted = usage.days_from(content["from"], content["until"])
        if not wanted or len(wanted) > MAX_DAYS or len(content["days"]) != len(wanted):
            raise Rejected(f"It has {len(content['days'])} days where its period has {len(wanted)}.")
        shown = tuple(self._day(on, said) for on, said in zip(wanted, content["days"], strict=True))
        is_monitored = self._monitored()
        is_weak = self.scheme in identifiers.WEAK
        grade = AUDITED if all(each.is_audited for each in shown) else ASSERTED
        return Certified(
            origin=self.origin,
            scheme=self.scheme,
            value=self.value,
            asked=self.asked,
            first=content["from"],
            last=content["until"],
            days=shown,
            grade=grade,
            is_weak=is_weak,
            is_monitored=is_monitored,
            knowledge_us=self.newest.time,
            cosigned=self.cosigned,
            limits=self._limits(shown, grade, is_weak, is_monitored),
            claimed={name: content[name] for name in ("coverage", "requester", "request", "issued", "limits")},
        )

    def _root(self, said: Mapping[str, Any]) -> Root:
        """A period root that is shown to be in the checkpoint's tree."""
        leaf = said["leaf"].encode()
        tree = self.cosigned.checkpoint
        proof = [bytes.fromhex(each) for each in said["proof"]]
        verify_inclusion(said["index"], tree.size, leaf_hash(leaf), proof, tree.root)
        return read_root(said["index"], leaf)

    def _day(self, on: str, said: Mapping[str, Any]) -> DayShown:
        try:
            return self._shown(on, said)
        except AuditError as failure:
            raise type(failure)(f"{on}: {failure.message}", hint=failure.hint) from None

    def _shown(self, on: str, said: Mapping[str, Any]) -> DayShown:
        root = self._root(said)
        if root.day != on:
            raise Rejected(f"Its root is of {root.day}.")
        if root.index > self.newest.index:
            raise Rejected("Its root is newer than the newest one.")
        check_head(self.newest, root, [bytes.fromhex(each) for each in said["head"]])
        alpha = periodmap.alpha(self.origin, on, self.scheme, self.asked)
        key = periodmap.key_of(vrf.verify(bytes.fromhex(root.vrf_key), alpha, bytes.fromhex(said["vrf"])))
        places = [Place.from_json(each) for each in said["places"]]
        used: Usage | None = None
        if said["usage"] is None:
            if said["salt"] is not None:
                raise Malformed("A day without usage has a salt.")
            periodmap.verify_absence(key, places, root.size, bytes.fromhex(root.root))
        else:
            if said["salt"] is None or len(places) != 1:
                raise Malformed("A day with usage has a salt and one place.")
            used = Usage.from_json(said["usage"])
            salt = bytes.fromhex(said["salt"])
            periodmap.verify_presence(key, places[0], salt, used, root.size, bytes.fromhex(root.root))
        return DayShown(root, used, self._audited(root, said["statements"]))

    def _audited(self, root: Root, notes: Sequence[str]) -> bool:
        """Whether an auditor of the policy stated that this map is complete and right."""
        return any(
            (said.format, said.origin, said.first, said.revision, said.heads)
            == (AUDIT, self.origin, root.day, root.revision, root.root)
            for said in self._stated(notes, self.policy.auditors)
        )

    def _monitored(self) -> bool:
        return any(
            (said.format, said.origin, said.heads) == (MONITOR, self.origin, self.newest.heads_root)
            for said in self._stated(self.content["monitors"], self.policy.monitors)
        )

    @staticmethod
    def _stated(notes: Sequence[str], keys: Mapping[str, Any]) -> list[Statement]:
        """The statements that keys of the policy signed; what others signed counts for nothing."""
        found = []
        for each in notes:
            note = SignedNote.parse(each.encode())
            found += [Statement.open(note, key) for key in keys.values() if note.by(key)]
        return found

    def _limits(self, shown: Sequence[DayShown], grade: str, is_weak: bool, is_monitored: bool) -> tuple[str, ...]:
        found = [f"one log only: {self.origin}; nothing is said of another server, or of copies of its data"]
        if grade == ASSERTED:
            found.append(COULD_HAVE_LEFT_OUT)
        if not is_monitored:
            found.append(NOT_MONITORED)
        if not self.cosigned.satisfied:
            found.append(UNWITNESSED)
        if is_weak:
            found.append(BY_NAME)
        if any(each.usage is not None for each in shown):
            found.append(NOT_SIGNED_BY_CUSTOMER)
        found.append(
            "absence is of a record keyed to this identifier: who stood behind an account undeclared and undiscovered "
            "is in no map"
        )
        return tuple(found)


__all__ = [
    "ASSERTED",
    "AUDITED",
    "FORMAT",
    "MAX_AGE_US",
    "Certified",
    "DayShown",
    "asked_form",
    "read",
    "read_day_root",
    "sign",
    "verify",
]
