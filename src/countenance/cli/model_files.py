"""`countenance models pull` and `import`: weights get to a data folder."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from countenance import fetching
from countenance.cli.model_licences import licence_option, must_accept, refusing, tell
from countenance.cli.options import data_option, example, json_option, settings_for
from countenance.cli.output import Status, columns, emit, end, talk

if TYPE_CHECKING:
    from countenance.recognition.importing import Taken
    from countenance.recognition.manifest import ModelFile, ModelPack

DEADLINE_S: Final = 24 * 3600.0
"""For one file: whoever typed the command can stop it, and what came so far is kept."""
FETCHED: Final = "fetching"
"""Folder in `<models_dir>` where parts of downloads lie."""


@click.command(epilog=example("countenance models pull auraface", "countenance models pull buffalo_l --accept-licence"))
@click.argument("name", metavar="PACK")
@click.option("--sha256", metavar="HEX", help="Of the one file whose digest the manifest leaves out, as you know it.")
@licence_option
@data_option
@json_option
def pull(name: str, sha256: str | None, accepts: bool, data_dir: Path | None, as_json: bool) -> None:
    """Download the missing files of a model pack from where its manifest says they are.

    Over TLS, resumed if it broke off, and kept only with the SHA-256 of the manifest. A server never does.
    """
    from countenance.recognition import ModelPackError, modelpack

    folder = settings_for(data_dir).data_dir / "models"
    pack = modelpack.load(name, folder)
    must_accept(pack, accepts=accepts)
    pack = _with_digest(pack, sha256)
    if not as_json:
        tell(pack)
    missing = [each.file for each in modelpack.verify(pack, folder) if each.state != "ready"]
    for address, size, digest, files in _downloads(pack, missing):
        part = _fetched(address, size, folder)
        try:
            if _digest_of(part) != digest:
                raise ModelPackError(
                    f"{address} has another SHA-256 than the manifest of {name} names: it is not kept.",
                    hint="the publisher changed the file, or somebody else did",
                )
            _take(part, [pack], folder)
        finally:
            fetching.forget(part)
        left = [
            each.file.name for each in modelpack.verify(pack, folder) if each.file in files and each.state != "ready"
        ]
        if left:
            raise ModelPackError(f"{address} does not have {', '.join(left)}.")
    for file in pack.files if sha256 is not None else ():
        modelpack.pin(pack, file, folder)
    _tell_states(pack, folder, as_json=as_json)


def _with_digest(pack: ModelPack, sha256: str | None) -> ModelPack:
    from countenance.recognition import ModelPackError

    unknown = [each for each in pack.files if not each.sha256]
    if sha256 is not None:
        if len(unknown) != 1:
            raise click.UsageError(f"{pack.name} has {len(unknown)} files without a digest, and --sha256 is for one.")
        if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
            raise click.BadParameter("a SHA-256 is 64 hexadecimal digits", param_hint="--sha256")
        return _known(pack, unknown[0], sha256.lower())
    if unknown:
        raise ModelPackError(
            f"Nobody published the SHA-256 of {unknown[0].name}, so what comes could be anything.",
            hint="get the file from somebody you trust, hash it, and repeat this with --sha256 HEX",
        )
    return pack


def _known(pack: ModelPack, file: ModelFile, sha256: str) -> ModelPack:
    """The pack, if a file that has no digest in its manifest had this one."""
    known = replace(file, sha256=sha256)
    return replace(pack, files=tuple(known if each is file else each for each in pack.files), is_own=True)


def _downloads(pack: ModelPack, missing: list[ModelFile]) -> Iterator[tuple[str, int, str, list[ModelFile]]]:
    """Address, size, digest and what it is fetched for."""
    from countenance.recognition import ModelPackError, modelpack

    for archive in pack.archives:
        wanted = [each for each in missing if each.archive == archive.name]
        if wanted:
            yield archive.url, archive.bytes, archive.sha256, wanted
    for file in missing:
        if file.archive:
            continue
        if not file.url:
            raise ModelPackError(
                f"The manifest does not say where {file.name} can be downloaded.",
                hint=modelpack.remedy(file, Path("DIR/models")),
            )
        yield file.url, file.bytes, file.sha256, [file]


def _fetched(address: str, size: int, folder: Path) -> Path:
    from countenance.recognition.manifest import LARGEST_FILE

    with _download_bar(address.rpartition("/")[2]) as advance:
        return fetching.fetch_file(
            address,
            folder / FETCHED,
            max_bytes=size or LARGEST_FILE,
            deadline_s=DEADLINE_S,
            progress=advance,
        )


def _digest_of(path: Path) -> str:
    from countenance.recognition.importing import digest_of

    return digest_of(path)


def _take(
    path: Path, packs: list[ModelPack], folder: Path, check: Callable[[ModelFile], None] | None = None
) -> list[Taken]:
    from countenance.recognition.importing import take

    return take(path, packs, folder) if check is None else take(path, packs, folder, check=check)


@click.command("import", epilog=example("countenance models import ~/Downloads/buffalo_l.zip --accept-licence"))
@click.argument("files", metavar="FILE...", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--manifest",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The manifest of a pack of your own; its calibration lies beside it.",
)
@click.option(
    "--for", "unpinned", metavar="PACK", help="The file is the one of this pack that has no digest: you vouch for it."
)
@licence_option
@data_option
@json_option
def bring(
    files: tuple[Path, ...],
    manifest: Path | None,
    unpinned: str | None,
    accepts: bool,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Take weights from files on this machine: whatever their names, what they are is decided by their SHA-256.

    A zip archive is looked through for files that a pack names. --manifest brings a pack of your own.
    """
    from countenance.recognition import modelpack
    from countenance.recognition.importing import take_manifest

    if not files and manifest is None:
        raise click.UsageError("Name a file, or a --manifest.")
    folder = settings_for(data_dir).data_dir / "models"
    own = None
    if manifest is not None:
        from countenance.recognition.manifest import parse

        must_accept(parse(manifest.read_text("utf-8", errors="replace"), is_own=True), accepts=accepts)
        own = take_manifest(manifest, folder)
    if unpinned is not None:
        _vouch(modelpack.load(unpinned, folder), files, folder, accepts=accepts)
    packs = modelpack.available(folder)
    taken = [each for file in files for each in _take(file, packs, folder, refusing(packs, accepts=accepts))]
    said: dict[str, Any] = {
        "pack": None if own is None else own.name,
        "files": [
            {
                "file": each.file.name,
                "sha256": each.file.sha256,
                "licence": each.file.licence,
                "packs": [pack.name for pack in packs if any(one.sha256 == each.file.sha256 for one in pack.files)],
                "state": each.state,
                "path": str(each.path),
            }
            for each in taken
        ],
    }
    rows = ([each["file"], each["state"], ", ".join(each["packs"]), each["licence"]] for each in said["files"])
    emit(said, columns(["FILE", "STATE", "PACKS", "LICENCE"], rows), as_json=as_json)
    if own is not None and not as_json:
        talk(f"The pack {own.name} {own.version} is known now.")


