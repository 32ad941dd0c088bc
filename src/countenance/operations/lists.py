"""Lists of whom nobody may serve: taken from files or publishers, kept, compared, and put in force by acts of the log.

Knows snapshots and what acts say of them; does not know who is screened with them, or what comes of it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import partial
from typing import Final, Protocol

from countenance.errors import Error
from countenance.fetching import check_address, fetch
from countenance.standing.documents import Documents
from countenance.standing.listed import ListedEntity, entry_of
from countenance.standing.lists import FORMS, ListError, Snapshot, compare, read, refuse_older, refuse_shrunk
from countenance.standing.record import DAY_US, Record, Taken
from countenance.standing.runner import Wanted
from countenance.standing.snapshots import Snapshots

SERVER: Final = "server"
"""Who does what nobody asked for: a list was updated, an interval has passed."""
FETCH_AGAIN_US: Final = 20 * 3_600_000_000
"""A list is fetched once a day: the server may be started at another hour than yesterday."""
SNAPSHOTS_REMEMBERED: Final = 8
"""When entries of so many snapshots were listed: a megabyte each."""
OPERATOR_FILE: Final = "operator"
"""Source of a list that somebody brought as a file."""


class StandingError(Error):
    """Something about lists, screenings or cases cannot be done."""


@dataclass(frozen=True, slots=True)
class Imported:
    """A snapshot that was put in force, or was in force already.

    Attributes:
        added, changed, removed: numbers of entries.
        is_new: false for the one that is in force already.
    """

    list_id: str
    sha256: str
    report_date: str
    entities: int
    added: int
    changed: int
    removed: int
    is_new: bool


@dataclass(frozen=True, slots=True)
class Source:
    """Where a list is fetched from: an address for each of its files, in the order of the form's roles."""

    form: str
    list_id: str
    urls: tuple[str, ...]


def sources_of(said: Sequence[str]) -> list[Source]:
    """From the setting: FORM=URL|URL, or FORM:NAME=URL. Raises StandingError."""
    found = []
    for each in said:
        name, _, addresses = each.partition("=")
        form, _, list_id = name.strip().partition(":")
        urls = tuple(url.strip() for url in addresses.split("|") if url.strip())
        if form not in FORMS or not 1 <= len(urls) <= len(FORMS[form].roles) or not (list_id or FORMS[form].list_id):
            raise StandingError(
                f"The setting lists has {each[:80]!r}, which is no FORM=URL.",
                hint=f"forms are {', '.join(FORMS)}; ftm-json needs a name: ftm-json:NAME=URL",
            )
        for url in urls:
            check_address(url)
        found.append(Source(form, list_id or FORMS[form].list_id, urls))
    return found


class Do(Protocol):
    """Appends an act to the log, and takes account of it."""

    def __call__(
        self, operation: str, account: str, details: Mapping[str, int | str], request_id: str, at_us: int | None = None
    ) -> None: ...


class Again(Protocol):
    """Tries something again when another process decided something meanwhile; see `Database.again`."""

    def __call__(self, work: Callable[[], Imported], *, repeats: bool = False) -> Imported: ...


