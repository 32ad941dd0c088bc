from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.congruence.samples import World, world


@pytest.fixture
def at_home(tmp_path: Path) -> Iterator[World]:
    """An open gallery with one empty collection, "c", of 16 features."""
    with world(tmp_path) as opened:
        opened.create()
        yield opened
