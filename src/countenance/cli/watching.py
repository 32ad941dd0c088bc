"""How far a running server is with long work, shown to whoever waits for it at a terminal."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from countenance.cli import admin_client
from countenance.cli.options import settings_for
from countenance.errors import Error
from countenance.store.ownership import owner_pid

POLL_S: Final = 1.0
"""Between two looks at how far it is."""


@contextmanager
def watched(data_dir: Path | None, doing: str, verb: str) -> Iterator[None]:
    """Shows a bar meanwhile, when stderr is a terminal and a server does the work.

    Args:
        doing: what the bar is about.
        verb: the administrative verb that answers `done` and `of`.
    """
    settings = settings_for(data_dir)
    console = Console(stderr=True)
    if not console.is_terminal or owner_pid(settings.data_dir) is None:
        yield
        return
    done = threading.Event()
    with Progress(TextColumn(doing), BarColumn(), MofNCompleteColumn(), console=console, transient=True) as bar:
        task = bar.add_task(doing, total=None)

        def look() -> None:
            while not done.wait(POLL_S):
                try:
                    said = admin_client.administer(settings, verb, {})
                except Error:
                    return  # the verb itself tells what is wrong
                bar.update(task, completed=said["done"], total=said["of"] or None)

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
