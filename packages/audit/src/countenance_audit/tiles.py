"""C2SP tlog-tiles: the names and contents of the files that a log is served as.

Knows paths, hash tiles and entry bundles; does not know how they are fetched or what a leaf says. Format:
https://c2sp.org/tlog-tiles. Paths are relative to the log's prefix.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from countenance_audit.errors import Malformed
from countenance_audit.merkle import HASH_BYTES, MAX_SIZE

TILE_HEIGHT: Final = 8
"""Levels of the tree in one tile."""

TILE_WIDTH: Final = 1 << TILE_HEIGHT
"""Hashes in a full tile, entries in a full bundle."""

CHECKPOINT: Final = "checkpoint"
ENTRIES: Final = "entries"
MAX_LEVEL: Final = 63
MAX_ENTRY_BYTES: Final = 65_535
MAX_BUNDLE_BYTES: Final = TILE_WIDTH * (MAX_ENTRY_BYTES + 2)
"""Longest entry bundle: 16 MiB."""

_MAX_INDEX: Final = MAX_SIZE >> TILE_HEIGHT
_PATH: Final = re.compile(
    r"tile/(0|[1-9][0-9]?|entries)/((?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Tile:
    """A hash tile, or an entry bundle when `level` is None.

    Attributes:
        width: hashes or entries in it, 1 to `TILE_WIDTH`.
    """

    level: int | None
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if self.level is not None and not 0 <= self.level <= MAX_LEVEL:
            raise Malformed(f"There is no tile level {self.level}.")
        if not 0 <= self.index <= _MAX_INDEX or not 1 <= self.width <= TILE_WIDTH:
            raise Malformed(f"There is no tile {self.index} of width {self.width}.")

    @property
    def path(self) -> str:
        """Where it is, relative to the log's prefix: `tile/0/x001/234.p/5`."""
        level = ENTRIES if self.level is None else str(self.level)
        digits = f"{self.index:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        name = "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])
        return f"tile/{level}/{name}" + ("" if self.width == TILE_WIDTH else f".p/{self.width}")

    @property
    def full(self) -> Tile:
        """The full tile that takes the place of this one when the log grows."""
        return Tile(self.level, self.index)


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """The path of a hash tile."""
    return Tile(level, index, width).path


def entries_path(index: int, width: int = TILE_WIDTH) -> str:
    """The path of an entry bundle."""
    return Tile(None, index, width).path


def parse_path(path: str) -> Tile:
    """Which tile a path names; one tile has one path.

    Raises:
        Malformed: it names none.
    """
    match = _PATH.fullmatch(path)
    if match is None:
        raise Malformed(f"{path[:100]!r} is not the path of a tile.")
    level, groups, width = match.groups()
    tile = Tile(
        None if level == ENTRIES else int(level),
        int(groups.replace("x", "").replace("/", "")),
        TILE_WIDTH if width is None else int(width),
    )
    if tile.path != path:
        raise Malformed(f"{path[:100]!r} is not the path of a tile; that would be {tile.path}.")
    return tile


def tiles_of(size: int, *, from_size: int = 0) -> Iterator[Tile]:
    """All hash tiles and entry bundles of a log of `size` leaves, without those it had whole at `from_size`."""
    for level in (None, *range(MAX_LEVEL + 1)):
        shift = TILE_HEIGHT * (level or 0)
        hashes, had = size >> shift, from_size >> shift
        if not hashes:
            return
        for index in range(had >> TILE_HEIGHT, hashes >> TILE_HEIGHT):
            yield Tile(level, index)
        if hashes % TILE_WIDTH:
            yield Tile(level, hashes >> TILE_HEIGHT, hashes % TILE_WIDTH)


def parse_tile(data: bytes, width: int) -> list[bytes]:
    """The hashes of a tile.

    Raises:
        Malformed: it does not have `width` of them.
    """
    if len(data) != width * HASH_BYTES:
        raise Malformed(f"A hash tile of width {width} has {len(data)} bytes instead of {width * HASH_BYTES}.")
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def encode_bundle(leaves: Sequence[bytes]) -> bytes:
    """An entry bundle: each leaf after its length in two bytes, big-endian.

    Raises:
        Malformed: more than `TILE_WIDTH` leaves, or one longer than `MAX_ENTRY_BYTES`.
    """
    if not 1 <= len(leaves) <= TILE_WIDTH or any(len(leaf) > MAX_ENTRY_BYTES for leaf in leaves):
        raise Malformed("An entry bundle has 1 to 256 leaves of at most 65,535 bytes.")
    return b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves)


def parse_bundle(data: bytes, width: int) -> list[bytes]:
    """The leaves of an entry bundle.

    Raises:
        Malformed: it is cut off, or does not have `width` of them.
    """
    leaves: list[bytes] = []
    at = 0
    while at < len(data) and len(leaves) < width:
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if at + 2 > len(data) or end > len(data):
            raise Malformed(f"An entry bundle is cut off in entry {len(leaves)}.")
        leaves.append(data[at + 2 : end])
        at = end
    if len(leaves) != width or at != len(data):
        raise Malformed(f"An entry bundle does not hold exactly {width} entries.")
    return leaves
