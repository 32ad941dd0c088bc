"""What can be wrong with a picture or a model pack. Knows no AWS word: `operations` maps these to codes."""

from __future__ import annotations

from countenance.errors import Error


class RecognitionError(Error):
    """An image or a model pack cannot be used."""


class ImageTooLarge(RecognitionError):
    """More bytes, more pixels or a longer strip than is accepted; found before anything is decoded."""


class ImageTooSmall(RecognitionError):
    """A side is shorter than a face can be found in."""


class ImageUnreadable(RecognitionError):
    """Not a picture in an accepted format, or one that breaks off or contradicts itself."""


class Busy(RecognitionError):
    """Too many calls already wait for inference."""


class ModelPackError(RecognitionError):
    """Weights are missing or not the ones that the manifest names."""
