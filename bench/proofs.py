"""What proofs of use and non-use cost: the map of a day, a certificate, and a bundle that somebody checks offline."""

from __future__ import annotations

import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from countenance_audit import certificate, evidence, usage
from countenance_audit.merkle import leaf_hash
from countenance_audit.periodmap import alpha
from countenance_audit.policy import TrustPolicy
from countenance_audit.vrf import Secret
from nacl.signing import SigningKey

from bench import Section
from countenance.ledger import Log, Opaque, Public, accounting
from countenance.ledger.periods import Periods
from countenance.ledger.periods.bundling import bundle
from countenance.ledger.periods.proving import certify
from countenance.store import Keyring, SqliteDatabase

ORIGIN = "log.example/bench"
KEYS, QUICK_KEYS = 100_000, 5_000
ENTRIES, QUICK_ENTRIES = 100_000, 5_000
DAYS = 31
IDENTIFIERS_OF_AN_ACCOUNT = 5
"""The account itself, its number in a register, its domain, and its name with and without its legal form."""
THREADS = 64
CERTIFICATES = 100
SIGNATURES = 2_000
MAP_S = 120.0
CERTIFICATE_MS = 50.0
BUNDLE_S = 30.0
NOON = usage.start_of("2026-03-01") + usage.DAY_US // 2
USER, STRANGER = ("domain", "user.example"), ("domain", "stranger.example")


def run(quick: bool) -> Section:
    """The whole section."""
    section = Section("proofs", "Proofs of use and non-use")
    keys, entries = (QUICK_KEYS, QUICK_ENTRIES) if quick else (KEYS, ENTRIES)
    section.notes += [
        f"the map: of a day with one call of each of {keys // IDENTIFIERS_OF_AN_ACCOUNT:,} accounts, each with "
        f"{IDENTIFIERS_OF_AN_ACCOUNT} identifiers; from the openings in the database to the committed period root",
        "a certificate: made from the log and its maps, of non-use by somebody who is in none; verified by "
        "`countenance_audit` in this process",
        f"the bundle: about one party with {entries:,} calls on one day, every call opened, beside certificates of its "
        "use and of another's non-use; verified by `countenance_audit` in this process, from the octets of the file",
        "the peer is Ed25519 in libsodium, which the VRF computes with, too: verifications by PyNaCl in the same run",
    ]
    signature_s = _signature_s()
    section.add("an Ed25519 verification, PyNaCl", signature_s * 1e6, "us")
    with tempfile.TemporaryDirectory(prefix="bench-proofs-") as name:
        _map(section, Path(name) / "map", keys, signature_s)
        _bundle(section, Path(name) / "bundle", entries)
    return section


