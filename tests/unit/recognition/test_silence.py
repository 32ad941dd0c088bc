"""An inference runtime reports to nobody: no name looked up, no connection, no identifier left in the home folder."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys, threading

def hear(event, arguments):
    if event in ("socket.getaddrinfo", "socket.connect", "socket.gethostbyname"):
        print(event, *arguments, flush=True)

sys.addaudithook(hear)
from countenance.recognition import session
{use}
for each in threading.enumerate():
    if each is not threading.main_thread():
        each.join(5)
"""

OPENVINO = "session.supports_bfloat16()"
ONNX_RUNTIME = """
import onnx
from onnx import helper

image = helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, ["n", 4, 4, 3])
numbers = helper.make_tensor_value_info("numbers", onnx.TensorProto.FLOAT, ["n", 4, 4, 3])
node = helper.make_node("Cast", ["image"], ["numbers"], to=onnx.TensorProto.FLOAT)
graph = helper.make_graph([node], "cast", [image], [numbers])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
session.OnnxRuntimeSession(model.SerializeToString(), threads=1)
"""


@pytest.mark.parametrize(("runtime", "use"), [("openvino", OPENVINO), ("onnxruntime", ONNX_RUNTIME)])
def test_a_runtime_reports_to_nobody(runtime: str, use: str, tmp_path: Path) -> None:
    """ONNX Runtime's uploader is native and cannot be heard; it makes its identifier when it starts."""
    if importlib.util.find_spec(runtime) is None:
        pytest.skip(f"{runtime} is not installed")
    # Nothing of the surroundings: with CI in the environment both keep silent by themselves.
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM.replace("{use}", use)],
        env={"HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    assert list(tmp_path.rglob("*")) == []
