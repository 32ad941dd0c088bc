"""How an administrative verb reaches the data folder: through the server that owns it, or by owning it.

Knows the lock, the socket `DIR/admin.sock` and its HTTP; knows no verb. Who may administer is whoever may open
the socket or the folder: both have mode 0600 and 0700.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from pathlib import Path
from typing import Any, Final

from countenance.cli import session
from countenance.config import Settings
from countenance.errors import Error
from countenance.store.ownership import FolderOwned, owner_pid

SOCKET: Final = "admin.sock"

PATIENCE_S: Final = 10.0
"""A server that has just taken the folder first loads its models; another verb holds it for moments."""

POLL_S: Final = 0.05

ANSWER_TIMEOUT_S: Final = 60.0
LONG_ANSWER_TIMEOUT_S: Final = 24 * 3600.0
"""For verbs that read or copy everything: 0.2 to 1 ms a leaf (`ledger fsck`), or as long as the disk takes."""
LONG: Final = frozenset(
    {
        "authorisation.calls",
        "authorisation.refuse",
        "backup.create",
        "collection.export",
        "collection.import",
        "collection.migrate",
        "collection.verify",
        "crops.erase",
        "ledger.erase",
        "ledger.expire",
        "ledger.fsck",
        "ledger.statement",
        "list.import",
        "list.update",
        "party.lookback",
        "party.screen",
        "party.statements",
        "person.erase",
        "policy.replay",
        "policy.simulate",
        "review.list",
        "sample.erase",
    }
)

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024


class AdministrationFailed(Error):
    """The server refused the verb, or could not be reached."""


class _NotListening(Exception):
    """Nobody is at the socket; nothing was asked of anybody."""


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.fspath(self._path.absolute()))


def administer(settings: Settings, verb: str, params: dict[str, Any]) -> dict[str, Any]:
    """Carry out one administrative verb, such as "account.create".

    Raises:
        Error: whatever the verb is refused with, or the folder cannot be reached.
    """
    folder = settings.data_dir
    if (token := session.read(folder)) is not None:
        params = {**params, "session_token": token}
    if not folder.is_dir():
        if folder.exists():
            raise AdministrationFailed(f"{folder} is a file, not a data folder.", hint="name a folder with --data")
        raise AdministrationFailed(
            f"There is no data folder {folder}.", hint="name it with --data; `countenance serve` makes a new one"
        )
    deadline = time.monotonic() + PATIENCE_S
    while True:
        pid = owner_pid(folder)
        try:
            if pid is None:
                return _in_process(settings, verb, params)
            return _over_socket(folder / SOCKET, verb, params)
        except (FolderOwned, _NotListening):
            # The owner changed between looking and acting, or it does not listen yet.
            if time.monotonic() > deadline:
                raise AdministrationFailed(
                    f"Process {pid or 'unknown'} owns {folder} and does not answer on {folder / SOCKET}.",
                    hint="wait until it has started, or stop it",
                ) from None
        time.sleep(POLL_S)


def _in_process(settings: Settings, verb: str, params: dict[str, Any]) -> dict[str, Any]:
    from countenance.assembly import open_admin

    with open_admin(settings) as register:
        return register.administer(verb, params)


def _over_socket(path: Path, verb: str, params: dict[str, Any]) -> dict[str, Any]:
    connection = _UnixConnection(path, LONG_ANSWER_TIMEOUT_S if verb in LONG else ANSWER_TIMEOUT_S)
    try:
        connection.request("POST", f"/admin/{verb}", json.dumps(params), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        document = json.loads(answer.read(MAX_ANSWER_BYTES))
        if answer.status == 200:
            result: dict[str, Any] = document["result"]
            return result
        error = document["error"]
        raise AdministrationFailed(str(error["message"]), hint=error.get("hint"))
    except (FileNotFoundError, ConnectionRefusedError):
        raise _NotListening from None
    except PermissionError:
        raise AdministrationFailed(
            f"You may not use {path}.", hint="administrative verbs are for the user who runs the server"
        ) from None
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        raise AdministrationFailed(
            f"The server on {path} did not answer as it should ({type(error).__name__}).",
            hint="whether the verb took effect is not known; list before repeating it",
        ) from None
    finally:
        connection.close()
