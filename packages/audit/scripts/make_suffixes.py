"""Writes src/countenance_audit/public_suffixes.txt from a copy of the Public Suffix List.

    python scripts/make_suffixes.py public_suffix_list.dat

The list is pinned: which part of a domain can be registered decides the key that a map has for it, so another list is
another version of the scheme. Needs the package `idna`, which countenance-audit itself does not.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import idna

HEAD = """\
// This Source Code Form is subject to the terms of the Mozilla Public License, v. 2.0. If a copy of the MPL was not
// distributed with this file, You can obtain one at https://mozilla.org/MPL/2.0/.
// The rules of the Public Suffix List (https://publicsuffix.org/list/), version {version},
// both of its sections, as A-labels, sorted, without comments. Made by scripts/make_suffixes.py.
"""
OUT = Path(__file__).parents[1] / "src/countenance_audit/public_suffixes.txt"


def main() -> None:
    text = Path(sys.argv[1]).read_text("utf-8")
    found = re.search(r"^// VERSION: (\S+)$", text, re.MULTILINE)
    rules = {line.split()[0] for line in text.splitlines() if line.strip() and not line.startswith("//")}
    OUT.write_text(
        HEAD.format(version=found[1] if found else "unknown")
        + "".join(f"{each}\n" for each in sorted(map(ascii_of, rules)))
    )


def ascii_of(rule: str) -> str:
    mark, rest = re.fullmatch(r"(!|\*\.)?(.*)", rule).groups()  # type: ignore[union-attr]
    return (mark or "") + ".".join(
        each if each.isascii() else idna.encode(each, uts46=True).decode() for each in rest.split(".")
    )


if __name__ == "__main__":
    main()
