"""What each step from a plain pipeline to the shipped default is worth, on LFW View 1 and degraded copies of it.

python scripts/ladder.py [--copies DIR] [--every N] [--json FILE]

Each step adds one change to the one before. Two that were tried and left out are measured beside them, each added to
the shipped default:

0. plain: one look of YuNet at the picture's own size, score from 0.8; SFace once; the cosine as it is
1. looks: the ladder of canvases, and the picture turned when nothing upright is sure
2. close-ups: each face looked at once more, upright and at the size whose landmarks are best; doubtful ones confirmed
3. mirror: the mean of the face's and its mirror image's features
4. centre: what all faces share is taken off: the shipped default
a. shifts: the mean of the face, its mirror image and four crops 3 pixels off
b. cubic: crops sampled bicubically

References are photographs as they are, probes the copies (see degraded.py), both through the same step; of `clean`,
every pair. Every condition has a threshold of its own: FNMR is told where FMR is 1 in 1,000 and 1 in 10,000 in that
condition. A copy without a face, or none within half the longer side of where the face is, is a failure to acquire and
a false non-match with everything; impostor comparisons are those that gave a score. Open-set identification: of every
second person the first photograph is enrolled, their others are mated probes, everybody else's are non-mated; a mated
one is identified when its own person comes first, at or above the threshold. Times are medians over photographs as they
are, one call at a time.

The pack's centre was fitted on all of View 1, these people among them; docs/accuracy.md has what it does for others.

Every 6th person (the default) is 845 photographs: eight minutes of processor time when the copies are there, and three
more to make them.
Exit status 3 when the photographs or the mesh that turned copies need are not there.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from degraded import CONDITIONS, HEIGHTS, LFW, height_of, people, place, write_copies
from numpy.typing import NDArray
from rungs import DETECTIONS, STEPS, Rows, Seen, networks, see, timed

from countenance.evaluation import ErrorRate, equal_error_rate, threshold_at_fmr

EVERY: Final = 6
FMRS: Final = (1e-3, 1e-4)
FPIR: Final = 0.01


def compared(
    references: Rows, probes: Rows, failed: tuple[NDArray[np.bool_], NDArray[np.bool_]], who: NDArray[np.intp]
) -> tuple[Rows, Rows]:
    """Genuine scores, -1 where acquiring failed, and impostor scores, where it did not."""
    scores = references @ probes.T
    valid = ~failed[0][:, None] & ~failed[1][None]
    same = who[:, None] == who[None]
    once = np.triu(np.ones(same.shape, bool), 1) if references is probes else ~np.eye(len(who), dtype=bool)
    return np.where(valid, scores, -1)[same & once], scores[~same & once & valid]


def fnmr_at(fmr: float, genuine: Rows, impostor: Rows) -> ErrorRate:
    threshold = threshold_at_fmr(fmr, np.sort(impostor)[::-1], impostor.size)
    return ErrorRate(int((genuine < threshold).sum()), genuine.size)


def identified(features: Rows, who: NDArray[np.intp]) -> ErrorRate:
    """TPIR at an FPIR of 1 %; here `errors` counts those who were identified."""
    first = np.flatnonzero(np.diff(who, prepend=-1))
    gallery = first[who[first] % 2 == 0]
    scores = features @ features[gallery].T
    best = np.where(np.abs(features).sum(axis=1) > 0, scores.max(axis=1), -1)
    strangers = best[who % 2 == 1]
    threshold = threshold_at_fmr(FPIR, np.sort(strangers)[::-1], strangers.size)
    mated = np.setdiff1d(np.flatnonzero(who % 2 == 0), gallery)
    right = (best[mated] >= threshold) & (who[gallery][scores[mated].argmax(axis=1)] == who[mated])
    return ErrorRate(int(right.sum()), mated.size)


def counted(rate: ErrorRate, what: str = "errors") -> dict[str, Any]:
    return {"value": round(rate.value, 6), what: rate.errors, "of": rate.of}


def measure(every: int, copies: Path, cache: Path) -> dict[str, Any]:
    chosen = people(every)
    names = [image for person in chosen for image in person.images]
    whose = np.repeat(np.arange(len(chosen)), [len(person.images) for person in chosen])
    made = dict(write_copies(names, copies, cache))
    kept = [at for at, name in enumerate(names) if made[name] is not None]
    names, who = [names[at] for at in kept], whose[kept]
    boxes = [box for box in (made[name] for name in names) if box is not None]
    nets = networks(cache)
    seen: dict[str, Seen] = {}
    for condition in ("clean", *CONDITIONS):
        start = time.monotonic()
        folder = LFW / "images" if condition == "clean" else copies / condition
        where = [place(condition, name, box, (250, 250)) for name, box in zip(names, boxes, strict=True)]
        seen[condition] = see(condition, [folder / name for name in names], where, nets)
        print(f"{condition}: {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
    times = timed([LFW / "images" / name for name in names], nets)
    steps: dict[str, Any] = {}
    for step in STEPS:
        conditions: dict[str, Any] = {}
        references, lost = seen["clean"].features[step.key], ~seen["clean"].acquired[step.detection]
        for condition, one in seen.items():
            if step.key not in one.features:
                continue
            failed = ~one.acquired[step.detection]
            genuine, impostor = compared(references, one.features[step.key], (lost, failed), who)
            conditions[condition] = {
                "failures_to_acquire": int(failed.sum()),
                "impostor_comparisons": impostor.size,
                **{f"fnmr_at_fmr_{fmr:g}": counted(fnmr_at(fmr, genuine, impostor)) for fmr in FMRS},
            }
            if condition == "clean":
                conditions[condition]["equal_error_rate"] = round(equal_error_rate(genuine, impostor), 6)
        steps[step.key] = {
            "tpir_at_fpir_0.01": counted(identified(references, who), "identified"),
            "detection_ms": round(times[step.key][0], 2),
            "features_ms": round(times[step.key][1], 2),
            "conditions": conditions,
        }
    high = np.array([height_of("heights", name) for name in names])
    found = {
        f"{low}-{top}": {
            detection: counted(ErrorRate(int(one[within].sum()), int(within.sum())), "found")
            for detection, one in seen["heights"].acquired.items()
        }
        for low, top in HEIGHTS
        for within in [(high >= low) & (high < top)]
    }
    return {
        "people": len(chosen),
        "every": every,
        "photographs": len(names),
        "without_a_face": len(whose) - len(names),
        "model_version": nets.model_version,
        "runtime": nets.extractor.runtime,
        "steps": steps,
        "found_by_height": found,
    }


def table(result: dict[str, Any]) -> str:
    steps = result["steps"]

    def share(rate: dict[str, Any]) -> str:
        return f"{rate['value']:.2%}".replace("%", " %")

    def row(cells: Sequence[object]) -> str:
        return "| " + " | ".join(map(str, cells)) + " |"

    def head(cells: Sequence[str]) -> list[str]:
        return [row(cells), row(["---"] * len(cells))]

    heights = sorted(result["found_by_height"], key=lambda name: -int(name.split("-")[0]))
    lines = head(
        ["step", "EER, clean", "TPIR at FPIR 1 %", "detection, ms", "features, ms", *(f"found at {h}" for h in heights)]
    )
    by_key = {step.key: step for step in STEPS}
    for key, one in steps.items():
        found = [share(result["found_by_height"][name][by_key[key].detection]) for name in heights]
        rate = f"{one['conditions']['clean']['equal_error_rate']:.2%}".replace("%", " %")
        lines.append(row([key, rate, share(one["tpir_at_fpir_0.01"]), one["detection_ms"], one["features_ms"], *found]))
    lines += ["", *head(["failures to acquire", *DETECTIONS])]
    firsts = [next(step.key for step in STEPS if step.detection == detection) for detection in DETECTIONS]
    for condition in ("clean", *CONDITIONS):
        lines.append(row([condition, *(steps[key]["conditions"][condition]["failures_to_acquire"] for key in firsts)]))
    lines += ["", *head(["FNMR at FMR 1e-3 / 1e-4, %", *steps])]
    for condition in ("clean", *CONDITIONS):
        cells = []
        for one in steps.values():
            at = one["conditions"].get(condition)
            cells.append(" / ".join(f"{at[f'fnmr_at_fmr_{fmr:g}']['value'] * 100:.2f}" for fmr in FMRS) if at else "-")
        lines.append(row([condition, *cells]))
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", type=Path, help="folder of degraded copies; missing ones are written")
    parser.add_argument("--every", type=int, default=EVERY, help="of every Nth person only (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    options = parser.parse_args()
    if not LFW.is_dir():
        print(f"{LFW} is missing; set COUNTENANCE_TEST_DATA", file=sys.stderr)
        return 3
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        try:
            result = measure(options.every, options.copies or Path(folder) / "copies", Path(folder))
        except LookupError as error:
            print(error, file=sys.stderr)
            return 3
    print(f"{result['photographs']} photographs of {result['people']} people", end=", ")
    print(f"model version {result['model_version']}, {result['runtime']}")
    print(table(result))
    print(f"{time.monotonic() - start:.0f} s", file=sys.stderr)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
