"""Features in files, so that an evaluation that was stopped goes on where it was.

`features.f32` holds one row of float32 for each image of the data set, in its order; `images.jsonl` says, one line for
each image that is done, what was found in it; `header.json` binds both to the model, the choice of face and the list
of images. A line is written after its row, and has its CRC, so that whatever was cut off is done again.

Features are biometric data: the files are readable by nobody else, and whoever has no more use for them calls `forget`.
"""

from __future__ import annotations

import fcntl
import json
import os
import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from countenance.biometrics import DetectedFace
from countenance.errors import Error
from countenance.evaluation.acquisition import central
from countenance.evaluation.dataset import Dataset
from countenance.recognition import Engine, RecognitionError

LARGEST: Final = "largest"
MIDDLE: Final = "middle"
FOLDER: Final = "features"
"""Name of the store's folder in that of the evaluation."""
_FILES: Final = ("header.json", "header.json.new", "images.jsonl", "features.f32", "lock")
"""All that is ever written there, and so all that may be removed."""
MAX_BYTES: Final = 15 * 1024 * 1024
"""Largest image file: Amazon's limit for objects in S3, and `build_engine`'s."""
MAX_PIXELS: Final = 64_000_000
"""Most pixels of an image, as `build_engine` has it: one with more gives no features and is shown nowhere."""
WINDOW: Final = 4
"""Images begun and not yet written, for each job: what bounds memory, however many images there are."""


class StoreError(Error):
    """Features cannot be kept, or somebody else is keeping some there."""


class Occupied(StoreError):
    """Another run is writing there."""


@dataclass(frozen=True, slots=True)
class Done:
    """What was found in one image."""

    image: int
    size: int
    mtime_ns: int
    """Of the file: another size or time, and it is looked at again."""
    faces: int
    box: tuple[float, float, float, float] | None
    """Left, top, width and height of the face taken, in ratios of the upright image."""
    confidence: float | None
    reason: str | None
    """Why there are no features."""
    crc: int
    """CRC-32 of the row of features."""


@dataclass(frozen=True, slots=True)
class Features:
    """The features of all images of a data set."""

    matrix: NDArray[np.float32]
    """Images x dimension, unit length, mapped from the file; zero where there is no face."""
    done: tuple[Done, ...]
    resumed: int
    """Images that an earlier run had done."""
    restarted: str | None
    """Why what an earlier run had done was of no use."""

    @property
    def acquired(self) -> NDArray[np.bool_]:
        """Images that gave features; the others are failures to acquire (ISO/IEC 19795-1)."""
        return np.array([each.reason is None for each in self.done], np.bool_)


def extract(
    engine: Engine,
    dataset: Dataset,
    folder: Path,
    *,
    face: str = LARGEST,
    jobs: int = 2,
    progress: Callable[[int], None] = lambda done: None,
) -> Features:
    """Features of every image, those of an earlier run included.

    Args:
        folder: where the files are kept; made when it is not there.
        face: "largest", as the operations choose, or "middle", for data whose labels name that person.
        jobs: images worked on at once; no more than the engine's queue takes.
        progress: told how many images are done.

    Raises:
        StoreError: another evaluation is writing there, or the folder is for something else.
    """
    with _owned(folder):
        header = {
            "version": 1,
            "model_version": engine.model_version,
            "runtime": engine.runtime,
            "dimension": engine.dimension,
            "face": face,
            "dataset": dataset.digest,
        }
        restarted = _begin(folder, header)
        done = _read(folder, dataset, engine.dimension)
        resumed = len(done)
        progress(resumed)
        with (folder / "features.f32").open("r+b") as rows, (folder / "images.jsonl").open("ab") as lines:
            rows.truncate(len(dataset.images) * engine.dimension * 4)
            for found, features in _worked(engine, dataset, face, jobs, done):
                row = features.astype("<f4").tobytes()
                rows.seek(found.image * engine.dimension * 4)
                rows.write(row)
                rows.flush()
                lines.write(json.dumps(asdict(found), separators=(",", ":")).encode() + b"\n")
                lines.flush()
                done[found.image] = found
                progress(len(done))
    matrix = np.memmap(folder / "features.f32", "<f4", "r", shape=(len(dataset.images), engine.dimension))
    return Features(matrix, tuple(done[each] for each in range(len(dataset.images))), resumed, restarted)


def forget(folder: Path) -> None:
    """Remove the files of a store, and the folder when nothing else is in it; not while another run writes there."""
    if not (folder / "header.json").is_file():
        return
    with suppress(Occupied), _locked(folder):
        for name in _FILES:
            (folder / name).unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()


