"""A whole server: the register with the model, the indexes and the duties, ready to answer; alone or as one of workers.

Knows what workers have in common, and what a process says of itself to the other nodes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from countenance.assembly import duties, parts
from countenance.assembly.register import Register, open_register, told_while_starting
from countenance.config import Settings
from countenance.gallery import RebuildReport, SqliteGallery
from countenance.ledger import Witnessing
from countenance.operations import Service, persons
from countenance.operations.buckets import Buckets, OwnBuckets, SharedBuckets
from countenance.operations.elsewhere import Elsewhere
from countenance.operations.pagination import Cursors
from countenance.operations.quotas import Quotas
from countenance.recognition import Engine, ModelPackError, use_calling_thread_only
from countenance.sources import GrantedSource
from countenance.store import leases
from countenance.store.ownership import Ownership

_log = logging.getLogger("countenance.assembly")


@dataclass(frozen=True, slots=True)
class Assembled:
    """A whole server, ready to answer."""

    service: Service
    register: Register
    gallery: SqliteGallery
    rebuilt: RebuildReport
    address: list[str]
    """Where other nodes are to ask this one; nothing until calls are answered, and when no more are taken."""

    def announce(self, address: str) -> None:
        """Tell other nodes, if there can be any, that this one answers searches; theirs at this address, if any."""
        self.address[:] = [address]
        if self.register.database.is_shared:
            self.register.presence.look()


@dataclass(frozen=True, slots=True)
class Share:
    """What workers over one data folder have in common, made before they are forked.

    Attributes:
        of: how many there are.
        start: members of the log's start entry.
        buckets: what accounts have left of their quotas.
    """

    of: int
    start: Mapping[str, Any]
    buckets: Buckets


@contextmanager
def prepared(settings: Settings) -> Iterator[Share]:
    """Takes the data folder for workers, and does in it what has to be done once, before they start."""
    quotas = Quotas.parse(settings.quotas)  # what is wrong with them is told before anything is made
    with Ownership(settings.data_dir):
        start = parts.start_members(settings)
        with open_register(settings) as register:
            if settings.database is None:  # else others may be at work
                register.database.maintain(leases.nobody)
            register.samples.sweep()
        yield Share(settings.workers, start, SharedBuckets() if quotas.limits else OwnBuckets())


@contextmanager
def open_service(settings: Settings, share: Share | None = None, *, role: str = "server") -> Iterator[Assembled]:
    """Takes the data folder and assembles the server in it.

    Args:
        share: for one of several workers, whose parent has taken the folder.
        role: what it is, for who looks at the nodes.
    """
    data = settings.data_dir
    quotas = Quotas.parse(settings.quotas, buckets=share.buckets if share else None)
    with ExitStack() as stack:
        if share is None:
            stack.enter_context(Ownership(data))
        start = parts.start_members(settings) if share is None else share.start
        register = stack.enter_context(
            open_register(settings, start, is_shared=share is not None, is_prepared=share is not None, role=role)
        )
        use_calling_thread_only()
        engine = parts.engine(settings, of=share.of if share else 1)
        stack.callback(engine.close)
        if engine.calibration.sha256 not in {each["sha256"] for each in start["models"]}:
            raise ModelPackError("the calibration was replaced while the server started", hint="start it again")
        gallery = register.open_gallery()
        stack.callback(gallery.close)
        rebuilt = gallery.warm()
        _tell_of_others(gallery, engine)
        progress = register.governance.progress
        elsewhere = Elsewhere(
            register.database, register.presence, progress, partial(persons.subject, register.accounts)
        )
        if register.database.is_shared:
            progress.elsewhere = elsewhere
        address: list[str] = []
        register.presence.tell(
            partial(_told, role, engine.model_version, gallery, elsewhere, register.ledger.witnessing, address)
        )
        # No call is in progress when this is undone, and the gallery tells nothing any more.
        stack.callback(setattr, register.presence, "told", partial(told_while_starting, role))
        if share is None:
            register.samples.sweep()
        stack.callback(duties.retention(settings, register).stop)
        stack.callback(duties.expiry(register, gallery).stop)
        screening = duties.screening(register)
        stack.callback(screening.stop)
        register.governance.standings.stirred = screening.wake
        register.governance.standings.looking.labels_of = partial(duties.labels, gallery)
        stack.callback(duties.period_maps(register).stop)
        if settings.ledger_timestamp_url is not None:
            stamping = duties.timestamping(settings, register)
            stamping.start()
            stack.callback(stamping.stop)
        service = Service(
            engine=engine,
            gallery=gallery,
            accounts=register.accounts,
            source=GrantedSource(parts.source(settings), register.accounts.may_read_bucket),
            cursors=Cursors(register.keyring.derive("pagination")),
            ledger=register.ledger,
            database=register.database,
            samples=register.samples,
            governance=register.governance,
            region=settings.region,
            places=parts.places(settings),
            keeps_crops=settings.keep_crops,
            admits=quotas.take,
            most=quotas.most,
        )
        yield Assembled(service=service, register=register, gallery=gallery, rebuilt=rebuilt, address=address)


def _told(
    role: str,
    model_version: str,
    gallery: SqliteGallery,
    elsewhere: Elsewhere,
    witnessing: Witnessing,
    address: list[str],
) -> dict[str, Any]:
    """What it says once it answers."""
    stats = gallery.stats()
    return {
        **told_while_starting(role),
        "state": "ready",
        "face_model": model_version,
        "collections_loaded": stats.loaded_collections,
        "references_loaded": stats.loaded_references,
        "index_bytes": stats.index_bytes,
        "refusals": dict(witnessing.refusals),
        **elsewhere.told(),
        **next((gallery.announcement(each) for each in address), {}),
    }


def _tell_of_others(gallery: SqliteGallery, engine: Engine) -> None:
    """Collections of another model than the one in use answer no search: whoever changed packs should know."""
    others = {version: count for version, count in gallery.models().items() if version != engine.model_version}
    if others:
        told = ", ".join(f"{count} of {version}" for version, count in others.items())
        _log.warning(
            "this server runs the face model %s; collections that it cannot search: %s", engine.model_version, told
        )
