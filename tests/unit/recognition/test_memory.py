"""Memory stays flat whatever shapes come."""

from __future__ import annotations

import gc
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from countenance.recognition import Engine

WARM, MEASURED = 200, 1000
ALLOWED = 48 * 1024 * 1024
"""A runtime that recompiles per shape grows by several megabytes for each: by gigabytes over a thousand."""


def resident() -> int:
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("resident memory is read from /proc, which this system does not have")
    (line,) = (each for each in status.read_text(encoding="ascii").splitlines() if each.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


@pytest.mark.slow
def test_a_thousand_aspect_ratios_leave_memory_flat(engine: Engine) -> None:
    random = np.random.default_rng(11)

    def one() -> None:
        width, height = (int(each) for each in np.exp(random.uniform(np.log(80), np.log(1600), 2)))
        noise = Image.fromarray(random.integers(0, 255, (16, 16, 3), np.uint8))
        out = io.BytesIO()
        noise.resize((width, height)).save(out, "JPEG")
        engine.analyse(out.getvalue())

    for _ in range(WARM):
        one()
    gc.collect()
    before = resident()
    for _ in range(MEASURED):
        one()
    gc.collect()
    assert resident() - before < ALLOWED
