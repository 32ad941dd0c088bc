"""Where values of settings come from: built-in default, `countenance.toml`, environment, command line, in rising order.

Anything that is not recognised is an error: a misspelt limit that is silently ignored is a limit that is not there.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Final

from countenance.config.kinds import Kind, SettingsError
from countenance.config.settings import Settings

ENVIRONMENT_PREFIX: Final = "COUNTENANCE_"
SETTINGS_FILE: Final = "countenance.toml"
SETTINGS_FILE_VARIABLE: Final = "COUNTENANCE_CONFIG"
OTHER_VARIABLES: Final = frozenset(
    {SETTINGS_FILE_VARIABLE, "COUNTENANCE_ARCHIVE_PASSWORD_FILE", "COUNTENANCE_TEST_DATA"}
)
"""Variables with our prefix that are not settings: the settings file's path, and where the test suite looks
for photographs."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings, and for each of them by name the place its value came from."""

    settings: Settings
    origins: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Description:
    """What documentation and `config show` say about one setting."""

    name: str
    variable: str
    expects: str
    default: object
    doc: str
    secret: bool


def describe() -> list[Description]:
    """Every setting, in the order of `Settings`."""
    return [
        Description(
            name=each.name,
            variable=ENVIRONMENT_PREFIX + each.name.upper(),
            expects=each.metadata["kind"].expects,
            default=None if each.default is MISSING else each.default,
            doc=each.metadata["doc"],
            secret=each.metadata["secret"],
        )
        for each in fields(Settings)
    ]


def load(
    environ: Mapping[str, str], flags: Mapping[str, object] | None = None, toml_path: Path | None = None
) -> Loaded:
    """Read every place a setting can come from and keep, for each, the strongest value.

    Args:
        environ: the process environment.
        flags: values given on the command line, by setting name; None means not given.
        toml_path: the settings file; by default `$COUNTENANCE_CONFIG`, else `countenance.toml` in the
            working directory when there is one. Relative paths inside it are relative to its folder.

    Raises:
        SettingsError: an unknown key or variable, a value of the wrong kind, or an unreadable file.
    """
    values: dict[str, object] = {}
    origins = {each.name: "default" for each in fields(Settings)}

    def take(name: str, raw: object, origin: str, *, as_text: bool, base: Path | None = None) -> None:
        value = _read(name, raw, origin, as_text=as_text)
        if base is not None and isinstance(value, Path):
            value = base / value
        values[name], origins[name] = value, origin

    path = _settings_file(environ, toml_path)
    if path is not None:
        for key, raw in _read_toml(path).items():
            _require_known(key, key, str(path))
            take(key, raw, str(path), as_text=False, base=path.parent)
    for variable, raw in environ.items():
        if variable.startswith(ENVIRONMENT_PREFIX) and variable not in OTHER_VARIABLES:
            name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
            _require_known(name, variable, "the environment")
            take(name, raw, f"environment {variable}", as_text=True)
    for name, raw in (flags or {}).items():
        if raw is not None:
            _require_known(name, name, "the command line")
            take(name, raw, "command line", as_text=False)
    return Loaded(Settings(**values), origins)  # type: ignore[arg-type]


def _settings_file(environ: Mapping[str, str], toml_path: Path | None) -> Path | None:
    if toml_path is None and environ.get(SETTINGS_FILE_VARIABLE):
        toml_path = Path(environ[SETTINGS_FILE_VARIABLE])
    if toml_path is not None:
        return toml_path
    default = Path(SETTINGS_FILE)
    return default if default.exists() else None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"settings file {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {path} is not TOML: {error}") from None


def _require_known(name: str, written: str, place: str) -> None:
    known = [each.name for each in fields(Settings)]
    if name in known and (written == name or written == ENVIRONMENT_PREFIX + name.upper()):
        return
    near = difflib.get_close_matches(name.lower(), known, n=1)
    if near and written.startswith(ENVIRONMENT_PREFIX):
        near = [ENVIRONMENT_PREFIX + near[0].upper()]
    hint = f"did you mean {near[0]}?" if near else "`countenance config show` lists every setting"
    raise SettingsError(f"{written} in {place} is not a setting", hint=hint)


def _read(name: str, raw: object, origin: str, *, as_text: bool) -> object:
    (each,) = (each for each in fields(Settings) if each.name == name)
    if raw == "" and as_text and each.default is None:
        return None  # compose files write `VARIABLE=` for "not set"
    kind: Kind = each.metadata["kind"]
    try:
        return kind.read(raw, as_text)
    except (ValueError, TypeError):
        shown = "that value" if each.metadata["secret"] else repr(raw)[:80]
        raise SettingsError(f"{name} from {origin} cannot be {shown}", hint=f"it must be {kind.expects}") from None
