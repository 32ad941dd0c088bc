"""A log in a folder, which can be copied, put back to an earlier state, and read as a mirror reads it."""

from __future__ import annotations

import shutil
import time
from hashlib import sha256
from pathlib import Path

from countenance_audit.policy import TrustPolicy
from countenance_audit.tiles import TILE_WIDTH, encode_bundle, parse_path

from countenance.ledger import Log, Opaque, Public, accounting, person
from countenance.ledger.history import HIGH_WATER
from countenance.store import Keyring, SqliteDatabase

NOW_S = 1_790_000_000
_STARTED_US = time.monotonic_ns() // 1000
ACCOUNT = "123456789012"


def call(number: int, *, units: int = 0) -> Opaque:
    said = accounting(
        kind="call", time=NOW_S * 10**6, operation="DetectFaces", request_id=f"r{number}", account=ACCOUNT, units=units
    )
    return Opaque(
        said | {"request": "00" * 32, "response": "11" * 32},
        person(images=[sha256(b"%d" % number).digest()]),
        usage=(ACCOUNT, "group1", "2026-09", units) if units else None,
    )


def _now_us() -> int:
    """A clock that runs with the monotonic one: one that stood still would be found to have stepped."""
    return NOW_S * 10**6 + time.monotonic_ns() // 1000 - _STARTED_US


class Opened:
    """A log that is opened as often as a test wants."""

    def __init__(self, folder: Path, origin: str | None = "log.example/unit") -> None:
        self.folder = folder
        self.origin = origin
        folder.mkdir(exist_ok=True)
        self.open()

    def open(self) -> Log:
        self.keyring = Keyring.open(self.folder / "master.key", create=True)
        self.database = SqliteDatabase(self.folder / "countenance.db")
        try:
            self.log = Log(self.database, self.keyring, self.folder, origin=self.origin, now_us=_now_us)
        except BaseException:
            self.database.close()
            raise
        return self.log

    def again(self) -> Log:
        self.database.close()
        return self.open()

    def grow(self, count: int) -> Log:
        """More calls, under a checkpoint."""
        for number in range(count):
            self.log.append(call(self.log.size + number))
        self.log.publish()
        return self.log

    def grow_in_clear(self, count: int, reason: str = "x") -> Log:
        """More public leaves, under a checkpoint."""
        for _ in range(count):
            self.log.append(Public({"kind": "stop", "reason": reason}))
        self.log.publish()
        return self.log

    def keep(self) -> None:
        """Copy the database as it is now."""
        self.database.close()
        shutil.copy(self.folder / "countenance.db", self.folder / "older.db")
        self.open()

    def put_back(self, *, unseen: bool = False) -> None:
        """Put the copy in the database's place, which is kept as newer.db; `unseen` removes the high-water file."""
        self.database.close()
        (self.folder / "countenance.db").rename(self.folder / "newer.db")
        shutil.copy(self.folder / "older.db", self.folder / "countenance.db")
        if unseen:
            (self.folder / HIGH_WATER).unlink()

    def policy(self) -> TrustPolicy:
        return TrustPolicy.parse(f"log {self.log.signer.verifier}\nquorum none\n")

    def fetch(self, path: str) -> bytes:
        """As `/log/` serves it."""
        if path == "checkpoint":
            return self.log.checkpoint()[1]
        wanted = parse_path(path)
        if wanted.level is not None:
            return self.log.tile(wanted.level, wanted.index, wanted.width) or b""
        start = wanted.index * TILE_WIDTH
        return encode_bundle(self.log.leaves(start, start + wanted.width) or [])