class _Opened:
    """A log with a clock of its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.now = NOON
        keyring = Keyring.open(folder / "master.key", create=True)
        self.database = SqliteDatabase(folder / "countenance.db")
        self.log = Log(self.database, keyring, folder, origin=ORIGIN, now_us=lambda: self.now)
        self.periods = Periods(self.log, self.database, keyring)
        self.periods.begin()
        self.policy = TrustPolicy.parse(f"log {self.log.signer.verifier}\nquorum none\n")

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.database.close()

    def calls(self, count: int, said: Callable[[int], dict[str, Any]]) -> None:
        """Records calls from several threads, as a busy server does."""

        def work(thread: int) -> None:
            for number in range(thread, count, THREADS):
                self.log.append(Opaque(_call(number, said(number))))

        running = [threading.Thread(target=work, args=(number,)) for number in range(THREADS)]
        for each in running:
            each.start()
        for each in running:
            each.join()

    def next_day(self) -> None:
        self.now += usage.DAY_US
        self.log.append(Public({"kind": "heartbeat", "cosigned": None}))

    def certificate(self, identifier: tuple[str, str], first: str, last: str) -> bytes:
        units = sum(self.periods.root_of(day).units for day in usage.days_from(first, last))
        named = ("units_of_the_owner", "units_of_undeclared_accounts", "units_of_parties_not_verified")
        stated = {"origins": [ORIGIN], "units": units, "gaps": [], **dict.fromkeys(named, 0)}
        return certify(self.periods, *identifier, first, last, request="r", requester="bench", coverage=stated)


def _call(number: int, said: dict[str, Any]) -> dict[str, Any]:
    return accounting(
        kind="call",
        time=NOON,
        access_key="AKCNBENCHBENCHBENCHB",
        holder="bench",
        purpose="bench",
        operation="SearchFacesByImage",
        request_id=f"{number:036d}",
        request=sha256(b"%d" % number).hexdigest(),
        response=sha256(b"-%d" % number).hexdigest(),
        reference_database={"collection": "people", "model": "1.0", "references": 1_000_000},
        units=1,
        amount=1_000,
        currency="USD",
        details={"matches": 1},
        **said,
    )


def _of_many(number: int) -> dict[str, Any]:
    party = [
        {"role": "party", "scheme": "reg", "value": f"DE-HRB:{number:08d}"},
        {"role": "party", "scheme": "domain", "value": f"n{number}.example"},
        {"role": "party", "scheme": "name", "value": f"Number {number} GmbH"},
    ]
    return {"account": f"{number:012d}", "party": [(each["role"], each["scheme"], each["value"]) for each in party]}


def _map(section: Section, folder: Path, keys: int, signature_s: float) -> None:
    with _Opened(folder) as opened:
        opened.calls(keys // IDENTIFIERS_OF_AN_ACCOUNT, _of_many)
        opened.next_day()
        begun = time.perf_counter()
        (root,) = opened.periods.close_due()
        took = time.perf_counter() - begun
        if root.size - 2 != keys:
            raise RuntimeError(f"the map has {root.size - 2} keys, not {keys}")
        section.at_most(f"map of a day, {keys:,} keys", took, "s", MAP_S * keys / KEYS)
        section.add("  a key / an Ed25519 verification", took / keys / signature_s, "ratio")
        secret, inputs = (
            Secret(bytes(32)),
            [alpha(ORIGIN, root.day, "domain", f"n{each}.example") for each in range(500)],
        )
        begun = time.perf_counter()
        for each in inputs:
            secret.output(each)
        section.add("  of it VRF outputs", (time.perf_counter() - begun) / len(inputs) * keys, "s", "from 500 of them")
        for _ in range(DAYS - 1):
            opened.next_day()
        opened.periods.close_due()
        last = opened.periods.heads[-1].day
        opened.certificate(STRANGER, root.day, root.day)  # what is made once is not what one costs
        for name, until, target in (("one day", root.day, CERTIFICATE_MS), (f"{DAYS} days", last, None)):
            made_s, checked_s, octets = [], [], 0
            for number in range(CERTIFICATES if until == root.day else CERTIFICATES // 10):
                who = ("domain", f"stranger{number}.example")
                begun = time.perf_counter()
                made = opened.certificate(who, root.day, until)
                made_s.append(time.perf_counter() - begun)
                begun = time.perf_counter()
                found = certificate.verify(made, opened.policy, now_us=opened.now)
                checked_s.append(time.perf_counter() - begun)
                if not found.is_absence:
                    raise RuntimeError("a stranger used the service")
                octets = len(made)
            if target is None:
                section.add(f"certificate of non-use, {name}, p50", statistics.median(made_s) * 1000, "ms")
            else:
                section.at_most(f"certificate of non-use, {name}, p50", statistics.median(made_s) * 1000, "ms", target)
            section.add("  p99", sorted(made_s)[len(made_s) * 99 // 100] * 1000, "ms", f"{octets:,} bytes")
            section.add("  verified, p50", statistics.median(checked_s) * 1000, "ms")


def _bundle(section: Section, folder: Path, entries: int) -> None:
    with _Opened(folder) as opened:
        said = {"account": "123456789012", "party": [("party", *USER)]}
        opened.calls(entries, lambda number: said)
        opened.next_day()
        (root,) = opened.periods.close_due()
        both = [opened.certificate(each, root.day, root.day) for each in (USER, STRANGER)]
        begun = time.perf_counter()
        made = bundle(opened.periods, [USER, STRANGER], root.day, root.day, both)
        section.add(f"bundle of {entries:,} entries made", time.perf_counter() - begun, "s", f"{len(made):,} bytes")
        begun = time.perf_counter()
        found = evidence.verify(made, opened.policy, now_us=opened.now, max_age_us=certificate.MAX_AGE_US)
        took = time.perf_counter() - begun
        if len(found.entries) != entries:
            raise RuntimeError(f"the bundle has {len(found.entries)} entries, not {entries}")
        section.at_most("  verified", took, "s", BUNDLE_S * entries / ENTRIES)
        leaves = opened.log.storage.leaves(root.first, root.end)
        begun = time.perf_counter()
        for each in leaves:
            leaf_hash(each)
        section.add("  verified / hashing its leaves alone", took / (time.perf_counter() - begun), "ratio")
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        section.add("  most resident memory of this process", peak, "MB", "log, bundle and what is read from it")


def _signature_s() -> float:
    key = SigningKey(bytes(32))
    signed = key.sign(b"x" * 100)
    times = []
    for _ in range(SIGNATURES):
        begun = time.perf_counter()
        key.verify_key.verify(signed)
        times.append(time.perf_counter() - begun)
    return statistics.median(times)
