"""What a gallery takes and gives: collections, users, enrolments, and how many of them there may be.

Values without behaviour, in words of ISO/IEC 2382-37:2022.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from countenance.biometrics import Reference

MAX_TAGS = 200  # tags of one collection; Amazon Rekognition's TagResource states the same limit
MAX_CANDIDATES = 4096  # per probe; the upper bound of MaxFaces in Rekognition's search operations
MAX_FACES_OF_A_USER = (
    100  # API reference, AssociateFaces: "A maximum of 100 faces can be associated with a single UserID"
)
SAME_FACE_IOU = 0.7  # two boxes of one image that overlap at least so much are the same face, seen again


@dataclass(frozen=True, slots=True)
class Collection:
    """A named set of references of one account, all made by one model version."""

    account_id: str
    collection_id: str
    uid: int
    """Grows with creation and is never used again."""
    model_version: str
    dimension: int
    created_at: datetime
    face_count: int
    user_count: int = 0
    revision: int = field(default=0, compare=False)
    """Of its references, at the moment that the row was read: what an index must have reached to answer for it."""
    user_revision: int = field(default=0, compare=False)
    """Of what its users are compared by."""


@dataclass(frozen=True, slots=True)
class User:
    """References of one person under one name."""

    seq: int
    """Order of creation inside the collection; never used again."""
    user_id: str
    created_at: datetime
    faces: int


@dataclass(frozen=True, slots=True)
class UserCandidate:
    """A user that an identification returned, with the score of what it is compared by (cosine, in [-1, 1])."""

    user: User
    comparison_score: float


class Why(Enum):
    """Why a reference did not become a user's, or cease to be."""

    NOT_FOUND = "not-found"
    OTHER_USER = "other-user"
    LOW_MATCH = "low-match"


@dataclass(frozen=True, slots=True)
class NotAssociated:
    """A reference that was refused.

    Attributes:
        user_id: whose it is, or whom it is not like; "" where nobody is.
        score: of the comparison that failed; None where none was made.
    """

    face_id: str
    why: Why
    user_id: str = ""
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Associated:
    """What became of the references named: those that changed, and those that were refused. Those that were a user's
    already are in neither."""

    face_ids: tuple[str, ...]
    refused: tuple[NotAssociated, ...]
    user_faces: int = 0
    """How many references the user had then."""


@dataclass(frozen=True, slots=True)
class Once:
    """A client's token: the same call under it is carried out once.

    Attributes:
        asked: SHA-256 of operation and parameters.
    """

    account_id: str
    token: str
    asked: bytes
    at: datetime


@dataclass(frozen=True, slots=True)
class Enrolment:
    """One face to be put into a collection."""

    reference: Reference
    features: NDArray[np.float32]
    """(dimension,) float32, of length 1."""
    crop: NDArray[np.uint8] | None = None
    """112 x 112 x 3, R G B: what the features were made of, if it is to be kept."""


@dataclass(frozen=True, slots=True)
class KeptCrop:
    """What was kept of a face for another model to make its features of."""

    face_id: str
    crop: NDArray[np.uint8]
    """112 x 112 x 3, R G B."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """What a migration did."""

    references: int
    erased: tuple[str, ...]
    """FaceIds of which no crop was kept, and that are gone therefore."""


@dataclass(frozen=True, slots=True)
class Holding:
    """Which part of the collections one process has, and how far it is behind."""

    part: str
    """N/OF of the references; 1/1: all."""
    behind: int
    """Revisions of loaded collections that are stored and not in their indexes yet."""
    is_listening: bool
    """Whether it hears of others' changes by itself; false where nobody else writes."""


@dataclass(frozen=True, slots=True)
class GalleryStats:
    """How much there is, over all accounts."""

    collections: int
    references: int
    loaded_collections: int
    loaded_references: int
    index_bytes: int


@dataclass(frozen=True, slots=True)
class RebuildReport:
    """What `warm` loaded."""

    collections: int
    references: int
    seconds: float
    left_for_first_use: int
    """Small collections, loaded in milliseconds by their first search."""
