"""A server without the extra imports the package, and is told what is missing when it screens. Needs no extra."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys
sys.modules[{missing!r}] = None
from countenance.standing.listed import ListedEntity, Name, Schema
from countenance.standing.matching import MatcherMissing, Screener, TrigramIndex
entity = ListedEntity("test", "1", Schema.COMPANY, (Name("Tevian"),))
print(TrigramIndex([entity]).top(["Tevian"])[0][0])
try:
    Screener([entity])
except MatcherMissing as error:
    print(error.hint)
"""


@pytest.mark.parametrize("missing", ["nomenklatura", "followthemoney", "rigour", "icu"])
def test_a_missing_part_is_named_with_what_to_do(missing: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(missing=missing)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    place, hint = done.stdout.splitlines()
    assert place == "0"
    assert "countenance[standing]" in hint
    assert "libicu-dev" in hint


def test_importing_loads_none_of_it() -> None:
    heavy = "{'nomenklatura', 'followthemoney', 'rigour', 'icu'}"
    script = f"import sys, countenance.standing.matching; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
