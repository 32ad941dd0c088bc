"""A calibration from somebody's own images, checked on people that it was not fitted on.

The people are split into two halves. A map is fitted on one, and the promises of its Similarities are looked at among
the other, who had no part in it; then the map that is kept is fitted on everybody, since twice the people fit rare
rates better than half of them. What was checked is so the way of fitting on such images, with fewer people, and not the
very map that is kept: nobody is left to check that one on.

Knows data sets, an engine and features; knows neither where a calibration is kept nor what is done about a broken one.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from countenance.evaluation.calibrating import FEWEST, TooFewImages, fit
from countenance.evaluation.dataset import PAIRS, SEARCHES, Dataset, DatasetError, load
from countenance.evaluation.expectation import RELIED_ON
from countenance.evaluation.featurestore import extract
from countenance.evaluation.intervals import ROUNDS
from countenance.evaluation.promises import Promise, check, halves
from countenance.recognition import Engine
from countenance.recognition.calibration import Calibration

ENOUGH: Final = 1_600
"""People with one image each of whom either half makes `FEWEST` pairs: twice 775, rounded up."""

Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Acquired:
    """Features of one face of every image."""

    features: NDArray[np.float32]
    """Images x dimension, unit length; zero where there is no face."""
    identities: NDArray[np.int32]
    usable: Mask
    """Images with a face."""
    resumed: int
    """Images that an earlier run had done."""

    @property
    def without_a_face(self) -> int:
        """How many images gave no features."""
        return int((~self.usable).sum())


@dataclass(frozen=True, slots=True)
class Checked:
    """What was promised and seen among people that the map was not fitted on."""

    promises: tuple[Promise, ...]
    people_fitted_on: int
    people_checked_on: int

    @property
    def broken(self) -> tuple[Promise, ...]:
        """Those whose rate is below the whole interval of the one seen."""
        return tuple(each for each in self.promises if each.is_broken)

    def to_json(self) -> dict[str, Any]:
        """As documents have it."""
        return {
            "people_fitted_on": self.people_fitted_on,
            "people_checked_on": self.people_checked_on,
            "promises": [each.to_json() for each in self.promises],
        }


def labelled(source: Path, root: Path | None = None) -> Dataset:
    """A data set of which every image is compared with every other.

    Raises:
        DatasetError: it cannot be read, or is of another form.
    """
    dataset = load(source, root)
    if dataset.form in (PAIRS, SEARCHES):
        only = "comparisons that somebody chose" if dataset.form == PAIRS else "a gallery and probes"
        raise DatasetError(
            f"{source} lists {only}, and a calibration is fitted on all pairs of images of different people.",
            hint="bring a folder with a folder for each person, or a CSV that begins with `image,identity`",
        )
    return dataset


def acquire(
    engine: Engine,
    dataset: Dataset,
    folder: Path,
    *,
    face: str,
    jobs: int = 2,
    progress: Callable[[int], None] = lambda done: None,
) -> Acquired:
    """Features of every image, by way of files in `folder`, so that a run that was stopped goes on.

    Raises:
        StoreError: another run is writing there.
    """
    found = extract(engine, dataset, folder, face=face, jobs=jobs, progress=progress)
    return Acquired(np.array(found.matrix), dataset.subject_of, found.acquired, found.resumed)


def enough(identities: NDArray[np.integer[Any]], usable: Mask | None = None) -> Mask:
    """The half of the people that a map is fitted on, as True for each image of one of them.

    Args:
        identities: whose each image is.
        usable: images that count; all of them before anything was extracted.

    Raises:
        TooFewImages: either half has too few pairs of different people.
    """
    chosen = halves(identities)
    counts = np.ones(len(identities), np.bool_) if usable is None else usable
    fewest = min(_pairs(identities[chosen & counts]), _pairs(identities[~chosen & counts]))
    if fewest < FEWEST:
        people = len(np.unique(identities))
        needed = math.ceil(people * math.sqrt(FEWEST / fewest)) if fewest else ENOUGH
        if people < ENOUGH:
            needed = min(needed, ENOUGH)
        raise TooFewImages(
            f"{people:,} people are too few: half of them make {fewest:,} pairs of images of different people, and "
            f"a Similarity of 99 is one false match in 100,000: that takes {FEWEST:,} to fit, and as many to check.",
            hint=f"bring photographs of some {needed:,} people, with as many of each; {ENOUGH:,} do with one of each",
        )
    return chosen


def check_on_others(acquired: Acquired, *, rounds: int = ROUNDS) -> Checked:
    """Fits on half of the people, and looks at the promises among the others.

    Raises:
        TooFewImages: see `enough` and `calibrating.fit`.
    """
    chosen = enough(acquired.identities, acquired.usable)
    first, second = chosen & acquired.usable, ~chosen & acquired.usable
    scale = Calibration.load(json.dumps(fit(acquired.features[first], acquired.identities[first])))
    others = acquired.identities[second]
    return Checked(
        promises=tuple(check(acquired.features[second], others, scale, RELIED_ON, rounds=rounds)),
        people_fitted_on=len(np.unique(acquired.identities[first])),
        people_checked_on=len(np.unique(others)),
    )


def fit_all(acquired: Acquired, **said: Any) -> dict[str, Any]:
    """A calibration fitted on everybody, as it is kept.

    Args:
        said: what else the file says: on what and by what it was fitted, of which weights.

    Raises:
        TooFewImages: see `calibrating.fit`.
    """
    identities = acquired.identities[acquired.usable]
    return fit(
        acquired.features[acquired.usable],
        identities,
        **said,
        fitted_at=datetime.now(UTC).isoformat(timespec="seconds"),
        people=len(np.unique(identities)),
    )


def _pairs(identities: NDArray[np.integer[Any]]) -> int:
    """Pairs of images of different people."""
    images = np.unique(identities, return_counts=True)[1]
    return int((images.sum() ** 2 - (images**2).sum()) // 2)
