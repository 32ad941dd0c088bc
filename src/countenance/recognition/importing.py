"""Taking weights that are on this machine already: files of any name, and zip archives that have them.

Knows files, archives and digests; knows no network. What a file is, is decided by its SHA-256 alone: a name in an
archive is looked at by nobody, so none can lead anywhere. Of an archive only members are read that have the size of a
file that is looked for, and in all no more than a few times what there is to find, however much it says to hold.
"""

from __future__ import annotations

import hashlib
import lzma
import os
import secrets
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Final, Literal

from countenance.recognition import modelpack
from countenance.recognition.faults import ModelPackError
from countenance.recognition.manifest import LARGEST_FILE, ModelFile, ModelPack

MOST_MEMBERS: Final = 1_000
"""Of an archive: InsightFace's have five."""
MOST_READ: Final = 3
"""Times the size of everything that is looked for: members may have the size of another's file."""
_CHUNK: Final = 1 << 20
_ZIP: Final = b"PK\x03\x04"
"""What a zip archive begins with (APPNOTE.TXT, 4.3.7)."""
_UNREADABLE: Final = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    UnicodeDecodeError,
)
"""What zipfile raises of damaged archives; the last of a name that says it is UTF-8 and is not."""


@dataclass(frozen=True, slots=True)
class Taken:
    """A file that a pack names and that lies in the models folder now."""

    file: ModelFile
    path: Path
    state: Literal["taken", "there already"]


def take(
    source: Path,
    packs: Sequence[ModelPack],
    models_dir: Path,
    *,
    check: Callable[[ModelFile], None] = lambda file: None,
) -> list[Taken]:
    """Copy what packs name into the models folder, from a file or a zip archive.

    Args:
        packs: whose files are looked for; those without a digest are not.
        check: told of each file before it is kept; raises to refuse it.

    Raises:
        ModelPackError: nothing in it is known, the archive cannot be read, or it holds far more than it should.
        OSError: a file cannot be read or written.
    """
    wanted = {file.sha256: file for pack in packs for file in pack.files if file.sha256}
    models_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with source.open("rb") as opened:
        is_zip = opened.read(len(_ZIP)) == _ZIP
        opened.seek(0)
        taken = (
            _from_archive(source, wanted, models_dir, check)
            if is_zip
            else [_kept(opened.read, wanted, models_dir, check)]
        )
    found = [each for each in taken if isinstance(each, Taken)]
    if not found:
        digest = "" if is_zip else f" It has the SHA-256 {taken[0]}."
        raise ModelPackError(
            f"{source} has no file that a known pack names.{digest}",
            hint="`countenance models verify PACK` shows what a pack wants; --manifest brings a pack of your own",
        )
    return found


def digest_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _from_archive(
    source: Path, wanted: dict[str, ModelFile], models_dir: Path, check: Callable[[ModelFile], None]
) -> list[Taken | str]:
    sizes = {file.bytes for file in wanted.values() if file.bytes}
    takes_any_size = any(not file.bytes for file in wanted.values())
    budget = MOST_READ * (sum(sizes) + (LARGEST_FILE if takes_any_size else 0))
    taken: list[Taken | str] = []
    try:
        with zipfile.ZipFile(source) as archive:
            members = archive.infolist()
            if len(members) > MOST_MEMBERS:
                raise ModelPackError(f"{source} has {len(members)} files; no archive of models has so many")
            for member in members:
                if member.is_dir() or not (member.file_size in sizes or takes_any_size):
                    continue
                budget -= member.file_size
                if budget < 0 or member.file_size > LARGEST_FILE:
                    raise ModelPackError(f"{source} holds far more than the files that are looked for")
                # Reading stops at the size that the archive's directory says, whatever the packed bytes hold.
                with archive.open(member) as opened:
                    taken.append(_kept(partial(_unpacked, opened), wanted, models_dir, check))
    except _UNREADABLE as error:
        raise ModelPackError(f"{source} cannot be read as a zip archive: {str(error)[:200]}") from None
    return taken


def _unpacked(member: IO[bytes], size: int) -> bytes:
    """Some bytes of a member; bzip2 says with an OSError that what is packed is damaged."""
    try:
        return member.read(size)
    except OSError as error:
        raise zipfile.BadZipFile(str(error)) from None


def _kept(
    read: Callable[[int], bytes], wanted: dict[str, ModelFile], models_dir: Path, check: Callable[[ModelFile], None]
) -> Taken | str:
    """The file, in the models folder; the digest of one that nobody wants."""
    draft = models_dir / f".taking.{secrets.token_hex(4)}"
    digest, size = hashlib.sha256(), 0
    try:
        with draft.open("xb") as out:
            while chunk := read(_CHUNK):
                size += len(chunk)
                if size > LARGEST_FILE:
                    raise ModelPackError(f"it has more than {LARGEST_FILE} bytes; no model has so many")
                digest.update(chunk)
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
        file = wanted.get(digest.hexdigest())
        if file is None:
            return digest.hexdigest()
        check(file)
        path = models_dir / modelpack.kept_as(file)
        if path.exists() and digest_of(path) == file.sha256:
            return Taken(file, path, "there already")
        draft.replace(path)
        return Taken(file, path, "taken")
    finally:
        draft.unlink(missing_ok=True)


def take_manifest(source: Path, models_dir: Path) -> ModelPack:
    """Put somebody's own pack into the models folder: its manifest, and the calibration beside it.

    Raises:
        ModelPackError: it is no manifest, its name is taken by another one, or its calibration is none.
    """
    from countenance.recognition.calibration import Calibration
    from countenance.recognition.manifest import parse

    text = source.read_text(encoding="utf-8", errors="replace")
    pack = parse(text, is_own=True)
    if modelpack.is_built_in(pack.name):
        raise ModelPackError(f"this program brings a pack {pack.name}", hint="give yours another name")
    folder = models_dir / modelpack.OWN_PACKS / pack.name
    contents = {modelpack.MANIFEST: text}
    if pack.calibration:
        calibration = (source.parent / pack.calibration).read_text(encoding="utf-8", errors="replace")
        Calibration.load(calibration)
        contents[pack.calibration] = calibration
    for name, content in contents.items():
        path = folder / name
        if path.exists() and path.read_text(encoding="utf-8", errors="replace") != content:
            raise ModelPackError(
                f"there is another pack {pack.name} in {folder}",
                hint="give this one another name: collections are bound to the one that is there",
            )
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, content in reversed(contents.items()):  # the manifest last: it makes the pack
        modelpack.replace_file(folder / name, content.encode())
    return modelpack.load(pack.name, models_dir)
