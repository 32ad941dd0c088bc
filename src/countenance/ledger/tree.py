"""The tree as far as it is complete: the right edge in memory, complete tiles in the database.

Knows hashes and tiles of 256 (C2SP tlog-tiles, height 8); does not know leaves' meaning, time or signatures. A `Tree`
is a value: appending makes another one, so a reader keeps a consistent view while the writer thread goes on, and a
transaction that fails leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Final

from countenance_audit.merkle import HASH_BYTES, consistency_proof, inclusion_proof, range_root, root_of

HEIGHT: Final = 8
WIDTH: Final = 1 << HEIGHT
EDGES_IN_MEMORY: Final = 16
"""Incomplete tiles kept with their nodes, at most 40 KB each: a log of 2^63 leaves has eight."""

ReadTile = Callable[[int, int], bytes]
"""(level, n) -> the 8,192 bytes of a complete tile."""
ReadLayers = Callable[[int, int], list[list[bytes]]]
"""(level, n) -> the 256 hashes of a complete tile, the 128 nodes above them, and so on up to its root."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree of `size` leaves; `edges[level]` holds the hashes of the incomplete tile at each tile level."""

    size: int = 0
    edges: tuple[tuple[bytes, ...], ...] = ()

    def extended(self, leaf_hashes: list[bytes]) -> tuple[Tree, list[tuple[int, int, bytes]]]:
        """The tree with more leaves, and the tiles (level, n, hashes) that became complete."""
        edges = [list(edge) for edge in self.edges]
        complete: list[tuple[int, int, bytes]] = []
        size = self.size
        for hashed in leaf_hashes:
            level, item = 0, hashed
            while True:
                if level == len(edges):
                    edges.append([])
                edges[level].append(item)
                if len(edges[level]) < WIDTH:
                    break
                complete.append((level, size >> (HEIGHT * (level + 1)), b"".join(edges[level])))
                item = _perfect(edges[level])
                edges[level] = []
                level += 1
            size += 1
        return Tree(size, tuple(tuple(edge) for edge in edges)), complete

    def hashes(self, level: int, n: int, read: ReadTile) -> list[bytes]:
        """The hashes of tile n at a tile level, as many as there are."""
        if n < self.size >> (HEIGHT * (level + 1)):
            return _split(read(level, n))
        if level < len(self.edges) and n == self.size >> (HEIGHT * (level + 1)):
            return list(self.edges[level])
        return []

    def leaf_hashes(self, n: int, read: ReadTile) -> list[bytes]:
        """The hashes of a tile's leaves, if every tile above them says the same, up to one that is in memory; else
        none."""
        found = here = self.hashes(0, n, read)
        level = 0
        while here and n < self.size >> (HEIGHT * (level + 1)):
            at, n, level = n % WIDTH, n >> HEIGHT, level + 1
            above = self.hashes(level, n, read)
            if len(here) != WIDTH or at >= len(above) or _perfect(here) != above[at]:
                return []
            here = above
        return found

    def subtree(self, read: ReadTile, layers: ReadLayers | None = None) -> Callable[[int, int], bytes]:
        """What gives the hash of a complete subtree, as `countenance_audit.merkle` asks for it.

        Args:
            layers: complete tiles of the upper levels with all nodes above their hashes, if they are kept: few tiles,
                which every proof needs.
        """

        def hash_of(level: int, index: int) -> bytes:
            tile_level, height = divmod(level, HEIGHT)
            first, count = index << height, 1 << height
            n, start = first >> HEIGHT, first % WIDTH
            if n < self.size >> (HEIGHT * (tile_level + 1)):
                if tile_level and layers is not None:
                    return layers(tile_level, n)[height][start >> height]
                # Only the part that is needed: a proof asks for eight parts of each of its tiles.
                return _perfect(_split(read(tile_level, n)[start * HASH_BYTES : (start + count) * HASH_BYTES]))
            return _above(self.edges[tile_level])[height][start >> height]

        return hash_of

    def root(self, size: int, read: ReadTile) -> bytes:
        """The root of the first `size` leaves."""
        return range_root(0, size, self.subtree(read)) if size else root_of([])

    def inclusion(self, index: int, size: int, read: ReadTile, layers: ReadLayers | None = None) -> list[bytes]:
        """The proof that leaf `index` is in the first `size` leaves."""
        return inclusion_proof(index, size, self.subtree(read, layers))

    def consistency(self, size1: int, size2: int, read: ReadTile) -> list[bytes]:
        """The proof that the first `size2` leaves begin with the first `size1`."""
        return consistency_proof(size1, size2, self.subtree(read))


def rebuilt(size: int, leaf_hashes: Iterator[bytes], read: ReadTile) -> Tree:
    """The tree of a log of `size` leaves, from its complete tiles.

    Args:
        leaf_hashes: of the leaves beyond the last complete tile.
    """
    edges: list[tuple[bytes, ...]] = []
    level, count = 0, size
    while count:
        start = count >> HEIGHT << HEIGHT
        roots = (_tile_root(read(level - 1, n)) for n in range(start, count))
        edges.append(tuple(roots if level else leaf_hashes))
        level, count = level + 1, count >> HEIGHT
    return Tree(size, tuple(edges))


def _tile_root(whole: bytes) -> bytes:
    return _perfect(_split(whole))


def layers_of(whole: bytes) -> list[list[bytes]]:
    """A complete tile's hashes and every node above them."""
    layers = [_split(whole)]
    while len(layers[-1]) > 1:
        below = layers[-1]
        pairs = zip(below[::2], below[1::2], strict=True)
        layers.append([sha256(b"\x01" + left + right).digest() for left, right in pairs])
    return layers


@lru_cache(EDGES_IN_MEMORY)
def _above(edge: tuple[bytes, ...]) -> list[list[bytes]]:
    """The hashes of an incomplete tile, and every node above them whose leaves are all there. The upper edges change
    once in 256 leaves and later, and each proof needs up to 255 of their nodes."""
    layers = [list(edge)]
    while len(layers[-1]) > 1:
        below = layers[-1]
        pairs = zip(below[::2], below[1::2], strict=False)  # the last may be alone
        layers.append([sha256(b"\x01" + left + right).digest() for left, right in pairs])
    return layers


def _split(hashes: bytes) -> list[bytes]:
    return [hashes[at : at + HASH_BYTES] for at in range(0, len(hashes), HASH_BYTES)]


def _perfect(nodes: list[bytes]) -> bytes:
    """The root over a power of two of nodes (RFC 6962, section 2.1)."""
    while len(nodes) > 1:
        nodes = [sha256(b"\x01" + left + right).digest() for left, right in zip(nodes[::2], nodes[1::2], strict=True)]
    return nodes[0]
