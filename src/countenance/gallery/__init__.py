"""The enrolment database: collections of references with their templates. It never sees pixels.

Start with `gallery` (the contract) and `values`, then `sqlite` (the store), `index` and `shelf` (the search).
"""

from __future__ import annotations

from countenance.gallery.collections import held
from countenance.gallery.faults import (
    CollectionExists,
    CollectionNotFound,
    FacesWithoutCrops,
    GalleryError,
    ModelMismatch,
    ReferenceNotFound,
    TagLimitExceeded,
    TemplateCorrupt,
    TokenInUse,
    TooManyFaces,
    TooManyUsers,
    UserExists,
    UserNotFound,
)
from countenance.gallery.gallery import (
    Gallery,
)
from countenance.gallery.index import tiered
from countenance.gallery.index_files import FOLDER as INDEX_FOLDER
from countenance.gallery.inspection import IndexBusy, IndexState, Verified
from countenance.gallery.moving import NotAsAnArchiveHasIt
from countenance.gallery.sqlite import SqliteGallery
from countenance.gallery.values import (
    MAX_CANDIDATES,
    MAX_FACES_OF_A_USER,
    MAX_TAGS,
    Associated,
    Collection,
    Enrolment,
    GalleryStats,
    KeptCrop,
    Migrated,
    NotAssociated,
    Once,
    RebuildReport,
    User,
    UserCandidate,
    Why,
)

__all__ = [
    "INDEX_FOLDER",
    "MAX_CANDIDATES",
    "MAX_FACES_OF_A_USER",
    "MAX_TAGS",
    "Associated",
    "Collection",
    "CollectionExists",
    "CollectionNotFound",
    "Enrolment",
    "FacesWithoutCrops",
    "Gallery",
    "GalleryError",
    "GalleryStats",
    "IndexBusy",
    "IndexState",
    "KeptCrop",
    "Migrated",
    "ModelMismatch",
    "NotAsAnArchiveHasIt",
    "NotAssociated",
    "Once",
    "RebuildReport",
    "ReferenceNotFound",
    "SqliteGallery",
    "TagLimitExceeded",
    "TemplateCorrupt",
    "TokenInUse",
    "TooManyFaces",
    "TooManyUsers",
    "User",
    "UserCandidate",
    "UserExists",
    "UserNotFound",
    "Verified",
    "Why",
    "held",
    "tiered",
]
