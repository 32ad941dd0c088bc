"""period, certificate, evidence: on a data folder with two days behind it, and what an outsider makes of the files."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from countenance_audit import cli as audit
from countenance_audit import usage
from countenance_audit.note import SEED_BYTES, Signer
from tests.cheats.operator import ACCOUNT, DAY_US, Operator

Invoke = Callable[..., Result]
PARTY = [
    {"role": "party", "scheme": "domain", "value": "www.acme.example"},
    {"role": "party", "scheme": "name", "value": "Acme B.V."},
]
AUDITOR = Signer("auditor.example", bytes(range(SEED_BYTES)))


class House:
    """A data folder, and somebody outside."""

    def __init__(self, invoke: Invoke, folder: Path, day: str, policy: Path) -> None:
        self._invoke, self.folder, self.day, self.policy = invoke, folder, day, policy

    def run(self, *words: object, status: int = 0) -> Result:
        result = self._invoke(*map(str, words), "--data", str(self.folder))
        assert result.exit_code == status, result.output
        return result

    def asked(self, *, to: str = "") -> list[str]:
        return ["--from", self.day, "--to", to or self.day, "--requester", "a court"]

    def verify(self, capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        status = audit.run([*map(str, words), "--trust", str(self.policy), "--json"])
        return status, json.loads(capsys.readouterr().out)


@pytest.fixture
def house(invoke: Invoke, tmp_path: Path) -> House:
    """Calls of an account three days ago; no map yet."""
    operator = Operator(tmp_path / "data", now=time.time_ns() // 1000 // DAY_US * DAY_US - 3 * DAY_US + DAY_US // 2)
    day = usage.day_of(operator.now)
    for number in range(3):
        operator.call(number, party=PARTY)
    policy = tmp_path / "policy"
    operator.policy(policy)
    with policy.open("a") as file:
        file.write(f"auditor auditor {AUDITOR.verifier}\n")
    operator.close()
    return House(invoke, tmp_path / "data", day, policy)


def test_maps_are_made_and_listed(house: House) -> None:
    assert house.run("period", "list", "--json").stdout
    made = json.loads(house.run("period", "close", "--json").stdout)["made"]
    assert house.day in [each["day"] for each in made]
    assert "Nothing is due" in house.run("period", "close").stderr
    listed = json.loads(house.run("period", "list", "--json").stdout)["days"]
    (found,) = [each for each in listed if each["day"] == house.day]
    assert (found["identifiers"], found["calls"]) == (4, 3)  # account, domain, name with and without its legal form


def test_certificates_say_what_the_log_says(house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    house.run("period", "close")
    for identifier, claim, asked in (
        (f"account:{ACCOUNT}", "use", [ACCOUNT]),
        ("domain:acme.example", "use", ["acme.example"]),
        ("domain:shop.acme.example", "use", ["acme.example"]),
        ("domain:other.example", "absence", ["other.example"]),
        ("name:ACME BV", "use", ["acmebv", "acme"]),
    ):
        file = tmp_path / f"{claim}-{asked[0]}-{len(identifier)}"
        more = ["--legal-entity"] if identifier.startswith("name:") else []
        house.run("certificate", "issue", identifier, *house.asked(), *more, "--out", file)
        status, said = house.verify(capsys, "certificate", "verify", file)
        assert (status, said["certificate"]["claim"], said["certificate"]["asked"]) == (0, claim, asked)


def test_a_name_alone_takes_a_word(house: House, tmp_path: Path) -> None:
    house.run("period", "close")
    refused = house.run("certificate", "issue", "name:Jan Jansen", *house.asked(), "--out", tmp_path / "x", status=3)
    assert "--legal-entity" in refused.stderr
    assert not (tmp_path / "x").exists()


def test_requests_are_answered_or_refused(house: House, tmp_path: Path) -> None:
    request = house.run("certificate", "request", "domain:other.example", *house.asked()).stdout.strip()
    house.run("period", "close")
    house.run("certificate", "issue", "--request", request, "--out", tmp_path / "made")
    other = house.run("certificate", "request", "lei:529900T8BM49AURSDO55", *house.asked()).stdout.strip()
    house.run("certificate", "refuse", other, "--reason", "no right to it")
    states = {
        each["request"]: each["state"]
        for each in json.loads(house.run("certificate", "list", "--json").stdout)["requests"]
    }
    assert states == {request: "answered", other: "refused"}
    for words in (
        ("domain:other.example", "--request", request),
        ("domain:other.example",),
        ("domain:other.example", *house.asked(), "--out", tmp_path / "made"),
    ):
        house.run("certificate", "issue", *words, *([] if "--out" in words else ["--out", tmp_path / "y"]), status=2)


def test_a_bundle_and_a_pack(house: House, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    house.run("period", "close")
    parties = ["--party", f"account:{ACCOUNT}", "--party", "name:Nobody Ltd"]
    bundle, pack = tmp_path / "case.bundle", tmp_path / "day.pack"
    house.run("evidence", "export", *parties, *house.asked(), "--legal-entity", "--out", bundle)
    status, said = house.verify(capsys, "verify", bundle)
    assert status == 0, said
    assert [each["claim"] for each in said["certificates"]] == ["use", "absence"]
    assert house.verify(capsys, "report", bundle, "--out", tmp_path / "report.html")[0] == 0
    assert "weak, by name alone; asserted" in (tmp_path / "report.html").read_text()
    sealed = house.run("evidence", "pack", "--day", house.day, "--auditor", str(AUDITOR.verifier), "--out", pack)
    assert ", sealed." in sealed.stderr
    assert b"acme" not in pack.read_bytes()
    assert house.run("evidence", "pack", "--day", house.day, "--out", bundle, status=3).stderr


def test_another_key_from_tomorrow_on(house: House) -> None:
    key = house.run("period", "rotate", "--yes").stdout.strip()
    assert len(key) == 64
    assert "one key a day" in house.run("period", "rotate", "--yes", status=3).stderr
