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
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from countenance.biometrics import DetectedFace
from countenance.evaluation import estimation
from countenance.evaluation.estimation import COUNTERPARTS, Marked, Seen
from countenance.recognition import Engine, build_engine, modelpack
from countenance.recognition.attributes import NAMES, PACK_OF, Estimators, demography, mesh
from countenance.recognition.engine import usable_cores
from countenance.recognition.session import choose

ROOT = Path(__file__).resolve().parent.parent
FACES = Path(os.environ.get("COUNTENANCE_TEST_DATA", ROOT.parent / "shared" / "data")) / "faces"
LFW = FACES / "lfw_view1"
BIRTHS = Path(__file__).with_name("attributes_births.csv")
TAKEN = 2003
"""LFW's photographs are of news of 2002 to 2004 (T. Berg et al., "Names and faces in the news", CVPR 2004)."""
COVERED = 0.80
"""Share of people whose age lies in the range, by which the range is made as wide as it is."""
MIRRORED = 500
"""Photographs of LFW that are looked at mirrored, too."""
TIMED = 200
"""Photographs that times are the median of."""

Pairs = Sequence[tuple[Seen, Seen]]
Names = tuple[np.ndarray, np.ndarray]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as rows:
        return list(csv.DictReader(rows))


def calibration(pack: str) -> dict[str, float]:
    read: dict[str, float] = json.loads(modelpack.load(pack).calibration_text())
    return read


# -- what is looked at


def nearest(faces: Sequence[DetectedFace], x: float, y: float) -> DetectedFace:
    """The face whose middle is nearest to a point, in ratios of the picture."""
    return min(
        faces,
        key=lambda face: (face.box.left + face.box.width / 2 - x) ** 2 + (face.box.top + face.box.height / 2 - y) ** 2,
    )


def middle(engine: Engine, estimators: Estimators, image: bytes, identity: str = "") -> Seen | None:
    """The face in the middle, whom LFW's labels name."""
    analysis = engine.analyse(image)
    if not analysis.faces:
        return None
    return estimation.see(estimators, analysis.picture.pixels, nearest(analysis.faces, 0.5, 0.5), identity)


def photographs(engine: Engine, estimators: Estimators, first: int | None) -> list[Seen]:
    seen = (
        middle(engine, estimators, (LFW / "images" / row["image"]).read_bytes(), row["identity"])
        for row in rows_of(LFW / "labels.csv")[:first]
    )
    return [each for each in seen if each is not None]


def mirror_images(engine: Engine, estimators: Estimators) -> list[tuple[Seen, Seen]]:
    """Photographs of LFW as they are and mirrored, each found and seen anew."""
    pairs = []
    for row in rows_of(LFW / "labels.csv")[::10][:MIRRORED]:
        both = []
        with Image.open(LFW / "images" / row["image"]) as image:
            for each in (image, ImageOps.mirror(image)):
                out = io.BytesIO()
                each.save(out, "PNG")
                both.append(middle(engine, estimators, out.getvalue()))
        one, other = both
        if one is not None and other is not None:
            pairs.append((one, other))
    return pairs


def marked(engine: Engine, estimators: Estimators) -> list[Marked]:
    folder, analysed, found = FACES / "dlib_faces_det", dict[str, Any](), []
    for row in rows_of(folder / "landmarks68.csv"):
        name = row["image"]
        if name not in analysed:
            analysed[name] = engine.analyse((folder / name).read_bytes())
        pixels = analysed[name].picture.pixels
        points = [[float(part) for part in each.split(":")[1].split(",")] for each in row["points"].split()]
        labels = np.array(points)
        x, y = labels.mean(axis=0) / [pixels.shape[1], pixels.shape[0]]
        found.append(estimation.mark(estimators, pixels, nearest(analysed[name].faces, x, y), labels))
    return found


def known_ages(seen: Sequence[Seen]) -> tuple[np.ndarray, np.ndarray, int]:
    """Estimated and known age of each photograph of somebody whose year of birth is known, and how many people."""
    born = {row["identity"]: int(row["born"]) for row in rows_of(BIRTHS)}
    known = [each for each in seen if each.identity in born]
    people = len({each.identity for each in known})
    return np.array([each.age for each in known]), np.array([TAKEN - born[each.identity] for each in known]), people


