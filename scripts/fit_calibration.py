"""Fits a model pack's calibration: which comparison score each Similarity stands for.

python scripts/fit_calibration.py [--write] [--features FILE.npz]

LFW's labels name the person in the middle of the image, so that face is used when there are several. Every pair
of images of different people in LFW View 1 is an impostor comparison (about 12 million). Similarity 80
is the score with a false match rate of 1 in 10,000 among them and 99 that of 1 in 100,000; the other points
follow the same idea, so that a higher Similarity is always a rarer false match. LFW's labels have errors (its
errata page lists some), and a mislabelled pair of one person counts as a false match here: nothing is removed, so
the rates of the rarest points are, if anything, overstated.

Without --write it prints; with it it replaces calibration.json of the pack.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

from countenance.evaluation import acquire, threshold_at_fmr
from countenance.recognition import build_engine

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "src/countenance/recognition/packs/yunet-sface/calibration.json"
POINTS = (
    # Similarity and the false match rate it stands for. 80 and 99 are the two that Amazon's users copy: its
    # default threshold and the one its documentation recommends for law enforcement. The others fill the scale
    # in steps of a factor of about three to ten.
    (20.0, 1e-1),
    (40.0, 1e-2),
    (60.0, 1e-3),
    (80.0, 1e-4),
    (90.0, 3e-5),
    (99.0, 1e-5),
)
KEPT = 2_000_000
"""Highest impostor scores kept while counting: more than the commonest point (1 in 10 of 12 million) needs."""
BLOCK = 512


def data_folder() -> Path:
    return Path(os.environ.get("COUNTENANCE_TEST_DATA", ROOT.parent / "shared" / "data")) / "faces" / "lfw_view1"


def impostors(features: np.ndarray, identities: np.ndarray) -> tuple[np.ndarray, int, float]:
    """The highest impostor scores, descending; how many impostor pairs there are; their lowest score."""
    best = np.empty(0, np.float32)
    count, lowest = 0, 1.0
    for start in range(0, len(features), BLOCK):
        rows = slice(start, min(start + BLOCK, len(features)))
        scores = features[rows] @ features.T
        later = np.arange(len(features))[None, :] > np.arange(rows.start, rows.stop)[:, None]
        chosen = scores[later & (identities[rows, None] != identities[None, :])]
        count += chosen.size
        lowest = min(lowest, float(chosen.min(initial=1.0)))
        best = np.concatenate([best, chosen])
        if best.size > KEPT:
            best = np.partition(best, best.size - KEPT)[-KEPT:]
    return np.sort(best)[::-1].astype(np.float64), count, lowest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="replace calibration.json")
    parser.add_argument("--features", type=Path, help="keep the extracted features in this file and reuse them")
    options = parser.parse_args()
    folder = data_folder()
    if not folder.is_dir():
        print(f"{folder} is missing; set COUNTENANCE_TEST_DATA", file=sys.stderr)
        return 3
    with (folder / "labels.csv").open(newline="") as rows:
        labels = [(row["image"], row["identity"]) for row in csv.DictReader(rows)]
    identities = np.unique([identity for _, identity in labels], return_inverse=True)[1]
    with tempfile.TemporaryDirectory() as cache:
        engine = build_engine(cache_dir=Path(cache))
        version = engine.model_version
        if options.features and options.features.exists():
            stored = np.load(options.features)
            features, failed = stored["features"], stored["failed"]
        else:
            acquired = acquire(engine, [folder / "images" / image for image, _ in labels])
            features, failed = acquired.central, acquired.failed
            if options.features:
                np.savez(options.features, features=features, failed=failed)
        engine.close()
    best, count, lowest = impostors(features[~failed], identities[~failed])
    points = [{"similarity": 0.0, "comparison_score": -1.0, "fmr": 1.0}]
    for similarity, fmr in POINTS:
        points.append(
            {"similarity": similarity, "comparison_score": round(threshold_at_fmr(fmr, best, count), 6), "fmr": fmr}
        )
    points.append({"similarity": 100.0, "comparison_score": 1.0, "fmr": 0.0})
    text = json.dumps(
        {
            "fitted_on": "LFW View 1 (all development images), every pair of different people",
            "fitted_by": "scripts/fit_calibration.py",
            "model_version": version,
            "images": int((~failed).sum()),
            "impostor_comparisons": count,
            "highest_impostor_scores": [round(float(score), 4) for score in best[:5]],
            "lowest_impostor_score": round(lowest, 4),
            "points": points,
        },
        indent=1,
    )
    print(text)
    if options.write:
        TARGET.write_text(text + "\n", "utf-8")
        print(f"wrote {TARGET.relative_to(ROOT)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
