"""`countenance` and `python -m countenance`: the command line, handed the server that `serve` starts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from countenance_audit.note import VerifierKey

    from countenance.config import Settings

STOPPED = 130
"""128 + SIGINT, as shells report it."""


class _Servers:
    """What the command line is handed: it may not import a server itself."""

    def __call__(self, settings: Settings) -> int:
        from countenance.server.run import serve  # loads models' runtimes: only when a server is wanted

        return serve(settings)

    def witness(
        self, folder: Path, host: str, port: int, trusted: Mapping[str, VerifierKey], *, name: str | None = None
    ) -> int:
        from countenance.server.witness import serve_witness

        return serve_witness(folder, host, port, trusted, name=name)


def main() -> None:
    """Runs the command line on this process's arguments."""
    try:
        from countenance import cli  # inside: Ctrl-C while modules load is no reason for a traceback
    except KeyboardInterrupt:
        sys.exit(STOPPED)
    cli.main(obj=_Servers(), prog_name="countenance")


if __name__ == "__main__":
    main()
