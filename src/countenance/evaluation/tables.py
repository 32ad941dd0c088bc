"""The CSV forms of a data set. Every complaint names the file and the line."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Final

import numpy as np

from countenance.evaluation.dataset import LABELS, PAIRS, SEARCHES, Dataset, DatasetError

TRUTHS: Final = {"1": True, "true": True, "0": False, "false": False}
ROLES: Final = {"gallery": True, "probe": False}
HEADERS: Final = "`a,b,same`, `image,identity` or `image,identity,role`"

Row = tuple[int, dict[str, str]]
"""The number of a line, and its cells by column."""


def read_table(source: Path, root: Path) -> Dataset:
    """Read a CSV in one of the three forms.

    Raises:
        DatasetError: see `dataset.load`.
    """
    columns, rows = _rows(source)
    if {"a", "b", "same"} <= set(columns) and not {"image", "identity", "role"} & set(columns):
        found = _pairs(source, root, columns, rows)
    elif {"image", "identity"} <= set(columns) and not {"a", "b", "same"} & set(columns):
        found = _labels(source, root, columns, rows)
    else:
        said = ", ".join(columns) or "nothing"
        raise DatasetError(
            f"{source}, line 1: the columns are {said}, which is none of the forms.",
            hint=f"begin with {HEADERS}; further columns are labels of groups",
        )
    return found


class _Images:
    """Images by name, each with the line that named it first."""

    def __init__(self, source: Path, root: Path) -> None:
        self._source, self._root = source, root
        self.names: list[str] = []
        self.lines: list[int] = []
        self._at: dict[PurePath, int] = {}

    def place(self, name: str, line: int) -> int:
        # `./a.jpg` and `a.jpg` are one image, which would be compared with itself.
        path = PurePath(name)
        at = self._at.get(path)
        if at is None:
            at = self._at[path] = len(self.names)
            self.names.append(name)
            self.lines.append(line)
        return at

    def refuse_missing(self) -> None:
        """Raises DatasetError naming the first of those that are not there."""
        missing = [at for at, name in enumerate(self.names) if not (self._root / name).is_file()]
        if missing:
            others = f"; {len(missing) - 1:,} more are missing" if len(missing) > 1 else ""
            raise DatasetError(
                f"{self._source}, line {self.lines[missing[0]]}: there is no file "
                f"{self._root / self.names[missing[0]]}{others}.",
                hint="--images names the folder that relative paths are in",
            )


class _Labels:
    """Whose each image is and what is said of each person, or of each image where nobody is named."""

    def __init__(self, source: Path) -> None:
        self._source = source
        self.subjects: list[str] = []
        self._place: dict[str, int] = {}
        self._of_image: dict[int, tuple[int, int]] = {}
        self._said: dict[tuple[str, int], tuple[str, int]] = {}

    def own(self, image: int, name: str, identity: str, line: int) -> int:
        """Put down that the image is this person's."""
        subject = self._place.setdefault(identity, len(self.subjects))
        if subject == len(self.subjects):
            self.subjects.append(identity)
        before, earlier = self._of_image.setdefault(image, (subject, line))
        if before != subject:
            raise DatasetError(
                f"{self._source}, line {line}: {name} is of {identity} here and of {self.subjects[before]} in line "
                f"{earlier}."
            )
        return subject

    def say(self, column: str, key: int, who: str, value: str, line: int) -> None:
        """Put down a person's, or an image's, label in a column."""
        before, earlier = self._said.setdefault((column, key), (value, line))
        if before != value:
            raise DatasetError(
                f"{self._source}, line {line}: {column} of {who} is {value or 'empty'} here and {before or 'empty'} in "
                f"line {earlier}."
            )

    def values(self, column: str, count: int) -> tuple[str, ...]:
        return tuple(self._said[column, each][0] for each in range(count))

    def subject_of(self, images: int) -> list[int]:
        return [self._of_image[each][0] if each in self._of_image else -1 for each in range(images)]


def _labels(source: Path, root: Path, columns: list[str], rows: Iterator[Row]) -> Dataset:
    has_roles = "role" in columns
    others = [each for each in columns if each not in ("image", "identity", "role")]
    images, labels = _Images(source, root), _Labels(source)
    roles: list[bool] = []
    repeated = 0
    for line, cells in rows:
        name, identity = _needed(source, line, cells, "image"), _needed(source, line, cells, "identity")
        known = len(images.names)
        image = images.place(name, line)
        subject = labels.own(image, name, identity, line)
        for column in others:
            labels.say(column, subject, identity, cells[column], line)
        role = _one_of(source, line, cells["role"], "role", ROLES) if has_roles else False
        if image < known:
            if has_roles and roles[image] != role:
                raise DatasetError(
                    f"{source}, line {line}: {name} is a probe and in the gallery, and would be compared with itself."
                )
            repeated += 1
            continue
        roles.append(role)
    _refuse_empty(source, images)
    if has_roles and len(set(roles)) < 2:
        raise DatasetError(f"{source}: every image is a {'reference' if roles[0] else 'probe'}; both are needed.")
    images.refuse_missing()
    return Dataset(
        form=SEARCHES if has_roles else LABELS,
        source=source,
        root=root,
        images=tuple(images.names),
        subjects=tuple(labels.subjects),
        subject_of=np.array(labels.subject_of(len(images.names)), np.int32),
        in_gallery=np.array(roles, np.bool_) if has_roles else None,
        groups={column: labels.values(column, len(labels.subjects)) for column in others},
        repeated=repeated,
    )


