"""How many machines, how much memory and disk, and how long a search takes: computed from `measured`.

Knows the arithmetic and no command line. The assumptions, each told on docs/operations/capacity.md: all faces are in
one collection; a large one is spread over search nodes by hash (shards), and every shard is there as often as its load
wants (replicas); a search asks one replica of every shard and waits for the slowest; an image is worked on by one of
all machines; calls arrive at random; the scans of calls that come together are not made as one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final, Literal

from countenance.cli.measured import Constant, Machine, Measured
from countenance.cli.queueing import waiting

Tier = Literal["exact", "quantised"]
Kind = Literal["image", "face"]

BUSY: Final = 0.7
"""The most that cores, and the memory's bandwidth, may be busy. A choice: above it waits grow steeply (with one server
a call waits for 1.2 services on average at 0.7, for 4.5 at 0.9)."""
FULL: Final = 0.7
"""The most of a machine's memory that is planned for. A choice: the rest is for images in work (3 bytes a pixel), for
merging segments, the page cache and the system."""
TAIL_ROWS: Final = 50_000
"""Rows of a quantised index that are not quantised yet and are scanned exactly (gallery/quantised.py)."""
FILES_FROM: Final = 200_000
"""Rows from which on an index is kept on disk (the setting `index_files_from`)."""
SEAL_BYTES: Final = 28
"""Nonce and tag of AES-GCM with which each row of an index file is sealed (NIST SP 800-38D: 12 and 16 bytes)."""
ID_BYTES: Final = 16
"""A face's id in an index file (gallery/segment_file.py)."""
MAX_SHARDS: Final = 1024
MAX_REPLICAS: Final = 65_536
MONTH_S: Final = 30 * 86_400
DIMENSION: Final = 128
"""Features of the faces that memory, store and calls were measured with."""
FORMAT: Final = "the format"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be served.

    Attributes:
        faces: faces in the collection.
        qps: searches a second.
        dimension: features of a face.
        kind: whether a search brings an image (SearchFacesByImage) or a FaceId (SearchFaces).
        tier: the index; None takes the one that the server would.
        target_ms: the search of the index may take at most this long, p99, under that load.
        machine: what the search nodes are.
    """

    faces: int
    qps: float
    dimension: int
    kind: Kind
    tier: Tier | None
    target_ms: float
    machine: Machine


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure, and how far it is from what was measured.

    Attributes:
        modelled: it came through the model of waiting, or through machines working side by side.
        computed: what it was computed from in the place of a measurement; empty when there was one.
        beyond: for each thing that goes beyond what was measured, how many times; empty when nothing does.
    """

    name: str
    value: float
    unit: str
    modelled: bool = False
    computed: str = ""
    beyond: tuple[tuple[str, float], ...] = ()

    @property
    def basis(self) -> str:
        """In words: `measured`, or `model`, `computed from ...`, `extrapolated 50x (...)`, several with `;`."""
        parts = ["model"] if self.modelled else []
        parts += [f"computed from {self.computed}"] if self.computed else []
        parts += [f"extrapolated {_times(each)} ({what})" for what, each in self.beyond]
        return "; ".join(parts) or "measured"


@dataclass(frozen=True, slots=True)
class Plan:
    """An arrangement of search nodes and its figures.

    Attributes:
        shards, replicas: 0 when nothing does what is asked.
        why_shards: why one machine is not enough for the whole index; empty when it is.
        obstacles: why what is asked for cannot be had; empty when it can.
    """

    asked: Asked
    tier: Tier
    shards: int
    replicas: int
    figures: tuple[Figure, ...]
    why_shards: str = ""
    obstacles: tuple[str, ...] = ()

    @property
    def machines(self) -> int:
        """Search nodes in all."""
        return self.shards * self.replicas


