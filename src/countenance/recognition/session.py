"""Running a folded graph: the only module that imports an inference runtime.

Knows ONNX Runtime (on the CPU, and on an NVIDIA GPU through CUDA) and OpenVINO, threads and precisions; knows no faces
and no files. A session is made for the shapes it will be given, because OpenVINO compiles per shape: with dynamic
shapes it recompiles on the first use of each and keeps what it compiled (measured: 50 ms instead of 9, and 287 MB over
80 shapes). cuDNN chooses its algorithms per shape, too. So every shape is used once before the session is handed out.

Thread counts are explicit and set here alone: `lanes` inferences run at once with `threads` threads each. An
inference request of OpenVINO belongs to one thread at a time: it is taken out of a pool for the call.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import queue
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from countenance.recognition.faults import ModelPackError

RUNTIMES = ("openvino", "onnxruntime")
"""On the CPU, by the names of their modules."""
CUDA: Final = "cuda"
"""ONNX Runtime on a GPU: only when it is asked for by name."""
CUDA_PROVIDER: Final = "CUDAExecutionProvider"
CUDA_INSTALL: Final = "pip uninstall -y onnxruntime onnxruntime-gpu && pip install 'onnxruntime-gpu[cuda,cudnn]'"
"""Both distributions install the module `onnxruntime`, file over file, so that one has to go before the other comes;
`cuda` and `cudnn` are extras of onnxruntime-gpu that bring NVIDIA's libraries (docs/operations/gpu.md)."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """Which GPU, and how much of it."""

    device: int = 0
    """As CUDA counts them."""
    memory_bytes: int = 2 * 1024**3
    """The most that one session's arena takes; what CUDA and cuDNN take for themselves comes on top."""