def _pairs(source: Path, root: Path, columns: list[str], rows: Iterator[Row]) -> Dataset:
    others = [each for each in columns if each not in ("a", "b", "same")]
    sided = [each[:-2] for each in others if each.endswith("_a") and f"{each[:-2]}_b" in others]
    whole = [each for each in others if each[:-2] not in sided or not each.endswith(("_a", "_b"))]
    for lone in whole:
        if lone.endswith(("_a", "_b")):
            other = lone[:-1] + ("b" if lone.endswith("a") else "a")
            raise DatasetError(f"{source}, line 1: there is a column {lone} and no column {other}.")
    if clash := set(sided) & set(whole):
        raise DatasetError(f"{source}, line 1: {clash.pop()} is a column of the comparison and of its sides.")
    has_identities = "identity" in sided
    grouped = [each for each in sided if each != "identity"]
    images, labels = _Images(source, root), _Labels(source)
    seen: dict[tuple[int, int], tuple[bool, int]] = {}
    first: list[int] = []
    second: list[int] = []
    same: list[bool] = []
    said: dict[str, list[tuple[str, str]]] = {each: [] for each in (*grouped, *whole)}
    repeated = 0
    for line, cells in rows:
        sides = [images.place(_needed(source, line, cells, each), line) for each in ("a", "b")]
        is_same = _one_of(source, line, cells["same"].lower(), "same", TRUTHS)
        if sides[0] == sides[1]:
            raise DatasetError(f"{source}, line {line}: {cells['a']} is compared with itself.")
        key = (min(sides), max(sides))
        before, earlier = seen.setdefault(key, (is_same, line))
        if before != is_same:
            raise DatasetError(f"{source}, line {line}: line {earlier} says the opposite of the same two images.")
        if has_identities:
            whose = [
                labels.own(side, cells[end], _needed(source, line, cells, f"identity_{end}"), line)
                for side, end in zip(sides, "ab", strict=True)
            ]
            if (whose[0] == whose[1]) != is_same:
                raise DatasetError(f"{source}, line {line}: same is {cells['same']}, and the identities say otherwise.")
        for column in grouped:
            for side, end in zip(sides, "ab", strict=True):
                labels.say(column, side, cells[end], cells[f"{column}_{end}"], line)
        if earlier != line:
            repeated += 1
            continue
        first.append(sides[0])
        second.append(sides[1])
        same.append(is_same)
        for column in grouped:
            said[column].append((cells[f"{column}_a"], cells[f"{column}_b"]))
        for column in whole:
            said[column].append((cells[column], cells[column]))
    _refuse_empty(source, images)
    images.refuse_missing()
    return Dataset(
        form=PAIRS,
        source=source,
        root=root,
        images=tuple(images.names),
        subjects=tuple(labels.subjects),
        subject_of=np.array(labels.subject_of(len(images.names)), np.int32),
        first=np.array(first, np.int32),
        second=np.array(second, np.int32),
        same=np.array(same, np.bool_),
        pair_groups={column: tuple(values) for column, values in said.items()},
        repeated=repeated,
    )


def _rows(source: Path) -> tuple[list[str], Iterator[Row]]:
    try:
        text = source.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{source} is not UTF-8 (byte {error.start:,}).", hint="save it as UTF-8") from None
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [each.strip() for each in next(reader, [])]
    except csv.Error as error:
        raise DatasetError(f"{source}, line 1: {error}.") from None
    for column in columns:
        if not column:
            raise DatasetError(f"{source}, line 1: a column has no name.")
        if columns.count(column) > 1:
            raise DatasetError(f"{source}, line 1: there are two columns {column}.")

    def rows() -> Iterator[Row]:
        while True:
            try:
                cells = next(reader, None)
            except csv.Error as error:
                raise DatasetError(f"{source}, line {reader.line_num}: {error}.") from None
            if cells is None:
                return
            if not cells:
                continue
            if len(cells) != len(columns):
                raise DatasetError(
                    f"{source}, line {reader.line_num}: {len(cells)} cells, and the header has {len(columns)}."
                )
            yield reader.line_num, dict(zip(columns, (each.strip() for each in cells), strict=True))

    return columns, rows()


def _needed(source: Path, line: int, cells: dict[str, str], column: str) -> str:
    if not cells[column]:
        raise DatasetError(f"{source}, line {line}: {column} is empty.")
    if "\0" in cells[column]:
        raise DatasetError(f"{source}, line {line}: {column} has a character that no name can have.")
    return cells[column]


def _one_of(source: Path, line: int, value: str, column: str, allowed: dict[str, bool]) -> bool:
    if value not in allowed:
        raise DatasetError(f"{source}, line {line}: {column} is {value!r}, and has to be one of {', '.join(allowed)}.")
    return allowed[value]


def _refuse_empty(source: Path, images: _Images) -> None:
    if not images.names:
        raise DatasetError(f"{source} has no rows below its header.")
