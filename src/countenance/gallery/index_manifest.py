"""The manifest of a collection's index files: which they are, and of which revision. Sealed, and replaced whole."""

from __future__ import annotations

import json
import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from countenance.gallery.sealing import CollectionSeal
from countenance.gallery.segment_format import DRAFT, SegmentFileUnusable
from countenance.gallery.share import WHOLE
from countenance.store import sync_folder

MANIFEST: Final = "manifest"
VERSION: Final = 1

_PURPOSE: Final = "index manifest v1"
_NONCE_BYTES: Final = 12


@dataclass(frozen=True, slots=True)
class Manifest:
    """What the files of a collection are of."""

    model_version: str
    dimension: int
    revision: int
    mark: bytes
    names: tuple[str, ...]
    share: str
    """Of which references, as N/OF."""


def _bound(uid: int) -> bytes:
    return b"countenance index manifest v1" + struct.pack(">Q", uid)


def write(folder: Path, uid: int, seal: CollectionSeal, manifest: Manifest) -> None:
    """Put a manifest in the place of the one before, durably. Raises OSError."""
    said = {
        "version": VERSION,
        "model_version": manifest.model_version,
        "dimension": manifest.dimension,
        "revision": manifest.revision,
        "mark": manifest.mark.hex(),
        "names": manifest.names,
        "share": manifest.share,
    }
    nonce = os.urandom(_NONCE_BYTES)
    sealed = nonce + AESGCM(seal.derive(_PURPOSE)).encrypt(nonce, json.dumps(said).encode(), _bound(uid))
    draft = folder / f"{MANIFEST}{DRAFT}"
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(sealed)
        file.flush()
        os.fsync(file.fileno())
    draft.rename(folder / MANIFEST)
    sync_folder(folder)


def read(folder: Path, uid: int, seal: CollectionSeal) -> Manifest | None:
    """None where there is none. Raises SegmentFileUnusable."""
    try:
        sealed = (folder / MANIFEST).read_bytes()
    except FileNotFoundError:
        return None
    try:
        said = json.loads(
            AESGCM(seal.derive(_PURPOSE)).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], _bound(uid))
        )
        if said["version"] != VERSION:
            raise SegmentFileUnusable("The index files are of another version.")
        return Manifest(
            said["model_version"],
            said["dimension"],
            said["revision"],
            bytes.fromhex(said["mark"]),
            tuple(str(each) for each in said["names"]),
            str(said.get("share", WHOLE)),
        )
    except (InvalidTag, ValueError, TypeError, KeyError):
        raise SegmentFileUnusable("The manifest of index files does not open.") from None
