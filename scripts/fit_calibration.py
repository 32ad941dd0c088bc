"""Fits a model pack's centre and calibration on LFW View 1, and checks both on people that they were not fitted on.

python scripts/fit_calibration.py [--write] [--check FILE] [--features FILE.npz]

First everything is fitted on the people of DevTrain alone, and every pair of images of the people of DevTest, who are
others, is compared at the Similarities that follow from it: observed against promised. Then it is fitted on both, which
is what ships. LFW's labels name the person in the middle of the image, so that face is used when there are several;
how many more false matches it is with the largest, which is what the operations take, is printed as well. LFW's
labels have errors, and a mislabelled pair of one person counts as a false match here: nothing is removed, so the rates
of the rarest points are, if anything, overstated.

Without --write it prints; with it the manifest's centre and calibration.json are replaced. Exit status 1 when a promise
that clients rely on (80 and up) is broken: the rate promised lies below the whole interval of the one seen.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from countenance.evaluation import acquire, fit
from countenance.evaluation.calibrating import EXTRAPOLATED
from countenance.evaluation.promises import Promise, check
from countenance.recognition import build_engine
from countenance.recognition.calibration import Calibration

ROOT = Path(__file__).resolve().parent.parent
PACK = ROOT / "src/countenance/recognition/packs/yunet-sface"
CHECKED = ((60.0, 1e-3), (80.0, 1e-4), (90.0, 3e-5), (99.0, 1e-5), EXTRAPOLATED)

Rows = NDArray[np.float32]


def data_folder() -> Path:
    return Path(os.environ.get("COUNTENANCE_TEST_DATA", ROOT.parent / "shared" / "data")) / "faces" / "lfw_view1"


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as rows:
        return list(csv.DictReader(rows))


def centred(features: Rows, centre: NDArray[np.float64]) -> Rows:
    moved = features - centre.astype(np.float32)
    unit: Rows = moved / np.linalg.norm(moved, axis=1, keepdims=True)
    return unit


def centre_of(features: Rows) -> NDArray[np.float64]:
    return np.round(features.mean(axis=0).astype(np.float64), 6)


def tell(title: str, promises: list[Promise]) -> None:
    print(title)
    print(f"  {'Similarity':>10} {'score':>7} {'promised':>9} {'observed FMR [95 %]':>38} {'FNMR [95 %]':>28}")
    for each in promises:
        fmr, fnmr = each.fmr, each.fnmr
        print(
            f"  {each.similarity:10g} {each.comparison_score:7.4f} {each.promised:9.0e} "
            f"{fmr.value:9.2e} [{fmr.low:.2e}, {fmr.high:.2e}] {fmr.errors:5d} "
            f"{fnmr.value:9.2%} [{fnmr.low:.2%}, {fnmr.high:.2%}]" + ("  BROKEN" if each.is_broken else "")
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="replace the pack's centre and calibration.json")
    parser.add_argument("--check", type=Path, help="write what was observed to this file as JSON")
    parser.add_argument("--features", type=Path, help="keep the extracted features in this file and reuse them")
    options = parser.parse_args()
    folder = data_folder()
    if not folder.is_dir():
        print(f"{folder} is missing; set COUNTENANCE_TEST_DATA", file=sys.stderr)
        return 3
    labels = [(row["image"], row["identity"]) for row in rows_of(folder / "labels.csv")]
    identities = np.unique([identity for _, identity in labels], return_inverse=True)[1]
    fitted_on = {each for row in rows_of(folder / "pairsDevTrain.csv") for each in (row["a"], row["b"])}
    people = {identity for image, identity in labels if image in fitted_on}
    is_train = np.array([identity in people for _, identity in labels])
    with tempfile.TemporaryDirectory() as cache:
        engine = build_engine(cache_dir=Path(cache), is_centred=False, is_calibrating=True)
        version = engine.model_version
        if options.features and options.features.exists():
            stored = np.load(options.features)
            features, largest, failed = stored["features"], stored["largest"], stored["failed"]
        else:
            acquired = acquire(engine, [folder / "images" / image for image, _ in labels])
            features, largest, failed = acquired.central, acquired.features, acquired.failed
            if options.features:
                np.savez(options.features, features=features, largest=largest, failed=failed)
        engine.close()
    said: dict[str, Any] = {"fitted_by": "scripts/fit_calibration.py", "model_version": version}

    train, test = is_train & ~failed, ~is_train & ~failed
    centre = centre_of(features[train])
    on_train = fit(
        centred(features[train], centre), identities[train], fitted_on="LFW View 1, DevTrain's people", **said
    )
    scale = Calibration.load(json.dumps(on_train))
    seen = check(centred(features[test], centre), identities[test], scale, CHECKED)
    of_largest = check(centred(largest[test], centre), identities[test], scale, CHECKED)
    tell(
        f"fitted on {len(set(identities[train]))} people of DevTrain ({on_train['impostor_comparisons']:,} pairs), "
        f"checked on {len(set(identities[test]))} other people of DevTest ({seen[0].fmr.of:,} pairs)",
        seen,
    )
    tell("the same with the largest face of each image", of_largest)
    if options.check:
        told = {
            "fitted_on_pairs": on_train["impostor_comparisons"],
            "checked_on_pairs": seen[0].fmr.of,
            "checked_on_people": len(set(identities[test])),
            "points": [each.to_json() for each in seen],
            "with_the_largest_face": [each.to_json() for each in of_largest],
        }
        options.check.write_text(json.dumps(told, indent=1) + "\n", "utf-8")

    centre = centre_of(features[~failed])
    both = centred(features[~failed], centre)
    found = fit(
        both,
        identities[~failed],
        fitted_on="LFW View 1 (all development images), every pair of different people",
        **said,
    )
    print("\nfitted on both:")
    for each in found["points"]:
        print(f"  {each['similarity']:10g} {each['comparison_score']:7.4f} {each['fmr']:9.0e}")
    if options.write:
        (PACK / "calibration.json").write_text(json.dumps(found, indent=1) + "\n", "utf-8")
        manifest = json.loads((PACK / "manifest.json").read_text("utf-8"))
        manifest["centre"] = [round(float(each), 6) for each in centre]
        written = json.dumps(manifest, indent=2)
        numbers = ", ".join(f"{each:g}" for each in manifest["centre"])
        before, _, after = written.partition('"centre": [')
        written = f'{before}"centre": [{numbers}]{after.partition("]")[2]}'
        (PACK / "manifest.json").write_text(written + "\n", "utf-8")
        print(f"wrote {PACK.relative_to(ROOT)}", file=sys.stderr)
    return int(any(each.is_broken for each in seen if each.similarity >= 80))


if __name__ == "__main__":
    sys.exit(main())
