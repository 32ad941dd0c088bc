"""How a template is sealed on its way to the disk and opened on its way back.

AES-256-GCM under a random key of the collection, a random 96-bit nonce per template; NIST SP 800-38D section
8.3 allows 2^32 of those per key. The additional data bind a template to account, collection, model version
and FaceId, each with its length in front, so that no two tuples give the same bytes: a row copied to another
collection or person does not open. The collection's key is wrapped by the keyring, bound to account and uid.
"""

from __future__ import annotations

import copy
import os
import secrets

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from countenance.gallery.faults import (
    TemplateCorrupt,
)
from countenance.store import Keyring

_KEY_BYTES = 32  # AES-256
_NONCE_BYTES = 12  # NIST SP 800-38D section 8.2.2
_TAG_BYTES = 16
SEAL_OVERHEAD_BYTES = _NONCE_BYTES + _TAG_BYTES


def _framed(*fields: bytes) -> bytes:
    return b"".join(len(field).to_bytes(4, "big") + field for field in fields)


def _key_aad(account_id: str, uid: int) -> bytes:
    return _framed(b"countenance collection key v1", account_id.encode(), uid.to_bytes(8, "big"))


class CollectionSeal:
    """Seals and opens the templates of one collection; safe to use from several threads."""

    def __init__(self, key: bytes, *, account_id: str, collection_id: str, model_version: str) -> None:
        self._key = key
        self._cipher = AESGCM(key)
        self._named = account_id.encode(), collection_id.encode()
        self._context = _framed(b"countenance template v1", *self._named, model_version.encode())

    @staticmethod
    def new_wrapped_key(keyring: Keyring, *, account_id: str, uid: int) -> bytes:
        """A fresh random key for a collection, wrapped for storage."""
        return keyring.wrap(secrets.token_bytes(_KEY_BYTES), aad=_key_aad(account_id, uid))

    @classmethod
    def unwrapped(
        cls,
        keyring: Keyring,
        wrapped: bytes,
        *,
        account_id: str,
        uid: int,
        collection_id: str,
        model_version: str,
    ) -> CollectionSeal:
        """The seal of a stored collection.

        Raises:
            KeyringError: the key was destroyed, changed, or wrapped by another master key.
        """
        key = keyring.unwrap(wrapped, aad=_key_aad(account_id, uid))
        return cls(key, account_id=account_id, collection_id=collection_id, model_version=model_version)

    def of_model(self, model_version: str) -> CollectionSeal:
        """The seal of the same collection with another model version: for templates that are to take the place."""
        other = copy.copy(self)
        other._context = _framed(b"countenance template v1", *self._named, model_version.encode())
        return other

    def derive(self, purpose: str) -> bytes:
        """32 bytes for one purpose, gone with the collection's key; different purposes are independent (RFC 5869)."""
        info = _framed(b"countenance collection v1", purpose.encode())
        return HKDF(algorithm=hashes.SHA256(), length=_KEY_BYTES, salt=None, info=info).derive(self._key)

    def seal(self, face_id: bytes, template: bytes) -> bytes:
        """Nonce, ciphertext and tag of the fp16 bytes of one reference."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, template, self._aad(face_id))

    def open(self, face_id: bytes, sealed: bytes) -> bytes:
        """The fp16 bytes of one reference.

        Raises:
            TemplateCorrupt: not what was sealed for this reference.
        """
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self._aad(face_id))
        except (InvalidTag, ValueError):
            raise TemplateCorrupt(
                "A stored template does not open: it was changed or belongs elsewhere.",
                hint="The database was altered or damaged. Restore a backup, or delete the reference "
                f"{face_id.hex()} and enrol it again.",
            ) from None

    def seal_crop(self, face_id: bytes, crop: bytes) -> bytes:
        """Nonce, ciphertext and tag of a packed crop: bound to account, collection and FaceId, and to no model."""
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, crop, self._crop_aad(face_id))

    def open_crop(self, face_id: bytes, sealed: bytes) -> bytes:
        """The packed crop of one reference.

        Raises:
            TemplateCorrupt: not what was sealed for this reference.
        """
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self._crop_aad(face_id))
        except (InvalidTag, ValueError):
            raise TemplateCorrupt(
                "A stored crop does not open: it was changed or belongs elsewhere.",
                hint=f"The database was altered or damaged. The reference is {face_id.hex()}.",
            ) from None

    def seal_touched(self, of: int, revision: int, ids: bytes) -> bytes:
        """Nonce, ciphertext and tag of the ids that a change touched: bound to the collection and to its revision.

        Args:
            of: which of a collection's revisions (changes.Of).
        """
        nonce = os.urandom(_NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, ids, self._touched_aad(of, revision))

    def open_touched(self, of: int, revision: int, sealed: bytes) -> bytes:
        """The ids that a change touched.

        Raises:
            TemplateCorrupt: not what was sealed for this revision.
        """
        try:
            return self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], self._touched_aad(of, revision))
        except (InvalidTag, ValueError):
            raise TemplateCorrupt(
                "A noted change of a collection does not open: it was altered or belongs elsewhere.",
                hint="The database was altered or damaged. Restore a backup.",
            ) from None

    def _touched_aad(self, of: int, revision: int) -> bytes:
        return _framed(b"countenance change v1", *self._named, bytes([of]), revision.to_bytes(8, "big"))

    def _crop_aad(self, face_id: bytes) -> bytes:
        return _framed(b"countenance crop v1", *self._named, face_id)

    def _aad(self, face_id: bytes) -> bytes:
        return self._context + len(face_id).to_bytes(4, "big") + face_id


def to_template(features: NDArray[np.float32]) -> NDArray[np.float16]:
    """Features as they are stored: IEEE half precision, little-endian, rounded to nearest even."""
    return np.ascontiguousarray(features, dtype="<f2")


def from_template(template: bytes) -> NDArray[np.float16]:
    """The array (dimension,) fp16 of the bytes that `to_template` gave."""
    return np.frombuffer(template, dtype="<f2")
