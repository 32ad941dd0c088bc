"""Two admins, and hashes that are made quickly."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.operators.house import House

from countenance.operators import credentials as module


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2id with little memory: its parameters are the library's, and tests hash often."""
    import argon2

    hasher = argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(module, "_hasher", hasher)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "data")
    yield made
    made.log.database.close()


@pytest.fixture
def two(house: House) -> House:
    house.make("ann", "admin")
    house.make("bea", "compliance", "admin")
    return house
