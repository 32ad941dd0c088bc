"""What a decision by use policies takes, and what it adds to a call."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bench import Section
from bench.search import ACCOUNT, create
from countenance.assembly import open_admin
from countenance.config import Settings
from countenance.gallery import SqliteGallery
from countenance.operations.governance import Asking
from countenance.policy import Account, Call, Collection, Engine, Request
from countenance.policy.policyset import DEFAULT, PACKS, composed

DECISIONS, QUICK_DECISIONS = 20_000, 4_000
ACCOUNTS = 200
"""Different accounts and purposes that ask in turn."""
ACTIONS = ("DetectFaces", "CompareFaces", "SearchFacesByImage", "IndexFaces")
DECISIONS_TARGET = 10_000
"""A second on one core: the issue of the policy engine."""
ADDED_TARGET_MS = 0.3


def run(quick: bool) -> Section:
    """Decisions by the default set and by all packs, remembered and not."""
    count = QUICK_DECISIONS if quick else DECISIONS
    section = Section("policy", "Decisions by use policies, one thread")
    section.notes += [
        f"{count:,} requests of {ACCOUNTS} accounts in turn, each with a time of its own. `remembered`: the set reads "
        "no time, so a decision is the answer to every request that is the same but for it. `asked`: Cedar decides "
        "each one, the request validated against the schema.",
    ]
    requests = list(_requests(count))
    for name, packs in (("default packs", DEFAULT), ("all packs", PACKS)):
        engine = Engine(composed(packs))
        _measure(section, f"{name}, remembered", requests, engine.decide)
        asked = Engine(composed(packs))
        asked._keeps = False
        _measure(section, f"{name}, asked", requests, asked.decide, is_target=False)
    _added(section, count // 4)
    return section


def _added(section: Section, count: int) -> None:
    """What deciding adds to a call: the facts are gathered from a real store, and the set in force decides."""
    with tempfile.TemporaryDirectory(prefix="countenance-bench-") as name:
        folder = Path(name) / "data"
        folder.mkdir()
        with open_admin(Settings(data_dir=folder)) as register:
            gallery = SqliteGallery(register.database, register.keyring)
            owner = register.accounts.owner()
            assert owner is not None  # made at the first use
            create(gallery, "people")
            who = Asking(ACCOUNT, "access-control", "NL", is_owner=True)
            params = {"CollectionId": "people", "Image": {"Bytes": b"x" * 100_000}}
            taken = []
            for number in range(count):
                moment = 1_790_000_000_000_000 + number * 1_000_000
                start = time.perf_counter()
                request, _ = register.governance.asked(gallery, who, "SearchFacesByImage", params, moment)
                decision, _ = register.governance.decide(request, moment)
                taken.append(time.perf_counter() - start)
                assert decision.allowed
            gallery.close()
    section.at_most("added to a search, p50", statistics.median(taken) * 1000, "ms", ADDED_TARGET_MS)


def _measure(
    section: Section,
    name: str,
    requests: Sequence[Request],
    decide: Callable[[Request], object],
    *,
    is_target: bool = True,
) -> None:
    for request in requests[: ACCOUNTS * len(ACTIONS)]:
        decide(request)
    taken = []
    began = time.perf_counter()
    for request in requests:
        start = time.perf_counter()
        decide(request)
        taken.append(time.perf_counter() - start)
    rate = len(requests) / (time.perf_counter() - began)
    p50_ms = statistics.median(taken) * 1000
    if is_target:
        section.at_least(f"{name}: decisions", rate, "1/s", DECISIONS_TARGET)
        section.at_most(f"{name}: p50 of one", p50_ms, "ms", ADDED_TARGET_MS)
    else:
        section.add(f"{name}: decisions", rate, "1/s")
        section.add(f"{name}: p50 of one", p50_ms, "ms")


def _requests(count: int) -> Iterator[Request]:
    sectors = ("retail", "police", "software", "")
    for number in range(count):
        at = number % ACCOUNTS
        account = Account(f"{at:012d}", False, "cleared", sectors[at % 4], "NL", ("police",) if at % 8 == 2 else ())
        action = ACTIONS[number // ACCOUNTS % len(ACTIONS)]
        collection = None if action in ("DetectFaces", "CompareFaces") else Collection(f"{at:012d}/people", ("a=b",))
        call = Call("missing-person" if at % 3 else "access-control", 1_790_000_000, references=100, threshold=99_000)
        yield Request(account, action, collection, replace(call, time=call.time + number))
