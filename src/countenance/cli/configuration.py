"""`countenance config show`: each effective setting and where its value came from. Secrets are never shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from countenance.cli.options import data_option, example, json_option
from countenance.cli.output import Status, columns, emit, end, talk
from countenance.config import SettingsError, describe, load

MASK = "********"


@click.group(epilog=example("countenance config show"))
def config() -> None:
    """Look at the server's settings."""


@config.command(epilog=example("COUNTENANCE_PORT=9000 countenance config show"))
@data_option
@click.option(
    "--config",
    "toml_path",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Settings file (COUNTENANCE_CONFIG; else ./countenance.toml when there is one).",
)
@json_option
def show(data_dir: Path | None, toml_path: Path | None, as_json: bool) -> None:
    """Print each setting's value and where it came from.

    Exit status 1 when the server would refuse to start with them.
    """
    loaded = load(os.environ, {"data_dir": data_dir}, toml_path)
    problem: dict[str, Any] | None = None
    try:
        loaded.settings.validate()
    except SettingsError as error:
        problem = {"message": error.message, "hint": error.hint}
    shown = [
        {
            "name": each.name,
            "value": _shown(getattr(loaded.settings, each.name), each.secret),
            "origin": loaded.origins[each.name],
        }
        for each in describe()
    ]
    rows = ([each["name"], _text(each["value"]), each["origin"]] for each in shown)
    emit({"settings": shown, "problem": problem}, columns(["SETTING", "VALUE", "FROM"], rows), as_json=as_json)
    if problem is not None:
        talk(f"The server would not start: {problem['message']}. Hint: {problem['hint']}.")
        end(Status.NO)


def _shown(value: object, secret: bool) -> object:
    if value is None:
        return None
    if secret:
        return MASK
    return str(value) if isinstance(value, Path) else value


def _text(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(value) or "-"
    return str(value)
