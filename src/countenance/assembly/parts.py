"""What settings alone decide: models, indexes, sources, witnesses, and what a start says of itself.

Knows the settings and the classes; opens no store, and is handed the one that indexes are made from.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Any

from countenance_audit import canonical
from countenance_audit.errors import AuditError
from countenance_audit.policy import TrustPolicy

import countenance
from countenance import restoration
from countenance.config import Settings, SettingsError
from countenance.gallery import INDEX_FOLDER, Share, SqliteGallery, tiered
from countenance.gallery.node_client import NodeClient
from countenance.ledger import history
from countenance.ledger.witnessing import clients_of
from countenance.recognition import Engine, Gpu, ModelPackError, build_engine, calibrations, modelpack
from countenance.recognition.engine import CORES_PER_LANE, usable_cores
from countenance.sources import FolderSource, ImageSource, S3Source
from countenance.standing.places import Places, load
from countenance.store import Database, Keyring


def pack_of(settings: Settings) -> str:
    """The model pack that a server of these settings takes."""
    return modelpack.chosen(settings.model_pack, settings.data_dir / "models")


def engine(settings: Settings, *, of: int = 1) -> Engine:
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


def gallery(settings: Settings, database: Database, keyring: Keyring) -> SqliteGallery:
    return SqliteGallery(
        database,
        keyring,
        index_factory=tiered(settings.index_quantised_from),
        index_folder=settings.data_dir / INDEX_FOLDER,
        index_files_from=settings.index_files_from,
        share=Share.parse(settings.search_shard or ""),
        client=NodeClient(ca_file=settings.node_ca_file, allows_plain=settings.insecure_http),
    )


def source(settings: Settings) -> ImageSource:
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


def places(settings: Settings) -> Places:
    return load(settings.places) if settings.places is not None else Places()


def witness_policy(file: Path | None) -> TrustPolicy | None:
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


def outside(settings: Settings) -> restoration.Outside:
    """What compares a log with the mirrors and witnesses of the settings; work on the host adds to it, too."""
    witnesses = list(clients_of(witness_policy(settings.ledger_witnesses)).values())
    return lambda log: history.compare_outside(log, mirrors=settings.ledger_mirrors, witnesses=witnesses)


def start_members(settings: Settings) -> dict[str, Any]:
    """What the log says publicly about the program that starts: see docs/reference/leaf.md, kind `start`."""
    package = Path(countenance.__file__).parent
    build = hashlib.sha256()
    for file in sorted(each for each in package.rglob("*") if each.is_file() and "__pycache__" not in each.parts):
        build.update(file.relative_to(package).as_posix().encode() + b"\0" + hashlib.sha256(file.read_bytes()).digest())
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
