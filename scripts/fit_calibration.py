"""Fits a model pack's calibration: which comparison score each Similarity stands for.

python scripts/fit_calibration.py [--write] [--features FILE.npz]

LFW's labels name the person in the middle of the image, so that face is used when there are several. Every pair
of images of different people in LFW View 1 is an impostor comparison (about 12 million); how points are made of them
is in `countenance.evaluation.calibrating`, and `countenance models calibrate` does the same for any pack. LFW's labels
have errors (its errata page lists some), and a mislabelled pair of one person counts as a false match here: nothing is
removed, so the rates of the rarest points are, if anything, overstated.

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

from countenance.evaluation import acquire, fit
from countenance.recognition import build_engine

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "src/countenance/recognition/packs/yunet-sface/calibration.json"


def data_folder() -> Path:
    return Path(os.environ.get("COUNTENANCE_TEST_DATA", ROOT.parent / "shared" / "data")) / "faces" / "lfw_view1"


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
    found = fit(
        features[~failed],
        identities[~failed],
        fitted_on="LFW View 1 (all development images), every pair of different people",
        fitted_by="scripts/fit_calibration.py",
        model_version=version,
    )
    text = json.dumps(found, indent=1)
    print(text)
    if options.write:
        TARGET.write_text(text + "\n", "utf-8")
        print(f"wrote {TARGET.relative_to(ROOT)}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
