"""`countenance evaluate`: the error rates of a model on images of one's own, with intervals, in a report."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from countenance.cli.options import data_option, example, json_option, settings_for
from countenance.cli.output import emit, talk

REPORT: Final = "report.html"
DOCUMENT: Final = "report.json"


@click.command(
    short_help="Measure error rates on images of your own.",
    epilog=example(
        "countenance evaluate lfw/ --face middle",
        "countenance evaluate pairs.csv --images photos/ --out measured --json",
    ),
)
@click.argument("source", metavar="SOURCE", type=click.Path(exists=True, path_type=Path))
@click.option(
    "--images",
    metavar="ROOT",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="What paths in a CSV are relative to (default: the CSV's own folder).",
)
@click.option(
    "--out",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the report goes, and features while they are extracted (default: evaluation-NAME here).",
)
@click.option("--pack", metavar="NAME", help="Model pack (default: the one that a server would use).")
@click.option(
    "--face",
    type=click.Choice(["largest", "middle"]),
    default="largest",
    show_default=True,
    help="Which face of an image counts: the largest, as the API compares, or the one nearest to the middle.",
)
@click.option("--jobs", type=click.IntRange(1, 64), default=2, show_default=True, help="Images worked on at once.")
@click.option(
    "--rounds",
    type=click.IntRange(100, 10_000),
    default=500,
    show_default=True,
    help="Rounds of the bootstrap that gives the intervals.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="What is drawn at random.")
@click.option("--keep-features", is_flag=True, help="Leave the features, which are biometric data, in DIR/features.")
@data_option
@json_option
def evaluate(
    source: Path,
    images: Path | None,
    out: Path | None,
    pack: str | None,
    face: str,
    jobs: int,
    rounds: int,
    seed: int,
    keep_features: bool,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Measure how often the model is wrong on labelled images, and write a report about it.

    SOURCE is a folder with a folder for each person, or a CSV that begins with `a,b,same` (comparisons),
    `image,identity` (all pairs) or `image,identity,role` (role gallery or probe). Further columns are labels of
    groups, which are compared.

    A run that was stopped goes on where it was. It happens on this machine, involves no account, and leaves no entry.
    """
    from countenance.cli.evaluation_report import render
    from countenance.cli.evaluation_summary import summary
    from countenance.evaluation.dataset import DatasetError, load
    from countenance.evaluation.evaluating import evaluate as measured
    from countenance.evaluation.featurestore import FOLDER, forget
    from countenance.recognition import Gpu, build_engine, modelpack

    dataset = load(source, images)
    settings = settings_for(data_dir)
    models = settings.data_dir / "models"
    folder = out if out is not None else Path(f"evaluation-{source.resolve().stem or 'images'}")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine = build_engine(
        cache_dir=models,
        runtime=settings.runtime,
        flip=settings.flip,
        pack=pack or modelpack.chosen(settings.model_pack, models),
        switched_on=(),
        gpu=Gpu(settings.cuda_device, settings.cuda_memory_bytes),
    )
    try:
        with _bar(len(dataset.images)) as progress:
            found = measured(
                engine,
                dataset,
                folder / FOLDER,
                face=face,
                jobs=jobs,
                rounds=rounds,
                seed=seed,
                progress=progress,
            )
    except DatasetError:
        # There is nothing that another run could go on with.
        if not keep_features:
            forget(folder / FOLDER)
        raise
    finally:
        engine.close()
    document = found.to_json()
    write_private(folder / DOCUMENT, json.dumps(document, indent=1).encode())
    write_private(folder / REPORT, render(found).encode("utf-8"))
    if not keep_features:
        forget(folder / FOLDER)
    if not as_json and found.restarted:
        talk(f"What was in {folder / FOLDER} was not used: {found.restarted}.")
    emit({"out": str(folder), "features_kept": keep_features, **document}, summary(found), as_json=as_json)
    if not as_json:
        talk(f"The report is in {folder / REPORT}; it shows faces, and only you can read it.")


def write_private(path: Path, content: bytes) -> None:
    """A file that nobody else can read, whole or not at all."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
        file.write(content)
    fresh.replace(path)


@contextmanager
def _bar(images: int) -> Iterator[Callable[[str, float], None]]:
    """What is being done and for how long, when stderr is a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda doing, done: None
        return
    shown = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*shown, console=console, transient=True) as bar:
        tasks: dict[str, object] = {}
        current = bar.add_task("extracting", total=images)
        tasks["extracting"] = current

        def tell(doing: str, done: float) -> None:
            nonlocal current
            if doing not in tasks:
                bar.remove_task(current)
                current = bar.add_task(doing, total=1.0)
                tasks[doing] = current
            counted = f"extracting {done:,.0f}/{images:,}" if doing == "extracting" else doing
            bar.update(current, completed=done, description=counted)

        yield tell
