"""What is known of the errors of estimated attributes: against labels where somebody made some, and against other
photographs of the same person and mirror images where nobody did.

Takes the networks' own answers, before calibration, so that calibrations can be fitted here: on one half of the people,
while the other half is measured.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from countenance.biometrics import DetectedFace
from countenance.recognition.attributes import Estimators, demography, mesh
from countenance.recognition.attributes.crops import EXPRESSION_LIFT, EXPRESSION_SCALE, dlib_chip, upright
from countenance.recognition.attributes.emotions import EXPRESSIONS
from countenance.recognition.attributes.estimators import mesh_of

Values = NDArray[np.float64]

PER_YEAR = 0.1
"""Years that an age range grows by on each side for every year of age: errors grow with age."""

COUNTERPARTS = {
    0: "upper_jawline_left",
    8: "chin_bottom",
    16: "upper_jawline_right",
    17: "left_eye_brow_left",
    19: "left_eye_brow_up",
    21: "left_eye_brow_right",
    22: "right_eye_brow_left",
    24: "right_eye_brow_up",
    26: "right_eye_brow_right",
    31: "nose_left",
    35: "nose_right",
    36: "left_eye_left",
    39: "left_eye_right",
    42: "right_eye_left",
    45: "right_eye_right",
    51: "mouth_up",
    57: "mouth_down",
}
"""Which of the 68 points of iBUG's scheme marks the same place as one of ours. The lids' middles, the pupils and the
middle of the jaw have no counterpart."""

_EYES_OF_68 = ((36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47))


@dataclass(frozen=True, slots=True)
class Seen:
    """What the networks say of one face."""

    identity: str
    """Who it is, as the photograph's label has it."""
    face: DetectedFace
    ages: NDArray[np.float32]
    """81 probabilities."""
    genders: NDArray[np.float32]
    """Two probabilities: female, male."""
    expressions: NDArray[np.float32]
    """Seven probabilities."""
    mesh: mesh.Mesh

    @property
    def age(self) -> float:
        return demography.expected_age(self.ages)

    @property
    def odds(self) -> float:
        """Logarithm of the odds that the face is a man's."""
        female, male = np.clip(self.genders.astype(np.float64), 1e-9, 1)
        return float(np.log(male) - np.log(female))

    @property
    def happy(self) -> bool:
        return EXPRESSIONS[int(self.expressions.argmax())] == "happy"

    @property
    def has_open_eyes(self) -> bool:
        return mesh.eye_aspect_ratio(self.mesh.points) > mesh.EYES_OPEN_FROM


@dataclass(frozen=True, slots=True)
class Marked:
    """One face with 68 labelled points, and its mesh."""

    labels: Values
    """68 x 2, pixels of the photograph."""
    found: Values
    """478 x 2, pixels of the photograph."""
    mesh: mesh.Mesh

    @property
    def eyes_apart(self) -> float:
        """Pixels between the middles of the labelled eyes."""
        left, right = (self.labels[list(six)].mean(axis=0) for six in _EYES_OF_68)
        return float(np.linalg.norm(left - right))

    def off(self, label: int) -> float:
        """Distance between a labelled point and our counterpart, in distances of the eyes."""
        ours = self.found[mesh.LANDMARKS[COUNTERPARTS[label]]]
        return float(np.linalg.norm(ours - self.labels[label])) / self.eyes_apart

    @property
    def eyes(self) -> tuple[float, float]:
        """The eye aspect ratio: ours, and of the labels."""
        labelled = np.mean([mesh.aspect(self.labels[list(six)]) for six in _EYES_OF_68])
        return mesh.eye_aspect_ratio(self.mesh.points), float(labelled)

    @property
    def mouth(self) -> tuple[float, float]:
        """The mouth's opening over its width: ours, and of the labels."""
        high = np.linalg.norm(self.labels[62] - self.labels[66])
        return mesh.mouth_opening(self.mesh.points), float(high / np.linalg.norm(self.labels[60] - self.labels[64]))