def named_genders(seen: Sequence[Seen]) -> Names | None:
    """Log odds of male, and whether the first name is a man's, where gender-guesser is sure."""
    if importlib.util.find_spec("gender_guesser") is None:
        return None
    from gender_guesser.detector import Detector

    detector = Detector(case_sensitive=False)
    named = [(each.odds, detector.get_gender(each.identity.split("_")[0])) for each in seen]
    sure = [(odds, name == "male") for odds, name in named if name in ("male", "female")]
    return np.array([odds for odds, _ in sure]), np.array([male for _, male in sure])


# -- what is told


def of_age(seen: Sequence[Seen]) -> str:
    estimated, known, people = known_ages(seen)
    ranges = [demography.range_around(each, **calibration("attributes-age")) for each in estimated]
    held = np.mean([each.low <= age <= each.high for each, age in zip(ranges, known, strict=True)])
    wide = np.mean([each.high - each.low for each in ranges])
    off = estimated - known
    return (
        f"mean absolute error {np.abs(off).mean():.1f} years, bias {off.mean():+.1f}; the range, {wide:.0f} years wide "
        f"in the mean, holds {held:.0%} of the ages ({len(off)} photographs of {people} public figures, LFW View 1); "
        f"photographs of one person differ by {estimation.spread_of_ages(seen):.1f} years (standard deviation)"
    )


def of_gender(seen: Sequence[Seen]) -> str:
    agreed = estimation.agreement_of_genders(seen)
    together = f"{agreed:.1%} of one person's photographs agree with the majority of them"
    found = named_genders(seen)
    if found is None:
        return f"{together}; against names not measured: gender-guesser is not installed"
    odds, male = found
    right = (odds > 0) == male
    confidence = 100 / (1 + np.exp(-np.abs(odds) / calibration("attributes-gender")["temperature"]))
    bins = []
    for low, high in ((50, 80), (80, 95), (95, 99), (99, 101)):
        chosen = (confidence >= low) & (confidence < high)
        bins.append(f"{low} to {min(high, 100)}: {right[chosen].mean():.0%} of {chosen.sum()}")
    return (
        f"{right.mean():.1%} agree with the first name ({male.size} photographs, LFW View 1; men "
        f"{right[male].mean():.1%}, women {right[~male].mean():.1%}); by confidence {'; '.join(bins)}; {together}"
    )


def of_emotions(mirrored: Pairs) -> str:
    same = np.mean([one.expressions.argmax() == other.expressions.argmax() for one, other in mirrored])
    return (
        "not measured: no labelled photographs that may be used. Published: 66 % of FER2013 (the first file's name), "
        f"71 % (justinshenk/fer, issue 50). {same:.0%} of {len(mirrored)} photographs get the same first type mirrored"
    )


def of_smile(seen: Sequence[Seen]) -> str:
    smiles = [mesh.smile(each.mesh) for each in seen]
    same = np.array([smile.holds == each.happy for smile, each in zip(smiles, seen, strict=True)])
    sure = np.array([each.confidence >= 90 for each in smiles])
    return (
        f"not measured: no labelled photographs. {same.mean():.0%} agree with HAPPY of the other network "
        f"({same.size} photographs, LFW View 1), {same[sure].mean():.0%} of the {sure.sum()} with a confidence of 90 up"
    )


def of_opening(ours_and_labels: Sequence[tuple[float, float]], threshold: float) -> str:
    ours, labels = np.array(ours_and_labels).T
    same = (ours > threshold) == (labels > threshold)
    return (
        f"{same.mean():.0%} agree with the labelled points at the same threshold ({same.size} faces of dlib_faces_det, "
        f"{(labels > threshold).sum()} of them open); the ratio is off by {(ours - labels).std():.3f} (standard "
        "deviation)"
    )


def of_eye_direction(seen: Sequence[Seen], mirrored: Pairs) -> str:
    turns = np.array([mesh.eye_turns(each.mesh.points) for each in seen if each.has_open_eyes])
    apart = (turns[:, 0] - turns[:, 1]).std(axis=0)
    one, other = (np.array([mesh.eye_turns(pair[at].mesh.points).mean(axis=0) for pair in mirrored]) for at in (0, 1))
    turned = (one - other * [-1, 1]).std(axis=0)
    return (
        "not measured: no labelled photographs. The two eyes, which look the same way, differ by "
        f"{apart[0]:.1f} degrees of yaw and {apart[1]:.1f} of pitch (standard deviation, {len(turns)} photographs); "
        f"mirrored, the mean differs by {turned[0]:.1f} and {turned[1]:.1f}"
    )


