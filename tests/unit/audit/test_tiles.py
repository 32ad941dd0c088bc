from __future__ import annotations

import pytest
from countenance_audit import tiles
from countenance_audit.errors import Malformed
from hypothesis import given
from hypothesis import strategies as st


def test_the_paths_of_the_specification() -> None:
    assert tiles.tile_path(0, 1234067) == "tile/0/x001/x234/067"
    assert tiles.tile_path(2, 0, 1) == "tile/2/000.p/1"
    assert tiles.entries_path(999, 255) == "tile/entries/999.p/255"
    assert tiles.entries_path(1000) == "tile/entries/x001/000"


@given(
    st.none() | st.integers(0, 63),
    st.integers(0, 999) | st.integers(0, 2**55 - 1),
    st.integers(1, 256),
)
def test_a_path_names_its_tile(level: int | None, index: int, width: int) -> None:
    tile = tiles.Tile(level, index, width)
    assert tiles.parse_path(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0",
        "tile/0/1",
        "tile/00/001",
        "tile/64/001",
        "tile/0/x000/001",
        "tile/0/001/x002",
        "tile/0/001.p/0",
        "tile/0/001.p/256",
        "tile/0/001.p/01",
        "tile/0/001\n",
        "tile/0/../001",
        "tile/Entries/001",
        "tile/0/٠٠١",
        "tile/0/" + "x999/" * 6 + "999",
        "/tile/0/001",
        "tile/0/" + "x001/" * 100_000 + "001",
    ],
)
def test_other_paths_name_none(path: str) -> None:
    with pytest.raises(Malformed):
        tiles.parse_path(path)


def test_the_tiles_of_the_specifications_example() -> None:
    found = list(tiles.tiles_of(70_000))
    assert len([t for t in found if t.level == 0]) == 274
    assert found[273] == tiles.Tile(None, 273, 112)
    assert [t for t in found if t.level == 1] == [tiles.Tile(1, 0), tiles.Tile(1, 1, 17)]
    assert [t for t in found if t.level == 2] == [tiles.Tile(2, 0, 1)]
    assert [t for t in tiles.tiles_of(256) if t.level is not None] == [tiles.Tile(0, 0), tiles.Tile(1, 0, 1)]
    assert list(tiles.tiles_of(0)) == []


@given(st.lists(st.binary(max_size=300), min_size=1, max_size=256))
def test_bundles_survive_being_written(leaves: list[bytes]) -> None:
    octets = tiles.encode_bundle(leaves)
    assert tiles.parse_bundle(octets, len(leaves)) == leaves
    for wrong in (octets[:-1], octets + b"\0", octets + octets):
        with pytest.raises(Malformed):
            tiles.parse_bundle(wrong, len(leaves))


@given(st.binary(max_size=100), st.integers(1, 256))
def test_any_bytes_are_a_bundle_or_malformed(octets: bytes, width: int) -> None:
    try:
        leaves = tiles.parse_bundle(octets, width)
    except Malformed:
        return
    assert tiles.encode_bundle(leaves) == octets


def test_tiles_have_their_width() -> None:
    assert tiles.parse_tile(bytes(64), 2) == [bytes(32)] * 2
    for octets in (b"", bytes(63), bytes(96)):
        with pytest.raises(Malformed):
            tiles.parse_tile(octets, 2)
    with pytest.raises(Malformed):
        tiles.encode_bundle([bytes(65_536)])
