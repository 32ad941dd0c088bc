"""Sets of policies: packs that come with the program and policies of the operator's own, under one hash.

A set is text: the names of its packs with what they say, and further policies. Its hash is over all of it, so that a
pack that a newer version words otherwise makes another set, which has to be put in force like any other. Every policy
has an id, a citation, and says what would satisfy it. Packs only forbid; what nothing forbids is allowed by the base.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import Any, Final

import cedarpy

from countenance.errors import Error

BASE: Final = "base"
"""The pack that every set begins with."""
PACKS: Final = ("standing", "moratorium", "public-safety", "ai-act", "bipa", "gdpr")
"""Those that come with the program."""
DEFAULT: Final = ("standing", "moratorium")
"""In force where nothing else was put in force."""
ANNOTATIONS: Final = ("id", "citation", "satisfy")
OBLIGATIONS: Final[Mapping[str, int]] = {"human-review": 1, "two-person-review": 2}
"""What `@obligation` may say, and how many people it wants to look at the matches."""
AS_SHIPPED, CHANGED, UNKNOWN_PACK = "as shipped", "changed", "unknown"
"""How a pack in a set is worded: as the program's of that name, otherwise, or the program has none of that name."""
MAX_TEXT_BYTES: Final = 1 << 20
"""Of a set: some hundred times what the packs take together."""


class PolicyError(Error):
    """A set cannot be read, or is not valid."""


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy of a set.

    Attributes:
        id: as decisions name it.
        citation: what it rests on.
        satisfy: what would satisfy it, for people.
    """

    id: str
    citation: str
    satisfy: str
    approval: bool = False
    """Two operators who approve the very call satisfy it (annotation `@approval`)."""
    obligation: str = ""
    """What an allowed call entails (annotation `@obligation`)."""


@dataclass(frozen=True, slots=True)
class PolicySet:
    """A set that was read and is valid.

    Attributes:
        text: the canonical text, of which the hash is.
        packs: the names in it, without the base.
        policies: by the name that Cedar gives each.
    """

    text: str
    packs: tuple[str, ...]
    policies: Mapping[str, Policy]

    @property
    def sha256(self) -> str:
        """In hexadecimal."""
        return sha256(self.text.encode()).hexdigest()

    @property
    def cedar(self) -> str:
        """All of it, as Cedar reads it."""
        return _cedar(json.loads(self.text))

    @property
    def wording(self) -> Mapping[str, str]:
        """Of each pack, and of the base: AS_SHIPPED, CHANGED or UNKNOWN_PACK. A name alone says nothing of a text."""
        known, said = packs(), json.loads(self.text)["packs"]
        return {
            name: AS_SHIPPED if known.get(name) == text else CHANGED if name in known else UNKNOWN_PACK
            for name, text in sorted(said.items())
        }

    @property
    def own(self) -> list[str]:
        """The names of the further texts."""
        return sorted(json.loads(self.text)["own"])

    @property
    def reads_time(self) -> bool:
        """Whether a decision may depend on the time of the call."""
        parsed = json.loads(cedarpy.policies_to_json_str(self.cedar))
        return any(_reads_time(each["conditions"]) for each in parsed["staticPolicies"].values())


@cache
def packs() -> Mapping[str, str]:
    """Name -> text, of those that come with the program and of the base."""
    folder = files("countenance.policy") / "packs"
    return {name: (folder / f"{name}.cedar").read_text("utf-8") for name in (BASE, *PACKS)}


@cache
def schema() -> cedarpy.Schema:
    """What policies may rest on."""
    return cedarpy.Schema.from_str((files("countenance.policy") / "schema.cedarschema").read_text("utf-8"))


def composed(names: Iterable[str], own: Mapping[str, str] | None = None) -> PolicySet:
    """A set of packs of the program, and of further texts by name.

    Raises:
        PolicyError: there is no such pack, a text has the name of one, or is not valid.
    """
    refuse_names(own or ())
    known, names = packs(), sorted(set(names))
    if missing := [name for name in names if name not in PACKS]:
        raise PolicyError(f"There is no policy pack {missing[0]!r}.", hint=f"there are {', '.join(PACKS)}")
    said = {"v": 1, "packs": {name: known[name] for name in (BASE, *names)}, "own": dict(own or {})}
    return read(json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":")))


def refuse_names(own: Iterable[str]) -> None:
    """Raises PolicyError when a text of somebody's own has the name of a pack."""
    if taken := sorted({BASE, *PACKS} & set(own)):
        raise PolicyError(f"{taken[0]!r} is the name of a pack of the program's.", hint="give the text another name")


