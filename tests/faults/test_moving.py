"""`kill -9` in the middle of an import: nothing of the collection is there, and the import done again is complete."""

from __future__ import annotations

import hashlib
import json
import os
import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from countenance.operations.archive import Derivation, Sealing
from countenance.operations.archived import Count, Described, face_line, user_line
from countenance.recognition import modelpack
from tests.congruence.samples import name_id, reference, unit_rows

FACES = 20_000
USERS = 200
PASSWORD = "sixteen tigers eat plums"
KILLS = 4


def archive(path: Path) -> None:
    """A large collection, as a server with the default model writes it."""
    pack = modelpack.load()
    model, at = pack.version_with(None), datetime(2026, 1, 2, tzinfo=UTC)
    digest = hashlib.sha256()
    with path.open("wb") as out:
        sealing = Sealing(out, PASSWORD, Derivation(64, 1, 1, bytes(32)))

        def put(line: bytes) -> None:
            digest.update(line)
            sealing.write(line)

        put(Described("large", "111122223333", model, pack.dimension, at, at, "tests", None, {}).line())
        for number in range(USERS):
            put(user_line(f"user-{number}", at))
        for number, row in enumerate(unit_rows(FACES, pack.dimension, 1)):
            user = f"user-{number}" if number < USERS else None
            each = reference(number, model_version=model, external_image_id=f"e-{number}", user_id=user)
            put(face_line(each, row.astype("<f2").tobytes()))
        sealing.write(Count(USERS, FACES, 0, digest.hexdigest()).line())
        sealing.finish()


def command(folder: Path, *words: str) -> list[str]:
    return [sys.executable, "-m", "countenance", *words, "--data", str(folder), "--json"]


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("COUNTENANCE_")}


def asked(folder: Path, *words: str) -> dict[str, Any]:
    done = subprocess.run(command(folder, *words), env=environment(), capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def rows(folder: Path) -> int:
    """References in the file, whoever's; 0 before there is a table for them."""
    with closing(sqlite3.connect(folder / "countenance.db", timeout=30)) as connection:
        try:
            return int(connection.execute("SELECT count(*) FROM enrolled_references").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


def test_an_import_that_is_killed_leaves_nothing_and_is_done_again(tmp_path: Path) -> None:
    folder, file, password = tmp_path / "data", tmp_path / "large.archive", tmp_path / "password"
    folder.mkdir(mode=0o700)
    archive(file)
    password.write_text(PASSWORD)
    asked(folder, "account", "list")  # makes the owner's account
    words = ("import", str(file), "--password-file", str(password))
    chance, interrupted = random.Random(7), 0
    for _ in range(KILLS):
        child = subprocess.Popen(command(folder, *words), env=environment(), stdout=subprocess.DEVNULL)
        wanted = rows(folder) + chance.randint(1, FACES // 2)
        while child.poll() is None and rows(folder) < wanted:
            time.sleep(0.01)
        child.kill()
        interrupted += child.wait() == -9
        print(f"killed with {rows(folder)} of {FACES} references written")
        assert asked(folder, "ledger", "fsck")["problems"] == []
    assert interrupted == KILLS
    done = asked(folder, *words)
    assert (done["faces"], done["users"]) == (FACES, USERS)
    report = asked(folder, "ledger", "fsck")
    assert (report["problems"], report["references"]) == ([], FACES)
    deadline = time.monotonic() + 120
    while rows(folder) > FACES and time.monotonic() < deadline:  # what the kills left goes in portions
        asked(folder, "retention", "set", done["account_id"], "large", "--days", "30000", "--yes")
        time.sleep(0.5)
    assert rows(folder) == FACES
    again = tmp_path / "again.archive"
    assert asked(folder, "export", "large", str(again), "--password-file", str(password))["faces"] == FACES
    assert name_id(0).encode() not in again.read_bytes()
