"""`countenance witness`: be a witness for somebody else's log.

Knows options and the key's folder; does not know the server, which `__main__` hands over (`.witness` of the context's
object), nor the face recognition server's settings: a witness has none.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
from countenance_audit.errors import Malformed
from countenance_audit.note import ED25519, VerifierKey

from countenance.cli.options import example, json_option
from countenance.cli.output import emit

DEFAULT_PORT = 8081
"""Beside the face recognition server's 8080."""

_folder = click.option(
    "--dir",
    "folder",
    required=True,
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="The witness's own folder: its key and what it signed.",
)


def _log_keys(_ctx: click.Context, _option: click.Parameter, values: tuple[str, ...]) -> dict[str, VerifierKey]:
    """The verifier keys by origin."""
    keys: dict[str, VerifierKey] = {}
    for value in values:
        try:
            key = VerifierKey.parse(value)
        except Malformed as error:
            raise click.BadParameter(error.message) from None
        if key.algorithm != ED25519:
            raise click.BadParameter(f"The key of {key.name} is not a log's: those have signature type 0x01.")
        if keys.setdefault(key.name, key) != key:
            raise click.BadParameter(f"Two keys were given for {key.name}.")
    return keys


@click.group(epilog=example("countenance witness serve --dir /srv/witness --trust log.example/a+1f2e3d4c+AZ..."))
def witness() -> None:
    """Watch somebody else's log: sign that it only grows."""


@witness.command(
    epilog=example("countenance witness serve --dir /srv/witness --port 8081 --trust log.example/a+1f2e3d4c+AZ...")
)
@_folder
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=DEFAULT_PORT,
    show_default=True,
    help="Port to listen on; 0 takes any free one.",
)
@click.option(
    "--trust",
    "trusted",
    callback=_log_keys,
    multiple=True,
    required=True,
    metavar="VKEY",
    help="Verifier key of a log to watch, from its operator; once for each log.",
)
@click.option("--name", metavar="NAME", help="Name in the witness's key, such as example.org/witness (made up).")
def serve(folder: Path, host: str, port: int, trusted: dict[str, VerifierKey], name: str | None) -> None:
    """Run a witness until it is stopped.

    Its key is made on the first start, and its verifier key printed on each: log operators and relying parties need
    it. Whoever runs a log must not run its witness.
    """
    context = click.get_current_context()
    # The command line and the server are two doors that do not know each other: `__main__` brings them together.
    run: Callable[..., int] = context.obj.witness
    context.exit(run(folder, host, port, trusted, name=name))


@witness.command(epilog=example("countenance witness key --dir /srv/witness"))
@_folder
@json_option
def key(folder: Path, as_json: bool) -> None:
    """Print the verifier key of the witness in a folder."""
    from countenance.ledger.witness_key import open_signer

    found = open_signer(folder).witness
    value = {"name": found.name, "key_id": found.key_id.hex(), "verifier_key": str(found)}
    emit(value, [str(found)], as_json=as_json)
