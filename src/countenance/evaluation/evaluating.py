"""One evaluation from beginning to end: images, comparisons, searches, groups; and what it found, as one value."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from countenance import __version__
from countenance.evaluation.comparisons import Comparisons, compare, units_of
from countenance.evaluation.dataset import SEARCHES, Dataset, DatasetError
from countenance.evaluation.differentials import Differential, differentials, is_kept
from countenance.evaluation.featurestore import Features, extract
from countenance.evaluation.identification import Identification, Missed, identify
from countenance.evaluation.intervals import (
    Rate,
    Resampling,
    Values,
    Weights,
    population,
    rate,
    resampled,
    share,
)
from countenance.evaluation.rates import (
    FMRS,
    SIMILARITIES,
    AtFmr,
    AtSimilarity,
    EqualErrorRate,
    Point,
    Rates,
    histogram,
)
from countenance.evaluation.searching import plan
from countenance.recognition import Engine

TOLD: Final = 50
"""Comparisons and images of each kind of failure that are told one by one."""
OF_GROUPS: Final = (80.0, 90.0, 99.0)
"""Similarities at which groups are compared: the ones that Amazon's users type."""

EXTRACTING: Final = "extracting"
COMPARING: Final = "comparing"
SEARCHING: Final = "searching"
RESAMPLING: Final = "resampling"


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images that were compared."""

    first: int
    second: int
    score: float


@dataclass(frozen=True, slots=True)
class Failed:
    """An image that gave no features."""

    image: int
    reason: str


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured on what."""

    dataset: Dataset
    at: datetime
    model_version: str
    runtime: str
    face: str
    rounds: int
    seed: int
    resampled: str
    """"subjects", or "images" where nobody says whose they are."""
    resumed: int
    restarted: str | None
    genuine: int
    """Comparisons of a person with themselves, those included that an image without a face prevented."""
    impostor: int
    """Comparisons of different people, those included."""
    failures: dict[str, Rate]
    """Failure to acquire: of all images; with a gallery also of the probes ("fta") and of the references ("fte")."""
    at_similarity: tuple[AtSimilarity, ...]
    at_fmr: tuple[AtFmr, ...]
    equal_error_rate: EqualErrorRate | None
    curve: tuple[Point, ...]
    genuine_histogram: tuple[int, ...]
    impostor_histogram: tuple[int, ...]
    identification: Identification | None
    differentials: tuple[Differential, ...]
    lowest_genuine: tuple[Pair, ...]
    highest_impostor: tuple[Pair, ...]
    without_a_face: tuple[Failed, ...]
    faces: tuple[tuple[float, float, float, float] | None, ...]
    """Of each image the box of the face taken, in ratios."""
    several_faces: int
    """Images with more than one face."""
    similarity: Callable[[float], float]
    """Of a comparison score."""

    def to_json(self) -> dict[str, Any]:
        """The document of `countenance evaluate --json` (docs/reference/cli-json.md)."""
        dataset, name = self.dataset, self.dataset.images
        eer = self.equal_error_rate

        def pair(one: Pair) -> dict[str, Any]:
            return {
                "a": name[one.first],
                "b": name[one.second],
                "similarity": self.similarity(one.score),
                "comparison_score": one.score,
            }

        def missed(one: Missed) -> dict[str, Any]:
            return {
                "probe": name[one.probe],
                "reference": name[one.reference],
                "similarity": None if one.score is None else self.similarity(one.score),
                "first": None if one.first is None else name[one.first],
                "first_similarity": None if one.first_score is None else self.similarity(one.first_score),
            }

        searched = self.identification
        return {
            "version": 1,
            "software": __version__,
            "python": platform.python_version(),
            "at": self.at.isoformat(),
            "source": str(dataset.source),
            "images_root": str(dataset.root),
            "form": dataset.form,
            "face_model": self.model_version,
            "runtime": self.runtime,
            "face": self.face,
            "images": len(name),
            "subjects": len(dataset.subjects) if dataset.knows_subjects else None,
            "rows_repeated": dataset.repeated,
            "images_with_several_faces": self.several_faces,
            "genuine_comparisons": self.genuine,
            "impostor_comparisons": self.impostor,
            "bootstrap": {"rounds": self.rounds, "seed": self.seed, "resampled": self.resampled},
            "failure_to_acquire": {key: one.to_json() for key, one in self.failures.items()},
            "at_similarity": [each.to_json() for each in self.at_similarity],
            "at_fmr": [each.to_json() for each in self.at_fmr],
            "equal_error_rate": None
            if eer is None
            else {"value": eer.value, "comparison_score": eer.threshold, "low": eer.low, "high": eer.high},
            "det": [{"comparison_score": each.threshold, "fmr": each.fmr, "fnmr": each.fnmr} for each in self.curve],
            "histograms": {
                "from": -1.0,
                "to": 1.0,
                "genuine": list(self.genuine_histogram),
                "impostor": list(self.impostor_histogram),
            },
            "identification": None
            if searched is None
            else {
                "galleries": [each.to_json() for each in searched.galleries],
                "references_without_a_face": searched.unacquired_references,
                "probes_without_a_face": searched.unacquired_probes,
                "missed": searched.missed_in_all,
                "told": [missed(each) for each in searched.missed],
            },
            "differentials": [each.to_json() for each in self.differentials],
            "lowest_genuine": [pair(each) for each in self.lowest_genuine],
            "highest_impostor": [pair(each) for each in self.highest_impostor],
            "without_a_face": [
                {"image": name[each.image], "reason": each.reason} for each in self.without_a_face[:TOLD]
            ],
        }


