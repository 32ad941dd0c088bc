"""The register: the store with the accounts and the log on it, for a server and for work on the host alike.

Knows in which order they are opened, and what only the first of several processes does; loads no model and no index
unless a verb needs one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import countenance
from countenance import pipeline, restoration
from countenance.accounts import Accounts
from countenance.assembly import parts
from countenance.assembly.first_use import first_use
from countenance.assembly.stores import open_store
from countenance.config import Settings
from countenance.gallery import SqliteGallery
from countenance.ledger import Acts, Ledger, Log, Witnessing
from countenance.ledger.journal import Journal
from countenance.ledger.periods import Periods
from countenance.operations import indexes, migration
from countenance.operations.behind import Behind
from countenance.operations.elsewhere import STARTING
from countenance.operations.enrolled import WITH_GALLERY
from countenance.operations.governance import Governance
from countenance.operations.standings import Standings, sources_of
from countenance.recognition import Engine, modelpack
from countenance.samples import Samples
from countenance.standing import rules
from countenance.standing.documents import Documents
from countenance.standing.record import DAY_US, Terms
from countenance.store import Database, Keyring
from countenance.store.leases import Presence
from countenance.store.ownership import Ownership


@dataclass(frozen=True, slots=True)
class Register:
    """The store and the accounts in it: what administrative work needs, without models or indexes."""

    database: Database
    keyring: Keyring
    accounts: Accounts
    ledger: Ledger
    samples: Samples
    governance: Governance
    presence: Presence
    """Of this process among those that share the store, and what it looks after."""
    open_gallery: Callable[[], SqliteGallery]
    """With indexes as these settings want them."""
    make_engine: Callable[[], Engine]
    """Loads the model in use, for work on the host that needs one."""
    model_version: str
    """Of the face model that a server with these settings runs."""

    def administer(self, verb: str, params: dict[str, Any]) -> dict[str, Any]:
        """Carries out one administrative verb. Raises Error."""
        with ExitStack() as stack:
            gallery = engine = None
            if verb in WITH_GALLERY | indexes.WITH_GALLERY | migration.WITH_GALLERY:
                gallery = self.open_gallery()
                stack.callback(gallery.close)
            if verb in migration.WITH_ENGINE:
                engine = self.make_engine()
                stack.callback(engine.close)
            return pipeline.administer(
                self.accounts,
                self.ledger,
                self.database,
                self.samples,
                self.governance,
                verb,
                params,
                datetime.now(UTC),
                gallery,
                engine,
                self.model_version,
            )


@contextmanager
def open_admin(settings: Settings) -> Iterator[Register]:
    """Takes the data folder and opens its register, for work on the host while no server runs.

    Raises:
        FolderOwned: a server owns the folder; use its admin socket.
    """
    with Ownership(settings.data_dir), open_register(settings) as register:
        yield register


@contextmanager
def open_register(
    settings: Settings,
    start: Mapping[str, Any] | None = None,
    *,
    is_shared: bool = False,
    is_prepared: bool = False,
    role: str = "host",
) -> Iterator[Register]:
    """The store and the accounts.

    Args:
        start: members of the start entry; None for work on the host.
        is_shared: whether other processes write to the store meanwhile; PostgreSQL's is always shared.
        is_prepared: whether somebody else did what a start does once.
        role: what this process is, for those that share the store.
    """
    data = settings.data_dir
    with ExitStack() as stack:
        if not is_prepared:
            restoration.sweep(data)
        database, keyring = stack.enter_context(open_store(settings, is_shared=is_shared))
        # A log's first key, the owner's account: two nodes on an empty database would each make their own.
        starting = stack.enter_context(ExitStack())
        starting.enter_context(database.alone())
        # Of the embedded file, all workers are one parent's, and it starts none before the one in its place has ended.
        presence = Presence(
            database, partial(told_while_starting, role), replaces=is_prepared and settings.database is None
        )
        stack.callback(presence.stop)
        log = Log(database, keyring, data, origin=settings.ledger_origin, before_writing=parts.outside(settings))
        witnessing = Witnessing(
            log,
            parts.witness_policy(settings.ledger_witnesses),
            patience_h=settings.ledger_quorum_hours,
            lease=presence.upkeep,
        )
        if start is not None:
            witnessing.seen(log.checkpoint()[1])
        periods = Periods(log, database, keyring)
        periods.begin()  # before the first entry: its day has a key by then
        ledger = Ledger(
            log,
            start,
            witnessing=witnessing,
            floor_years=settings.ledger_floor_years,
            periods=periods,
            presence=presence,
        )
        stack.callback(ledger.close)
        accounts = Accounts(database, keyring, Acts(log.storage).granted)
        if not is_prepared:
            if restoration.replay_erasures(database, log):
                restoration.reconcile(database, log, "an older database was put in place")
            first_use(settings, accounts)
        samples = Samples(
            database, keyring, data, keeps=settings.samples == "matches", max_bytes=settings.sample_max_bytes
        )
        journal = Journal(log)
        standings = Standings(
            Documents(database),
            journal,
            accounts,
            data,
            terms=Terms(
                list_age_us=settings.list_max_age_days * DAY_US,
                grace_us=settings.list_grace_days * DAY_US,
                interval_us=settings.screening_interval_days * DAY_US,
            ),
            sources=sources_of(settings.lists),
            rules=rules.load(settings.rules),
            calls=log.storage.entries.answered,
        )
        behind = Behind(accounts, standings)
        periods.asking(behind, behind.refresh)
        governance = Governance(database, keyring, journal, accounts, standings=standings)
        starting.close()
        database.begin_following()
        if start is not None:
            presence.start()
        yield Register(
            database=database,
            keyring=keyring,
            accounts=accounts,
            ledger=ledger,
            samples=samples,
            governance=governance,
            presence=presence,
            open_gallery=partial(parts.gallery, settings, database, keyring),
            make_engine=partial(parts.engine, settings),
            model_version=modelpack.load(parts.pack_of(settings), settings.data_dir / "models").version_with(
                settings.flip
            ),
        )


def told_while_starting(role: str) -> dict[str, Any]:
    """What a process says of itself to those that share its store, until it answers."""
    return {"role": role, "state": STARTING, "version": countenance.__version__, "process": os.getpid()}