def _silence() -> None:
    """Keep both runtimes from reporting to their makers, which their official builds do unless told beforehand.

    Importing OpenVINO 2026.4 sends an event through Google Analytics, with an identifier kept in `~/intel`
    (openvino/tools/ovc/__init__.py); without the module `openvino_telemetry` it sends nothing. ONNX Runtime has sent
    processes, sessions and hashes of models to Microsoft since 1.29, with an identifier in `~/.cache/Microsoft`, unless
    this variable is set before it starts (https://github.com/microsoft/onnxruntime/pull/27379). A server that sees
    faces reports to nobody.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    if "openvino" not in sys.modules:
        sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # so that importing it fails


_silence()  # here, as no other module imports a runtime (.importlinter), and before any of the imports below


class Session(Protocol):
    """A graph that is ready to run. Thread-safe."""

    @property
    def runtime(self) -> str:
        """Name and precision of what runs it, for `doctor` and the model version."""

    @property
    def threads(self) -> int:
        """Threads of all its inferences together, as the runtime itself says it was set."""

    def run(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """Run the graph.

        Args:
            images: uint8, N x H x W x 3, R G B; one of the shapes the session was made for.

        Returns:
            The graph's outputs in its own order, float32; the caller owns them.
        """

    def close(self) -> None:
        """Let go of the memory; no `run` after it."""


class OnnxRuntimeSession:
    """ONNX Runtime on the CPU: portable, any shape without compiling."""

    def __init__(self, graph: bytes, *, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session: Any = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        self._input: str = self._session.get_inputs()[0].name

    @property
    def runtime(self) -> str:
        return "onnxruntime float32"

    @property
    def threads(self) -> int:
        return int(self._session.get_session_options().intra_op_num_threads)

    def run(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        return list(self._session.run(None, {self._input: images}))

    def close(self) -> None:
        self._session = None


class CudaSession:
    """ONNX Runtime on an NVIDIA GPU, in float32.

    Raises:
        ModelPackError: the GPU cannot be had. ONNX Runtime itself would go on on the CPU and say so in its own log
            only, even when told not to fall back (https://github.com/microsoft/onnxruntime/issues/17801).
    """

    def __init__(self, graph: bytes, *, shapes: Sequence[tuple[int, int, int]], threads: int, gpu: Gpu) -> None:
        # `use_tf32` does not reach every convolution: cuDNN's graphs fall back to TF32 where they cannot be built
        # without (https://github.com/microsoft/onnxruntime/pull/19470 and 21752); NVIDIA's own switch does.
        os.environ["NVIDIA_TF32_OVERRIDE"] = "0"
        import onnxruntime

        if hasattr(onnxruntime, "preload_dlls"):  # from 1.21: finds CUDA and cuDNN that came as wheels
            with contextlib.redirect_stdout(sys.stderr):
                onnxruntime.preload_dlls()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session: Any = onnxruntime.InferenceSession(
                graph, options, providers=[(CUDA_PROVIDER, provider_options(gpu))], enable_fallback=0
            )
        except Exception as error:  # noqa: BLE001 -- its own errors have no common base that is public
            raise _no_gpu(
                f"ONNX Runtime refused it: {(str(error) or type(error).__name__).splitlines()[0][:200]}"
            ) from None
        given = self._session.get_providers()
        if CUDA_PROVIDER not in given:
            raise _no_gpu(f"ONNX Runtime gave {', '.join(given)} instead")
        self._input: str = self._session.get_inputs()[0].name
        for batch, height, width in shapes:
            self.run(np.zeros((batch, height, width, 3), np.uint8))

    @property
    def runtime(self) -> str:
        return "onnxruntime-gpu float32"

    @property
    def threads(self) -> int:
        return int(self._session.get_session_options().intra_op_num_threads)

    def run(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        return list(self._session.run(None, {self._input: images}))

    def close(self) -> None:
        self._session = None


class OpenVinoSession:
    """OpenVINO on x86: compiled for fixed shapes, one pool of requests for each."""

    def __init__(
        self,
        graph: bytes,
        *,
        shapes: Sequence[tuple[int, int, int]],
        lanes: int,
        threads: int,
        bfloat16: bool,
    ) -> None:
        import openvino

        core: Any = openvino.Core()
        self._bfloat16 = bfloat16 and supports_bfloat16()
        settings = {
            "INFERENCE_NUM_THREADS": lanes * threads,
            "NUM_STREAMS": lanes,
            "INFERENCE_PRECISION_HINT": "bf16" if self._bfloat16 else "f32",
            "ENABLE_CPU_PINNING": False,
        }
        self._pools: dict[tuple[int, int], queue.LifoQueue[Any]] = {}
        for height, width in dict.fromkeys(each[1:] for each in shapes):
            batches = sorted({each[0] for each in shapes if each[1:] == (height, width)})
            model = core.read_model(graph)
            # One compilation for all batches of a size: they share the weights, where each of its own would hold 130
            # MB of SFace again (38 MB more for all four, in one run).
            count = batches[0] if len(batches) == 1 else openvino.Dimension(batches[0], batches[-1])
            model.reshape({model.input(0): openvino.PartialShape([count, height, width, 3])})
            compiled = core.compile_model(model, "CPU", settings)
            pool: queue.LifoQueue[Any] = queue.LifoQueue()
            for _ in range(lanes):
                request = compiled.create_infer_request()
                for batch in batches:
                    request.infer([np.zeros((batch, height, width, 3), np.uint8)])
                pool.put(request)
            self._pools[height, width] = pool
            self._outputs = len(compiled.outputs)
            self._threads = int(compiled.get_property("INFERENCE_NUM_THREADS"))

    @property
    def runtime(self) -> str:
        return "openvino " + ("bfloat16" if self._bfloat16 else "float32")

    @property
    def threads(self) -> int:
        return self._threads

    def run(self, images: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        pool = self._pools[images.shape[1], images.shape[2]]
        request = pool.get()
        try:
            request.infer([images], share_inputs=True)
            return [request.get_output_tensor(each).data.copy() for each in range(self._outputs)]
        finally:
            pool.put(request)

    def close(self) -> None:
        self._pools = {}


def provider_options(gpu: Gpu) -> dict[str, str]:
    """What CUDA is told, all of https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html.

    TF32 is off, so that features equal the CPU's: it keeps 10 of float32's 23 bits. cuDNN chooses algorithms by its
    heuristic and not by trying (ONNX Runtime's default): what is tried is timed, and two starts of a server could time
    differently and compute differently. The arena grows by what is asked for, since all shapes are known at the start.
    """
    return {
        "device_id": str(gpu.device),
        "gpu_mem_limit": str(gpu.memory_bytes),
        "arena_extend_strategy": "kSameAsRequested",
        "cudnn_conv_algo_search": "HEURISTIC",
        "use_tf32": "0",
    }


def supports_bfloat16() -> bool:
    """Whether OpenVINO computes in bfloat16 on this CPU (AVX512_BF16 or AMX), by its own account."""
    if importlib.util.find_spec("openvino") is None:
        return False
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def choose(runtime: str) -> str:
    """Which runtime `runtime` means on this machine.

    `auto` is OpenVINO on x86 where it is installed, else ONNX Runtime (docs/design/decisions/0001), and never the GPU.

    Raises:
        ModelPackError: the one asked for is not installed, or unknown.
    """
    if runtime == CUDA:
        _refuse_without_cuda()
        return CUDA
    installed = [each for each in RUNTIMES if importlib.util.find_spec(each) is not None]
    if runtime == "auto":
        x86 = platform.machine().lower() in ("x86_64", "amd64")
        preferred = RUNTIMES if x86 else tuple(reversed(RUNTIMES))
        runtime = next((each for each in preferred if each in installed), "none")
    if runtime not in installed:
        raise ModelPackError(f"inference runtime {runtime} is not installed", hint="pip install onnxruntime")
    return runtime


def _refuse_without_cuda() -> None:
    """What can be told before a session is made; whether the GPU works, its session tells."""
    if _is_installed("onnxruntime") and _is_installed("onnxruntime-gpu"):
        raise ModelPackError(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other", hint=CUDA_INSTALL
        )
    if importlib.util.find_spec("onnxruntime") is None:
        raise ModelPackError("inference runtime cuda is not installed", hint=CUDA_INSTALL)
    import onnxruntime

    provided = onnxruntime.get_available_providers()
    if CUDA_PROVIDER not in provided:
        raise ModelPackError(
            f"inference runtime cuda is not installed: this ONNX Runtime has {', '.join(provided)}", hint=CUDA_INSTALL
        )


def _is_installed(distribution: str) -> bool:
    try:
        importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _no_gpu(why: str) -> ModelPackError:
    return ModelPackError(
        f"the GPU cannot be used, and the CPU does not stand in for it: {why}",
        hint="`nvidia-smi` says whether the driver sees a GPU; libraries: docs/operations/gpu.md; "
        "without a GPU: --runtime auto",
    )


def open_session(
    graph: bytes,
    *,
    runtime: str,
    shapes: Sequence[tuple[int, int, int]],
    lanes: int,
    threads: int,
    bfloat16: bool,
    gpu: Gpu | None = None,
) -> Session:
    """A session of the named runtime.

    Args:
        graph: a folded ONNX model taking uint8 N x H x W x 3.
        runtime: what `choose` returned.
        shapes: every N, H, W that `run` will be given.
        lanes: inferences at once.
        threads: threads inside one inference.
        bfloat16: compute in bfloat16 where the CPU has it; otherwise float32.
        gpu: for `cuda`; None: the first one.

    Raises:
        ModelPackError: the GPU cannot be had.
    """
    if runtime == CUDA:
        return CudaSession(graph, shapes=shapes, threads=threads, gpu=gpu or Gpu())
    if runtime == "openvino":
        return OpenVinoSession(graph, shapes=shapes, lanes=lanes, threads=threads, bfloat16=bfloat16)
    return OnnxRuntimeSession(graph, threads=threads)
