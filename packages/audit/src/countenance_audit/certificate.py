"""Certificates: whether somebody used the service on the days of a period, and what that is worth.

Knows the format and how each part leads to a checkpoint that a trusted log signed; does not know the server. Every
statement of a certificate is either proved here, or printed as the operator's word. Its grade is not read from it: it
is found by whose statements it carries, under the policy of whoever relies on it (PROOFS section 6).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from countenance_audit import canonical, forms, identifiers, periodmap, usage, vrf
from countenance_audit.errors import AuditError, Malformed, Rejected
from countenance_audit.limits import UNDETECTABLE
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
from countenance_audit.policy import NO_QUORUM, Cosigned, TrustPolicy

FORMAT: Final = "countenance/certificate/v1"
ASSERTED: Final = "asserted"
AUDITED: Final = "audited"
MAX_DAYS: Final = 3_660
"""Longest period of one certificate: ten years."""
MAX_AGE_US: Final = 7 * usage.DAY_US
"""Older knowledge is refused unless the relying party says otherwise: late knowledge may take 7 days to be in the maps
(PROOFS section 5)."""
SLACK_US: Final = 300_000_000
"""By how much a stated time may be beside the clock of who reads it, or of a witness: 5 min (PROOFS section 4)."""

COULD_HAVE_LEFT_OUT: Final = "the operator could have left the identifier out of the map: nobody opened every entry"
NOT_MONITORED: Final = "map order and uniqueness not checked"
BY_NAME: Final = (
    "by name alone, which is weak, and of a legal entity: natural persons are in no map by name, so nothing is said of "
    "one who is called so; names are as they were declared, and looked for as"
)
NOT_SIGNED_BY_CUSTOMER: Final = "recorded by the operator; not signed by the customer"
UNWITNESSED: Final = (
    "the policy's quorum of witnesses did not cosign the checkpoint: others may have been shown another log"
)
NO_WITNESS: Final = "the trust policy asks for no witness: others may have been shown another log"

_CONTEXT: Final = b"countenance/certificate/v1\n"

_entry: Final = {"index": integer(0), "leaf": text, "proof": array(hexadecimal)}
_day: Final = members(
    {
        **_entry,
        "head": array(hexadecimal),
        "lookups": array(
            members(
                {
                    "vrf": hexadecimal_of(vrf.PROOF_BYTES),
                    "places": array(json_object),
                    "salt": nullable(hexadecimal),
                    "usage": nullable(json_object),
                }
            )
        ),
        "statements": array(text),
    }
)
_coverage: Final = members(
    {
        "origins": array(text),
        "units": integer(0),
        "units_of_the_owner": integer(0),
        "units_of_undeclared_accounts": integer(0),
        "units_of_parties_not_verified": integer(0),
        "gaps": array(text),
    }
)
"""What an operator has to state besides (PROOFS section 1); that the sum is right is checked, the rest is his word."""
_certificate: Final = members(
    {
        "v": integer(1, 1),
        "format": text,
        "identifier": members({"scheme": text, "value": text}),
        "asked": array(text),
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
        "coverage": _coverage,
        "limits": array(text),
    }
)
_signed: Final = members({"certificate": json_object, "key": text, "signature": hexadecimal_of(SIGNATURE_BYTES)})


@dataclass(frozen=True, slots=True)
class DayShown:
    """What one day of a certificate shows.

    Attributes:
        lookups: for each form that was asked for, in their order, what it was used for or None.
    """

    root: Root
    lookups: tuple[Usage | None, ...]
    is_audited: bool

    @property
    def usage(self) -> Usage | None:
        """The most that any of the forms was used for; None for a day without use."""
        return max((each for each in self.lookups if each is not None), key=lambda each: each.calls, default=None)


@dataclass(frozen=True, slots=True)
class Certified:
    """What a certificate proves to whoever trusts this policy.

    Attributes:
        asked: the forms of the identifier that maps have, all of which were looked for: several for a name.
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
    asked: tuple[str, ...]
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
    def found_as(self) -> tuple[str, ...]:
        """The forms that were used, out of `asked`."""
        return tuple(
            form for at, form in enumerate(self.asked) if any(each.lookups[at] is not None for each in self.days)
        )

    @property
    def worth(self) -> str:
        """The grade as it is printed."""
        return f"weak, by name alone; {self.grade}" if self.is_weak else self.grade

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


