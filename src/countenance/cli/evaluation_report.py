"""An evaluation as one HTML file: no script, nothing fetched, the images in it.

Names of files and people come from elsewhere: the template escapes them, and the page's own policy lets nothing run.
"""

from __future__ import annotations

import base64
import hashlib
import io
import platform
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from countenance import __version__
from countenance.cli import charts
from countenance.cli.drawing import Mark, draw
from countenance.cli.evaluation_summary import counted, interval, one_in, percent
from countenance.cli.local_image import LocalImageError, upright
from countenance.cli.output import spelt_out
from countenance.evaluation.dataset import PAIRS, SEARCHES
from countenance.evaluation.evaluating import Evaluation, Pair
from countenance.evaluation.featurestore import MAX_BYTES, MAX_PIXELS

SHOWN: Final = 24
"""Failures of each kind that are shown with their images."""
THUMBNAIL_PX: Final = 160
QUALITY: Final = 80

FORMS: Final = {
    "folder": "a folder for each person: every image is compared with every other",
    "pairs": "listed comparisons",
    "labels": "labelled images: every image is compared with every other",
    "gallery and probes": "gallery and probes: every probe is compared with every reference",
}


def render(found: Evaluation) -> str:
    """The page."""
    environment = Environment(
        loader=PackageLoader("countenance.cli", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "one_in": one_in,
        "interval": interval,
        "counted": counted,
        "spelt": spelt_out,
    }
    style = environment.get_template("evaluation.css").render()
    pictures = _Pictures(found)
    return environment.get_template(
        "evaluation.html"
    ).render(
        found=found,
        dataset=found.dataset,
        form=FORMS[found.dataset.form],
        is_pairs=found.dataset.form == PAIRS,
        is_searches=found.dataset.form == SEARCHES,
        software=__version__,
        versions=_versions(found),
        when=f"{found.at:%Y-%m-%d %H:%M} UTC",
        name=found.dataset.source.resolve().name,
        style=Markup(style),  # noqa: S704 -- our own file, with nothing filled in
        style_digest=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        det=_det(found),
        det_points=_thinned(found.curve, 15),
        scores=_histogram(found),
        open_set=_open_set(found),
        genuine=[pictures.pair(each) for each in found.lowest_genuine[:SHOWN]],
        impostor=[pictures.pair(each) for each in found.highest_impostor[:SHOWN]],
        without=[(pictures.one(each.image), each.reason) for each in found.without_a_face[:SHOWN]],
        missed=pictures.missed(),
        columns=_columns(found),
        shown=SHOWN,
    )


class _Pictures:
    """Thumbnails as data: URIs, each made once."""

    def __init__(self, found: Evaluation) -> None:
        self._found = found
        self._made: dict[int, str | None] = {}

    def one(self, image: int) -> dict[str, Any]:
        if image not in self._made:
            self._made[image] = self._thumbnail(image)
        dataset, whose = self._found.dataset, ""
        if dataset.subject_of[image] >= 0:
            whose = dataset.subjects[dataset.subject_of[image]]
        return {"name": dataset.images[image], "source": self._made[image], "whose": whose}

    def pair(self, pair: Pair) -> dict[str, Any]:
        return {
            "first": self.one(pair.first),
            "second": self.one(pair.second),
            "similarity": self._found.similarity(pair.score),
            "score": pair.score,
        }

    def missed(self) -> list[dict[str, Any]]:
        if self._found.identification is None:
            return []
        similarity = self._found.similarity
        return [
            {
                "probe": self.one(each.probe),
                "reference": self.one(each.reference),
                "similarity": None if each.score is None else similarity(each.score),
                "first": None if each.first is None else self.one(each.first),
                "first_similarity": None if each.first_score is None else similarity(each.first_score),
            }
            for each in self._found.identification.missed[:SHOWN]
        ]

    def _thumbnail(self, image: int) -> str | None:
        """None for what cannot be shown."""
        try:
            with self._found.dataset.path(image).open("rb") as file:
                picture = upright(file.read(MAX_BYTES + 1), most_pixels=MAX_PIXELS)
        except (OSError, LocalImageError):
            return None
        picture.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
        box = self._found.faces[image]
        if box is not None:
            names = ("Left", "Top", "Width", "Height")
            picture = draw(picture, [Mark(dict(zip(names, box, strict=True)))])
        out = io.BytesIO()
        picture.save(out, "JPEG", quality=QUALITY)
        return f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"


def _versions(found: Evaluation) -> str:
    runtime = found.runtime.split()[0]
    try:
        runtime = f"{runtime} {version(runtime)}"
    except ModuleNotFoundError:  # the base of PackageNotFoundError
        runtime = found.runtime
    return f"Countenance {__version__}, {runtime}, Python {platform.python_version()}, {platform.machine()}"


def _thinned(points: Sequence[Any], most: int) -> list[Any]:
    if len(points) <= most:
        return list(points)
    return [points[round(at * (len(points) - 1) / (most - 1))] for at in range(most)]


def _det(found: Evaluation) -> Markup | None:
    points = [(each.fmr, each.fnmr) for each in found.curve if each.fnmr > 0]
    if len(points) < 2:
        return None
    marks = [
        charts.Marked(each.fmr.value, each.fnmr.value, f"Similarity {each.similarity:g}")
        for each in found.at_similarity
        if each.fmr.errors and each.fnmr.errors
    ]
    said = "; ".join(
        f"at Similarity {each.similarity:g} FMR {percent(each.fmr.value)} and FNMR {percent(each.fnmr.value)}"
        for each in found.at_similarity
    )
    return charts.rates(
        [("", points)],
        marks,
        names=("false match rate (FMR)", "false non-match rate (FNMR)"),
        title="DET curve",
        described=said,
    )


def _histogram(found: Evaluation) -> Markup:
    lines = [
        (each.threshold, f"{each.similarity:g}")
        for each in found.at_similarity
        if each.similarity in (80, 90, 99, 99.9)
    ]
    return charts.histogram(
        found.genuine_histogram,
        found.impostor_histogram,
        lines,
        title="Scores of the same person and of different people",
        described=f"{sum(found.genuine_histogram):,} and {sum(found.impostor_histogram):,} scores from -1 to 1; "
        "the upright lines are Similarities",
    )


def _open_set(found: Evaluation) -> Markup | None:
    if found.identification is None:
        return None
    lines = [
        (f"{gallery.size:,} people", [(fpir, fnir) for _, fpir, fnir in gallery.curve if fnir > 0])
        for gallery in found.identification.galleries
    ]
    lines = [each for each in lines if len(each[1]) > 1]
    if not lines:
        return None
    return charts.rates(
        lines[-4:],
        [],
        names=("false positive identification rate (FPIR)", "false negative identification rate (FNIR)"),
        title="Searches in galleries of several sizes",
        described="the figures are in the table",
    )


def _columns(found: Evaluation) -> list[tuple[str, list[Any]]]:
    """Differentials by column."""
    names = list(dict.fromkeys(each.column for each in found.differentials))
    return [(name, [each for each in found.differentials if each.column == name]) for name in names]
