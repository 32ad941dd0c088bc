"""Rules as data: red flags and nexus, with sources and the days on which they hold.

The program's own are in rules.toml; an operator can bring more in the same form. A rule says which check it is; what
checks do is code (`checks`), what they look for and who says so is data, and both are in a rule's digest.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib import resources
from pathlib import Path
from typing import Any, Final

from countenance.errors import Error
from countenance.standing.findings import digest

KINDS: Final = ("red-flag", "nexus")
CASE, NOTE = "case", "note"
CHECKS_VERSION: Final = "1"
"""Of the code of `checks`: a change of what one of them finds is another version, and everybody is screened again."""
_MEMBERS: Final = frozenset({"id", "kind", "check", "opens", "title", "source", "valid_from", "valid_to", "with"})
_ALWAYS: Final = ("id", "kind", "check", "opens", "title", "source")
LONGEST: Final = 1_000
MOST: Final = 500


class RuleError(Error):
    """A file of rules cannot be read, or says something that no check understands."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        kind: one of KINDS.
        check: name of one of `checks.CHECKS`.
        opens: CASE or NOTE.
        source: what to show to whoever judges.
        valid_from, valid_to: the first day, and the first day no more; None: open.
        terms: what the check asks for.
    """

    id: str
    kind: str
    check: str
    opens: str
    title: str
    source: str
    valid_from: date | None
    valid_to: date | None
    terms: Mapping[str, Any]
    digest: str = field(init=False)
    """SHA-256 over all of it, and the version of the checks, in hexadecimal."""

    def __post_init__(self) -> None:
        said = {name: getattr(self, name) for name in self.__slots__ if name != "digest"}
        object.__setattr__(self, "digest", digest(_plain({**said, "checks": CHECKS_VERSION})))

    def holds_on(self, day: date) -> bool:
        """Whether it is in force on a day."""
        return (self.valid_from is None or self.valid_from <= day) and (self.valid_to is None or day < self.valid_to)

    def told(self) -> dict[str, Any]:
        """What whoever judges is shown of it."""
        return {
            "rule": self.id,
            "title": self.title,
            "source": self.source,
            "valid_from": self.valid_from.isoformat() if self.valid_from else None,
            "valid_to": self.valid_to.isoformat() if self.valid_to else None,
        }


def built_in() -> tuple[Rule, ...]:
    """The program's own."""
    return parsed(resources.files(__package__).joinpath("rules.toml").read_text("utf-8"), "rules.toml")


def load(path: Path | None) -> tuple[Rule, ...]:
    """The program's own, and those of a file, which take the place of ones with the same id. Raises RuleError."""
    rules = {each.id: each for each in built_in()}
    if path is not None:
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RuleError(f"The rules {path} cannot be read: {getattr(error, 'strerror', None) or error}.") from None
        rules |= {each.id: each for each in parsed(text, str(path))}
    return tuple(rules.values())


def parsed(text: str, name: str) -> tuple[Rule, ...]:
    """From TOML. Raises RuleError."""
    try:
        said = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise RuleError(f"{name} is no TOML: {str(error)[:200]}.") from None
    if unknown := said.keys() - {"version", "rule"}:
        raise RuleError(f"{name} has a member {min(unknown)[:40]!r} that is not known.")
    found = said.get("rule", [])
    if not isinstance(found, list) or len(found) > MOST:
        raise RuleError(f"{name} is not a list of at most {MOST} rules.")
    rules = [_rule(each, name, at) for at, each in enumerate(found, 1)]
    if len({each.id for each in rules}) < len(rules):
        raise RuleError(f"{name} has two rules of one id.")
    return tuple(rules)


def in_force(rules: Iterable[Rule], day: date) -> tuple[Rule, ...]:
    """Those that hold on a day."""
    return tuple(each for each in rules if each.holds_on(day))


def digest_of(rules: Sequence[Rule]) -> str:
    """Names a set of rules: SHA-256, in hexadecimal."""
    return digest(sorted(each.digest for each in rules))


def _rule(said: object, name: str, at: int) -> Rule:
    from countenance.standing.rules.checks import CHECKS

    if not isinstance(said, Mapping) or said.keys() - _MEMBERS:
        raise RuleError(f"{name}: rule {at} has a member that is not known.", hint=f"there are {', '.join(_MEMBERS)}")
    for member in _ALWAYS:
        value = said.get(member)
        if not isinstance(value, str) or not 0 < len(value) <= LONGEST or not value.isprintable():
            raise RuleError(f"{name}: rule {at} lacks {member}, a text of one line.")
    days = {member: said.get(member) for member in ("valid_from", "valid_to")}
    if any(value is not None and type(value) is not date for value in days.values()):
        raise RuleError(f"{name}: rule {said['id']} has a valid_from or valid_to that is no day.")
    if said["kind"] not in KINDS or said["opens"] not in (CASE, NOTE):
        raise RuleError(f"{name}: rule {said['id']} is of no kind there is, or opens neither a case nor a note.")
    if said["check"] not in CHECKS:
        raise RuleError(
            f"{name}: there is no check {said['check'][:40]!r}.", hint=f"there are {', '.join(sorted(CHECKS))}"
        )
    terms = said.get("with", {})
    wanted = CHECKS[said["check"]].terms
    if not isinstance(terms, Mapping) or terms.keys() - wanted.keys() or wanted.keys() - OPTIONAL - terms.keys():
        raise RuleError(
            f"{name}: rule {said['id']} does not say what its check asks for.",
            hint=f"with has {', '.join(sorted(wanted)) or 'nothing'}",
        )
    for member, value in terms.items():
        if not _is(value, wanted[member]):
            raise RuleError(f"{name}: rule {said['id']}: {member} is of the wrong type.")
    return Rule(
        said["id"],
        said["kind"],
        said["check"],
        said["opens"],
        said["title"],
        said["source"],
        days["valid_from"],
        days["valid_to"],
        dict(terms),
    )


OPTIONAL: Final = frozenset({"words"})


def _is(value: object, kind: type) -> bool:
    if kind is list:
        return isinstance(value, list) and all(isinstance(each, str | int) for each in value)
    return isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool)


def _plain(value: Any) -> Any:
    """As canonical JSON takes it: no fractions, no days."""
    if isinstance(value, Mapping):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, float) else value
