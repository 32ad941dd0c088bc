"""What a gallery is: collections of references, enrolment, identification, erasure. The contract of all stores.

Words of ISO/IEC 2382-37:2022. A gallery never sees pixels, HTTP or AWS words, and every method is scoped by
the account: what another account owns does not exist here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from countenance.biometrics import Candidate, Reference
from countenance.gallery.values import (
    Associated,
    Collection,
    Enrolment,
    GalleryStats,
    Holding,
    KeptCrop,
    Migrated,
    Once,
    RebuildReport,
    User,
    UserCandidate,
)
from countenance.store import Connection, Entry

if TYPE_CHECKING:
    from countenance.gallery.erasure import Erased
    from countenance.gallery.inspection import IndexState, Verified
from countenance.gallery.moving import Arriving, Leaving


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
        may_erase: Callable[[Connection], None],
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

    def holding(self) -> Holding:
        """Which part of the collections this process has, and how far it is behind."""
        ...

    def stats(self) -> GalleryStats:
        """Totals over all accounts."""
        ...

    def describe_index(self, account_id: str, collection_id: str) -> IndexState:
        """A collection's index, in memory and on disk."""
        ...

    def verify_index(self, account_id: str, collection_id: str) -> Verified:
        """Compare a collection's index with exact search over every stored row, for some stored features as probes.

        Raises:
            IndexBusy: the collection changes faster than that.
        """
        ...

    def warm(self) -> RebuildReport:
        """Load the indexes of the large collections, so that no caller waits for it."""
        ...

    def close(self) -> None:
        """End the gallery's own threads. The database is closed by whoever opened it."""
        ...
