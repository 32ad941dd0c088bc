#!/usr/bin/env bash
# Adds the extra that screens parties to the environment: the matcher and its data model, locked and hashed. PyICU comes as
# a source archive and is compiled against the system's ICU.
set -euo pipefail
venv=${VENV:-.venv}

missing=()
command -v pkg-config >/dev/null || missing+=(pkg-config)
command -v g++ >/dev/null || missing+=(g++)
pkg-config --exists icu-i18n 2>/dev/null || missing+=(libicu-dev)
if [ ${#missing[@]} -gt 0 ]; then
  echo "PyICU is compiled, and needs more. On Debian or Ubuntu: apt-get install ${missing[*]}" >&2
  exit 1
fi

echo "installing the extra that screens parties into $venv ..." >&2
if command -v uv >/dev/null; then
  uv pip install -q --python "$venv/bin/python" --require-hashes -r requirements-standing.lock
else
  "$venv/bin/python" -m pip install -q --disable-pip-version-check --require-hashes -r requirements-standing.lock
fi
