"""Reports of the look back, as an outsider holds them against a log."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from countenance_audit import canonical, leaf
from countenance_audit.answering import NO, UNDECIDED, YES
from countenance_audit.cli import run
from countenance_audit.keeping import mirror
from countenance_audit.mirror import Log
from countenance_audit.policy import TrustPolicy
from tests.unit.audit.samples import POLICY, TIME_US, WITNESSES, Server, accounting

LATE_S = TIME_US // 1_000_000 + 61
SAID = {
    "v": 1,
    "account_id": "123456789012",
    "from": "2021-03-10T00:00:00+00:00",
    "to": "2023-11-16T00:00:00+00:00",
    "windows": [
        {
            "from": "2021-03-10T00:00:00+00:00",
            "to": "2023-11-16T00:00:00+00:00",
            "as_known_then": "cleared",
            "why_then": [],
            "as_known_now": "suspended",
            "why_now": ["half of it is owned by somebody listed"],
            "calls": 3,
            "answered": 2,
            "operations": {"DetectFaces": 2},
            "leaves": [4, 5],
        }
    ],
    "cases": [],
}


def about(said: dict[str, Any], **changes: Any) -> leaf.Opening:
    digest = sha256(canonical.encode(said)).hexdigest()
    details = {"report_sha256": digest, "windows": len(said["windows"]), "by": "ann"}
    return leaf.make_opening(accounting(kind="act", operation="party.lookback", details=details, **changes))


class House:
    """An operator's log with one report in it, and the folder of whoever was given the report."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trust = TrustPolicy.parse(POLICY)
        self.logs: list[str] = []
        """Copies of what was served, the oldest first."""
        (folder / "policy").write_text(POLICY)

    def report(self, said: dict[str, Any], opening: leaf.Opening, *, is_witnessed: bool = True) -> dict[str, Any]:
        server = Server([leaf.opaque(bytes(32)), opening.leaf()])
        if is_witnessed:
            server.cosign(LATE_S, *WITNESSES)
        proof = Log(server.fetch, self.trust).leaf_at(1, 2)[1]
        self.logs.append(str(self.folder / f"log-{len(self.logs)}"))
        mirror(server.fetch, Path(self.logs[-1]), self.trust)
        return {
            **said,
            "sha256": sha256(canonical.encode(said)).hexdigest(),
            "receipt": {
                "index": 1,
                "opening": opening.to_json(),
                "proof": [each.hex() for each in proof],
                "checkpoint": server.files["checkpoint"].decode(),
            },
        }


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


@pytest.fixture
def ask(house: House, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, dict[str, Any]]]:
    def asked(report: dict[str, Any], *more: str, trust: bool = True) -> tuple[int, dict[str, Any]]:
        file = house.folder / "report.json"
        file.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n")
        capsys.readouterr()
        policy = ["--trust", str(house.folder / "policy")] if trust else []
        status = run(["lookback", "verify", str(file), *policy, *more, "--json"])
        return status, json.loads(capsys.readouterr().out)

    return asked


def test_a_report_is_what_was_recorded(house: House, ask: Callable[..., tuple[int, dict[str, Any]]]) -> None:
    report = house.report(SAID, about(SAID))
    status, found = ask(report)
    assert (status, found["account"], found["size"]) == (YES, "123456789012", 2)
    assert [each["as_known_now"] for each in found["windows"]] == ["suspended"]
    assert any("2 of 3 calls answered" in line for line in found["notes"])
    assert ask(report, "--log", house.logs[0])[0] == YES
    status, found = ask(report, trust=False)
    assert (status, len(found["claimed_keys"])) == (UNDECIDED, 4)
    assert ask(house.report(SAID, about(SAID), is_witnessed=False))[0] == UNDECIDED


def altered(report: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    copy = json.loads(json.dumps(report))
    *way, last = (int(each) if each.isdigit() else each for each in path.split("/"))
    at = copy
    for each in way:
        at = at[each]
    at[last] = value
    return copy


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("windows/0/as_known_then", "suspended"),
        ("windows/0/answered", 1),
        ("windows/0/leaves/1", 6),
        ("account_id", "210987654321"),
        ("sha256", "0" * 64),
        ("unknown", 1),
        ("receipt/index", 0),
        ("receipt/proof", []),
        ("receipt/opening/accounting/time", TIME_US),
        ("receipt/opening/accounting/details/report_sha256", "0" * 64),
        ("receipt/checkpoint", "x"),
        ("receipt/more", 1),
        ("receipt", None),
        ("windows", None),
        ("windows/0", []),
        ("windows/0/calls", "3"),
        ("v", 2),
    ],
)
def test_whatever_is_changed_is_noticed(
    house: House, ask: Callable[..., tuple[int, dict[str, Any]]], path: str, value: Any
) -> None:
    assert ask(altered(house.report(SAID, about(SAID)), path, value))[0] == NO


def test_an_entry_of_something_else_proves_no_report(
    house: House, ask: Callable[..., tuple[int, dict[str, Any]]]
) -> None:
    other = {**SAID, "cases": [{"case": "x"}]}
    for opening in (about(other), about(SAID, account="210987654321"), leaf.make_opening(accounting())):
        assert ask(house.report(SAID, opening))[0] == NO


def test_another_log_says_no(house: House, ask: Callable[..., tuple[int, dict[str, Any]]]) -> None:
    house.report(SAID, leaf.make_opening(accounting()))
    status, found = ask(house.report(SAID, about(SAID)), "--log", house.logs[0])
    assert status == NO
    assert "no leaf at 1" in found["notes"][-1]
