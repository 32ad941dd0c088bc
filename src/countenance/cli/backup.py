"""`countenance backup`: a copy of the database while it is in use, and a copy put in its place.

Knows these verbs' words; how a copy is made and what a restore has to mend is behind `admin_client` and `assembly`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from countenance.cli import admin_client
from countenance.cli.copies import copies_of, copies_options, successor_of, told_of
from countenance.cli.options import data_option, example, json_option, settings_for, yes_option
from countenance.cli.output import emit, talk


@click.group(short_help="Copies of the database.", epilog=example("countenance backup create /srv/backup/today.db"))
def backup() -> None:
    """Backups: one file with everything but the master key, which needs a copy of its own, kept apart."""


@backup.command("create", epilog=example("countenance backup create /srv/backup/today.db"))
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@data_option
@json_option
def backup_create(file: Path, data_dir: Path | None, as_json: bool) -> None:
    """Write a copy of the database as it is now, while the server goes on. The ledger has an entry of it.

    Keep the files `erasures`, `high-water` and `acts` where a lost disk does not take them along: they are what keeps
    erased data from coming back with a backup, and an older log or older decisions from being taken for the newest.
    """
    answer = admin_client.administer(settings_for(data_dir), "backup.create", {"path": str(file.absolute())})
    emit(answer, [f"{answer['sha256']}  {answer['path']}"], as_json=as_json)
    if not as_json:
        talk(f"{answer['bytes']} bytes, {answer['leaves']} leaves. The master key is not in it.")


@backup.command(
    "restore", epilog=example("countenance backup restore /srv/backup/today.db --reason 'disk failed' --yes")
)
@click.argument("file", metavar="FILE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@copies_options
@click.option("--reason", required=True, help="What happened; it is published.")
@yes_option
@data_option
@json_option
def backup_restore(
    file: Path,
    copies: dict[str, Any],
    new_origin: str | None,
    reason: str,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Put a backup in the place of the database. The server must be stopped; the database that is there is kept.

    What was erased since the backup is erased again. The log is refilled from the present database, if it can be read,
    and from the copies named, so that it is no shorter than what was signed of it. Entries say what was lost. Holds
    stay in force.
    """
    from countenance.assembly import restore

    restored = restore(
        settings_for(data_dir), file, copies_of(copies), reason=reason, successor=successor_of(new_origin)
    )
    answer, lines = told_of(restored.mended)
    answer["kept"] = str(restored.kept) if restored.kept else None
    lines += [f"the database that was there is {restored.kept}"] if restored.kept else []
    emit(answer, lines, as_json=as_json)
