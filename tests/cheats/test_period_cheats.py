"""One modified operator per cheat about whole days, and the outsider who notices: the threat model's second table."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from countenance_audit import canonical, certificate, evidence, usage
from countenance_audit.checkpoint import cosign
from countenance_audit.errors import AuditError
from countenance_audit.leaf import Opening
from countenance_audit.limits import UNDETECTABLE
from countenance_audit.note import SEED_BYTES, Signer
from countenance_audit.periodmap import PeriodMap
from countenance_audit.periods import Root
from countenance_audit.policy import TrustPolicy
from countenance_audit.vrf import Secret

from countenance.ledger import Opaque, Public, accounting
from countenance.ledger.history import HIGH_WATER
from countenance.ledger.periods import Periods, keeping
from countenance.ledger.periods.bundling import bundle
from countenance.ledger.periods.proving import certify, keep_statement, pack

from .operator import ACCOUNT, DAY_US, WITNESSES, Operator, audit, coverage, kept

THREAT_MODEL = Path(__file__).parents[2] / "docs/concepts/threat-model.md"
ELSEWHERE = {"wrong-decision": "who runs Cedar decides again; `countenance policy replay`, tests/unit/policy"}
LEI = "529900T8BM49AURSDO55"
PARTY = [{"role": "party", "scheme": "lei", "value": LEI}, {"role": "party", "scheme": "name", "value": "Acme B.V."}]
OWNER = "999999999999"
MONITOR = Signer("monitor.example", bytes(range(1, SEED_BYTES + 1)))
AUDITOR = Signer("auditor.example", bytes(range(SEED_BYTES)))


class Town:
    """An operator with a day of use behind him, and what outsiders have."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.operator = Operator(folder / "server")
        self.trust = self.operator.policy(folder / "policy")
        with self.trust.open("a") as policy:
            policy.write(f"auditor auditor {AUDITOR.verifier}\n")
        (folder / "monitor.key").write_text(Signer.write("monitor.example", bytes(range(1, SEED_BYTES + 1))))
        (folder / "auditor.key").write_text(Signer.write("auditor.example", bytes(range(SEED_BYTES))))

    def day(self, calls: int = 3, **said: Any) -> str:
        """A day with calls of the party's; its name."""
        today = usage.day_of(self.operator.now)
        for number in range(calls):
            self.operator.call(number, **{"party": PARTY, "units": 1, "amount": 1_000, "currency": "USD", **said})
        self.operator.next_day()
        return today

    def mirror(self) -> int:
        self.operator.show(self.folder / "shown")
        return audit("mirror", self.folder / "shown", self.folder / "mirror", "--trust", self.trust)[0]

    def monitor(self) -> tuple[int, set[str]]:
        """What a monitor sees in a mirror: status, and serious findings."""
        assert self.mirror() == 0
        return _kinds(*audit("monitor", self.folder / "mirror", "--trust", self.trust))

    def audit(self, day: str, made: bytes | None = None) -> tuple[int, set[str], dict[str, Any]]:
        """What an auditor sees with the pack that he is given."""
        assert self.mirror() == 0
        (self.folder / "pack").write_bytes(made if made is not None else pack(self.operator.periods, day).write())
        words = ("--pack", self.folder / "pack", "--key", self.folder / "auditor.key", "--out", self.folder / "note")
        status, said = audit("period", self.folder / "mirror", "--trust", self.trust, *words)
        return *_kinds(status, said), said

    def certificate(self, scheme: str, value: str, first: str, last: str | None = None) -> bytes:
        periods, last = self.operator.periods, last or first
        stated = coverage(periods, first, last)
        return certify(periods, scheme, value, first, last, request="r", requester="a court", coverage=stated)

    def verify(self, made: bytes, days_later: int = 0) -> tuple[int, dict[str, Any]]:
        """What the relying party learns."""
        (self.folder / "certificate").write_bytes(made)
        at = self.at(days_later)
        status, said = audit("certificate", "verify", self.folder / "certificate", "--trust", self.trust, "--at", at)
        return status, said.get("certificate", said)

    def at(self, days_later: int = 0) -> int:
        """Now, or later, in seconds since 1970."""
        return self.operator.now // 1_000_000 + days_later * 86_400