def of_landmarks(faces: Sequence[Marked]) -> str:
    off = {COUNTERPARTS[label]: np.mean([each.off(label) for each in faces]) for label in COUNTERPARTS}
    worst = max(off, key=lambda name: off[name])
    apart = np.median([each.eyes_apart for each in faces])
    return (
        f"{np.mean(list(off.values())):.1%} of the distance between the eyes, mean of {len(off)} points with a "
        f"counterpart (worst {worst.replace('_', ' ')}, {off[worst]:.0%}; {len(faces)} faces of dlib_faces_det, "
        f"labelled in whole pixels, eyes {apart:.0f} pixels apart); the other 8 have no label"
    )


def of_pose(mirrored: Pairs) -> str:
    one, other = (
        np.array([[pair[at].face.pose.roll, pair[at].face.pose.yaw, pair[at].face.pose.pitch] for pair in mirrored])
        for at in (0, 1)
    )
    roll, yaw, pitch = np.abs(one - other * [-1, -1, 1]).mean(axis=0)
    return (
        "not measured: no labelled photographs. Mirrored, roll and yaw turn round and pitch stays, to within "
        f"{roll:.1f}, {yaw:.1f} and {pitch:.1f} degrees in the mean ({len(mirrored)} photographs, LFW View 1)"
    )


def milliseconds(engine: Engine, wanted: Sequence[str]) -> float:
    """A face's median, one at a time."""
    took = []
    for row in rows_of(LFW / "labels.csv")[:TIMED]:
        analysis = engine.analyse((LFW / "images" / row["image"]).read_bytes())
        began = time.perf_counter()
        engine.estimate(analysis, analysis.faces[:1], wanted)
        took.append(time.perf_counter() - began)
    return float(np.median(took)) * 1000


def fitted(seen: Sequence[Seen], faces: Sequence[Marked]) -> dict[str, dict[str, float]]:
    estimated, known, _ = known_ages(seen)
    names = named_genders(seen)
    kept = calibration("attributes-gender")["temperature"]
    eyes, mouths = (np.array([getattr(each, name) for each in faces]) for name in ("eyes", "mouth"))
    return {
        "attributes-age": estimation.fit_range(estimated, known, covered=COVERED),
        "attributes-gender": {"temperature": kept if names is None else estimation.fit_temperature(*names)},
        "attributes-mesh": {
            "presence": calibration("attributes-mesh")["presence"],
            "eyes": round(float((eyes[:, 0] - eyes[:, 1]).std()), 3),
            "mouth": round(float((mouths[:, 0] - mouths[:, 1]).std()), 3),
            **estimation.fit_gaze(seen),
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", action="store_true", help="print the calibrations fitted on one half of the people")
    parser.add_argument("--first", type=int, help="only so many photographs of LFW")
    options = parser.parse_args()
    if not (LFW / "labels.csv").is_file():
        print(f"no photographs: {LFW} is missing; set COUNTENANCE_TEST_DATA", file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory() as folder:
        engine = build_engine(cache_dir=Path(folder))
        if missing := set(NAMES) - engine.attributes:
            print(f"no weights for {', '.join(sorted(missing))}: `countenance doctor` says which", file=sys.stderr)
            return 3
        estimators = Estimators(Path(folder), runtime=choose("auto"), lanes=1, threads=usable_cores())
        to_fit, to_measure = estimation.halves(photographs(engine, estimators, options.first))
        faces = marked(engine, estimators)
        if options.fit:
            print(json.dumps(fitted(to_fit, faces), indent=2))
            return 0
        mirrored = mirror_images(engine, estimators)
        told: dict[str, Callable[[], str]] = {
            "age_range": lambda: of_age(to_measure),
            "gender": lambda: of_gender(to_measure),
            "emotions": lambda: of_emotions(mirrored),
            "smile": lambda: of_smile(to_measure),
            "eyes_open": lambda: of_opening([each.eyes for each in faces], mesh.EYES_OPEN_FROM),
            "mouth_open": lambda: of_opening([each.mouth for each in faces], mesh.MOUTH_OPEN_FROM),
            "eye_direction": lambda: of_eye_direction(to_measure, mirrored),
            "landmarks": lambda: of_landmarks(faces),
        }
        print("| attribute | model | licence | error | ms a face |\n|---|---|---|---|---|")
        for name, tell in told.items():
            (file,) = modelpack.load(PACK_OF[name]).files
            print(f"| {name} | {file.name} | {file.licence} | {tell()} | {milliseconds(engine, [name]):.1f} |")
        print(f"| pose | geometry of the five landmarks | - | {of_pose(mirrored)} | - |")
        together = milliseconds(engine, NAMES)
        print(f"\nAll of them together: {together:.1f} ms a face; {choose('auto')}, {usable_cores()} cores.")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
