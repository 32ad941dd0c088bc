"""The options that verbs share, the settings behind them, and how an error ends a verb."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from countenance.cli.output import Status, complain, talk
from countenance.config import Settings, SettingsError, load
from countenance.errors import Error

F = TypeVar("F", bound=Callable[..., Any])


class _Percentage(click.FloatRange):
    """0 to 100; unlike FloatRange itself it does not take "nan" for a number in the range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


PERCENTAGE = _Percentage(0, 100)

_AS_JSON = "countenance.as_json"


class Root(click.Group):
    """The top of the command tree: the one place where exceptions become exit statuses."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; an `Error` ends as status 3, one in the settings as 2, Ctrl-C as 130."""
        try:
            return super().invoke(ctx)
        except SettingsError as error:
            self._end(ctx, error, Status.USAGE)
        except Error as error:
            self._end(ctx, error, Status.UNDECIDED)
        except BrokenPipeError:
            raise  # whoever read the answer has seen enough; click ends quietly
        except OSError as error:
            where = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
            self._end(ctx, Error(f"{where}{error.strerror or type(error).__name__}"), Status.UNDECIDED)
        except (KeyboardInterrupt, click.Abort):
            talk("Stopped.")
            ctx.exit(int(Status.STOPPED))

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which they were added, which is that of a newcomer's day."""
        return list(self.commands)

    @staticmethod
    def _end(ctx: click.Context, error: Error, status: Status) -> None:
        complain(error, as_json=bool(ctx.meta.get(_AS_JSON)))
        ctx.exit(int(status))


def example(*lines: str) -> str:
    """The end of a help text. The \\b keeps click from rewrapping the lines."""
    return "\b\nExample:\n" + "\n".join(f"  $ {line}" for line in lines)


def _remember_json(ctx: click.Context, _option: click.Parameter, value: bool) -> bool:
    # `meta` is one dictionary shared by all contexts of a run, so that `Root` sees it as well.
    ctx.meta[_AS_JSON] = value
    return value


def json_option(function: F) -> F:
    """`--json`: the answer as one JSON document."""
    return click.option(
        "--json", "as_json", is_flag=True, callback=_remember_json, help="Answer with one JSON document."
    )(function)


def data_option(function: F) -> F:
    """`--data DIR`: the server's data folder."""
    return click.option(
        "--data",
        "data_dir",
        metavar="DIR",
        type=click.Path(path_type=Path),
        help="The server's data folder (COUNTENANCE_DATA_DIR; else ./data).",
    )(function)


def yes_option(function: F) -> F:
    """`--yes`: without it a verb that destroys something refuses."""

    def required(_ctx: click.Context, _option: click.Parameter, value: bool) -> bool:
        if not value:
            raise click.UsageError("This cannot be undone. Repeat it with --yes to do it.")
        return value

    return click.option(
        "--yes", is_flag=True, expose_value=False, callback=required, help="Do it; required, as this is final."
    )(function)


def settings_for(data_dir: Path | None = None, **flags: object) -> Settings:
    """The effective settings with what this command line says.

    Raises:
        SettingsError: see `config.load`.
    """
    return load(os.environ, {"data_dir": data_dir, **flags}).settings
