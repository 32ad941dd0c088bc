"""FaceId, ImageId and ARNs: names that clients store.

A FaceId is deterministic: the same image, model, ExternalImageId and box give the same id in every collection
of an account, as Amazon Rekognition documents of its own ids. It is derived under the account's id key, so it
links nothing across accounts. Version and variant bits are those of a version-5 UUID (RFC 9562, 5.5), the form
in which the ids of Amazon's samples come; the hash behind it is HMAC-SHA-256, not SHA-1.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import uuid
from dataclasses import dataclass

_COLLECTION_ARN = re.compile(
    r"(?:arn:)?aws:rekognition:(?P<region>[a-z0-9-]*):(?P<account>[0-9]*):collection/(?P<collection>[a-zA-Z0-9_.\-]+)"
)


def _uuid5_shaped(key: bytes, *fields: bytes) -> str:
    mac = hmac.new(key, digestmod=hashlib.sha256)
    for field in fields:
        mac.update(len(field).to_bytes(4, "big") + field)
    return str(uuid.UUID(bytes=mac.digest()[:16], version=5))


def face_id(
    id_key: bytes,
    *,
    model_version: str,
    image_sha256: bytes,
    external_image_id: str | None,
    pixel_box: tuple[int, int, int, int],
) -> str:
    """The id of one face of one image, 36 characters of lower-case hex and dashes."""
    # An absent ExternalImageId and an empty one could not be told apart by bytes alone; the model forbids
    # the empty one, so b"" is free to mean "absent".
    return _uuid5_shaped(
        id_key,
        b"face/1",
        model_version.encode(),
        image_sha256,
        (external_image_id or "").encode(),
        ",".join(map(str, pixel_box)).encode(),
    )


def image_id(id_key: bytes, image_sha256: bytes) -> str:
    """The id of one image: equal bytes give equal ids within an account."""
    return _uuid5_shaped(id_key, b"image/1", image_sha256)


@dataclass(frozen=True, slots=True)
class CollectionArn:
    """The three parts of a collection's ARN that can differ."""

    region: str
    account_id: str
    collection_id: str

    def __str__(self) -> str:
        return f"arn:aws:rekognition:{self.region}:{self.account_id}:collection/{self.collection_id}"

    def without_scheme(self) -> str:
        """As CreateCollection writes it: every published sample of that call lacks the leading `arn:`."""
        return str(self).removeprefix("arn:")


def parse_collection_arn(arn: str) -> CollectionArn | None:
    """Reads either form of a collection's ARN; None for anything else."""
    found = _COLLECTION_ARN.fullmatch(arn)
    return CollectionArn(found["region"], found["account"], found["collection"]) if found else None
