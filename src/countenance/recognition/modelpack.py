"""Model packs: which weights, under which licence, where they lie and whether they are the right ones.

Knows manifests, files and digests; knows no runtime and no pixels. A pack is a folder with a `manifest.json` and
the calibration that belongs to its weights. The weights themselves are never in this repository: the manifest
names them by SHA-256, and they are looked for, in this order,

1. in `<models_dir>`, under any name, as somebody imported them (the digest decides, not the name);
2. inside an installed distribution that ships them, found through `importlib.metadata` and never imported.

The folded graphs (see `folding`) are cached in `<models_dir>/cache` beside a record of their own digest; a file
that does not agree with its record is made again, weights that do not agree with the manifest are refused.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from countenance.recognition.faults import ModelPackError

DEFAULT_PACK = "yunet-sface"

Role = Literal["detector", "features"]
State = Literal["ready", "missing", "wrong"]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One weights file of a pack, as the manifest describes it."""

    role: Role
    name: str
    sha256: str
    bytes: int
    licence: str
    source: str
    distribution: str
    distribution_version: str
    input_shape: tuple[int, int, int]
    reverse_channels: bool


@dataclass(frozen=True, slots=True)
class ModelPack:
    """A manifest read: what `models list` shows, and what `build_engine` needs."""

    name: str
    version: str
    title: str
    commercial_use: bool
    dimension: int
    flip: bool
    calibration: str
    files: tuple[ModelFile, ...]

    def file(self, role: Role) -> ModelFile:
        """The one file that plays this role."""
        (found,) = (each for each in self.files if each.role == role)
        return found

    def version_with(self, flip: bool | None) -> str:
        """The model version of templates; averaging with the mirror image makes others. None: the pack's default."""
        return self.version + ("-flip" if (self.flip if flip is None else flip) else "")

    def calibration_text(self) -> str:
        """The calibration that was fitted on this pack's scores, as JSON text."""
        return str(_packs().joinpath(self.name, self.calibration).read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class FileReport:
    """What `models verify` found out about one file."""

    file: ModelFile
    state: State
    path: Path | None
    detail: str


def _packs() -> Any:
    return resources.files("countenance.recognition").joinpath("packs")


def available() -> list[ModelPack]:
    """Every pack that this installation knows, by name."""
    return [load(each.name) for each in sorted(_packs().iterdir(), key=lambda each: each.name) if each.is_dir()]


def load(name: str = DEFAULT_PACK) -> ModelPack:
    """Read a pack's manifest.

    Raises:
        ModelPackError: there is no such pack.
    """
    manifest = _packs().joinpath(name, "manifest.json")
    if "/" in name or os.sep in name or not manifest.is_file():
        raise ModelPackError(f"there is no model pack {name!r}", hint="`countenance models list` shows them all")
    raw = json.loads(manifest.read_text(encoding="utf-8"))
    files = tuple(ModelFile(**{**each, "input_shape": tuple(each["input_shape"])}) for each in raw.pop("files"))
    return ModelPack(**raw, files=files)


def verify(pack: ModelPack, models_dir: Path) -> list[FileReport]:
    """Look every file of the pack up and check its digest; never raises for a bad file."""
    return [_look_up(each, models_dir)[0] for each in pack.files]


def weights(file: ModelFile, models_dir: Path) -> bytes:
    """The file's bytes, checked against the manifest.

    Raises:
        ModelPackError: not to be found, or with another SHA-256 than the manifest's.
    """
    report, content = _look_up(file, models_dir)
    if content is None:
        hint = (
            f"install {file.distribution}=={file.distribution_version}, or put the file with SHA-256 "
            f"{file.sha256} into {models_dir}"
        )
        raise ModelPackError(f"model file {file.name} is {report.state}: {report.detail}", hint=hint)
    return content


def folded(file: ModelFile, models_dir: Path) -> bytes:
    """The folded graph of a weights file, from the cache or made now.

    The weights are read and their digest checked on every call, also when the cache has the graph. The cached graph
    is checked against the digest beside it, which tells damage; whoever may write the cache folder may write both.

    Raises:
        ModelPackError: see `weights`; or the cache folder cannot be written.
    """
    from countenance.recognition import folding  # pulls in onnx, which a warm cache does not need

    content = weights(file, models_dir)
    stem = f"{Path(file.name).stem}-{file.sha256[:12]}-fold{folding.FOLD_VERSION}"
    path = models_dir / "cache" / f"{stem}.onnx"
    record = path.with_suffix(".sha256")
    try:
        graph = path.read_bytes()
        if record.read_text(encoding="ascii").strip() == hashlib.sha256(graph).hexdigest():
            return graph
    except (OSError, UnicodeDecodeError):
        pass  # not there yet, or unreadable: both are mended by writing it
    try:
        graph = folding.fold(
            content,
            input_shape=file.input_shape,
            reverse_channels=file.reverse_channels,
        )
    except ValueError as error:
        raise ModelPackError(f"model file {file.name} cannot be folded: {error}") from None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, graph)
        _replace(record, hashlib.sha256(graph).hexdigest().encode("ascii") + b"\n")
    except OSError as error:
        raise ModelPackError(
            f"the model cache {path.parent} cannot be written: {error.strerror}",
            hint="it needs about 40 MB in a folder that the server may write to",
        ) from None
    return graph


def _replace(path: Path, content: bytes) -> None:
    """Write all of it or nothing: a reader sees the old file or the whole new one, also after a power cut."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        with draft.open("xb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _look_up(file: ModelFile, models_dir: Path) -> tuple[FileReport, bytes | None]:
    wrong: Path | None = None
    for path in _places(file, models_dir):
        try:
            content = path.read_bytes()
        except OSError:
            continue
        if hashlib.sha256(content).hexdigest() == file.sha256:
            return FileReport(file, "ready", path, "SHA-256 agrees with the manifest"), content
        if path.name == file.name:
            wrong = path
    if wrong is not None:
        return FileReport(file, "wrong", wrong, f"{wrong} has another SHA-256 than the manifest names"), None
    return FileReport(file, "missing", None, f"{file.distribution} does not bring it and no import does"), None


def _places(file: ModelFile, models_dir: Path) -> Iterator[Path]:
    if models_dir.is_dir():
        for path in sorted(models_dir.iterdir()):
            if path.name == file.name or (path.is_file() and path.stat().st_size == file.bytes):
                yield path
    try:
        shipped = importlib.metadata.files(file.distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return
    for each in shipped:
        if each.name == file.name:
            yield Path(str(each.locate()))
