"""The GPU is used when it is asked for and there, and nothing stands in for it. No GPU is pretended: what a machine
without one does is tested, and what the start looks at is replaced only where ONNX Runtime is asked what it has."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from countenance.recognition import Gpu, ModelPackError, build_engine, modelpack
from countenance.recognition.session import (
    CUDA,
    CUDA_INSTALL,
    CUDA_PROVIDER,
    RUNTIMES,
    choose,
    open_session,
    provider_options,
)

SCRIPT = Path(__file__).parents[3] / "scripts" / "gpu_check.py"
HAS_CUDA = CUDA_PROVIDER in onnxruntime.get_available_providers()
without_cuda = pytest.mark.skipif(HAS_CUDA, reason="this ONNX Runtime has CUDA")


@pytest.fixture
def said_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime says that it was built with CUDA. It says no more than that: a GPU is another question."""
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA_PROVIDER, "CPUExecutionProvider"])


@without_cuda
def test_cuda_without_its_package_is_refused_with_the_commands_that_install_it(models_dir: Path) -> None:
    for refused in (lambda: choose(CUDA), lambda: build_engine(cache_dir=models_dir, runtime=CUDA)):
        with pytest.raises(ModelPackError, match=r"cuda is not installed: .*CPUExecutionProvider") as caught:
            refused()
        assert caught.value.hint == CUDA_INSTALL
    assert "onnxruntime-gpu" in CUDA_INSTALL


def test_cuda_without_any_onnxruntime_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(ModelPackError, match="cuda is not installed") as caught:
        choose(CUDA)
    assert caught.value.hint == CUDA_INSTALL


@pytest.mark.usefixtures("said_to_be_there")
def test_two_onnxruntimes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose(CUDA) == CUDA
    monkeypatch.setattr(importlib.metadata, "version", lambda _name: "1.0")
    with pytest.raises(ModelPackError, match="overwrite each other") as caught:
        choose(CUDA)
    assert caught.value.hint == CUDA_INSTALL


@pytest.mark.usefixtures("said_to_be_there")
def test_auto_does_not_take_the_gpu() -> None:
    assert choose("auto") in RUNTIMES


@without_cuda
@pytest.mark.usefixtures("said_to_be_there")
@pytest.mark.filterwarnings("ignore:Specified provider")
def test_the_cpu_does_not_stand_in_for_a_gpu_that_is_not_there(models_dir: Path) -> None:
    graph = modelpack.folded(modelpack.load().file("features"), models_dir)
    with pytest.raises(ModelPackError, match=r"cannot be used.*gave CPUExecutionProvider instead") as caught:
        open_session(graph, runtime=CUDA, shapes=[(1, 112, 112)], lanes=1, threads=1, bfloat16=True)
    assert "nvidia-smi" in str(caught.value.hint)
    with pytest.raises(ModelPackError, match="CPU does not stand in"):
        build_engine(cache_dir=models_dir, runtime=CUDA, switched_on=())


def test_what_cuda_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert provider_options(Gpu(device=3, memory_bytes=1 << 30)) == {
        "device_id": "3",
        "gpu_mem_limit": "1073741824",
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",
        "use_tf32": "0",
    }


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, str(SCRIPT), "--seconds", "0.05", "--crops", "33", *arguments]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, env=dict(os.environ), check=False)


@without_cuda
def test_the_check_cannot_decide_without_cuda() -> None:
    done = check()
    assert done.returncode == 3
    assert "not decided" in done.stdout
    assert "CUDAExecutionProvider" in done.stdout
    assert "onnxruntime-gpu" in done.stdout
    assert "faces a second" not in done.stdout


def test_the_check_passes_what_is_equal_and_fails_what_is_not(tmp_path: Path) -> None:
    out = tmp_path / "found.json"
    done = check("--runtime", "onnxruntime", "--json", str(out))
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert found["runtime"] == "onnxruntime float32"
    assert 0 <= found["apart_from_cpu"] <= 1e-5
    assert sorted(found["faces_a_second"]) == ["1", "32", "8"]
    assert all(np.isfinite(each) and each > 0 for each in found["faces_a_second"].values())
    assert check("--runtime", "onnxruntime", "--limit", "-1").returncode == 1
