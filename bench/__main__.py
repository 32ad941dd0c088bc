"""`python -m bench [SECTION ...] [--quick] [--json OUT] [--markdown]`."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench import Row, Section, machine

SECTIONS = (
    "inference",
    "batching",
    "wire",
    "search",
    "scale",
    "nodes",
    "durability",
    "ledger",
    "proofs",
    "policy",
    "screening",
    "startup",
)


def main(arguments: Sequence[str]) -> int:
    """Runs the sections asked for; 1 when a target was missed, so that a script can tell."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS) + " or all (the default)")
    parser.add_argument("--quick", action="store_true", help="fewer photographs, repetitions and faces: minutes less")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write every row to this file as well")
    parser.add_argument("--markdown", action="store_true", help="print the tables as docs/performance.md has them")
    chosen = parser.parse_args(arguments)
    wanted = [name for name in SECTIONS if name in chosen.sections or not set(chosen.sections) - {"all"}]
    if unknown := set(chosen.sections) - {*SECTIONS, "all"}:
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    flags = [f"--{flag}" for flag in ("quick", "markdown") if getattr(chosen, flag)]
    command = " ".join(["python", "-m", "bench", *chosen.sections, *flags])  # paths of this machine left out
    facts = machine.describe()
    at = datetime.now(UTC)
    show = print_markdown if chosen.markdown else print_text
    _print_machine(facts, command, at, markdown=chosen.markdown)
    done: list[Section] = []
    for name in wanted:
        print(f"{name} ...", file=sys.stderr, flush=True)
        section = importlib.import_module(f"bench.{name}").run(quick=chosen.quick)
        done.append(section)
        show(section)
    if chosen.json:
        written = {
            "command": command,
            "at": at.isoformat(),
            "machine": facts,
            "sections": [section.as_json() for section in done],
        }
        chosen.json.write_text(json.dumps(written, indent=1) + "\n", "utf-8")
    missed = [row.name.strip() for section in done for row in section.rows if row.met is False]
    met = sum(row.met is True for section in done for row in section.rows)
    print(f"\n{met} targets met, {len(missed)} missed{': ' if missed else ''}{'; '.join(missed)}.")
    return 1 if missed else 0


def print_text(section: Section) -> None:
    """For a terminal."""
    print(f"\n== {section.title}")
    for note in section.notes:
        print(f"   {note}")
    width = max((len(row.name) for row in section.rows), default=0)
    for row in section.rows:
        line = f"{row.name:<{width}}  {_number(row.value):>10} {row.unit:<10} {row.target:<15} {row.verdict()}"
        print(f"{line.rstrip()}{f'   ({row.note})' if row.note else ''}", flush=True)


def print_markdown(section: Section) -> None:
    """For docs/performance.md."""
    print(f"\n## {section.title}\n")
    for note in section.notes:
        print(f"- {note}")
    print("\n| what | value | unit | target | | |\n|---|---:|---|---|---|---|")
    for row in section.rows:
        # Two leading blanks mean "part of the row above".
        name = row.name if not row.name.startswith("  ") else f"&nbsp;&nbsp;{row.name.strip()}"
        verdict = _bold(row)
        print(f"| {name} | {_number(row.value)} | {row.unit} | {row.target} | {verdict} | {row.note} |", flush=True)


def _print_machine(facts: dict[str, str], command: str, at: datetime, *, markdown: bool) -> None:
    if markdown:
        print(f"Printed by `{command}` on {at:%Y-%m-%d %H:%M} UTC.\n")
        print("| machine | |\n|---|---|")
        for name, value in facts.items():
            print(f"| {name} | {value} |")
        return
    print(f"{command}   {at:%Y-%m-%d %H:%M} UTC")
    for name, value in facts.items():
        print(f"  {name:<24} {value}")


def _bold(row: Row) -> str:
    verdict = row.verdict()
    return f"**{verdict}**" if verdict.startswith("MISSED") else verdict


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
