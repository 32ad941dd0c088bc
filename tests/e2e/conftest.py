"""A real server in a process of its own, and clients that AWS ships."""

from __future__ import annotations

import configparser
import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

People = dict[str, list[Path]]
"""Photographs by identity."""

START_LIMIT_S = 120
"""Far above a start on a busy machine (a few seconds); a start that hangs must not hang the tests."""


@dataclass(slots=True)
class Server:
    """A running server and its data folder."""

    process: subprocess.Popen[bytes]
    data: Path
    endpoint: str
    log: Path

    @property
    def credentials(self) -> tuple[str, str]:
        parser = configparser.ConfigParser()
        parser.read(self.data / "credentials")
        return parser["default"]["aws_access_key_id"], parser["default"]["aws_secret_access_key"]

    def client(self, credentials: tuple[str, str] | None = None, **options: Any) -> Any:
        key, secret = credentials or self.credentials
        return boto3.client(
            "rekognition",
            endpoint_url=self.endpoint,
            region_name="eu-west-2",
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=Config(retries={"max_attempts": 0}, **options),
        )

    def environment(self) -> dict[str, str]:
        """For AWS tools and our command line in another process; nothing of the machine's own AWS set-up."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "COUNTENANCE_"))}
        return kept | {
            "AWS_SHARED_CREDENTIALS_FILE": str(self.data / "credentials"),
            "AWS_CONFIG_FILE": str(self.data / "config"),
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_PAGER": "",
        }

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(START_LIMIT_S)


def start(data: Path, *flags: str, environ: dict[str, str] | None = None) -> Server:
    """Starts a server on a free port and waits until it says that it is ready."""
    data.parent.mkdir(parents=True, exist_ok=True)
    log = data.parent / f"{data.name}.log"
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COUNTENANCE_")}
    marker = "Countenance is ready on "
    before = log.read_text().count(marker) if log.exists() else 0
    with log.open("ab") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "countenance", "serve", "--port", "0", "--data", str(data), *flags],
            stdout=out,
            stderr=out,
            env=kept | (environ or {}),
        )
    deadline = time.monotonic() + START_LIMIT_S
    while log.read_text().count(marker) == before:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise RuntimeError(f"the server did not start:\n{log.read_text()}")
        time.sleep(0.05)
    endpoint = log.read_text().rsplit(marker, 1)[1].split(" ", 1)[0]
    return Server(process, data, endpoint, log)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that do not stop it."""
    running = start(tmp_path_factory.mktemp("served") / "data")
    yield running
    running.stop()


@pytest.fixture(scope="session")
def people(test_data: Path) -> People:
    """Photographs by identity; at least two identities with four each."""
    folder = test_data / "faces" / "dlib_johns"
    found: People = {}
    with (folder / "labels.csv").open(newline="") as rows:
        for row in csv.DictReader(rows):
            found.setdefault(row["identity"], []).append(folder / row["image"])
    return {name: sorted(paths) for name, paths in sorted(found.items())}