def _vouch(pack: ModelPack, files: tuple[Path, ...], folder: Path, *, accepts: bool) -> None:
    """Take the digest of the one file given for that of the one file whose digest a manifest leaves out."""
    from countenance.recognition import modelpack

    unknown = [each for each in pack.files if not each.sha256]
    if len(unknown) != 1 or len(files) != 1:
        raise click.UsageError(f"{pack.name} has {len(unknown)} files without a digest, and --for is for one of one.")
    must_accept(pack, accepts=accepts)
    if zipfile.is_zipfile(files[0]):
        # Its digest would be pinned for good, and the file inside it refused from then on.
        raise click.UsageError(f"{files[0]} is a zip archive: unpack it, and name the file of {pack.name} itself.")
    known = _known(pack, unknown[0], _digest_of(files[0]))
    for file in known.files:
        modelpack.pin(pack, file, folder)


def _tell_states(pack: ModelPack, folder: Path, *, as_json: bool) -> None:
    from countenance.recognition import modelpack

    reports = modelpack.verify(pack, folder)
    said = [
        {
            "file": each.file.name,
            "sha256": each.file.sha256,
            "licence": each.file.licence,
            "state": each.state,
            "path": None if each.path is None else str(each.path),
        }
        for each in reports
    ]
    rows = ([each["file"], each["state"], each["licence"]] for each in said)
    answer = {"pack": pack.name, "version": pack.version, "files": said}
    emit(answer, columns(["FILE", "STATE", "LICENCE"], rows), as_json=as_json)
    if any(each["state"] != "ready" for each in said):
        end(Status.NO)


@contextmanager
def _download_bar(name: str) -> Iterator[Callable[[int, int | None], None]]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, total: None
        return
    shown = (TextColumn(name), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*shown, console=console, transient=True) as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
