"""Writes docs/reference/settings.md from the fields of `countenance.config.Settings`, or checks it.

python scripts/generate_settings.py [--check]
"""

from __future__ import annotations

import difflib
import sys
from pathlib import Path

from countenance.config import Description, describe

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "settings.md"

HEAD = """\
# Settings

<!-- made by scripts/generate_settings.py: edit src/countenance/config/settings.py, then run `make docs` -->

A setting's value comes from the last of these places that names it:

1. its default;
2. `countenance.toml` in the working directory, or the file that `COUNTENANCE_CONFIG` or `serve --config` names,
   under the setting's name (relative paths in it are relative to the file's folder);
3. the environment, under the variable below (`auto` where it says so; an empty value means not set for a
   setting without a default);
4. the command line, for the settings that `countenance serve --help` lists.

A name that is not in this table is an error, in the file and in the environment alike. `countenance config show`
prints every effective value and where it came from; secrets are shown as `********`. The server refuses to start
with settings that contradict each other: one half of a TLS key pair, an address that other machines can reach
without TLS and without `insecure_http`, S3 keys without an endpoint.

"""


def page() -> str:
    """The whole page."""
    rows = ["| setting | variable | default | value |", "|---|---|---|---|"]
    rows += [f"| `{each.name}` | `{each.variable}` | {_default(each)} | {each.expects} |" for each in describe()]
    details = [f"### {each.name}\n\n{each.doc}{_secret(each)}\n" for each in describe()]
    return HEAD + "\n".join(rows) + "\n\n## What they mean\n\n" + "\n".join(details)


def _default(each: Description) -> str:
    if each.default is None:
        return "auto" if each.expects.endswith("auto") else "none"
    if isinstance(each.default, tuple):
        return ", ".join(each.default) or "none"
    if isinstance(each.default, bool):
        return f"`{str(each.default).lower()}`"
    return f"`{each.default:g}`" if isinstance(each.default, float) else f"`{each.default}`"


def _secret(each: Description) -> str:
    return " Never shown." if each.secret else ""


def main() -> int:
    """Write the page, or with --check print how it differs; 1 when it does."""
    text = page()
    found = PAGE.read_text("utf-8") if PAGE.exists() else ""
    if found == text:
        return 0
    if "--check" in sys.argv[1:]:
        names = ("docs/reference/settings.md", "docs/reference/settings.md (from the code)")
        sys.stdout.writelines(difflib.unified_diff(found.splitlines(True), text.splitlines(True), *names))
        return 1
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
