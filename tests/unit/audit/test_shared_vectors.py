"""The 518 vectors of transparency-dev/merkle: every good proof is accepted, every bad one refused."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from countenance_audit import merkle
from countenance_audit.errors import Rejected

REPOSITORY = Path(__file__).resolve().parents[3]
COUNTS = {"inclusion": 98, "consistency": 98, "subtreeinclusion": 204, "subtreeconsistency": 118}


@pytest.fixture(scope="module")
def vectors() -> Path:
    """Where the vectors are; they are not part of the repository."""
    data = Path(os.environ.get("COUNTENANCE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    folder = data / "tlog_vectors" / "transparency-dev-merkle-testdata"
    if not folder.is_dir():
        pytest.skip(f"no Merkle vectors: {folder} is missing; set COUNTENANCE_TEST_DATA")
    return folder


def octets(vector: dict[str, Any], name: str) -> bytes:
    return base64.b64decode(vector[name] or "", validate=True)


def proof(vector: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(item, validate=True) for item in vector["proof"] or ()]


def inclusion(v: dict[str, Any]) -> None:
    merkle.verify_inclusion(v["leafIdx"], v["treeSize"], octets(v, "leafHash"), proof(v), octets(v, "root"))


def consistency(v: dict[str, Any]) -> None:
    merkle.verify_consistency(v["size1"], v["size2"], octets(v, "root1"), octets(v, "root2"), proof(v))


def subtree_inclusion(v: dict[str, Any]) -> None:
    merkle.verify_subtree_inclusion(
        v["leafIdx"], v["start"], v["end"], octets(v, "leafHash"), proof(v), octets(v, "root")
    )


def subtree_consistency(v: dict[str, Any]) -> None:
    merkle.verify_subtree_consistency(v["start"], v["end"], v["size"], octets(v, "root1"), octets(v, "root2"), proof(v))


@pytest.mark.parametrize(
    ("folder", "check"),
    [
        ("inclusion", inclusion),
        ("consistency", consistency),
        ("subtreeinclusion", subtree_inclusion),
        ("subtreeconsistency", subtree_consistency),
    ],
)
def test_every_vector_is_judged_as_its_makers_judge_it(
    vectors: Path, folder: str, check: Callable[[dict[str, Any]], None]
) -> None:
    files = sorted((vectors / folder).rglob("*.json"))
    assert len(files) == COUNTS[folder]
    wrong = []
    for file in files:
        vector = json.loads(file.read_text(encoding="utf-8"))
        try:
            check(vector)
            refused = False
        except Rejected:
            refused = True
        if refused != vector["wantErr"]:
            wrong.append(f"{file.relative_to(vectors)}: {vector['desc']}")
    assert not wrong, "\n".join(wrong)


def test_the_counts_add_up_to_all_of_them(vectors: Path) -> None:
    assert sum(COUNTS.values()) == 518 == len(list(vectors.rglob("*.json")))
