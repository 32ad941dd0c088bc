#!/usr/bin/env bash
# Adds the peers of the benchmark to the environment. Without them (no network) the bench still runs: it says
# that dlib is missing and leaves its rows out.
set -euo pipefail
bin=${BIN:-.venv/bin}
here=$(cd "$(dirname "$0")" && pwd)

if "$bin/python" - <<'PY'
import importlib.metadata as installed, sys
wanted = {"dlib-bin": "20.0.1.post1", "face_recognition_models": "0.3.0"}
def version(name):
    try:
        return installed.version(name)
    except installed.PackageNotFoundError:
        return None
sys.exit(any(version(name) != pinned for name, pinned in wanted.items()))
PY
then
  exit 0
fi
echo "installing the benchmark's peers (dlib and its weights, 105 MB) ..." >&2
if command -v uv >/dev/null; then
  install=(uv pip install -q --python "$bin/python")
else
  install=("$bin/python" -m pip install -q --disable-pip-version-check)
fi
# The weights come as a source archive without code to compile; the setuptools of the environment packs it.
if ! "${install[@]}" --require-hashes --no-deps --no-build-isolation -r "$here/requirements.txt"; then
  echo "the peers could not be installed: the rows about dlib will be left out" >&2
fi
