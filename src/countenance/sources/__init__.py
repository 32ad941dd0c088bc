"""Where the bytes of an `S3Object` come from: folders on this machine, or an S3-compatible endpoint.

Knows buckets, object names, versions and grants; must not know images, faces, or what a client is answered.
"""

from __future__ import annotations

from countenance.sources.folder import FolderSource
from countenance.sources.grants import GrantedSource
from countenance.sources.s3 import S3Source
from countenance.sources.source import (
    ImageSource,
    ObjectNotAvailable,
    ObjectTooLarge,
    SourceBusy,
    SourceError,
    SourceUnavailable,
)

__all__ = [
    "FolderSource",
    "GrantedSource",
    "ImageSource",
    "ObjectNotAvailable",
    "ObjectTooLarge",
    "S3Source",
    "SourceBusy",
    "SourceError",
    "SourceUnavailable",
]
