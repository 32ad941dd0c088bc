"""Which calibration is in force in a data folder: the one that came with the pack, or one that was fitted here.

Knows files in `<models_dir>` and what they say of themselves; knows no scores. One that was fitted here goes before the
pack's, for as long as it is of the same model version and weights (`modelpack.calibration_text`). Since it decides what
every threshold means, whoever asks gets to know which it is, and on what and when it was fitted.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from countenance.recognition import modelpack
from countenance.recognition.calibration import Calibration
from countenance.recognition.faults import ModelPackError
from countenance.recognition.manifest import ModelPack

OWN: Final = "own"
"""Fitted in this data folder."""
SHIPPED: Final = "shipped"
"""Came with the pack."""


@dataclass(frozen=True, slots=True)
class InForce:
    """A calibration, and what its file says of itself."""

    origin: str
    """OWN or SHIPPED."""
    name: str
    """Of its file, as the log's entries of starts have it: below `<models_dir>` or in the pack's folder."""
    sha256: str
    """Of the text."""
    fitted_on: str
    fitted_at: str | None
    """When, in ISO 8601; None where the file does not say."""
    images: int | None
    is_accepted_broken: bool
    """Whether it was kept although a promise was seen broken."""

    def __str__(self) -> str:
        """For people: which it is, fitted on what and when."""
        count = f", {self.images:,} images" if self.images is not None else ""
        when = f", at {self.fitted_at}" if self.fitted_at else ""
        broken = "; kept with a promise that was seen broken" if self.is_accepted_broken else ""
        return f"{self.origin}, fitted on {self.fitted_on or 'nobody says what'}{count}{when}{broken}"


def in_force(pack: ModelPack, models_dir: Path, *, flip: bool | None = None) -> InForce | None:
    """What a server of this data folder tells Similarity by; None when nobody fitted any.

    Only what it says of itself is read: whether it is a curve, `Calibration.load` says at the start of a server.

    Args:
        flip: the setting: with and without the mirror image scores are others, and so is what is fitted on them.
    """
    own = modelpack.own_calibration_text(pack, models_dir, flip=flip)
    text = own or pack.shipped_calibration
    if not text:
        return None
    origin = OWN if own else SHIPPED
    said = _members(text)
    path = modelpack.calibration_path(pack, models_dir, flip=flip)
    images = said.get("images")
    return InForce(
        origin=origin,
        name=f"{path.parent.name}/{path.name}" if origin == OWN else pack.calibration,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        fitted_on=str(said.get("fitted_on", "")),
        fitted_at=str(said["fitted_at"]) if said.get("fitted_at") else None,
        images=images if isinstance(images, int) else None,
        is_accepted_broken=bool(said.get("accepted_broken")),
    )


def _members(text: str) -> dict[str, Any]:
    try:
        said = json.loads(text)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def is_ignored(pack: ModelPack, models_dir: Path, *, flip: bool | None = None) -> bool:
    """Whether one was fitted here that is not used: of other weights, or not to be read."""
    path = modelpack.calibration_path(pack, models_dir, flip=flip)
    return path.exists() and modelpack.own_calibration_text(pack, models_dir, flip=flip) is None


def keep(pack: ModelPack, models_dir: Path, fitted: Mapping[str, Any], *, flip: bool | None = None) -> Path:
    """Put a calibration in force for this data folder, from the next start of a server on.

    Args:
        fitted: what `Calibration.load` reads, with the weights that it was fitted with.

    Raises:
        ModelPackError: it is of other weights, or no calibration.
    """
    content = json.dumps(fitted, indent=1) + "\n"
    Calibration.load(content)
    if fitted.get("weights") != modelpack.weights_named(pack):
        raise ModelPackError(f"the calibration was fitted with other weights than those of {pack.name}")
    path = modelpack.calibration_path(pack, models_dir, flip=flip)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    modelpack.replace_file(path, content.encode())
    return path


def remove(pack: ModelPack, models_dir: Path, *, flip: bool | None = None) -> bool:
    """Go back to the pack's own calibration. False when none was fitted here."""
    path = modelpack.calibration_path(pack, models_dir, flip=flip)
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True
