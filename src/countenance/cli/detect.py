"""`countenance detect`: the faces of one image, by DetectFaces."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from countenance.cli.options import example, json_option
from countenance.cli.output import Status, columns, emit, end
from countenance.cli.remote import open_remote, remote_options

IMAGE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(epilog=example("countenance detect group.jpg --draw faces.png"))
@click.argument("image", type=IMAGE)
@click.option("--draw", "drawing", type=click.Path(path_type=Path), metavar="OUT.png", help="Draw the faces.")
@click.option(
    "--attribute",
    "attributes",
    multiple=True,
    metavar="NAME",
    help="Estimate more: ALL, AGE_RANGE, EMOTIONS, ...; may be given several times.",
)
@click.option("--shrink", is_flag=True, help="Send a smaller copy when the image has more than 5 MB.")
@remote_options
@json_option
def detect(
    image: Path,
    drawing: Path | None,
    attributes: tuple[str, ...],
    shrink: bool,
    data_dir: Path | None,
    endpoint_url: str | None,
    region: str | None,
    as_json: bool,
) -> None:
    """Find the faces of an image, the largest first.

    Exit status 0 when there is a face, 1 when there is none.
    """
    from countenance.cli import drawing as pen
    from countenance.cli.local_image import read_image, upright

    sent = read_image(image, shrink=shrink)
    answer = open_remote(data_dir, endpoint_url, region).call(
        "detect_faces", Image={"Bytes": sent}, Attributes=["DEFAULT", *(name.upper() for name in attributes)]
    )
    faces: list[dict[str, Any]] = answer["FaceDetails"]
    if drawing is not None:
        marks = [
            pen.Mark(face["BoundingBox"], f"{n}: {face['Confidence']:.1f}", landmarks=face.get("Landmarks", ()))
            for n, face in enumerate(faces, 1)
        ]
        pen.save(pen.draw(upright(sent), marks), drawing, sources=[image])
    rows = (
        [n, f"{face['Confidence']:.1f}", *box_cells(face["BoundingBox"]), *_quality(face)]
        for n, face in enumerate(faces, 1)
    )
    head = ["FACE", "CONFIDENCE", *BOX_HEAD, "YAW", "PITCH", "ROLL", "BRIGHTNESS", "SHARPNESS"]
    told = [f"face {n}: {estimated(face)}" for n, face in enumerate(faces, 1) if estimated(face)]
    emit(answer, [*columns(head, rows), *told], as_json=as_json)
    if not faces:
        end(Status.NO)


JUDGED = (
    ("Smile", "smiles", "no smile"),
    ("EyesOpen", "eyes open", "eyes closed"),
    ("MouthOpen", "mouth open", "mouth closed"),
)
"""Member, and what its value is called."""

BOX_HEAD = ["LEFT", "TOP", "WIDTH", "HEIGHT"]


def box_cells(box: dict[str, float]) -> list[str]:
    """A bounding box for a table: four ratios of the image."""
    return [f"{box[name]:.4f}" for name in ("Left", "Top", "Width", "Height")]


def estimated(face: dict[str, Any]) -> str:
    """What was estimated of a face beyond DEFAULT, on one line."""
    told = []
    if (years := face.get("AgeRange")) is not None:
        told.append(f"{years['Low']} to {years['High']} years")
    if (gender := face.get("Gender")) is not None:
        told.append(f"{gender['Value'].lower()} {gender['Confidence']:.0f} %")
    if face.get("Emotions"):
        first = face["Emotions"][0]
        told.append(f"{first['Type'].lower()} {first['Confidence']:.0f} %")
    for member, yes, no in JUDGED:
        if (judged := face.get(member)) is not None:
            told.append(f"{yes if judged['Value'] else no} {judged['Confidence']:.0f} %")
    if (eyes := face.get("EyeDirection")) is not None:
        told.append(f"looks {eyes['Yaw']:+.0f} {eyes['Pitch']:+.0f} degrees {eyes['Confidence']:.0f} %")
    return ", ".join(told)


def _quality(face: dict[str, Any]) -> list[str]:
    pose, quality = face.get("Pose", {}), face.get("Quality", {})
    wanted = [pose.get("Yaw"), pose.get("Pitch"), pose.get("Roll")]
    wanted += [quality.get("Brightness"), quality.get("Sharpness")]
    return ["-" if value is None else f"{value:.0f}" for value in wanted]
