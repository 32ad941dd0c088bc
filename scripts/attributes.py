"""How far off each attribute is, as far as it can be measured here, and what it takes: the table of docs/accuracy.md.

python scripts/attributes.py [--fit] [--first N]

Nothing is labelled here that was not labelled by somebody before:

* landmarks, eyes and mouth against the 68 points of dlib_faces_det;
* age against the years of birth of public figures (scripts/attributes_births.csv: public record, entered by hand), the
  photographs of LFW being of 2002 to 2004 and taken as of 2003;
* gender against what the first name mostly is, by gender-guesser, if that is installed (GPL, not a dependency:
  pip install --no-deps gender-guesser); names it is not sure of are left out;
* everything against the same photograph mirrored, and against other photographs of the same person.

--fit prints the calibrations that go into the packs, fitted on one half of the people; the table measures the other
half. Exit status 3 when the photographs are not there.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from countenance.biometrics import Attributes, DetectedFace
from countenance.recognition import Engine, build_engine, modelpack
from countenance.recognition.attributes import NAMES, PACK_OF, demography, emotions
from countenance.recognition.attributes import estimators as networks
from countenance.recognition.attributes import mesh as face_mesh
from countenance.recognition.attributes.crops import EXPRESSION_LIFT, EXPRESSION_SCALE, dlib_chip, upright
from countenance.recognition.engine import usable_cores
from countenance.recognition.session import choose

ROOT = Path(__file__).resolve().parent.parent
FACES = Path(os.environ.get("COUNTENANCE_TEST_DATA", ROOT.parent / "shared" / "data")) / "faces"
TAKEN = 2003
"""LFW's photographs are of news of 2002 to 2004 (T. Berg et al., "Names and faces in the news", CVPR 2004)."""
COVERED = 0.80
"""Share of people whose age lies in the range, by which the range is made as wide as it is."""
PER_YEAR = 0.1
"""Years that a range grows by on each side for every year of age: errors grow with age."""
MIRRORED = 500
"""Photographs of LFW that are looked at mirrored, too."""

POINTS_OF_68 = {
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
    0: "upper_jawline_left",
    8: "chin_bottom",
    16: "upper_jawline_right",
}
"""Which of the 68 points of iBUG's scheme marks the same place as one of ours. The lids' middles, the pupils and the
middle of the jaw have no counterpart."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One photograph of LFW: the person named, and what the networks give of the face in the middle."""

    identity: str
    ages: np.ndarray
    genders: np.ndarray
    expressions: np.ndarray
    mesh: face_mesh.Mesh
    face: DetectedFace

    @property
    def age(self) -> float:
        return demography.expected_age(self.ages)

    @property
    def gaze(self) -> np.ndarray:
        """Per eye, yaw and pitch in degrees."""
        return np.array([face_mesh._turned(*self.mesh.points[list(each)]) for each in face_mesh._IRISES])


class Bench:
    """The engine and the networks, with raw answers."""

    def __init__(self, folder: Path) -> None:
        self.engine: Engine = build_engine(cache_dir=folder)
        self.estimators = networks.Estimators(folder, runtime=choose("auto"), lanes=1, threads=usable_cores())
        if missing := set(NAMES) - self.estimators.available:
            sys.exit(f"weights are missing for {', '.join(sorted(missing))}: `countenance doctor` says which")

    def seen(self, pixels: np.ndarray, face: DetectedFace, identity: str = "") -> Seen:
        ages, genders, expressions, mesh = (
            self.estimators.network(name) for name in ("age_range", "gender", "emotions", "smile")
        )
        assert None not in (ages, genders, expressions, mesh)  # all of them are available
        grey = upright(pixels, face, expressions.side, scale=EXPRESSION_SCALE, lift=EXPRESSION_LIFT)
        return Seen(
            identity=identity,
            ages=ages.run(dlib_chip(pixels, face, ages.side).pixels)[0].ravel(),
            genders=genders.run(dlib_chip(pixels, face, genders.side).pixels)[0].ravel(),
            expressions=expressions.run(grey.pixels)[0].ravel(),
            mesh=networks.mesh_of(mesh, pixels, face)[0],
            face=face,
        )

    def middle(self, pixels_of: bytes) -> tuple[np.ndarray, DetectedFace] | None:
        analysis = self.engine.analyse(pixels_of)
        if not analysis.faces:
            return None
        nearest = min(
            analysis.faces,
            key=lambda face: (
                (face.box.left + face.box.width / 2 - 0.5) ** 2 + (face.box.top + face.box.height / 2 - 0.5) ** 2
            ),
        )
        return analysis.picture.pixels, nearest


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as rows:
        return list(csv.DictReader(rows))


