"""Who is enrolled and who is searched for, and what every search scores in galleries of several sizes.

With gallery and probes those are the data set's own. Otherwise a random half of all people is enrolled with the first
image of each; their other images are searched for, and so are all images of the other half, who are not there. Smaller
galleries are random parts of the people enrolled, drawn several times; whoever is left out is searched for as well.

A person's score is the best of their references. Knows no threshold and no error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from countenance.evaluation.dataset import PAIRS, SEARCHES, Dataset

PROBES: Final = 256
"""Searches at once: with 100,000 references, 100 MB of scores."""


@dataclass(frozen=True, slots=True)
class Searches:
    """Who is enrolled and what is searched for."""

    references: NDArray[np.int32]
    """Images of the full gallery, those of one person together."""
    person: NDArray[np.int32]
    """Of each reference its person's place among `subjects`."""
    subjects: NDArray[np.int32]
    """The people enrolled."""
    probes: NDArray[np.int32]
    """Images that are searched for."""
    subject_of_probe: NDArray[np.int32]


def plan(dataset: Dataset, seed: int) -> Searches | None:
    """Who is enrolled and who is searched for; None where nobody says whose the images are, or nothing is left."""
    if dataset.form == PAIRS or not dataset.knows_subjects:
        return None
    of = dataset.subject_of
    if dataset.form == SEARCHES:
        assert dataset.in_gallery is not None  # of this form
        references, probes = np.flatnonzero(dataset.in_gallery), np.flatnonzero(~dataset.in_gallery)
    else:
        count = len(dataset.subjects)
        enrolled = np.zeros(count, np.bool_)
        enrolled[np.random.default_rng(seed).permutation(count)[: count // 2]] = True
        first = np.full(count, -1)
        first[of[::-1]] = np.arange(len(of))[::-1]
        is_reference = enrolled[of] & (first[of] == np.arange(len(of)))
        references, probes = np.flatnonzero(is_reference), np.flatnonzero(~is_reference)
    if not references.size or not probes.size:
        return None
    references = references[np.argsort(of[references], kind="stable")]
    subjects, person = np.unique(of[references], return_inverse=True)
    return Searches(
        references.astype(np.int32),
        person.astype(np.int32),
        subjects.astype(np.int32),
        probes.astype(np.int32),
        of[probes],
    )


@dataclass(frozen=True, slots=True)
class Scores:
    """Of every acquired probe: its own person's score, and the best of others in every gallery."""

    mate: NDArray[np.float32]
    """-inf where the person is not enrolled, or has no features."""
    best_other: dict[tuple[int, int], NDArray[np.float32]]
    """By size and draw."""


def search(
    features: NDArray[np.float32],
    acquired: NDArray[np.bool_],
    searches: Searches,
    galleries: Mapping[tuple[int, int], NDArray[np.intp]],
    progress: Callable[[float], None],
) -> Scores:
    usable = acquired[searches.references]
    columns = features[searches.references[usable]]
    person = searches.person[usable]
    starts = np.flatnonzero(np.diff(person, prepend=-1))
    place = np.full(int(searches.person.max()) + 1, -1)
    place[person[starts]] = np.arange(len(starts))
    enrolled = np.full(int(max(searches.subject_of_probe.max(), searches.subjects.max())) + 1, -1)
    enrolled[searches.subjects] = place
    own = enrolled[searches.subject_of_probe]
    probes = searches.probes
    mate = np.full(len(probes), -np.inf, np.float32)
    best = {key: np.full(len(probes), -np.inf, np.float32) for key in galleries}
    members = {key: place[chosen][place[chosen] >= 0] for key, chosen in galleries.items()}
    for start in range(0, len(probes) if len(starts) else 0, PROBES):
        part = slice(start, start + PROBES)
        scores = features[probes[part]] @ columns.T
        if len(starts) < scores.shape[1]:
            scores = np.maximum.reduceat(scores, starts, axis=1)
        scores[~acquired[probes[part]]] = -np.inf
        lines = np.flatnonzero(own[part] >= 0)
        mate[start + lines] = scores[lines, own[part][lines]]
        scores[lines, own[part][lines]] = -np.inf
        for key, chosen in members.items():
            if len(chosen):
                whole = len(chosen) == scores.shape[1]
                best[key][part] = (scores if whole else scores[:, chosen]).max(axis=1)
        progress(min(1.0, (start + PROBES) / len(probes)))
    return Scores(mate, best)
