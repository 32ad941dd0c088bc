"""`countenance serve`: settings from every place they can come from, then the server until it is stopped."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import click

from countenance.cli.options import data_option, example
from countenance.config import Settings, load


@click.command(epilog=example("countenance serve --port 9000 --data /srv/countenance"))
@click.option("--host", metavar="ADDRESS", help="Address to listen on (127.0.0.1).")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to listen on; 0 takes any free one (8080).")
@data_option
@click.option("--workers", type=click.IntRange(1, 256), metavar="N", help="Processes that answer calls (1).")
@click.option("--tls-cert", type=click.Path(path_type=Path), metavar="FILE", help="Certificate chain, PEM.")
@click.option("--tls-key", type=click.Path(path_type=Path), metavar="FILE", help="Its private key, PEM.")
@click.option(
    "--insecure-http",
    is_flag=True,
    default=None,
    help="Allow plain HTTP on an address other machines can reach.",
)
@click.option("--region", metavar="NAME", help="Region in ARNs (eu-west-2).")
@click.option(
    "--runtime", type=click.Choice(["auto", "onnxruntime", "openvino", "cuda"]), help="Inference runtime (auto)."
)
@click.option(
    "--strict-formats", is_flag=True, default=None, help="Accept JPEG and PNG only, as Amazon Rekognition does."
)
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), help="Least severity logged (info)."
)
@click.option(
    "--config",
    "toml_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings file (COUNTENANCE_CONFIG; else ./countenance.toml when there is one).",
)
def serve(toml_path: Path | None, **flags: object) -> None:
    """Start the server.

    On an empty data folder it creates the owner's account with one access key. Each option is also a setting
    that can come from the environment or from the settings file; `countenance config show` lists them all.
    """
    settings = load(os.environ, flags, toml_path).settings
    settings.validate()
    context = click.get_current_context()
    # The command line and the server are two doors that do not know each other: `__main__` brings them together.
    run: Callable[[Settings], int] = context.obj
    context.exit(run(settings))