def lfw(bench: Bench, first: int | None) -> list[Seen]:
    folder = FACES / "lfw_view1"
    found = []
    for row in rows_of(folder / "labels.csv")[:first]:
        if (middle := bench.middle((folder / "images" / row["image"]).read_bytes())) is not None:
            found.append(bench.seen(*middle, identity=row["identity"]))
    return found


def halves(seen: Sequence[Seen]) -> tuple[list[Seen], list[Seen]]:
    """Every second person to fit on, the others to measure on."""
    chosen = set(sorted({each.identity for each in seen})[::2])
    return [each for each in seen if each.identity in chosen], [each for each in seen if each.identity not in chosen]


def of_one_person(seen: Sequence[Seen]) -> Iterator[list[Seen]]:
    for _, group in itertools.groupby(sorted(seen, key=lambda each: each.identity), key=lambda each: each.identity):
        photographs = list(group)
        if len(photographs) > 1:
            yield photographs


# -- age


def known_ages(seen: Sequence[Seen]) -> tuple[np.ndarray, np.ndarray, int]:
    """Estimated and known age of each photograph of somebody whose year of birth is known, and how many people."""
    born = {row["identity"]: int(row["born"]) for row in rows_of(Path(__file__).with_name("attributes_births.csv"))}
    known = [each for each in seen if each.identity in born]
    people = len({each.identity for each in known})
    return np.array([each.age for each in known]), np.array([TAKEN - born[each.identity] for each in known]), people


def fit_age(seen: Sequence[Seen]) -> dict[str, float]:
    estimated, known, _ = known_ages(seen)
    tail = 1 - (1 - COVERED) / 2
    below = float(np.quantile(estimated - known - PER_YEAR * estimated, tail))
    above = float(np.quantile(known - estimated - PER_YEAR * estimated, tail))
    return {"below": round(below, 1), "above": round(above, 1), "per_year": PER_YEAR}


def age(seen: Sequence[Seen]) -> str:
    estimated, known, people = known_ages(seen)
    ranges = [demography.range_around(each, **calibration("attributes-age")) for each in estimated]
    held = np.mean([each.low <= age <= each.high for each, age in zip(ranges, known, strict=True)])
    wide = np.mean([each.high - each.low for each in ranges])
    off = estimated - known
    spread = np.sqrt(np.mean([np.var([each.age for each in group], ddof=1) for group in of_one_person(seen)]))
    return (
        f"mean absolute error {np.abs(off).mean():.1f} years, bias {off.mean():+.1f}; the range, {wide:.0f} years wide "
        f"in the mean, holds {held:.0%} of the ages ({len(off)} photographs of {people} public figures, LFW View 1); "
        f"photographs of one person differ by {spread:.1f} years (standard deviation)"
    )


# -- gender


def named_genders(seen: Sequence[Seen]) -> tuple[np.ndarray, np.ndarray] | None:
    """Log odds of male, and whether the first name is a man's, where gender-guesser is sure."""
    if importlib.util.find_spec("gender_guesser") is None:
        return None
    from gender_guesser.detector import Detector

    detector = Detector(case_sensitive=False)
    odds, male = [], []
    for each in seen:
        name = detector.get_gender(each.identity.split("_")[0])
        if name in ("male", "female"):
            female_p, male_p = np.clip(each.genders, 1e-9, 1)
            odds.append(np.log(male_p) - np.log(female_p))
            male.append(name == "male")
    return np.array(odds), np.array(male)


def fit_gender(seen: Sequence[Seen]) -> dict[str, float]:
    found = named_genders(seen)
    if found is None:
        return calibration("attributes-gender")
    odds, male = found
    signed = np.where(male, odds, -odds)
    return {
        "temperature": min(np.arange(1.0, 5.0, 0.1), key=lambda t: float(np.log1p(np.exp(-signed / t)).mean())).round(1)
    }


