"""Whether the quality measure predicts errors, and what each level of the QualityFilter refuses; fits the measure.

python scripts/quality.py --copies DIR [--every N] [--json FILE]

Every genuine comparison of a photograph of LFW View 1 as it is with another one of the same person, as it is or
degraded (scripts/degraded.py makes the copies that are missing in DIR). A comparison below Similarity 80 is a miss. The
measure is fitted on DevTrain's people (logistic regression, ridge) and everything printed is of the other people,
DevTest's; the weights printed are what `recognition/quality.py` has. The curve is ISO/IEC 29794-1's: the probes of
lowest quality are left out, and the misses among those left counted. Exit status 3 when the photographs are not
there.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
from degraded import CONDITIONS, LFW, people, place, write_copies
from numpy.typing import NDArray

from countenance.biometrics import DetectedFace
from countenance.evaluation.acquisition import central
from countenance.recognition import Engine, RecognitionError, build_engine
from countenance.recognition.engine import Analysis
from countenance.recognition.quality import LIMITS, WEIGHTS, rejection_reasons, risk, terms

SIMILARITY: Final = 80.0
DISCARDED: Final = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
RIDGE: Final = 1e-3
LEVELS: Final = ("LOW", "MEDIUM", "HIGH")
MOST: Final = 4
"""Photographs of one person: LFW has 500 of some."""

Rows = NDArray[np.float64]


class Probe:
    """One photograph or copy with its face."""

    def __init__(self, engine: Engine, analysis: Analysis, face: DetectedFace) -> None:
        self.face, self.width, self.height = face, analysis.width, analysis.height
        self.features = engine.extract(analysis, [face])[0]


def probe_of(engine: Engine, condition: str, name: str, copies: Path, box: Any) -> Probe | None:
    path = LFW / "images" / name if condition == "clean" else copies / condition / name
    try:
        analysis = engine.analyse(path.read_bytes())
    except RecognitionError:
        return None
    if not analysis.faces:
        return None
    if condition not in ("small24", "small40", "heights"):
        return Probe(engine, analysis, central(analysis.faces))
    left, top, width, height = place(condition, name, box, (250, 250))

    def off(face: DetectedFace) -> float:
        x, y, across, down = face.pixel_box
        return abs(x + across / 2 - left - width / 2) + abs(y + down / 2 - top - height / 2)

    nearest = min(analysis.faces, key=off)
    return Probe(engine, analysis, nearest) if off(nearest) < width else None


def fitted(given: Rows, missed: NDArray[np.bool_]) -> Rows:
    """Weights of a logistic regression, by Newton's method."""
    weights = np.zeros(given.shape[1])
    for _ in range(30):
        chance = 1 / (1 + np.exp(-given @ weights))
        slope = given.T @ (chance - missed) / len(missed) + RIDGE * weights
        bend = (given.T * (chance * (1 - chance))) @ given / len(missed) + RIDGE * np.eye(len(weights))
        weights -= np.linalg.solve(bend, slope)
    return weights


def discarded(order: Rows, missed: NDArray[np.bool_]) -> list[float]:
    """Share missed after leaving out the worst: those with the highest `order`."""
    kept = missed[np.argsort(order, kind="stable")]
    return [round(float(kept[: round(len(kept) * (1 - share))].mean()), 5) for share in DISCARDED]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=Path, required=True, help="folder of degraded copies")
    parser.add_argument("--every", type=int, default=1, help="of every Nth person only")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    if not LFW.is_dir():
        print(f"{LFW} is missing; set COUNTENANCE_TEST_DATA", file=sys.stderr)
        return 3
    with (LFW / "pairsDevTrain.csv").open(newline="") as rows:
        of_train = {image for row in csv.DictReader(rows) for image in (row["a"], row["b"])}
    whose = [person for person in people(options.every) if len(person.images) > 1]
    names = [(image, at) for at, person in enumerate(whose) for image in person.images[:MOST]]
    in_train = [any(image in of_train for image in person.images) for person in whose]
    with tempfile.TemporaryDirectory() as folder:
        boxes = dict(write_copies([name for name, _ in names], options.copies, Path(folder)))
        engine = build_engine(cache_dir=Path(folder))
        threshold = engine.calibration.comparison_score(SIMILARITY)
        seen: dict[str, list[Probe | None]] = {}
        with ThreadPoolExecutor(2) as pool:
            for condition in ("clean", *CONDITIONS):
                seen[condition] = list(
                    pool.map(
                        lambda each, c=condition: probe_of(engine, c, each[0], options.copies, boxes[each[0]]), names
                    )
                )
        engine.close()
    given, missed, train, clean, refused = [], [], [], [], []
    for condition, probes in seen.items():
        for a, (_, owner) in enumerate(names):
            for b, (_, other) in enumerate(names):
                reference, probe = seen["clean"][a], probes[b]
                if owner != other or a == b or reference is None or probe is None:
                    continue
                given.append(terms(probe.face, image_width=probe.width, image_height=probe.height))
                missed.append(float(reference.features @ probe.features) < threshold)
                train.append(in_train[owner])
                clean.append(condition == "clean")
                refused.append(
                    [
                        bool(
                            rejection_reasons(
                                probe.face, image_width=probe.width, image_height=probe.height, level=level
                            )
                        )
                        for level in LEVELS
                    ]
                )
    x, miss = np.array(given), np.array(missed)
    is_train, is_clean, out = np.array(train), np.array(clean), np.array(refused)
    weights = fitted(x[is_train], miss[is_train])
    print("weights fitted on DevTrain's people:", ", ".join(f"{each:.3f}" for each in weights))
    print("weights in recognition/quality.py: ", ", ".join(f"{each:.3f}" for each in WEIGHTS))
    rest = ~is_train
    shipped = risk(x[rest])
    curves = {
        "quality measure": discarded(shipped, miss[rest]),
        "detection confidence alone": discarded(-x[rest, 1], miss[rest]),
        "at random": [round(float(miss[rest].mean()), 5)] * len(DISCARDED),
        "best possible": discarded(miss[rest].astype(np.float64), miss[rest]),
        "quality measure, photographs as they are": discarded(shipped[is_clean[rest]], miss[rest & is_clean]),
    }
    print(f"\n{int(rest.sum()):,} comparisons of {in_train.count(False)} people; share discarded:")
    print(f"{'':42}" + "".join(f"{share:8.0%}" for share in DISCARDED))
    for name, curve in curves.items():
        print(f"{name:42}" + "".join(f"{each:8.2%}" for each in curve))
    table = []
    print(f"\n{'level':8}{'risk from':>10}{'refused':>9}{'as they are':>13}{'missed, kept':>14}{'missed, refused':>17}")
    for at, level in enumerate(LEVELS):
        bad = out[rest, at]
        row = {
            "level": level,
            "risk": LIMITS[level],
            "refused": float(bad.mean()),
            "refused_as_they_are": float(bad[is_clean[rest]].mean()),
            "missed_of_kept": float(miss[rest][~bad].mean()),
            "missed_of_refused": float(miss[rest][bad].mean()),
        }
        table.append(row)
        print(
            f"{level:8}{row['risk']:10.0%}{row['refused']:9.1%}{row['refused_as_they_are']:13.2%}"
            f"{row['missed_of_kept']:14.2%}{row['missed_of_refused']:17.1%}"
        )
    if options.json is not None:
        document = {"comparisons": int(rest.sum()), "discarded": DISCARDED, "curves": curves, "levels": table}
        options.json.write_text(json.dumps(document, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
