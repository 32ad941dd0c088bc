"""`countenance import-rekognition`: what is on an account at Amazon, re-created on this server.

Knows options, the report and how a run ends; how faces are moved is in `rekognition_import`.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from countenance.cli.options import example, json_option
from countenance.cli.output import Status, columns, emit, end, talk
from countenance.cli.remote import RemoteError, open_remote, remote_options
from countenance.errors import Error

if TYPE_CHECKING:
    from countenance.cli.amazon import Amazon
    from countenance.cli.rekognition_import import Import, Told
    from countenance.cli.source_images import Images

ATTEMPTS: Final = 10
"""Of one call here: whoever sets quotas for a try-out is waited for."""
JOURNAL: Final = "import-rekognition.journal"


@click.command(
    "import-rekognition",
    epilog=example("countenance import-rekognition --from-profile old --images photos/ --report moved.csv"),
)
@click.option("--images", "where", required=True, metavar="DIR|s3://BUCKET/PREFIX", help="Where the images are.")
@click.option(
    "--name",
    "templates",
    multiple=True,
    default=("{external_image_id}.jpg", "{external_image_id}"),
    show_default=True,
    help="An image's name below it; more of them are tried in turn.",
)
@click.option(
    "--map",
    "table",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A CSV table with the columns collection, face_id, external_image_id, image; it goes before names.",
)
@click.option("--from-profile", metavar="NAME", help="Profile of ~/.aws to read the account with.")
@click.option("--from-region", metavar="NAME", help="Region of the account; without it the profile's.")
@click.option("--from-endpoint-url", metavar="URL", help="Where the account is, when not at Amazon.")
@click.option("--s3-profile", metavar="NAME", help="Profile for the bucket; without it that of the account.")
@click.option("--s3-region", metavar="NAME", help="Region of the bucket; without it the account's.")
@click.option("--s3-endpoint-url", metavar="URL", help="Where the bucket is, when not at Amazon.")
@click.option("--collection", "only", multiple=True, metavar="ID", help="Only these; without it all of them.")
@click.option(
    "--min-overlap",
    type=click.FloatRange(0.05, 0.95),
    default=0.3,
    show_default=True,
    help="How much of two boxes has to overlap for one face.",
)
@click.option("--shrink", is_flag=True, help="Send smaller copies of images that have more than 5 MB.")
@click.option("--jobs", type=click.IntRange(1, 64), default=4, show_default=True, help="Images sent at the same time.")
@click.option(
    "--journal",
    "journal_file",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path(JOURNAL),
    show_default=True,
    help="Remembers what was done; with it a run goes on.",
)
@click.option("--report", type=click.Path(dir_okay=False, path_type=Path), help="Every face, as .csv or .json.")
@click.option("--dry-run", is_flag=True, help="Say what would be done. Nothing is sent here.")
@remote_options
@json_option
def import_rekognition(
    where: str,
    templates: tuple[str, ...],
    table: Path | None,
    from_profile: str | None,
    from_region: str | None,
    from_endpoint_url: str | None,
    s3_profile: str | None,
    s3_region: str | None,
    s3_endpoint_url: str | None,
    only: tuple[str, ...],
    min_overlap: float,
    shrink: bool,
    jobs: int,
    journal_file: Path,
    report: Path | None,
    dry_run: bool,
    data_dir: Path | None,
    endpoint_url: str | None,
    region: str | None,
    as_json: bool,
) -> None:
    """Re-create an Amazon account's collections, tags, faces and users here.

    Amazon hands out neither images nor vectors, so every face is enrolled anew from the image that you name, and found
    in it by its box. FaceIds are new: the report has the old and the new one of each. Names have {external_image_id},
    {external_path} (with slashes for colons), {face_id}, {image_id} or {collection} in them.

    A run that was stopped goes on with the same command. Faces whose image was missing are tried again.

    Exit status 0 when all is here, 1 when faces or users are not, 3 when the run did not end.
    """
    from countenance.cli.amazon import Amazon
    from countenance.cli.import_journal import Journal
    from countenance.cli.rekognition_import import Import
    from countenance.cli.source_images import naming

    if report is not None and report.suffix not in (".csv", ".json"):
        raise click.BadParameter("the report's name ends in .csv or .json", param_hint="--report")
    names = naming(templates, table)
    amazon = Amazon(profile=from_profile, region=from_region, endpoint_url=from_endpoint_url, connections=jobs)
    remote = open_remote(data_dir, endpoint_url, region, attempts=ATTEMPTS, connections=jobs)
    _refuse_itself(amazon, remote.access_key_id, remote.endpoint_url)
    images = _images(where, amazon, s3_profile, s3_region, s3_endpoint_url, shrink=shrink, connections=jobs)
    wanted = list(amazon.collections())
    if unknown := sorted(set(only) - set(wanted)):
        raise Error(f"The account has no collection {', '.join(unknown)}.")
    wanted = [each for each in wanted if not only or each in only]
    source = {"endpoint": amazon.endpoint_url, "region": amazon.region, "account": _account_of(amazon, wanted)}
    journal = None if dry_run else Journal(journal_file, source)
    moving = Import(amazon, remote, images, names, journal, jobs=jobs, least_overlap=min_overlap)
    stopped_by, interrupted = None, False
    try:
        for collection in wanted:
            with _progress(collection) as moving.advance:
                moving.run(collection)
    except (RemoteError, Error) as error:
        stopped_by = error.message + (f" ({error.hint})" if error.hint else "")
    except KeyboardInterrupt:
        stopped_by, interrupted = "stopped by Ctrl-C", True
    finally:
        if journal is not None:
            journal.close()
    if report is not None:
        _write(report, moving)
    answer = _answer(moving, source, stopped_by, dry_run=dry_run)
    emit(answer, _lines(moving), as_json=as_json)
    _end(moving, stopped_by, interrupted=interrupted, dry_run=dry_run, as_json=as_json)


def _end(moving: Import, stopped_by: str | None, *, interrupted: bool, dry_run: bool, as_json: bool) -> None:
    if stopped_by is not None:
        talk(f"Not everything was tried: {stopped_by}")
        end(Status.STOPPED if interrupted else Status.UNDECIDED)
    done = "to-move" if dry_run else "moved"
    is_whole = all(row.state == done for row in moving.rows) and not any(each.users_incomplete for each in moving.told)
    if not is_whole:
        if not as_json:
            talk("Not every face or user is here. The report says why; the same command tries those again.")
        end(Status.NO)


def _refuse_itself(amazon: Amazon, access_key_id: str, endpoint_url: str) -> None:
    """Neither side's keys may stand in for the other's."""
    if amazon.access_key_id == access_key_id:
        raise Error(
            "The access key for Amazon is the one of this server.",
            hint="the environment has this server's key: name a profile of ~/.aws with --from-profile",
        )
    if amazon.endpoint_url.rstrip("/") == endpoint_url.rstrip("/"):
        raise Error("Both sides are the same server.", hint="--from-endpoint-url and --endpoint-url say which is which")


def _images(
    where: str,
    amazon: Amazon,
    profile: str | None,
    region: str | None,
    endpoint_url: str | None,
    *,
    shrink: bool,
    connections: int,
) -> Images:
    from countenance.cli.amazon import Amazon
    from countenance.cli.source_images import Bucket, Folder, bucket_of

    found = bucket_of(where)
    if found is None:
        folder = Path(where)
        if not folder.is_dir():
            raise click.BadParameter(f"{where} is neither a folder nor s3://BUCKET/PREFIX", param_hint="--images")
        return Folder(folder, shrink)
    owner = amazon
    if profile is not None:
        owner = Amazon(profile=profile, region=region or amazon.region, endpoint_url=None, connections=connections)
    return Bucket(owner.client("s3", endpoint_url, region=region), *found, shrink)


def _account_of(amazon: Amazon, collections: list[str]) -> str:
    """The account's number, from the name of one of its collections; "" when it has none."""
    if not collections:
        return ""
    arn = str(amazon.described(collections[0])["CollectionARN"])
    return arn.split(":")[4] if arn.count(":") >= 5 else ""


