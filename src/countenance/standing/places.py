"""Which country an address of the internet is in, by a table that the operator brings.

Two forms: `NETWORK,COUNTRY` lines (CIDR, or two addresses: `FIRST,LAST,COUNTRY`), and the statistics files that
regional registries publish ("delegated", RIR statistics exchange format, version 2). Nothing is looked up elsewhere,
and nothing but the country goes further than this.
"""

from __future__ import annotations

import csv
import ipaddress
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from countenance.errors import Error
from countenance.standing.lists.countries import code_of

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
MAX_BYTES: Final = 1 << 30
_RIR_MEMBERS: Final = 7
_NOBODY: Final = frozenset({"", "ZZ", "EU", "AP", "-", "XX"})
"""What tables have where a network is no country's."""


class PlacesError(Error):
    """The table cannot be read."""


class Places:
    """A table, for asking. Later lines of networks within others count, as in routing: the narrowest decides."""

    def __init__(self, ranges: Iterable[tuple[int, int, int, str]] = ()) -> None:
        """Of (version, first, last, country)."""
        self._starts: dict[int, list[int]] = {4: [], 6: []}
        self._countries: dict[int, list[str]] = {4: [], 6: []}
        by_version: dict[int, list[tuple[int, int, str]]] = {4: [], 6: []}
        for version, first, last, country in ranges:
            by_version[version].append((first, last, country))
        for version, known in by_version.items():
            for start, country in _flat(known):
                self._starts[version].append(start)
                self._countries[version].append(country)

    def __len__(self) -> int:
        return sum(map(len, self._starts.values()))

    def country_of(self, address: str) -> str:
        """ISO 3166-1 alpha-2 in upper case; "" for one that the table does not have, and for texts that are none."""
        try:
            found = ipaddress.ip_address(address.partition("%")[0])
        except ValueError:
            return ""
        if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
            found = found.ipv4_mapped
        place = bisect_right(self._starts[found.version], int(found))
        return self._countries[found.version][place - 1] if place else ""


def load(path: Path) -> Places:
    """Reads a table. Raises PlacesError."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise PlacesError(f"The table of places {path} is larger than {MAX_BYTES >> 20} MiB.")
        with path.open(encoding="utf-8-sig", newline="") as file:
            return Places(_ranges(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise PlacesError(f"The table of places {path} cannot be read: {str(error)[:200]}.") from None


def _ranges(lines: Iterable[str]) -> Iterator[tuple[int, int, int, str]]:
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        try:
            found = _delegated(text.split("|")) if "|" in text else _networks(next(csv.reader([text])))
        except ValueError as error:
            if number == 1:
                continue  # names of columns
            raise PlacesError(
                f"Line {number} of the table of places is none: {str(error)[:100]}.", hint="as in 192.0.2.0/24,NL"
            ) from None
        yield from found


def _networks(members: list[str]) -> list[tuple[int, int, int, str]]:
    parts = [each.strip() for each in members]
    if "/" in parts[0]:
        network = ipaddress.ip_network(parts[0], strict=False)
        first, last, country = network.network_address, network.broadcast_address, parts[1] if len(parts) > 1 else ""
    else:
        if len(parts) < 3:
            raise ValueError("it has neither a network nor two addresses")
        first, last, country = ipaddress.ip_address(parts[0]), ipaddress.ip_address(parts[1]), parts[2]
    if first.version != last.version or int(first) > int(last):
        raise ValueError("its addresses are no range")
    return [(first.version, int(first), int(last), _country(country))]


def _delegated(members: list[str]) -> list[tuple[int, int, int, str]]:
    if len(members) < _RIR_MEMBERS or members[2] not in ("ipv4", "ipv6") or members[3] == "*":
        return []  # the version line, summaries, and numbers of autonomous systems
    first = ipaddress.ip_address(members[3])
    size = int(members[4])
    count = size if first.version == 4 else 1 << (128 - size)
    if count < 1:
        raise ValueError("it has no size")
    return [(first.version, int(first), int(first) + count - 1, _country(members[1]))]


def _country(text: str) -> str:
    code = text.strip().upper()
    if code in _NOBODY:
        return ""
    found = code_of(code)
    if not found:
        raise ValueError(f"{code[:20]!r} is no country")
    return found.upper()


def _flat(ranges: list[tuple[int, int, str]]) -> Iterator[tuple[int, str]]:
    """Where which country begins; the narrowest of ranges within each other counts."""
    edges: list[tuple[int, str]] = []
    open_ones: list[tuple[int, str]] = []  # last, country: the innermost is the last

    def begin(start: int, country: str) -> None:
        if edges and edges[-1][0] == start:
            edges[-1] = (start, country)
        elif not edges or edges[-1][1] != country:
            edges.append((start, country))

    for first, last, country in sorted(ranges, key=lambda each: (each[0], -each[1])):
        while open_ones and open_ones[-1][0] < first:
            ended = open_ones.pop()[0]
            while open_ones and open_ones[-1][0] <= ended:
                open_ones.pop()
            begin(ended + 1, open_ones[-1][1] if open_ones else "")
        begin(first, country)
        open_ones.append((last, country))
    while open_ones:
        ended = open_ones.pop()[0]
        while open_ones and open_ones[-1][0] <= ended:
            open_ones.pop()
        begin(ended + 1, open_ones[-1][1] if open_ones else "")
    yield from edges