class Lists:
    """The lists of one server. Safe to use from any thread.

    Args:
        lock: under which the record is read, and acts are taken.
        sources: what the settings name.
    """

    def __init__(
        self,
        documents: Documents,
        snapshots: Snapshots,
        record: Record,
        lock: threading.RLock,
        do: Do,
        *,
        sources: Sequence[Source],
        now_us: Callable[[], int],
        again: Again,
    ) -> None:
        self.sources = tuple(sources)
        self._documents = documents
        self._snapshots = snapshots
        self._record = record
        self._lock = lock
        self._do = do
        self._now_us = now_us
        self._again = again
        self._listed: dict[str, dict[str, str]] = {}

    def take(
        self,
        form: str,
        files: Mapping[str, bytes],
        *,
        list_id: str | None = None,
        source: str = OPERATOR_FILE,
        report_date: str = "",
        may_shrink: bool = False,
        by: str = SERVER,
        request_id: str,
    ) -> Imported:
        """Read a list, keep it and put it in force. The one before stays in force when this raises.

        Entries that are missing in it stay in force as well, until two operators let them go.

        Args:
            report_date: ISO 8601, of a form that has none.

        Raises:
            ListError: it cannot be read, is from the future, or lost too much to be believed.
        """
        found = read(form, files, list_id=list_id)
        same = partial(self._take, found, form, files, source=source, report_date=report_date, by=by)
        return self._again(lambda: same(may_shrink=may_shrink, request_id=request_id), repeats=True)

    def _take(
        self,
        found: Snapshot,
        form: str,
        files: Mapping[str, bytes],
        *,
        source: str,
        report_date: str,
        may_shrink: bool,
        by: str,
        request_id: str,
    ) -> Imported:
        with self._lock:
            now = self._now_us()
            before = self._record.history(found.list_id)
        previous = self._read_again(before[-1]) if before else None
        difference = compare(previous, found) if previous is not None else None
        dated = found.report_date.isoformat() if found.report_date else report_date
        if dated > _day_of(now + DAY_US):
            raise ListError(
                f"The list is of {dated}, which is still to come.", hint="days and months may have been swapped"
            )
        if previous is not None and not may_shrink:
            refuse_shrunk(previous, found)
            refuse_older(before[-1].report_date, dated)  # a form without a date was given one
        kept = self._snapshots.keep(files)
        removed = sorted(difference.removed) if difference else []
        added, changed = (len(difference.added), len(difference.changed)) if difference else (len(found.entities), 0)
        said: dict[str, int | str] = {"list_id": found.list_id, "sha256": kept, "source": source, "by": by}
        is_same = bool(before) and before[-1].sha256 == kept
        with self._lock:
            if is_same and (before[-1].source == source or source == OPERATOR_FILE):
                self._do("list.seen", "", said, request_id, now)
            else:
                removed_sha256 = self._documents.keep({"v": 1, "removed": removed}) if removed else ""
                said |= {
                    "format": form,
                    "report_date": dated,
                    "entities": len(found.entities),
                    "removed": len(removed),
                    "removed_sha256": removed_sha256,
                }
                self._do("list.take", "", said, request_id, now)
        return Imported(found.list_id, kept, dated, len(found.entities), added, changed, len(removed), not is_same)

    def is_due(self, source: Source) -> bool:
        """Whether a list has not been looked at today."""
        now = self._now_us()
        with self._lock:
            return now - self._record.looked_at(source.list_id, now) > FETCH_AGAIN_US

    def update(self, source: Source, *, by: str = SERVER, request_id: str, may_shrink: bool = False) -> Imported:
        """Fetch a list from its publisher, and put it in force. Raises FetchFailed, ListError."""
        roles = FORMS[source.form].roles
        folder = self._snapshots.folder / "fetching"
        files = {role: fetch(url, folder) for role, url in zip(roles, source.urls, strict=False)}
        return self.take(
            source.form,
            files,
            list_id=source.list_id,
            source=source.urls[0],
            may_shrink=may_shrink,
            by=by,
            request_id=request_id,
        )

    def _read_again(self, taken: Taken) -> Snapshot:
        return read(taken.form, self._snapshots.find(taken.sha256), list_id=taken.list_id)

    def listed_since(self, list_id: str, entry_id: str) -> date | None:
        """From which day on an entry is known to have been listed: as the list says, or by the first snapshot that has
        it; None when no snapshot does."""
        with self._lock:
            history = self._record.history(list_id)
        for taken in history:
            entry = self._entries(taken).get(entry_of(entry_id))
            if entry is not None:
                said = entry or taken.report_date or _day_of(taken.at_us)
                try:
                    return date.fromisoformat(said)
                except ValueError:
                    return date.fromisoformat(taken.report_date or _day_of(taken.at_us))
        return None

    def _entries(self, taken: Taken) -> dict[str, str]:
        """Entry -> when it was listed, as the list says, of a snapshot; the last few are remembered."""
        known = self._listed.get(taken.sha256)
        if known is None:
            known = {each.entry_id: each.listed_on for each in self._read_again(taken).entities}
            self._listed[taken.sha256] = known
            while len(self._listed) > SNAPSHOTS_REMEMBERED:
                self._listed.pop(next(iter(self._listed)))
        return known

    def removed_entries(self, taken: Taken) -> list[ListedEntity]:
        """The entries that a snapshot lacks, as the one before it had them."""
        with self._lock:
            history = self._record.history(taken.list_id)
        place = history.index(taken)
        if not place:
            return []
        wanted = set(self.removed(taken))
        return [each for each in self._read_again(history[place - 1]).entities if each.entry_id in wanted]

    def removed(self, taken: Taken) -> list[str]:
        """The entries that a snapshot lacks and the one before it had. Raises DocumentMissing."""
        return [str(each) for each in self._documents.find(taken.removed_sha256)["removed"]] if taken.removed else []

    def wanted(self) -> list[Wanted]:
        """What has to be screened with now. Raises DocumentMissing."""
        with self._lock:
            now = self._now_us()
            in_force, kept_back = self._record.taken(now), self._record.kept_back(now)
        found = [Wanted(each.list_id, each.form, each.sha256) for each in in_force.values()]
        for earlier, later in kept_back:
            found.append(Wanted(earlier.list_id, earlier.form, earlier.sha256, tuple(self.removed(later))))
        return found


def _day_of(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).date().isoformat()
