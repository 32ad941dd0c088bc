"""Synthetic faces and a gallery in a folder, for every test that needs one."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from countenance.biometrics import BoundingBox, Reference
from countenance.gallery import Enrolment, SqliteGallery
from countenance.store import Database, Entry, Keyring, SqliteDatabase
from countenance.store.postgres import PostgresDatabase

ACCOUNT = "111122223333"
OTHER_ACCOUNT = "444455556666"
MODEL = "test-model-1"
AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
BOX = BoundingBox(0.25, 0.125, 0.25, 0.5)


def entry(operation: str = "IndexFaces", request_id: str = "r-1", account_id: str = ACCOUNT) -> Entry:
    return Entry(operation, account_id, "AKIDEXAMPLE", request_id, AT, {"faces": 1})


def name_id(name: object) -> str:
    """A UUID that depends on the name alone."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, str(name)))


def unit_rows(count: int, dimension: int, seed: int | Sequence[int]) -> NDArray[np.float32]:
    """(count, dimension) float32 rows of length 1 in random directions."""
    rows = np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def reference(name: object, **changes: Any) -> Reference:
    values: dict[str, Any] = {
        "face_id": name_id(name),
        "image_id": name_id(f"image of {name}"),
        "external_image_id": None,
        "box": BOX,
        "detection_confidence": 99.5,
        "model_version": MODEL,
        "enrolled_at": AT,
    }
    return Reference(**(values | changes))


def enrolments(names: Sequence[object], rows: NDArray[np.float32], **changes: Any) -> list[Enrolment]:
    return [Enrolment(reference(name, **changes), row) for name, row in zip(names, rows, strict=True)]


@dataclass
class World:
    folder: Path
    database: Database
    keyring: Keyring
    gallery: SqliteGallery

    def create(self, collection_id: str = "c", *, dimension: int = 16, account_id: str = ACCOUNT) -> None:
        self.gallery.create_collection(
            account_id,
            collection_id,
            model_version=MODEL,
            dimension=dimension,
            tags={},
            entry=entry("CreateCollection", account_id=account_id),
        )

    def bytes_on_disk(self) -> bytes:
        """Everything in the database's files."""
        return b"".join(path.read_bytes() for path in sorted(self.folder.glob("countenance.db*")))


@contextmanager
def world(
    folder: Path, *, synchronous: str = "FULL", postgres_url: str | None = None, **options: Any
) -> Iterator[World]:
    keyring = Keyring.open(folder / "master.key", create=True)
    database: Database
    if postgres_url is None:
        database = SqliteDatabase(folder / "countenance.db", synchronous=synchronous)
    else:
        database = PostgresDatabase(folder, postgres_url)
    try:
        gallery = SqliteGallery(database, keyring, **options)
        try:
            yield World(folder, database, keyring, gallery)
        finally:
            gallery.close()
    finally:
        database.close()
