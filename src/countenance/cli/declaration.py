"""Options that say whom an account belongs to, for the verbs that declare it, and how a declaration is printed.

Knows the words of the options and how they become the JSON that a party is declared as; what must be said, and in which
form, is decided where the register is. Documents are hashed here and go nowhere.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_HASH: Final = re.compile(r"[0-9a-fA-F]{64}")
_INVOLVED: Final = "NAME[;person][;share=PERCENT][;country=CODE][;SCHEME:IDENTIFIER]..."
_ADDRESS: Final = "CODE;TEXT[;registered|business|representative|residential]"
_DOCUMENTS: Final = {"contract": "contract_sha256", "terms_file": "terms_sha256"}
_LISTS: Final = {"owners", "end_users"}
_PLAIN_LISTS: Final = {"other_names", "used_in"}
_PARTY_OPTIONS: Final = (
    click.option("--party", "party_file", type=_FILE, metavar="FILE", help="All of this as a JSON file."),
    click.option("--legal-name", help="As the register has it."),
    click.option("--jurisdiction", metavar="CODE", help="ISO 3166: NL, US-DE."),
    click.option("--registration", metavar="REGISTER:NUMBER", help="Such as NL-KVK:27124701."),
    click.option("--lei", help="Legal Entity Identifier; this or --registration."),
    click.option("--domain", help="Of its mail and web site."),
    click.option("--owner", "owners", multiple=True, metavar=_INVOLVED, help="Who owns it; as often as needed."),
    click.option("--end-user", "end_users", multiple=True, metavar=_INVOLVED, help="Whom it serves."),
    click.option("--payer", metavar=_INVOLVED, help="Who pays, when that is not the party."),
    click.option("--payment-reference", help="By which payments are found."),
    click.option("--sector", help="What it does, such as logistics."),
    click.option("--other-name", "other_names", multiple=True, metavar="NAME", help="Another name of it."),
    click.option("--incorporated-on", metavar="DAY", help="Since when it exists: 2021-05-01."),
    click.option("--address", "addresses", multiple=True, metavar=_ADDRESS, help="Where it is."),
    click.option("--used-in", multiple=True, metavar="CODE", help="A country in which it will use the answers."),
    click.option("--email", help="Whom to write to."),
    click.option("--phone", help="Whom to call: +31 20 123 4567."),
    click.option("--monthly-calls", type=int, metavar="COUNT", help="How many calls a month it expects, at most."),
    click.option("--end-use", help="What was agreed that it will use the account for."),
    click.option("--signatory", metavar="NAME", help="Who signed."),
    click.option("--contract", metavar="FILE|SHA256", help="The contract or order; only its hash is kept."),
    click.option("--terms", "terms_version", metavar="VERSION", help="Of the terms that were accepted."),
    click.option("--terms-file", metavar="FILE|SHA256", help="The terms; only their hash is kept."),
)


def party_options(function: F) -> F:
    """The options of a declaration, as the argument `given` for `party_of`."""
    names = [str(option.name) for option in _declared_params()]

    def gathered(**values: Any) -> Any:
        return function(given={name: values.pop(name) for name in names}, **values)

    gathered.__doc__, gathered.__name__ = function.__doc__, function.__name__
    gathered.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    for option in reversed(_PARTY_OPTIONS):
        gathered = option(gathered)
    return gathered  # type: ignore[return-value]


def party_of(given: dict[str, Any]) -> dict[str, Any]:
    """The declaration as JSON: the file's members, and in their place what options say."""
    content: dict[str, Any] = _read(given["party_file"]) if given["party_file"] else {}
    for name, value in given.items():
        if name == "party_file" or value in (None, ()):
            continue
        if name in _DOCUMENTS:
            content[_DOCUMENTS[name]] = _hash_of(value, name)
        elif name in _LISTS:
            content[name] = [_involved(each) for each in value]
        elif name == "addresses":
            content[name] = [_address(each) for each in value]
        elif name in _PLAIN_LISTS:
            content[name] = list(value)
        else:
            content[name] = _involved(value) if name == "payer" else value
    return content


def lines_of(version: dict[str, Any]) -> Iterator[str]:
    """One version of a declaration, for people."""
    yield f"version {version['version']}, recorded {version['recorded_at']}, act {version['act']}"
    for name, value in version["party"].items():
        values = value if isinstance(value, list) else [] if value is None else [value]
        for each in values:
            yield f"  {name}: {_told(each) if isinstance(each, dict) else each}"


def _declared_params() -> list[click.Parameter]:
    def nothing() -> None: ...

    for option in _PARTY_OPTIONS:
        nothing = option(nothing)
    params: list[click.Parameter] = nothing.__click_params__  # type: ignore[attr-defined]
    return params


def _told(involved: dict[str, Any]) -> str:
    parts = [involved["name"], *(["person"] if involved["person"] else []), *involved["identifiers"]]
    return "; ".join([*parts, *([f"share={involved['share']}"] if involved["share"] else [])])


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise click.BadParameter(f"{path} is not JSON: {error}", param_hint="--party") from None
    if not isinstance(content, dict):
        raise click.BadParameter(f"{path} is not a JSON object.", param_hint="--party")
    return content


def _hash_of(document: str, name: str) -> str:
    path = Path(document)
    if path.is_file():
        return hashlib.sha256(path.read_bytes()).hexdigest()
    if _HASH.fullmatch(document):
        return document.lower()
    raise click.BadParameter(
        f"{document} is neither a file nor a SHA-256 hash.", param_hint=f"--{name.replace('_', '-')}"
    )


def _address(text: str) -> dict[str, Any]:
    country, *more = (part.strip() for part in text.split(";"))
    if not more:
        raise click.BadParameter(f"{text} is no {_ADDRESS}.", param_hint="--address")
    return dict(zip(("country", "text", "kind"), (country, *more[:2]), strict=False))


def _involved(text: str) -> dict[str, Any]:
    name, *more = (part.strip() for part in text.split(";"))
    found: dict[str, Any] = {"name": name, "identifiers": []}
    for part in more:
        if part == "person":
            found["person"] = True
        elif part.startswith("share="):
            found["share"] = part.removeprefix("share=").removesuffix("%")
        elif part.startswith("country="):
            found["country"] = part.removeprefix("country=")
        else:
            found["identifiers"].append(part)
    return found
