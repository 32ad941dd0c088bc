"""Publishers' formats of sanctions lists: bytes in, listed entries out, or a reason why not.

Pure: no database, no network, no clock. `ofac`, `un`, `eu`, `uk` and `ftm` each know one publisher's form, `reading`
what all of them need, `comparing` what a new snapshot changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Final

from countenance.standing.listed import ListedEntity
from countenance.standing.lists import eu, ftm, ofac, uk, un
from countenance.standing.lists.comparing import Difference, compare, refuse_older, refuse_shrunk
from countenance.standing.lists.reading import MAX_ENTITIES, ListError, Snapshot, Spoilt, check_size, rows

__all__ = [
    "FORMS",
    "Difference",
    "Form",
    "ListError",
    "Snapshot",
    "compare",
    "read",
    "refuse_older",
    "refuse_shrunk",
    "sniffed",
]

Reader = Callable[[Mapping[str, bytes], str, Spoilt], tuple[date | None, Iterator[ListedEntity]]]


@dataclass(frozen=True, slots=True)
class Form:
    """A publisher's format.

    Attributes:
        list_id: what the list is called where nobody calls it otherwise; "" where somebody has to.
        roles: the files it is made of, the first of which is always there.
    """

    read: Reader
    list_id: str
    roles: tuple[str, ...] = ("list",)


FORMS: Final[Mapping[str, Form]] = {
    "ofac-csv": Form(ofac.read_csv, "ofac-sdn", ("primary", "aliases", "addresses")),
    "ofac-xml": Form(ofac.read_xml, "ofac-sdn"),
    "un-xml": Form(un.read, "un"),
    "eu-fsf-xml": Form(eu.read, "eu-fsf"),
    "uk-csv": Form(uk.read, "uk-sl"),
    "ftm-json": Form(ftm.read, ""),
}
_MARKS: Final = {b"sdnList": "ofac-xml", b"CONSOLIDATED_LIST": "un-xml", b"sanctionEntity": "eu-fsf-xml"}
_LOOKED_AT: Final = 4_096
"""Bytes of the beginning of a file by which its form is told."""


def read(form: str, files: Mapping[str, bytes], *, list_id: str | None = None) -> Snapshot:
    """A list from its files by role.

    Args:
        form: one of FORMS.
        files: the bytes of each file; all of them are read, and the snapshot is of all of them.
        list_id: what it is called; None: as it usually is.

    Raises:
        ListError: there is no such form, a file is missing or is none of this form, or what it says cannot be.
    """
    known = FORMS.get(form)
    if known is None:
        raise ListError(f"There is no form {form[:40]!r} of lists.", hint=f"there are {', '.join(FORMS)}")
    if unknown := sorted(set(files) - set(known.roles)):
        raise ListError(f"A list of the form {form} has no file {unknown[0][:40]!r}.")
    if known.roles[0] not in files:
        raise ListError(f"The file of the {known.roles[0]} is missing.", hint=f"{form} needs it")
    name = list_id or known.list_id
    if not name:
        raise ListError(f"A list of the form {form} needs a name.", hint="--list NAME")
    for role, data in files.items():
        check_size(data, f"the file of the {role}")
    spoilt, entities = Spoilt(), []
    for data in files.values():
        spoilt.look(data)
    published, found = known.read(files, name, spoilt)
    seen: dict[str, ListedEntity] = {}
    for each in found:
        if each.entry_id in seen:
            raise ListError(f"The entry {each.entry_id[:80]} is there twice.", hint="are two files put together?")
        seen[each.entry_id] = each
        entities.append(each)
        if len(entities) > MAX_ENTITIES:
            raise ListError(f"The list has more than {MAX_ENTITIES} entries.")
    if not entities:
        raise ListError("The list has no entries.", hint="was it cut off?")
    spoilt.entities = len(entities)
    spoilt.check()
    return Snapshot(name, form, published, tuple(entities))


def sniffed(files: Sequence[bytes]) -> tuple[str, dict[str, bytes]]:
    """The form that some files are of, and each by its role.

    Raises:
        ListError: it cannot be told.
    """
    if not files:
        raise ListError("No file is given.")
    if len(files) == 1:
        head = files[0][:_LOOKED_AT]
        for mark, form in _MARKS.items():
            if mark in head:
                return form, {"list": files[0]}
        text = head.decode("utf-8-sig", "replace").lstrip()
        if text.lower().startswith(("report date", '"report date')):
            return "uk-csv", {"list": files[0]}
        if text.startswith("{"):
            return "ftm-json", {"list": files[0]}
    roles: dict[str, bytes] = {}
    for data in files:
        role = _ofac_role(data)
        if not role or role in roles:
            raise ListError(
                "It cannot be told which list this is." if not role else f"Two files have the {role}.",
                hint=f"name it with --format: {', '.join(FORMS)}",
            )
        roles[role] = data
    if "primary" not in roles:
        raise ListError("The file of the primary names is missing.", hint="SDN.CSV, beside ALT.CSV and ADD.CSV")
    return "ofac-csv", roles


def _ofac_role(data: bytes) -> str:
    try:
        first = [row for row, _ in zip(rows(data, "the file"), range(2), strict=False)][-1]
    except (ListError, IndexError):
        return ""
    columns = {ofac.PRIMARY_COLUMNS: "primary", ofac.ALIAS_COLUMNS: "aliases", ofac.ADDRESS_COLUMNS: "addresses"}
    return columns.get(len(first), "") if first[0].strip().isdigit() else ""
