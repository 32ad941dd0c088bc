"""`countenance doctor`: is this machine fit to run the server, and if not, what mends it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from countenance.cli.options import data_option, example, json_option, settings_for
from countenance.cli.output import Status, columns, emit, end


@click.command(short_help="Is this machine fit?", epilog=example("countenance doctor --data /srv/countenance"))
@data_option
@json_option
def doctor(data_dir: Path | None, as_json: bool) -> None:
    """Look for what would keep the server from working well here.

    Exit status 1 when something is broken; a warning is not.
    """
    from countenance.cli.checkup import checkup

    findings = checkup(settings_for(data_dir))
    rows = ([each.state, each.subject, each.detail] for each in findings)
    lines = [*columns(["STATE", "SUBJECT", "DETAIL"], rows)]
    lines += [f"{each.subject}: {each.remedy}" for each in findings if each.remedy]
    healthy = all(each.state != "broken" for each in findings)
    emit({"healthy": healthy, "findings": [asdict(each) for each in findings]}, lines, as_json=as_json)
    if not healthy:
        end(Status.NO)
