"""Writes the pages under docs/reference that are made from the code, or checks that they are up to date.

python scripts/generate_docs.py [--check]
"""

from __future__ import annotations

import difflib
import subprocess
import sys
from pathlib import Path

from countenance.operations import OPERATIONS
from countenance.operations.attributes import LANDMARKS, NAMED
from countenance.operations.compatibility import NOTES, PAGE
from countenance.recognition import modelpack
from countenance.recognition.attributes import PACK_OF
from countenance.wire import model

ROOT = Path(__file__).resolve().parent.parent
OTHERS = ("scripts/generate_settings.py", "scripts/generate_cli.py", "scripts/generate_capacity.py")


def compatibility() -> str:
    """The table of all operations of the service model."""
    names = sorted(model.operations())
    lines = [
        "# Compatibility with Amazon Rekognition",
        "",
        "<!-- made by scripts/generate_docs.py: edit the code, then run `make docs` -->",
        "",
        f"{len(OPERATIONS)} of the {len(names)} operations of the service model are answered. The others are",
        "known by name and refused with `UnknownOperationException` and a pointer to this page; no operation returns",
        "invented data. Request and response shapes, and every constraint on them, are those of the service",
        "model that botocore carries.",
        "",
        "| operation | answered |",
        "|---|---|",
    ]
    lines += [f"| {name} | {'yes' if name in OPERATIONS else 'no'} |" for name in names]
    lines += ["", "## Attributes of a face", ""]
    lines += [*attributes(), ""]
    lines += ["## Where answers differ", ""]
    for name in sorted(NOTES):
        lines += [f"### {name}", ""]
        lines += [f"- {note}" for note in NOTES[name]]
        lines.append("")
    return "\n".join(lines)


def attributes() -> list[str]:
    """Every Attribute of the service model: whether it is answered, and what with."""
    names = model.input_shape("DetectFaces").members["Attributes"].element
    assert names is not None
    lines = [
        "Attributes and DetectionAttributes select as with Amazon: those of DEFAULT are in every answer, ALL adds",
        "everything, and a name adds what it names, with DEFAULT or alone. docs/accuracy.md says how far off each is.",
        "",
        "| attribute | answered | estimated with |",
        "|---|---|---|",
    ]
    for name in sorted(set(names.enum) - {"ALL", "DEFAULT"}):
        lines.append(f"| {name} | {_estimated_with(NAMED.get(name))} |")
    lines.append(f"| the 25 landmarks beyond the five of DEFAULT (ALL) | {_estimated_with(LANDMARKS)} |")
    return lines


def _estimated_with(attribute: str | None) -> str:
    if attribute is None:
        return "no: no model that everybody may use was found | -"
    (file,) = modelpack.load(PACK_OF[attribute]).files
    return f"yes, unless it is switched off or its weights are missing | `{file.name}`, {file.licence}"


def main() -> int:
    check = "--check" in sys.argv[1:]
    stale = False
    for path, text in {ROOT / PAGE: compatibility()}.items():
        found = path.read_text("utf-8") if path.exists() else ""
        if found == text:
            continue
        if check:
            stale = True
            name = str(path.relative_to(ROOT))
            sys.stdout.writelines(
                difflib.unified_diff(found.splitlines(True), text.splitlines(True), name, f"{name} (from the code)")
            )
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            print(f"wrote {path.relative_to(ROOT)}")
    for script in OTHERS:
        result = subprocess.run([sys.executable, ROOT / script, *sys.argv[1:]], check=False)
        stale |= result.returncode != 0
    if stale:
        print("generated pages differ from the code; `make docs` writes them")
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