def _kinds(status: int, said: dict[str, Any]) -> tuple[int, set[str]]:
    return status, {each["kind"] for each in said["findings"] if each["serious"]}


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    made = Town(tmp_path)
    yield made
    made.operator.close()


def test_an_honest_operator_is_believed(town: Town) -> None:
    days = [town.day(), town.day(0), town.day(2)]
    assert town.monitor() == (0, set())
    for day in days:
        status, wrong, said = town.audit(day)
        assert (status, wrong) == (0, set())
        assert said["calls"] == {days[0]: 3, days[1]: 0, days[2]: 2}[day]
        keep_statement(town.operator.periods, (town.folder / "note").read_bytes())
    status, said = town.verify(town.certificate("lei", "5493001KJTIIGC8Y1R12", days[0], days[2]))
    assert (status, said["claim"], said["grade"]) == (0, "absence", "audited")
    status, said = town.verify(town.certificate("lei", LEI, days[0], days[2]))
    assert (status, said["claim"], sorted(said["days"])) == (0, "use", [days[0], days[2]])


def test_omitted_from_map(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(rows: Any, late: Any, on: str) -> Any:
        used, totals = usage.tally(rows, late, on)
        return {each: one for each, one in used.items() if each[0] != "lei"}, totals

    monkeypatch.setattr(keeping, "usage", _Changed(keeping.usage, tally=without))
    day = town.day()
    monkeypatch.undo()
    assert town.monitor() == (0, set())  # the order is right, and that is all a monitor sees
    status, said = town.verify(town.certificate("lei", LEI, day))
    assert (status, said["claim"], said["grade"]) == (0, "absence", "asserted")
    assert any("could have left the identifier out" in each for each in said["limits"])
    assert not (town.folder / "note").exists()
    status, wrong, said = town.audit(day)
    assert (status, wrong) == (1, {"omitted-from-map"})
    assert any(LEI in each["text"] for each in said["findings"])
    assert not (town.folder / "note").exists()  # an auditor signs nothing that does not hold


def test_unsorted_map(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    class Unsorted(PeriodMap):
        @classmethod
        def of(cls, values: Any) -> PeriodMap:
            leaves = PeriodMap.of(values).leaves
            parts = [leaves[at : at + 64] for at in range(0, len(leaves), 64)]
            return PeriodMap(b"".join([parts[0], *parts[-2:0:-1], parts[-1]]))

    monkeypatch.setattr(keeping, "PeriodMap", Unsorted)
    town.day()
    assert town.monitor() == (1, {"unsorted-map"})


def test_two_roots(town: Town) -> None:
    day = town.day()
    assert town.monitor() == (0, set())
    root = town.operator.periods.root_of(day)
    town.operator.periods._publish(day, 0, root.first, root.end)
    assert town.monitor() == (1, {"two-roots"})


def test_two_roots_by_a_gap(town: Town) -> None:
    day = town.day()
    root = town.operator.periods.root_of(day)
    town.operator.call(7, party=PARTY)
    monkeyed = town.operator.periods._first_of
    town.operator.periods._first_of = lambda on: monkeyed(on) + 1  # type: ignore[method-assign]
    town.operator.next_day()
    assert town.operator.periods.newest.first == root.end + 1
    assert town.monitor() == (1, {"two-roots"})


def test_two_vrf_keys(town: Town) -> None:
    today = usage.day_of(town.operator.now)
    town.operator.call(1, party=PARTY)
    town.operator.periods._new_key(today, "rotation")
    town.operator.next_day()
    status, wrong = town.monitor()
    assert status == 1
    assert "two-vrf-keys" in wrong


def test_two_vrf_keys_as_a_second_root_of_an_audited_map(town: Town) -> None:
    """A root names the map that an auditor and a monitor vouched for, and a VRF key under which nobody is in it."""
    with town.trust.open("a") as policy:
        policy.write(f"monitor monitor {MONITOR.verifier}\n")
    day = town.day()
    periods = town.operator.periods
    assert town.audit(day)[:2] == (0, set())
    keep_statement(periods, (town.folder / "note").read_bytes())
    words = ("--trust", town.trust, "--key", town.folder / "monitor.key", "--out", town.folder / "note")
    assert audit("monitor", town.folder / "mirror", *words)[0] == 0
    keep_statement(periods, (town.folder / "note").read_bytes())
    status, said = town.verify(town.certificate("lei", LEI, day))
    assert (status, said["claim"], said["grade"], said["monitored"]) == (0, "use", "audited", True)
    root = periods.root_of(day)
    (leaf,) = periods.log.storage.leaves(root.index, root.index + 1)
    again = {name: value for name, value in json.loads(leaf).items() if name not in ("v", "time")}
    other = Secret(b"\x09" * 32)
    place = periods.log.append(Public({**again, "vrf_key": other.public.hex(), "previous": root.index}))
    (leaf,) = periods.log.storage.leaves(place.index, place.index + 1)
    periods._take(Root.of(place.index, json.loads(leaf)))
    periods._secrets[periods.keys[0].day] = other
    periods.keys[0] = dataclasses.replace(periods.keys[0], key=other.public.hex())
    status, said = town.verify(town.certificate("lei", LEI, day))
    assert (status, said.get("claim")) == (1, None)
    assert "supersedes" in said["error"]
    status, wrong = town.monitor()
    assert status == 1
    assert {"two-roots", "two-vrf-keys"} <= wrong


def test_superseded_certificate_under_old_heads_with_a_new_date(town: Town) -> None:
    """A root of today commits to the heads from before a revision, which a monitor once vouched for."""
    with town.trust.open("a") as policy:
        policy.write(f"monitor monitor {MONITOR.verifier}\n")
    day = town.day()
    periods = town.operator.periods
    assert town.mirror() == 0
    words = ("--trust", town.trust, "--key", town.folder / "monitor.key", "--out", town.folder / "note")
    assert audit("monitor", town.folder / "mirror", *words)[0] == 0
    keep_statement(periods, (town.folder / "note").read_bytes())
    before = json.loads(town.certificate("domain", "parent.example", day))["certificate"]
    root = periods.root_of(day)
    town.operator.late[ACCOUNT] = [("recorded-owner", "domain", "parent.example")]
    periods.revise([ACCOUNT])
    (leaf,) = periods.log.storage.leaves(root.index, root.index + 1)
    again = {name: value for name, value in json.loads(leaf).items() if name not in ("v", "time")}
    place = periods.log.append(Public({**again, "previous": periods.newest.index}))
    size, note = periods.log.publish()
    (leaf,) = periods.log.storage.leaves(place.index, place.index + 1)

    def at(index: int, leaf: bytes) -> dict[str, Any]:
        return {
            "index": index,
            "leaf": leaf.decode(),
            "proof": [each.hex() for each in periods.log.inclusion(index, size)],
        }

    (old,) = periods.log.storage.leaves(root.index, root.index + 1)
    content = {**before, "checkpoint": note.decode(), "newest": at(place.index, leaf)}
    content["days"] = [{**before["days"][0], **at(root.index, old)}]
    status, said = town.verify(certificate.sign(content, periods.log.signer))
    assert (status, said["claim"], said["monitored"]) == (0, "absence", False)
    assert "map order and uniqueness not checked" in said["limits"]
    assert town.monitor() == (1, {"two-roots"})


def test_superseded_certificate_of_a_root_from_the_future(town: Town) -> None:
    """The time of a root is the operator's to say: with a later one, its knowledge would stay fresh for good."""
    day = town.day()
    operator = town.operator
    now, operator.now = operator.now, operator.now + 300 * DAY_US
    operator.log._offset += 300 * DAY_US
    operator.next_day()
    operator.late[ACCOUNT] = [("recorded-owner", "domain", "parent.example")]
    made = town.certificate("domain", "parent.example", day)
    operator.now = now
    status, said = town.verify(made)
    assert (status, "yet to come" in said["error"]) == (1, True)
    # Once that time has come, a witness' cosignature from before tells.
    _, note = operator.log.checkpoint()
    content = json.loads(made)["certificate"]
    content["checkpoint"] = (note + cosign(note, WITNESSES["a"], now // 1_000_000).encode()).decode()
    with town.trust.open("a") as policy:
        policy.write(f"witness a {WITNESSES['a'].witness}\n")
    status, said = town.verify(certificate.sign(content, operator.log.signer), days_later=301)
    assert (status, "saw it at" in said["error"]) == (1, True)


def test_two_roots_with_a_gap_between_the_days_of_a_certificate(town: Town) -> None:
    day = town.day()
    town.operator.call(7, party=PARTY)
    honest = town.operator.periods._first_of
    town.operator.periods._first_of = lambda on: honest(on) + 1  # type: ignore[method-assign]
    town.operator.next_day()
    status, said = town.verify(town.certificate("lei", "5493001KJTIIGC8Y1R12", day, usage.next_day(day)))
    assert status == 1
    assert "those of the day before end at" in said["error"]


def test_omitted_from_map_as_a_day_that_is_closed_at_noon(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its map is made before the day is over; what comes later that day is in no map, or in another day's."""
    operator = town.operator
    day = usage.day_of(operator.now)
    operator.call(1)
    monkeypatch.setattr(operator.periods, "_end_of", lambda on, first: operator.log.size)
    operator.periods._close(day)
    monkeypatch.undo()
    status, said = town.verify(town.certificate("lei", LEI, day))
    assert status == 1
    assert "before the day was over" in said["error"]


def test_malformed_leaf_in_an_audited_day(town: Town) -> None:
    """It stands for a call that nobody can open, so the day does not hold."""
    operator = town.operator
    operator.call(1, party=PARTY)
    index = operator.log.size - 1
    operator.database.maintain(
        lambda connection: connection.execute(
            "UPDATE log_leaves SET leaf = ? WHERE idx = ?", (b"\x02" + bytes(32), index)
        ).close()
    )
    operator.log._tree = operator.log._loaded()
    day = usage.day_of(operator.now)
    operator.next_day()
    operator.show(town.folder / "shown")
    assert audit("mirror", town.folder / "shown", town.folder / "mirror", "--trust", town.trust)[0] == 1
    (town.folder / "pack").write_bytes(pack(operator.periods, day).write())
    words = ("--pack", town.folder / "pack", "--key", town.folder / "auditor.key", "--out", town.folder / "note")
    status, said = audit("period", town.folder / "shown", "--trust", town.trust, *words)
    assert status == 1
    assert index in [each["index"] for each in said["findings"] if each["kind"] == "malformed-leaf"]
    assert not (town.folder / "note").exists()


def test_fork_within_a_bundle(town: Town, tmp_path: Path) -> None:
    """Leaves from one history and a certificate from another, both of one size and signed by the log."""
    day = town.day()
    operator = town.operator
    operator.database.truncate_wal()
    shutil.copytree(operator.folder, tmp_path / "second", ignore=shutil.ignore_patterns("*-shm", HIGH_WATER))
    second = Operator(tmp_path / "second", now=operator.now)
    operator.call(10)
    second.call(20)
    policy = TrustPolicy.parse(town.trust.read_text())
    stranger = ("lei", "5493001KJTIIGC8Y1R12")
    made = town.certificate(*stranger, day)
    operator.log.publish()
    second.log.publish()
    for periods, is_forked in ((operator.periods, False), (second.periods, True)):
        mixed = bundle(periods, [stranger], day, day, [made])
        if is_forked:
            with pytest.raises(AuditError, match="forked"):
                evidence.verify(mixed, policy, now_us=operator.now, max_age_us=None)
        else:
            evidence.verify(mixed, policy, now_us=operator.now, max_age_us=None)
    second.close()


def test_backdating_of_an_entry_in_a_bundle(town: Town) -> None:
    """He states an earlier time for a call than for the heartbeat before it; no map shows that, and bundles do."""
    operator = town.operator
    operator.now += 1_200_000_000
    operator.log._offset += 1_200_000_000
    operator.log.append(Public({"kind": "heartbeat", "cosigned": None}))
    back = 600_000_000
    operator.log._last_time, operator.now, operator.log._offset = 0, operator.now - back, operator.log._offset - back
    index = operator.call(1, party=PARTY).place.index
    operator.log._offset += back
    operator.now += back
    day = usage.day_of(operator.now)
    operator.next_day()
    made = town.certificate("lei", LEI, day)
    path = town.folder / "a.bundle"
    path.write_bytes(bundle(operator.periods, [("lei", LEI)], day, day, [made]))
    status, said = audit("verify", path, "--trust", town.trust, "--at", town.at())
    assert status == 1
    assert [index] == [each["index"] for each in said["findings"] if each["serious"]]
    assert audit("report", path, "--trust", town.trust, "--at", town.at(), "--out", town.folder / "r.html")[0] == 1
    assert "WRONG" in (town.folder / "r.html").read_text()


def test_fork_shown_to_an_auditor_alone_is_not_signed(town: Town) -> None:
    """His own policy asks for witnesses, and the tree that he is shown has none of them."""
    day = town.day()
    assert town.mirror() == 0
    (town.folder / "pack").write_bytes(pack(town.operator.periods, day).write())
    words = ("--pack", town.folder / "pack", "--key", town.folder / "auditor.key", "--out", town.folder / "note")
    trust = town.operator.policy(town.folder / "witnessed", witnessed=True)
    status, _ = audit("period", town.folder / "mirror", "--trust", trust, *words)
    assert (status, (town.folder / "note").exists()) == (3, False)
    words = ("--key", town.folder / "monitor.key", "--out", town.folder / "note")
    status, _ = audit("monitor", town.folder / "mirror", "--trust", trust, *words)
    assert (status, (town.folder / "note").exists()) == (3, False)


def test_booked_to_owner(town: Town) -> None:
    recorded = town.operator.call(1, account=OWNER, access_key="AKCNOWNER", party=[], units=1)
    day = usage.day_of(town.operator.now)
    answer = town.operator.answer(recorded)
    town.operator.next_day()
    status, said = town.verify(town.certificate("account", ACCOUNT, day))
    assert (status, said["claim"]) == (0, "absence")
    status, wrong, said = town.audit(day)
    assert (status, wrong) == (0, set())  # the books agree with each other ..
    assert said["accounts"] == {
        OWNER: {"calls": 1, "units": 1}
    }  # .. and say whose use it is that nobody contracted for
    words = kept(town.folder, recorded, 1, answer)
    mine = ("--account", ACCOUNT, "--access-key", "AKCNVICTIM")
    status, said = audit("receipt", "verify", *words, "--trust", town.trust, *mine)
    assert status == 1
    assert any(f"booked to account {OWNER}" in line for line in said["notes"])


def test_totals_differ(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    def less(rows: Any, late: Any, on: str) -> Any:
        used, totals = usage.tally(rows, late, on)
        return used, usage.Totals(totals.calls, totals.units, totals.amount // 2, totals.currency)

    monkeypatch.setattr(keeping, "usage", _Changed(keeping.usage, tally=less))
    day = town.day()
    monkeypatch.undo()
    assert town.audit(day)[:2] == (1, {"totals-differ"})


def test_erased_accounting(town: Town) -> None:
    day = town.day()
    index = town.operator.periods.root_of(day).first + 2
    town.operator.database.maintain(
        lambda connection: connection.execute("DELETE FROM log_openings WHERE idx = ?", (index,)).close()
    )
    status, wrong, said = town.audit(day)
    assert status == 1
    assert "erased-accounting" in wrong
    assert index in [each["index"] for each in said["findings"]]


def test_openings_withheld_from_auditor(town: Town) -> None:
    day = town.day()
    made = pack(town.operator.periods, day)
    openings = dict(made.openings)
    index = min(openings)
    openings[index] = _said(openings[index], account=OWNER)
    made = type(made)(made.origin, made.day, made.revision, made.root_index, openings, made.keys)
    status, wrong, said = town.audit(day, made.write())
    assert status == 1
    assert "openings-withheld-from-auditor" in wrong
    assert index in [each["index"] for each in said["findings"]]


def test_openings_withheld_that_say_who_stood_behind_an_account(town: Town) -> None:
    day = town.day()
    town.operator.late[ACCOUNT] = [("recorded-owner", "domain", "parent.example")]
    town.operator.periods.revise([ACCOUNT])
    made = pack(town.operator.periods, day)
    root = town.operator.periods.root_of(day)
    act = max(index for index in made.openings if index >= root.end)
    openings = {index: each for index, each in made.openings.items() if index != act}
    made = type(made)(made.origin, made.day, made.revision, made.root_index, openings, made.keys)
    status, wrong, _ = town.audit(day, made.write())
    assert status == 1
    assert "openings-withheld-from-auditor" in wrong


def test_superseded_certificate(town: Town) -> None:
    day = town.day()
    before = town.certificate("domain", "parent.example", day)
    assert town.verify(before)[1]["claim"] == "absence"
    town.operator.late[ACCOUNT] = [("recorded-owner", "domain", "parent.example")]
    town.operator.periods.revise([ACCOUNT])
    after = town.certificate("domain", "parent.example", day)
    assert town.verify(after)[1]["claim"] == "use"
    assert town.verify(before, days_later=6)[0] == 0  # within what the reader allows, and its limits say as of when
    assert town.verify(before, days_later=9)[0] == 1
    # The old map of the day under the newest root: the root commits to the latest revision.
    old, new = (json.loads(each)["certificate"] for each in (before, after))
    mixed = {**new, "days": [{**old["days"][0], "head": new["days"][0]["head"]}]}
    index = old["days"][0]["index"]
    size, _ = town.operator.log.publish()
    mixed["days"][0]["proof"] = [each.hex() for each in town.operator.log.inclusion(index, size)]
    status, said = town.verify(certificate.sign(mixed, town.operator.log.signer))
    assert status == 1
    assert "supersedes it" in said["error"]


def test_a_revision_that_drops_somebody(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    day = town.day()
    town.operator.late[ACCOUNT] = [("recorded-owner", "domain", "parent.example")]

    def without(rows: Any, late: Any, on: str) -> Any:
        used, totals = usage.tally(rows, late, on)
        return {each: one for each, one in used.items() if each[0] != "lei"}, totals

    monkeypatch.setattr(keeping, "usage", _Changed(keeping.usage, tally=without))
    town.operator.periods.revise([ACCOUNT])
    monkeypatch.undo()
    assert town.operator.periods.root_of(day).revision == 1
    assert town.monitor() == (1, {"two-roots"})


def test_omitted_from_map_as_late_knowledge_that_no_map_takes_up(town: Town) -> None:
    """The act is in the log, where only an auditor can open it, and no revision follows."""
    day = town.day()
    town.operator.late[ACCOUNT] = [("recorded-owner", "domain", "parent.example")]
    rows, late = town.operator.periods.read(0, town.operator.periods.root_of(day).end, town.operator.log.size)
    town.operator.periods._attribute_missing([ACCOUNT], day, rows, late)
    later = town.day(0)
    assert town.audit(later)[:2] == (0, set())  # there are 7 days
    for _ in range(8):
        last = town.day(0)
    status, wrong, said = town.audit(later)
    assert (status, wrong) == (1, {"omitted-from-map"})
    assert any(f"stood behind an account on {day}" in each["text"] for each in said["findings"])
    assert town.audit(last)[:2] == (0, set())  # the act is in the range of another day
    town.operator.periods.revise([ACCOUNT])
    assert town.operator.periods.root_of(day).revision == 0  # what is in the log already is no news to the server ..
    root = town.operator.periods.root_of(day)
    town.operator.periods._publish(day, 1, root.first, root.end)  # .. which an honest one would have done at once
    assert town.audit(later)[:2] == (0, set())


@pytest.mark.parametrize("skipped", [0, 2])
def test_two_roots_as_a_first_day_that_begins_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, skipped: int
) -> None:
    """Where the range of the first day begins is the operator's to say: what is before it has to be opened, too."""
    begin = Periods.begin

    def begin_later(periods: Periods) -> None:
        """As in a log that was there before its maps: the first key is for tomorrow."""
        said = accounting(kind="act", time=1, operation="account.create", request_id="r", account=ACCOUNT)
        periods.log.append(Opaque(said))
        begin(periods)

    monkeypatch.setattr(Periods, "begin", begin_later)
    town = Town(tmp_path)
    operator = town.operator
    operator.call(0, party=PARTY)
    operator.now = (operator.now // DAY_US + 1) * DAY_US
    day = usage.day_of(operator.now)
    for number in range(1, 4):
        operator.call(number, party=PARTY)
    first = operator.periods._first_of
    operator.periods._first_of = lambda on: first(on) + skipped  # type: ignore[method-assign]
    operator.next_day()
    root = operator.periods.root_of(day)
    assert (root.calls == 3) == (not skipped)
    assert town.monitor() == (0, set())  # opaque leaves show no time
    assert town.audit(day)[:2] == ((1, {"two-roots"}) if skipped else (0, set()))
    operator.close()


def test_two_roots_as_first_days_without_a_map(town: Town) -> None:
    """The log named a key for today, so today has a map."""
    periods = town.operator.periods
    town.operator.call(1, party=PARTY)
    today = periods.keys[0]
    tomorrow = usage.next_day(today.day)
    periods._secrets[tomorrow] = periods.secret_of(today.day)
    periods.keys[0] = dataclasses.replace(today, day=tomorrow)
    town.operator.next_day()
    town.operator.call(2, party=PARTY)
    town.operator.next_day()
    assert periods.heads[0].day == tomorrow
    assert "two-roots" in town.monitor()[1]


def test_every_cheat_of_the_threat_model_s_second_table_is_here_or_named() -> None:
    second = THREAT_MODEL.read_text("utf-8").split("## Cheats that maps, monitors and auditors show")[1]
    listed = set(re.findall(r"^\| `([a-z-]+)` \|", second.split("\n## ")[0], re.MULTILINE))
    tested = {name.removeprefix("test_").replace("_", "-") for name in globals() if name.startswith("test_")}
    assert listed - tested == set(ELSEWHERE)


def test_certificates_quote_every_cheat_that_nobody_can_detect(town: Town) -> None:
    text = THREAT_MODEL.read_text("utf-8").split("## Cheats that nobody can detect")[1]
    listed = dict(re.findall(r"^- `([a-z0-9-]+)`: ([^\n]+)\.$", text, re.MULTILINE))
    assert listed == dict(UNDETECTABLE)
    assert list(listed) == list(UNDETECTABLE)
    day = town.day()
    made = town.certificate("account", ACCOUNT, day)
    _, said = town.verify(made)
    assert said["claimed"]["limits"] == list(listed)
    words = ("certificate", "verify", town.folder / "certificate", "--trust", town.trust, "--at", town.at())
    done = subprocess.run(
        [sys.executable, "-m", "countenance_audit", *map(str, words)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    for sentence in listed.values():
        assert sentence in done.stdout
    # An operator who leaves one out has no certificate.
    content = json.loads(made)["certificate"]
    content["limits"].remove("copied-gallery")
    status, said = town.verify(certificate.sign(content, town.operator.log.signer))
    assert status == 1
    assert "copied-gallery" in said["error"]


def test_a_certificate_of_another_s_key_is_none(town: Town) -> None:
    day = town.day()
    content = json.loads(town.certificate("lei", LEI, day))["certificate"]
    thief = Signer(town.operator.log.origin, b"\x07" * 32)
    assert town.verify(certificate.sign(content, thief))[0] == 1


def test_every_byte_of_a_certificate_counts(town: Town) -> None:
    """In one process here, as a process for each of them would take an hour."""
    made = town.certificate("lei", LEI, town.day(1))
    policy = TrustPolicy.parse(town.trust.read_text())
    now = town.operator.now
    certificate.verify(made, policy, now_us=now)
    for at in range(len(made)):
        for change in (1, 0x20):
            wrong = bytearray(made)
            wrong[at] ^= change
            with pytest.raises(AuditError):
                certificate.verify(bytes(wrong), policy, now_us=now)


class _Changed:
    """A module with one function of its own."""

    def __init__(self, module: Any, **changed: Any) -> None:
        self.__dict__.update({**vars(module), **changed})


def _said(opening: Opening, **changes: Any) -> Opening:
    content = json.loads(canonical.encode(opening.to_json()))
    content["accounting"] = {**content["accounting"], **changes}
    return Opening.from_json(content)
