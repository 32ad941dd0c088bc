"""The pages about settings and the command line say what the code says."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from countenance.cli import main
from countenance.cli.enrol import _progress

ROOT = Path(__file__).resolve().parents[3]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["generate_settings", "generate_cli", "generate_capacity"])
def test_the_page_is_what_the_code_says(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--check"])
    assert script(name).main() == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", ["generate_settings", "generate_cli"])
def test_a_stale_page_is_noticed_and_left_alone(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = script(name)
    stale = tmp_path / "page.md"
    stale.write_text(module.page().replace("countenance", "something else", 1))
    monkeypatch.setattr(module, "PAGE", stale)
    before = stale.read_text()
    monkeypatch.setattr(sys, "argv", [name, "--check"])
    assert module.main() == 1
    assert "something else" in capsys.readouterr().out
    assert stale.read_text() == before
    monkeypatch.setattr(sys, "argv", [name])
    assert module.main() == 0
    assert stale.read_text() == module.page()


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from commands(below, f"{path} {name}")


ALL = dict(commands(main, "countenance"))


@pytest.mark.parametrize("path", ALL)
def test_every_help_text_ends_in_an_example_of_itself(path: str) -> None:
    command = ALL[path]
    text = command.get_help(click.Context(command, info_name=path))
    last = text.rstrip().rpartition("Example:\n")[2]
    assert last.strip().startswith(("$ ", "eval"))
    assert path in last
    assert command.help


# These run until they are stopped and answer nothing.
SERVERS = ("countenance serve", "countenance witness serve")
VERBS = [path for path, each in ALL.items() if not isinstance(each, click.Group) and path not in SERVERS]


@pytest.mark.parametrize("path", VERBS)
def test_every_verb_answers_in_json_and_says_how(path: str) -> None:
    assert "--json" in {name for option in ALL[path].params for name in option.opts}
    assert f"`{path}`" in (ROOT / "docs/reference/cli-json.md").read_text(encoding="utf-8")


def test_a_terminal_gets_a_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = os.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        with _progress(2) as advance:
            advance()
            advance()
    seen = b""
    while b"2/2" not in seen:
        try:
            portion = os.read(ours, 65536)  # as much as was written so far
        except OSError:  # the other end is closed, and nothing is left
            break
        seen += portion
    os.close(ours)
    assert b"2/2" in seen