@dataclass(frozen=True, slots=True)
class _Node:
    """One search node: its share of the rows, and what a search costs it."""

    asked: Asked
    measured: Measured
    shards: int
    tier: Tier = field(init=False)
    rows: int = field(init=False)

    def __post_init__(self) -> None:
        rows = math.ceil(self.asked.faces / self.shards)
        exact_up_to = self.measured[f"exact_up_to.{self.asked.dimension}"].value
        object.__setattr__(self, "rows", rows)
        object.__setattr__(self, "tier", self.asked.tier or ("exact" if rows < exact_up_to else "quantised"))

    @property
    def scan(self) -> Constant:
        return self.measured[f"{self.tier}.{self.asked.dimension}"]

    @property
    def search_ms(self) -> float:
        """One search of the share, nothing else running."""
        d, measured = self.asked.dimension, self.measured
        if self.tier == "exact":
            return self.rows * self.scan.value / 1e6
        tail = min(self.rows, TAIL_ROWS)
        reranked = min(self.rows, measured[f"reranked.{d}"].value)
        quantised = (self.rows - tail) * self.scan.value
        return (quantised + tail * measured[f"exact.{d}"].value) / 1e6 + reranked * measured["opened_row"].value / 1e3

    @property
    def at_once(self) -> int:
        """Scans that run side by side before memory has no more to give: at least one, at most one a core."""
        row_bytes = 2 * self.asked.dimension
        if self.tier == "quantised":
            row_bytes = int(self.measured[f"code_bytes.{self.asked.dimension}"].value)
        one_reads = row_bytes / self.scan.value  # bytes a nanosecond are GB/s
        machine = self.asked.machine
        return max(1, min(machine.cores, math.floor(machine.bandwidth_gb_s / one_reads)))

    @property
    def memory_bytes(self) -> float:
        base, face = self.measured["memory_base"].value * 1024**2, self.measured["memory_face"].value
        exact = face + 2 * (self.asked.dimension - DIMENSION)
        if self.tier == "exact":
            return base + self.rows * exact
        beside_features = face - 2 * DIMENSION
        coded = self.measured[f"code_bytes.{self.asked.dimension}"].value + beside_features
        if self.rows < FILES_FROM:  # the features stay in memory, where no file has them
            coded += 2 * self.asked.dimension
        tail = min(self.rows, TAIL_ROWS)
        return base + (self.rows - tail) * coded + tail * exact

    @property
    def file_bytes(self) -> float:
        """Index files of the share, by their format: codes, ids, and rows sealed one by one. Exact ones have none."""
        if self.tier == "exact" or self.rows < FILES_FROM:
            return 0.0
        codes = self.measured[f"code_bytes.{self.asked.dimension}"].value
        return self.rows * (2 * self.asked.dimension + SEAL_BYTES + codes + ID_BYTES)

    def fits(self) -> bool:
        return self.memory_bytes <= FULL * self.asked.machine.memory_gib * 1024**3

    def cores_busy(self, replicas: int) -> float:
        """Cores of one machine that work at any time, on average."""
        whole_calls = self.asked.qps / (self.shards * replicas) * call_ms(self.asked, self.measured) / 1000
        return self.asked.qps / replicas * self.search_ms / 1000 + whole_calls

    def holds(self, replicas: int) -> bool:
        """Whether that many of each shard keep cores, memory and the target."""
        scans = self.asked.qps / replicas * self.search_ms / 1000
        busy = max(self.cores_busy(replicas) / self.asked.machine.cores, scans / self.at_once)
        return busy <= BUSY and self.index_ms(replicas, 0.99) <= self.asked.target_ms

    def index_ms(self, replicas: int, quantile: float) -> float:
        """The search of the index, waiting included; the slowest of all shards, which wait one without the other."""
        each = quantile ** (1 / self.shards)
        waits = waiting(self.at_once, self.asked.qps / replicas * self.search_ms / 1000, self.search_ms, each)
        slow = quantile > 0.5 or self.shards > 1
        return waits + self.search_ms * (self.scan.tail if slow else 1)

    def whole_ms(self, replicas: int, quantile: float) -> float:
        """The whole call. Quantiles of the parts are added, which is too much rather than too little."""
        image, wire = image_ms(self.asked, self.measured), self.measured["wire"]
        slow = quantile > 0.5
        waits = waiting(
            self.asked.machine.cores, self.cores_busy(replicas), call_ms(self.asked, self.measured), quantile
        )
        work = image * (self.measured["image_tail"].value if slow else 1) + wire.value * (wire.tail if slow else 1)
        return waits + work + self.index_ms(replicas, quantile)


def image_ms(asked: Asked, measured: Measured) -> float:
    """From the bytes of an image to the features of its largest face, one thread; 0 when the search brings none.

    A network for 512 features is not measured: it counts as the default pack's does, which is too little.
    """
    if asked.kind == "face":
        return 0.0
    photograph = sum(measured[name].value for name in ("decode", "detect", "close_up", "quality", "decode_again"))
    return photograph + measured["align"].value + measured["features"].value * measured["mirror"].value


def call_ms(asked: Asked, measured: Measured) -> float:
    """What a call costs beside the index: the image, and HTTP, signature and leaf."""
    return image_ms(asked, measured) + measured["wire"].value


