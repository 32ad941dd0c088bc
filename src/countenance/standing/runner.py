"""Screens parties with the lists in force, in processes of their own: a server that answers calls does none of it.

Each process reads the snapshots from the disk, indexes them, and goes when the work is done: the matcher takes some
hundred megabytes, and is needed for minutes a day. Knows snapshots and the matcher; what a hit means is for others.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from countenance.errors import Error
from countenance.standing import lists
from countenance.standing.listed import ListedEntity, ScreenedParty, related
from countenance.standing.matching import Hit, MatcherMissing, Screened, Screener
from countenance.standing.matching.hit import party_hash
from countenance.standing.snapshots import Snapshots

CHUNK: Final = 50
"""Parties between two tellings of progress: about a second of one core."""
FEW: Final = 200
"""Parties that one process screens sooner than two, which both read the lists first (some seconds)."""
AGAIN: Final = 1 / 8
"""What a party costs that was compared before, of what another does: 0.51 minutes instead of 4.48 for 10,000 of them
(`python -m bench screening`: in one process instead of two)."""
REMEMBERED: Final = 100_000
"""Parties whose comparisons are kept in memory: about 1 KB each."""
EXTRA: Final = "nomenklatura"
"""What the extra `countenance[standing]` installs."""

Progress = Callable[[int, int], None]
"""How many parties are done, of how many."""


class ScreeningFailed(Error):
    """A process that screened ended before it was done."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A snapshot to screen with.

    Attributes:
        only: entries of an earlier snapshot that still count; None takes all of it.
    """

    list_id: str
    form: str
    sha256: str
    only: tuple[str, ...] | None = None


def is_installed() -> bool:
    """Whether the extra is there."""
    return importlib.util.find_spec(EXTRA) is not None


def require() -> None:
    """Raises MatcherMissing when the extra is not there."""
    if not is_installed():
        raise MatcherMissing(
            "The extra that compares names is not installed, so that nobody can be screened or cleared.",
            hint="pip install 'countenance[standing]' into the environment of the server",
        )


class Runner:
    """Screens in processes, and remembers what was compared, for as long as it lives: after a list changed, only pairs
    that are new are scored. For one thread at a time.

    Args:
        data: the data folder, with the snapshots.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self._before: dict[str, Screened] = {}

    def __call__(
        self, wanted: Sequence[Wanted], parties: Sequence[ScreenedParty], progress: Progress | None = None
    ) -> list[tuple[Hit, ...]]:
        """The hits of each party, in the order of the parties.

        Raises:
            MatcherMissing: the extra is not installed.
            ScreeningFailed: a process ended early.
            Error: a snapshot is missing or cannot be read.
        """
        require()
        work = [(party, self._before.get(party_hash(party))) for party in parties]
        chunks = [work[at : at + CHUNK] for at in range(0, len(work), CHUNK)]
        if not chunks:
            return []
        effort = sum(1 if before is None else AGAIN for _, before in work)
        processes = 1 if effort <= FEW else max(1, min(os.cpu_count() or 1, len(chunks)))
        done: list[tuple[Hit, ...]] = []
        # A new interpreter for each: a copy of this one would hold its locks and none of its threads.
        pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _start, (self._data, tuple(wanted)))
        try:
            for some in pool.map(_work, chunks):
                if isinstance(some, Error):
                    raise some
                for each in some:
                    self._remember(each)
                    done.append(each.hits)
                if progress is not None:
                    progress(len(done), len(parties))
        except BrokenProcessPool:
            raise ScreeningFailed(
                "A process that screened parties ended before it was done.", hint="is there memory enough? try again"
            ) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return done

    def _remember(self, each: Screened) -> None:
        # Hashes that came through a pipe are copies; thousands of screenings name the same entries.
        self._before.pop(each.party_hash, None)
        self._before[each.party_hash] = replace(each, compared=tuple(map(sys.intern, each.compared)))
        if len(self._before) > REMEMBERED:
            del self._before[next(iter(self._before))]


def entities(data: Path, wanted: Sequence[Wanted]) -> Iterator[ListedEntity]:
    """What is listed by some snapshots, and whom that names beside itself. Raises Error."""
    snapshots = Snapshots(data)
    for each in wanted:
        found = lists.read(each.form, snapshots.find(each.sha256), list_id=each.list_id)
        only = None if each.only is None else set(each.only)
        for entity in found.entities:
            if only is None or entity.entry_id in only:
                yield entity
                yield from related(entity)


_screener: Screener | Error | None = None
"""Of a process of the pool; never set in the process that asked."""


def _start(data: Path, wanted: tuple[Wanted, ...]) -> None:
    global _screener
    try:
        _screener = Screener(entities(data, wanted))
    except Error as error:  # an exception here would break the pool, and its words would be lost
        _screener = error


def _work(chunk: Sequence[tuple[ScreenedParty, Screened | None]]) -> list[Screened] | Error:
    assert _screener is not None  # the pool ran `_start` first
    return _screener if isinstance(_screener, Error) else [_screener.compare(*each) for each in chunk]
