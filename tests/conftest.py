"""Fixtures shared by all tests.

Photographs are never committed. Tests that need some look in COUNTENANCE_TEST_DATA or in ../shared/data beside
the checkout, and skip, naming what is missing, when neither is there.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from tests.postgres import Cluster

REPOSITORY = Path(__file__).resolve().parent.parent
_clusters: list[Cluster] = []


def _the_cluster() -> Cluster:
    """One server for the whole run, started when it is first wanted."""
    if not _clusters:
        made = Cluster()
        _clusters.append(made)
        made.start()
    return _clusters[0]


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """A running PostgreSQL; tests that stop or kill theirs make their own."""
    return _the_cluster()


@pytest.fixture
def postgres_url(cluster: Cluster, tmp_path: Path) -> str:
    """Of an empty database for one test."""
    return cluster.create(_name_of(tmp_path))


def _name_of(path: Path) -> str:
    return "t" + hashlib.sha256(str(path).encode()).hexdigest()[:20]


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--store postgresql`: every test that opens an embedded database gets one of PostgreSQL in its place."""
    parser.addoption("--store", choices=("sqlite", "postgresql"), default="sqlite")


def pytest_configure(config: pytest.Config) -> None:
    """Before test modules are imported: they take the class by its name."""
    if config.getoption("--store") != "postgresql":
        return
    import countenance.store
    from countenance.store.postgres import PostgresDatabase

    class InPlace(PostgresDatabase):
        def __init__(self, path: Path, **settings: Any) -> None:
            self.path = path
            settings = {name: value for name, value in settings.items() if name.startswith("queue_")}
            super().__init__(path.parent, _the_cluster().create(_name_of(path)), **settings)

    countenance.store.SqliteDatabase = InPlace  # type: ignore[assignment,misc]


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """The server goes with the run."""
    while _clusters:
        _clusters.pop().remove()


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
