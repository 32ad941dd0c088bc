"""An inference runtime reports to nobody: no name looked up, no connection, no identifier left in the home folder."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys

def hear(event, arguments):
    if event in ("socket.getaddrinfo", "socket.connect", "socket.gethostbyname"):
        print(event, *arguments, flush=True)

sys.addaudithook(hear)
from countenance.recognition import session
session.supports_bfloat16()
import threading
for each in threading.enumerate():
    if each is not threading.main_thread():
        each.join(5)
"""


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is for x86")
def test_openvino_reports_to_nobody(tmp_path: Path) -> None:
    # Nothing of the surroundings: with CI in the environment it keeps silent by itself.
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={"HOME": str(tmp_path), "PYTHONPATH": ":".join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert result.stdout == ""
    assert list(tmp_path.rglob("*")) == []
