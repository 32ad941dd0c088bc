"""Which architectures run here: the kinds that manifests name, and what is made of each.

One literal table a role. A kind that is not in it is known by name only: its files can be fetched and verified, and no
engine is built of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from countenance.recognition import scrfd
from countenance.recognition.detector import THUMBNAIL, YUNET, Detector, Head
from countenance.recognition.extractor import BATCH_SIZES, Extractor
from countenance.recognition.faults import ModelPackError
from countenance.recognition.manifest import ModelPack
from countenance.recognition.session import Session

DETECTORS: Final[Mapping[str, Head]] = {"yunet": YUNET, "scrfd": scrfd.SCRFD}
EXTRACTORS: Final = ("sface", "arcface")
"""Both take 112 x 112 crops at ArcFace's five points and give one row a crop; mean, divisor and order of the channels
are in the manifest. AdaFace's, EdgeFace's and AuraFace's files are of the kind arcface."""


def refuse(pack: ModelPack) -> None:
    """Raises ModelPackError when no engine can be built of a pack, whatever its files have."""
    detector, features = pack.file("detector"), pack.file("features")
    for file, known in ((detector, tuple(DETECTORS)), (features, EXTRACTORS)):
        if file.kind not in known:
            raise ModelPackError(
                f"{file.name} of {pack.name} is of the kind {file.kind!r}, which does not run here",
                hint=f"a {file.role} file is one of: {', '.join(known)}",
            )
    if not pack.dimension:
        raise ModelPackError(f"the manifest of {pack.name} does not say how many numbers its features have")


def make_detector(pack: ModelPack, opened: Callable[[], Session]) -> Detector:
    """The pack's detector.

    Args:
        opened: makes the session of its folded graph.

    Raises:
        ModelPackError: the file is not what the manifest says that it is.
    """
    head = DETECTORS[pack.file("detector").kind]
    try:
        session = opened()
        outputs = session.run(np.zeros((1, *THUMBNAIL, 3), np.uint8))
        head.read(outputs, THUMBNAIL, 0.0)
    except ModelPackError:
        raise
    except Exception as error:  # noqa: BLE001 -- each runtime has errors of its own, and the file may be anybody's
        raise _not_it(pack, "detector", error) from None
    if head is scrfd.SCRFD and not scrfd.has_landmarks(outputs):
        raise ModelPackError(
            f"the detector of {pack.name} finds no landmarks, and faces are aligned by them",
            hint="take one of the models with keypoints: their names end in kps",
        )
    return Detector(session, head)


def make_extractor(
    pack: ModelPack,
    opened: Callable[[tuple[int, ...]], Session],
    *,
    flip: bool,
    batches: tuple[int, ...] = BATCH_SIZES,
) -> Extractor:
    """What makes the pack's features: of several crops at once, or one by one if the file takes no more.

    Args:
        opened: makes the session of its folded graph, for batches of these sizes.
        batches: sizes that are given to it, smallest first.

    Raises:
        ModelPackError: the file is not what the manifest says that it is.
    """
    try:
        return _extractor(pack, opened, batches, flip=flip)
    except ModelPackError:
        return _extractor(pack, opened, (1,), flip=flip)  # made for one crop, in a way that cannot be undone


def _extractor(
    pack: ModelPack, opened: Callable[[tuple[int, ...]], Session], batches: tuple[int, ...], *, flip: bool
) -> Extractor:
    try:
        made = Extractor(opened(batches), dimension=pack.dimension, flip=flip, batches=batches, centre=pack.centre)
        found = made.probe()
    except ModelPackError:
        raise
    except Exception as error:  # noqa: BLE001 -- as above
        raise _not_it(pack, "features", error) from None
    if found != (batches[-1], pack.dimension):
        told, name = "x".join(map(str, found)), pack.file("features").name
        raise ModelPackError(f"{name} makes {told} of a batch of {batches[-1]}; its manifest says {pack.dimension}")
    return made


def _not_it(pack: ModelPack, role: str, error: Exception) -> ModelPackError:
    file = pack.file(role)
    said = (str(error) or type(error).__name__).splitlines()[0]
    return ModelPackError(
        f"{file.name} of {pack.name} does not work as a {role} of the kind {file.kind}: {said[:200]}",
        hint="is it an export with sizes that can vary, and of that kind?",
    )
