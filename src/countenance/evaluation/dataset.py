"""What is evaluated: images, whose they are, which of them are compared, and labels of groups.

Reads a folder with a folder per person, or a CSV that its header tells apart:

    a,b,same                 comparisons, same in 1/0/true/false
    image,identity           labels: every image is compared with every other
    image,identity,role      role gallery or probe: every probe is compared with every reference

Further columns are labels of groups: of the image's person, or in the first form of the comparison; there NAME_a and
NAME_b are of either side, and identity_a and identity_b say whose the images are. Knows no engine and no pixel.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from countenance.errors import Error

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".avif", ".heic"})
"""What is an image in a folder per person; a CSV names what it likes."""

Form = str
FOLDER: Final = "folder"
PAIRS: Final = "pairs"
LABELS: Final = "labels"
SEARCHES: Final = "gallery and probes"


class DatasetError(Error):
    """What was to be evaluated cannot be read as one of the forms."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """One evaluation's images and labels."""

    form: Form
    source: Path
    root: Path
    images: tuple[str, ...]
    """As the source names them, below `root` unless absolute; none twice."""
    subjects: tuple[str, ...]
    """Names of people; empty when the source tells none."""
    subject_of: NDArray[np.int32]
    """Of each image its place in `subjects`; -1 where it is not known."""
    in_gallery: NDArray[np.bool_] | None = None
    """Of each image whether it is a reference; only of gallery and probes."""
    first: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    """Of each comparison its first image; only of pairs."""
    second: NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))
    same: NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    groups: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Column -> the label of each subject; an empty text where none is stated."""
    pair_groups: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    """Column -> the labels of each comparison's two sides; only of pairs."""
    repeated: int = 0
    """Rows that said again what an earlier one had said; they count once."""

    @property
    def knows_subjects(self) -> bool:
        """Whether it is known of every image whose it is."""
        return bool(self.images) and bool((self.subject_of >= 0).all())

    @property
    def digest(self) -> str:
        """SHA-256 over the images' names and where they lie: what extracted features are bound to."""
        said = hashlib.sha256(str(self.root.resolve()).encode("utf-8", "surrogateescape"))
        for each in self.images:
            said.update(b"\0" + each.encode("utf-8", "surrogateescape"))
        return said.hexdigest()

    def path(self, image: int) -> Path:
        """Where an image lies."""
        return self.root / self.images[image]


def load(source: Path, root: Path | None = None) -> Dataset:
    """Read a folder or a CSV, and see that every image is there.

    Args:
        source: a folder with a folder per person, or a CSV.
        root: what relative paths in a CSV are relative to; its own folder by default.

    Raises:
        DatasetError: neither, or one whose rows are incomplete or contradict each other, or name files that are
            missing. The message has the file and the line.
    """
    if source.is_dir():
        if root is not None:
            raise DatasetError("A folder per person has its images in itself.", hint="leave --images out")
        return _folder(source)
    from countenance.evaluation.tables import read_table

    return read_table(source, source.parent if root is None else root)


def _folder(source: Path) -> Dataset:
    people = sorted(each for each in source.iterdir() if each.is_dir() and not each.name.startswith("."))
    named = [
        (f"{person.name}/{image.name}", at)
        for at, person in enumerate(people)
        for image in sorted(person.iterdir())
        if image.suffix.lower() in SUFFIXES and image.is_file()
    ]
    if not named:
        raise DatasetError(
            f"{source} has no folders with images in them.",
            hint="put a folder for each person into it, with photographs of that person, or name a CSV",
        )
    used = sorted({at for _, at in named})
    place = {at: new for new, at in enumerate(used)}
    return Dataset(
        form=FOLDER,
        source=source,
        root=source,
        images=tuple(name for name, _ in named),
        subjects=tuple(people[at].name for at in used),
        subject_of=np.array([place[at] for _, at in named], np.int32),
    )
