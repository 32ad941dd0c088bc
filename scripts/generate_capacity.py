"""Writes the tables of docs/operations/capacity.md from what `countenance capacity` computes, or checks them.

python scripts/generate_capacity.py [--check]
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from pathlib import Path

from countenance.cli.capacity import machine_of, shown
from countenance.cli.measured import Machine, Measured, read
from countenance.cli.sizing import Asked, Plan, plan

PAGE = Path(__file__).resolve().parent.parent / "docs" / "operations" / "capacity.md"
MARK = "<!-- below: made by scripts/generate_capacity.py, run `make docs` -->"

FACES = (10_000, 100_000, 1_000_000, 10_000_000, 50_000_000)
QPS = (1.0, 20.0, 200.0)
LARGE = (16, 64.0, 100.0)
"""Cores, GiB and GB/s of the second table's machine: a server of a common size, not measured."""


def page() -> str:
    """The whole page: what people wrote above the mark, the tables below it."""
    measured = read()
    head = PAGE.read_text("utf-8").partition(MARK)[0] if PAGE.exists() else ""
    return head + MARK + "\n\n" + "\n".join(_below(measured)) + "\n"


def _below(measured: Measured) -> Iterator[str]:
    yield from _table(measured, machine_of(measured), "Machines as measured on")
    yield from _table(
        measured, machine_of(measured, *LARGE), "Larger machines: their cores and bandwidth taken on trust"
    )
    yield "## The measured figures"
    yield ""
    for name, machine in measured.machines.items():
        yield f"- machine {name}: {machine.title}; {machine.bandwidth_gb_s:g} GB/s"
    yield ""
    yield "| figure | value | p99 / p50 | measured up to | by | machine | printed by |"
    yield "|---|---:|---:|---|---|---|---|"
    letters = {machine.title: name for name, machine in measured.machines.items()}
    for each in measured.constants.values():
        tail = f"{each.tail:g}" if each.tail != 1 else ""
        reach = f"{each.up_to:,.0f} {each.counted_in}" if each.counted_in else ""
        value = f"{each.value:,g} {each.unit}"
        machine_name = letters[each.machine.title]
        yield f"| `{each.name}` | {value} | {tail} | {reach} | {each.by} | {machine_name} | {each.printed_by} |"


def _table(measured: Measured, machine: Machine, title: str) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    size = f"{machine.cores} cores, {machine.memory_gib:g} GiB, {machine.bandwidth_gb_s:g} GB/s"
    yield f"{size}; 128 features, searches by image, p99"
    yield "of the index at most 100 ms. Machines and latencies are all of the model; *beyond* says how far the largest"
    yield "of their figures is from what was measured. Store and ledger are extrapolated in proportion."
    yield ""
    yield (
        "| faces | searches/s | index | shards x replicas | memory a machine | index files a machine | store "
        "| ledger a month | index p50 / p99 | whole call p50 / p99 | beyond |"
    )
    yield "|---:|---:|---|---:|---:|---:|---:|---:|---:|---:|---:|"
    for faces in FACES:
        for qps in QPS:
            asked = Asked(
                faces=faces, qps=qps, dimension=128, kind="image", tier=None, target_ms=100.0, machine=machine
            )
            yield _row(plan(asked, measured))
    yield ""


def _row(answer: Plan) -> str:
    figures = {each.name: each for each in answer.figures}
    text = {name: shown(each) for name, each in figures.items()}
    beyond = max((times for _, times in figures["whole call, p99"].beyond), default=0.0)
    cells = [
        f"{answer.asked.faces:,}",
        f"{answer.asked.qps:g}",
        answer.tier,
        f"{answer.shards} x {answer.replicas}",
        text["memory a machine"],
        text["index files a machine"],
        text["store"],
        text["ledger growth a month"],
        f"{text['search of the index, p50']} / {text['search of the index, p99']}",
        f"{text['whole call, p50']} / {text['whole call, p99']}",
        f"{beyond:.2g}x" if beyond else "-",
    ]
    return "| " + " | ".join(cells) + " |"


def main() -> int:
    """Write the page, or with --check print how it differs; 1 when it does."""
    text = page()
    found = PAGE.read_text("utf-8") if PAGE.exists() else ""
    if found == text:
        return 0
    if "--check" in sys.argv[1:]:
        names = ("docs/operations/capacity.md", "docs/operations/capacity.md (from the code)")
        sys.stdout.writelines(difflib.unified_diff(found.splitlines(True), text.splitlines(True), *names))
        return 1
    PAGE.write_text(text, "utf-8")
    print("wrote docs/operations/capacity.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
