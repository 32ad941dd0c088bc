"""What every reader of a list needs: bytes that are text, XML that is only data, dates, and refusing anything else.

A list is whole or it is refused with a reason: half a list would clear whoever stands in the other half. XML with a
document type is refused before anything in it is looked at (no list has one; entity bombs do).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Final
from xml.etree.ElementTree import Element, ParseError

import defusedxml
import defusedxml.ElementTree

from countenance.errors import Error
from countenance.standing.listed import ListedEntity

MAX_BYTES: Final = 256 << 20
"""Of one file; see `fetching.MAX_BYTES`."""
LONGEST_TEXT: Final = 4_000
"""Characters of one name, address or remark that are kept. Remarks of real lists reach some 3,000."""
MAX_ENTITIES: Final = 1_000_000
"""Of one list: fifty times the longest of those read here; OpenSanctions' collection of all lists has less."""
MOST_SPOILT: Final = 0.01
"""Of the entries: with more letters that were decoded wrongly, or dates that are none, the file itself is spoilt."""
_TWICE_ENCODED: Final = re.compile(rb"\xc3[\x82\x83\x90\x91]\xc2[\x80-\xbf]|\xef\xbf\xbd")
"""UTF-8 that was read as Latin-1 and written as UTF-8 again; or what a decoder put where it could read nothing."""
_ISO: Final = re.compile(r"(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?")
_DAY_FIRST: Final = re.compile(r"(\d{1,2})[/.-](\d{1,2})[/.-](\d{4})")


class ListError(Error):
    """A file is no list of the form that it should have, or cannot be believed."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A list that was read.

    Attributes:
        form: one of FORMS.
        report_date: as the publisher dates it; None where the form has no date.
        entities: in the order of the file.
    """

    list_id: str
    form: str
    report_date: date | None
    entities: tuple[ListedEntity, ...]


@dataclass(slots=True)
class Spoilt:
    """Counts what is wrong with single entries; a few mistakes are the publisher's, many are the file's."""

    texts: int = 0
    dates: int = 0
    entities: int = 0

    def look(self, data: bytes) -> None:
        """Counts letters of a file that were decoded wrongly before it was written."""
        self.texts += sum(1 for _ in _TWICE_ENCODED.finditer(data))

    def day(self, year: str, month: str, day: str) -> str:
        """The date in ISO 8601, as precise as it can be believed; counts one that is none."""
        try:
            return date(int(year), int(month), int(day)).isoformat()
        except ValueError:
            if month.strip("0") or day.strip("0"):  # zeros stand for what is not known
                self.dates += 1
            return year

    def day_first(self, text: str) -> str:
        """The same of a text like 31/12/1999; "" of none."""
        found = _DAY_FIRST.fullmatch(text.strip())
        return self.day(found[3], found[2], found[1]) if found else year_of(text)

    def check(self) -> None:
        """Raises ListError when too much was wrong."""
        bound = max(1, int(self.entities * MOST_SPOILT))
        if self.texts > bound:
            raise ListError(
                f"{self.texts} letters were decoded wrongly before the file was written.",
                hint="fetch the file again as it is: nothing may have converted its characters",
            )
        if self.dates > bound:
            raise ListError(
                f"{self.dates} dates have no such day or month: days and months may have been swapped.",
                hint="fetch the file again as it is: spreadsheets change dates",
            )


def text_of(data: bytes, what: str) -> str:
    """A file as text. Raises ListError when it is not UTF-8."""
    check_size(data, what)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ListError(f"{what} is in UTF-16, not in UTF-8.", hint="fetch it as its publisher has it")
    if b"\0" in data:
        raise ListError(f"{what} is no text.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ListError(
            f"{what} is not UTF-8: byte {error.start} is {data[error.start]:#04x}.",
            hint="fetch it as its publisher has it",
        ) from None


def check_size(data: bytes, what: str) -> None:
    """Raises ListError when a file is empty, or too long."""
    if not data.strip():
        raise ListError(f"{what} is empty.")
    if len(data) > MAX_BYTES:
        raise ListError(f"{what} has {len(data)} bytes, and no list has more than {MAX_BYTES}.")


def rows(data: bytes, what: str) -> Iterator[list[str]]:
    """The rows of a CSV file, without empty ones and the mark of its end (0x1A) that OFAC's files have."""
    reader = csv.reader(io.StringIO(text_of(data, what), newline=""), strict=True)
    try:
        for row in reader:
            if any(each.strip(" \x1a") for each in row):
                yield row
    except csv.Error as error:
        raise ListError(f"{what}, line {reader.line_num}: {error}.", hint="was it cut off?") from None


def elements(data: bytes, what: str, tags: frozenset[str]) -> Iterator[Element]:
    """Elements of some names (without their namespaces) of an XML file, each when it is whole; first of all the root,
    of which no more is there than its attributes. Raises ListError."""
    check_size(data, what)
    try:
        root: Element | None = None
        for event, element in defusedxml.ElementTree.iterparse(
            io.BytesIO(data), events=("start", "end"), forbid_dtd=True
        ):
            if root is None:
                root = element
                yield element
            if event == "end" and local(element.tag) in tags:
                yield element
                element.clear()
    except ParseError as error:
        raise ListError(f"{what} is not well-formed XML: {error}.", hint="was it cut off? fetch it again") from None
    except (defusedxml.DefusedXmlException, LookupError, ValueError) as error:
        said = (
            "has a document type" if isinstance(error, defusedxml.DefusedXmlException) else f"cannot be read ({error})"
        )
        raise ListError(f"{what} {said}, and is refused.", hint="no publisher's list has that") from None


def local(tag: str) -> str:
    """An element's name without its namespace."""
    return tag.rpartition("}")[2]


def child(of: Element, name: str) -> str:
    """The text of a child; "" when there is none."""
    for each in of:
        if local(each.tag) == name:
            return clean(each.text or "")
    return ""


def children(of: Element, name: str) -> Iterator[Element]:
    """Descendants of a name."""
    return (each for each in of.iter() if local(each.tag) == name)


def clean(text: str) -> str:
    """A text on one line, without what no text has, and no longer than is kept."""
    return " ".join("".join(each if each.isprintable() else " " for each in text).split())[:LONGEST_TEXT]


def iso_day(text: str) -> date | None:
    """A date from a text that begins with one in ISO 8601; None when it does not, or is none."""
    try:
        return date.fromisoformat(text.strip()[:10])
    except ValueError:
        return None


def year_of(text: str) -> str:
    """What is known of a date that people wrote: in ISO 8601 if it is that, else its year; "" of none."""
    found = _ISO.fullmatch(text.strip())
    if found:
        return text.strip() if found[2] is None or iso_day(f"{text.strip()}-01"[:10]) else found[1]
    years = re.findall(r"\b(1[89]\d\d|20\d\d)\b", text)
    return str(years[0]) if len(set(years)) == 1 else ""
