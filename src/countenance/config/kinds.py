"""How values of settings are read: each kind says what it expects. Knows no setting."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from countenance.errors import Error


class SettingsError(Error):
    """A setting is unknown, has a value it cannot have, or contradicts another one."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How one sort of value is read. `read` raises ValueError with what was expected."""

    expects: str
    read: Callable[[object, bool], object]
    """Takes the value and whether it came as text (environment) or typed (TOML, command line)."""


def _text(raw: object, _as_text: bool) -> str:
    if not isinstance(raw, str) or not raw or "\0" in raw:
        raise ValueError
    return raw


def _path(raw: object, _as_text: bool) -> Path:
    if isinstance(raw, Path):
        return raw
    return Path(_text(raw, True)).expanduser()


def _switch(raw: object, as_text: bool) -> bool:
    if isinstance(raw, bool):
        return raw
    if as_text and isinstance(raw, str):
        if raw.lower() in ("true", "yes", "on", "1"):
            return True
        if raw.lower() in ("false", "no", "off", "0"):
            return False
    raise ValueError


def _names(raw: object, as_text: bool) -> tuple[str, ...]:
    if as_text and isinstance(raw, str):
        return tuple(part.strip() for part in raw.split(",") if part.strip())
    if isinstance(raw, list | tuple) and all(isinstance(part, str) and part for part in raw):
        return tuple(raw)
    raise ValueError


def whole(low: int, high: int) -> Kind:
    """A whole number."""

    def read(raw: object, as_text: bool) -> int:
        if as_text and isinstance(raw, str) and re.fullmatch(r"[0-9]{1,18}", raw):
            raw = int(raw)
        if isinstance(raw, bool) or not isinstance(raw, int) or not low <= raw <= high:
            raise ValueError
        return raw

    return Kind(f"a whole number from {low} to {high}", read)


def seconds(low: float, high: float) -> Kind:
    """A number of seconds."""

    def read(raw: object, as_text: bool) -> float:
        value = float(raw) if as_text and isinstance(raw, str) else raw
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError
        if not math.isfinite(value) or not low <= value <= high:
            raise ValueError
        return float(value)

    return Kind(f"seconds, from {low:g} to {high:g}", read)


def hours(low: float, high: float) -> Kind:
    """A number of hours."""
    return Kind(f"hours, from {low:g} to {high:g}", seconds(low, high).read)


def choice(*names: str) -> Kind:
    """One of a few words."""

    def read(raw: object, _as_text: bool) -> str:
        if raw not in names:
            raise ValueError
        return str(raw)

    return Kind("one of " + ", ".join(names), read)


def or_auto(kind: Kind) -> Kind:
    """What `kind` takes, or the word auto."""

    def read(raw: object, as_text: bool) -> object:
        return None if raw == "auto" else kind.read(raw, as_text)

    return Kind(f"{kind.expects}, or auto", read)


TEXT: Final = Kind("text", _text)
PATH: Final = Kind("a path", _path)
SWITCH: Final = Kind("true or false", _switch)
NAMES: Final = Kind("a list of texts (separated by commas in the environment)", _names)


def setting(default: Any, kind: Kind, doc: str, *, secret: bool = False) -> Any:
    """A field of `Settings`."""
    return field(default=default, repr=not secret, metadata={"kind": kind, "doc": doc, "secret": secret})
