"""`countenance topology`: the processes that share the store, and who does what only one may do."""

from __future__ import annotations

from pathlib import Path

import click

from countenance.cli import admin_client
from countenance.cli.options import data_option, example, json_option, settings_for
from countenance.cli.output import emit, talk


@click.command(epilog=example("countenance topology"))
@data_option
@json_option
def topology(data_dir: Path | None, as_json: bool) -> None:
    """Print which processes answer calls over this store, what each has in memory, and what each looks after.

    Exit code 1 when no process that is here has some part of the collections (the setting search_shard): then searches
    fail. A process that was killed is shown for half a minute.
    """
    answer = admin_client.administer(settings_for(data_dir), "topology.show", {})
    lines = []
    for each in answer["nodes"]:
        duties = f", looks after {', '.join(each['duties'])}" if each["duties"] else ""
        asked = ", answered this" if each["node"] == answer["answered_by"] else ""
        loaded = f", {each['references_loaded']} references in memory" if "references_loaded" in each else ""
        part = f", part {each['part']}" if each.get("part", "1/1") != "1/1" else ""
        behind = f", {each['behind']} changes behind" if each.get("behind") else ""
        gone = "" if each.get("is_live", True) else ", gone"
        seen = f", seen {each['seen_s']} s ago" if "seen_s" in each else ""
        lines.append(
            f"{each['node']}  {each.get('role', 'not ready')}{part}{loaded}{behind}{seen}{gone}{duties}{asked}"
        )
    emit(answer, lines, as_json=as_json)
    if answer["covered"]:
        return
    missing = ", ".join(answer["missing"])
    talk(f"Nobody has part {missing}: searches fail." if missing else "Nobody answers searches.")
    talk("Hint: start a node with the setting search_shard of that part, or one without it, which has all parts")
    raise SystemExit(1)
