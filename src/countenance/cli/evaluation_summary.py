"""An evaluation in lines of text, and its numbers in words that the report shares."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final

from countenance.cli.output import columns
from countenance.evaluation.dataset import PAIRS
from countenance.evaluation.evaluating import Evaluation
from countenance.evaluation.intervals import RULE_OF_THREE, Rate

TOO_FEW: Final = "too few"


def percent(share: float | None) -> str:
    """A share in per cent, with as many digits as it deserves."""
    if share is None or not math.isfinite(share):
        return "-"
    if share == 0:
        return "0 %"
    digits = 1 if share >= 0.1 else 2 if share >= 0.001 else 2 - math.floor(math.log10(share * 100))
    return f"{share * 100:.{digits}f} %"


def one_in(share: float | None) -> str:
    """A share as one in so many, rounded to two digits."""
    if share is None or not math.isfinite(share):
        return "-"
    if share <= 0:
        return "none"
    inverse = 1 / share
    if inverse < 10:
        return f"1 in {inverse:.1f}"
    digits = 10 ** max(0, math.floor(math.log10(inverse)) - 1)
    return f"1 in {round(inverse / digits) * digits:,}"


def interval(one: Rate) -> str:
    """The 95 % interval of a rate; where no error was seen, its upper bound, and where nothing else was, its lower."""
    if not math.isfinite(one.low):
        return "-"
    if one.method == RULE_OF_THREE:
        bound = f"above {percent(one.low)}" if one.errors else f"below {percent(one.high)}"
        return f"{bound} (rule of three)"
    return f"{percent(one.low)} to {percent(one.high)}"


def counted(one: Rate) -> str:
    """Errors of comparisons."""
    return f"{one.errors:,} of {one.of:,}"


def summary(found: Evaluation) -> Iterator[str]:
    """The figures that matter, for a terminal."""
    dataset = found.dataset
    people = f" of {len(dataset.subjects):,} people" if dataset.knows_subjects else ""
    yield f"{len(dataset.images):,} images{people}, {found.face} face, model {found.model_version}, {found.runtime}"
    yield (
        f"{found.genuine:,} comparisons of the same person, {found.impostor:,} of different people; "
        f"{counted(found.failures['images'])} images without a face"
    )
    if found.resumed:
        yield f"{found.resumed:,} images had been extracted by an earlier run"
    yield ""
    yield from columns(
        ["SIMILARITY", "SCORE", "FMR", "", "95 %", "FNMR", "95 %"],
        (
            [
                f"{each.similarity:g}",
                f"{each.threshold:.4f}",
                percent(each.fmr.value),
                one_in(each.fmr.value),
                interval(each.fmr),
                percent(each.fnmr.value),
                interval(each.fnmr),
            ]
            for each in found.at_similarity
        ),
    )
    yield ""
    yield from columns(
        ["AT FMR", "SIMILARITY", "FNMR", "95 %"],
        (
            [
                one_in(each.fmr),
                TOO_FEW if each.similarity is None else f"{each.similarity:.1f}",
                TOO_FEW if each.fnmr is None else percent(each.fnmr.value),
                "-" if each.fnmr is None else interval(each.fnmr),
            ]
            for each in found.at_fmr
        ),
    )
    if found.equal_error_rate is not None:
        eer = found.equal_error_rate
        yield f"equal error rate {percent(eer.value)}, 95 % {percent(eer.low)} to {percent(eer.high)}"
    yield from _searches(found)
    yield from _groups(found)
    yield ""
    what = "people" if found.resampled == "subjects" else "images (nobody said whose they are)"
    yield f"Intervals: bootstrap over {what}, {found.rounds} rounds. FNMR counts images without a face as errors."
    if dataset.form == PAIRS:
        yield "Comparisons are those listed. All pairs of an `image,identity` CSV tell rarer errors."


def _searches(found: Evaluation) -> Iterable[str]:
    if found.identification is None:
        return
    yield ""
    rows = [
        [
            f"{gallery.size:,}",
            f"{each.similarity:g}",
            percent(each.fpir.value),
            interval(each.fpir),
            percent(each.fnir.value),
            interval(each.fnir),
            percent(gallery.rank_one.value),
        ]
        for gallery in found.identification.galleries
        for each in gallery.at
    ]
    yield from columns(["GALLERY", "SIMILARITY", "FPIR", "95 %", "FNIR", "95 %", "RANK 1"], rows)


def _groups(found: Evaluation) -> Iterable[str]:
    shown = [each for each in found.differentials if each.similarity == 80.0]
    for one in shown:
        yield ""
        yield from columns(
            [one.column, "FMR WITHIN", "95 %", "FNMR", "95 %"],
            (
                [
                    each.value,
                    percent(each.fmr.value) if each.fmr_is_telling else TOO_FEW,
                    interval(each.fmr) if each.fmr_is_telling else "-",
                    percent(each.fnmr.value) if each.fnmr_is_telling else TOO_FEW,
                    interval(each.fnmr) if each.fnmr_is_telling else "-",
                ]
                for each in one.groups
            ),
        )
        for name, told in (("FMR", one.fmr), ("FNMR", one.fnmr)):
            if told.worst_to_best is not None:
                yield (
                    f"{name}: {told.worst} has {told.worst_to_best:.1f} times the rate of {told.best}, "
                    f"{told.worst_to_mean:.1f} times the geometric mean (Similarity 80)"
                )
