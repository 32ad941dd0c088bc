"""Vectors of notes, checkpoints, cosignatures and policies."""

from __future__ import annotations

import base64

from countenance_audit import checkpoint, merkle, note
from vector_parts import (
    HASHES,
    LOG,
    ORIGIN,
    OTHER_LOG,
    POLICY,
    TIME_S,
    WITNESS_A,
    WITNESS_B,
    Vector,
    bad,
    cosigned,
    good,
)


def note_vectors() -> list[Vector]:
    text = "Line one\n\nline three, é\n"
    signed = LOG.sign(text)
    key = str(LOG.verifier)
    line = note.signature_line(LOG.verifier, LOG.sign_bytes(text.encode()))
    unknown = note.signature_line(WITNESS_A.verifier, WITNESS_A.sign_bytes(text.encode()))

    def of(name: str, octets: bytes, signatures: int) -> Vector:
        return good("note", name, note=octets.hex(), key=key, text=text, signatures=signatures)

    def no(name: str, error: str, why: str, octets: bytes) -> Vector:
        return bad("note", name, error, why, note=octets.hex(), key=key)

    blob = bytes([1]) + LOG.verifier.public
    small = bytes(32)
    return [
        of("signed once", signed, 1),
        of("with a signature by an unknown key", signed + unknown.encode(), 2),
        of(
            "with an unknown signature type first",
            f"{text}\n— x.example {base64.b64encode(b'12345').decode()}\n{line}".encode(),
            2,
        ),
        no("another text", "Rejected", "the signature is for another text", signed.replace(b"one", b"two")),
        no("signed by another key", "Rejected", "the key id is another", OTHER_LOG.sign(text)),
        no("only unknown keys", "Rejected", "no line is by the key", f"{text}\n{unknown}".encode()),
        no(
            "one good and one bad line of the key",
            "Rejected",
            "a known key's line must verify",
            signed + note.signature_line(LOG.verifier, bytes(64)).encode(),
        ),
        no("no blank line", "Malformed", "text and signatures are not separated", f"{text[:9]}{line}".encode()),
        no("no signatures", "Malformed", "nothing follows the blank line", f"{text}\n".encode()),
        no("cut off", "Malformed", "the last newline is missing", signed[:-1]),
        no(
            "a hyphen for the em dash",
            "Malformed",
            "lines begin with U+2014",
            f"{text}\n{line.replace('—', '-')}".encode(),
        ),
        no("two spaces", "Malformed", "each part follows one space", f"{text}\n{line.replace(' ', '  ')}".encode()),
        no(
            "base64 without padding",
            "Malformed",
            "padding is required",
            f"{text}\n— x.example {base64.b64encode(b'1234567').decode().rstrip('=')}\n{line}".encode(),
        ),
        no(
            "base64 with other last bits",
            "Malformed",
            "it is not canonical",
            f"{text}\n— x.example MTIzNDV=\n{line}".encode(),
        ),
        no("a carriage return", "Malformed", "control characters are not allowed", signed.replace(b"\n", b"\r\n")),
        no(
            "a tab in the text",
            "Malformed",
            "control characters are not allowed",
            LOG.sign("a b\n").replace(b"a b", b"a\tb"),
        ),
        no("not UTF-8", "Malformed", "0xff is never UTF-8", signed.replace(b"one", b"\xff")),
        no("101 signatures", "Malformed", "100 are the most that are read", signed + unknown.encode() * 100),
        good(
            "key",
            "a log's key",
            key=key,
            key_name=ORIGIN,
            algorithm=1,
            key_id=LOG.verifier.key_id.hex(),
            public=LOG.verifier.public.hex(),
        ),
        good(
            "key",
            "a witness' key",
            key=str(WITNESS_A.witness),
            key_name=WITNESS_A.name,
            algorithm=4,
            key_id=WITNESS_A.witness.key_id.hex(),
            public=WITNESS_A.witness.public.hex(),
        ),
        bad(
            "key",
            "another key id",
            "Malformed",
            "it is not the hash of the key",
            key=f"{ORIGIN}+00000000+{base64.b64encode(blob).decode()}",
        ),
        bad("key", "another name", "Malformed", "the key id is for another name", key=key.replace("faces", "feces")),
        bad(
            "key",
            "an unknown type",
            "Malformed",
            "0x02 is not supported",
            key=f"{ORIGIN}+{note.key_id(ORIGIN, 2, blob[1:]).hex()}+{base64.b64encode(bytes([2]) + blob[1:]).decode()}",
        ),
        bad(
            "key",
            "a key of small order",
            "Malformed",
            "signatures that fit any text exist for it",
            key=f"{ORIGIN}+{note.key_id(ORIGIN, 1, small).hex()}+{base64.b64encode(bytes([1]) + small).decode()}",
        ),
        bad("key", "a space in the name", "Malformed", "names have none", key=key.replace("/", " ")),
    ]