def asked_forms(scheme: str, raw: str) -> tuple[str, tuple[str, ...]]:
    """The normal form of an identifier, and the forms of it that maps have. Raises Malformed."""
    value = identifiers.normal(scheme, raw)
    return value, forms.of(scheme, value)


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
        self.asked = forms.of(self.scheme, self.value)
        if list(self.asked) != list(content["asked"]):
            raise Rejected("What was asked for is not the forms of the identifier that maps have.")
        if missing := [each for each in UNDETECTABLE if each not in content["limits"]]:
            raise Rejected(f"The certificate does not quote what nobody can detect: {', '.join(missing)}.")
        self.cosigned = policy.cosigned(content["checkpoint"].encode())
        if self.cosigned.checkpoint.origin != self.origin:
            raise Rejected("The checkpoint is of another log than the certificate.")
        self.newest = self._root(content["newest"])

    def done(self, now_us: int, max_age_us: int | None) -> Certified:
        content = self.content
        self._check_time(now_us)
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
        self._check_ranges([each.root for each in shown])
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

    def _check_time(self, now_us: int) -> None:
        """When the newest root was made is the operator's to say: with a later time, what it knows would never be old.
        So it may not be later than now, nor than when somebody cosigned a tree that has it."""
        if self.newest.time > now_us + SLACK_US:
            raise Rejected(f"What it knows is said to be of {usage.moment(self.newest.time)}, which is yet to come.")
        for name, at_s in self.cosigned.witnesses.items():
            if self.newest.time > at_s * 1_000_000 + SLACK_US:
                raise Rejected(
                    f"What it knows is said to be of {usage.moment(self.newest.time)}, and {name} saw it at "
                    f"{usage.moment(at_s * 1_000_000)}."
                )

    def _check_ranges(self, roots: Sequence[Root]) -> None:
        """The days' leaves are one range without gap or overlap, and each map was made when its day was over."""
        for at, root in enumerate(roots):
            if not root.first <= root.end <= root.known <= root.index:
                raise Rejected(f"{root.day}: its range of leaves is none before its root.")
            if root.time < usage.start_of(usage.next_day(root.day)):
                raise Rejected(f"{root.day}: its map was made at {usage.moment(root.time)}, before the day was over.")
            if at and root.first != roots[at - 1].end:
                raise Rejected(
                    f"The leaves of {root.day} begin at {root.first}, and those of the day before end at "
                    f"{roots[at - 1].end}."
                )
        if self.content["coverage"]["units"] != sum(each.units for each in roots):
            raise Rejected("The sum of units that the certificate states is not that of its days' roots.")

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
        if len(said["lookups"]) != len(self.asked):
            raise Rejected(f"It shows {len(said['lookups'])} forms of the identifier, and there are {len(self.asked)}.")
        lookups = tuple(self._lookup(root, form, each) for form, each in zip(self.asked, said["lookups"], strict=True))
        leaf = leaf_hash(said["leaf"].encode()).hex()
        return DayShown(root, lookups, self._audited(root, leaf, said["statements"]))

    def _lookup(self, root: Root, form: str, said: Mapping[str, Any]) -> Usage | None:
        """What the map of a root has under a form of the identifier."""
        alpha = periodmap.alpha(self.origin, root.day, self.scheme, form)
        key = periodmap.key_of(vrf.verify(bytes.fromhex(root.vrf_key), alpha, bytes.fromhex(said["vrf"])))
        places = [Place.from_json(each) for each in said["places"]]
        if said["usage"] is None:
            if said["salt"] is not None:
                raise Malformed("A day without usage has a salt.")
            periodmap.verify_absence(key, places, root.size, bytes.fromhex(root.root))
            return None
        if said["salt"] is None or len(places) != 1:
            raise Malformed("A day with usage has a salt and one place.")
        used = Usage.from_json(said["usage"])
        salt = bytes.fromhex(said["salt"])
        periodmap.verify_presence(key, places[0], salt, used, root.size, bytes.fromhex(root.root))
        return used

    def _audited(self, root: Root, leaf: str, notes: Sequence[str]) -> bool:
        """Whether an auditor of the policy stated that the map of this very root is complete and right."""
        return any(
            (said.format, said.origin, said.first, said.revision, said.heads)
            == (AUDIT, self.origin, root.day, root.revision, leaf)
            for said in self._stated(notes, self.policy.auditors)
        )

    def _monitored(self) -> bool:
        """Whether a monitor of the policy read a log with the newest root in it, and these heads. One that read less
        may have stated the same heads of an older root, which came back under a newer date."""
        return any(
            (said.format, said.origin, said.heads) == (MONITOR, self.origin, self.newest.heads_root)
            and self.newest.index < said.size
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
        elif self.policy.quorum == NO_QUORUM:
            found.append(NO_WITNESS)
        if is_weak:
            found.append(f"{BY_NAME}: {', '.join(self.asked)}")
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
    "asked_forms",
    "read",
    "read_day_root",
    "sign",
    "verify",
]
