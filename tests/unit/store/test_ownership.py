from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from countenance.store.ownership import FolderOwned, FolderUnusable, Ownership, owner_pid

HOLD = """
import sys, pathlib
from countenance.store.ownership import Ownership
with Ownership(pathlib.Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_and_told_the_first_ones_pid(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    try:
        with pytest.raises(FolderOwned, match=str(holder.pid)) as refused:
            Ownership(folder)
        assert refused.value.pid == holder.pid
        assert owner_pid(folder) == holder.pid
    finally:
        holder.kill()
        holder.wait()
    # A killed owner leaves the file but not the lock.
    assert owner_pid(folder) is None
    with Ownership(folder):
        assert owner_pid(folder) == os.getpid()
    assert owner_pid(folder) is None


def test_the_folder_is_made_private(tmp_path: Path) -> None:
    with Ownership(tmp_path / "a" / "data"):
        assert (tmp_path / "a" / "data").stat().st_mode & 0o777 == 0o700


def test_a_folder_that_is_not_there_has_no_owner(tmp_path: Path) -> None:
    assert owner_pid(tmp_path / "nowhere") is None


def test_a_file_in_the_place_of_the_folder_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    for use in (Ownership, owner_pid):
        with pytest.raises(FolderUnusable, match="is a file, not a data folder"):
            use(tmp_path / "data")
