"""What the tests of the audit package are made of: keys, entries, and a log that is served from memory."""

from __future__ import annotations

import hashlib
from typing import Any

from countenance_audit import checkpoint, leaf, merkle, tiles
from countenance_audit.errors import Unavailable
from countenance_audit.note import Signer

ORIGIN = "faces.example/log"
LOG = Signer(ORIGIN, b"l" * 32)
WITNESSES = [Signer(f"witness.example/{number}", bytes([number]) * 32) for number in range(1, 4)]
POLICY = (
    f"log {LOG.verifier}\n"
    + "".join(f"witness w{number} {signer.witness}\n" for number, signer in enumerate(WITNESSES, start=1))
    + "group most 2 w1 w2 w3\nquorum most\n"
)
REQUEST, RESPONSE = b"{}", b'{"a":1}'
TIME_US = 1_790_000_000_000_000


def sha(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


def accounting(**changes: Any) -> dict[str, Any]:
    return {
        "kind": "call",
        "time": TIME_US - 5,
        "end": TIME_US,
        "account": "123456789012",
        "access_key": "AKIA",
        "holder": "",
        "party": [{"role": "customer", "scheme": "domain", "value": "example.com"}],
        "purpose": "access",
        "operation": "CompareFaces",
        "request_id": "r-1",
        "code": "OK",
        "status": 200,
        "units": 1,
        "amount": -5,
        "currency": "USD",
        "price": "1",
        "request": sha(REQUEST),
        "response": sha(RESPONSE),
        "reference_database": None,
        "verified_by": None,
        "decision": None,
        "details": {},
        "count": 1,
        **changes,
    }


def person() -> dict[str, Any]:
    return {"images": [], "face_ids": ["f"], "external_image_ids": [], "names": ["Ada Lovelace"]}


def heartbeat(time_us: int) -> bytes:
    return leaf.public({"v": 1, "kind": "heartbeat", "time": time_us, "cosigned": None})


class Server:
    """A log in memory, served as tiles; `files` may be tampered with."""

    def __init__(self, leaves: list[bytes], signer: Signer = LOG) -> None:
        self.leaves = leaves
        self.hashes = [merkle.leaf_hash(item) for item in leaves]
        self.files: dict[str, bytes] = {}
        self.fetched: list[str] = []
        for tile in tiles.tiles_of(len(leaves)):
            self.files[tile.path] = self._content(tile)
        root = merkle.root_of(self.hashes)
        self.files["checkpoint"] = checkpoint.sign(checkpoint.Checkpoint(signer.name, len(leaves), root), signer)

    def cosign(self, time_s: int, *witnesses: Signer) -> None:
        for signer in witnesses or WITNESSES[:2]:
            note = self.files["checkpoint"]
            self.files["checkpoint"] = note + checkpoint.cosign(note, signer, time_s).encode()

    def fetch(self, path: str) -> bytes:
        self.fetched.append(path)
        if path not in self.files:
            raise Unavailable(f"no {path}")
        return self.files[path]

    def _content(self, tile: tiles.Tile) -> bytes:
        first = tile.index * 256
        if tile.level is None:
            return tiles.encode_bundle(self.leaves[first : first + tile.width])
        span = 256**tile.level
        return b"".join(
            merkle.root_of(self.hashes[at * span : (at + 1) * span]) for at in range(first, first + tile.width)
        )
