"""Vectors of VRF proofs, maps of days, certificates and bundles."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from countenance_audit import canonical, certificate, checkpoint, forms, leaf, merkle, periodmap, usage, vrf
from countenance_audit.evidence import Builder
from countenance_audit.limits import UNDETECTABLE
from countenance_audit.monitor import AUDIT, MONITOR, Statement
from countenance_audit.note import Signer
from countenance_audit.periodmap import PeriodMap
from countenance_audit.periods import Head, head_proof, heads_tree
from vector_parts import LOG, ORIGIN, OTHER_LOG, POLICY, WITNESS_A, WITNESS_B, Vector, accounting, bad, fixed, good, sha

DAY = "2026-09-22"
START = usage.start_of(DAY)
LEI = "529900T8BM49AURSDO55"
STRANGER = "5493001KJTIIGC8Y1R12"
SECRET = vrf.Secret(fixed("map key"))
OTHER_SECRET = vrf.Secret(fixed("another map key"))
AUDITOR = Signer("auditor.example", fixed("auditor"))
MONITORING = Signer("monitor.example", fixed("monitor"))
RFC_9381_B3 = [  # appendix B.3, examples 16 to 18: SK, alpha
    ("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", ""),
    ("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb", "72"),
    ("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7", "af82"),
]
ORDER = 2**252 + 27742317777372353535851937790883648493  # of the group, RFC 8032 section 5.1


def vrf_vectors() -> list[Vector]:
    def of(name: str, secret: vrf.Secret, alpha: bytes) -> Vector:
        proof = secret.prove(alpha)
        return good(
            "vrf",
            name,
            key=secret.public.hex(),
            alpha=alpha.hex(),
            proof=proof.hex(),
            output=vrf.verify(secret.public, alpha, proof).hex(),
        )

    rfc = [
        of(f"RFC 9381, example {16 + number}", vrf.Secret(bytes.fromhex(seed)), bytes.fromhex(alpha))
        for number, (seed, alpha) in enumerate(RFC_9381_B3)
    ]
    alpha = periodmap.alpha(ORIGIN, DAY, "lei", LEI)
    proof = SECRET.prove(alpha)
    scalar = int.from_bytes(proof[48:], "little")

    def no(
        name: str, error: str, why: str, *, key: bytes = SECRET.public, about: bytes = alpha, shown: bytes
    ) -> Vector:
        return bad("vrf", name, error, why, key=key.hex(), alpha=about.hex(), proof=shown.hex())

    return [
        *rfc,
        of("a key of a map", SECRET, alpha),
        no("another input", "Rejected", "it is about another identifier", about=alpha + b"x", shown=proof),
        no(
            "another key",
            "Rejected",
            "another key made it",
            key=vrf.Secret(fixed("another map key")).public,
            shown=proof,
        ),
        no("a changed challenge", "Rejected", "c differs", shown=proof[:32] + bytes(16) + proof[48:]),
        no(
            "a scalar beyond the order",
            "Malformed",
            "s is not below the order, so one proof had two forms",
            shown=proof[:48] + (scalar + ORDER).to_bytes(32, "little"),
        ),
        no("a point of small order", "Malformed", "Gamma is the identity", shown=b"\x01" + bytes(31) + proof[32:]),
        no("a key of small order", "Malformed", "the key is the identity", key=b"\x01" + bytes(31), shown=proof),
        no(
            "a key that is not canonical",
            "Malformed",
            "y is not below p",
            key=(2**255 - 18).to_bytes(32, "little"),
            shown=proof,
        ),
        no("a proof cut short", "Malformed", "it has 79 bytes", shown=proof[:-1]),
    ]


def _key(scheme: str, value: str) -> bytes:
    return periodmap.key_of(SECRET.output(periodmap.alpha(ORIGIN, DAY, scheme, value)))


class Books:
    """A log of one day with two calls of one account, and the day's map."""

    def __init__(self) -> None:
        self.leaves: list[bytes] = []
        self.openings: dict[int, leaf.Opening] = {}
        self._say(kind="vrf-key", time=START, day=DAY, key=SECRET.public.hex(), reason="first")
        for number in (1, 2):
            said = accounting(
                request_id=f"00000000-0000-4000-8000-00000000000{number}",
                time=START + number * 1_000_000,
                end=START + number * 1_000_000 + 41_000,
                party=[
                    {"role": "party", "scheme": "lei", "value": LEI},
                    {"role": "party", "scheme": "name", "value": "Acme B.V."},
                ],
            )
            opening = leaf.Opening(said, fixed(f"accounting salt {number}"), {}, fixed(f"person salt {number}"))
            self.openings[len(self.leaves)] = opening.without_person()
            self.leaves.append(opening.leaf())
        self._say(kind="heartbeat", time=START + usage.DAY_US, cosigned=None)
        self.end = len(self.leaves) - 1
        rows = [usage.row(index, each.accounting) for index, each in self.openings.items()]
        self.used, self.totals = usage.tally([each for each in rows if each is not None], [], DAY)
        self.salts = {each: fixed(f"usage salt {each}") for each in self.used}
        self.map = PeriodMap.of({_key(*each): one.commitment(self.salts[each]) for each, one in self.used.items()})
        said = {
            "day": DAY,
            "revision": 0,
            "size": self.map.size,
            "root": self.map.root.hex(),
            "vrf_key": SECRET.public.hex(),
            "first": 0,
            "end": self.end,
            "known": len(self.leaves),
            "calls": self.totals.calls,
            "units": self.totals.units,
            "amount": self.totals.amount,
            "currency": self.totals.currency,
        }
        self.heads = [Head.of(len(self.leaves), said)]
        self.root_at = len(self.leaves)
        heads = {"first": DAY, "count": 1, "root": heads_tree(self.heads).hex()}
        root = {"kind": "period-root", "time": START + usage.DAY_US + 1, "reason": "day-end", "heads": heads, **said}
        self._say(**root, previous=None)
        # The same map again, under a key of a map in which nobody is found: not a root of this log's one chain.
        self._say(**{**root, "vrf_key": OTHER_SECRET.public.hex()}, previous=self.root_at)
        self.size = len(self.leaves)
        self.hashes = [merkle.leaf_hash(each) for each in self.leaves]
        note = checkpoint.sign(checkpoint.Checkpoint(ORIGIN, self.size, merkle.root_of(self.hashes)), LOG)
        at_s = (START + usage.DAY_US) // 1_000_000 + 60
        for each in (WITNESS_A, WITNESS_B):
            note += checkpoint.cosign(note, each, at_s).encode()
        self.note = note

    def _say(self, **content: Any) -> None:
        self.leaves.append(leaf.public({"v": 1, **content}))

    def _subtree(self, level: int, index: int) -> bytes:
        return merkle.root_of(self.hashes[index << level : (index + 1) << level])

    def inclusion(self, index: int) -> list[bytes]:
        return merkle.inclusion_proof(index, self.size, self._subtree)

    def entry(self, index: int) -> dict[str, Any]:
        return {
            "index": index,
            "leaf": self.leaves[index].decode(),
            "proof": [each.hex() for each in self.inclusion(index)],
        }

    def statement(self, form: str, signer: Signer) -> str:
        root = merkle.root_of(self.hashes).hex()
        of_root = merkle.leaf_hash(self.leaves[self.root_at]).hex()
        heads, revision = (of_root, 0) if form == AUDIT else (heads_tree(self.heads).hex(), -1)
        at = START + usage.DAY_US + 120_000_000
        return Statement(form, ORIGIN, self.size, root, DAY, DAY, heads, revision, at).sign(signer).decode()

    def certificate(
        self, scheme: str, value: str, *, by: Signer = LOG, change: Callable[[dict[str, Any]], None] = lambda said: None
    ) -> bytes:
        asked = forms.of(scheme, value)
        content: dict[str, Any] = {
            "v": 1,
            "format": certificate.FORMAT,
            "identifier": {"scheme": scheme, "value": value},
            "asked": list(asked),
            "from": DAY,
            "until": DAY,
            "origin": ORIGIN,
            "issued": START + usage.DAY_US + 180_000_000,
            "request": "00000000-0000-4000-8000-0000000000aa",
            "requester": "a court",
            "checkpoint": self.note.decode(),
            "newest": self.entry(self.root_at),
            "days": [
                {
                    **self.entry(self.root_at),
                    "head": [each.hex() for each in head_proof(self.heads, DAY)],
                    "lookups": [self._lookup((scheme, each)) for each in asked],
                    "statements": [self.statement(AUDIT, AUDITOR)],
                }
            ],
            "monitors": [self.statement(MONITOR, MONITORING)],
            "coverage": {
                "origins": [ORIGIN],
                "units": self.totals.units,
                "units_of_the_owner": 0,
                "units_of_undeclared_accounts": 0,
                "units_of_parties_not_verified": self.totals.units,
                "gaps": [],
            },
            "limits": list(UNDETECTABLE),
        }
        change(content)
        return certificate.sign(content, by)

    def _lookup(self, asked: usage.Identifier) -> dict[str, Any]:
        used = self.used.get(asked)
        return {
            "vrf": SECRET.prove(periodmap.alpha(ORIGIN, DAY, *asked)).hex(),
            "places": [each.to_json() for each in self.map.find(_key(*asked))],
            "salt": None if used is None else self.salts[asked].hex(),
            "usage": None if used is None else used.to_json(),
        }

    def bundle(self, *, omit: bool = False, changed: bool = False) -> bytes:
        openings = dict(self.openings)
        if omit:
            del openings[max(openings)]
        if changed:
            first = openings[min(openings)]
            openings[min(openings)] = leaf.Opening.from_json(
                {**first.to_json(), "accounting": {**first.accounting, "units": 0}}
            )
        proof = merkle.consistency_proof(self.end, self.size, self._subtree)
        return Builder(
            head={
                "v": 1,
                "origin": ORIGIN,
                "from": DAY,
                "until": DAY,
                "made": START + usage.DAY_US + 180_000_000,
                "identifiers": [{"scheme": "lei", "value": each} for each in (LEI, STRANGER)],
            },
            place={
                "checkpoint": self.note.decode(),
                "first": 0,
                "end": self.end,
                "peaks": [],
                "consistency": [each.hex() for each in proof],
            },
            leaves=self.leaves[: self.end],
            entries=sorted(openings.items()),
            public=[(0, self.leaves[0], self.inclusion(0))],
            certificates=[self.certificate("lei", each) for each in (LEI, STRANGER)],
        ).write()


