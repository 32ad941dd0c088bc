"""`countenance compare`: is the person of one image in another, by CompareFaces."""

from __future__ import annotations

from pathlib import Path

import click

from countenance.cli.detect import BOX_HEAD, IMAGE, box_cells
from countenance.cli.options import PERCENTAGE, example, json_option
from countenance.cli.output import Status, columns, emit, end
from countenance.cli.remote import open_remote, remote_options


@click.command(
    short_help="Is A's face in B?", epilog=example("countenance compare passport.jpg selfie.jpg && echo same person")
)
@click.argument("source", metavar="A", type=IMAGE)
@click.argument("target", metavar="B", type=IMAGE)
@click.option(
    "--threshold",
    type=PERCENTAGE,
    default=80.0,
    show_default=True,
    help="Least similarity of a match.",
)
@click.option("--draw", "drawing", type=click.Path(path_type=Path), metavar="OUT.png", help="Draw both, side by side.")
@click.option("--shrink", is_flag=True, help="Send smaller copies when an image has more than 5 MB.")
@remote_options
@json_option
def compare(
    source: Path,
    target: Path,
    threshold: float,
    drawing: Path | None,
    shrink: bool,
    data_dir: Path | None,
    endpoint_url: str | None,
    region: str | None,
    as_json: bool,
) -> None:
    """Compare the largest face of image A with every face of image B.

    Exit status 0 when one matches, 1 when none does, 3 when an image shows no face.
    """
    from countenance.cli import drawing as pen
    from countenance.cli.local_image import read_image, upright

    sent = [read_image(each, shrink=shrink) for each in (source, target)]
    answer = open_remote(data_dir, endpoint_url, region).call(
        "compare_faces",
        SourceImage={"Bytes": sent[0]},
        TargetImage={"Bytes": sent[1]},
        SimilarityThreshold=threshold,
    )
    matches, others = answer["FaceMatches"], answer["UnmatchedFaces"]
    if drawing is not None:
        searched = [pen.Mark(answer["SourceImageFace"]["BoundingBox"], "A", colour=pen.BLUE)]
        found = [
            pen.Mark(
                match["Face"]["BoundingBox"],
                f"{match['Similarity']:.1f}",
                landmarks=match["Face"].get("Landmarks", ()),
            )
            for match in matches
        ]
        found += [pen.Mark(face["BoundingBox"], "no", pen.RED, face.get("Landmarks", ())) for face in others]
        both = pen.side_by_side(pen.draw(upright(sent[0]), searched), pen.draw(upright(sent[1]), found))
        pen.save(both, drawing, sources=[source, target])
    rows = [["yes", f"{match['Similarity']:.2f}", *box_cells(match["Face"]["BoundingBox"])] for match in matches]
    rows += [["no", f"below {threshold:g}", *box_cells(face["BoundingBox"])] for face in others]
    emit(answer, columns(["MATCH", "SIMILARITY", *BOX_HEAD], rows), as_json=as_json)
    if not matches:
        end(Status.NO)
