"""Model packs: where their weights lie, and whether they are the right ones.

Knows folders, files and digests; what a manifest says is in `manifest`. Knows no runtime and no pixels. A pack is a
folder with a `manifest.json` and the calibration that belongs to its weights: of this program, or somebody's own in
`<models_dir>/packs/<name>`. The weights themselves are never in this repository: the manifest names them by SHA-256,
and they are looked for, in this order,

1. in `<models_dir>`, under any name, as somebody imported them (the digest decides, not the name);
2. inside an installed distribution that ships them, found through `importlib.metadata` and never imported.

A manifest may leave a digest out that nobody published. Then whoever fetches the file says which digest it has
(`pin`), and from then on no other file is taken for it.

The folded graphs (see `folding`) are cached in `<models_dir>/cache` beside a record of their own digest; a file
that does not agree with its record is made again, weights that do not agree with the manifest are refused.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, Final, Literal

from countenance.recognition import manifest
from countenance.recognition.faults import ModelPackError
from countenance.recognition.manifest import DIGEST, NAME, ModelFile, ModelPack, parse

__all__ = [
    "DEFAULT_PACK",
    "FileReport",
    "ModelFile",
    "ModelPack",
    "accept",
    "available",
    "calibration_path",
    "calibration_text",
    "chosen",
    "folded",
    "in_use",
    "is_accepted",
    "is_built_in",
    "kept_as",
    "load",
    "own_calibration_text",
    "pin",
    "remedy",
    "replace_file",
    "use",
    "verify",
    "weights",
    "weights_named",
]

DEFAULT_PACK: Final = manifest.DEFAULT_PACK
MANIFEST: Final = "manifest.json"
OWN_PACKS: Final = "packs"
PINS: Final = "pins.json"
CALIBRATIONS: Final = "calibrations"
IN_USE: Final = "in-use"
ACCEPTED: Final = "accepted.json"
"""Files and folders in `<models_dir>`, besides weights and the cache."""

State = Literal["ready", "missing", "wrong", "unpinned"]


@dataclass(frozen=True, slots=True)
class FileReport:
    """What `models verify` found out about one file."""

    file: ModelFile
    state: State
    path: Path | None
    detail: str


def _packs() -> Any:
    return resources.files("countenance.recognition").joinpath("packs")


def available(models_dir: Path | None = None) -> list[ModelPack]:
    """Every pack that this installation knows, and those of `models_dir`, each by name; a damaged one is left out."""
    names = [each.name for each in _packs().iterdir() if each.is_dir()]
    packs = [load(name, models_dir) for name in sorted(names)]
    own = models_dir / OWN_PACKS if models_dir is not None else None
    for folder in sorted(own.iterdir()) if own is not None and own.is_dir() else []:
        if folder.name not in names and (folder / MANIFEST).is_file():
            with suppress(ModelPackError):  # `models verify` says why
                packs.append(load(folder.name, models_dir))
    return packs


def load(name: str = DEFAULT_PACK, models_dir: Path | None = None) -> ModelPack:
    """Read a pack's manifest.

    Args:
        models_dir: where somebody's own packs and pins are; None looks at those of this program only.

    Raises:
        ModelPackError: there is no such pack, or its manifest cannot be read.
    """
    known = NAME.fullmatch(name) is not None
    if is_built_in(name):
        pack = parse(_packs().joinpath(name, MANIFEST).read_text(encoding="utf-8"), is_own=False)
    elif known and models_dir is not None and (models_dir / OWN_PACKS / name / MANIFEST).is_file():
        pack = parse((models_dir / OWN_PACKS / name / MANIFEST).read_text(encoding="utf-8"), is_own=True)
        if pack.name != name:
            raise ModelPackError(f"the manifest in {models_dir / OWN_PACKS / name} is of another pack: {pack.name}")
    else:
        raise ModelPackError(f"there is no model pack {name!r}", hint="`countenance models list` shows them all")
    return _pinned(_with_calibration(pack, models_dir), models_dir)


def _with_calibration(pack: ModelPack, models_dir: Path | None) -> ModelPack:
    if not pack.calibration:
        return pack
    folder: Any = _packs().joinpath(pack.name)
    if models_dir is not None and not is_built_in(pack.name):
        folder = models_dir / OWN_PACKS / pack.name
    try:
        return replace(pack, shipped_calibration=folder.joinpath(pack.calibration).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        raise ModelPackError(f"the calibration {pack.calibration} of {pack.name} cannot be read") from None


def is_built_in(name: str) -> bool:
    """Whether this program brings the pack's manifest."""
    return NAME.fullmatch(name) is not None and bool(_packs().joinpath(name, MANIFEST).is_file())


