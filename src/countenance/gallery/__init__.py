"""The enrolment database: collections of references with their templates. It never sees pixels.

Start with `gallery` (the contract), then `sqlite` (the store), `index` and `shelf` (the search).
"""

from __future__ import annotations

from countenance.gallery.collections import held
from countenance.gallery.gallery import (
    MAX_CANDIDATES,
    MAX_TAGS,
    Collection,
    CollectionExists,
    CollectionNotFound,
    Enrolment,
    Gallery,
    GalleryError,
    GalleryStats,
    ModelMismatch,
    RebuildReport,
    ReferenceNotFound,
    TagLimitExceeded,
    TemplateCorrupt,
)
from countenance.gallery.sqlite import SqliteGallery

__all__ = [
    "MAX_CANDIDATES",
    "MAX_TAGS",
    "Collection",
    "CollectionExists",
    "CollectionNotFound",
    "Enrolment",
    "Gallery",
    "GalleryError",
    "GalleryStats",
    "ModelMismatch",
    "RebuildReport",
    "ReferenceNotFound",
    "SqliteGallery",
    "TagLimitExceeded",
    "TemplateCorrupt",
    "held",
]
