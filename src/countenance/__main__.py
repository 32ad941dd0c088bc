"""`countenance` and `python -m countenance`: the command line, handed the server that `serve` starts."""

from __future__ import annotations

from countenance import cli
from countenance.config import Settings


def _serve(settings: Settings) -> int:
    from countenance.server.run import serve  # loads models' runtimes: only when a server is wanted

    return serve(settings)


def main() -> None:
    """Runs the command line on this process's arguments."""
    cli.main(obj=_serve, prog_name="countenance")


if __name__ == "__main__":
    main()
