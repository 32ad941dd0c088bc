"""One engine for the folder: making it costs more than most tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from countenance.recognition import Engine, build_engine


@pytest.fixture(scope="session")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="session")
def engine(models_dir: Path) -> Iterator[Engine]:
    built = build_engine(cache_dir=models_dir, workers=2, threads=1)
    yield built
    built.close()


@pytest.fixture(scope="session")
def portrait(test_data: Path) -> bytes:
    """One upright face, 416 x 624."""
    return (test_data / "faces/compreface_samples/images/007_B.jpg").read_bytes()


@pytest.fixture(scope="session")
def group(test_data: Path) -> bytes:
    """Five faces, 819 x 546."""
    return (test_data / "faces/compreface_samples/images/000_5.jpg").read_bytes()