def plan(asked: Asked, measured: Measured) -> Plan:
    """The arrangement with the fewest machines that does it, and among those the one with the fewest shards.

    When none does, a plan without machines, with the obstacles and the figures that depend on none.
    """
    best: tuple[_Node, int] | None = None
    for shards in range(1, MAX_SHARDS + 1):
        if best is not None and shards >= best[0].shards * best[1]:
            break  # more shards than the best has machines
        node = _Node(asked, measured, shards)
        replicas = _replicas(node) if node.fits() else None
        if replicas is not None and (best is None or shards * replicas < best[0].shards * best[1]):
            best = (node, replicas)
    obstacles = []
    leaves = measured["leaves"].value * BUSY
    if asked.qps > leaves:
        obstacles.append(f"one log, which every call waits for, takes {leaves:,.0f} calls a second at {BUSY:.0%}")
    whole = _Node(asked, measured, 1)
    if best is None:
        obstacles.append(_why_not(asked, measured))
        return Plan(asked, whole.tier, 0, 0, _stored(asked, measured), obstacles=tuple(obstacles))
    node, replicas = best
    why = _why_shards(whole) if node.shards > 1 else ""
    figures = (*_figures(node, replicas), *_stored(asked, measured))
    return Plan(asked, node.tier, node.shards, replicas, figures, why, tuple(obstacles))


def _replicas(node: _Node) -> int | None:
    """The fewest that hold; more never hold less, so that halving finds them."""
    if not node.holds(MAX_REPLICAS):
        return None
    low, high = 1, MAX_REPLICAS
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if node.holds(middle) else (middle + 1, high)
    return low


def _why_not(asked: Asked, measured: Measured) -> str:
    last = _Node(asked, measured, MAX_SHARDS)
    if not last.fits():
        return f"memory: even {MAX_SHARDS} shards do not fit machines of {asked.machine.memory_gib:g} GiB"
    alone = last.search_ms * last.scan.tail
    if alone > asked.target_ms:
        return (
            f"the target: {MAX_SHARDS} shards without any load take {alone:.3g} ms, {asked.target_ms:g} are asked for"
        )
    return f"the load: {MAX_SHARDS} shards, each {MAX_REPLICAS:,} times, are too few"


def _why_shards(whole: _Node) -> str:
    machine, alone = whole.asked.machine, whole.search_ms * whole.scan.tail
    if not whole.fits():
        return f"the whole index takes {whole.memory_bytes / 1024**3:.1f} of a machine's {machine.memory_gib:g} GiB"
    if alone > whole.asked.target_ms:
        return f"the whole index is searched in {alone:.3g} ms, {whole.asked.target_ms:g} are asked for"
    return "fewer machines than with the whole index on each"


def _figures(node: _Node, replicas: int) -> tuple[Figure, ...]:
    asked, measured = node.asked, node.measured
    machines = node.shards * replicas
    rows = _beyond((node.scan, node.rows))
    cores = asked.machine.cores / node.scan.machine.cores
    speed = (*rows, ("cores of a machine", cores)) if cores > 1 else rows
    network = "the network of 128 features" if _is_other(asked) and asked.kind == "image" else ""
    memory = node.tier == "quantised" or _is_other(asked)
    held = _beyond((measured["memory_face"], node.rows))
    return (
        Figure("machines", machines, "", True, network, speed),
        Figure("cores", machines * asked.machine.cores, "", True, network, speed),
        Figure("cores busy", node.cores_busy(replicas) / asked.machine.cores, "share", True, network, speed),
        Figure("memory a machine", node.memory_bytes, "bytes", False, FORMAT if memory else "", held),
        Figure("index files a machine", node.file_bytes, "bytes", False, FORMAT),
        Figure("search of the index alone", node.search_ms, "ms", False, "", rows),
        Figure("search of the index, p50", node.index_ms(replicas, 0.5), "ms", True, "", speed),
        Figure("search of the index, p99", node.index_ms(replicas, 0.99), "ms", True, "", speed),
        Figure("whole call, p50", node.whole_ms(replicas, 0.5), "ms", True, network, speed),
        Figure("whole call, p99", node.whole_ms(replicas, 0.99), "ms", True, network, speed),
    )


def _stored(asked: Asked, measured: Measured) -> tuple[Figure, ...]:
    face, call, month = measured["store_face"], measured["ledger_call"], asked.qps * MONTH_S
    stored = asked.faces * (face.value + 2 * (asked.dimension - DIMENSION))
    computed = FORMAT if _is_other(asked) else ""
    return (
        Figure("store", stored, "bytes", False, computed, _beyond((face, asked.faces))),
        Figure("ledger growth a month", month * call.value, "bytes", False, "", _beyond((call, month))),
    )


def _is_other(asked: Asked) -> bool:
    return asked.dimension != DIMENSION


def _beyond(*used: tuple[Constant, float]) -> tuple[tuple[str, float], ...]:
    return tuple((each.counted_in, at / each.up_to) for each, at in used if at > each.up_to)


def _times(beyond: float) -> str:
    return f"{beyond:,.0f}x" if beyond >= 10 else f"{beyond:.2g}x"
