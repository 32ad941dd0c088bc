"""The package stays readable for those who do not trust it: the standard library and PyNaCl, nothing else."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[3] / "packages" / "audit" / "src" / "countenance_audit"
ALLOWED = sys.stdlib_module_names | {"nacl", "countenance_audit"}


def test_only_the_standard_library_and_pynacl_are_imported() -> None:
    files = sorted(SOURCE.rglob("*.py"))
    assert len(files) > 10
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, file
                found = [node.module or ""]
            else:
                continue
            assert {name.split(".")[0] for name in found} <= ALLOWED, f"{file.name}: {found}"


def test_nothing_is_imported_by_name_at_run_time() -> None:
    for file in SOURCE.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        assert "importlib" not in text
        assert "__import__" not in text
