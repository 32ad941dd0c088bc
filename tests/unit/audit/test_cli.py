"""What the command says and the status it ends with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from countenance_audit import canonical, leaf, merkle, receipt
from countenance_audit.cli import NO, UNDECIDED, USAGE, YES, run
from countenance_audit.keeping import mirror
from countenance_audit.mirror import Log
from countenance_audit.policy import TrustPolicy
from tests.unit.audit.samples import LOG, ORIGIN, POLICY, REQUEST, RESPONSE, TIME_US, Server, accounting, person, sha

OPENING = leaf.make_opening(accounting(), person())
LATE_S = TIME_US // 1_000_000 + 61


class Folder:
    """The files of somebody who holds a receipt."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.server = Server([leaf.opaque(bytes(32)), OPENING.leaf()])
        self.server.cosign(LATE_S)
        trust = TrustPolicy.parse(POLICY)
        self.made = receipt.Receipt(
            ORIGIN, LOG.verifier.key_id.hex(), "r-1", 1, merkle.leaf_hash(OPENING.leaf()).hex(), TIME_US,
            sha(REQUEST), sha(RESPONSE), TIME_US + 60_000_000,
        )  # fmt: skip
        _, proof = Log(self.server.fetch, trust).leaf_at(1, 2)
        self.write("policy", POLICY.encode())
        self.write("receipt", receipt.sign(self.made, LOG).encode() + b"\n")
        self.write("request", REQUEST)
        self.write("response", RESPONSE)
        self.write("checkpoint", self.server.files["checkpoint"])
        self.write("leaf", OPENING.leaf())
        self.write("leaf.hex", OPENING.leaf().hex().encode())
        self.write("opening", canonical.encode(OPENING.to_json()))
        self.answer = {
            "opening": OPENING.to_json(),
            "proof": [item.hex() for item in proof],
            "checkpoint": self.server.files["checkpoint"].decode(),
        }
        self.write("answer", json.dumps(self.answer, indent=2).encode())
        mirror(self.server.fetch, path / "log", trust)

    def write(self, name: str, content: bytes) -> None:
        (self.path / name).write_bytes(content)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folder:
    monkeypatch.chdir(tmp_path)
    return Folder(tmp_path)


def asked(capsys: pytest.CaptureFixture[str], line: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    words = run(line.split())
    text = capsys.readouterr().out
    status = run([*line.split(), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert status == words == found["status"]
    assert text.endswith(f"=> {found['answer']}\n")
    return status, found


def test_every_question_has_a_yes(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    for line in (
        "receipt verify receipt --trust policy",
        "receipt verify receipt --trust policy --request request --response response --opening answer",
        "receipt verify receipt --trust policy --opening opening --log log",
        "checkpoint verify checkpoint --trust policy",
        "consistency checkpoint checkpoint --log log --trust policy",
        "mirror log copy --trust policy",
        "leaf show opening --leaf leaf",
        "leaf show answer --leaf leaf.hex",
        "vectors",
    ):
        status, found = asked(capsys, line)
        assert status == YES, (line, found)


def test_a_no(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.write("other", canonical.encode(leaf.make_opening(accounting()).to_json()))
    for line in (
        "receipt verify receipt --trust policy --request response",
        "receipt verify checkpoint --trust policy",
        "receipt verify receipt --trust policy --opening other --log log",
        "checkpoint verify receipt --trust policy",
        "leaf show other --leaf leaf",
    ):
        assert asked(capsys, line)[0] == NO, line


def test_evidence_is_named(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    short = Server([leaf.opaque(bytes(32))])
    short.cosign(LATE_S)
    folder.write("late", json.dumps({**folder.answer, "checkpoint": short.files["checkpoint"].decode()}).encode())
    status, found = asked(capsys, "receipt verify receipt --trust policy --opening late")
    assert (status, found["evidence"]) == (NO, "absent")


def test_another_leaf_in_the_log_is_evidence(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    mirror(
        Server([leaf.opaque(bytes(32)), leaf.opaque(b"x" * 32)]).fetch, folder.path / "fork", TrustPolicy.parse(POLICY)
    )
    status, found = asked(capsys, "receipt verify receipt --trust policy --log fork")
    assert (status, found["evidence"]) == (NO, "other-leaf")


def test_without_a_policy_nothing_is_decided(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    for line in (
        "receipt verify receipt",
        "checkpoint verify checkpoint",
        "consistency checkpoint checkpoint --log log",
        "mirror log copy",
    ):
        status, found = asked(capsys, line)
        assert status == UNDECIDED
        assert f"{ORIGIN} with key {LOG.verifier.key_id.hex()}" in found["claimed_keys"]
    assert not (folder.path / "copy").exists()


def test_what_is_missing_leaves_it_undecided(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.write("alone", Server([leaf.opaque(bytes(32))]).files["checkpoint"])
    for line in (
        "checkpoint verify alone --trust policy",
        "receipt verify receipt --trust policy --opening opening",
        "receipt verify receipt --trust policy --log nowhere",
    ):
        assert asked(capsys, line)[0] == UNDECIDED, line


def test_wrong_usage(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    folder.write("bad", b"log x\n")
    for line in ("checkpoint verify nowhere --trust policy", "checkpoint verify checkpoint --trust bad"):
        assert asked(capsys, line)[0] == USAGE
    for line in ("", "receipt", "checkpoint verify", "no such"):
        assert run(line.split()) == USAGE


def test_nothing_printed_can_steer_a_terminal(folder: Folder, capsys: pytest.CaptureFixture[str]) -> None:
    note = folder.server.files["checkpoint"] + "— evil\u009b2Jname\u202e MTIzNDU2\n".encode()
    folder.write("steering", note)
    assert run(["checkpoint", "verify", "steering"]) == UNDECIDED
    text = capsys.readouterr().out
    assert "evil\\x9b2Jname\\u202e" in text
