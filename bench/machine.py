"""What the figures were measured on, in words that can stand beside them."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from pathlib import Path

CPU_FLAGS = ("avx2", "fma", "f16c", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16")
"""Instruction sets that decide how fast a network or a scan runs."""

DISTRIBUTIONS = (
    "countenance",
    "opencv-python-headless",
    "onnxruntime",
    "openvino",
    "faiss-cpu",
    "numpy",
    "pillow",
    "cryptography",
    "orjson",
    "pybase64",
    "uvicorn",
    "uvloop",
    "botocore",
    "dlib-bin",
)


def describe() -> dict[str, str]:
    """Name -> value, in the order to print them."""
    flags = cpu_flags()
    cores = usable_cores()
    facts = {
        "CPU": _cpu_model(),
        "cores": f"{cores} usable",
        "flags": " ".join(flag for flag in CPU_FLAGS if flag in flags) or "none of " + " ".join(CPU_FLAGS),
        "bfloat16": "yes" if has_bfloat16() else "no",
        "memory": f"{_memory_gib():.1f} GiB",
        "OS": f"{_os_name()}, kernel {platform.release()}",
        "Python": platform.python_version(),
    }
    for name in DISTRIBUTIONS:
        try:
            facts[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            facts[name] = "not installed"
    load = os.getloadavg()[0]
    facts["conditions"] = f"{cores} shared cores, noisy: ratios and medians; load average at the start {load:.1f}"
    return facts


def usable_cores() -> int:
    """Cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 (AVX512_BF16 or AMX)."""
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16"})


def cpu_flags() -> set[str]:
    """Flags of the first CPU; empty where there is no /proc/cpuinfo."""
    return set(_cpuinfo("flags").split())


def resident_mib(pid: int) -> float:
    """VmRSS of a process in MiB (proc(5))."""
    for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no VmRSS: it has ended")


def _cpu_model() -> str:
    model = _cpuinfo("model name") or platform.processor() or "unknown"
    numbers = " ".join(f"{key} {_cpuinfo(key)}" for key in ("cpu family", "model") if _cpuinfo(key))
    return f"{model} ({numbers})" if numbers else model


def _cpuinfo(key: str) -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return ""
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return ""


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _os_name() -> str:
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return platform.system()
