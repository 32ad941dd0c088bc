"""Tables of which country an address is in."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from countenance.standing.places import Places, PlacesError, load


def of(tmp_path: Path, text: str) -> Places:
    file = tmp_path / "places.csv"
    file.write_text(text)
    return load(file)


def test_networks_and_ranges(tmp_path: Path) -> None:
    table = of(
        tmp_path,
        "network,country\n# documentation networks\n192.0.2.0/24,NL\n192.0.2.128/25,de\n\n"
        "198.51.100.0,198.51.100.9,RU\n2001:db8::/32,LU\n203.0.113.0/24,ZZ\n",
    )
    asked = {
        "192.0.2.0": "NL",
        "192.0.2.127": "NL",
        "192.0.2.128": "DE",
        "192.0.2.255": "DE",
        "192.0.3.0": "",
        "198.51.100.9": "RU",
        "198.51.100.10": "",
        "2001:db8::1": "LU",
        "2001:db9::": "",
        "::ffff:192.0.2.200": "DE",
        "fe80::1%eth0": "",
        "203.0.113.7": "",
        "127.0.0.1": "",
        "no address": "",
        "": "",
    }
    assert {each: table.country_of(each) for each in asked} == asked


def test_what_registries_publish(tmp_path: Path) -> None:
    table = of(
        tmp_path,
        "2|ripencc|20260101|4|19830705|20260101|+0000\nripencc|*|ipv4|*|2|summary\n"
        "ripencc|NL|ipv4|192.0.2.0|128|20200101|allocated\nripencc|DE|ipv4|192.0.2.128|128|20200101|assigned|x\n"
        "ripencc|LU|ipv6|2001:db8::|32|20200101|allocated\nripencc|RU|asn|64496|1|20200101|allocated\n",
    )
    asked = ("192.0.2.127", "192.0.2.128", "2001:db8:ffff::1")
    assert [table.country_of(each) for each in asked] == ["NL", "DE", "LU"]


@pytest.mark.parametrize(
    "line", ["192.0.2.0/24,QQ", "192.0.2.9,192.0.2.1,NL", "192.0.2.1,NL", "x", "192.0.2.0/33,NL", "192.0.2.1,::1,NL"]
)
def test_a_line_that_is_none_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(PlacesError, match="Line 2"):
        of(tmp_path, f"192.0.2.0/24,NL\n{line}\n")


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlacesError):
        load(tmp_path / "none")
    (tmp_path / "x").write_bytes(b"192.0.2.0/24,NL\n\xff\xfe")
    with pytest.raises(PlacesError):
        load(tmp_path / "x")


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 5), st.sampled_from(["NL", "DE", ""])), max_size=12))
def test_the_narrowest_range_decides(ranges: list[tuple[int, int, str]]) -> None:
    """Against looking at every range, of those that lie within each other or apart."""
    aligned = {}
    for start, bits, country in ranges:
        first = start >> bits << bits
        aligned[first, first + (1 << bits) - 1] = country
    table = Places((4, first, last, country) for (first, last), country in aligned.items())
    for address in range(70):
        holding = [(last - first, country) for (first, last), country in aligned.items() if first <= address <= last]
        expected = min(holding)[1] if holding else ""
        assert table.country_of(str(ipaddress.IPv4Address(address))) == expected
