"""What an outsider's program that is not installed means: a skipped test by hand, a failed one where all must run."""

from __future__ import annotations

import os
from typing import Final, NoReturn

import pytest

REQUIRED: Final = os.environ.get("OUTSIDERS") == "required"
"""Set by `.ci/run`, which installs all of them: there nothing of this folder may pass by being left out."""


def absent(what: str) -> NoReturn:
    """Says that something is not here."""
    if REQUIRED:
        pytest.fail(f"{what} (OUTSIDERS=required)")
    pytest.skip(what)
