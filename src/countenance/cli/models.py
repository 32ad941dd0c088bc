"""`countenance models`: which model packs there are, under which licences, whether they are whole, which is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from countenance.cli.calibrate import calibrate_pack
from countenance.cli.model_files import bring, pull
from countenance.cli.model_licences import licence_option, must_accept
from countenance.cli.options import data_option, example, json_option, settings_for
from countenance.cli.output import Status, columns, emit, end, talk


@click.group(short_help="The model packs.", epilog=example("countenance models list"))
def models() -> None:
    """Model packs: weights with their licences and digests. None is ever downloaded but by `pull`."""


@models.command("list", epilog=example("countenance models list --json"))
@data_option
@json_option
def list_(data_dir: Path | None, as_json: bool) -> None:
    """Print every model pack that this installation knows."""
    from countenance.recognition import calibrations, modelpack

    settings = settings_for(data_dir)
    folder = settings.data_dir / "models"
    in_use = modelpack.chosen(settings.model_pack, folder)
    packs: list[dict[str, Any]] = []
    for pack in modelpack.available(folder):
        states = {report.state for report in modelpack.verify(pack, folder)}
        calibration = calibrations.in_force(pack, folder, flip=settings.flip)
        packs.append(
            {
                "name": pack.name,
                "version": pack.version,
                "title": pack.title,
                "licences": sorted({file.licence for file in pack.files}),
                "commercial_use": pack.commercial_use,
                "state": "ready" if states == {"ready"} else sorted(states - {"ready"})[0],
                "calibrated": calibration is not None,
                "calibration": None if calibration is None else calibration.origin,
                "in_use": pack.name == in_use,
            }
        )
    rows = (
        [
            pack["name"],
            pack["version"],
            pack["state"] + (", in use" if pack["in_use"] else ""),
            pack["calibration"] or "no",
            "yes" if pack["commercial_use"] else "no",
            ", ".join(pack["licences"]),
            pack["title"],
        ]
        for pack in packs
    )
    head = ["PACK", "VERSION", "STATE", "CALIBRATION", "COMMERCIAL USE", "LICENCES", "TITLE"]
    emit({"packs": packs}, columns(head, rows), as_json=as_json)


@models.command(epilog=example("countenance models verify && countenance serve"))
@click.argument("name", metavar="[PACK]", required=False)
@data_option
@json_option
def verify(name: str | None, data_dir: Path | None, as_json: bool) -> None:
    """Check every file of a model pack against the SHA-256 in its manifest; without PACK, of the one in use.

    Exit status 1 when a file is missing or another one than the manifest names.
    """
    from countenance.recognition import modelpack

    settings = settings_for(data_dir)
    folder = settings.data_dir / "models"
    pack = modelpack.load(name or modelpack.chosen(settings.model_pack, folder), folder)
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


@models.command(epilog=example("countenance models use buffalo_l --accept-licence"))
@click.argument("name", metavar="PACK")
@licence_option
@data_option
@json_option
def use(name: str, accepts: bool, data_dir: Path | None, as_json: bool) -> None:
    """Have the next start of the server take this model pack.

    Its weights have to be there and calibrated, and the pack is loaded once to see that it runs. Collections stay with
    the pack that made them: `countenance collection migrate` carries one over, if crops were kept.
    """
    from countenance.recognition import Gpu, build_engine, modelpack

    settings = settings_for(data_dir)
    folder = settings.data_dir / "models"
    pack = modelpack.load(name, folder)
    must_accept(pack, accepts=accepts)
    if not pack.commercial_use:
        modelpack.accept(pack, folder)
    gpu = Gpu(settings.cuda_device, settings.cuda_memory_bytes)
    engine = build_engine(cache_dir=folder, runtime=settings.runtime, threads=1, workers=1, pack=name, gpu=gpu)
    model_version, runtime = engine.model_version, engine.runtime
    engine.close()
    modelpack.use(name, folder)
    said = {"pack": pack.name, "version": pack.version, "model_version": model_version, "runtime": runtime}
    emit(said, [f"{pack.name} {pack.version} is taken by the next start of the server"], as_json=as_json)
    if settings.model_pack not in (None, name):
        talk(f"The setting model_pack says {settings.model_pack}, and goes before this.")


models.add_command(pull)
models.add_command(bring)
models.add_command(calibrate_pack)
