"""`countenance capacity`: what N faces at Q searches a second take, and how far that is from anything measured."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final, cast

import click

from countenance.cli import measured as measured_figures
from countenance.cli.measured import DIMENSIONS, Machine, Measured
from countenance.cli.options import example, json_option
from countenance.cli.output import Status, columns, emit, end
from countenance.cli.sizing import Asked, Figure, Kind, Plan, Tier, plan

MAX_FACES: Final = 10_000_000_000
MAX_QPS: Final = 1_000_000.0
"""Bounds of what can be meant; they are no promise."""


class _Number(click.FloatRange):
    """A finite number within bounds, `50e6` and `50_000_000` alike; with `whole`, one without a fraction."""

    def __init__(self, low: float, high: float, *, whole: bool = False) -> None:
        super().__init__(low, high)
        self._whole = whole

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):  # nan is in every range
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        if self._whole and number != int(number):
            self.fail(f"{value!r} is not a whole number.", param, ctx)
        return int(number) if self._whole else number


@click.command(
    short_help="Which machines do N faces take?",
    epilog=example(
        "countenance capacity --faces 50e6 --qps 200",
        "countenance capacity --faces 10e6 --qps 50 --cores 16 --memory 64 --bandwidth 100",
    ),
)
@click.option("--faces", type=_Number(1, MAX_FACES, whole=True), metavar="N", help="Faces in the collection.")
@click.option("--qps", type=_Number(0.001, MAX_QPS), metavar="Q", help="Searches a second.")
@click.option(
    "--dimension",
    type=click.Choice([str(each) for each in DIMENSIONS]),
    default=str(DIMENSIONS[0]),
    show_default=True,
    help="Features of a face: 128 for the default model pack, 512 for ArcFace-style ones.",
)
@click.option(
    "--by",
    "kind",
    type=click.Choice(["image", "face"]),
    default="image",
    show_default=True,
    help="Whether a search brings an image or the FaceId of an enrolled face.",
)
@click.option("--tier", type=click.Choice(["exact", "quantised"]), help="The index (by the rows that a node holds).")
@click.option(
    "--target-ms",
    type=_Number(0.1, 60_000),
    default=100.0,
    show_default=True,
    metavar="MS",
    help="Longest search of the index under that load, p99.",
)
@click.option("--cores", type=_Number(1, 1024, whole=True), metavar="N", help="Cores of a machine (as measured on).")
@click.option("--memory", type=_Number(1, 65_536), metavar="GIB", help="Memory of a machine, GiB (as measured on).")
@click.option(
    "--bandwidth",
    type=_Number(1, 10_000),
    metavar="GB/S",
    help="What a machine reads from memory, all cores together (as measured on).",
)
@click.option("--constants", is_flag=True, help="Print the measured figures that all of it is computed from.")
@json_option
def capacity(
    faces: int | None,
    qps: float | None,
    dimension: str,
    kind: str,
    tier: str | None,
    target_ms: float,
    cores: int | None,
    memory: float | None,
    bandwidth: float | None,
    constants: bool,
    as_json: bool,
) -> None:
    """Compute machines, memory, disk and latency for a number of faces and of searches a second.

    Every figure says what it rests on: `measured`, added up from figures used within the range that they were measured
    in; `computed` from what was not measured; `model`, a queue that docs/operations/capacity.md describes;
    `extrapolated` beyond what was measured, and how many times.

    Exit status 1 when no arrangement of such machines does what is asked.
    """
    measured = measured_figures.read()
    if constants:
        emit({"constants": [*_constants(measured)]}, constant_lines(measured), as_json=as_json)
        return
    if faces is None or qps is None:
        raise click.UsageError("Say how many faces and searches a second: --faces N --qps Q.")
    machine = machine_of(measured, cores, memory, bandwidth)
    asked = Asked(
        faces=faces,
        qps=qps,
        dimension=int(dimension),
        kind=cast(Kind, kind),
        tier=cast("Tier | None", tier),
        target_ms=target_ms,
        machine=machine,
    )
    answer = plan(asked, measured)
    emit(document(answer, measured), plan_lines(answer, measured), as_json=as_json)
    if answer.obstacles:
        end(Status.NO)


def machine_of(
    measured: Measured, cores: int | None = None, memory: float | None = None, bandwidth: float | None = None
) -> Machine:
    """The machine asked about: the one that the index was measured on, but for what is said otherwise."""
    base = measured["exact.128"].machine
    return Machine(
        title=base.title if (cores, memory, bandwidth) == (None, None, None) else "as asked for",
        cores=base.cores if cores is None else cores,
        memory_gib=base.memory_gib if memory is None else memory,
        bandwidth_gb_s=base.bandwidth_gb_s if bandwidth is None else bandwidth,
    )


def document(answer: Plan, measured: Measured) -> dict[str, Any]:
    """The plan as the verb's JSON."""
    return {
        "asked": asdict(answer.asked),
        "possible": not answer.obstacles,
        "obstacles": list(answer.obstacles),
        "tier": answer.tier,
        "sharding": answer.shards > 1,
        "why_shards": answer.why_shards or None,
        "shards": answer.shards,
        "replicas": answer.replicas,
        "machines": answer.machines,
        "figures": [
            {
                "name": each.name,
                "value": each.value,
                "unit": each.unit or None,
                "basis": each.basis,
                "modelled": each.modelled,
                "computed_from": each.computed or None,
                "beyond": [{"what": what, "times": times} for what, times in each.beyond],
            }
            for each in answer.figures
        ],
        "notes": [*notes(answer, measured)],
    }


