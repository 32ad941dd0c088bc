"""All parties against all listed entries: after a list changed, or the scorer.

Knows processes and progress. Does not know what is done with the findings.
"""

import multiprocessing
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

from countenance.standing.listed import ListedEntity, ScreenedParty
from countenance.standing.matching.hit import party_hash
from countenance.standing.matching.screener import Screened, Screener

CHUNK = 50
"""Parties between two calls of `progress`: about a second of one core."""

Progress = Callable[[int, int], None]
"""How many parties are done, of how many."""
Before = Mapping[str, Screened]
"""Earlier screenings by `party_hash`."""
Work = tuple[ScreenedParty, Screened | None]


def screen_all(
    screener: Screener,
    parties: Sequence[ScreenedParty],
    before: Before | None = None,
    *,
    processes: int = 1,
    progress: Progress | None = None,
) -> list[Screened]:
    """Screens every party, in the order of `parties`.

    With `before`, only pairs that were not compared then are scored: after an update of a list, the entries that are
    new or changed, and the few unchanged ones that became candidates because others left. The result is the same as
    without. Where every pair is new, several `processes` save time; each holds an index and a matcher of its own
    (650 MB, `python -m bench screening`) and takes seconds to start.

    Args:
        before: earlier screenings by `party_hash`; those of another scorer or party are ignored.
        processes: 1 works in this process and thread.
        progress: called in this process after every few parties, and at the end.
    """
    known = before or {}
    work = [(party, known.get(party_hash(party))) for party in parties]
    done: list[Screened] = []
    for some in _chunks(screener, work, processes):
        done += some
        if progress is not None:
            progress(len(done), len(work))
    return done


def _chunks(screener: Screener, work: Sequence[Work], processes: int) -> Iterator[list[Screened]]:
    chunks = [work[at : at + CHUNK] for at in range(0, len(work), CHUNK)]
    if processes <= 1:
        for chunk in chunks:
            yield [screener.compare(party, earlier) for party, earlier in chunk]
        return
    # A new interpreter for each process: a copy of this one would hold its locks and none of its threads.
    pool = ProcessPoolExecutor(
        min(processes, len(chunks) or 1), multiprocessing.get_context("spawn"), _start, (screener.entities,)
    )
    try:
        for some in pool.map(_work, chunks):
            # Hashes that came through a pipe are copies; thousands of screenings name the same entries.
            yield [replace(one, compared=tuple(map(sys.intern, one.compared))) for one in some]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_screener: Screener | None = None
"""Of a process of the pool; never set in the process that asked."""


def _start(entities: Sequence[ListedEntity]) -> None:
    global _screener
    _screener = Screener(entities)


def _work(chunk: Sequence[Work]) -> list[Screened]:
    assert _screener is not None  # the pool ran `_start` first
    return [_screener.compare(party, earlier) for party, earlier in chunk]