def see(estimators: Estimators, pixels: NDArray[np.uint8], face: DetectedFace, identity: str = "") -> Seen:
    """Run every network on one face, all of which have to be available."""
    ages, genders, expressions, points = (
        estimators.network(name) for name in ("age_range", "gender", "emotions", "landmarks")
    )
    if ages is None or genders is None or expressions is None or points is None:
        raise ValueError("weights are missing: `countenance doctor` says which")
    grey = upright(pixels, face, expressions.side, scale=EXPRESSION_SCALE, lift=EXPRESSION_LIFT)
    return Seen(
        identity=identity,
        face=face,
        ages=ages.run(dlib_chip(pixels, face, ages.side).pixels)[0].ravel(),
        genders=genders.run(dlib_chip(pixels, face, genders.side).pixels)[0].ravel(),
        expressions=expressions.run(grey.pixels)[0].ravel(),
        mesh=mesh_of(points, pixels, face)[0],
    )


def mark(estimators: Estimators, pixels: NDArray[np.uint8], face: DetectedFace, labels: Values) -> Marked:
    """Run the mesh on a face whose points are labelled."""
    network = estimators.network("landmarks")
    if network is None:
        raise ValueError("weights are missing: `countenance doctor` says which")
    made, found = mesh_of(network, pixels, face)
    return Marked(labels, found, made)


def halves(seen: Sequence[Seen]) -> tuple[list[Seen], list[Seen]]:
    """Every second person to fit on, the others to measure on."""
    chosen = set(sorted({each.identity for each in seen})[::2])
    return [each for each in seen if each.identity in chosen], [each for each in seen if each.identity not in chosen]


def of_one_person(seen: Sequence[Seen]) -> Iterator[list[Seen]]:
    """The photographs of everybody who has more than one."""
    for _, group in itertools.groupby(sorted(seen, key=lambda each: each.identity), key=lambda each: each.identity):
        photographs = list(group)
        if len(photographs) > 1:
            yield photographs


def spread_of_ages(seen: Sequence[Seen]) -> float:
    """Standard deviation between photographs of one person, in years."""
    return float(np.sqrt(np.mean([np.var([each.age for each in group], ddof=1) for group in of_one_person(seen)])))


def agreement_of_genders(seen: Sequence[Seen]) -> float:
    """Share of a person's photographs that agree with the majority of them, mean over people."""
    men = [np.mean([each.odds > 0 for each in group]) for group in of_one_person(seen)]
    return float(np.mean([max(share, 1 - share) for share in men]))


def fit_range(estimated: Values, known: Values, *, covered: float) -> dict[str, float]:
    """How far an age range has to reach so that a share of ages lies in it, as many above as below."""
    tail = 1 - (1 - covered) / 2
    below = np.quantile(estimated - known - PER_YEAR * estimated, tail)
    above = np.quantile(known - estimated - PER_YEAR * estimated, tail)
    return {"below": round(float(below), 1), "above": round(float(above), 1), "per_year": PER_YEAR}


def fit_temperature(odds: Values, male: NDArray[np.bool_]) -> float:
    """The temperature at which the log odds of being a man are least surprised by what is so, in tenths."""
    signed = np.where(male, odds, -odds)
    tried = np.arange(10, 51) / 10
    return float(min(tried, key=lambda t: float(np.logaddexp(0, -signed / t).mean())))


def fit_gaze(seen: Sequence[Seen]) -> dict[str, float]:
    """Of the eyes that are open: half of what two eyes differ by, how much the head's yaw shows in their mean, and the
    pitch at which they rest."""
    shown = [each for each in seen if each.has_open_eyes]
    turns = np.array([mesh.eye_turns(each.mesh.points) for each in shown])
    heads = np.array([each.face.pose.yaw for each in shown])
    leak = np.polyfit(heads, turns[:, :, 0].mean(axis=1), 1)[0]
    return {
        "gaze": round(float((turns[:, 0, 0] - turns[:, 1, 0]).std()) / 2, 1),
        "gaze_per_degree": round(abs(float(leak)), 2),
        "gaze_rest": round(float(np.median(turns[:, :, 1])), 1),
    }
