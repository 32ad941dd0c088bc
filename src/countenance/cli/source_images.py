"""Where the images of another system's faces are: which file belongs to which face, and its bytes.

Knows folders, buckets, templates of names and tables; knows no server. A name is relative to the folder or the bucket's
prefix, and never leads out of it.
"""

from __future__ import annotations

import csv
import string
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from countenance.cli.local_image import LocalImageError, fitted, read_image
from countenance.errors import Error

FIELDS: Final = frozenset({"collection", "external_image_id", "external_path", "face_id", "image_id"})
"""What a template may have in braces; `external_path` is the ExternalImageId with slashes for colons, as
`countenance enrol` makes them of paths."""
COLUMNS: Final = ("collection", "face_id", "external_image_id", "image")
"""Of a table; those that are missing or empty match everything, but one of the ids is needed."""
MAX_OBJECT_BYTES: Final = 64 << 20
"""Of an image in a bucket; more is no photograph."""
_GONE: Final = frozenset({"404", "NoSuchKey", "NotFound"})


class Images(Protocol):
    """A place with images."""

    def has(self, name: str) -> bool:
        """Whether there is such an image."""
        ...

    def read(self, name: str) -> bytes:
        """The bytes to send.

        Raises:
            LocalImageError, OSError: it cannot be used.
        """
        ...


@dataclass(frozen=True, slots=True)
class Folder:
    """Images below a folder."""

    root: Path
    shrink: bool

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.root / name).is_file()

    def read(self, name: str) -> bytes:
        """See `Images.read`."""
        return read_image(self.root / name, shrink=self.shrink)


@dataclass(frozen=True, slots=True)
class Bucket:
    """Objects of a bucket whose names begin with a prefix.

    Attributes:
        client: botocore's, of S3.
    """

    client: Any
    bucket: str
    prefix: str
    shrink: bool

    def has(self, name: str) -> bool:
        """Whether there is such an object. Raises Error when the bucket does not say."""
        try:
            self.client.head_object(Bucket=self.bucket, Key=self.prefix + name)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _GONE:
                return False
            raise self._refused(error) from None
        except (BotoCoreError, HTTPClientError) as error:
            raise self._refused(error) from None
        return True

    def read(self, name: str) -> bytes:
        """See `Images.read`."""
        try:
            answer = self.client.get_object(Bucket=self.bucket, Key=self.prefix + name)
            data: bytes = answer["Body"].read(MAX_OBJECT_BYTES + 1)
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") in _GONE:
                raise LocalImageError(f"there is no object {self.prefix}{name}") from None
            raise self._refused(error) from None
        except (BotoCoreError, HTTPClientError) as error:
            raise self._refused(error) from None
        if len(data) > MAX_OBJECT_BYTES:
            raise LocalImageError(f"{name} has more than {MAX_OBJECT_BYTES >> 20} MiB")
        return fitted(name, data, shrink=self.shrink)

    def _refused(self, error: Exception) -> Error:
        code = error.response.get("Error", {}).get("Code", "") if isinstance(error, ClientError) else ""
        return Error(
            f"The bucket {self.bucket} cannot be read ({code or type(error).__name__}).",
            hint="--s3-profile, --s3-region and --s3-endpoint-url say where it is",
        )


def bucket_of(where: str) -> tuple[str, str] | None:
    """Bucket and prefix of s3://BUCKET/PREFIX; None for anything else."""
    parts = urlsplit(where)
    if parts.scheme != "s3" or not parts.netloc:
        return None
    prefix = parts.path.lstrip("/")
    return parts.netloc, prefix if not prefix or prefix.endswith("/") else f"{prefix}/"


@dataclass(frozen=True, slots=True)
class Naming:
    """Which image a face came from.

    Attributes:
        templates: tried in turn, the first that exists counts.
        table: (collection or "", kind of id, id) -> name.
    """

    templates: tuple[str, ...]
    table: Mapping[tuple[str, str, str], str]

    def candidates(self, collection: str, face: Mapping[str, Any]) -> Iterator[str]:
        """Names to look for, the best first: what a table says of the face, then of its ExternalImageId, then
        templates."""
        for kind, member in (("face_id", "FaceId"), ("external_image_id", "ExternalImageId")):
            for of in (collection, ""):
                if member in face and (of, kind, face[member]) in self.table:
                    yield self.table[of, kind, face[member]]
                    return
        external = face.get("ExternalImageId")
        values = {
            "collection": collection,
            "face_id": face["FaceId"],
            "image_id": face.get("ImageId", ""),
            "external_image_id": external,
            "external_path": external and external.replace(":", "/"),
        }
        for template in self.templates:
            needed = _fields(template)
            if all(values[each] for each in needed):
                name = template.format_map({each: values[each] for each in needed})
                if _stays_inside(name):
                    yield name


def naming(templates: Iterable[str], table: Path | None) -> Naming:
    """Templates and table, checked.

    Raises:
        Error: a template names what there is not, a table has no such columns, or a name leads out of the folder.
    """
    chosen = tuple(templates)
    for template in chosen:
        try:
            wrong = _fields(template) - FIELDS
        except ValueError:
            wrong = {template}
        if wrong or not _fields(template):
            raise Error(
                f"The template {template!r} cannot be used.",
                hint=f"it has one or more of {', '.join(f'{{{each}}}' for each in sorted(FIELDS))} in it",
            )
    return Naming(chosen, {} if table is None else dict(_rows(table)))


def _rows(path: Path) -> Iterator[tuple[tuple[str, str, str], str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if "image" not in (reader.fieldnames or ()):
                raise Error(f"{path} has no column image.", hint=f"columns are {', '.join(COLUMNS)}")
            for number, row in enumerate(reader, 2):
                of, name = row.get("collection") or "", row["image"]
                kind = "face_id" if row.get("face_id") else "external_image_id"
                if not row.get(kind) or not name or not _stays_inside(name):
                    raise Error(
                        f"Line {number} of {path} says of no face where its image is.",
                        hint="a face_id or an external_image_id, and a name below --images",
                    )
                yield (of, kind, row[kind]), name
    except (UnicodeDecodeError, csv.Error):
        raise Error(f"{path} is not a table in CSV and UTF-8.") from None


def _fields(template: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}


def _stays_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\0" not in name