def gender(seen: Sequence[Seen]) -> str:
    agreed = np.mean([max(np.mean(sides), 1 - np.mean(sides)) for sides in _sides(seen)])
    together = f"{agreed:.1%} of one person's photographs agree with the majority of them"
    found = named_genders(seen)
    if found is None:
        return f"{together}; against names not measured: gender-guesser is not installed"
    odds, male = found
    right = (odds > 0) == male
    temperature = calibration("attributes-gender")["temperature"]
    confidence = 100 / (1 + np.exp(-np.abs(odds) / temperature))
    bins = []
    for low, high in ((50, 80), (80, 95), (95, 99), (99, 101)):
        chosen = (confidence >= low) & (confidence < high)
        bins.append(f"{low} to {min(high, 100)}: {right[chosen].mean():.0%} of {chosen.sum()}")
    return (
        f"{right.mean():.1%} agree with the first name ({male.size} photographs, LFW View 1; men "
        f"{right[male].mean():.1%}, women {right[~male].mean():.1%}); by confidence {'; '.join(bins)}; {together}"
    )


def _sides(seen: Sequence[Seen]) -> Iterator[list[bool]]:
    for group in of_one_person(seen):
        yield [bool(each.genders[1] > each.genders[0]) for each in group]


# -- expressions, smile


def happy(each: Seen) -> bool:
    return emotions.EXPRESSIONS[int(each.expressions.argmax())] == "happy"


def expressions(seen: Sequence[Seen], mirrored: Sequence[tuple[Seen, Seen]]) -> str:
    same = np.mean([one.expressions.argmax() == other.expressions.argmax() for one, other in mirrored])
    return (
        "not measured: no labelled photographs that may be used. Published: 66 % of FER2013 (the first file's name), "
        f"71 % (justinshenk/fer, issue 50). {same:.0%} of {len(mirrored)} photographs get the same first type mirrored"
    )


def smile(seen: Sequence[Seen]) -> str:
    smiles = [face_mesh.smile(each.mesh) for each in seen]
    same = np.array([each.holds for each in smiles]) == np.array([happy(each) for each in seen])
    sure = np.array([each.confidence for each in smiles]) >= 90
    return (
        f"not measured: no labelled photographs. {same.mean():.0%} agree with HAPPY of the other network "
        f"({same.size} photographs, LFW View 1), {same[sure].mean():.0%} of the {sure.sum()} with a confidence of 90 up"
    )


# -- against 68 labelled points


@dataclass(frozen=True, slots=True)
class Labelled:
    points: np.ndarray
    """68 x 2, in pixels of the photograph."""
    found: np.ndarray
    """478 x 2."""
    mesh: face_mesh.Mesh

    @property
    def eyes_apart(self) -> float:
        return float(np.linalg.norm(self.points[36:42].mean(axis=0) - self.points[42:48].mean(axis=0)))


def labelled(bench: Bench) -> list[Labelled]:
    folder = FACES / "dlib_faces_det"
    analysed: dict[str, Any] = {}
    network = bench.estimators.network("landmarks")
    assert network is not None
    found = []
    for row in rows_of(folder / "landmarks68.csv"):
        name = row["image"]
        if name not in analysed:
            analysed[name] = bench.engine.analyse((folder / name).read_bytes())
        pixels = analysed[name].picture.pixels
        points = np.array([[int(part) for part in each.split(":")[1].split(",")] for each in row["points"].split()])
        middle = points.mean(axis=0) / [pixels.shape[1], pixels.shape[0]]
        face = min(
            analysed[name].faces,
            key=lambda each: np.hypot(
                each.box.left + each.box.width / 2 - middle[0], each.box.top + each.box.height / 2 - middle[1]
            ),
        )
        mesh, in_picture = networks.mesh_of(network, pixels, face)
        found.append(Labelled(points.astype(float), in_picture, mesh))
    return found


