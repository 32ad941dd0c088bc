"""Vectors of canonical JSON and of leaves."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from countenance_audit import canonical, leaf, merkle
from vector_parts import (
    LOG,
    OPENING,
    ORIGIN,
    PLAIN,
    TIME_US,
    Vector,
    accounting,
    bad,
    fixed,
    good,
    person,
    sha,
)


def canonical_vectors() -> list[Vector]:
    def of(name: str, value: Any) -> Vector:
        octets = canonical.encode(value)
        return good("canonical", name, text=octets.decode(), bytes=octets.hex(), value=value)

    def no(name: str, why: str, octets: bytes) -> Vector:
        return bad("canonical", name, "Malformed", why, text=octets.decode(errors="replace")[:200], bytes=octets.hex())

    deepest: Any = 1
    for _ in range(canonical.MAX_DEPTH):
        deepest = [deepest]
    return [
        of("an empty object", {}),
        of("scalars", [None, True, False, 0, -1, "", "a"]),
        of("the largest and smallest integers", [canonical.MAX_INTEGER, -canonical.MAX_INTEGER]),
        of(
            "names sorted by UTF-16 code units",
            {"\ufb33": 1, "\U0001f600": 2, "\u20ac": 3, "\r": 4, "1": 5, "\u0080": 6},
        ),
        of("escapes", '\u0000\u0007\b\t\n\u000b\f\r\u001f"\\/\u007f\u2028é'),
        of("nested to the limit", deepest),
        no("a float", "it has a fraction", b"1.0"),
        no("an exponent", "exponents make floats", b"1e3"),
        no("minus zero", "its canonical form is 0", b"-0"),
        no("a leading zero", "JSON has none", b"01"),
        no("an integer too large", "it is 2^53", str(2**53).encode()),
        no("an integer too small", "it is -2^53", str(-(2**53)).encode()),
        no("a huge integer", "it has 5000 digits", b"9" * 5000),
        no("NaN", "it is not JSON", b"NaN"),
        no("a duplicate name", "a appears twice", b'{"a":1,"a":1}'),
        no("white space", "there is a space", b'{"a": 1}'),
        no("a final newline", "there is white space after the value", b"{}\n"),
        no("unsorted names", "b comes before a", b'{"b":1,"a":1}'),
        no(
            "names sorted by code points",
            "U+FB33 is larger than the first half of U+1F600 in UTF-16",
            '{"\ufb33":1,"\U0001f600":2}'.encode(),
        ),
        no("a needless escape", "A is written as itself", b'"\\u0041"'),
        no("an escaped solidus", "it is written as itself", b'"\\/"'),
        no("an upper-case escape", "hexadecimal in escapes is lower case", b'"\\u001F"'),
        no("a lone surrogate", "UTF-8 cannot express it", b'"\\ud800"'),
        no("a surrogate in UTF-8", "it is not UTF-8", b'"\xed\xa0\x80"'),
        no("not UTF-8", "0xff is never UTF-8", b'"\xff"'),
        no("a byte-order mark", "it is not part of JSON", b"\xef\xbb\xbf{}"),
        no("nested too deep", "the depth is 33", b"[" * 33 + b"1" + b"]" * 33),
        no("nested far too deep", "the depth is 20000", b"[" * 20_000),
        no("nothing", "there is no value", b""),
    ]


def leaf_vectors() -> list[Vector]:
    heartbeat = {"v": 1, "kind": "heartbeat", "time": TIME_US, "cosigned": None}
    start = {
        "v": 1,
        "kind": "start",
        "time": TIME_US,
        "origin": ORIGIN,
        "software": "0.1.0",
        "build": sha(b"build"),
        "settings": sha(b"settings"),
        "models": [{"name": "example-1", "sha256": sha(b"model")}],
        "clock": {"monotonic_us": 5, "synchronised": None},
    }
    public = [
        heartbeat,
        {**heartbeat, "cosigned": sha(b"checkpoint")},
        start,
        {"v": 1, "kind": "stop", "time": TIME_US, "reason": "asked to"},
        {"v": 1, "kind": "clock", "time": TIME_US, "step_us": -3_600_000_000},
        {"v": 1, "kind": "key", "time": TIME_US, "purpose": "log", "key": str(LOG.verifier), "reason": "first"},
        {"v": 1, "kind": "key", "time": TIME_US, "purpose": "log", "key": str(LOG.verifier), "reason": "retirement"},
        {"v": 1, "kind": "recovery", "time": TIME_US, "first": 7, "size": 40, "lost": 2, "reason": "the disk failed"},
        {"v": 1, "kind": "retention", "time": TIME_US, "class": "person", "ground": "Art. 17 GDPR", "count": 3},
        {"v": 1, "kind": "retention", "time": TIME_US, "class": "accounting", "ground": "past its floor", "count": 1},
        {
            "v": 1,
            "kind": "discontinuity",
            "time": TIME_US,
            "previous_origin": "faces.example/old",
            "previous_size": 7,
            "previous_root": sha(b"root"),
            "reason": "storage lost",
        },
    ]

    def of(name: str, octets: bytes) -> Vector:
        parsed = leaf.parse(octets)
        members: Vector = {"leaf": octets.hex(), "leaf_hash": merkle.leaf_hash(octets).hex()}
        if isinstance(parsed, leaf.Opaque):
            return good("leaf", name, **members, **{"class": "opaque"}, commitment=parsed.commitment.hex())
        return good("leaf", name, **members, **{"class": "public"}, content=parsed.content)

    def no(name: str, why: str, octets: bytes) -> Vector:
        return bad("leaf", name, "Malformed", why, leaf=octets.hex())

    def opens(name: str, opening: leaf.Opening) -> Vector:
        erased = canonical.encode(opening.without_person().to_json()).hex()
        return good(
            "opening", name, opening=canonical.encode(opening.to_json()).hex(), erased=erased, leaf=opening.leaf().hex()
        )

    def closed(name: str, why: str, error: str = "Malformed", **changes: Any) -> Vector:
        content = {**OPENING.to_json(), **changes}
        content = {member: value for member, value in content.items() if value is not ...}
        return bad("opening", name, error, why, opening=canonical.encode(content).hex(), leaf=OPENING.leaf().hex())

    lacking = accounting()
    del lacking["purpose"]
    salt, image = fixed("image salt"), hashlib.sha256(b"an image").digest()
    return [
        of("an opaque leaf", OPENING.leaf()),
        *(
            of(f"a public leaf: {content['kind']} {number}", leaf.public(content))
            for number, content in enumerate(public)
        ),
        no("no bytes", "there is no class", b""),
        no("an opaque leaf cut short", "it has 32 bytes", OPENING.leaf()[:-1]),
        no("an opaque leaf with more", "it has 34 bytes", OPENING.leaf() + b"\0"),
        no("an unknown class", "0x02 is none", b"\x02" + bytes(32)),
        no("a public leaf with a space", "it is not canonical", json.dumps(heartbeat, sort_keys=True).encode()),
        no("an unknown kind", "fees is no kind", canonical.encode({**heartbeat, "kind": "fees"})),
        no("a period root without its members", "it has none", canonical.encode({**heartbeat, "kind": "period-root"})),
        no("another version", "v is 2", canonical.encode({**heartbeat, "v": 2})),
        no("an unknown member", "heartbeats have no note", canonical.encode({**heartbeat, "note": ""})),
        no(
            "a member missing", "a heartbeat needs cosigned", canonical.encode({"v": 1, "kind": "heartbeat", "time": 1})
        ),
        no("a time that is true", "true is not an integer", canonical.encode({**heartbeat, "time": True})),
        no(
            "a hash in upper case",
            "hexadecimal is lower case",
            canonical.encode({**heartbeat, "cosigned": sha(b"checkpoint").upper()}),
        ),
        no(
            "a public leaf too long",
            "it has more than 65,535 bytes",
            canonical.encode({"v": 1, "kind": "stop", "time": 1, "reason": "x" * 65_536}),
        ),
        good(
            "section",
            "an accounting section",
            section="accounting",
            salt=fixed("accounting salt").hex(),
            content=accounting(),
            hash=leaf.section_hash("accounting", fixed("accounting salt"), accounting()).hex(),
        ),
        good(
            "section",
            "an empty person section",
            section="person",
            salt=fixed("person salt 2").hex(),
            content={},
            hash=leaf.section_hash("person", fixed("person salt 2"), {}).hex(),
        ),
        bad(
            "section",
            "a short salt",
            "Malformed",
            "it has 31 bytes",
            section="person",
            salt=bytes(31).hex(),
            content={},
        ),
        good(
            "image",
            "an image",
            salt=salt.hex(),
            sha256=image.hex(),
            commitment=leaf.image_commitment(salt, image).hex(),
        ),
        opens("an opening", OPENING),
        opens("an opening without persons", PLAIN),
        opens("an opening whose person section was erased", OPENING.without_person()),
        closed("another amount", "the leaf commits to another", "Rejected", accounting=accounting(amount=1)),
        closed("another salt", "the leaf commits to another", "Rejected", person_salt=fixed("x").hex()),
        closed("an unknown accounting member", "nothing may hide there", accounting=accounting(note="")),
        closed("an accounting member missing", "purpose is not there", accounting=lacking),
        closed("an account of 11 digits", "it has 12 or none", accounting=accounting(account="12345678901")),
        closed("a verifier named", "the protocol has no such field", accounting=accounting(verified_by="me")),
        closed(
            "a person member missing",
            "names is not there",
            person={name: value for name, value in person().items() if name != "names"},
        ),
        closed(
            "a wrong image commitment",
            "it is not that of salt and hash",
            person=person(images=[{**person()["images"][0], "commitment": sha(b"x")}]),
        ),
        closed("person and its hash", "it is one or the other", person_hash=sha(b"x")),
        closed("neither person nor its hash", "it is one or the other", person=..., person_salt=...),
        closed("person null", "an erased section is left out", person=None),
        closed("a version that is true", "v is the integer 1", v=True),
    ]