def chosen(faces: tuple[DetectedFace, ...], face: str) -> DetectedFace:
    """The face that is compared: of the largest box, or nearest to the middle of the image."""
    return faces[0] if face == LARGEST else central(faces)


def _worked(
    engine: Engine, dataset: Dataset, face: str, jobs: int, done: dict[int, Done]
) -> Iterator[tuple[Done, NDArray[np.float32]]]:
    """The images that are left, in order, a window of them at a time."""
    waiting: deque[Future[tuple[Done, NDArray[np.float32]]]] = deque()
    left = [each for each in range(len(dataset.images)) if each not in done]
    with ThreadPoolExecutor(jobs, thread_name_prefix="extract") as pool:
        try:
            for image in left:
                if len(waiting) >= jobs * WINDOW:
                    yield waiting.popleft().result()
                waiting.append(pool.submit(_one, engine, dataset.path(image), image, face))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()


def _one(engine: Engine, path: Path, image: int, face: str) -> tuple[Done, NDArray[np.float32]]:
    features = np.zeros(engine.dimension, np.float32)
    faces, box, confidence, reason, size, mtime_ns = 0, None, None, None, -1, -1
    try:
        with path.open("rb") as file:
            about = os.fstat(file.fileno())
            size, mtime_ns = about.st_size, about.st_mtime_ns
            analysis = engine.analyse(file.read(MAX_BYTES + 1))
        faces = len(analysis.faces)
        if faces:
            taken = chosen(analysis.faces, face)
            features = engine.extract(analysis, [taken])[0]
            box = (taken.box.left, taken.box.top, taken.box.width, taken.box.height)
            confidence = taken.detection_confidence
        else:
            reason = "no face found"
    except RecognitionError as error:
        reason = error.message
    except OSError as error:
        reason = error.strerror or type(error).__name__
    crc = zlib.crc32(features.astype("<f4").tobytes())
    return Done(image, size, mtime_ns, faces, box, confidence, reason, crc), features


def _begin(folder: Path, header: dict[str, Any]) -> str | None:
    """Makes the files, anew when they are of something else; says why."""
    path = folder / "header.json"
    why = None
    if path.exists():
        try:
            before = json.loads(path.read_text("utf-8"))
        except ValueError:
            before = {}
        if before == header:
            return None
        names = {"face": "the choice of face", "dataset": "the list of images", "model_version": "the model"}
        changed = next((key for key in header if not isinstance(before, dict) or before.get(key) != header[key]), "")
        why = f"{names.get(changed, f'the {changed}'.replace('_', ' '))} is another than in the earlier run"
    for name in ("header.json", "images.jsonl", "features.f32"):
        (folder / name).unlink(missing_ok=True)
    for name in ("images.jsonl", "features.f32"):
        os.close(os.open(folder / name, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600))
    fresh = folder / "header.json.new"
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600), "w") as file:
        json.dump(header, file)
    fresh.replace(path)
    return why


def _read(folder: Path, dataset: Dataset, dimension: int) -> dict[int, Done]:
    """What earlier runs did and what still holds: whole lines, whole rows, files that did not change since."""
    path = folder / "images.jsonl"
    with path.open("r+b") as lines:
        text = lines.read()
        whole = text.rfind(b"\n") + 1
        lines.truncate(whole)
    done: dict[int, Done] = {}
    for line in text[:whole].splitlines():
        with suppress(ValueError, TypeError, KeyError):
            said = json.loads(line)
            box = None if said["box"] is None else tuple(said["box"])
            found = Done(**{**said, "box": box})
            if 0 <= found.image < len(dataset.images):
                done[found.image] = found
    with (folder / "features.f32").open("rb") as rows:
        for image in list(done):
            rows.seek(image * dimension * 4)
            if zlib.crc32(rows.read(dimension * 4)) != done[image].crc or not _is_as_then(dataset, done[image]):
                del done[image]
    return done


def _is_as_then(dataset: Dataset, found: Done) -> bool:
    try:
        about = dataset.path(found.image).stat()
    except OSError:
        return False
    return (about.st_size, about.st_mtime_ns) == (found.size, found.mtime_ns)


@contextmanager
def _owned(folder: Path) -> Iterator[None]:
    """The folder, made if need be, for nobody else's eyes and no other process while it is written."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    names = {each.name for each in folder.iterdir()}
    # The lock is the first file of a store and the last one to go.
    if names - set(_FILES) or (names and "lock" not in names):
        raise StoreError(
            f"{folder} is in use for something else: features are kept in a folder of their own.",
            hint="name another --out, or move that folder",
        )
    folder.chmod(0o700)
    with _locked(folder):
        yield


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with os.fdopen(os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600), "r+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Occupied(
                f"Another evaluation is writing into {folder}.", hint="wait, or name another --out"
            ) from None
        yield
