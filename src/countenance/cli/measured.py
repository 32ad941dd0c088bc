"""The measured figures that `countenance capacity` computes with: read from `measured.toml`, checked, and named.

Knows the file's form and nothing of what is computed. A figure says where it comes from and how far it was measured.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from countenance.errors import Error

PATH: Final = Path(__file__).with_name("measured.toml")
DIMENSIONS: Final = (128, 512)
"""Numbers of features for which there are figures: the default model pack's, and the ArcFace-style ones'."""

_BY_DIMENSION: Final = ("exact", "quantised", "code_bytes", "reranked", "exact_up_to")
_PLAIN: Final = (
    "opened_row",
    "memory_base",
    "memory_face",
    "store_face",
    "decode",
    "detect",
    "close_up",
    "quality",
    "decode_again",
    "align",
    "features",
    "mirror",
    "image_tail",
    "wire",
    "leaves",
    "ledger_call",
)
_TAILED: Final = ("exact", "quantised", "wire")
_MEMBERS: Final = {"value", "tail", "unit", "up_to", "in", "machine", "by", "printed_by"}
_REQUIRED: Final = {"value", "unit", "machine", "by", "printed_by"}


class MeasuredError(Error):
    """The file of measured figures cannot be computed with."""


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that something was measured on, or that is asked about.

    Attributes:
        cores: usable cores.
        memory_gib: memory, GiB.
        bandwidth_gb_s: what all its threads together read from memory, 10^9 bytes a second.
    """

    title: str
    cores: int
    memory_gib: float
    bandwidth_gb_s: float


@dataclass(frozen=True, slots=True)
class Constant:
    """One measured figure. `up_to` is infinite for what does not grow; `tail` is p99 / p50, 1 where it has none."""

    name: str
    value: float
    unit: str
    machine: Machine
    by: str
    printed_by: str
    tail: float = 1.0
    up_to: float = math.inf
    counted_in: str = ""


@dataclass(frozen=True, slots=True)
class Measured:
    """All of them, by name; those that depend on the number of features are named NAME.DIMENSION."""

    machines: Mapping[str, Machine]
    constants: Mapping[str, Constant]

    def __getitem__(self, name: str) -> Constant:
        return self.constants[name]


def read(path: Path = PATH) -> Measured:
    """Read and check the file.

    Raises:
        MeasuredError: it is missing, not TOML, lacks a figure, has one that nothing computes with, or one that is no
            positive number.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        machines = {name: Machine(**each) for name, each in document.pop("machines").items()}
        constants = {each.name: each for each in _constants(document, machines)}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, KeyError, TypeError, AttributeError) as error:
        raise MeasuredError(f"{path.name} cannot be read: {type(error).__name__} {error}") from None
    return Measured(machines, constants)


def _constants(document: dict[str, Any], machines: Mapping[str, Machine]) -> Iterator[Constant]:
    wanted = {*_PLAIN, *(f"{name}.{dimension}" for name in _BY_DIMENSION for dimension in DIMENSIONS)}
    found: dict[str, Any] = {}
    for name, table in document.items():
        if name in _BY_DIMENSION:
            found.update({f"{name}.{dimension}": each for dimension, each in table.items()})
        else:
            found[name] = table
    if found.keys() != wanted:
        odd = ", ".join(sorted(found.keys() ^ wanted))
        raise MeasuredError(f"{PATH.name} has too few figures or too many: {odd}")
    for name, table in found.items():
        yield _constant(name, table, machines)


def _constant(name: str, table: dict[str, Any], machines: Mapping[str, Machine]) -> Constant:
    if not _REQUIRED <= table.keys() <= _MEMBERS or ("up_to" in table) != ("in" in table):
        raise MeasuredError(f"{PATH.name}: the members of {name} are not those that its head describes")
    if (name.partition(".")[0] in _TAILED) != ("tail" in table):
        raise MeasuredError(f"{PATH.name}: {name} lacks a tail, or has one that nothing computes with")
    for member in ("value", "tail", "up_to"):
        number = table.get(member, 1)
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 < number < math.inf:
            raise MeasuredError(f"{PATH.name}: {member} of {name} is not a positive number")
    if table["by"] not in ("server", "library"):
        raise MeasuredError(f"{PATH.name}: {name} is measured by {table['by']!r}, neither server nor library")
    return Constant(
        name=name,
        value=float(table["value"]),
        unit=table["unit"],
        machine=machines[table["machine"]],
        by=table["by"],
        printed_by=table["printed_by"],
        tail=float(table.get("tail", 1)),
        up_to=float(table.get("up_to", math.inf)),
        counted_in=table.get("in", ""),
    )
