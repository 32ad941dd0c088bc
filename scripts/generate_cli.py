"""Writes docs/reference/cli.md from the help texts of the command line, or checks it.

python scripts/generate_cli.py [--check]
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from countenance.cli import main as root

PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "cli.md"

WIDTH = 100
"""Columns of the help texts on the page, whatever terminal this runs in."""

HEAD = """\
# Command line

<!-- made by scripts/generate_cli.py: edit src/countenance/cli, then run `make docs` -->

`countenance NOUN VERB`. Data goes to stdout, everything else to stderr. Every verb but `serve` takes `--json`; what it
prints is in [cli-json.md](cli-json.md).

| exit status | meaning |
|---|---|
| 0 | yes: there is a face, it matches, it is done, all is well |
| 1 | no: no face, no match, a file that cannot be used, something is broken |
| 2 | wrong usage, a file or folder named that is missing or may not be read, or a setting that cannot be |
| 3 | could not decide: no server, a refused key, an image without a face to compare |
| 130 | stopped by Ctrl-C; `serve`, which is stopped no other way, ends with 0 |

**Remote verbs** (`detect`, `compare`, `enrol`, `search`, `collection`) are calls of the AWS API over HTTP. Their access
key comes from `DIR/credentials`; only when there is no such file and no `--data` was given, from `AWS_ACCESS_KEY_ID`
and `AWS_SECRET_ACCESS_KEY`. Endpoint and region come from `--endpoint-url` and `--region`, else from `DIR/config`, else
from `AWS_ENDPOINT_URL_REKOGNITION` or `AWS_ENDPOINT_URL` and `AWS_REGION` or `AWS_DEFAULT_REGION`. There is no default
endpoint, so nothing is ever sent to Amazon by accident. Profiles and `~/.aws` are not read. `AWS_CA_BUNDLE` names the
certificate authority of a server with a certificate of your own.

**Administrative verbs** (`account`, `key`, `bucket`, `sample`) work on the data folder: through the socket
`DIR/admin.sock` of the server that owns it, or, when none runs, by owning it themselves for a moment. They are for the
user who runs the server. `key env` only reads the two files.

"""


def page() -> str:
    """The whole page."""
    return HEAD + "\n".join(_sections(root, "countenance"))


def _sections(command: click.Command, path: str) -> Iterator[str]:
    context = click.Context(command, info_name=path, terminal_width=WIDTH, max_content_width=WIDTH)
    yield f"## {path}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None:
                yield from _sections(below, f"{path} {name}")


def main() -> int:
    """Write the page, or with --check print how it differs; 1 when it does."""
    text = page()
    found = PAGE.read_text("utf-8") if PAGE.exists() else ""
    if found == text:
        return 0
    if "--check" in sys.argv[1:]:
        names = ("docs/reference/cli.md", "docs/reference/cli.md (from the code)")
        sys.stdout.writelines(difflib.unified_diff(found.splitlines(True), text.splitlines(True), *names))
        return 1
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