def evaluate(
    engine: Engine,
    dataset: Dataset,
    folder: Path,
    *,
    face: str,
    jobs: int,
    rounds: int,
    seed: int,
    progress: Callable[[str, float], None] = lambda doing, done: None,
) -> Evaluation:
    """Measure everything that a data set allows.

    Args:
        folder: where features are kept meanwhile, and stay; see `featurestore`.
        face: "largest" or "middle".
        progress: told what is being done, and how many images, or which share, of it is done.

    Raises:
        DatasetError: no image has a face, or there is nothing to compare.
    """
    features = extract(engine, dataset, folder, face=face, jobs=jobs, progress=lambda done: progress(EXTRACTING, done))
    acquired = features.acquired
    if not acquired.any():
        first = features.done[0].reason
        raise DatasetError(f"None of {len(acquired):,} images gave a face; the first: {first}.")
    return measure(
        features,
        dataset,
        engine,
        face=face,
        rounds=rounds,
        seed=seed,
        progress=progress,
    )


def measure(
    features: Features,
    dataset: Dataset,
    engine: Engine,
    *,
    face: str,
    rounds: int,
    seed: int,
    progress: Callable[[str, float], None] = lambda doing, done: None,
) -> Evaluation:
    """The same of features that are there already. Of the engine only its calibration and names are used."""
    acquired, units = features.acquired, units_of(dataset)
    thresholds = {each: engine.calibration.comparison_score(each) for each in SIMILARITIES}
    compared = compare(
        features.matrix,
        acquired,
        dataset,
        list(thresholds.values()),
        progress=lambda done: progress(COMPARING, done),
    )
    if not compared.impostors and not compared.genuines:
        raise DatasetError("There is nothing to compare: no two images with faces.")
    resampling = Resampling(
        compared,
        units.of_image,
        population(dataset, units.of_image, units.count, units.are_subjects, acquired),
    )
    rates = Rates(compared, resampling, engine.calibration, units=units.count, rounds=rounds, seed=seed)
    searches = plan(dataset, seed)
    found = None
    if searches is not None:
        found = identify(
            features.matrix,
            acquired,
            dataset,
            searches,
            engine.calibration,
            rounds=rounds,
            seed=seed,
            progress=lambda done: progress(SEARCHING, done),
        )
    progress(RESAMPLING, 0.0)
    groups = differentials(
        dataset,
        compared,
        acquired,
        units.of_image,
        units.count,
        [
            (each, thresholds[each])
            for each in OF_GROUPS
            if is_kept(compared.highest, thresholds[each], highest=True)
            and is_kept(compared.lowest, thresholds[each], highest=False)
        ],
        rounds=rounds,
        seed=seed,
    )
    progress(RESAMPLING, 0.2)
    at_similarity = tuple(rates.at_similarity(each) for each in SIMILARITIES)
    progress(RESAMPLING, 0.5)
    at_fmr = tuple(rates.at_fmr(each) for each in FMRS)
    progress(RESAMPLING, 0.9)
    eer = rates.equal_error_rate()
    progress(RESAMPLING, 1.0)
    return Evaluation(
        dataset=dataset,
        at=datetime.now(UTC),
        model_version=engine.model_version,
        runtime=engine.runtime,
        face=face,
        rounds=rounds,
        seed=seed,
        resampled="subjects" if units.are_subjects else "images",
        resumed=features.resumed,
        restarted=features.restarted,
        genuine=compared.genuines + compared.unacquired_genuine,
        impostor=compared.impostors + compared.unacquired_impostor,
        failures=_failures(dataset, acquired, units.of_image, units.count, rounds, seed),
        at_similarity=at_similarity,
        at_fmr=at_fmr,
        equal_error_rate=eer,
        curve=tuple(rates.curve()),
        genuine_histogram=tuple(histogram(compared.genuine_bins)),
        impostor_histogram=tuple(histogram(compared.impostor_bins)),
        identification=found,
        differentials=tuple(groups),
        lowest_genuine=_pairs(compared, lowest=True),
        highest_impostor=_pairs(compared, lowest=False),
        without_a_face=tuple(Failed(each.image, each.reason) for each in features.done if each.reason is not None),
        faces=tuple(each.box for each in features.done),
        several_faces=sum(each.faces > 1 for each in features.done),
        similarity=engine.calibration.similarity,
    )


def _pairs(compared: Comparisons, *, lowest: bool) -> tuple[Pair, ...]:
    kept = compared.lowest if lowest else compared.highest
    return tuple(
        Pair(int(first), int(second), float(score))
        for first, second, score in zip(kept.first[:TOLD], kept.second[:TOLD], kept.scores[:TOLD], strict=True)
    )


def _failures(
    dataset: Dataset, acquired: NDArray[np.bool_], of_image: NDArray[np.int32], units: int, rounds: int, seed: int
) -> dict[str, Rate]:
    every = np.ones(len(acquired), np.bool_)
    parts = {"images": every}
    if dataset.form == SEARCHES:
        assert dataset.in_gallery is not None  # of this form
        parts |= {"fta": ~dataset.in_gallery, "fte": dataset.in_gallery}
    found = {}
    for name, part in parts.items():
        failed = np.bincount(of_image[part & ~acquired], minlength=units).astype(np.float64)
        total = np.bincount(of_image[part], minlength=units).astype(np.float64)

        def shares(weights: Weights, failed: Values = failed, total: Values = total) -> Values:
            return share(weights @ failed, weights @ total)[:, None]

        samples = resampled(shares, units, rounds, seed)
        found[name] = rate(int(failed.sum()), int(total.sum()), samples[:, 0])
    return found
