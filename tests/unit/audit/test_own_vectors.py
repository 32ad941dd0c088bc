"""The committed vectors: all of them run, none of them missing, and the script still makes the same ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from countenance_audit import vectors

PACKAGE = Path(__file__).resolve().parents[3] / "packages" / "audit"
COUNTS = {
    "canonical": 29,
    "identifiers": 73,
    "leaf": 44,
    "note": 25,
    "checkpoint": 28,
    "receipt": 24,
    "merkle": 208,
    "vrf": 12,
    "maps": 19,
    "certificate": 17,
    "evidence": 5,
}


def test_all_are_as_expected() -> None:
    outcomes = vectors.run(PACKAGE / "vectors")
    assert [f"{o.file}: {o.name}: {o.wrong}" for o in outcomes if o.wrong] == []
    assert {file: sum(o.file == file for o in outcomes) for file in vectors.FILES} == COUNTS


def test_every_bad_one_says_why_and_every_name_is_used_once() -> None:
    for file in vectors.FILES:
        content = json.loads((PACKAGE / "vectors" / f"{file}.json").read_text(encoding="utf-8"))
        names = [(vector["type"], vector["name"]) for vector in content["vectors"]]
        assert len(set(names)) == len(names)
        assert all(vector["why"] and vector["error"] for vector in content["vectors"] if not vector["good"])
        assert {True, False} == {vector["good"] for vector in content["vectors"]}


def test_a_wrong_expectation_is_noticed(tmp_path: Path) -> None:
    for file in vectors.FILES:
        text = (PACKAGE / "vectors" / f"{file}.json").read_text(encoding="utf-8")
        turned = text.replace('"good": false', '"good": true')
        (tmp_path / f"{file}.json").write_text(turned, encoding="utf-8")
    wrong = [outcome for outcome in vectors.run(tmp_path) if outcome.wrong]
    assert len(wrong) > 100


def test_the_script_makes_the_same_vectors(tmp_path: Path) -> None:
    for folder in ("scripts", "vectors"):
        (tmp_path / folder).mkdir()
    for script in (PACKAGE / "scripts").glob("*.py"):
        (tmp_path / "scripts" / script.name).write_bytes(script.read_bytes())
    subprocess.run([sys.executable, str(tmp_path / "scripts" / "make_vectors.py")], check=True, timeout=120)
    for file in vectors.FILES:
        made = (tmp_path / "vectors" / f"{file}.json").read_bytes()
        assert made == (PACKAGE / "vectors" / f"{file}.json").read_bytes()
