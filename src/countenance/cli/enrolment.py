"""Enrolling many images into one collection: what is sent, what is left out, and what became of each file.

Knows IndexFaces and its errors; draws nothing and prints nothing. A run can be stopped and repeated: a file whose
ExternalImageId the collection already has is not sent again, and the server keeps no image twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import Any, Final

from countenance.cli.folder_images import FolderImage
from countenance.cli.local_image import LocalImageError, read_image
from countenance.cli.remote import Remote, RemoteError

OF_THE_FILE: Final = frozenset(("InvalidImageFormatException", "ImageTooLargeException", "InvalidParameterException"))
"""Codes that say that this image cannot be used. Every other refusal would meet the next file as well."""

MAY_PASS: Final = frozenset(("ThrottlingException", "ProvisionedThroughputExceededException", "InternalServerError"))
"""Codes after which the next file may do better."""

GIVE_UP_AFTER: Final = 10
"""Files in a row without an answer, after which the run ends."""

LIST_PAGE: Final = 4096
"""Largest page of ListFaces (service model, PageSize)."""


@dataclass(slots=True)
class Report:
    """What became of every file, in the order in which it was known."""

    enrolled: list[dict[str, Any]] = field(default_factory=list)
    already_there: list[str] = field(default_factory=list)
    unusable: list[dict[str, str]] = field(default_factory=list)
    """The file cannot be used: no image, no face, too large."""
    failed: list[dict[str, str]] = field(default_factory=list)
    """The file may be fine, but there was no answer."""
    stopped_by: str | None = None
    """Why files were left untried."""

    @property
    def faces(self) -> int:
        """Faces enrolled in this run."""
        return sum(len(each["faces"]) for each in self.enrolled)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """How one run enrols."""

    remote: Remote
    collection_id: str
    max_faces: int | None
    quality_filter: str
    shrink: bool

    def known_ids(self) -> set[str]:
        """The ExternalImageIds that the collection has."""
        known: set[str] = set()
        page: dict[str, Any] = {}
        while True:
            answer = self.remote.call("list_faces", CollectionId=self.collection_id, MaxResults=LIST_PAGE, **page)
            known.update(face["ExternalImageId"] for face in answer["Faces"] if "ExternalImageId" in face)
            if not answer.get("NextToken"):
                return known
            page = {"NextToken": answer["NextToken"]}

    def run(self, images: Iterable[FolderImage], *, jobs: int, report: Report, advance: Callable[[], None]) -> None:
        """Send the images, `jobs` at a time, and write what became of them into `report`.

        An interrupt (Ctrl-C) lets the calls in flight finish and is raised again, with the report complete as
        far as it goes.

        Raises:
            RemoteError: the server refuses whatever is sent.
        """
        unanswered = 0
        # Only `jobs` files are in memory at a time: the next is read when one is done.
        with ThreadPoolExecutor(jobs) as pool:
            for image, future in _in_flight(pool, self._send, images, jobs):
                try:
                    faces, reasons = future.result()
                except (LocalImageError, OSError) as error:
                    report.unusable.append({"file": image.name, "reason": _reason(error)})
                except RemoteError as error:
                    if error.code in OF_THE_FILE:
                        report.unusable.append({"file": image.name, "reason": error.message})
                    elif error.code in MAY_PASS:
                        report.failed.append({"file": image.name, "reason": error.message})
                        unanswered += 1
                        if unanswered >= GIVE_UP_AFTER:
                            raise
                    else:
                        raise
                else:
                    unanswered = 0
                    if faces:
                        report.enrolled.append(
                            {"file": image.name, "external_image_id": image.external_image_id, "faces": faces}
                        )
                    else:
                        report.unusable.append({"file": image.name, "reason": reasons})
                advance()

    def _send(self, image: FolderImage) -> tuple[list[dict[str, Any]], str]:
        params: dict[str, Any] = {} if self.max_faces is None else {"MaxFaces": self.max_faces}
        answer = self.remote.call(
            "index_faces",
            CollectionId=self.collection_id,
            Image={"Bytes": read_image(image.path, shrink=self.shrink)},
            ExternalImageId=image.external_image_id,
            QualityFilter=self.quality_filter,
            **params,
        )
        faces = [
            {
                "face_id": record["Face"]["FaceId"],
                "confidence": record["Face"]["Confidence"],
                "box": record["Face"]["BoundingBox"],
            }
            for record in answer["FaceRecords"]
        ]
        left_out = sorted({reason for each in answer.get("UnindexedFaces", ()) for reason in each["Reasons"]})
        return faces, f"no face good enough: {', '.join(left_out)}" if left_out else "no face found"


def _in_flight(
    pool: ThreadPoolExecutor,
    send: Callable[[FolderImage], tuple[list[dict[str, Any]], str]],
    images: Iterable[FolderImage],
    jobs: int,
) -> Iterator[tuple[FolderImage, Future[tuple[list[dict[str, Any]], str]]]]:
    """Pairs of image and finished future, with at most `jobs` unfinished ones at any moment."""
    waiting = iter(images)
    flying: dict[Future[tuple[list[dict[str, Any]], str]], FolderImage] = {}
    more = True
    try:
        while more or flying:
            while more and len(flying) < jobs:
                image = next(waiting, None)
                if image is None:
                    more = False
                else:
                    flying[pool.submit(send, image)] = image
            if flying:
                for future in wait(flying, return_when=FIRST_COMPLETED).done:
                    yield flying.pop(future), future
    finally:
        for future in flying:
            future.cancel()


def _reason(error: LocalImageError | OSError) -> str:
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return error.message
