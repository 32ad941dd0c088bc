"""Fixtures shared by all tests.

Photographs are never committed. Tests that need some look in COUNTENANCE_TEST_DATA or in ../shared/data beside
the checkout, and skip, naming what is missing, when neither is there.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of measuring data."""
    folder = Path(os.environ.get("COUNTENANCE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "faces").is_dir():
        pytest.skip(f"no face images: {folder}/faces is missing; set COUNTENANCE_TEST_DATA")
    return folder


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of lists and vectors: whatever a test needs of it besides photographs."""
    folder = Path(os.environ.get("COUNTENANCE_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "ownership_vectors.json").is_file():
        pytest.skip(f"no vectors: {folder}/ownership_vectors.json is missing; set COUNTENANCE_TEST_DATA")
    return folder
