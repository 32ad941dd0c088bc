"""`countenance party statements`: what publishers have goes on record, and comes out again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from countenance.assembly import open_admin
from countenance.cli import main
from countenance.config import Settings
from countenance.standing.ownership import bods

LEI, PARENT = "529900T8BM49AURSDO55", "213800D1EI4B9WTWWD28"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    with open_admin(Settings(data_dir=tmp_path / "data")):
        return tmp_path / "data"


def run(data: Path, *words: str) -> Result:
    return CliRunner().invoke(main, ["party", "statements", *words, "--data", str(data)])


def answer(data: Path, *words: str) -> dict[str, Any]:
    done = run(data, *words, "--json")
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def record(kind: str, name: str, details: dict[str, Any]) -> dict[str, Any]:
    return {
        "statementId": name.ljust(32, "0"),
        "statementDate": "2020-01-01",
        "recordId": name,
        "recordType": kind,
        "recordDetails": details,
    }


def test_a_file_of_the_standard_goes_on_record_and_comes_out_again(data: Path, tmp_path: Path) -> None:
    file, out = tmp_path / "bods.json", tmp_path / "out.json"
    registered = {"entityType": {"type": "registeredEntity"}}
    number = [{"scheme": "GB-COH", "id": "03977902"}]
    interest = {"type": "shareholding", "share": {"exact": 60}, "startDate": "2019-05-01"}
    file.write_text(
        json.dumps(
            [
                record("entity", "a", {**registered, "name": "Owned Ltd", "identifiers": number}),
                record("entity", "b", {**registered, "name": "Owner", "jurisdiction": {"name": "x", "code": "LU"}}),
                record("relationship", "c", {"subject": "a", "interestedParty": "b", "interests": [interest]}),
            ]
        )
    )
    assert len(answer(data, "--bods", str(file))["recorded"]) == 1
    assert answer(data, "--bods", str(file))["recorded"] == []  # they are there
    told = answer(data)
    assert [(each["owner"], each["owned"]) for each in told["statements"]] == [("name:owner", "reg:GB-COH:03977902")]
    assert told["parties"]["name:owner"]["jurisdiction"] == "LU"
    answer(data, "--export-bods", str(out), "--publisher", "Us")
    (again,), _ = bods.read(out.read_bytes())
    assert (again.owner, again.owned, str(again.share), str(again.valid_from), again.source) == (
        "name:owner",
        "reg:GB-COH:03977902",
        "60 %",
        "2019-05-01",
        "BODS, Us",
    )
    there = run(data, "--export-bods", str(out))
    assert (there.exit_code, "replaces nothing" in there.output) == (2, True)


def test_chains_of_gleif_go_on_record(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "rr.csv"
    names = ("StartNode.NodeID", "EndNode.NodeID", "RelationshipType", "RelationshipStatus")
    lines = [",".join(f"Relationship.{each}" for each in names)]
    lines += [f"{LEI},{PARENT},IS_ULTIMATELY_CONSOLIDATED_BY,ACTIVE"]
    file.write_text("\n".join(lines))
    assert answer(data, "--gleif", str(file), "--lei", PARENT)["recorded"] == []
    assert len(answer(data, "--gleif", str(file), "--lei", LEI)["recorded"]) == 1
    (told,) = answer(data)["statements"]
    assert (told["owner"], told["interest"], told["is_direct"]) == (
        f"lei:{PARENT}",
        "otherInfluenceOrControl",
        False,
    )


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--bods", "FILE", "--gleif", "FILE"), "give one of"),
        (("--lei", LEI), "goes with --gleif"),
        (("--bods", "FILE"), "no JSON"),
        (("--gleif", "FILE"), "no level 2 data"),
        (("--gleif", "nowhere"), "does not exist"),
    ],
)
def test_what_makes_no_sense_is_said(data: Path, tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    file = tmp_path / "x"
    file.write_text("x")
    done = run(data, *(str(file) if each == "FILE" else each for each in words))
    assert done.exit_code != 0
    assert told in done.output
    assert not isinstance(done.exception, AssertionError | TypeError)