def ratio_errors(faces: Sequence[Labelled]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Eye aspect ratio and mouth opening: ours, and of the labels."""
    eyes = [(36, 37, 38, 39, 40, 41), (42, 43, 44, 45, 46, 47)]
    label_eyes = np.array([np.mean([face_mesh._aspect(each.points[list(six)]) for six in eyes]) for each in faces])
    label_mouth = np.array(
        [
            np.linalg.norm(each.points[62] - each.points[66]) / np.linalg.norm(each.points[60] - each.points[64])
            for each in faces
        ]
    )
    ours_eyes = np.array([face_mesh.eye_aspect_ratio(each.mesh.points) for each in faces])
    ours_mouth = np.array([face_mesh.mouth_opening(each.mesh.points) for each in faces])
    return ours_eyes, label_eyes, ours_mouth, label_mouth


def landmarks(faces: Sequence[Labelled]) -> str:
    off = {
        name: np.mean(
            [
                np.linalg.norm(each.found[face_mesh.LANDMARKS[name]] - each.points[at]) / each.eyes_apart
                for each in faces
            ]
        )
        for at, name in POINTS_OF_68.items()
    }
    worst = max(off, key=lambda name: off[name])
    apart = np.median([each.eyes_apart for each in faces])
    return (
        f"{np.mean(list(off.values())):.1%} of the distance between the eyes, mean of {len(off)} points with a "
        f"counterpart (worst {worst.replace('_', ' ')}, {off[worst]:.0%}; {len(faces)} faces of dlib_faces_det, "
        f"labelled in whole pixels, eyes {apart:.0f} pixels apart); the other 8 have no label"
    )


def opening(ours: np.ndarray, labels: np.ndarray, threshold: float, what: str) -> str:
    same = (ours > threshold) == (labels > threshold)
    return (
        f"{same.mean():.0%} agree with the labelled points at the same threshold ({same.size} faces of dlib_faces_det, "
        f"{(labels > threshold).sum()} of them {what}); the ratio is off by {(ours - labels).std():.3f} (standard "
        "deviation)"
    )


# -- mirrored


def mirror_pairs(bench: Bench, first: int) -> list[tuple[Seen, Seen]]:
    """Photographs of LFW as they are and mirrored, both seen anew by everything."""
    import io

    from PIL import Image, ImageOps

    folder = FACES / "lfw_view1"
    pairs = []
    for row in rows_of(folder / "labels.csv")[::10][:first]:
        with Image.open(folder / "images" / row["image"]) as image:
            kept: list[bytes] = []
            for each in (image, ImageOps.mirror(image)):
                out = io.BytesIO()
                each.save(out, "PNG")
                kept.append(out.getvalue())
        both = [bench.middle(each) for each in kept]
        if both[0] is not None and both[1] is not None:
            pairs.append((bench.seen(*both[0]), bench.seen(*both[1])))
    return pairs


def fit_gaze(seen: Sequence[Seen]) -> dict[str, float]:
    """Both eyes look the same way: half of what they differ by, and how much the head's yaw shows in their mean."""
    gaze = np.array(
        [each.gaze for each in seen if face_mesh.eye_aspect_ratio(each.mesh.points) > face_mesh.EYES_OPEN_FROM]
    )
    yaw = np.array(
        [each.face.pose.yaw for each in seen if face_mesh.eye_aspect_ratio(each.mesh.points) > face_mesh.EYES_OPEN_FROM]
    )
    slope = np.polyfit(yaw, gaze[:, :, 0].mean(axis=1), 1)[0]
    return {
        "gaze": round(float((gaze[:, 0, 0] - gaze[:, 1, 0]).std() / 2), 1),
        "gaze_per_degree": round(abs(float(slope)), 2),
        "gaze_rest": round(float(np.median(gaze[:, :, 1])), 1),
    }


def gaze(seen: Sequence[Seen], mirrored: Sequence[tuple[Seen, Seen]]) -> str:
    shown = [each for each in seen if face_mesh.eye_aspect_ratio(each.mesh.points) > face_mesh.EYES_OPEN_FROM]
    apart = np.array([each.gaze[0] - each.gaze[1] for each in shown])
    turned = np.array([one.gaze.mean(axis=0) - other.gaze.mean(axis=0) * [-1, 1] for one, other in mirrored])
    return (
        "not measured: no labelled photographs. The two eyes, which look the same way, differ by "
        f"{apart[:, 0].std():.1f} degrees of yaw and {apart[:, 1].std():.1f} of pitch (standard deviation, "
        f"{len(shown)} photographs); mirrored, the mean differs by {turned[:, 0].std():.1f} and "
        f"{turned[:, 1].std():.1f}"
    )


def pose(mirrored: Sequence[tuple[Seen, Seen]]) -> str:
    off = np.array(
        [
            [
                one.face.pose.roll + other.face.pose.roll,
                one.face.pose.yaw + other.face.pose.yaw,
                one.face.pose.pitch - other.face.pose.pitch,
            ]
            for one, other in mirrored
        ]
    )
    roll, yaw, pitch = np.abs(off).mean(axis=0)
    return (
        "not measured: no labelled photographs. Mirrored, roll and yaw turn round and pitch stays, to within "
        f"{roll:.1f}, {yaw:.1f} and {pitch:.1f} degrees in the mean ({len(mirrored)} photographs, LFW View 1)"
    )


# -- all of it


def calibration(pack: str) -> dict[str, float]:
    read: dict[str, float] = json.loads(modelpack.load(pack).calibration_text())
    return read


def milliseconds(bench: Bench, wanted: Sequence[str]) -> float:
    """A face's median, one at a time, of 200 photographs."""
    folder = FACES / "lfw_view1"
    took = []
    for row in rows_of(folder / "labels.csv")[:200]:
        analysis = bench.engine.analyse((folder / "images" / row["image"]).read_bytes())
        began = time.perf_counter()
        found: list[Attributes] = bench.engine.estimate(analysis, analysis.faces[:1], wanted)
        took.append(time.perf_counter() - began)
        assert len(found) == 1
    return float(np.median(took)) * 1000


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", action="store_true", help="print the calibrations fitted on one half of the people")
    parser.add_argument("--first", type=int, help="only so many photographs of LFW")
    options = parser.parse_args()
    if not (FACES / "lfw_view1" / "labels.csv").is_file():
        print(f"no photographs: {FACES}/lfw_view1 is missing; set COUNTENANCE_TEST_DATA", file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(Path(folder))
        to_fit, to_measure = halves(lfw(bench, options.first))
        faces = labelled(bench)
        eyes, label_eyes, mouth, label_mouth = ratio_errors(faces)
        if options.fit:
            noise = {
                "eyes": round(float((eyes - label_eyes).std()), 3),
                "mouth": round(float((mouth - label_mouth).std()), 3),
            }
            fitted = {
                "attributes-age": fit_age(to_fit),
                "attributes-gender": fit_gender(to_fit),
                "attributes-mesh": {"presence": calibration("attributes-mesh")["presence"]} | noise | fit_gaze(to_fit),
            }
            print(json.dumps(fitted, indent=2))
            return 0
        mirrored = mirror_pairs(bench, MIRRORED)
        told: dict[str, Callable[[], str]] = {
            "age_range": lambda: age(to_measure),
            "gender": lambda: gender(to_measure),
            "emotions": lambda: expressions(to_measure, mirrored),
            "smile": lambda: smile(to_measure),
            "eyes_open": lambda: opening(eyes, label_eyes, face_mesh.EYES_OPEN_FROM, "open"),
            "mouth_open": lambda: opening(mouth, label_mouth, face_mesh.MOUTH_OPEN_FROM, "open"),
            "eye_direction": lambda: gaze(to_measure, mirrored),
            "landmarks": lambda: landmarks(faces),
        }
        print("| attribute | model | licence | error | ms a face |\n|---|---|---|---|---|")
        for name, tell in told.items():
            (file,) = modelpack.load(PACK_OF[name]).files
            print(f"| {name} | {file.name} | {file.licence} | {tell()} | {milliseconds(bench, [name]):.1f} |")
        print(f"| pose | geometry of the five landmarks | - | {pose(mirrored)} | - |")
        together = milliseconds(bench, NAMES)
        print(f"\nAll of them together: {together:.1f} ms a face; {choose('auto')}, {usable_cores()} cores.")
        bench.estimators.close()
        bench.engine.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
