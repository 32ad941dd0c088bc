"""A dishonest operator: our own log, with one thing changed, and what he lets outsiders see of it.

What detects him is another process, `countenance-audit`, which has these files and a trust policy and none of the
server's code or database.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from countenance_audit import receipt as receipts
from countenance_audit.checkpoint import cosign
from countenance_audit.leaf import Opening
from countenance_audit.monitor import map_path
from countenance_audit.note import Signer
from countenance_audit.tiles import TILE_WIDTH, encode_bundle, entries_path, tile_path
from countenance_audit.usage import days_from

from countenance.ledger import Ledger, Log, Opaque, Public, Recorded, accounting, person
from countenance.ledger.periods import Periods
from countenance.store import Keyring, SqliteDatabase

ORIGIN = "log.example/cheat"
WITNESSES = {name: Signer(f"witness.example/{name}", sha256(name.encode()).digest()) for name in ("a", "b")}
ACCOUNT = "123456789012"
DAY_US = 86_400_000_000


@dataclass
class Operator:
    """One instance of the server's ledger."""

    folder: Path
    now: int = 1_700_000_000_000_000
    keys: Path | None = None
    """Where the master key and the first database come from, for a second instance."""
    log: Log = field(init=False)
    periods: Periods = field(init=False)
    late: dict[str, list[tuple[str, str, str]]] = field(default_factory=dict)
    """Account -> who is known by now to have stood behind it, on every day."""

    def __post_init__(self) -> None:
        self.folder.mkdir(exist_ok=True)
        keyring = Keyring.open(self.folder / "master.key", create=not (self.folder / "master.key").exists())
        self.database = SqliteDatabase(self.folder / "countenance.db")
        self.log = Log(self.database, keyring, self.folder, origin=ORIGIN, now_us=lambda: self.now)
        self.periods = Periods(self.log, self.database, keyring, behind=lambda account, day: self.behind(account, day))
        self.periods.begin()
        self.ledger = Ledger(self.log)

    def close(self) -> None:
        self.database.close()

    def behind(self, account: str, day: str) -> list[tuple[str, str, str]]:
        """What standing would say."""
        return self.late.get(account, [])

    def next_day(self) -> None:
        """A heartbeat of the next day: the one before can be closed."""
        self.now = (self.now // DAY_US + 1) * DAY_US + 1_000_000
        self.log.append(Public({"kind": "heartbeat", "cosigned": None}))
        self.periods.close_due()

    def call(self, number: int, **said: Any) -> Recorded:
        """Answers a call whose bodies are `request NUMBER` and `response NUMBER`."""
        self.now += 1_000_000
        entry = accounting(
            kind="call",
            time=self.now,
            operation="SearchFacesByImage",
            request_id=f"call-{number}",
            account=ACCOUNT,
            access_key="AKCNVICTIM",
            request=sha256(b"request %d" % number).hexdigest(),
            response=sha256(b"response %d" % number).hexdigest(),
        )
        return self.ledger.record(Opaque(entry | said, person(images=[sha256(b"image").digest()])))

    def answer(self, recorded: Recorded, opening: Opening | None = None) -> dict[str, Any]:
        """What `GET /receipts/ID` says."""
        size, note = self.log.publish()
        index = recorded.place.index
        shown = opening or self.log.opening(index)
        assert shown is not None
        proof = self.log.inclusion(index, size) if index < size else []
        return {
            "index": index,
            "opening": shown.to_json(),
            "proof": [each.hex() for each in proof],
            "checkpoint": note.decode(),
        }

    def show(self, folder: Path, *, cosigned_at: int | None = None) -> bytes:
        """Publishes the log as files in the layout of `/log/`; returns the checkpoint."""
        size, note = self.log.publish()
        if cosigned_at is not None:
            for each in WITNESSES.values():
                note += cosign(note, each, cosigned_at).encode()
        files = {"checkpoint": note}
        for level in range(3):
            count = size >> (8 * level)
            for n in range(-(-count // TILE_WIDTH)):
                width = min(TILE_WIDTH, count - n * TILE_WIDTH)
                files[tile_path(level, n, width)] = self.log.tile(level, n, width) or b""
        for n in range(-(-size // TILE_WIDTH)):
            width = min(TILE_WIDTH, size - n * TILE_WIDTH)
            files[entries_path(n, width)] = encode_bundle(self.log.leaves(n * TILE_WIDTH, n * TILE_WIDTH + width) or [])
        for each in self.periods.roots:
            made = self.periods.rows.file_of(each.day, each.revision)
            if made is not None:
                files[map_path(each.day, each.revision)] = made
        for name, content in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        return note

    def policy(self, path: Path, *, witnessed: bool = False) -> Path:
        """The relying party's own policy: this log's key, and witnesses he chose."""
        lines = [f"log {self.log.signer.verifier}"]
        if witnessed:
            lines += [f"witness {name} {each.witness}" for name, each in WITNESSES.items()]
            lines += ["group both all a b", "quorum both"]
        else:
            lines.append("quorum none")
        path.write_text("\n".join(lines) + "\n")
        return path


def coverage(periods: Periods, first: str, last: str) -> dict[str, Any]:
    """What a certificate about these days states besides."""
    units = sum(periods.root_of(day).units for day in days_from(first, last))
    named = ("units_of_the_owner", "units_of_undeclared_accounts", "units_of_parties_not_verified")
    return {"origins": [periods.log.origin], "units": units, "gaps": [], **dict.fromkeys(named, 0)}


def audit(*words: object) -> tuple[int, dict[str, Any]]:
    """The auditor's program in a process of its own: exit status and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "countenance_audit", *map(str, words), "--json"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.stdout, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, said


def kept(folder: Path, recorded: Recorded, number: int, answer: dict[str, Any] | None = None) -> list[object]:
    """What the holder of a receipt has: its text, the bodies of his call, and the server's answer about it."""
    files: dict[str, bytes] = {
        "receipt": recorded.receipt.encode(),
        "request": b"request %d" % number,
        "response": b"response %d" % number,
    }
    if answer is not None:
        files["answer"] = json.dumps(answer).encode()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    more: list[object] = ["--opening", folder / "answer"] if answer is not None else []
    return [folder / "receipt", "--request", folder / "request", "--response", folder / "response", *more]


__all__ = ["ACCOUNT", "DAY_US", "ORIGIN", "WITNESSES", "Operator", "audit", "coverage", "kept", "receipts"]