BOOKS = Books()
ONLY_OTHERS = POLICY + f"auditor auditor {Signer('auditor.example', fixed('another auditor')).verifier}\n"
AUDITED_POLICY = POLICY + f"auditor auditor {AUDITOR.verifier}\nmonitor monitor {MONITORING.verifier}\n"
AT = START + 2 * usage.DAY_US


def map_vectors() -> list[Vector]:
    def made(count: int) -> PeriodMap:
        return PeriodMap.of({fixed(f"key {each}"): fixed(f"value {each}") for each in range(count)})

    def of(name: str, found: PeriodMap) -> Vector:
        return good("map", name, leaves=found.leaves.hex(), size=found.size, root=found.root.hex())

    def no(name: str, why: str, leaves: bytes, error: str = "Rejected") -> Vector:
        return bad("map", name, error, why, leaves=leaves.hex())

    def shown(kind: str, key: bytes, places: Any, found: PeriodMap, **more: Any) -> dict[str, Any]:
        return {
            "key": key.hex(),
            "places": [each.to_json() for each in places],
            "size": found.size,
            "root": found.root.hex(),
            **more,
        }

    five, leaves = made(5), made(5).leaves
    parts = [leaves[at : at + 64] for at in range(0, len(leaves), 64)]
    absent, there = fixed("nobody"), five.key(3)
    asked = ("lei", LEI)
    used = BOOKS.used[asked]
    of_used = {"salt": BOOKS.salts[asked].hex(), "usage": used.to_json()}
    around = five.place(2), five.place(4)
    present = BOOKS.map.find(_key(*asked))
    return [
        good(
            "map-key",
            "five fields, each after its length",
            origin=ORIGIN,
            day=DAY,
            scheme="lei",
            identifier=LEI,
            alpha=periodmap.alpha(ORIGIN, DAY, "lei", LEI).hex(),
        ),
        good("usage", "a usage with its salt", **of_used, value=used.commitment(BOOKS.salts[asked]).hex()),
        bad(
            "usage",
            "no call",
            "Malformed",
            "nobody used nothing",
            salt=of_used["salt"],
            usage={**used.to_json(), "calls": 0},
        ),
        of("a day without use", made(0)),
        of("one identifier", made(1)),
        of("five identifiers", five),
        no("two leaves in the wrong order", "it is not sorted", b"".join([parts[0], parts[2], parts[1], *parts[3:]])),
        no("a key twice", "keys are not strictly sorted", b"".join([parts[0], parts[1], parts[1], *parts[2:]])),
        no("without the first sentinel", "the lowest key has no neighbour", b"".join(parts[1:])),
        no("without the last sentinel", "the highest key has no neighbour", b"".join(parts[:-1])),
        no("a sentinel with a value", "sentinels have none", parts[0][:32] + fixed("v") + b"".join(parts[1:])),
        no("half a leaf", "leaves have 64 octets", leaves[:-32], "Malformed"),
        good("absence", "between two neighbours", **shown("absence", absent, five.find(absent), five)),
        good(
            "absence",
            "below every key",
            **shown("absence", bytes(31) + b"\x01", five.find(bytes(31) + b"\x01"), five),
        ),
        bad(
            "absence",
            "leaves that are no neighbours",
            "Rejected",
            "the key is between them, and in the map",
            **shown("absence", there, around, five),
        ),
        bad(
            "absence",
            "another map's root",
            "Rejected",
            "the proof leads elsewhere",
            **shown("absence", absent, five.find(absent), five) | {"root": made(6).root.hex()},
        ),
        good("presence", "a leaf and what it hides", **shown("presence", _key(*asked), present, BOOKS.map, **of_used)),
        bad(
            "presence",
            "another usage",
            "Rejected",
            "the value commits to other units",
            **shown("presence", _key(*asked), present, BOOKS.map, **of_used)
            | {"usage": {**used.to_json(), "units": used.units + 1}},
        ),
        bad(
            "presence",
            "another key",
            "Rejected",
            "the leaf is somebody else's",
            **shown("presence", absent, present, BOOKS.map, **of_used),
        ),
    ]


