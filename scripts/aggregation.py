"""What a user should be compared by: error rates of ways to make one of several references, on LFW View 1.

python scripts/aggregation.py [--json FILE] [--features FILE.npz]

Open-set identification (ISO/IEC 19795-1): everybody with three images or more is enrolled; each of their images in turn
is a probe and the others are the references. Everybody with fewer images is a non-mated probe against all of them. At
the threshold at which 1 % and 0.1 % of non-mated probes have a candidate (FPIR), FNIR is the share of mated probes
whose own person scores below it. Intervals are bootstrapped over persons. Exit status 3 when the photographs are not
there.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from countenance.gallery.aggregation import aggregate
from countenance.recognition import Engine, RecognitionError, build_engine

ROOT = Path(__file__).resolve().parent.parent
FACES = Path(os.environ.get("COUNTENANCE_TEST_DATA", ROOT.parent / "shared" / "data")) / "faces" / "lfw_view1"
ENROLLED_FROM = 3
MOST_REFERENCES = 20
"""Of one person: LFW has 500 images of some, who would decide the figures."""
FPIRS = (0.01, 0.001)
ROUNDS = 500
"""Of the bootstrap."""

Rows = NDArray[np.float32]
Score = Callable[[Rows, Rows, Rows], Rows]
"""(references, their qualities, probes) -> the score of each probe."""


def _unit(rows: Rows) -> Rows:
    unit: Rows = rows / np.linalg.norm(rows, axis=-1, keepdims=True)
    return unit


def _weighted(weights_of: Callable[[Rows], Rows]) -> Score:
    def score(references: Rows, qualities: Rows, probes: Rows) -> Rows:
        weights = weights_of(qualities)
        scores: Rows = probes @ _unit((references * weights[:, None]).sum(axis=0))
        return scores

    return score


def _trimmed(references: Rows, qualities: Rows, probes: Rows) -> Rows:
    """The mean without the quarter of references that is least like it."""
    likeness = references @ _unit(references.mean(axis=0))
    kept = references[np.argsort(-likeness)[: max(1, math.ceil(len(references) * 0.75))]]
    scores: Rows = probes @ _unit(kept.mean(axis=0))
    return scores


def _best_and_mean(references: Rows, qualities: Rows, probes: Rows) -> Rows:
    scores: Rows = (probes @ references.T).max(axis=1) / 2 + probes @ _unit(references.mean(axis=0)) / 2
    return scores


WAYS: dict[str, Score] = {
    "one reference, the first": lambda references, _, probes: probes @ references[0],
    "one reference, the sharpest": lambda references, qualities, probes: probes @ references[qualities[:, 1].argmax()],
    "the most alike of all references": lambda references, _, probes: (probes @ references.T).max(axis=1),
    "mean of the scores": lambda references, _, probes: (probes @ references.T).mean(axis=1),
    "mean of the features (shipped)": lambda references, _, probes: probes @ aggregate(references),
    "mean, by detection confidence": _weighted(lambda qualities: qualities[:, 0]),
    "mean, by sharpness": _weighted(lambda qualities: qualities[:, 1] + 1),
    "mean, by how frontal": _weighted(lambda qualities: np.cos(np.radians(np.minimum(qualities[:, 2], 80)))),
    "mean of the three quarters most alike": _trimmed,
    "half the best, half the mean": _best_and_mean,
}


def acquire(engine: Engine, names: list[str]) -> tuple[Rows, Rows]:
    """Features and quality (confidence, sharpness, degrees from frontal) of the middle face of each image."""

    def one(name: str) -> tuple[Rows, tuple[float, float, float]]:
        nothing = np.zeros(engine.dimension, np.float32), (0.0, 0.0, 0.0)
        try:
            analysis = engine.analyse((FACES / "images" / name).read_bytes())
        except RecognitionError:
            return nothing
        if not analysis.faces:
            return nothing
        face = min(
            analysis.faces,
            key=lambda each: math.hypot(
                each.box.left + each.box.width / 2 - 0.5, each.box.top + each.box.height / 2 - 0.5
            ),
        )
        turned = math.hypot(face.pose.yaw, face.pose.pitch)
        return engine.extract(analysis, [face])[0], (face.detection_confidence, face.quality.sharpness, turned)

    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(one, names))
    return np.stack([row for row, _ in found]), np.array([each for _, each in found], np.float32)


def measure(features: Rows, qualities: Rows, people: dict[str, list[int]]) -> list[dict[str, Any]]:
    """A row for each way."""
    enrolled = {name: rows[:MOST_REFERENCES] for name, rows in people.items() if len(rows) >= ENROLLED_FROM}
    strangers = np.array([at for name, rows in people.items() if name not in enrolled for at in rows])
    table = []
    for way, score in WAYS.items():
        impostor = np.full(len(strangers), -1.0, np.float32)
        mated = []
        for rows in enrolled.values():
            several = np.array(rows)
            impostor = np.maximum(impostor, score(features[several], qualities[several], features[strangers]))
            mated.append(
                np.array(
                    [
                        score(features[others], qualities[others], features[[at]])[0]
                        for at in rows
                        for others in [np.array([each for each in rows if each != at])]
                    ]
                )
            )
        row: dict[str, Any] = {"way": way}
        for fpir in FPIRS:
            threshold = float(np.quantile(impostor, 1 - fpir))
            row[f"fnir_at_{fpir}"] = float(np.mean(np.concatenate(mated) < threshold))
            row[f"interval_at_{fpir}"] = _interval([each < threshold for each in mated])
        table.append(row)
    print(
        f"{len(enrolled)} enrolled with {sum(map(len, enrolled.values()))} images, each a probe in turn; "
        f"{len(strangers)} non-mated probes of {len(people) - len(enrolled)} others"
    )
    return table


def _interval(missed: list[NDArray[np.bool_]]) -> tuple[float, float]:
    """95 %, over persons."""
    rng = np.random.default_rng(1)
    errors, counts = np.array([each.sum() for each in missed]), np.array([len(each) for each in missed])
    drawn = rng.integers(0, len(missed), (ROUNDS, len(missed)))
    rates = errors[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return float(np.quantile(rates, 0.025)), float(np.quantile(rates, 0.975))


def main() -> int:
    parser = argparse.ArgumentParser(description="Ways to make one of several references.")
    parser.add_argument("--json", type=Path, help="write the table to this file")
    parser.add_argument("--features", type=Path, help="keep features here, and take them from here if they are there")
    chosen = parser.parse_args()
    if not FACES.is_dir():
        print(f"{FACES} is not there", file=sys.stderr)
        return 3
    with (FACES / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    if chosen.features is not None and chosen.features.exists():
        stored = np.load(chosen.features)
        features, qualities = stored["features"], stored["qualities"]
    else:
        with tempfile.TemporaryDirectory() as folder:
            engine = build_engine(cache_dir=Path(folder))
            features, qualities = acquire(engine, [row["image"] for row in rows])
            engine.close()
        if chosen.features is not None:
            np.savez(chosen.features, features=features, qualities=qualities)
    people: dict[str, list[int]] = defaultdict(list)
    for at, row in enumerate(rows):
        if features[at].any():
            people[row["identity"]].append(at)
    table = measure(features, qualities, people)
    print(f"{'':40} {'FNIR at FPIR 1 % [95 %]':>30} {'at 0.1 %':>30}")
    for row in table:
        told = [
            f"{row[f'fnir_at_{fpir}']:.2%} [{row[f'interval_at_{fpir}'][0]:.2%}, {row[f'interval_at_{fpir}'][1]:.2%}]"
            for fpir in FPIRS
        ]
        print(f"{row['way']:40} {told[0]:>30} {told[1]:>30}")
    if chosen.json is not None:
        chosen.json.write_text(json.dumps(table, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
