"""`countenance search`: who of a collection is in an image, by SearchFacesByImage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from countenance.cli.detect import IMAGE
from countenance.cli.options import PERCENTAGE, example, json_option
from countenance.cli.output import Status, columns, emit, end
from countenance.cli.remote import open_remote, remote_options


@click.command(
    short_help="Who of a collection is it?",
    epilog=example("countenance search door.jpg --collection staff --all-faces --draw who.png"),
)
@click.argument("image", type=IMAGE)
@click.option("--collection", "collection_id", required=True, metavar="ID", help="The collection to search.")
@click.option(
    "--threshold",
    type=PERCENTAGE,
    default=80.0,
    show_default=True,
    help="Least similarity of a match.",
)
@click.option(
    "--max-faces", type=click.IntRange(1, 4096), default=5, show_default=True, help="Matches per face at most."
)
@click.option("--all-faces", is_flag=True, help="Search every face of the image, not only the largest.")
@click.option("--draw", "drawing", type=click.Path(path_type=Path), metavar="OUT.png", help="Draw the faces.")
@click.option("--shrink", is_flag=True, help="Send a smaller copy when the image has more than 5 MB.")
@remote_options
@json_option
def search(
    image: Path,
    collection_id: str,
    threshold: float,
    max_faces: int,
    all_faces: bool,
    drawing: Path | None,
    shrink: bool,
    data_dir: Path | None,
    endpoint_url: str | None,
    region: str | None,
    as_json: bool,
) -> None:
    """Search a collection for the largest face of an image.

    Exit status 0 when there is a match, 1 when there is none, 3 when the image shows no face.
    """
    from countenance.cli import drawing as pen
    from countenance.cli.local_image import read_image, upright

    sent = read_image(image, shrink=shrink)
    remote = open_remote(data_dir, endpoint_url, region)
    params = {
        "CollectionId": collection_id,
        "Image": {"Bytes": sent},
        "FaceMatchThreshold": threshold,
        "MaxFaces": max_faces,
    }
    if all_faces:
        answer = remote.search_all_faces(**params)
        searched = answer["CountenanceSearchedFaces"]
    else:
        answer = remote.call("search_faces_by_image", **params)
        searched = [answer]
    if drawing is not None:
        marks = [
            pen.Mark(each["SearchedFaceBoundingBox"], _caption(each), pen.GREEN if each["FaceMatches"] else pen.RED)
            for each in searched
        ]
        pen.save(pen.draw(upright(sent), marks), drawing, sources=[image])
    head = ["FACE", "SIMILARITY", "EXTERNAL ID", "FACE ID"]
    emit(answer, columns(head, _rows(searched)), as_json=as_json)
    if not any(each["FaceMatches"] for each in searched):
        end(Status.NO)


def _rows(searched: list[dict[str, Any]]) -> Iterator[list[object]]:
    for n, each in enumerate(searched, 1):
        for match in each["FaceMatches"]:
            face = match["Face"]
            yield [n, f"{match['Similarity']:.2f}", face.get("ExternalImageId"), face["FaceId"]]
        if not each["FaceMatches"]:
            yield [n, None, None, None]


def _caption(searched: dict[str, Any]) -> str:
    if not searched["FaceMatches"]:
        return "no match"
    best = searched["FaceMatches"][0]
    return f"{best['Face'].get('ExternalImageId') or best['Face']['FaceId'][:8]} {best['Similarity']:.1f}"
