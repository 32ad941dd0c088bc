"""A process that writes or erases in the files of an index and ends itself with SIGKILL at a step of its own counting.

    python keeping.py FOLDER WHAT STEP

WHAT is `keep` or `erase`. A step is every overwriting of a place in a file (which is half done when the process ends in
it), every publishing, manifest and removal. Prints `done` when it got to the end.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    _REPOSITORY = Path(__file__).resolve().parents[2]
    sys.path[:0] = [str(_REPOSITORY), str(_REPOSITORY / "src")]

from countenance.gallery import index_files, index_manifest, segment_file
from countenance.gallery.index import tiered
from tests.congruence.samples import ACCOUNT, World, enrolments, entry, name_id, unit_rows, world

COUNT = 400
ROWS = unit_rows(COUNT + 100, 16, 31)
ERASED = (3, 250)
LATER = range(COUNT, COUNT + 20)
"""Enrolled after the first files were made."""


@contextmanager
def kept_world(folder: Path) -> Iterator[World]:
    with world(folder, index_factory=tiered(100), index_files_from=100) as opened:
        opened.gallery._shelves._keeper.stop()
        yield opened


def enrol(opened: World, names: range) -> None:
    opened.gallery.enrol(ACCOUNT, "c", enrolments(list(names), ROWS[list(names)]), entry=entry())


def keep(opened: World) -> None:
    opened.gallery.identify(ACCOUNT, "c", ROWS[:1], max_candidates=1)
    opened.gallery._shelves.keep(opened.gallery.collection(ACCOUNT, "c").uid, is_due=True)


def erase(opened: World) -> None:
    opened.gallery.erase(ACCOUNT, "c", [name_id(each) for each in ERASED], entry=entry())


class Steps:
    """Counts, and ends the process at one."""

    def __init__(self, last: int) -> None:
        self.left = last

    def is_last(self) -> bool:
        self.left -= 1
        return self.left == 0

    def end(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def around(self, act: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **more: Any) -> Any:
            if self.is_last():
                self.end()
            done = act(*args, **more)
            if self.is_last():
                self.end()
            return done

        return counted

    def overwriting(self, act: Callable[[int, bytes, int], None]) -> Callable[[int, bytes, int], None]:
        def counted(handle: int, content: bytes, at: int) -> None:
            if self.is_last():
                act(handle, content[: len(content) // 2], at)
                self.end()
            act(handle, content, at)

        return counted


def main(folder: Path, what: str, step: int) -> None:
    with kept_world(folder) as opened:
        keep_or_erase = keep if what == "keep" else erase
        if what == "keep":
            enrol(opened, LATER)
        opened.gallery.identify(ACCOUNT, "c", ROWS[:1], max_candidates=1)
        steps = Steps(step)
        segment_file._pwrite = steps.overwriting(segment_file._pwrite)
        segment_file.SegmentFile.publish = steps.around(segment_file.SegmentFile.publish)  # type: ignore[method-assign]
        index_manifest.write = steps.around(index_manifest.write)
        index_files._remove_others = steps.around(index_files._remove_others)
        opened.gallery._shelves.erase_from_files = steps.around(  # type: ignore[method-assign]
            opened.gallery._shelves.erase_from_files
        )
        keep_or_erase(opened)
        print("done", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