def checkpoint_vectors() -> list[Vector]:
    key, witness = str(LOG.verifier), str(WITNESS_A.witness)
    root = base64.b64encode(merkle.root_of(HASHES)).decode()

    def of(name: str, found: checkpoint.Checkpoint) -> Vector:
        return good(
            "checkpoint",
            name,
            note=checkpoint.sign(found, LOG).hex(),
            key=key,
            origin=found.origin,
            size=found.size,
            root=found.root.hex(),
            extensions=list(found.extensions),
        )

    def no(name: str, why: str, text: str, error: str = "Malformed") -> Vector:
        return bad("checkpoint", name, error, why, note=LOG.sign(text).hex(), key=key)

    both = cosigned(3, (WITNESS_A, TIME_S), (WITNESS_B, TIME_S + 5))
    one = cosigned(3, (WITNESS_A, TIME_S))
    signed = cosigned(3)
    line = checkpoint.cosign(signed, WITNESS_A, TIME_S).encode()
    blob = base64.b64decode(line.split()[-1])
    moved = note.signature_line(WITNESS_A.witness, (TIME_S + 1).to_bytes(8, "big") + blob[12:]).encode()
    plain = note.signature_line(WITNESS_A.witness, WITNESS_A.sign_bytes(signed_text(signed))).encode()
    return [
        of("of three leaves", checkpoint.Checkpoint(ORIGIN, 3, merkle.root_of(HASHES))),
        of("of no leaves", checkpoint.Checkpoint(ORIGIN, 0, merkle.EMPTY_ROOT)),
        of("with an extension line", checkpoint.Checkpoint(ORIGIN, 3, merkle.root_of(HASHES), ("more",))),
        no("a leading zero", "sizes have none", f"{ORIGIN}\n03\n{root}\n"),
        no("a sign", "sizes have none", f"{ORIGIN}\n+3\n{root}\n"),
        no("a size beyond 2^63 - 1", "no tree is that large", f"{ORIGIN}\n{2**63}\n{root}\n"),
        no("digits that are not ASCII", "sizes are ASCII", f"{ORIGIN}\n\u0663\n{root}\n"),
        no("two lines", "the root is missing", f"{ORIGIN}\n3\n"),
        no("a short root", "it has 31 bytes", f"{ORIGIN}\n3\n{base64.b64encode(bytes(31)).decode()}\n"),
        no("an empty extension line", "lines are not empty", f"{ORIGIN}\n3\n{root}\n\n"),
        no("no leaves with a root", "the empty tree's root is SHA-256 of nothing", f"{ORIGIN}\n0\n{root}\n"),
        no("another origin", "the key signs for its own name", f"other.example/log\n3\n{root}\n", "Rejected"),
        good("cosignature", "by a witness", note=one.hex(), key=witness, time_s=TIME_S),
        good(
            "cosignature",
            "twice by a witness: the later time",
            note=(one + checkpoint.cosign(one, WITNESS_A, TIME_S + 9).encode()).hex(),
            key=witness,
            time_s=TIME_S + 9,
        ),
        bad("cosignature", "none", "Rejected", "there is no line by the witness", note=signed.hex(), key=witness),
        bad("cosignature", "another time", "Rejected", "the time is signed", note=(signed + moved).hex(), key=witness),
        bad(
            "cosignature",
            "a signature without time",
            "Rejected",
            "it has 64 bytes",
            note=(signed + plain).hex(),
            key=witness,
        ),
        bad("cosignature", "a log's key", "Rejected", "its type is 0x01", note=one.hex(), key=key),
        good(
            "policy",
            "quorum met",
            policy=POLICY,
            note=both.hex(),
            satisfied=True,
            witnesses={"a": TIME_S, "b": TIME_S + 5},
            missing=[],
        ),
        good(
            "policy",
            "quorum missed",
            policy=POLICY,
            note=one.hex(),
            satisfied=False,
            witnesses={"a": TIME_S},
            missing=["b"],
        ),
        bad(
            "policy",
            "another log of the same name",
            "Rejected",
            "its key is not in the policy",
            policy=POLICY,
            note=cosigned(3, by=OTHER_LOG).hex(),
        ),
        bad(
            "policy",
            "a log that is its own witness",
            "Malformed",
            "one key has one role",
            policy=f"log {LOG.verifier}\nwitness self {LOG.witness}\nquorum self\n",
            note=signed.hex(),
        ),
        bad(
            "policy",
            "no quorum line",
            "Malformed",
            "one is required",
            policy=f"log {LOG.verifier}\n",
            note=signed.hex(),
        ),
        bad(
            "policy",
            "a member before its line",
            "Malformed",
            "names are defined first",
            policy=f"log {LOG.verifier}\ngroup g any a\nwitness a {witness}\nquorum g\n",
            note=signed.hex(),
        ),
        bad(
            "policy",
            "a witness in two groups",
            "Malformed",
            "each name is a member once",
            policy=f"log {LOG.verifier}\nwitness a {witness}\ngroup g any a\ngroup h any a\nquorum g\n",
            note=signed.hex(),
        ),
        bad(
            "policy",
            "a threshold above the members",
            "Malformed",
            "2 of 1 cannot be",
            policy=f"log {LOG.verifier}\nwitness a {witness}\ngroup g 2 a\nquorum g\n",
            note=signed.hex(),
        ),
        bad(
            "policy",
            "none as a name",
            "Malformed",
            "it is predefined",
            policy=f"log {LOG.verifier}\nwitness none {witness}\nquorum none\n",
            note=signed.hex(),
        ),
        bad(
            "policy",
            "a log's key for a witness",
            "Malformed",
            "witnesses have keys of type 0x04",
            policy=f"log {LOG.verifier}\nwitness a {WITNESS_A.verifier}\nquorum a\n",
            note=signed.hex(),
        ),
    ]


def signed_text(signed: bytes) -> bytes:
    return note.SignedNote.parse(signed).text.encode()