def pin(pack: ModelPack, file: ModelFile, models_dir: Path) -> None:
    """Take for good, for a file whose digest the manifest leaves out, the one that it has by now."""
    if any(each.name == file.name and each.sha256 == file.sha256 for each in load(pack.name, models_dir).files):
        return
    pins = {**_pins(models_dir), f"{pack.name}/{file.name}": file.sha256}
    models_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(models_dir / PINS, (json.dumps(pins, indent=1, sort_keys=True) + "\n").encode())


def _pins(models_dir: Path) -> Mapping[str, str]:
    return {name: value for name, value in _texts(models_dir / PINS).items() if DIGEST.fullmatch(value)}


def _texts(path: Path) -> dict[str, str]:
    """A file of texts by name; empty when there is none, or it says something else."""
    try:
        return {str(name): str(value) for name, value in json.loads(path.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def _pinned(pack: ModelPack, models_dir: Path | None) -> ModelPack:
    if models_dir is None or all(each.sha256 for each in pack.files):
        return pack
    pins = _pins(models_dir)
    files = tuple(
        each if each.sha256 else replace(each, sha256=pins.get(f"{pack.name}/{each.name}", "")) for each in pack.files
    )
    return replace(pack, files=files, is_own=True)


def chosen(setting: str | None, models_dir: Path) -> str:
    """The pack that a server takes: as its settings say, else as `models use` did."""
    return setting or in_use(models_dir)


def accept(pack: ModelPack, models_dir: Path) -> None:
    """Put down that somebody accepted the terms of a pack that is not for commercial use."""
    models_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    said = {**_texts(models_dir / ACCEPTED), pack.name: hashlib.sha256(pack.terms.encode()).hexdigest()}
    replace_file(models_dir / ACCEPTED, (json.dumps(said, indent=1, sort_keys=True) + "\n").encode())


def is_accepted(pack: ModelPack, models_dir: Path) -> bool:
    """Whether nobody has to accept the pack's terms, or somebody did, as they read now."""
    of_now = hashlib.sha256(pack.terms.encode()).hexdigest()
    return pack.commercial_use or _texts(models_dir / ACCEPTED).get(pack.name) == of_now


def in_use(models_dir: Path) -> str:
    """The pack that `models use` chose; the default one when it never did."""
    try:
        return (models_dir / IN_USE).read_text(encoding="utf-8").strip() or DEFAULT_PACK
    except (OSError, UnicodeDecodeError):
        return DEFAULT_PACK


def use(name: str, models_dir: Path) -> None:
    """Have the next start of a server take this pack."""
    models_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(models_dir / IN_USE, f"{name}\n".encode())


def calibration_text(pack: ModelPack, models_dir: Path, *, flip: bool | None = None) -> str | None:
    """The calibration in force, as JSON text: one that was fitted here on this pack's scores, else the pack's own.

    None when nobody fitted any.

    Args:
        flip: whether features are averaged with the mirror image's, whose scores are others; None: the pack's default.
    """
    return own_calibration_text(pack, models_dir, flip=flip) or pack.shipped_calibration or None


def own_calibration_text(pack: ModelPack, models_dir: Path, *, flip: bool | None = None) -> str | None:
    """One that was fitted here, if it is of the pack's weights: its name has the model version, its content digests.

    None when nobody fitted one, or with other weights.
    """
    try:
        text = calibration_path(pack, models_dir, flip=flip).read_text(encoding="utf-8")
        of = json.loads(text).get("weights")
    except (OSError, ValueError, AttributeError):
        return None
    return text if of == weights_named(pack) else None


def calibration_path(pack: ModelPack, models_dir: Path, *, flip: bool | None = None) -> Path:
    """Where a calibration that is fitted here is kept."""
    return models_dir / CALIBRATIONS / f"{pack.version_with(flip)}.json"


def weights_named(pack: ModelPack) -> dict[str, str]:
    """The digests that scores depend on, by role."""
    return {each.role: each.sha256 for each in pack.files if each.role in ("detector", "features")}


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
        raise ModelPackError(
            f"model file {file.name} is {report.state}: {report.detail}", hint=remedy(file, models_dir)
        )
    return content


def remedy(file: ModelFile, models_dir: Path) -> str:
    """How a file that is not there gets there."""
    ways = [f"install {file.distribution}=={file.distribution_version}"] if file.distribution else []
    ways.append("`countenance models pull` or `models import`")
    ways.append(f"put the file with SHA-256 {file.sha256 or '(unknown)'} into {models_dir}")
    return ", or ".join(ways)


def folded(file: ModelFile, models_dir: Path) -> bytes:
    """The folded graph of a weights file, from the cache or made now.

    The weights are read and their digest checked on every call, also when the cache has the graph. The cached graph
    is checked against the digest beside it, which tells damage; whoever may write the cache folder may write both.

    Raises:
        ModelPackError: see `weights`; or the cache folder cannot be written.
    """
    from countenance.recognition import folding  # pulls in onnx, which a warm cache does not need

    content = weights(file, models_dir)
    taken = f"{file.input_shape} {file.reverse_channels} {file.mean} {file.divisor}"
    how = f"fold{folding.FOLD_VERSION}-{hashlib.sha256(taken.encode()).hexdigest()[:6]}"
    stem = f"{Path(file.name).stem}-{file.sha256[:12]}-{how}"
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
            mean=file.mean,
            divisor=file.divisor,
        )
    except ValueError as error:
        raise ModelPackError(f"model file {file.name} cannot be folded: {error}") from None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, graph)
        replace_file(record, hashlib.sha256(graph).hexdigest().encode("ascii") + b"\n")
    except OSError as error:
        raise ModelPackError(
            f"the model cache {path.parent} cannot be written: {error.strerror}",
            hint="it needs as much again as the weights in float32, in a folder that the server may write to",
        ) from None
    return graph


def replace_file(path: Path, content: bytes) -> None:
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
    if not file.sha256:
        return FileReport(file, "unpinned", None, "nobody published its SHA-256: `models pull --sha256` says it"), None
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
    who = f"{file.distribution} does not bring it and no import does" if file.distribution else "nobody imported it"
    return FileReport(file, "missing", None, who), None


def _places(file: ModelFile, models_dir: Path) -> Iterator[Path]:
    if models_dir.is_dir():
        for path in sorted(models_dir.iterdir()):
            if path.name in (file.name, kept_as(file)) or (path.is_file() and path.stat().st_size == file.bytes):
                yield path
    if not file.distribution:
        return
    try:
        shipped = importlib.metadata.files(file.distribution) or []
    except importlib.metadata.PackageNotFoundError:
        return
    for each in shipped:
        if each.name == file.name:
            yield Path(str(each.locate()))


def kept_as(file: ModelFile) -> str:
    """The name under which an import keeps a file: two packs may have files of one name."""
    path = Path(file.name)
    return f"{path.stem}-{file.sha256[:12]}{path.suffix}"
