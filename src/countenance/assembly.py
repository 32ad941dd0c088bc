"""The composition root: settings in, an assembled server out.

The only place that names concrete classes, and the lowest that knows `config`: everything below gets plain
values. Parts are closed in the reverse of the order in which they were opened.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from countenance_audit import canonical
from countenance_audit.errors import AuditError
from countenance_audit.policy import TrustPolicy

import countenance
from countenance import pipeline, relocation, restoration
from countenance.accounts import Accounts, Credentials, Party, PartyError
from countenance.config import Settings, SettingsError
from countenance.errors import Error
from countenance.gallery import INDEX_FOLDER, RebuildReport, SqliteGallery, tiered
from countenance.gallery import Share as Part
from countenance.gallery.answering import Answer as Answer
from countenance.gallery.answering import Answering as Answering
from countenance.gallery.node_client import NodeClient
from countenance.ledger import Acts, Ledger, Log, Witnessing, history
from countenance.ledger.copies import Copies
from countenance.ledger.journal import Journal
from countenance.ledger.periods import Periods
from countenance.ledger.timestamp import Authority, Timestamping
from countenance.ledger.witnessing import clients_of
from countenance.operations import Service, certificates, indexes, migration, persons
from countenance.operations.behind import Behind
from countenance.operations.buckets import Buckets, OwnBuckets, SharedBuckets
from countenance.operations.elsewhere import STARTING, Elsewhere
from countenance.operations.enrolled import WITH_GALLERY
from countenance.operations.governance import Governance
from countenance.operations.pagination import Cursors
from countenance.operations.quotas import Quotas
from countenance.operations.samples import retain
from countenance.operations.standings import Standings, sources_of
from countenance.recognition import (
    Engine,
    Gpu,
    ModelPackError,
    build_engine,
    calibrations,
    modelpack,
    use_calling_thread_only,
)
from countenance.recognition.engine import CORES_PER_LANE, usable_cores
from countenance.samples import Daily, Samples
from countenance.sources import FolderSource, GrantedSource, ImageSource, S3Source
from countenance.standing import places, rules
from countenance.standing.documents import Documents
from countenance.standing.places import Places
from countenance.standing.record import DAY_US, Terms
from countenance.store import Database, Entry, IntegrityErrors, Keyring, SqliteDatabase, leases, sync_folder
from countenance.store.leases import Presence
from countenance.store.ownership import FolderOwned, Ownership

PERIODS_EVERY_S = 300.0
"""Seconds between two looks at whether a day ended: as often as heartbeats, the first of which ends it."""
MOST_LABELLED = 1_000
"""Collections of an account whose tags are looked at for red flags."""

_log = logging.getLogger(__name__)

OWNER_NAME = "owner"
OWNER_PURPOSE = "owner"


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


@contextmanager
def open_admin(settings: Settings) -> Iterator[Register]:
    """Takes the data folder and opens its register, for work on the host while no server runs.

    Raises:
        FolderOwned: a server owns the folder; use its admin socket.
    """
    with Ownership(settings.data_dir), _register(settings) as register:
        yield register


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
        start = _start_members(settings)
        with _register(settings) as register:
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
        start = _start_members(settings) if share is None else share.start
        register = stack.enter_context(
            _register(settings, start, is_shared=share is not None, is_prepared=share is not None, role=role)
        )
        use_calling_thread_only()
        engine = _engine(settings, of=share.of if share else 1)
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
        stack.callback(setattr, register.presence, "told", partial(_starting, role))
        if share is None:
            register.samples.sweep()
        stack.callback(_retention(settings, register).stop)
        stack.callback(_expiry(register, gallery).stop)
        screening = _screening(register)
        stack.callback(screening.stop)
        register.governance.standings.stirred = screening.wake
        register.governance.standings.looking.labels_of = partial(_labels, gallery)
        stack.callback(_periods(register).stop)
        if settings.ledger_timestamp_url is not None:
            stamping = _timestamping(settings, register)
            stamping.start()
            stack.callback(stamping.stop)
        service = Service(
            engine=engine,
            gallery=gallery,
            accounts=register.accounts,
            source=GrantedSource(_source(settings), register.accounts.may_read_bucket),
            cursors=Cursors(register.keyring.derive("pagination")),
            ledger=register.ledger,
            database=register.database,
            samples=register.samples,
            governance=register.governance,
            region=settings.region,
            places=_places(settings),
            keeps_crops=settings.keep_crops,
            admits=quotas.take,
            most=quotas.most,
        )
        yield Assembled(service=service, register=register, gallery=gallery, rebuilt=rebuilt, address=address)


def _starting(role: str) -> dict[str, Any]:
    """What a process says of itself to those that share its store, until it answers."""
    return {"role": role, "state": STARTING, "version": countenance.__version__, "process": os.getpid()}


def _told(
    role: str,
    model_version: str,
    gallery: SqliteGallery,
    elsewhere: Elsewhere,
    witnessing: Witnessing,
    address: list[str],
) -> dict[str, Any]:
    """And then."""
    stats = gallery.stats()
    return {
        **_starting(role),
        "state": "ready",
        "face_model": model_version,
        "collections_loaded": stats.loaded_collections,
        "references_loaded": stats.loaded_references,
        "index_bytes": stats.index_bytes,
        "refusals": dict(witnessing.refusals),
        **elsewhere.told(),
        **next((gallery.announcement(each) for each in address), {}),
    }


def pack_of(settings: Settings) -> str:
    """The model pack that a server of these settings takes."""
    return modelpack.chosen(settings.model_pack, settings.data_dir / "models")


def recover(
    settings: Settings, copies: Copies, *, reason: str, successor: restoration.Successor | None = None
) -> restoration.Mended:
    """Mends a log that is behind what was signed of it, while no server runs. Raises RecoveryFailed."""
    successor = _named(settings, successor)
    with Ownership(settings.data_dir):
        return restoration.mend(
            settings.data_dir,
            replace(copies, standing=settings.ledger_mirrors),
            reason=reason,
            origin=None if successor else settings.ledger_origin,
            successor=successor,
            outside=_outside(settings),
            opened=None if settings.database is None else _store(settings),
        )


def restore(
    settings: Settings, source: Path, copies: Copies, *, reason: str, successor: restoration.Successor | None = None
) -> restoration.Restored:
    """Puts a backup in place, while no server runs. Raises RestoreFailed, RecoveryFailed."""
    if settings.database is not None:
        raise restoration.RestoreFailed(
            "This server's database is PostgreSQL, which is restored by its own tools.",
            hint="docs/operations/postgresql.md; then `countenance ledger recover`, if the log is behind",
        )
    successor = _named(settings, successor)
    with Ownership(settings.data_dir):
        return restoration.restore(
            settings.data_dir,
            source,
            replace(copies, standing=settings.ledger_mirrors),
            reason=reason,
            origin=None if successor else settings.ledger_origin,
            successor=successor,
            outside=_outside(settings),
        )


def migrate_database(settings: Settings) -> Mapping[str, int]:
    """Brings the tables up to date, while no server of this folder runs; component -> version. Raises DatabaseError."""
    with Ownership(settings.data_dir), _store(settings) as (database, _):
        return relocation.migrate(database)


def look_at_database(settings: Settings) -> str:
    """Connects to PostgreSQL and looks whether a node could use it, changing nothing; what it is. Raises Error."""
    _refuse_without_driver()
    from countenance.store.postgres import look

    return look(settings.database or "")


def copy_database(settings: Settings, source: Path, url: str, *, told: Callable[[str, int], None]) -> relocation.Copied:
    """Copies an embedded database to PostgreSQL; see `relocation.copy`. Raises DatabaseError, CopyFailed."""
    _refuse_without_driver()
    folder = source.absolute().parent
    with ExitStack() as stack:
        try:
            stack.enter_context(Ownership(folder))
            is_owned = True
        except FolderOwned:
            is_owned = False
        keyring = Keyring.open(settings.master_key_file or folder / "master.key", create=False)
        return relocation.copy(source, url, is_owned=is_owned, keyring=keyring, folder=folder, told=told)


def _refuse_without_driver() -> None:
    if importlib.util.find_spec("psycopg") is None:
        raise SettingsError("The driver for PostgreSQL is not installed.", hint="pip install 'countenance[postgresql]'")


def _named(settings: Settings, successor: restoration.Successor | None) -> restoration.Successor | None:
    if successor is None or settings.ledger_origin is None:
        return successor
    if successor.name not in (None, settings.ledger_origin):
        raise SettingsError(
            f"the setting ledger_origin is {settings.ledger_origin}, not {successor.name}: change it first"
        )
    return restoration.Successor(settings.ledger_origin)


@contextmanager
def _store(settings: Settings, *, is_shared: bool = False) -> Iterator[tuple[Database, Keyring]]:
    """The database of record and the keys to it.

    A master key is made only together with the database: a missing key beside existing data is a loss that a fresh key
    would hide.
    """
    master = settings.master_key_file or settings.data_dir / "master.key"
    database: Database
    if settings.database is None:
        file = settings.data_dir / "countenance.db"
        keyring = Keyring.open(master, create=not file.exists())
        database = SqliteDatabase(file, is_shared=is_shared)
    else:
        _refuse_without_driver()
        from countenance.store.postgres import PostgresDatabase

        database = PostgresDatabase(settings.data_dir, settings.database)
        try:
            # What a start that was cut off left has nothing in it yet that a key had sealed.
            keyring = Keyring.open(master, create=not relocation.has_sealed(database))
        except BaseException:
            database.close()
            raise
    try:
        yield database, keyring
    finally:
        database.close()


@contextmanager
def _register(
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
        database, keyring = stack.enter_context(_store(settings, is_shared=is_shared))
        # A log's first key, the owner's account: two nodes on an empty database would each make their own.
        starting = stack.enter_context(ExitStack())
        starting.enter_context(database.alone())
        presence = Presence(database, partial(_starting, role))
        stack.callback(presence.stop)
        log = Log(database, keyring, data, origin=settings.ledger_origin, before_writing=_outside(settings))
        witnessing = Witnessing(
            log,
            _witnesses(settings.ledger_witnesses),
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
            _first_use(settings, accounts)
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
            open_gallery=partial(_gallery, settings, database, keyring),
            make_engine=partial(_engine, settings),
            model_version=modelpack.load(pack_of(settings), settings.data_dir / "models").version_with(settings.flip),
        )


def _gallery(settings: Settings, database: Database, keyring: Keyring) -> SqliteGallery:
    return SqliteGallery(
        database,
        keyring,
        index_factory=tiered(settings.index_quantised_from),
        index_folder=settings.data_dir / INDEX_FOLDER,
        index_files_from=settings.index_files_from,
        share=Part.parse(settings.search_shard or ""),
        client=NodeClient(ca_file=settings.node_ca_file, allows_plain=settings.insecure_http),
    )


def _engine(settings: Settings, *, of: int = 1) -> Engine:
    """The model in use, loaded, for one of so many processes that share the cores. Raises ModelPackError."""
    models = settings.data_dir / "models"
    pack = modelpack.load(pack_of(settings), models)
    if not modelpack.is_accepted(pack, models):
        raise ModelPackError(
            f"the model pack {pack.name} is not for commercial use, and nobody accepted that",
            hint=f"`countenance models use {pack.name} --accept-licence`, if your use is within its terms",
        )
    lanes, threads = settings.inference_workers, settings.inference_threads
    if of > 1:
        cores = max(1, usable_cores() // of)
        lanes = lanes or max(1, cores // CORES_PER_LANE)
        threads = threads or max(1, cores // lanes)
    return build_engine(
        cache_dir=models,
        runtime=settings.runtime,
        threads=threads,
        workers=lanes,
        queue_limit=settings.inference_queue,
        strict_formats=settings.strict_formats,
        max_pixels=settings.max_image_pixels,
        max_bytes=settings.max_s3_object_bytes,
        flip=settings.flip,
        pack=pack.name,
        switched_on=settings.attributes,
        gpu=Gpu(settings.cuda_device, settings.cuda_memory_bytes),
    )


def _tell_of_others(gallery: SqliteGallery, engine: Engine) -> None:
    """Collections of another model than the one in use answer no search: whoever changed packs should know."""
    others = {version: count for version, count in gallery.models().items() if version != engine.model_version}
    if others:
        told = ", ".join(f"{count} of {version}" for version, count in others.items())
        _log.warning(
            "this server runs the face model %s; collections that it cannot search: %s", engine.model_version, told
        )


def _timestamping(settings: Settings, register: Register) -> Timestamping:
    try:
        roots = settings.ledger_timestamp_roots.read_bytes() if settings.ledger_timestamp_roots else b""
    except OSError as error:
        raise SettingsError(f"ledger_timestamp_roots cannot be read: {error.strerror}") from None
    authority = Authority(settings.ledger_timestamp_url or "", roots)
    return Timestamping(
        register.ledger.log,
        authority,
        every_s=settings.ledger_timestamp_every_s,
        lease=register.presence.upkeep,
    )


def _retention(settings: Settings, register: Register) -> Daily:
    """Also when samples are off: what was kept before does not stay for longer."""
    return Daily(
        lambda stopping: retain(
            register.ledger,
            register.samples,
            days=settings.sample_retention_days,
            now=datetime.now(UTC),
            stopping=stopping,
        ),
        name="sample retention",
        lease=register.presence.upkeep,
    )


def _outside(settings: Settings) -> restoration.Outside:
    """What compares a log with the mirrors and witnesses of the settings; work on the host adds to it, too."""
    witnesses = list(clients_of(_witnesses(settings.ledger_witnesses)).values())
    return lambda log: history.compare_outside(log, mirrors=settings.ledger_mirrors, witnesses=witnesses)


def _expiry(register: Register, gallery: SqliteGallery) -> Daily:
    """What collections kept for longer than their retention."""

    def expire(stopping: Callable[[], bool]) -> int:
        at, request_id = datetime.now(UTC), str(uuid.uuid4())

        def entry_of(account: str, collection: str) -> Entry:
            party = register.accounts.identified(account)
            return Entry(persons.RETIRED, account, "", request_id, at, {"collection_id": collection}, party=party)

        accounts = [each.account_id for each in register.accounts.accounts()]
        days_of = register.governance.retention_days
        return persons.expire(gallery, register.database, days_of, accounts, entry_of, now=at, stopping=stopping)

    return Daily(expire, name="collection retention", lease=register.presence.upkeep)


def _places(settings: Settings) -> Places:
    return places.load(settings.places) if settings.places is not None else Places()


def _labels(gallery: SqliteGallery, account: str) -> list[str]:
    """Values of the tags of an account's collections, the first of them."""
    found: list[str] = []
    for each in gallery.collections(account, after_uid=None, limit=MOST_LABELLED):
        try:
            found += gallery.tags(account, each.collection_id).values()
        except Error:
            continue  # deleted meanwhile
    return found


