"""`countenance database`: the tables brought up to date, and the move from the embedded file to PostgreSQL.

Knows these verbs' words; what is moved and when that is at its end is behind `assembly`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from countenance.cli.options import data_option, example, json_option, settings_for
from countenance.cli.output import Status, emit, talk

SCHEME = "sqlite:"


@click.group(short_help="The database of record.", epilog=example("countenance database migrate"))
def database() -> None:
    """The database that the server keeps everything in: the embedded file, or PostgreSQL."""


@database.command("migrate", epilog=example("countenance database migrate"))
@data_option
@json_option
def database_migrate(data_dir: Path | None, as_json: bool) -> None:
    """Make the tables, or bring them up to this version. A server does the same when it starts."""
    from countenance.assembly import migrate_database

    versions = dict(migrate_database(settings_for(data_dir)))
    emit({"components": versions}, [f"{name}  {version}" for name, version in versions.items()], as_json=as_json)


@database.command(
    "copy",
    epilog=example("countenance database copy sqlite:data/countenance.db postgresql://countenance@db/countenance"),
)
@click.argument("source", metavar="sqlite:FILE")
@click.argument("target", metavar="[URL]", required=False)
@data_option
@json_option
@click.pass_context
def database_copy(ctx: click.Context, source: str, target: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Copy the embedded database to PostgreSQL; without a URL, to that of the setting `database`.

    While a server runs on the file, this copies what there is, and says how much came meanwhile (exit status 1). Then
    stop the server and run it again: it copies the rest, compares every row and has the log say that it was moved
    (exit status 0). Whatever cuts it off, run it again: it goes on.
    """
    from countenance.assembly import copy_database

    if not source.startswith(SCHEME):
        raise click.BadParameter("is sqlite: and the path of countenance.db", param_hint="sqlite:FILE")
    settings = settings_for(data_dir)
    url = target or settings.database
    if url is None:
        raise click.UsageError("Name the database to copy to, or set `database`.")
    file = Path(source.removeprefix(SCHEME))
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    )
    with bar:
        task = bar.add_task("rows", total=None)

        def told(table: str, rows: int) -> None:
            bar.update(task, description=table, advance=rows)

        done = copy_database(settings, file, url, told=told)
    answer = {"rows": done.rows, "written": done.written, "left": done.left, "whole": done.is_whole}
    if done.is_whole:
        answer["leaves"] = done.leaves or 0
        lines = [f"{done.rows} rows are the same in both; {done.leaves} leaves"]
    else:
        lines = [f"{done.rows} rows compared, {done.written} written; {done.left} came or changed meanwhile"]
    emit(answer, lines, as_json=as_json)
    if done.is_whole:
        talk("Start the server with the setting `database`; do not start it on the file again: the log goes on there.")
    else:
        talk("A server writes to the file: stop it and run this again for the rest.")
        ctx.exit(int(Status.NO))