def certificate_vectors() -> list[Vector]:
    def of(name: str, made: bytes, policy: str = AUDITED_POLICY, at: int = AT, **results: Any) -> Vector:
        return good("certificate", name, certificate=made.decode(), policy=policy, at=at, **results)

    def no(
        name: str, why: str, made: bytes, error: str = "Rejected", at: int = AT, policy: str = AUDITED_POLICY
    ) -> Vector:
        return bad("certificate", name, error, why, certificate=made.decode(), policy=policy, at=at)

    def forge(change: Callable[[dict[str, Any]], None], value: str = LEI) -> bytes:
        return BOOKS.certificate("lei", value, change=change)

    def elsewhere(said: dict[str, Any]) -> None:
        shown = said["days"][0]["lookups"][0]
        shown["places"] = [each.to_json() for each in BOOKS.map.find(_key("lei", STRANGER))]
        shown["usage"] = shown["salt"] = None

    def less(said: dict[str, Any]) -> None:
        said["days"][0]["lookups"][0]["usage"]["units"] -= 1

    def another_key(said: dict[str, Any]) -> None:
        alpha = periodmap.alpha(ORIGIN, DAY, "lei", LEI)
        key = periodmap.key_of(OTHER_SECRET.output(alpha))
        said["newest"] = BOOKS.entry(BOOKS.root_at + 1)
        said["days"][0] |= BOOKS.entry(BOOKS.root_at + 1)
        places = [each.to_json() for each in BOOKS.map.find(key)]
        vrf_proof = OTHER_SECRET.prove(alpha).hex()
        said["days"][0]["lookups"] = [{"vrf": vrf_proof, "places": places, "salt": None, "usage": None}]

    def no_limits(said: dict[str, Any]) -> None:
        said["limits"] = ["copied-gallery"]

    def another_sum(said: dict[str, Any]) -> None:
        said["coverage"]["units"] = 0

    def one_form(said: dict[str, Any]) -> None:
        said["days"][0]["lookups"].pop()

    def no_head(said: dict[str, Any]) -> None:
        said["days"][0]["head"] = [sha(b"head")]

    stranger, user = (BOOKS.certificate("lei", each) for each in (STRANGER, LEI))
    absence = {"absence": True, "weak": False, "calls": 0, "units": 0}
    use = {"absence": False, "weak": False, "calls": 2, "units": 2}
    signed = canonical.decode(user)
    return [
        of("non-use, audited", stranger, grade="audited", monitored=True, **absence),
        of("use, audited", user, grade="audited", monitored=True, **use),
        of("nobody of the policy audited it", user, POLICY, grade="asserted", monitored=False, **use),
        of("another's audit counts for nothing", stranger, ONLY_OTHERS, grade="asserted", monitored=False, **absence),
        of(
            "by name, in another spelling",
            BOOKS.certificate("name", "ACME BV"),
            grade="audited",
            monitored=True,
            **use | {"weak": True},
        ),
        no("somebody else's neighbours", "the VRF gives another key", forge(elsewhere)),
        no("a smaller usage", "the value hides another", forge(less)),
        no("not among the heads", "nothing shows that it is the latest revision", forge(no_head)),
        no("another map key", "the root of the same map under another VRF key is no head", forge(another_key)),
        no("less than all limits", "it does not quote what nobody can detect", forge(no_limits)),
        no("another sum", "the stated sum of units is not that of the roots", forge(another_sum)),
        no(
            "not all forms of a name",
            "a form of the name is not looked for",
            BOOKS.certificate("name", "ACME BV", change=one_form),
        ),
        no("from the future", "what it knows is yet to come", user, at=START + usage.DAY_US - 600_000_000),
        no("another log's key", "the policy does not name it", BOOKS.certificate("lei", LEI, by=OTHER_LOG)),
        no("nine days old", "its knowledge is older than 7 days", user, at=AT + 9 * usage.DAY_US),
        no(
            "a changed requester",
            "the signature is over another text",
            canonical.encode({**signed, "certificate": {**signed["certificate"], "requester": "nobody"}}),
        ),
        no("a space", "it is not canonical", json.dumps(signed, sort_keys=True).encode(), "Malformed"),
    ]


def evidence_vectors() -> list[Vector]:
    def no(name: str, why: str, made: bytes, error: str = "Rejected") -> Vector:
        return bad("evidence", name, error, why, bundle=made.hex(), policy=AUDITED_POLICY, at=AT)

    made = BOOKS.bundle()
    return [
        good("evidence", "a user and a stranger", bundle=made.hex(), policy=AUDITED_POLICY, at=AT, entries=2, leaves=3),
        no("a call is left out", "the entries do not add up to the map", BOOKS.bundle(omit=True)),
        no("a call is changed", "the opening is not of its leaf", BOOKS.bundle(changed=True)),
        no("an octet is changed", "a member has another hash", made[:-1] + bytes([made[-1] ^ 1])),
        no("an octet more", "it belongs to no member", made + b"\n", "Malformed"),
    ]
