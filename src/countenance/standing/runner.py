"""Screens parties with the lists in force, in processes of their own: a server that answers calls does none of it.

Each process reads the snapshots from the disk, indexes them, and goes when the work is done: the matcher takes some
hundred megabytes, and is needed for minutes a day. Knows snapshots and the matcher; what a hit means is for others.
"""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from countenance.errors import Error
from countenance.standing import lists
from countenance.standing.listed import ListedEntity, ScreenedParty
from countenance.standing.matching import Hit, MatcherMissing, Screener
from countenance.standing.snapshots import Snapshots

CHUNK: Final = 50
"""Parties between two tellings of progress: about a second of one core."""
FEW: Final = 200
"""Parties that one process screens sooner than two, which both read the lists first (some seconds)."""
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


def screen(
    data: Path, wanted: Sequence[Wanted], parties: Sequence[ScreenedParty], progress: Progress | None = None
) -> list[tuple[Hit, ...]]:
    """The hits of each party, in the order of the parties.

    Args:
        data: the data folder, with the snapshots.

    Raises:
        MatcherMissing: the extra is not installed.
        ScreeningFailed: a process ended early.
        Error: a snapshot is missing or cannot be read.
    """
    require()
    chunks = [parties[at : at + CHUNK] for at in range(0, len(parties), CHUNK)]
    if not chunks:
        return []
    processes = 1 if len(parties) <= FEW else max(1, min(os.cpu_count() or 1, len(chunks)))
    done: list[tuple[Hit, ...]] = []
    # A new interpreter for each: a copy of this one would hold its locks and none of its threads.
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), _start, (data, tuple(wanted)))
    try:
        for some in pool.map(_work, chunks):
            if isinstance(some, Error):
                raise some
            done += some
            if progress is not None:
                progress(len(done), len(parties))
    except BrokenProcessPool:
        raise ScreeningFailed(
            "A process that screened parties ended before it was done.", hint="is there memory enough? try again"
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return done


def entities(data: Path, wanted: Sequence[Wanted]) -> Iterator[ListedEntity]:
    """What is listed by some snapshots. Raises Error."""
    snapshots = Snapshots(data)
    for each in wanted:
        found = lists.read(each.form, snapshots.find(each.sha256), list_id=each.list_id)
        only = None if each.only is None else set(each.only)
        yield from (entity for entity in found.entities if only is None or entity.entry_id in only)


_screener: Screener | Error | None = None
"""Of a process of the pool; never set in the process that asked."""


def _start(data: Path, wanted: tuple[Wanted, ...]) -> None:
    global _screener
    try:
        _screener = Screener(entities(data, wanted))
    except Error as error:  # an exception here would break the pool, and its words would be lost
        _screener = error


def _work(chunk: Sequence[ScreenedParty]) -> list[tuple[Hit, ...]] | Error:
    assert _screener is not None  # the pool ran `_start` first
    return _screener if isinstance(_screener, Error) else [_screener.screen(party) for party in chunk]
