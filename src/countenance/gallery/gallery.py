"""What a gallery is: collections of references, enrolment, identification, erasure. The contract of all stores.

Words of ISO/IEC 2382-37:2022. A gallery never sees pixels, HTTP or AWS words, and every method is scoped by
the account: what another account owns does not exist here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from countenance.biometrics import Candidate, Reference
from countenance.errors import Error
from countenance.store import Entry

if TYPE_CHECKING:
    from countenance.gallery.erasure import Erased
    from countenance.gallery.moving import Arriving, Leaving

MAX_TAGS = 200  # tags of one collection; Amazon Rekognition's TagResource states the same limit
MAX_CANDIDATES = 4096  # per probe; the upper bound of MaxFaces in Rekognition's search operations
MAX_FACES_OF_A_USER = (
    100  # API reference, AssociateFaces: "A maximum of 100 faces can be associated with a single UserID"
)
SAME_FACE_IOU = 0.7  # two boxes of one image that overlap at least so much are the same face, seen again


class GalleryError(Error):
    """A collection or reference is missing, present, of another model, or cannot be opened."""


class CollectionNotFound(GalleryError):
    """The account has no such collection."""


class CollectionExists(GalleryError):
    """The account has a collection of this name already."""


class ReferenceNotFound(GalleryError):
    """The collection has no reference with this FaceId."""


class ModelMismatch(GalleryError):
    """Features of one model version or dimension met a collection of another: they cannot be compared."""


class FacesWithoutCrops(GalleryError):
    """A collection cannot come to another model whole: of some faces no crop was kept."""


class TagLimitExceeded(GalleryError):
    """A collection would have more than `MAX_TAGS` tags."""


class UserNotFound(GalleryError):
    """The collection has no user of this name."""


class UserExists(GalleryError):
    """The collection has a user of this name already."""


class TooManyUsers(GalleryError):
    """A collection would have more users than it may."""


class TooManyFaces(GalleryError):
    """A user would have more than `MAX_FACES_OF_A_USER` references."""


class TokenInUse(GalleryError):
    """A client's token came with another call before."""


class TemplateCorrupt(GalleryError):
    """A sealed template does not open: it was changed, or moved to another row."""


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


