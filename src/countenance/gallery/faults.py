"""What can go wrong in a gallery. Knows messages; does not know HTTP or AWS."""

from __future__ import annotations

from countenance.errors import Error


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
