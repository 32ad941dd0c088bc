"""Whether a GPU makes the same features as the CPU, and how many a second.

python scripts/gpu_check.py [--device N] [--images DIR] [--crops N] [--seconds S] [--json FILE]

1. Features of the same crops on the GPU, one by one, 8 and 32 at once, against ONNX Runtime's on the CPU in float32:
   the largest difference of any number of any face must be 1e-3 at most.
2. The same on the GPU between batches: 1e-5 at most, which is what docs/design promises of a face in any company.
3. Faces found in the photographs of --images by both, which must be as many, and where they are.
4. Faces a second in batches of 1, 8 and 32, and of 32 callers with one face each, through the server's own batching.

Crops are smooth noise, or the faces of the photographs in --images. Times include the mirror image when the default
model pack averages it in, and copying to the GPU and back. `--runtime` names another runtime to hold against the CPU,
which is how this script itself is tested.

Exit status 0 when all is equal, 1 when something differs, 3 when it could not be decided: there is no CUDA provider, or
no GPU that works.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from countenance.recognition import Engine, Gpu, RecognitionError, build_engine

LIMIT: Final = 1e-3
"""Largest difference between GPU and CPU."""
BATCH_LIMIT: Final = 1e-5
"""Largest difference between a face alone and the same face in company."""
BATCHES: Final = (1, 8, 32)
CALLERS: Final = 32
IOU: Final = 0.99
"""What the boxes of one face on GPU and CPU must overlap by."""

Crops = NDArray[np.uint8]
Rows = NDArray[np.float32]


def noise(count: int) -> Crops:
    """Smooth noise: crops that are all different."""
    small = np.random.default_rng(7).integers(0, 256, (count, 14, 14, 3))
    return np.ascontiguousarray(small.repeat(8, axis=1).repeat(8, axis=2).astype(np.uint8))


def in_batches(engine: Engine, crops: Crops, size: int) -> Rows:
    """Features of all crops, so many at a time."""
    return np.concatenate([engine.features(crops[at : at + size]) for at in range(0, len(crops), size)])


def apart(one: Rows, other: Rows) -> float:
    """The largest difference of any number; not a number when one of them holds something that is none."""
    return float(np.abs(one.astype(np.float64) - other).max())


def compare_faces(reference: Engine, candidate: Engine, folder: Path) -> tuple[list[str], Crops]:
    """What differs in the faces that are found in the photographs, and the crops of those that the CPU found."""
    problems, crops = [], []
    paths = sorted(each for each in folder.rglob("*") if each.suffix.lower() in (".jpg", ".jpeg", ".png"))
    for path in paths:
        try:
            one = reference.analyse(path.read_bytes())
            other = candidate.analyse(path.read_bytes())
        except RecognitionError as error:
            print(f"  {path.name}: left out: {error.message}")
            continue
        crops.append(reference.align(one.picture, one.faces))
        if len(one.faces) != len(other.faces):
            problems.append(f"{path.name}: {len(other.faces)} faces, on the CPU {len(one.faces)}")
            continue
        worst = min((a.box.iou(b.box) for a, b in zip(one.faces, other.faces, strict=True)), default=1.0)
        if worst < IOU:
            problems.append(f"{path.name}: a box overlaps the CPU's by {worst:.3f}")
    found = np.concatenate(crops) if crops else noise(0)
    print(f"faces found: {len(found)} in {len(paths)} photographs; {len(problems)} photographs differ")
    return problems, found


def rate(engine: Engine, crops: Crops, size: int, seconds: float) -> float:
    """Faces a second of one caller with so many at a time."""
    batch = np.ascontiguousarray(crops[:size])
    engine.features(batch)
    done, start = 0, time.perf_counter()
    while (taken := time.perf_counter() - start) < seconds:
        engine.features(batch)
        done += size
    return done / taken


def rate_of_callers(engine: Engine, crops: Crops, seconds: float) -> float:
    """Faces a second of many callers with one each."""
    together = threading.Barrier(CALLERS)

    def call(at: int) -> int:
        crop, done = np.ascontiguousarray(crops[at % len(crops)][None]), 0
        together.wait()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            engine.features(crop)
            done += 1
        return done

    with ThreadPoolExecutor(CALLERS) as pool:
        start = time.perf_counter()
        done = sum(pool.map(call, range(CALLERS)))
        return done / (time.perf_counter() - start)


def check(reference: Engine, candidate: Engine, options: argparse.Namespace) -> dict[str, Any]:
    """Everything that was seen, with what is wrong under `problems`."""
    problems: list[str] = []
    crops = noise(options.crops)
    if options.images is not None:
        problems, faces = compare_faces(reference, candidate, options.images)
        crops = np.concatenate([faces, crops])
    wanted = in_batches(reference, crops, 1)
    made = {size: in_batches(candidate, crops, size) for size in BATCHES}
    from_cpu = max(apart(each, wanted) for each in made.values())
    from_alone = max(apart(each, made[1]) for each in made.values())
    print(f"features of {len(crops)} crops, {candidate.runtime} against {reference.runtime}:")
    print(f"  largest difference      {from_cpu:.2e}   (at most {options.limit:g})")
    print(f"  between batches         {from_alone:.2e}   (at most {BATCH_LIMIT:g})")
    if not from_cpu <= options.limit:
        problems.append(f"features differ from the CPU's by {from_cpu:.2e}")
    if not from_alone <= BATCH_LIMIT:
        problems.append(f"features differ between batches by {from_alone:.2e}")
    rates = {size: rate(candidate, crops, size, options.seconds) for size in BATCHES}
    for size, value in rates.items():
        print(f"  batch of {size:2}: {value:10.1f} faces a second")
    callers = rate_of_callers(candidate, crops, options.seconds)
    print(f"  {CALLERS} callers: {callers:9.1f} faces a second, one face each")
    return {
        "runtime": candidate.runtime,
        "crops": len(crops),
        "apart_from_cpu": from_cpu,
        "apart_between_batches": from_alone,
        "faces_a_second": {str(size): value for size, value in rates.items()},
        "faces_a_second_of_callers": callers,
        "problems": problems,
    }


def main(arguments: Sequence[str]) -> int:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runtime", default="cuda", help="what is held against the CPU (cuda)")
    parser.add_argument("--device", type=int, default=0, help="which GPU (0)")
    parser.add_argument("--images", type=Path, metavar="DIR", help="photographs with faces")
    parser.add_argument("--crops", type=int, default=256, help="crops of noise (256)")
    parser.add_argument("--seconds", type=float, default=5.0, help="seconds that each rate is measured for (5)")
    parser.add_argument("--limit", type=float, default=LIMIT, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was seen to this file as well")
    options = parser.parse_args(arguments)
    if options.crops < max(BATCHES):
        parser.error(f"--crops: at least {max(BATCHES)}")
    with tempfile.TemporaryDirectory(prefix="countenance-gpu-") as folder:
        cache = Path(folder)
        try:
            candidate = build_engine(
                cache_dir=cache,
                runtime=options.runtime,
                gpu=Gpu(device=options.device),
                is_batching=True,
                switched_on=(),
            )
        except RecognitionError as error:
            print(f"not decided: {error.message}")
            print(f"  no CUDAExecutionProvider, or no GPU behind it. {error.hint}")
            return 3
        reference = build_engine(cache_dir=cache, runtime="onnxruntime", switched_on=())
        try:
            found = check(reference, candidate, options)
        finally:
            candidate.close()
            reference.close()
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
    for problem in found["problems"]:
        print(f"DIFFERS: {problem}")
    print("differs" if found["problems"] else "equal")
    return 1 if found["problems"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
