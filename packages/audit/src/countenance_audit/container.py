"""The container of bundles and audit packs: named members in a fixed order, and not one octet besides.

Knows layout and hashes; does not know what members say. A container is

    countenance/container/v1 <newline>
    canonical JSON {"kind", "members": [{"name", "bytes", "sha256"}]} <newline>
    the members' octets, one after the other

so that equal contents are equal octets, and every octet is covered by a hash or is the table itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any, Final

from countenance_audit import canonical
from countenance_audit.errors import Malformed, Rejected
from countenance_audit.members import array, hexadecimal, integer, matching, members, text

MAGIC: Final = b"countenance/container/v1\n"
MAX_TABLE_BYTES: Final = 16 * 1024 * 1024
"""Longest table: some 100,000 members."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}(?:/[a-z0-9][a-z0-9._-]{0,99}){0,3}")
_table: Final = members(
    {
        "kind": text,
        "members": array(
            members({"name": matching(_NAME, "a member's name"), "bytes": integer(0), "sha256": hexadecimal})
        ),
    }
)


def write(kind: str, contents: Mapping[str, bytes]) -> bytes:
    """A container.

    Args:
        kind: what it is, such as `evidence`.
        contents: name -> octets; they are put in the order of their names.

    Raises:
        Malformed: a name is none.
    """
    names = sorted(contents)
    table = {
        "kind": kind,
        "members": [
            {"name": name, "bytes": len(contents[name]), "sha256": sha256(contents[name]).hexdigest()} for name in names
        ],
    }
    _table(table, "The container")
    return b"".join([MAGIC, canonical.encode(table), b"\n", *(contents[name] for name in names)])


def read(data: bytes, kind: str) -> dict[str, bytes]:
    """Name -> octets.

    Raises:
        Malformed: it is no container of this kind, or has members twice, out of order, or octets besides.
        Rejected: a member is not what the table says.
    """
    if not data.startswith(MAGIC):
        raise Malformed(f"This is no container: it does not begin with {MAGIC.decode().strip()}.")
    end = data.find(b"\n", len(MAGIC), len(MAGIC) + MAX_TABLE_BYTES)
    if end < 0:
        raise Malformed("The container's table does not end.")
    table = canonical.decode(data[len(MAGIC) : end])
    _table(table, "The container")
    if table["kind"] != kind:
        raise Malformed(f"The container is of the kind {table['kind'][:40]!r}, not {kind!r}.")
    names = [each["name"] for each in table["members"]]
    if names != sorted(set(names)):
        raise Malformed("The container's members are not in the order of their names, or one comes twice.")
    found, at = {}, end + 1
    for name, octets in _slices(table["members"], data, at):
        found[name] = octets
        at += len(octets)
    if at != len(data):
        raise Malformed("The container ends in octets that belong to no member.")
    return found


def _slices(table: list[dict[str, Any]], data: bytes, at: int) -> Iterator[tuple[str, bytes]]:
    for each in table:
        octets = data[at : at + each["bytes"]]
        if len(octets) != each["bytes"]:
            raise Malformed(f"The container is cut off within {each['name']}.")
        if sha256(octets).hexdigest() != each["sha256"]:
            raise Rejected(f"{each['name']} in the container is not what its table says.")
        at += len(octets)
        yield each["name"], octets


def lines(values: Iterator[Any]) -> bytes:
    """A member of many objects: one canonical JSON text a line."""
    return b"".join(canonical.encode(each) + b"\n" for each in values)


def read_lines(data: bytes, what: str) -> Iterator[Any]:
    """The objects of such a member. Raises Malformed."""
    if data and not data.endswith(b"\n"):
        raise Malformed(f"{what} does not end in a newline.")
    for number, line in enumerate(data.split(b"\n")[:-1], start=1):
        try:
            yield canonical.decode(line)
        except Malformed as failure:
            raise Malformed(f"{what}, line {number}: {failure.message}") from None