def _screening(register: Register) -> Daily:
    """Lists are fetched, and whoever has to be screened again is."""

    def look_again(stopping: Callable[[], bool]) -> int:
        standings = register.governance.standings
        for source in standings.lists.sources:
            if stopping():
                return 0
            try:
                if standings.lists.is_due(source):
                    standings.lists.update(source, request_id=str(uuid.uuid4()))
            except Error as error:
                _log.error("the list %s was not updated: %s", source.list_id or source.form, error)
        return len(standings.screen_due()) if standings.due() else 0

    return Daily(look_again, name="screening", lease=register.presence.upkeep)


def _periods(register: Register) -> Daily:
    """Days that ended get their maps, and past ones are revised; within minutes of midnight, UTC."""

    def keep_up(stopping: Callable[[], bool]) -> int:
        periods = register.ledger.periods
        if periods is None:
            return 0
        accounts = [each.account_id for each in register.accounts.accounts()]
        return len(certificates.keep_up(periods, register.governance.requests, accounts, stopping))

    return Daily(keep_up, name="period maps", every_s=PERIODS_EVERY_S, lease=register.presence.upkeep)


def _witnesses(file: Path | None) -> TrustPolicy | None:
    if file is None:
        return None
    try:
        policy = TrustPolicy.parse(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, AuditError) as error:
        raise SettingsError(f"ledger_witnesses {file} cannot be read: {error}") from None
    missing = [name for name in policy.witnesses if name not in policy.urls]
    if missing or not policy.witnesses:
        raise SettingsError(f"ledger_witnesses {file} names no address for {', '.join(missing) or 'any witness'}")
    return policy