def _answer(moving: Import, source: dict[str, str], stopped_by: str | None, *, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "from": source,
        "collections": [_told(each) for each in moving.told],
        "stopped_by": stopped_by,
    }


def _told(each: Told) -> dict[str, Any]:
    return {**asdict(each), "states": dict(sorted(each.states.items()))}


def _lines(moving: Import) -> Iterator[str]:
    head = ["COLLECTION", "FACES", "USERS", "FACES HERE", "USERS HERE", "WHAT BECAME OF FACES"]
    rows = [
        [
            each.collection,
            each.faces,
            each.users,
            each.faces_here,
            each.users_here,
            ", ".join(f"{count} {state}" for state, count in sorted(each.states.items())),
        ]
        for each in moving.told
    ]
    yield from columns(head, rows)


def _write(path: Path, moving: Import) -> None:
    rows = [asdict(each) for each in moving.rows]
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".json":
            told = {"collections": [_told(each) for each in moving.told], "faces": rows}
            json.dump(told, file, indent=1, ensure_ascii=False)
            file.write("\n")
            return
        from countenance.cli.rekognition_import import Row

        writer = csv.DictWriter(file, [each.name for each in fields(Row)])
        writer.writeheader()
        writer.writerows(rows)


@contextmanager
def _progress(collection: str) -> Iterator[Callable[[int], None]]:
    """Faces settled, when stderr is a terminal; otherwise silence."""
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda count: None
        return
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn(), console=console) as bar:
        task = bar.add_task(collection, total=None)
        yield lambda count: bar.advance(task, count)
