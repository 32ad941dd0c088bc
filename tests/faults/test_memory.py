"""Pictures of every shape, and the server's memory stays where it was."""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Iterator

import pytest
from PIL import Image

from ..e2e.conftest import Server, start
from ..e2e.raw import RawClient
from . import corpus, hostile_images
from .vitals import LINUX_ONLY, Vitals, is_well

pytestmark = LINUX_ONLY

REQUESTS, SETTLED_AFTER = 1000, 200
GROWTH_MIB = 40.0
"""A detector whose input takes each picture's own shape keeps working memory for every new shape: 287 MB over 80
shapes with OpenVINO, some GiB over 800. A picture kept per request would be 800 times 1.4 MiB. Under one heap the
allocator keeps at most about the largest picture at hand: 2.2 MP as RGB, twice, is 13 MiB."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start(tmp_path_factory.mktemp("memory") / "data")
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def scene() -> Image.Image:
    found = corpus.photo("compreface_samples")
    return Image.open(io.BytesIO(found)).convert("RGB") if found else hostile_images.noise(3, 640, 480)


def shapes(rng: random.Random) -> tuple[int, int]:
    """A width and a height from 80 to 1,500 pixels; long strips both ways included."""
    area = rng.uniform(80 * 80, 1500 * 1500)
    aspect = 40 ** rng.uniform(-1, 1)
    width, height = (area * aspect) ** 0.5, (area / aspect) ** 0.5
    return round(min(max(width, 80), 4000)), round(min(max(height, 80), 4000))


@pytest.mark.slow
def test_a_thousand_aspect_ratios_leave_memory_flat(served: Server, scene: Image.Image) -> None:
    rng = random.Random(17)
    client = RawClient(served.endpoint, served.credentials)
    sizes: set[tuple[int, int]] = set()
    course = []
    for number in range(1, REQUESTS + 1):
        size = shapes(rng)
        sizes.add(size)
        out = io.BytesIO()
        scene.resize(size).save(out, rng.choice(("JPEG", "JPEG", "PNG")), compress_level=1)
        answer = client.call("DetectFaces", {"Image": {"Bytes": base64.b64encode(out.getvalue()).decode()}})
        assert answer.status == 200 or (answer.code == "ValidationException" and out.tell() > 5_242_880), answer.body
        if number % SETTLED_AFTER == 0:
            course.append(Vitals.of(served))
    client.close()
    print(f"\n{len(sizes)} shapes; resident MiB: {[round(point.resident_mib) for point in course]}")
    assert len(sizes) > 0.9 * REQUESTS
    assert course[-1].resident_mib - course[0].resident_mib < GROWTH_MIB
    assert course[-1].threads <= course[0].threads + 1  # the last worker thread may start late
    assert course[-1].files <= course[0].files
    is_well(served)