def _start_members(settings: Settings) -> dict[str, Any]:
    """What the log says publicly about the program that starts: see docs/reference/leaf.md, kind `start`."""
    source = Path(countenance.__file__).parent
    build = hashlib.sha256()
    for file in sorted(each for each in source.rglob("*") if each.is_file() and "__pycache__" not in each.parts):
        build.update(file.relative_to(source).as_posix().encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
    folder = settings.data_dir / "models"
    pack = modelpack.load(pack_of(settings), folder)
    # It decides what every threshold means, as much as the weights do.
    calibration = calibrations.in_force(pack, folder, flip=settings.flip)
    files = [{"name": each.name, "sha256": each.sha256} for each in pack.files]
    if calibration is not None:
        files.append({"name": calibration.name, "sha256": calibration.sha256})
    return {
        "software": countenance.__version__,
        "build": build.hexdigest(),
        "settings": hashlib.sha256(canonical.encode(settings.public())).hexdigest(),
        "models": files,
        "clock": {"monotonic_us": time.monotonic_ns() // 1000, "synchronised": None},
    }


def _source(settings: Settings) -> ImageSource:
    if settings.s3_endpoint is None:
        root = settings.data_dir / "buckets"
        root.mkdir(mode=0o700, exist_ok=True)
        return FolderSource(root, max_bytes=settings.max_s3_object_bytes)
    # `Settings.validate` saw to it that an endpoint comes with both keys.
    return S3Source(
        endpoint=settings.s3_endpoint,
        region=settings.s3_region,
        access_key=settings.s3_access_key or "",
        secret_key=settings.s3_secret() or "",
        addressing=settings.s3_addressing,
        timeout_s=settings.s3_timeout_s,
        max_bytes=settings.max_s3_object_bytes,
        max_connections=settings.worker_threads,
    )


def _first_use(settings: Settings, accounts: Accounts) -> None:
    """On an empty folder: the owner's account, one access key, and the two files AWS tools read."""
    data = settings.data_dir
    owner = accounts.owner()
    credentials_file = data / "credentials"
    if owner is None:
        at, party = datetime.now(UTC), _owner_party(settings)
        try:
            owner = accounts.create_account(OWNER_NAME, owner=True, request_id=str(uuid.uuid4()), at=at, party=party)
        except IntegrityErrors:  # another node began at the same moment
            owner = accounts.owner()
            if owner is None:
                raise
    if not accounts.keys(owner.account_id):
        # A crash between the key and the file leaves a key that nobody knows: the warning below then says how
        # to get another.
        issued = accounts.create_key(
            owner.account_id, purpose=OWNER_PURPOSE, request_id=str(uuid.uuid4()), at=datetime.now(UTC)
        )
        _write_private(credentials_file, _credentials_text(issued))
        _log.info("made the owner's account %s and wrote its access key to %s", owner.account_id, credentials_file)
    elif not credentials_file.exists():
        _log.warning(
            "%s is missing; `countenance key create %s` issues a new key for the owner's account",
            credentials_file,
            owner.account_id,
        )
    _declare_owner(settings, accounts, owner.account_id)


def _declare_owner(settings: Settings, accounts: Accounts, owner: str) -> None:
    """Whom the owner's account belongs to is declared once from the settings, and after that by an operator."""
    declared, party = accounts.party(owner), _owner_party(settings)
    command = f"countenance account declare {owner} --party FILE"
    if declared is None and party is not None:
        accounts.declare(owner, party, request_id=str(uuid.uuid4()), at=datetime.now(UTC))
        _log.info("declared the owner's party: %s, %s", party.legal_name, party.jurisdiction)
    elif declared is None:
        _log.warning("whom the owner's account %s belongs to is undeclared, and entries say so: `%s`", owner, command)
    elif party is not None and party != declared.party:
        _log.warning("owner_party is not what the owner's account declares; `%s` would declare it", command)


def _owner_party(settings: Settings) -> Party | None:
    if settings.owner_party is None:
        return None
    try:
        return Party.from_json(json.loads(settings.owner_party.read_text("utf-8")))
    except (OSError, ValueError, PartyError) as error:
        hint = error.hint if isinstance(error, PartyError) else None
        raise SettingsError(f"owner_party {settings.owner_party} cannot be used: {error}", hint=hint) from None


def _credentials_text(issued: Credentials) -> str:
    return f"[default]\naws_access_key_id = {issued.key.access_key_id}\naws_secret_access_key = {issued.secret}\n"


def write_client_config(data: Path, *, region: str, endpoint_url: str) -> None:
    """Writes `DIR/config`, so that AWS tools pointed at it need neither a region nor an endpoint."""
    _write_private(
        data / "config",
        "[default]\n"
        f"region = {region}\n"
        "services = countenance\n"
        "\n"
        "[services countenance]\n"
        "rekognition =\n"
        f"  endpoint_url = {endpoint_url}\n",
    )


def _write_private(path: Path, text: str) -> None:
    """Replaces a file in one step, readable by its owner only."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(path)
    sync_folder(path.parent)