class Gallery(Protocol):
    """The enrolment database.

    Every change is durable when its method returns and is seen by the next call of any thread. `entry` is
    recorded with the effect, or neither is.
    """

    def create_collection(
        self,
        account_id: str,
        collection_id: str,
        *,
        model_version: str,
        dimension: int,
        tags: Mapping[str, str],
        entry: Entry,
    ) -> Collection:
        """Make an empty collection.

        Raises:
            CollectionExists: the account has it already.
            TagLimitExceeded: more than `MAX_TAGS` tags.
        """
        ...

    def collection(self, account_id: str, collection_id: str) -> Collection:
        """Look a collection up.

        Raises:
            CollectionNotFound: the account has none of this name. So do all methods below.
        """
        ...

    def collections(self, account_id: str, *, after_uid: int | None, limit: int) -> list[Collection]:
        """The account's collections in the order of creation, those with a greater uid than `after_uid`."""
        ...

    def delete_collection(self, account_id: str, collection_id: str, *, entry: Entry) -> int:
        """Delete a collection with its references and destroy its key; returns how many references it had."""
        ...

    def enrol(
        self, account_id: str, collection_id: str, enrolments: Sequence[Enrolment], *, entry: Entry
    ) -> list[Reference]:
        """Put faces into a collection in one transaction; returns their references in the order given.

        A FaceId that is there already is the same reference. So is a face of the same image id and external
        image id whose box overlaps a stored one's by `SAME_FACE_IOU`: it keeps the stored FaceId and time,
        and takes the new box, confidence and template.

        Raises:
            ModelMismatch: another model version or dimension than the collection's.
            ValueError: features not finite or not of length 1, or an id that is not a UUID.
        """
        ...

    def references(
        self,
        account_id: str,
        collection_id: str,
        *,
        after_seq: int | None,
        limit: int,
        face_ids: Sequence[str] | None,
        user_id: str | None = None,
    ) -> list[tuple[int, Reference]]:
        """References with their sequence numbers, in the order of enrolment, those after `after_seq`.

        With `face_ids`, only those; with `user_id`, only the user's.

        Raises:
            UserNotFound: the collection has no such user.
        """
        ...

    def reference(self, account_id: str, collection_id: str, face_id: str) -> Reference:
        """One reference.

        Raises:
            ReferenceNotFound: not in this collection.
        """
        ...

    def erase(
        self,
        account_id: str,
        collection_id: str,
        face_ids: Sequence[str],
        *,
        entry: Entry,
        spares_users: bool = False,
    ) -> list[str]:
        """Remove references; returns the FaceIds that are gone by it, in the order given, each once.

        Args:
            spares_users: references that belong to a user stay. Without, users whom it leaves without a reference go
                as well: their names say whose they were.
        """
        ...

    def create_user(
        self,
        account_id: str,
        collection_id: str,
        user_id: str,
        *,
        at: datetime,
        entry: Entry,
        once: Once | None,
        most: int | None = None,
    ) -> None:
        """Make a user without references.

        Args:
            once: with a token that was used for the same call, nothing is done. So with all three below.
            most: users that the collection may have; None: as many as they like.

        Raises:
            UserExists: the collection has it already.
            TooManyUsers: it has as many as it may.
            TokenInUse: the token was used for another call.
        """
        ...

    def delete_user(
        self, account_id: str, collection_id: str, user_id: str, *, entry: Entry, once: Once | None
    ) -> None:
        """Delete a user; its references stay and belong to nobody.

        Raises:
            UserNotFound: the collection has no such user.
            TokenInUse: the token was used for another call.
        """
        ...

    def associate(
        self,
        account_id: str,
        collection_id: str,
        user_id: str,
        face_ids: Sequence[str],
        *,
        is_same: Callable[[float], bool],
        entry: Entry,
        once: Once | None,
    ) -> Associated:
        """Put references under a user: those of nobody that are like what the user has.

        Args:
            is_same: whether a comparison score means the same person; asked only of a user that has a reference.

        Raises:
            UserNotFound: the collection has no such user.
            TooManyFaces: the user would have too many; nothing was changed.
            TokenInUse: the token was used for another call.
        """
        ...

    def disassociate(
        self,
        account_id: str,
        collection_id: str,
        user_id: str,
        face_ids: Sequence[str],
        *,
        entry: Entry,
        once: Once | None,
    ) -> Associated:
        """Take references from a user; they stay in the collection.

        Raises:
            UserNotFound: the collection has no such user.
            TokenInUse: the token was used for another call.
        """
        ...

    def users(self, account_id: str, collection_id: str, *, after_seq: int | None, limit: int) -> list[User]:
        """Users in the order of creation, those after `after_seq`."""
        ...

    def user(self, account_id: str, collection_id: str, user_id: str) -> User:
        """One user.

        Raises:
            UserNotFound: the collection has no such user.
        """
        ...

    def features_of_user(self, account_id: str, collection_id: str, user_id: str) -> NDArray[np.float32] | None:
        """What a user is compared by, (dimension,) float32 of length 1; None without references.

        Raises:
            UserNotFound: the collection has no such user.
        """
        ...

    def identify_users(
        self,
        account_id: str,
        collection_id: str,
        probes: NDArray[np.float32],
        *,
        max_candidates: int,
        minimum_score: float = -1.0,
        exclude_user_id: str | None = None,
    ) -> list[list[UserCandidate]]:
        """As `identify`, of users that have references: highest score first, ties by the order of creation.

        Raises:
            ModelMismatch, ValueError: as `identify`.
        """
        ...

    def features_of(self, account_id: str, collection_id: str, face_id: str) -> NDArray[np.float32]:
        """The stored features, (dimension,) float32 with fp16 precision.

        Raises:
            ReferenceNotFound: not in this collection.
        """
        ...

    def identify(
        self,
        account_id: str,
        collection_id: str,
        probes: NDArray[np.float32],
        *,
        max_candidates: int,
        minimum_score: float = -1.0,
        exclude_face_id: str | None = None,
    ) -> list[list[Candidate]]:
        """The best candidates of each probe, exactly: highest comparison score first, ties by FaceId.

        Args:
            probes: (n, dimension) float32, each of length 1.
            max_candidates: at most `MAX_CANDIDATES`.
            minimum_score: candidates below it are dropped after the best `max_candidates` were taken.

        Raises:
            ModelMismatch: the probes have another dimension.
            ValueError: a probe is not finite or not of length 1, or `max_candidates` is out of range.
        """
        ...

    def unstaged(self, account_id: str, collection_id: str, model_version: str, *, limit: int) -> list[KeptCrop]:
        """Crops of references that have no template of this model beside them yet, in the order of enrolment.

        Raises:
            TemplateCorrupt: a crop does not open.
        """
        ...

    def stage(
        self,
        account_id: str,
        collection_id: str,
        model_version: str,
        face_ids: Sequence[str],
        features: NDArray[np.float32],
    ) -> int:
        """Put templates of another model beside the collection, where nothing reads them. Returns how many.

        Raises:
            ValueError: features not finite or not of length 1.
        """
        ...

    def without_crops(self, account_id: str, collection_id: str, model_version: str) -> list[str]:
        """The FaceIds that have no template of this model beside them."""
        ...

    def migrate(
        self,
        account_id: str,
        collection_id: str,
        *,
        model_version: str,
        dimension: int,
        erases_rest: bool,
        may_erase: Callable[[sqlite3.Connection], None],
        entry: Entry,
    ) -> Migrated:
        """Have the templates beside the collection take the place of its own, in one transaction.

        Args:
            erases_rest: references without one are erased; users whom that leaves without a reference go as well.
            may_erase: asked inside the transaction before any reference is erased; what it raises undoes all of it.

        Raises:
            FacesWithoutCrops: there are such references, and they are not to be erased; nothing was changed.
        """
        ...

    def forget_crops(self, account_id: str, collection_id: str, *, entry: Entry) -> int:
        """Erase the crops that were kept of a collection's faces; returns how many."""
        ...

    def tags(self, account_id: str, collection_id: str) -> dict[str, str]:
        """The tags of a collection."""
        ...

    def tag(self, account_id: str, collection_id: str, tags: Mapping[str, str], *, entry: Entry) -> dict[str, str]:
        """Set tags, keep the others; returns all of them.

        Raises:
            TagLimitExceeded: there would be more than `MAX_TAGS`; nothing was changed.
        """
        ...

    def untag(self, account_id: str, collection_id: str, names: Sequence[str], *, entry: Entry) -> dict[str, str]:
        """Remove tags, unknown ones are ignored; returns those that remain."""
        ...

    def models(self) -> dict[str, int]:
        """How many collections are of which model version, over all accounts."""
        ...

    def leaving(self, account_id: str, collection_id: str) -> AbstractContextManager[Leaving]:
        """A collection with its templates in the clear, for an archive, from one snapshot.

        Raises:
            CollectionNotFound: the account has none of this name.
        """
        ...

    def arriving(
        self, account_id: str, collection_id: str, *, model_version: str, dimension: int, created_at: datetime
    ) -> AbstractContextManager[Arriving]:
        """A collection to be put together from an archive. Nobody sees it before its `arrive`; without that it is gone
        when the context ends.

        Raises:
            CollectionExists: the account has it already.
        """
        ...

    def erased_from(self, account_id: str, collection_id: str) -> Erased:
        """Which references were taken out of the account's collection of this name, as far as is noted."""
        ...

    def stats(self) -> GalleryStats:
        """Totals over all accounts."""
        ...

    def warm(self) -> RebuildReport:
        """Load the indexes of the large collections, so that no caller waits for it."""
        ...

    def close(self) -> None:
        """End the gallery's own threads. The database is closed by whoever opened it."""
        ...
