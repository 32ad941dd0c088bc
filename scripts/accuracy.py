"""Accuracy of the shipped default on public photographs: verification on LFW View 1, faces found against labelled.

python scripts/accuracy.py [--flip] [--json FILE] [--features FILE.npz]

LFW's labels name the person in the middle of each image; where several faces are found, the one nearest to the
middle is compared. The result with the largest face, which is what the operations search with, is printed beside
it: the difference is bystanders larger than the person named, not comparison.

The decision threshold is chosen on DevTrain and measured on DevTest, as LFW's View 1 is meant. Exit status 1 when
a target is missed, 3 when the photographs are not there.
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
from countenance.recognition import Engine, build_engine

ROOT = Path(__file__).resolve().parent.parent
FACES = Path(os.environ.get("COUNTENANCE_TEST_DATA", ROOT.parent / "shared" / "data")) / "faces"
TARGET_ACCURACY = 0.99
SIMILARITIES = (60.0, 80.0, 90.0, 99.0)


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
    parser.add_argument("--flip", action="store_true", help="average with the mirror image, whatever the pack says")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    parser.add_argument("--features", type=Path, help="keep the features of LFW in this file and reuse them")
    options = parser.parse_args()
    if not (FACES / "lfw_view1").is_dir():
        print(f"{FACES}/lfw_view1 is missing; set COUNTENANCE_TEST_DATA", file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory() as cache:
        engine = build_engine(cache_dir=Path(cache), flip=True if options.flip else None)
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
            "detection": detection(engine),
        }
        engine.close()
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    measured = result["verification"]
    missed = []
    if measured["devtest_right"] < TARGET_ACCURACY * measured["devtest_pairs"]:
        missed.append(f"DevTest accuracy is below {TARGET_ACCURACY:.1%}")
    if measured["without_a_face"]:
        missed.append(f"{measured['without_a_face']} images of LFW View 1 without a face")
    print("\n" + ("missed: " + "; ".join(missed) if missed else "all targets met"))
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
