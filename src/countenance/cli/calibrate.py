"""`countenance calibrate` and `models calibrate`: what scores mean as a Similarity, from photographs of one's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from countenance.cli.evaluation_summary import interval, percent
from countenance.cli.options import data_option, example, json_option, settings_for
from countenance.cli.output import Status, columns, emit, end, talk

if TYPE_CHECKING:
    from countenance.config import Settings
    from countenance.evaluation.dataset import Dataset
    from countenance.evaluation.refitting import Acquired, Checked
    from countenance.recognition.manifest import ModelPack

WORKING: Final = "calibrating"
"""Folder in the data folder where features lie while they are extracted."""


@click.command(
    short_help="Fit what a Similarity means to images of your own.",
    epilog=example(
        "countenance calibrate photographs/ --dry-run",
        "countenance calibrate labels.csv --images photographs/ --face middle",
        "countenance calibrate --remove",
    ),
)
@click.argument("source", metavar="[SOURCE]", required=False, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--images",
    metavar="ROOT",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="What paths in a CSV are relative to (default: the CSV's own folder).",
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
@click.option("--dry-run", is_flag=True, help="Say what would come of it, and keep nothing.")
@click.option("--accept-broken", is_flag=True, help="Keep it although a promise was seen broken.")
@click.option("--remove", is_flag=True, help="Go back to the calibration that came with the pack.")
@data_option
@json_option
def calibrate(
    source: Path | None,
    images: Path | None,
    pack: str | None,
    face: str,
    jobs: int,
    dry_run: bool,
    accept_broken: bool,
    remove: bool,
    data_dir: Path | None,
    as_json: bool,
) -> None:
    """Measure what scores mean on labelled images like yours, and have this data folder tell Similarity by that.

    SOURCE is a folder with a folder for each person, or a CSV that begins with `image,identity`: of at least 1,600
    people with one image each, or fewer with more, and of none of those who will be searched.

    It is fitted on half of the people and checked on the others: exit status 1, and nothing is kept, when a false match
    rate that a Similarity of 80 or more stands for lies below the 95 % interval of what was seen. Then it is fitted on
    everybody, and goes before the calibration that came with the pack from the next start of the server on: it changes
    what every threshold means. A run that was stopped goes on where it was.
    """
    from countenance.recognition import modelpack

    if remove == (source is not None):
        raise click.UsageError("Name a SOURCE, or --remove without one.")
    settings = settings_for(data_dir)
    models = settings.data_dir / "models"
    used = modelpack.load(pack or modelpack.chosen(settings.model_pack, models), models)
    if source is None:
        _back(used, models, settings.flip, as_json=as_json)
    else:
        wanted = _Wanted(used, source, images, face, jobs, settings.flip)
        _calibrate(settings, wanted, dry_run=dry_run, accept_broken=accept_broken, as_json=as_json)


class _Wanted:
    """What is fitted, on what."""

    def __init__(
        self, pack: ModelPack, source: Path, images: Path | None, face: str, jobs: int, flip: bool | None
    ) -> None:
        self.pack, self.source, self.images, self.face, self.jobs = pack, source, images, face, jobs
        self.flip = flip


def _calibrate(settings: Settings, wanted: _Wanted, *, dry_run: bool, accept_broken: bool, as_json: bool) -> None:
    from countenance.evaluation.expectation import expected
    from countenance.evaluation.refitting import check_on_others, enough, fit_all, labelled
    from countenance.recognition import calibrations

    models = settings.data_dir / "models"
    dataset = labelled(wanted.source, wanted.images)
    enough(dataset.subject_of)  # before minutes are spent on extracting
    with _acquired(settings, wanted, dataset) as acquired:
        checked = check_on_others(acquired)
        said: dict[str, Any] = {"accepted_broken": True} if checked.broken else {}
        fitted = _fit(fit_all, acquired, wanted, "countenance calibrate", checked=checked.to_json(), **said)
    before = calibrations.in_force(wanted.pack, models, flip=settings.flip)
    is_kept = not dry_run and (accept_broken or not checked.broken)
    path = calibrations.keep(wanted.pack, models, fitted, flip=settings.flip) if is_kept else None
    after = calibrations.in_force(wanted.pack, models, flip=settings.flip)
    expectations = expected()
    answer = {
        "pack": wanted.pack.name,
        "path": None if path is None else str(path),
        "sha256": None if path is None or after is None else after.sha256,
        "kept": is_kept,
        "broken": [each.similarity for each in checked.broken],
        "without_a_face": acquired.without_a_face,
        "resumed": acquired.resumed,
        "before": None if before is None else {"calibration": before.origin, "sha256": before.sha256},
        "expected": [each.to_json() for each in expectations],
        **{name: value for name, value in fitted.items() if name != "accepted_broken"},
    }
    emit(answer, _told(fitted, checked, acquired), as_json=as_json)
    if not as_json:
        _say(checked, path, dry_run=dry_run)
    if checked.broken and not accept_broken:
        end(Status.NO)


def _told(fitted: dict[str, Any], checked: Checked, acquired: Acquired) -> Iterator[str]:
    from countenance.evaluation.expectation import GALLERIES, expected

    yield (
        f"{fitted['images']:,} images of {fitted['people']:,} people, {fitted['face']} face, "
        f"model {fitted['model_version']}; {acquired.without_a_face:,} images without a face"
    )
    yield ""
    yield f"fitted on {checked.people_fitted_on:,} people, checked on {checked.people_checked_on:,} others:"
    yield from columns(
        ["SIMILARITY", "SCORE", "PROMISED FMR", "SEEN", "95 %", "FALSE MATCHES", "FNMR", "95 %", ""],
        (
            [
                f"{each.similarity:g}",
                f"{each.comparison_score:.4f}",
                percent(each.promised),
                percent(each.fmr.value),
                interval(each.fmr),
                f"{each.fmr.errors:,} of {each.fmr.of:,}",
                percent(each.fnmr.value),
                interval(each.fnmr),
                "BROKEN" if each.is_broken else "",
            ]
            for each in checked.promises
        ),
    )
    yield ""
    yield f"fitted on all {fitted['people']:,} people, {fitted['impostor_comparisons']:,} pairs of different people:"
    yield from points_told(fitted)
    yield ""
    yield "a search for somebody who is not enrolled: false candidates expected (share of searches with any, at most):"
    rows = expected()
    by = {each.similarity: [one for one in rows if one.similarity == each.similarity] for each in rows}
    yield from columns(
        ["SIMILARITY", "FMR", *(f"{each:,} REFERENCES" for each in GALLERIES)],
        (
            [
                f"{similarity:g}",
                percent(told[0].fmr),
                *(f"{each.false_candidates:g} ({percent(each.most_fpir)})" for each in told),
            ]
            for similarity, told in by.items()
        ),
    )


def _say(checked: Checked, path: Path | None, *, dry_run: bool) -> None:
    if checked.broken:
        worst = ", ".join(f"{each.similarity:g}" for each in checked.broken)
        talk(f"More false matches than Similarity {worst} stands for were seen among people it was not fitted on.")
    if path is not None:
        talk(
            f"Kept in {path}; the next start of the server tells Similarity by it. Every threshold means another score."
        )
    elif dry_run:
        talk("Nothing was kept (--dry-run).")
    else:
        talk(
            "Nothing was kept. See with `countenance evaluate` which images are taken for each other: one person under "
            "two names counts as a false match, and so do relatives."
        )
        talk("Hint: mend the labels or bring more people; --accept-broken keeps it as it is, and that is on its file")


def _back(pack: ModelPack, models: Path, flip: bool | None, *, as_json: bool) -> None:
    from countenance.recognition import calibrations

    was_there = calibrations.remove(pack, models, flip=flip)
    found = calibrations.in_force(pack, models, flip=flip)
    now = "no calibration: no server starts with it" if found is None else str(found)
    emit(
        {
            "pack": pack.name,
            "removed": was_there,
            "calibration": None if found is None else found.origin,
            "sha256": None if found is None else found.sha256,
        },
        [f"{pack.name}: {now}"],
        as_json=as_json,
    )
    if not was_there:
        if not as_json:
            talk("None was fitted in this data folder.")
        end(Status.NO)


@click.command("calibrate", epilog=example("countenance models calibrate buffalo_l --images lfw"))
@click.argument("name", metavar="PACK")
@click.option(
    "--images",
    metavar="FOLDER",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder for each person, with photographs of them.",
)
@click.option("--jobs", type=click.IntRange(1, 64), default=2, show_default=True, help="Photographs worked on at once.")
@data_option
@json_option
def calibrate_pack(name: str, images: Path, jobs: int, data_dir: Path | None, as_json: bool) -> None:
    """Measure what a pack's scores mean, on labelled photographs, and keep that for this data folder.

    A Similarity of 80 is the score that one in 10,000 pairs of different people reaches, 99 that of one in 100,000: the
    photographs have to be of at least 800 people, and of none of those who will be searched. Where there are several
    faces, the one in the middle counts.
    """
    from countenance.evaluation.dataset import load
    from countenance.evaluation.refitting import fit_all
    from countenance.recognition import ModelPackError, calibrations, modelpack

    settings = settings_for(data_dir)
    folder = settings.data_dir / "models"
    pack = modelpack.load(name, folder)
    if pack.calibration:
        raise ModelPackError(
            f"{name} brings a calibration of its own.", hint="`countenance calibrate` fits one that goes before it"
        )
    wanted = _Wanted(pack, images, None, "middle", jobs, settings.flip)
    with _acquired(settings, wanted, load(images)) as acquired:
        found = _fit(fit_all, acquired, wanted, "countenance models calibrate")
    path = calibrations.keep(pack, folder, found, flip=settings.flip)
    said = {"pack": name, "path": str(path), "without_a_face": acquired.without_a_face, **found}
    emit(said, points_told(found), as_json=as_json)
    if not as_json:
        talk(f"{found['images']} photographs, {found['impostor_comparisons']:,} pairs of different people; in {path}")


def points_told(fitted: dict[str, Any]) -> Iterator[str]:
    """The points of a calibration, for a terminal."""
    rows = (
        [f"{each['similarity']:g}", f"{each['comparison_score']:.4f}", f"{each['fmr']:g}"] for each in fitted["points"]
    )
    yield from columns(["SIMILARITY", "SCORE", "FALSE MATCH RATE"], rows)


def _fit(
    fit_all: Callable[..., dict[str, Any]], acquired: Acquired, wanted: _Wanted, by: str, **said: Any
) -> dict[str, Any]:
    from countenance.recognition import modelpack

    source = wanted.source.resolve()
    return fit_all(
        acquired,
        fitted_on=source.name if source.is_dir() else f"{source.parent.name}/{source.name}",
        fitted_by=by,
        face=wanted.face,
        model_version=wanted.pack.version_with(wanted.flip),
        weights=modelpack.weights_named(wanted.pack),
        **said,
    )


@contextmanager
def _acquired(settings: Settings, wanted: _Wanted, dataset: Dataset) -> Iterator[Acquired]:
    """Features of all images. What was extracted is removed when it was used, whatever came of it, and stays when
    extracting was stopped: the next run goes on with it."""
    from countenance.evaluation.featurestore import FOLDER, Occupied, StoreError, forget
    from countenance.evaluation.refitting import acquire
    from countenance.recognition import Gpu, build_engine

    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    working = settings.data_dir / WORKING
    engine = build_engine(
        cache_dir=settings.data_dir / "models",
        runtime=settings.runtime,
        flip=wanted.flip,
        pack=wanted.pack.name,
        is_calibrating=True,
        switched_on=(),
        gpu=Gpu(settings.cuda_device, settings.cuda_memory_bytes),
    )
    try:
        with _count_bar(len(dataset.images)) as advance:
            acquired = acquire(engine, dataset, working / FOLDER, face=wanted.face, jobs=wanted.jobs, progress=advance)
    except Occupied as error:
        raise StoreError(error.message, hint="wait until it is done") from None
    finally:
        engine.close()
    try:
        yield acquired
    finally:
        forget(working / FOLDER)
        with suppress(OSError):  # another run has begun there
            working.rmdir()


@contextmanager
def _count_bar(total: int) -> Iterator[Callable[[int], None]]:
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done: None
        return
    shown = (TextColumn("extracting"), BarColumn(), MofNCompleteColumn())
    with Progress(*shown, console=console, transient=True) as bar:
        task = bar.add_task("extracting", total=total)
        yield lambda done: bar.update(task, completed=done)
