"""`countenance topology`: which nodes share the database, and what each of them holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from countenance.cli.operators import ask
from countenance.cli.options import data_option, example, json_option
from countenance.cli.output import columns, emit, talk

HEAD = ["NODE", "VERSION", "PART", "INDEXES", "ROWS", "MEMORY", "BEHIND", "HERE SINCE", "SEEN", "DUTIES", "ADDRESS"]


@click.command(short_help="Which nodes hold what?", epilog=example("countenance topology --json"))
@data_option
@json_option
def topology(data_dir: Path | None, as_json: bool) -> None:
    """Print the nodes that share the database. Exit code 1 when no live node holds some part of the collections.

    A node tells of itself every moment: the part that it has, how many indexes of how many rows are in memory, how many
    stored changes are not in them yet. One that was killed is shown as gone for half a minute.
    """
    answer = ask(data_dir, "topology.show")
    emit(answer, columns(HEAD, map(_row, answer["nodes"])), as_json=as_json)
    if answer["covered"]:
        return
    missing = ", ".join(answer["missing"])
    talk(f"No live node has part {missing}: searches fail." if missing else "No live node answers searches.")
    talk("Hint: start a node with the setting search_shard of that part, or one without it, which has all parts")
    raise SystemExit(1)


def _row(node: dict[str, Any]) -> list[Any]:
    memory = node["memory_bytes"]
    return [
        node["node"],
        node["version"],
        node["part"],
        node["collections"],
        node["rows"],
        None if memory is None else f"{memory / 1e6:.1f} MB",
        node["behind"],
        node["since"][:19],
        node["seen"][11:19] if node["live"] else f"gone since {node['seen'][11:19]}",
        " ".join(node["duties"]) or None,
        node["url"],
    ]
