"""Who is logged in on this machine: a token in a file of the user's own, one for each data folder.

Knows where the file is; what a token is worth is for the server. Without one, work on the host is recorded as the
host's.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path


def _path(data_dir: Path) -> Path:
    state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    name = hashlib.sha256(os.fsencode(data_dir.absolute())).hexdigest()[:16]
    return Path(state) / "countenance" / f"session-{name}"


def read(data_dir: Path) -> str | None:
    """The token; None when nobody is logged in."""
    try:
        return _path(data_dir).read_text("ascii").strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def keep(data_dir: Path, token: str) -> None:
    """Keep a token, readable by this user only."""
    path = _path(data_dir)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "w") as file:
        file.write(token)


def forget(data_dir: Path) -> bool:
    """Log out; whether anybody was logged in."""
    path = _path(data_dir)
    was = path.exists()
    path.unlink(missing_ok=True)
    return was
