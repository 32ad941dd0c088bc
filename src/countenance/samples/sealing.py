"""How an image is sealed on its way to the disk and opened on its way back.

AES-256-GCM under a random key of this one image, which is wrapped by the keyring; destroying the wrapped key destroys
the image, wherever copies of the sealed bytes are. Both are bound to account, request id and SHA-256 of the image, each
with its length in front: a file or a key that was exchanged with another does not open. Knows no file and no table.
"""

from __future__ import annotations

import os
import secrets
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from countenance.errors import Error
from countenance.store import Keyring

_KEY_BYTES = 32  # AES-256
_NONCE_BYTES = 12  # NIST SP 800-38D section 8.2.2
_TAG_BYTES = 16
SEAL_OVERHEAD_BYTES = _NONCE_BYTES + _TAG_BYTES
"""How much longer a sealed image is than the image."""


class SampleError(Error):
    """A sample cannot be kept, found or opened."""


class SampleCorrupt(SampleError):
    """What is kept is not what was sealed."""


@dataclass(frozen=True, slots=True)
class Binding:
    """What a sealed image belongs to: the entry of one call."""

    account: str
    """12 digits."""
    request_id: str
    sha256: bytes
    """Of the image, 32 bytes, as the person section of the call's entry has it."""

    def data(self, what: bytes) -> bytes:
        """The additional data of one of the two ciphertexts."""
        fields = (what, self.account.encode(), self.request_id.encode(), self.sha256)
        return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def seal(keyring: Keyring, binding: Binding, image: bytes) -> tuple[bytes, bytes]:
    """The wrapped key, and nonce, ciphertext and tag of an image."""
    key = secrets.token_bytes(_KEY_BYTES)
    nonce = os.urandom(_NONCE_BYTES)
    sealed = nonce + AESGCM(key).encrypt(nonce, image, binding.data(b"countenance sample v1"))
    return keyring.wrap(key, aad=binding.data(b"countenance sample key v1")), sealed


def open_sealed(keyring: Keyring, binding: Binding, wrapped: bytes, sealed: bytes) -> bytes:
    """The image.

    Raises:
        KeyringError: the key was destroyed, belongs to another entry, or was wrapped by another master key.
        SampleCorrupt: not what was sealed for this entry.
    """
    key = keyring.unwrap(wrapped, aad=binding.data(b"countenance sample key v1"))
    try:
        image = AESGCM(key).decrypt(
            sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], binding.data(b"countenance sample v1")
        )
    except (InvalidTag, ValueError):
        image = None
    # The hash is bound as additional data; what it was computed from is compared as well.
    if image is None or sha256(image).digest() != binding.sha256:
        raise SampleCorrupt(
            "A kept sample does not open: it was changed or belongs to another call.",
            hint="the file was altered or damaged; restore the folder `samples` from a backup",
        )
    return image