def refuse_mislabelled(policy_set: PolicySet) -> None:
    """Refuse a set in which something has the name of one of the program's packs and is not its text. Whoever approves
    a set reads its names, and this program makes no such set: it is another version's, or somebody wrote it by hand.

    Raises:
        PolicyError: there is such a pack, or one that the program does not know.
    """
    refuse_names(policy_set.own)
    if changed := [name for name, wording in policy_set.wording.items() if wording != AS_SHIPPED]:
        raise PolicyError(
            f"The set has {', '.join(changed)} in other words than this program's.",
            hint="`countenance policy draft` makes one with the program's; other words go in as `--own NAME=FILE`",
        )


def read(text: str) -> PolicySet:
    """A set from its canonical text.

    Raises:
        PolicyError: it is none, or a policy of it is not valid, lacks an annotation, or has the id of another.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_TEXT_BYTES:
        raise PolicyError(f"A policy set has at most {MAX_TEXT_BYTES} bytes.")
    try:
        said = json.loads(text)
        names, own = said["packs"], said["own"]
        texts = [*names.values(), *own.values()]
        if said["v"] != 1 or BASE not in names or not all(isinstance(each, str) for each in texts):
            raise ValueError("members")
        if text != json.dumps(said, sort_keys=True, ensure_ascii=False, separators=(",", ":")):
            raise ValueError("not canonical")
    except (ValueError, KeyError, TypeError, AttributeError):
        raise PolicyError("This is no policy set.", hint="`countenance policy draft` makes one") from None
    cedar = _cedar(said)
    try:
        parsed = json.loads(cedarpy.policies_to_json_str(cedar))
    except ValueError as error:
        raise PolicyError(f"The policies cannot be read: {str(error)[:300]}") from None
    if parsed.get("templates") or parsed.get("templateLinks"):
        raise PolicyError("A policy set has no templates.", hint="write the policy out")
    found = {name: _policy(name, each) for name, each in parsed["staticPolicies"].items()}
    ids = [each.id for each in found.values()]
    if twice := sorted({each for each in ids if ids.count(each) > 1}):
        raise PolicyError(f"Several policies have the id {twice[0]!r}.")
    checked = cedarpy.validate_policies(cedar, schema())
    if not checked.validation_passed:
        raise PolicyError(f"The policies are not valid: {'; '.join(str(each) for each in checked.errors)[:500]}")
    return PolicySet(text, tuple(sorted(set(names) - {BASE})), found)


def _cedar(said: Mapping[str, Any]) -> str:
    parts = {**{f"0 {name}": text for name, text in said["packs"].items()}}
    parts |= {f"1 {name}": text for name, text in said["own"].items()}
    return "\n".join(parts[name] for name in sorted(parts))


def _reads_time(said: Any) -> bool:
    """Whether an expression reads the context's time, or the context as a whole."""
    if isinstance(said, list):
        return any(_reads_time(each) for each in said)
    if not isinstance(said, dict):
        return False
    if said.get("Var") == "context":
        return True  # not as the left side of an attribute, which is looked at below
    for operator in (".", "has"):
        inner = said.get(operator)
        if isinstance(inner, dict) and inner.get("left") == {"Var": "context"}:
            return bool(inner.get("attr") == "time")
    return any(_reads_time(each) for each in said.values())


def _policy(name: str, said: Mapping[str, Any]) -> Policy:
    annotations = said.get("annotations") or {}
    missing = [each for each in ANNOTATIONS if not annotations.get(each)]
    if missing:
        raise PolicyError(
            f"The policy {annotations.get('id') or name} has no @{missing[0]}.",
            hint="each has @id, @citation (what it rests on) and @satisfy (what would satisfy it)",
        )
    obligation = annotations.get("obligation") or ""
    if obligation and (obligation not in OBLIGATIONS or said.get("effect") != "permit"):
        raise PolicyError(
            f"The policy {annotations['id']} has an @obligation that nobody can meet.",
            hint=f"one that permits may have {' or '.join(OBLIGATIONS)}",
        )
    return Policy(
        id=annotations["id"],
        citation=annotations["citation"],
        satisfy=annotations["satisfy"],
        approval="approval" in annotations,
        obligation=obligation,
    )
