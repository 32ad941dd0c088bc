"""What a folder that was empty gets: the owner's account, its first key, and the files that AWS tools read.

Knows the settings that declare the owner; does not know how accounts are kept.
"""

from __future__ import annotations

import json
import logging
import os
import uuid
from datetime import UTC, datetime
from pathlib import Path

from countenance.accounts import Accounts, Credentials, Party, PartyError
from countenance.config import Settings, SettingsError
from countenance.store import IntegrityErrors, sync_folder

OWNER_NAME = "owner"
OWNER_PURPOSE = "owner"

_log = logging.getLogger("countenance.assembly")


def first_use(settings: Settings, accounts: Accounts) -> None:
    """On an empty folder: the owner's account, one access key, and the two files AWS tools read."""
    data = settings.data_dir
    owner = accounts.owner()
    credentials_file = data / "credentials"
    if owner is None:
        at, party = datetime.now(UTC), _owner_party(settings)
        try:
            owner = accounts.create_account(OWNER_NAME, owner=True, request_id=str(uuid.uuid4()), at=at, party=party)
        except IntegrityErrors:  # another node began at the same moment
            owner = accounts.owner()
            if owner is None:
                raise
    if not accounts.keys(owner.account_id):
        # A crash between the key and the file leaves a key that nobody knows: the warning below then says how
        # to get another.
        issued = accounts.create_key(
            owner.account_id, purpose=OWNER_PURPOSE, request_id=str(uuid.uuid4()), at=datetime.now(UTC)
        )
        _write_private(credentials_file, _credentials_text(issued))
        _log.info("made the owner's account %s and wrote its access key to %s", owner.account_id, credentials_file)
    elif not credentials_file.exists():
        _log.warning(
            "%s is missing; `countenance key create %s` issues a new key for the owner's account",
            credentials_file,
            owner.account_id,
        )
    _declare_owner(settings, accounts, owner.account_id)


def _declare_owner(settings: Settings, accounts: Accounts, owner: str) -> None:
    """Whom the owner's account belongs to is declared once from the settings, and after that by an operator."""
    declared, party = accounts.party(owner), _owner_party(settings)
    command = f"countenance account declare {owner} --party FILE"
    if declared is None and party is not None:
        accounts.declare(owner, party, request_id=str(uuid.uuid4()), at=datetime.now(UTC))
        _log.info("declared the owner's party: %s, %s", party.legal_name, party.jurisdiction)
    elif declared is None:
        _log.warning("whom the owner's account %s belongs to is undeclared, and entries say so: `%s`", owner, command)
    elif party is not None and party != declared.party:
        _log.warning("owner_party is not what the owner's account declares; `%s` would declare it", command)


def _owner_party(settings: Settings) -> Party | None:
    if settings.owner_party is None:
        return None
    try:
        return Party.from_json(json.loads(settings.owner_party.read_text("utf-8")))
    except (OSError, ValueError, PartyError) as error:
        hint = error.hint if isinstance(error, PartyError) else None
        raise SettingsError(f"owner_party {settings.owner_party} cannot be used: {error}", hint=hint) from None


def _credentials_text(issued: Credentials) -> str:
    return f"[default]\naws_access_key_id = {issued.key.access_key_id}\naws_secret_access_key = {issued.secret}\n"


def write_client_config(data: Path, *, region: str, endpoint_url: str) -> None:
    """Writes `DIR/config`, so that AWS tools pointed at it need neither a region nor an endpoint."""
    _write_private(
        data / "config",
        "[default]\n"
        f"region = {region}\n"
        "services = countenance\n"
        "\n"
        "[services countenance]\n"
        "rekognition =\n"
        f"  endpoint_url = {endpoint_url}\n",
    )


def _write_private(path: Path, text: str) -> None:
    """Replaces a file in one step, readable by its owner only."""
    draft = path.with_name(path.name + ".new")
    draft.unlink(missing_ok=True)
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(file, "w", encoding="utf-8") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(path)
    sync_folder(path.parent)
