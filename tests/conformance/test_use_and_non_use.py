"""Three customers over three months, an owner found out late, and what an outsider can have proved of it.

The service runs in this process under a clock of the test's. Every check is `countenance-audit` in a process of its
own, in an empty folder, with the files that it is given and a trust policy.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from countenance_audit import canonical, container, evidence, usage
from countenance_audit.checkpoint import cosign
from countenance_audit.errors import AuditError
from countenance_audit.monitor import map_path
from countenance_audit.note import SEED_BYTES, Signer
from countenance_audit.policy import TrustPolicy
from countenance_audit.tiles import TILE_WIDTH, encode_bundle, entries_path, tile_path

from countenance.errors import Error
from countenance.ledger import Log
from countenance.ledger.periods import PeriodError
from countenance.ledger.witness import Witness
from countenance.ledger.witnessing import Witnessing
from countenance.operations.instruction import AdministrationError
from countenance.operations.proofrequests import MOST_A_DAY, TooManyProofs
from countenance.server.witness import witness_app, witness_server
from countenance.standing.ownership.interval import Interval

from .in_process import InProcess, ScriptedEngine, service_in

FIRST = datetime(2026, 3, 1, 9, tzinfo=UTC)
EVE = FIRST - timedelta(hours=12)
"""When the server starts: accounts are there already, so that the first map is of the day after."""
DAYS = 92
LATE_OWNER = "lei:5493001KJTIIGC8Y1R12"
STRANGER = "lei:213800D1EI4B9WTWWD28"
WITNESS = Signer("witness.example/w", sha256(b"witness").digest())
AUDITOR_SEED = bytes(range(SEED_BYTES))

CUSTOMERS: dict[str, dict[str, Any]] = {
    "north": {
        "legal_name": "Northern Gate B.V.",
        "jurisdiction": "NL",
        "registration": "NL-KVK:27124701",
        "domain": "north.example",
        "sector": "logistics",
        "end_use": "doors",
        "owners": [{"name": "Gate Holding Ltd", "identifiers": ["reg:GB-COH:03977902"], "share": "80"}],
    },
    "south": {
        "legal_name": "Southern Lights SAS",
        "jurisdiction": "FR",
        "registration": "FR-SIREN:732829320",
        "lei": "529900T8BM49AURSDO55",
        "domain": "south.example",
        "sector": "retail",
        "end_use": "doors",
        "payer": {"name": "Lights Payments SAS", "identifiers": ["domain:pay.south.example"]},
    },
    "east": {
        "legal_name": "Eastern Star GmbH",
        "jurisdiction": "DE",
        "registration": "DE-HRB:D2601V HRB 4711",
        "domain": "east.example",
        "sector": "retail",
        "end_use": "doors",
        "end_users": [{"name": "Port Authority", "identifiers": ["domain:port.example"]}],
    },
}
AGREED = {
    "signatory": "Sam Signatory",
    "contract_sha256": "aa" * 32,
    "terms_version": "2026-01",
    "terms_sha256": "bb" * 32,
}
IDENTIFIERS = {
    "north": ["reg:NL-KVK:27124701", "domain:north.example", "name:Northern Gate BV", "reg:GB-COH:03977902"],
    "south": ["reg:FR-SIREN:732829320", "lei:529900T8BM49AURSDO55", "domain:south.example", "domain:pay.south.example"],
    "east": ["reg:DE-HRB:D2601V HRB 4711", "domain:east.example", "name:EASTERN STAR GMBH", "domain:port.example"],
}


@dataclass
class Town:
    """The operator's side, and the folder of an outsider."""

    house: InProcess
    clock: list[datetime]
    outside: Path
    accounts: dict[str, str] = field(default_factory=dict)
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)

    def ask(self, verb: str, **params: Any) -> dict[str, Any]:
        self.clock[0] += timedelta(seconds=1)
        return self.house.pipeline.administer(verb, params)

    def call(self, name: str, day: datetime) -> None:
        self.clock[0] += timedelta(seconds=1)
        self.house.credentials = self.keys[name]
        assert self.house.call("DetectFaces", {"Image": {"Bytes": b"faces: 1"}}).status == 200
        on = day.date().isoformat()
        self.calls[f"{name} {on}"] = self.calls.get(f"{name} {on}", 0) + 1

    def settle(self) -> None:
        """Three months: north calls on weekdays, south on the 1st of each month, east twice in April."""
        for name, party in CUSTOMERS.items():
            made = self.ask("account.create", name=name, party={**AGREED, **party})
            self.accounts[name] = made["account_id"]
            self.house.clear(made["account_id"])
            key = self.ask("key.create", account_id=made["account_id"])
            self.keys[name] = (key["access_key_id"], key["secret_access_key"])
        for number in range(DAYS):
            day = FIRST + timedelta(days=number)
            self.clock[0] = max(self.clock[0], day)
            if day.weekday() < 5:
                self.call("north", day)
            if day.day == 1:
                self.call("south", day)
                self.call("south", day)
            if (day.month, day.day) in ((4, 7), (4, 21)):
                self.call("east", day)
        self.clock[0] = FIRST + timedelta(days=DAYS, hours=1)
        self.ask("period.close")

    def certificate(self, identifier: str, first: str, last: str, requester: str = "a court") -> bytes:
        asked = {"identifier": identifier, "from": first, "until": last, "requester": requester, "legal_entity": True}
        made: str = self.ask("certificate.issue", **asked)["certificate"]
        return made.encode()

    def verify(self, identifier: str, first: str, last: str) -> dict[str, Any]:
        (self.outside / "certificate").write_bytes(self.certificate(identifier, first, last))
        status, said = self.audit("certificate", "verify", "certificate")
        assert status == 0, said
        found: dict[str, Any] = said["certificate"]
        return found

    def audit(self, *words: object, trust: str = "policy") -> tuple[int, dict[str, Any]]:
        """The program of an outsider, in his folder: no module of the server can be imported there."""
        timed = words[0] in ("verify", "report", "certificate")
        at = ["--at", str(int(self.clock[0].timestamp()))] if timed else []
        done = subprocess.run(
            [sys.executable, "-c", _WITHOUT_THE_SERVER, *map(str, words), "--trust", trust, *at, "--json"],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=self.outside,
            env={"PATH": os.environ["PATH"]},
        )
        assert done.stdout, done.stderr
        said: dict[str, Any] = json.loads(done.stdout)
        return done.returncode, said

    def publish(self) -> None:
        """What is under `/log/`, as files, and cosigned."""
        log, periods = self.house.service.ledger.log, self.house.service.ledger.periods
        assert periods is not None
        size, note = log.publish()
        note += cosign(note, WITNESS, int(self.clock[0].timestamp())).encode()
        files = {"checkpoint": note}
        for level in range(3):
            count = size >> (8 * level)
            for n in range(-(-count // TILE_WIDTH)):
                width = min(TILE_WIDTH, count - n * TILE_WIDTH)
                files[tile_path(level, n, width)] = log.tile(level, n, width) or b""
        for n in range(-(-size // TILE_WIDTH)):
            width = min(TILE_WIDTH, size - n * TILE_WIDTH)
            files[entries_path(n, width)] = encode_bundle(log.leaves(n * TILE_WIDTH, n * TILE_WIDTH + width) or [])
        for each in periods.roots:
            files[map_path(each.day, each.revision)] = periods.published(each.day, each.revision) or b""
        shutil.rmtree(self.outside / "log", ignore_errors=True)
        for name, content in files.items():
            path = self.outside / "log" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def export(self, name: str, *identifiers: str, first: str, last: str) -> Path:
        path = self.outside / name
        asked = {"from": first, "until": last, "requester": "a court", "path": str(path)}
        self.ask("evidence.export", identifiers=list(identifiers), legal_entity=True, **asked)
        return path


@contextmanager
def witnessed_by(signer: Signer, log: Log, folder: Path, now_s: Callable[[], int]) -> Iterator[str]:
    """A witness that serves HTTP; its line in a policy."""
    witness = Witness(folder, signer, {log.origin: log.signer.verifier}, now_s=now_s)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = witness_server(witness_app(witness))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.005)
        yield f"witness w {signer.witness} http://127.0.0.1:{listener.getsockname()[1]}/\n"
        server.should_exit = True
        thread.join()


_WITHOUT_THE_SERVER = """
import sys
class No:
    def find_spec(self, name, path=None, target=None):
        if name == "countenance" or name.startswith("countenance."):
            raise ImportError("the server is not here")
sys.meta_path.insert(0, No())
from countenance_audit.cli import run
sys.exit(run(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    folder, outside = tmp_path_factory.mktemp("server"), tmp_path_factory.mktemp("outside")
    clock = [EVE]
    with service_in(folder, ScriptedEngine(), now=lambda: clock[0]) as house:
        periods = house.service.ledger.periods
        assert periods is not None
        periods.begin()
        made = Town(house, clock, outside)
        log = house.service.ledger.log
        auditor = Signer("auditor.example", AUDITOR_SEED)
        (outside / "auditor.key").write_text(Signer.write("auditor.example", AUDITOR_SEED))
        lines = [f"log {log.signer.verifier}", f"auditor auditor {auditor.verifier}", "quorum none"]
        (outside / "policy").write_text("\n".join(lines) + "\n")
        made.settle()
        yield made


def month(number: int) -> tuple[str, str]:
    first = datetime(2026, number, 1, tzinfo=UTC)
    return first.date().isoformat(), (datetime(2026, number + 1, 1, tzinfo=UTC) - timedelta(days=1)).date().isoformat()


NAMES = ("calls", "units", "amount")
QUARTER = (month(3)[0], month(5)[1])


def test_every_identifier_of_every_user_used_and_a_stranger_did_not(town: Town) -> None:
    for name, several in IDENTIFIERS.items():
        used = {on.split()[1] for on in town.calls if on.startswith(name)}
        for identifier in [f"account:{town.accounts[name]}", *several]:
            said = town.verify(identifier, *QUARTER)
            assert (said["claim"], set(said["days"])) == ("use", used), identifier
            assert sum(each["calls"] for each in said["days"].values()) == len(used) * (2 if name == "south" else 1)
    for identifier in (STRANGER, "domain:stranger.example", "name:Stranger Ltd", "account:000000000001"):
        said = town.verify(identifier, *QUARTER)
        assert (said["claim"], said["grade"]) == ("absence", "asserted")
        assert any("could have left the identifier out" in each for each in said["limits"])
    assert town.verify("domain:east.example", *month(3))["claim"] == "absence"
    assert town.verify("domain:east.example", *month(4))["claim"] == "use"


def test_the_sums_of_statements_maps_and_roots_are_the_same(town: Town) -> None:
    """Opened leaves = rows of statements = declared totals (PROOFS section 5)."""
    days = {each["day"]: each for each in town.ask("period.list")["days"]}
    for number in (3, 4, 5):
        first, last = month(number)
        wanted = usage.days_from(first, last)
        declared = [sum(days[on][name] for on in wanted) for name in NAMES]
        rows, lines = [0, 0], [0, 0, 0]
        for account in [*town.accounts.values(), town.house.account.account_id]:
            answer = town.ask("ledger.statement", account_id=account, month=first[:7], form="json")
            assert answer["problems"] == []
            said = json.loads(answer["statement"])
            rows = [have + sum(each[name] for each in said["rows"]) for have, name in zip(rows, NAMES, strict=False)]
            lines = [have + sum(each[name] for each in said["lines"]) for have, name in zip(lines, NAMES, strict=True)]
        assert lines == declared
        assert rows == declared[:2]
        assert declared[2] > 0
    assert sum(each["calls"] for each in days.values()) == sum(town.calls.values())


def test_auditor_and_monitor_in_other_processes(town: Town) -> None:
    town.publish()
    assert town.audit("mirror", "log", "kept")[0] == 0
    status, said = town.audit("monitor", "kept")
    assert (status, said["days"]) == (0, DAYS)
    day = "2026-04-07"
    sealed = {"day": day, "auditor": str(Signer("auditor.example", AUDITOR_SEED).verifier)}
    town.ask("evidence.pack", path=str(town.outside / "pack"), **sealed)
    assert b"north.example" not in (town.outside / "pack").read_bytes()
    words = ("period", "kept", "--pack", "pack", "--out", "note")
    assert town.audit(*words)[0] == 3  # sealed to somebody else
    status, said = town.audit(*words, "--key", "auditor.key")
    assert (status, said["calls"], len(said["accounts"])) == (0, 2, 2)
    answer = town.ask("period.statement", note=(town.outside / "note").read_text())
    assert answer == {"by": "auditor", "day": day, "revision": 0}
    assert town.verify(STRANGER, day, day)["grade"] == "audited"
    assert town.verify(STRANGER, day, "2026-04-08")["grade"] == "asserted"  # nobody audited the day after


def test_an_owner_who_became_known_late_is_in_the_revised_past(town: Town) -> None:
    before = {each["day"]: each["revision"] for each in town.ask("period.list")["days"]}
    assert town.verify(LATE_OWNER, *QUARTER)["claim"] == "absence"
    (town.outside / "before").write_bytes(town.certificate(LATE_OWNER, *QUARTER))
    statement = {
        "id": "1",
        "owner": LATE_OWNER,
        "owned": "reg:DE-HRB:D2601V HRB 4711",
        "interest": "shareholding",
        "share": Interval.exactly("60").to_json(),
        "valid_from": "2026-04-10",
        "source": "a register, read in June",
    }
    town.ask("party.statements", statements=[statement], parties={})
    made = town.ask("period.close")["made"]
    assert [(each["day"], each["revision"]) for each in made] == [("2026-04-21", 1)]  # not the 7th: not yet an owner
    after = {each["day"]: each["revision"] for each in town.ask("period.list")["days"]}
    assert {on for on in before if before[on] != after[on]} == {"2026-04-21"}
    said = town.verify(LATE_OWNER, *QUARTER)
    assert (said["claim"], list(said["days"])) == ("use", ["2026-04-21"])
    assert town.verify(STRANGER, *QUARTER)["claim"] == "absence"
    for identifier in IDENTIFIERS["east"]:
        assert set(town.verify(identifier, *QUARTER)["days"]) == {"2026-04-07", "2026-04-21"}
    town.publish()
    assert town.audit("mirror", "log", "kept")[0] == 0
    assert town.audit("monitor", "kept")[0] == 0
    town.ask("evidence.pack", day="2026-04-21", path=str(town.outside / "pack-1"))
    status, said = town.audit("period", "kept", "--pack", "pack-1")
    assert (status, said["revision"]) == (0, 1)
    # The certificate from before is what it was, and says as of when; it is refused once it is too old.
    assert town.audit("certificate", "verify", "before")[0] == 0
    town.clock[0] += timedelta(days=8)
    assert town.audit("certificate", "verify", "before")[0] == 1
    assert town.audit("certificate", "verify", "before", "--max-age-days", "0")[0] == 0
    town.ask("period.close")


def test_a_bundle_is_verified_without_the_server(town: Town) -> None:
    first, last = month(4)
    identifiers = [*IDENTIFIERS["east"], LATE_OWNER, STRANGER]
    path = town.export("case.bundle", *identifiers, first=first, last=last)
    status, said = town.audit("verify", "case.bundle")
    assert status == 0, said
    claims = {f"{each['scheme']}:{each['value']}": each["claim"] for each in said["certificates"]}
    assert claims[STRANGER] == "absence"
    assert not any(each["serious"] for each in said["findings"])
    silent = [each for each in said["findings"] if each["kind"] == "heartbeat"]
    assert all("no heartbeat" in each["text"] for each in silent)
    assert {claim for who, claim in claims.items() if who != STRANGER} == {"use"}
    assert len(claims) == len(identifiers)
    assert town.audit("report", "case.bundle", "--out", "report.html")[0] == 0
    page = (town.outside / "report.html").read_text()
    policies = town.house.service.governance.in_force(0).policy_set
    told = ("did not use", "DetectFaces", "account.create", "period.attribute", STRANGER.removeprefix("lei:"), policies)
    for shown in told:
        assert shown in page
    assert "<script" not in page
    assert b"case.bundle" not in path.read_bytes()
    # Without a policy nothing is decided, and keys that the bundle names count for nothing.
    done = subprocess.run(
        [sys.executable, "-m", "countenance_audit", "verify", path], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 3
    assert f"log.example/test with key {town.house.service.ledger.log.signer.verifier.key_id.hex()}" in done.stdout
    requests = {each["identifier"]: each["state"] for each in town.ask("certificate.list")["requests"]}
    assert requests[STRANGER] == "answered"


def test_certificates_and_bundles_carry_the_quorum_s_cosignatures(town: Town, tmp_path: Path) -> None:
    """A witness over HTTP, and a reader whose policy asks for it. What is issued makes the log longer each time, and
    still leads to a checkpoint that the witness signed."""
    ledger = town.house.service.ledger
    log, at_first = ledger.log, ledger.witnessing
    first, last = month(4)
    with witnessed_by(WITNESS, log, tmp_path / "w", lambda: int(town.clock[0].timestamp())) as lines:
        ledger.witnessing = Witnessing(log, TrustPolicy.parse(f"{lines}quorum none\n"))
        policy = (town.outside / "policy").read_text().replace("quorum none\n", f"{lines}quorum w\n")
        (town.outside / "quorum").write_text(policy)
        for _ in range(2):
            (town.outside / "certificate").write_bytes(town.certificate(STRANGER, first, last))
            status, said = town.audit("certificate", "verify", "certificate", trust="quorum")
            assert (status, said["certificate"]["quorum"]) == (0, True), said
        town.export("quorum.bundle", STRANGER, "domain:port.example", first=first, last=last)
        status, said = town.audit("verify", "quorum.bundle", trust="quorum")
        assert (status, said["quorum"], len(said["certificates"])) == (0, True, 2), said
        assert town.audit("report", "quorum.bundle", "--out", "report.html", trust="quorum")[0] == 0
    town.clock[0] += timedelta(days=1)
    ledger.reach_today()
    town.ask("period.close")
    # The witness is gone, and there is a newer map: nothing that it signed will do.
    (town.outside / "certificate").write_bytes(town.certificate(STRANGER, first, last))
    status, said = town.audit("certificate", "verify", "certificate", trust="quorum")
    assert (status, said["certificate"]["quorum"]) == (3, False)
    assert any("quorum of witnesses did not cosign" in each for each in said["certificate"]["limits"])
    town.export("alone.bundle", STRANGER, first=first, last=last)
    assert town.audit("verify", "alone.bundle", trust="quorum")[0] == 3
    assert town.audit("report", "alone.bundle", "--out", "report.html", trust="quorum")[0] == 3
    # One of the operator's own, under the same name, signs what he likes, and is not the reader's.
    own = Signer(WITNESS.name, sha256(b"the operator's own").digest())
    with witnessed_by(own, log, tmp_path / "own", lambda: int(town.clock[0].timestamp())) as lines:
        ledger.witnessing = Witnessing(log, TrustPolicy.parse(f"{lines}quorum w\n"))
        town.export("own.bundle", STRANGER, first=first, last=last)
        assert town.audit("verify", "own.bundle", trust="quorum")[0] == 3
    ledger.witnessing = at_first


def test_a_later_declaration_says_who_the_party_was(town: Town) -> None:
    """An LEI that is learnt late is in the past as well; what is declared of another legal entity is not."""
    days = {"2026-04-07", "2026-04-21"}
    lei, moved = "lei:2138005G8F5P6LCAQV48", "domain:orient.example"
    later = {**AGREED, **CUSTOMERS["east"], "lei": lei.removeprefix("lei:"), "other_names": ["Orient Star"]}
    assert town.verify(lei, *QUARTER)["claim"] == "absence"
    town.ask("account.declare", account_id=town.accounts["east"], party=later)
    assert {each["day"] for each in town.ask("period.close")["made"]} >= days
    assert set(town.verify(lei, *QUARTER)["days"]) == days
    assert set(town.verify("name:ORIENT STAR", *QUARTER)["days"]) == days
    assert town.ask("period.close")["made"] == []
    other = {"registration": "NL-KVK:27124702", "legal_name": "Orient Holding B.V.", "domain": "orient.example"}
    town.ask("account.declare", account_id=town.accounts["east"], party={**AGREED, **CUSTOMERS["east"], **other})
    assert town.ask("period.close")["made"] == []
    assert town.verify(moved, *QUARTER)["claim"] == "absence"
    town.publish()
    assert town.audit("mirror", "log", "kept")[0] == 0
    assert town.audit("monitor", "kept")[0] == 0
    town.ask("evidence.pack", day="2026-04-07", path=str(town.outside / "pack-late"))
    assert town.audit("period", "kept", "--pack", "pack-late")[0] == 0


def test_use_of_an_account_that_nobody_had_declared(tmp_path: Path) -> None:
    """The owner's account may be used before anybody says whose it is; once that is said, the past is revised."""
    clock = [FIRST]
    with service_in(tmp_path, ScriptedEngine(), now=lambda: clock[0]) as house:
        ledger = house.service.ledger
        assert ledger.periods is not None
        ledger.periods.begin()
        clock[0] += timedelta(days=1)
        assert house.call("DetectFaces", {"Image": {"Bytes": b"faces: 1"}}).status == 200
        day = clock[0].date().isoformat()
        clock[0] += timedelta(days=1)
        ledger.reach_today()
        house.pipeline.administer("period.close", {})
        party = {"account_id": house.account.account_id, "party": CUSTOMERS["south"]}
        house.pipeline.administer("account.declare", party)
        made = house.pipeline.administer("period.close", {})["made"]
        assert (day, 1) in [(each["day"], each["revision"]) for each in made]
        day_asked = {"identifier": STRANGER, "from": day, "until": day, "requester": "a court"}
        certified = json.loads(house.pipeline.administer("certificate.issue", day_asked)["certificate"])["certificate"]
        stated = certified["coverage"]
        assert stated["units"] == stated["units_of_the_owner"] == stated["units_of_parties_not_verified"] == 1
        assert stated["units_of_undeclared_accounts"] == 0
        used = ledger.periods.rows.used(day)
        assert {("lei", "529900T8BM49AURSDO55"), ("domain", "south.example"), ("name", "southernlights")} <= used.keys()
        assert {each.calls for each in used.values()} == {1}


def test_what_is_looked_for_is_all_forms_of_an_identifier(town: Town) -> None:
    said = town.verify("domain:www.shop.south.example", *QUARTER)
    assert (said["claim"], said["asked"], said["worth"]) == ("use", ["south.example"], "asserted")
    said = town.verify("name:NORTHERN GATE B. V.", *QUARTER)
    assert (said["claim"], said["asked"]) == ("use", ["northerngatebv", "northerngate"])
    assert (said["weak"], said["worth"]) == (True, "weak, by name alone; asserted")
    said = town.verify("name:Northern Gate", *QUARTER)
    assert (said["claim"], said["found_as"]) == ("use", ["northerngate"])
    said = town.verify("name:Northern Lights B.V.", *QUARTER)
    assert (said["claim"], said["asked"]) == ("absence", ["northernlightsbv", "northernlights"])
    assert any("northernlightsbv, northernlights" in each for each in said["limits"])


def test_bundles_with_parts_left_out_or_put_in(town: Town) -> None:
    """The table is made anew each time, so it is not the hashes of the container that tell."""
    first, last = month(4)
    parts = container.read(town.export("parts.bundle", STRANGER, first=first, last=last).read_bytes(), evidence.KIND)
    policy = TrustPolicy.parse((town.outside / "policy").read_text())
    now = int(town.clock[0].timestamp() * 1_000_000)

    def judge(**changed: bytes) -> None:
        named = {name.replace("__", "/").replace("_json", ".json"): content for name, content in changed.items()}
        made = container.write(evidence.KIND, {**parts, **named})
        evidence.verify(made, policy, now_us=now, max_age_us=None)

    judge()
    head, place = (json.loads(parts[name]) for name in ("head.json", "place.json"))
    with pytest.raises(AuditError, match="about nobody"):
        judge(head_json=canonical.encode({**head, "identifiers": []}) + b"\n")
    stray = b"permit (principal, action, resource);"
    with pytest.raises(AuditError, match="No entry of the bundle names"):
        judge(**{f"texts__{sha256(stray).hexdigest()}": stray})
    nothing = {**place, "first": 0, "end": 0, "peaks": [], "consistency": []}
    with pytest.raises(AuditError, match="not those of the days"):
        judge(place_json=canonical.encode(nothing) + b"\n", leaves=b"")
    with pytest.raises(AuditError, match="do not belong"):
        judge(report_html=b"<p>hello</p>")
    with pytest.raises(AuditError, match="another period"):
        judge(head_json=canonical.encode({**head, "until": "2026-04-29"}) + b"\n")


def test_a_forged_log_with_forged_witnesses_is_refused(town: Town, tmp_path: Path) -> None:
    """Everything fresh and consistent, under the same names: only the keys are not those of the reader's policy."""
    first, last = month(4)
    clock = [EVE]
    with service_in(tmp_path, ScriptedEngine(), now=lambda: clock[0]) as house:
        assert house.service.ledger.periods is not None
        house.service.ledger.periods.begin()
        forged = Town(house, clock, town.outside)
        forged.settle()
        path = forged.export("forged.bundle", STRANGER, first=first, last=last)
        own = [f"log {house.service.ledger.log.signer.verifier}", f"witness w {WITNESS.witness}", "quorum none"]
        (town.outside / "own").write_text("\n".join(own) + "\n")
        assert forged.audit("verify", "forged.bundle", trust="own")[0] == 0  # the operator's own policy likes it
        assert forged.audit("verify", "forged.bundle")[0] == 1
        witnessed = (
            (town.outside / "policy").read_text().replace("quorum none", f"witness w {WITNESS.witness}\nquorum w")
        )
        (town.outside / "witnessed").write_text(witnessed)
        assert forged.audit("verify", "forged.bundle", trust="witnessed")[0] == 1
        assert path.stat().st_mode & 0o077 == 0


def test_every_byte_of_a_bundle_counts(town: Town) -> None:
    """In this process, as one process for each octet would take days. All octets with one bit each; those of the table,
    which no hash covers, with all eight."""
    day = "2026-04-07"
    data = town.export("small.bundle", STRANGER, "domain:east.example", first=day, last=day).read_bytes()
    policy = TrustPolicy.parse((town.outside / "policy").read_text())
    now = int(town.clock[0].timestamp() * 1_000_000)
    evidence.verify(data, policy, now_us=now, max_age_us=None)
    changed = bytearray(data)
    table = data.index(b"\n", len(container.MAGIC)) + 1
    for at in range(len(data)):
        for bit in range(8) if at < table else [at % 8]:
            changed[at] = data[at] ^ 1 << bit
            with pytest.raises(AuditError):
                evidence.verify(bytes(changed), policy, now_us=now, max_age_us=None)
        changed[at] = data[at]


def test_every_byte_of_a_bundle_counts_when_its_table_is_made_anew(town: Town) -> None:
    """Hashes of the container are anybody's to compute. Below them, only when the bundle was made can be changed: it is
    printed as stated by the operator."""
    day = "2026-04-07"
    data = town.export("tiny.bundle", STRANGER, first=day, last=day).read_bytes()
    parts = container.read(data, evidence.KIND)
    policy = TrustPolicy.parse((town.outside / "policy").read_text())
    now = int(town.clock[0].timestamp() * 1_000_000)
    free = {}
    for name, content in parts.items():
        changed = bytearray(content)
        for at in range(len(content)):
            changed[at] ^= 1 << at % 3
            made = container.write(evidence.KIND, {**parts, name: bytes(changed)})
            try:
                evidence.verify(made, policy, now_us=now, max_age_us=None)
            except AuditError:
                pass
            else:
                free.setdefault(name, []).append(at)
            changed[at] = content[at]
    made_at = parts["head.json"].index(b'"made":') + len(b'"made":')
    digits = range(made_at, made_at + len(str(json.loads(parts["head.json"])["made"])))
    assert free.keys() == {"head.json"}
    assert set(free["head.json"]) <= set(digits)


def test_requests_have_deadlines_and_limits(town: Town) -> None:
    asked = {"identifier": STRANGER, "from": QUARTER[0], "until": QUARTER[1], "requester": "J. Doe"}
    late = town.ask("certificate.request", **asked)
    refused = town.ask("certificate.request", **asked)
    assert town.ask("certificate.refuse", request=refused["request"], reason="no right to it")["state"] == "refused"
    with pytest.raises(AdministrationError, match="no unanswered request"):
        town.ask("certificate.refuse", request=refused["request"], reason="again")
    before = town.ask("certificate.request", **{**asked, "from": "2020-01-01", "until": "2020-01-31"})
    with pytest.raises(PeriodError, match="no map of 2020-01-01"):
        town.ask("certificate.issue", request=before["request"])
    assert town.ask("certificate.refuse", request=before["request"], reason="no such log yet")["state"] == "refused"
    today = town.clock[0].date()
    open_day = town.ask("certificate.request", **{**asked, "from": today.isoformat(), "until": today.isoformat()})
    assert open_day["state"] == "open"
    later = (today + timedelta(days=1)).isoformat()
    for wrong, said in (({"until": later}, "yet to come"), ({"from": "0001-01-01"}, "has more than 3660 days")):
        with pytest.raises(AdministrationError, match=said):
            town.ask("certificate.request", **{**asked, **wrong})
    town.clock[0] += timedelta(days=31)
    town.ask("period.close")
    assert town.ask("certificate.issue", request=open_day["request"])["state"] == "answered"
    states = {each["request"]: each["state"] for each in town.ask("certificate.list")["requests"]}
    assert (states[late["request"]], states[refused["request"]]) == ("overdue", "refused")
    assert town.ask("certificate.issue", request=late["request"])["state"] == "answered"
    day = {"from": QUARTER[0], "until": QUARTER[0]}
    for number in range(MOST_A_DAY - 2):
        town.ask("certificate.issue", identifier=f"domain:n{number}.example", requester="J. Doe", **day)
    with pytest.raises(TooManyProofs, match="100 are the most"):
        town.ask("certificate.issue", identifier=STRANGER, requester="J. Doe", **day)
    town.ask("certificate.issue", identifier=STRANGER, requester="another", **day)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"identifier": "vat:NL1"}, "no scheme"),
        ({"identifier": "lei"}, "identifier"),
        ({"identifier": "lei:529900T8BM49AURSDO56"}, "LEI"),
        ({"from": "2025-01-01"}, "no map of 2025-01-01"),
        ({"until": "2030-01-01"}, "no map of 2030-01-01"),
        ({"from": "yesterday"}, "is no day"),
        ({"from": QUARTER[1], "until": QUARTER[0]}, "ends before it begins"),
        ({"identifier": "name:Jan Jansen"}, "natural person"),
        ({"requester": ""}, "requester"),
        ({"requester": "x" * 201}, "at most 200"),
        ({"requester": "a\nb"}, "printable"),
    ],
)
def test_what_cannot_be_asked_is_refused_and_leaves_nothing(town: Town, changes: dict[str, str], said: str) -> None:
    size = town.house.service.ledger.log.size
    asked = {"identifier": STRANGER, "from": QUARTER[0], "until": QUARTER[1], "requester": "a court"} | changes
    with pytest.raises(Error, match=said):
        town.ask("certificate.issue", **asked)
    assert town.house.service.ledger.log.size == size