def plan_lines(answer: Plan, measured: Measured) -> Iterator[str]:
    """The plan for people."""
    asked, machine = answer.asked, answer.asked.machine
    brings = "an image" if asked.kind == "image" else "a FaceId"
    yield f"{asked.faces:,} faces of {asked.dimension} features, {asked.qps:,g} searches a second, each with {brings}"
    size = f"{machine.cores} cores, {machine.memory_gib:g} GiB, {machine.bandwidth_gb_s:g} GB/s"
    yield f"machines of {size} ({machine.title})"
    for each in answer.obstacles:
        yield f"cannot be done: {each}"
    if answer.shards:
        shards = f"{answer.shards} shards: {answer.why_shards}" if answer.why_shards else "no sharding needed"
        yield f"index: {answer.tier}; {shards}"
        yield f"search nodes: {answer.shards} x {answer.replicas} = {answer.machines}"
    yield ""
    rows = ([each.name, shown(each), each.basis] for each in answer.figures)
    yield from columns(["FIGURE", "VALUE", "BASIS"], rows)
    yield ""
    yield from (f"- {each}" for each in notes(answer, measured))


def notes(answer: Plan, measured: Measured) -> Iterator[str]:
    """What the figures leave out, as far as it concerns this plan."""
    if answer.shards and measured[f"{answer.tier}.{answer.asked.dimension}"].by == "library":
        yield "the scan was measured with the library alone, outside the server, on another machine than the rest"
    if answer.machines > 1:
        yield "not counted: the database's own machines, the network between nodes, a spare for the node that fails"
    elif answer.shards:
        yield "one machine: while it is away nothing is answered"
    if answer.shards:
        yield "not counted: searches that come together and are made as one scan; workers that Python's lock makes wait"
    yield "ledger: at that rate day and night, before anything expires"


def constant_lines(measured: Measured) -> Iterator[str]:
    """The measured figures for people."""
    rows = (
        [each.name, f"{each.value:,g} {each.unit}", _reach(each), each.by, each.printed_by]
        for each in measured.constants.values()
    )
    yield from columns(["CONSTANT", "VALUE", "MEASURED UP TO", "BY", "PRINTED BY"], rows)


def shown(figure: Figure) -> str:
    """A figure with its unit: bytes as MB, GB or TB (powers of 1,000), shares in per cent."""
    if figure.unit == "bytes":
        for name, size in (("TB", 1e12), ("GB", 1e9)):
            if figure.value >= size:
                return f"{figure.value / size:,.3g} {name}"
        return f"{figure.value / 1e6:,.3g} MB"
    if figure.unit == "share":
        return f"{figure.value:.0%}"
    if figure.unit == "ms":
        return f"{figure.value:.3g} ms" if figure.value < 1000 else f"{figure.value:,.0f} ms"
    return f"{figure.value:,.0f}"


def _constants(measured: Measured) -> Iterator[dict[str, Any]]:
    for each in measured.constants.values():
        yield asdict(each) | {"up_to": each.up_to if each.counted_in else None}  # JSON has no infinity


def _reach(constant: measured_figures.Constant) -> str:
    return f"{constant.up_to:,.0f} {constant.counted_in}" if constant.counted_in else "-"
