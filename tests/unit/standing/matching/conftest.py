"""The matcher where it is installed, and the data that it is measured on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from countenance.standing.matching import MatcherMissing, Scorer

REPOSITORY = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="session")
def scorer() -> Scorer:
    try:
        return Scorer()
    except MatcherMissing as missing:
        pytest.skip(f"{missing.message}: {missing.hint}")


@pytest.fixture(scope="session")
def measuring_data() -> Path:
    folder = Path(os.environ.get("COUNTENANCE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "name_bench").is_dir():
        pytest.skip(f"no labelled names: {folder}/name_bench is missing; set COUNTENANCE_TEST_DATA")
    return folder