def test_files_are_never_replaced_and_statements_of_others_not_taken(town: Town) -> None:
    there = town.outside / "there"
    there.write_text("mine")
    day = {"from": QUARTER[0], "until": QUARTER[0], "requester": "a court"}
    for path in (str(there), "relative", str(town.outside / "none" / "x")):
        with pytest.raises(AdministrationError):
            town.ask("evidence.export", identifiers=[STRANGER], path=path, **day)
        with pytest.raises(AdministrationError):
            town.ask("evidence.pack", day=QUARTER[0], path=path)
    assert there.read_text() == "mine"
    note = (town.outside / "note").read_text()
    with pytest.raises(AdministrationError, match="no statement"):
        town.ask("period.statement", note="hello")
    other = json.loads(note.splitlines()[0]) | {"heads": "00" * 32}
    signed = Signer("auditor.example", AUDITOR_SEED).sign(
        json.dumps(other, sort_keys=True, separators=(",", ":")) + "\n"
    )

    with pytest.raises(PeriodError, match="does not have"):
        town.ask("period.statement", note=signed.decode())


def test_a_key_taken_over_at_midnight(town: Town) -> None:
    keys = len(town.ask("period.list")["keys"])
    made = town.ask("period.rotate")["key"]
    listed = town.ask("period.list")["keys"]
    assert (len(listed), listed[-1]["key"]) == (keys + 1, made)
    assert listed[-1]["from"] == (town.clock[0] + timedelta(days=1)).date().isoformat()
    town.clock[0] += timedelta(days=2)
    town.ask("period.close")
    assert town.verify(STRANGER, QUARTER[0], listed[-1]["from"])["claim"] == "absence"
    town.publish()
    assert town.audit("mirror", "log", "kept")[0] == 0
    assert town.audit("monitor", "kept")[0] == 0
