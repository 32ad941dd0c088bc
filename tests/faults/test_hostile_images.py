"""Small files that announce or unpack to something enormous cost the server next to nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ..e2e.conftest import Server, start
from . import corpus
from .vitals import LINUX_ONLY, Vitals, forget_peak, is_well, send_all

pytestmark = LINUX_ONLY

PEAK_MIB = 64.0
"""What one bomb may add at its worst moment. Each of them stands for 90 MiB to 40 GiB of pixels or text; parsing a
request of the largest size (its body, the JSON string, the bytes) takes about 40 MiB."""
DECODED = {"bomb avif-announces-3000": 400.0, "bomb jpeg-lies-large": 200.0}
"""These lie about a size that is allowed, so they are decoded and looked at in four directions like any picture of
that size: measured 130 and 25 MiB."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start(tmp_path_factory.mktemp("bombs") / "data")
    yield running
    assert running.stop() == 0


def test_a_bomb_costs_nothing(served: Server) -> None:
    material = corpus.material("")
    # The first picture of each size of batch and of canvas makes the runtime allocate what it keeps.
    assert send_all(served, [corpus.plain_detection(material)] * 8).complaints == []
    worst = 0.0
    for bomb in corpus.bomb_requests(material):
        forget_peak(served)
        before = Vitals.of(served)
        assert send_all(served, [bomb], clients=1).complaints == []
        cost = Vitals.of(served).peak_mib - before.resident_mib
        assert cost < DECODED.get(bomb.family, PEAK_MIB), f"{bomb.family} took {cost:.0f} MiB"
        worst = max(worst, cost)
    print(f"\n{len(material.bombs)} bombs; the worst took {worst:.0f} MiB for a moment")
    is_well(served)
