"""The master key file, and what is done with it: wrapping other keys and deriving purpose-bound ones.

The file holds 32 random bytes and nothing else, readable by its owner only. Nothing here knows a table.
AES-256-GCM and HKDF-SHA256 (RFC 5869) come from the library `cryptography`. Wrapping uses a key derived for
that purpose, so that the master key itself never meets two algorithms (NIST SP 800-108 section 5 asks for
one key, one use). Whoever holds this file and the database can read every template: see
docs/design/trust.md.
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from countenance.errors import Error

_KEY_BYTES = 32  # AES-256
_NONCE_BYTES = 12  # the size NIST SP 800-38D section 8.2.2 recommends for random nonces
_TAG_BYTES = 16
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_INFO = b"countenance keyring v1: "
WRAPPED_OVERHEAD_BYTES = _NONCE_BYTES + _TAG_BYTES
"""How much longer a wrapped key is than the key."""


class KeyringError(Error):
    """The master key is missing, readable by others, malformed, or not the one that wrapped a key."""


class Keyring:
    """Holds the master key in memory; safe to use from several threads."""

    def __init__(self, master_key: bytes) -> None:
        if len(master_key) != _KEY_BYTES:
            raise KeyringError(f"A master key has {_KEY_BYTES} bytes, this one has {len(master_key)}.")
        self._master_key = master_key
        self._wrapping = AESGCM(self.derive("wrap"))

    def __repr__(self) -> str:
        return "Keyring(...)"

    @classmethod
    def open(cls, path: Path, *, create: bool) -> Keyring:
        """Read the master key file; with `create`, make it first when there is none.

        Raises:
            KeyringError: there is no file, others may read or write it, or it does not hold 32 bytes.
        """
        if create and not path.exists():
            _create(path, secrets.token_bytes(_KEY_BYTES))
        return cls(_read(path))

    def wrap(self, key: bytes, *, aad: bytes) -> bytes:
        """Seal a key: nonce, ciphertext and tag, `WRAPPED_OVERHEAD_BYTES` longer than the key."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._wrapping.encrypt(nonce, key, aad)

    def unwrap(self, blob: bytes, *, aad: bytes) -> bytes:
        """Open what `wrap` sealed with the same `aad`.

        Raises:
            KeyringError: another master key, another `aad`, or changed bytes.
        """
        # A damaged database can hand over anything, a NULL included.
        if not isinstance(blob, bytes) or len(blob) < WRAPPED_OVERHEAD_BYTES:
            raise KeyringError("A wrapped key in the database is damaged.", hint="restore the database from a backup")
        try:
            return self._wrapping.decrypt(blob[:_NONCE_BYTES], blob[_NONCE_BYTES:], aad)
        except InvalidTag:
            raise KeyringError(
                "The master key does not open a key in the database.",
                hint="Put back the master key file that belongs to this database. Without it the templates are lost.",
            ) from None

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose, the same at every start; different purposes are independent."""
        info = _INFO + purpose.encode()
        return HKDF(algorithm=hashes.SHA256(), length=_KEY_BYTES, salt=None, info=info).derive(self._master_key)


def _create(path: Path, master_key: bytes) -> None:
    """Make the file appear whole and durable, or not at all; keep a file that somebody else made first."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}.new")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.write(handle, master_key)
            os.fsync(handle)
        finally:
            os.close(handle)
        try:
            # link, not rename: rename would replace the key of a server that started a moment earlier
            os.link(draft, path)
        except FileExistsError:
            pass
        finally:
            draft.unlink()
        sync_folder(path.parent)
    except OSError as failure:
        raise KeyringError(
            f"The master key file {path} cannot be created: {failure.strerror}.",
            hint="Check that the folder exists and that this user may write it.",
        ) from None


def _read(path: Path) -> bytes:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise KeyringError(
            f"There is no master key file at {path}.",
            hint="Restore it from your backup. Without it the stored templates cannot be opened.",
        ) from None
    except OSError as failure:
        raise KeyringError(f"The master key file {path} cannot be opened: {failure.strerror}.") from None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise KeyringError(f"The master key {path} is not a regular file.")
        if status.st_mode & _OTHERS:
            raise KeyringError(
                f"The master key file {path} is open to other users (mode {stat.S_IMODE(status.st_mode):04o}).",
                hint=f"Run: chmod 600 {path}. If others may have read it, treat the templates as disclosed.",
            )
        content = os.read(handle, _KEY_BYTES + 1)
    finally:
        os.close(handle)
    if len(content) != _KEY_BYTES:
        raise KeyringError(
            f"The master key file {path} does not hold exactly {_KEY_BYTES} bytes.",
            hint="Restore it from your backup.",
        )
    return content


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a new file survives a power cut only when its folder is synced."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
