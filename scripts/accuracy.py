"""Accuracy of the shipped default on public photographs: verification on LFW View 1, faces found against labelled.

python scripts/accuracy.py [--no-flip] [--json FILE] [--features FILE.npz] [--freeze]

LFW's labels name the person in the middle of each image; where several faces are found, the one nearest to the
middle is compared. The result with the largest face, which is what the operations search with, is printed beside
it: the difference is bystanders larger than the person named, not comparison.

The decision threshold is chosen on DevTrain and measured on DevTest, as LFW's View 1 is meant. Then every pair of
images is compared, and a random half of the people searched for, as `countenance evaluate` does.

What was measured is a difference to tests/accuracy/frozen.json: exit status 1 when a figure leaves the interval that it
has there or a target is missed, 3 when the photographs are not there. --freeze replaces that file.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import sys
import tempfile
import time
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from countenance.evaluation import (
    ErrorRate,
    accuracy_at,
    acquire,
    best_threshold,
    count_boxes,
    count_points,
    equal_error_rate,
    rates_at,
)
from countenance.evaluation.dataset import load
from countenance.evaluation.evaluating import evaluate
from countenance.recognition import Engine, build_engine

ROOT = Path(__file__).resolve().parent.parent
FROZEN = ROOT / "tests/accuracy/frozen.json"
FACES = Path(os.environ.get("COUNTENANCE_TEST_DATA", ROOT.parent / "shared" / "data")) / "faces"
TARGET_ACCURACY = 0.99
SIMILARITIES = (60.0, 80.0, 90.0, 99.0, 99.9)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as rows:
        return list(csv.DictReader(rows))


def percent(rate: ErrorRate) -> str:
    low, high = rate.interval()
    return f"{rate.value:8.3%}  [{low:.3%}, {high:.3%}]  {rate.errors} of {rate.of}"


def verification(engine: Engine, cache: Path | None) -> dict[str, Any]:
    """DevTest accuracy at the DevTrain threshold, and both error rates at fixed Similarities."""
    folder = FACES / "lfw_view1"
    names = [row["image"] for row in rows_of(folder / "labels.csv")]
    at = {name: number for number, name in enumerate(names)}
    began = time.perf_counter()
    if cache is not None and cache.exists():
        stored = np.load(cache)
        features, largest, failed = stored["features"], stored["largest"], stored["failed"]
    else:
        acquired = acquire(engine, [folder / "images" / name for name in names])
        features, largest, failed = acquired.central, acquired.features, acquired.failed
        if cache is not None:
            np.savez(cache, features=features, largest=largest, failed=failed)
    seconds = time.perf_counter() - began

    def scores(pairs: str, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        rows = rows_of(folder / pairs)
        first = np.array([at[row["a"]] for row in rows])
        second = np.array([at[row["b"]] for row in rows])
        same = np.array([row["same"] == "1" for row in rows])
        # A failure to acquire is an error whichever way the pair is labelled: it can be decided neither way.
        compared = np.einsum("ij,ij->i", features[first], features[second]).astype(np.float64)
        unusable = failed[first] | failed[second]
        compared[unusable & same], compared[unusable & ~same] = -np.inf, np.inf
        return compared[same], compared[~same]

    train, test = scores("pairsDevTrain.csv", features), scores("pairsDevTest.csv", features)
    threshold = best_threshold(*train)
    reached = accuracy_at(threshold, *test)
    print(f"LFW View 1: {len(names)} images in {seconds:.0f} s, {int(failed.sum())} without a face")
    similarity = engine.calibration.similarity(threshold)
    print(f"  decision threshold from DevTrain     {threshold:.4f} (Similarity {similarity:.1f})")
    print(f"  accuracy on DevTrain                 {percent(accuracy_at(threshold, *train))}")
    print(f"  accuracy on DevTest                  {percent(reached)}")
    print(f"  equal error rate on DevTest          {equal_error_rate(*test):.3%}")
    by_size = best_threshold(*scores("pairsDevTrain.csv", largest))
    of_largest = accuracy_at(by_size, *scores("pairsDevTest.csv", largest))
    print(f"  the same with the largest face       {percent(of_largest)}")
    genuine, impostor = (np.concatenate(both) for both in zip(train, test, strict=True))
    print(f"  {'Similarity':>10} {'score':>7}  {'FMR [95 %]':<44} FNMR [95 %]   (DevTrain and DevTest together)")
    table = []
    for similarity in SIMILARITIES:
        rates = rates_at(engine.calibration.comparison_score(similarity), genuine, impostor)
        print(f"  {similarity:10.0f} {rates.threshold:7.4f}  {percent(rates.fmr):<44} {percent(rates.fnmr)}")
        table.append(
            {
                "similarity": similarity,
                "comparison_score": rates.threshold,
                "false_matches": rates.fmr.errors,
                "impostor_comparisons": rates.fmr.of,
                "false_non_matches": rates.fnmr.errors,
                "genuine_comparisons": rates.fnmr.of,
            }
        )
    return {
        "images": len(names),
        "without_a_face": int(failed.sum()),
        "threshold": threshold,
        "devtest_right": reached.errors,
        "devtest_pairs": reached.of,
        "devtest_right_with_the_largest_face": of_largest.errors,
        "equal_error_rate": equal_error_rate(*test),
        "rates": table,
    }


def interval(rate: dict[str, Any]) -> str:
    return f"{rate['value']:.3%} [{rate['low']:.3%}, {rate['high']:.3%}]"


def all_pairs(engine: Engine) -> dict[str, Any]:
    """Every pair of images of View 1, and a random half of its people enrolled: the figures with their intervals."""
    folder = FACES / "lfw_view1"
    with tempfile.TemporaryDirectory() as work:
        found = evaluate(
            engine,
            load(folder / "labels.csv", folder / "images"),
            Path(work) / "features",
            face="middle",
            jobs=2,
            rounds=500,
            seed=1,
        ).to_json()
    print(
        f"\nEvery pair of images: {found['impostor_comparisons']:,} impostor, {found['genuine_comparisons']:,} genuine"
    )
    for row in found["at_similarity"]:
        print(f"  Similarity {row['similarity']:5g}   FNMR {interval(row['fnmr'])}   FMR {row['fmr']['value']:.2e}")
    for row in found["at_fmr"]:
        if row["fnmr"] is not None:
            print(f"  FMR {row['fmr']:.0e}   FNMR {interval(row['fnmr'])}")
    print(f"  equal error rate {interval(found['equal_error_rate'])}")
    largest = found["identification"]["galleries"][-1]
    for row in largest["at_fpir"]:
        if row["fnir"] is not None:
            print(f"  1:N, {largest['size']:,} enrolled: FNIR {interval(row['fnir'])} at FPIR {row['fpir']:g}")
    return {
        "impostor_comparisons": found["impostor_comparisons"],
        "genuine_comparisons": found["genuine_comparisons"],
        "at_similarity": found["at_similarity"],
        "at_fmr": found["at_fmr"],
        "equal_error_rate": found["equal_error_rate"],
        "enrolled": largest["size"],
        "rank_one": largest["rank_one"],
        "at_fpir": largest["at_fpir"],
    }


def differences(frozen: dict[str, Any], result: dict[str, Any]) -> list[str]:
    """What left its interval, each in a sentence."""
    told = []

    def within(name: str, value: float, low: float, high: float) -> None:
        if not low <= value <= high:
            told.append(f"{name} is {value:.3%}, outside [{low:.3%}, {high:.3%}]")

    now, then = result["verification"], frozen["verification"]
    low, high = ErrorRate(then["devtest_right"], then["devtest_pairs"]).interval()
    within("DevTest accuracy", now["devtest_right"] / now["devtest_pairs"], low, high)
    for new, old in zip(now["rates"], then["rates"], strict=True):
        low, high = ErrorRate(old["false_non_matches"], old["genuine_comparisons"]).interval()
        value = new["false_non_matches"] / new["genuine_comparisons"]
        within(f"FNMR of the listed pairs at Similarity {new['similarity']:g}", value, low, high)
    now, then = result["all_pairs"], frozen["all_pairs"]
    for kind, by in (("at_similarity", "similarity"), ("at_fmr", "fmr"), ("at_fpir", "fpir")):
        for new, old in zip(now[kind], then[kind], strict=True):
            for what in {"at_similarity": ("fmr", "fnmr"), "at_fmr": ("fnmr",), "at_fpir": ("fnir",)}[kind]:
                if old[what] is not None:
                    name = f"{what.upper()} of all pairs {kind.replace('_', ' ')} {old[by]:g}"
                    within(name, (new[what] or {"value": 1.0})["value"], old[what]["low"], old[what]["high"])
    old = then["equal_error_rate"]
    within("the equal error rate of all pairs", now["equal_error_rate"]["value"], old["low"], old["high"])
    found = {f"{one['set']}/{one['image']}": one for one in result["detection"]}
    before = {f"{one['set']}/{one['image']}": one for one in frozen["detection"]}
    if {name: one["labelled"] for name, one in found.items()} != {n: one["labelled"] for n, one in before.items()}:
        told.append("the labelled photographs are others")
    if sum(one["found"] for one in found.values()) < sum(one["found"] for one in before.values()):
        told.append("fewer labelled faces are found")
    if sum(one["extra"] for one in found.values()) > sum(one["extra"] for one in before.values()):
        told.append("more boxes are without a label")
    return told


def detection(engine: Engine) -> list[dict[str, Any]]:
    """One line per photograph of the two labelled sets."""
    result: list[dict[str, Any]] = []
    points: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows_of(FACES / "compreface_samples" / "noses.csv"):
        points[row["image"]].append((float(row["x"]), float(row["y"])))
    for row in rows_of(FACES / "compreface_samples" / "labels.csv"):
        analysis = engine.analyse((FACES / "compreface_samples" / row["image"]).read_bytes())
        size = (analysis.width, analysis.height)
        count = count_points([face.box for face in analysis.faces], points[row["image"]], size)
        result.append(
            photo("compreface_samples", row["image"], size, count, [f.box.height * size[1] for f in analysis.faces])
        )
    boxes: dict[str, list[tuple[float, float, float, float]]] = defaultdict(list)
    folder = FACES / "dlib_faces_det"
    for row in rows_of(folder / "boxes.csv"):
        left, top, right, bottom = (float(row[side]) for side in ("xmin", "ymin", "xmax", "ymax"))
        boxes[row["image"]].append((left, top, right, bottom))
    for name in sorted(boxes):
        path = next(path for path in (folder / "images" / name, folder / name) if path.exists())
        analysis = engine.analyse(path.read_bytes())
        size = (analysis.width, analysis.height)
        count = count_boxes([face.box for face in analysis.faces], boxes[name], size)
        result.append(photo("dlib_faces_det", name, size, count, [f.box.height * size[1] for f in analysis.faces]))
    head = f"{'photograph':<46} {'pixels':>11} {'labelled':>8} {'found':>5} {'missed':>6} {'extra':>5}"
    print(f"\n{head}  heights of boxes, pixels")
    for one in result:
        print(
            f"{one['set'] + '/' + one['image'].removeprefix('images/'):<46} {one['width']:>5}x{one['height']:<5} "
            f"{one['labelled']:>8} {one['found']:>5} {one['missed']:>6} {one['extra']:>5}  {one['box_heights']}"
        )
    for name in sorted({one["set"] for one in result}):
        of_set = [one for one in result if one["set"] == name]
        print(
            f"{name}: {sum(one['found'] for one in of_set)} of {sum(one['labelled'] for one in of_set)} labelled faces "
            f"found, {sum(one['extra'] for one in of_set)} boxes without a label, {len(of_set)} photographs"
        )
    return result


def photo(name: str, image: str, size: tuple[int, int], count: Any, heights: list[float]) -> dict[str, Any]:
    return {
        "set": name,
        "image": image,
        "width": size[0],
        "height": size[1],
        "labelled": count.labelled,
        "found": count.found,
        "missed": count.missed,
        "extra": count.extra,
        "box_heights": [round(height) for height in heights],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-flip", action="store_true", help="do not average with the mirror image, as the pack does")
    parser.add_argument("--freeze", action="store_true", help="make this the result that later ones are held against")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    parser.add_argument("--features", type=Path, help="keep the features of LFW in this file and reuse them")
    options = parser.parse_args()
    if not (FACES / "lfw_view1").is_dir():
        print(f"{FACES}/lfw_view1 is missing; set COUNTENANCE_TEST_DATA", file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory() as cache:
        engine = build_engine(cache_dir=Path(cache), flip=False if options.no_flip else None)
        machine = {
            "machine": f"{platform.machine()}, {os.cpu_count()} cores",
            "python": platform.python_version(),
            "runtime": f"{engine.runtime} {version(engine.runtime.split()[0])}",
            "face_model": engine.model_version,
        }
        print("  ".join(f"{name}: {value}" for name, value in machine.items()))
        result: dict[str, Any] = {
            **machine,
            "verification": verification(engine, options.features),
            "all_pairs": all_pairs(engine),
            "detection": detection(engine),
        }
        engine.close()
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    if options.freeze:
        FROZEN.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    measured = result["verification"]
    missed = []
    if measured["devtest_right"] < TARGET_ACCURACY * measured["devtest_pairs"]:
        missed.append(f"DevTest accuracy is below {TARGET_ACCURACY:.1%}")
    if measured["without_a_face"]:
        missed.append(f"{measured['without_a_face']} images of LFW View 1 without a face")
    frozen = json.loads(FROZEN.read_text("utf-8"))
    if result["face_model"] == frozen["face_model"]:
        missed += differences(frozen, result)
        print(f"\nheld against {FROZEN.relative_to(ROOT)}")
    else:
        print(f"\nnot held against {FROZEN.relative_to(ROOT)}, which is of the model version {frozen['face_model']}")
    print("\n" + ("missed: " + "; ".join(missed) if missed else "all targets met"))
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
