"""`countenance` and `python -m countenance`: the command line, handed the server that `serve` starts."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from countenance.config import Settings

STOPPED = 130
"""128 + SIGINT, as shells report it."""


def _serve(settings: Settings) -> int:
    from countenance.server.run import serve  # loads models' runtimes: only when a server is wanted

    return serve(settings)


def main() -> None:
    """Runs the command line on this process's arguments."""
    try:
        from countenance import cli  # inside: Ctrl-C while modules load is no reason for a traceback
    except KeyboardInterrupt:
        sys.exit(STOPPED)
    cli.main(obj=_serve, prog_name="countenance")


if __name__ == "__main__":
    main()
