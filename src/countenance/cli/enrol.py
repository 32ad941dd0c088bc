"""`countenance enrol`: the images of a folder into a collection, by IndexFaces."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from countenance.cli.options import example, json_option
from countenance.cli.output import Status, columns, emit, end, talk
from countenance.cli.remote import Remote, RemoteError, open_remote, remote_options
from countenance.errors import Error

if TYPE_CHECKING:
    from countenance.cli.enrolment import Report

ATTEMPTS = 8
"""Of one call, with botocore's growing pauses: a busy server is a reason to wait here, not to give up."""


@click.command(epilog=example("countenance enrol portraits/ --collection staff --create"))
@click.argument("folder", metavar="DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--collection", "collection_id", required=True, metavar="ID", help="The collection to enrol into.")
@click.option("--create", is_flag=True, help="Create the collection when it does not exist.")
@click.option("--prefix", default="", help="Put this in front of every ExternalImageId.")
@click.option("--max-faces", type=click.IntRange(1, 100), help="Faces per image at most, the largest first.")
@click.option(
    "--quality-filter",
    type=click.Choice(["NONE", "AUTO", "LOW", "MEDIUM", "HIGH"]),
    default="AUTO",
    show_default=True,
    help="How good a face must be.",
)
@click.option("--again", is_flag=True, help="Send files that are already there as well.")
@click.option("--jobs", type=click.IntRange(1, 64), default=4, show_default=True, help="Files sent at the same time.")
@click.option("--shrink", is_flag=True, help="Send smaller copies of images that have more than 5 MB.")
@remote_options
@json_option
def enrol(
    folder: Path,
    collection_id: str,
    create: bool,
    prefix: str,
    max_faces: int | None,
    quality_filter: str,
    again: bool,
    jobs: int,
    shrink: bool,
    data_dir: Path | None,
    endpoint_url: str | None,
    region: str | None,
    as_json: bool,
) -> None:
    """Enrol every image below a folder.

    Files and folders whose name begins with a dot are left out, and links to folders are not followed. Each file
    gets an ExternalImageId made of its path below DIR (ann/1.jpg becomes ann:1.jpg). Files whose id is in the
    collection already are skipped, so a run that was stopped goes on where it ended. Files that cannot be used are
    listed at the end with the reason.

    Exit status 0 when every file is in, 1 when some cannot be used, 3 when some were not answered.
    """
    from countenance.cli.enrolment import Enrolment, Report
    from countenance.cli.folder_images import files_of

    remote = open_remote(data_dir, endpoint_url, region, attempts=ATTEMPTS, connections=jobs)
    images = list(files_of(folder, prefix=prefix))
    if not images:
        raise Error(f"There are no files below {folder}.", hint="hidden files and links to folders do not count")
    if create:
        _create(remote, collection_id)
    enrolment = Enrolment(remote, collection_id, max_faces, quality_filter, shrink)
    known = set() if again else enrolment.known_ids()
    report = Report(already_there=[each.name for each in images if each.external_image_id in known])
    wanted = [each for each in images if each.external_image_id not in known]
    interrupted = False
    with _progress(len(wanted)) as advance:
        try:
            enrolment.run(wanted, jobs=jobs, report=report, advance=advance)
        except RemoteError as error:
            report.stopped_by = error.message
        except KeyboardInterrupt:
            report.stopped_by, interrupted = "stopped by Ctrl-C", True
    answer = {"collection_id": collection_id, "faces": report.faces, **asdict(report)}
    emit(answer, _lines(report), as_json=as_json)
    if not as_json:
        talk(
            f"{report.faces} faces of {len(report.enrolled)} files enrolled, {len(report.already_there)} files "
            f"already there, {len(report.unusable)} unusable, {len(report.failed)} unanswered."
        )
    if report.stopped_by is not None:
        talk(f"Not every file was tried: {report.stopped_by}")
    if interrupted:
        end(Status.STOPPED)
    if report.stopped_by is not None or report.failed:
        end(Status.UNDECIDED)
    if report.unusable:
        end(Status.NO)


def _create(remote: Remote, collection_id: str) -> None:
    try:
        remote.call("create_collection", CollectionId=collection_id)
    except RemoteError as error:
        if error.code != "ResourceAlreadyExistsException":
            raise


def _lines(report: Report) -> Iterator[str]:
    rows = [["unusable", each["file"], each["reason"]] for each in report.unusable]
    rows += [["unanswered", each["file"], each["reason"]] for each in report.failed]
    if rows:
        yield from columns(["STATE", "FILE", "REASON"], rows)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[], None]]:
    """A progress bar when stderr is a terminal; otherwise silence."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    parts = (TextColumn("enrolling"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*parts, console=Console(stderr=True)) as bar:
        task = bar.add_task("enrolling", total=total)
        yield lambda: bar.advance(task)
