"""Thousands of hostile requests to a real server: it answers each with an error AWS clients know, and stays well.

Seeded, so a failure can be sent again. `make test` sends 600, `make faults` 5,000 and more.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from countenance.operations import OPERATIONS

from ..e2e.conftest import Server, start
from . import corpus
from .hostile_requests import COLLECTION, FAMILIES, Material, Request
from .vitals import LINUX_ONLY, Vitals, is_well, send_all, settled

pytestmark = LINUX_ONLY

GROWTH_MIB = 32.0
"""A picture of the corpus is about 90 KiB of pixels and a large body 300 KiB, so keeping what came with every
request would show 40 MiB after 450 requests and ten times that after 5,000. Measured growth is a few MiB: what
the allocator keeps in its arenas for sixteen worker threads."""
PAGE_CACHE_MIB = 16.0
"""What thousands of calls may add besides: each is a leaf, and the store's writer keeps up to 32 MiB of pages (10 MiB
in 6,000 calls; with that cache set to 2 MiB a second run of the corpus added nothing, 504.6 to 504.4 MiB)."""
STARTERS = 24
"""Connections that start every worker thread (16) with its own database connection before anything is counted."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of its own: what is counted here must not depend on other tests."""
    running = start(tmp_path_factory.mktemp("hostile") / "data")
    yield running
    assert running.stop() == 0


@pytest.fixture(scope="module")
def material(served: Server) -> Material:
    client = served.client()
    client.create_collection(CollectionId=COLLECTION)
    arn = client.describe_collection(CollectionId=COLLECTION)["CollectionARN"]
    client.close()
    return corpus.material(arn, corpus.photo("dlib_johns"))


def _abuse(
    served: Server,
    material: Material,
    *,
    seed: int,
    warm: int,
    count: int,
    bombs: Sequence[Request] = (),
    growth_mib: float = GROWTH_MIB,
) -> None:
    idle = Vitals.of(served).sockets
    every_thread = [corpus.plain_search(material)] * 4 * STARTERS
    assert send_all(served, every_thread, clients=STARTERS).complaints == []
    warmed = send_all(served, corpus.requests(seed, warm, material))
    before = settled(served, idle)
    sent = send_all(served, [*corpus.requests(seed + 1, count, material), *bombs])
    after = settled(served, idle, before.files)
    print(f"\nseed {seed}, warm-up: {warmed}\nseed {seed + 1}: {sent}\nbefore: {before}\nafter:  {after}")

    assert warmed.complaints + sent.complaints == []
    is_well(served)
    assert sum(sent.codes.values()) == count + len(bombs)
    assert after.resident_mib - before.resident_mib < growth_mib
    assert after.threads <= before.threads
    assert after.files <= before.files
    assert after.sockets <= idle


def test_the_corpus_reaches_every_layer() -> None:
    of = corpus.material("arn:aws:rekognition:eu-west-2:123456789012:collection/hostile")
    made = list(corpus.requests(3, 600, of))
    assert {request.operation for request in made} >= set(OPERATIONS)
    assert len({request.family for request in made}) >= len(FAMILIES) + 15
    assert len({(request.operation, request.body) for request in made}) > 450
    assert made == list(corpus.requests(3, 600, of))


def test_hundreds_of_hostile_requests_do_no_harm(served: Server, material: Material) -> None:
    _abuse(served, material, seed=11, warm=150, count=450)


@pytest.mark.slow
def test_thousands_of_hostile_requests_do_no_harm(served: Server, material: Material) -> None:
    bombs = list(corpus.bomb_requests(material))
    limit = GROWTH_MIB + PAGE_CACHE_MIB
    _abuse(served, material, seed=21, warm=600, count=5_400, bombs=bombs, growth_mib=limit)
