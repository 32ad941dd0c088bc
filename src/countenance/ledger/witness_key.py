"""A witness's key and whether its state is still with it.

Knows one folder: the name and the seed in `key`, and that there is a `state`. A key whose witness forgot what it signed
could sign a second history, so neither is used without the other (docs/operations/witnesses.md).
"""

from __future__ import annotations

import base64
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from countenance_audit.errors import AuditError, Malformed
from countenance_audit.note import COSIGNATURE, SEED_BYTES, Signer, decode_base64

from countenance.ledger.witness import WitnessStateError
from countenance.store import sync_folder

KEY_FILE: Final = "key"
STATE_FOLDER: Final = "state"

_PRIVATE: Final = "PRIVATE+KEY+"
"""How golang.org/x/mod/sumdb/note marks a signer's key; name, key id and base64(type || seed) follow."""
_MAX_KEY_FILE_BYTES: Final = 4096
_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def open_signer(folder: Path, *, name: str | None = None, create: bool = False) -> Signer:
    """The key of the witness in a folder; with `create`, made with its state when there is neither.

    Args:
        name: of the witness; None takes the key's, or makes one up for a new key.

    Raises:
        WitnessStateError: there is no key, it is damaged, others may read it, it has another name, or its state is
            gone: a key whose witness forgot what it signed could sign a second history.
    """
    file, state = folder / KEY_FILE, folder / STATE_FOLDER
    if create and not file.exists():
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if state.is_dir() and any(state.glob("*.checkpoint")):
            raise WitnessStateError(
                f"There is the state of a witness in {state}, but no key at {file}.",
                hint="put the key back, or choose another folder for a new witness",
            )
        state.mkdir(mode=0o700, exist_ok=True)  # before the key: a key without state is refused
        seed = secrets.token_bytes(SEED_BYTES)
        _create(file, _signer(name or f"witness.invalid/{secrets.token_hex(8)}", seed), seed)
    found = _parse_key(_read_key(file), file)
    if name is not None and found.name != name:
        raise WitnessStateError(
            f"The witness in {folder} is named {found.name}, not {name}.", hint="leave the name out, or make a new one"
        )
    if not state.is_dir():
        raise WitnessStateError(
            f"The witness in {folder} has its key, but not its state.",
            hint="a witness that forgot must not sign again under its key: see docs/operations/witnesses.md",
        )
    return found


def _signer(name: str, seed: bytes) -> Signer:
    try:
        return Signer(name, seed)
    except Malformed as error:
        raise WitnessStateError(error.message, hint="a name is like example.org/witness, without spaces") from None


def _create(file: Path, signer: Signer, seed: bytes) -> None:
    """Make the key file appear whole and durable, or not at all; keep one that somebody else made first."""
    encoded = base64.b64encode(bytes([COSIGNATURE]) + seed).decode()
    content = f"{_PRIVATE}{signer.name}+{signer.witness.key_id.hex()}+{encoded}\n"
    draft = file.with_name(f"{file.name}.{secrets.token_hex(8)}.new")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(content.encode())
            out.flush()
            os.fsync(out.fileno())
        with suppress(FileExistsError):
            os.link(draft, file)  # rename would replace the key of a witness that started a moment earlier
    finally:
        draft.unlink()
    sync_folder(file.parent)


def _read_key(file: Path) -> str:
    try:
        with file.open("rb") as source:
            status = os.fstat(source.fileno())
            content = source.read(_MAX_KEY_FILE_BYTES + 1)
    except FileNotFoundError:
        raise WitnessStateError(
            f"There is no witness's key at {file}.", hint="`countenance witness serve` makes one on its first start"
        ) from None
    except OSError as error:
        raise WitnessStateError(f"The witness's key {file} cannot be read: {error.strerror}.") from None
    if status.st_mode & _OTHERS:
        raise WitnessStateError(
            f"The witness's key {file} is open to other users (mode {stat.S_IMODE(status.st_mode):04o}).",
            hint=f"run: chmod 600 {file}. If others may have read it, make a new witness and tell who trusts this one",
        )
    return content.decode("utf-8", "replace")


def _parse_key(content: str, file: Path) -> Signer:
    try:
        name, key_id, encoded = content.removeprefix(_PRIVATE).removesuffix("\n").split("+", 2)
        blob = decode_base64(encoded)
        signer = Signer(name, blob[1:])
        if blob[0] != COSIGNATURE or signer.witness.key_id.hex() != key_id or not content.startswith(_PRIVATE):
            raise Malformed("It is another kind of key.")
    except (AuditError, ValueError, IndexError):
        raise WitnessStateError(f"The witness's key {file} is damaged.", hint="put it back from its copy") from None
    return signer
