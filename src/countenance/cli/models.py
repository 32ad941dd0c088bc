"""`countenance models`: which model packs there are, under which licences, and whether their files are right."""

from __future__ import annotations

from pathlib import Path

import click

from countenance.cli.options import data_option, example, json_option, settings_for
from countenance.cli.output import Status, columns, emit, end


@click.group(epilog=example("countenance models list"))
def models() -> None:
    """Look at the model packs: weights, licences, digests."""


@models.command("list", epilog=example("countenance models list --json"))
@data_option
@json_option
def list_(data_dir: Path | None, as_json: bool) -> None:
    """Print every model pack that this installation knows."""
    from countenance.recognition import modelpack

    folder = settings_for(data_dir).data_dir / "models"
    packs = []
    for pack in modelpack.available():
        states = {report.state for report in modelpack.verify(pack, folder)}
        packs.append(
            {
                "name": pack.name,
                "version": pack.version,
                "title": pack.title,
                "licences": sorted({file.licence for file in pack.files}),
                "commercial_use": pack.commercial_use,
                "state": "ready" if states == {"ready"} else sorted(states - {"ready"})[0],
            }
        )
    rows = (
        [
            pack["name"],
            pack["version"],
            pack["state"],
            ", ".join(map(str, pack["licences"])),  # type: ignore[call-overload]
            "yes" if pack["commercial_use"] else "no",
            pack["title"],
        ]
        for pack in packs
    )
    head = ["PACK", "VERSION", "STATE", "LICENCES", "COMMERCIAL USE", "TITLE"]
    emit({"packs": packs}, columns(head, rows), as_json=as_json)


@models.command(epilog=example("countenance models verify && countenance serve"))
@click.argument("name", metavar="[PACK]", required=False)
@data_option
@json_option
def verify(name: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Check every file of a model pack against the SHA-256 in its manifest.

    Exit status 1 when a file is missing or another one than the manifest names.
    """
    from countenance.recognition import modelpack

    folder = settings_for(data_dir).data_dir / "models"
    pack = modelpack.load(name or modelpack.DEFAULT_PACK)
    files = [
        {
            "file": report.file.name,
            "role": report.file.role,
            "sha256": report.file.sha256,
            "licence": report.file.licence,
            "source": report.file.source,
            "state": report.state,
            "path": None if report.path is None else str(report.path),
            "detail": report.detail,
        }
        for report in modelpack.verify(pack, folder)
    ]
    rows = ([each[name] for name in ("file", "state", "licence", "sha256", "detail")] for each in files)
    lines = columns(["FILE", "STATE", "LICENCE", "SHA-256", "DETAIL"], rows)
    emit({"pack": pack.name, "version": pack.version, "files": files}, lines, as_json=as_json)
    if any(each["state"] != "ready" for each in files):
        end(Status.NO)
