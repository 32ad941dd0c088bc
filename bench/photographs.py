"""Which photographs the benchmark runs on: the same forty on every machine that has the test data.

The three sets lie under `faces/` of the test data folder (COUNTENANCE_TEST_DATA, else ../shared/data beside the
repository): CompreFace's sample images (18, six of them of 12 to 36 megapixels), dlib's example faces (12) and
the examples of face_recognition, of which the first ten in order of file name make up the forty.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path

SETS = ("compreface_samples", "dlib_faces_det", "face_recognition_examples")
COUNT = 40
QUICK_STEP = 4
"""--quick takes every fourth of the forty, which keeps two of the very large ones."""
ENDINGS = (".jpg", ".jpeg", ".png")


class DataMissing(Exception):
    """The test data is not there; says which folder was looked for."""


@dataclass(frozen=True, slots=True)
class Photograph:
    name: str
    data: bytes
    labelled_faces: int | None
    """Faces a person counted; None where nobody did."""


def data_folder() -> Path:
    """The test data. Raises DataMissing."""
    root = Path(__file__).resolve().parent.parent
    folder = Path(os.environ.get("COUNTENANCE_TEST_DATA") or root.parent / "shared" / "data")
    missing = [name for name in SETS if not (folder / "faces" / name / "images").is_dir()]
    if missing:
        raise DataMissing(f"{folder}/faces has no {', '.join(missing)}; COUNTENANCE_TEST_DATA names another folder")
    return folder


def photographs(*, quick: bool) -> list[Photograph]:
    """The forty, or every fourth of them. Raises DataMissing."""
    faces = data_folder() / "faces"
    found: list[Photograph] = []
    for name in SETS:
        counts = _counts(faces / name / "labels.csv")
        images = sorted(path for path in (faces / name / "images").iterdir() if path.suffix.lower() in ENDINGS)
        for path in images[: COUNT - len(found)]:
            label = counts.get(f"images/{path.name}")
            found.append(Photograph(f"{name}/{path.name}", path.read_bytes(), label))
    return found[1::QUICK_STEP] if quick else found


def _counts(path: Path) -> dict[str, int]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return {row["image"]: int(row["n_faces"]) for row in rows if row.get("n_faces")}
