"""A real server that keeps the images of matches: real inference on photographs, the command line, a restart."""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from .conftest import People, Server, start

ON = {"COUNTENANCE_SAMPLES": "matches"}
WINDOW = 64
"""Bytes of a photograph that no other file has by chance."""


@pytest.fixture(scope="module")
def keeping(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = start(tmp_path_factory.mktemp("samples") / "data", environ=ON)
    yield running
    if running.process.poll() is None:
        assert running.stop() == 0


def run(server: Server, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "countenance", *map(str, words), "--data", str(server.data)]
    environment = server.environment()
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)


def said(server: Server, *words: object) -> dict[str, Any]:
    made = run(server, *words, "--json")
    assert made.returncode == 0, made.stderr
    answer: dict[str, Any] = json.loads(made.stdout)
    return answer


def test_the_image_of_a_match_is_kept_sealed_exported_on_record_and_erased(
    keeping: Server, people: People, tmp_path: Path
) -> None:
    ann, ben = list(people.values())[:2]
    client = keeping.client()
    client.create_collection(CollectionId="c")
    client.index_faces(CollectionId="c", Image={"Bytes": ann[0].read_bytes()})
    match = client.search_faces_by_image(CollectionId="c", Image={"Bytes": ann[1].read_bytes()})
    assert len(match["FaceMatches"]) == 1
    other = client.search_faces_by_image(CollectionId="c", Image={"Bytes": ben[0].read_bytes()})
    assert other["FaceMatches"] == []
    client.compare_faces(SourceImage={"Bytes": ann[0].read_bytes()}, TargetImage={"Bytes": ann[1].read_bytes()})

    account = said(keeping, "account", "list")["accounts"][0]["account_id"]
    listed = said(keeping, "sample", "list", account)
    wanted = match["ResponseMetadata"]["RequestId"]
    assert [(each["request_id"], each["bytes"]) for each in listed["samples"]] == [(wanted, ann[1].stat().st_size)]
    assert listed["is_on"] is True

    photograph = ann[1].read_bytes()
    middle = photograph[len(photograph) // 2 :][:WINDOW]
    looked_at = 0
    for path in [each for each in keeping.data.rglob("*") if each.is_file() and "models" not in each.parts]:
        content = path.read_bytes()
        assert middle not in content, path
        assert photograph[:WINDOW] not in content, path
        looked_at += 1
    assert looked_at >= 5

    out = tmp_path / "match.jpg"
    made = said(keeping, "sample", "export", wanted, "--out", out, "--reason", "case 17/26")
    assert out.read_bytes() == photograph
    assert out.stat().st_mode & 0o777 == 0o600
    assert made["sha256"] == hashlib.sha256(photograph).hexdigest()
    assert "image" not in made
    again = run(keeping, "sample", "export", wanted, "--out", out, "--reason", "case 17/26")
    assert again.returncode == 3, "a file that is there is not overwritten"
    refused = run(keeping, "sample", "export", "unknown", "--out", tmp_path / "none.jpg", "--reason", "x")
    assert refused.returncode == 3
    assert not (tmp_path / "none.jpg").exists()

    metrics = urllib.request.urlopen(f"{keeping.endpoint}/metrics", timeout=30).read().decode()
    assert "countenance_samples 1.0" in metrics
    assert f"countenance_sample_bytes {float(len(photograph))}" in metrics
    examined = said(keeping, "ledger", "fsck")
    assert (examined["problems"], examined["samples"]) == ([], 1)

    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%d")
    words = ("sample", "erase", account, "--before", tomorrow, "--ground", "Art. 17 GDPR", "--yes")
    said(keeping, "ledger", "hold", account, "--reason", "case 17/26")
    held = run(keeping, *words)
    assert held.returncode == 3
    assert "legal hold" in held.stderr
    said(keeping, "ledger", "release", account, "--yes")
    assert said(keeping, *words) == {"account_id": account, "erased": 1}
    assert list((keeping.data / "samples").iterdir()) == []
    assert said(keeping, "ledger", "fsck")["problems"] == []


def test_an_image_of_the_largest_size_comes_back_through_the_socket(
    keeping: Server, people: People, tmp_path: Path
) -> None:
    """15 MiB is what S3Object may have: a photograph with a long tail, which decoders do not look at."""
    ann = next(iter(people.values()))
    photograph = ann[1].read_bytes()
    large = photograph + b"\0" * ((15 << 20) - len(photograph))
    bucket = keeping.data / "buckets" / "large"
    bucket.mkdir(parents=True)
    (bucket / "image.jpg").write_bytes(large)
    client = keeping.client()
    client.create_collection(CollectionId="large")
    client.index_faces(CollectionId="large", Image={"Bytes": ann[0].read_bytes()})
    found = client.search_faces_by_image(
        CollectionId="large", Image={"S3Object": {"Bucket": "large", "Name": "image.jpg"}}
    )
    assert len(found["FaceMatches"]) == 1
    out = tmp_path / "large.jpg"
    wanted = found["ResponseMetadata"]["RequestId"]
    said(keeping, "sample", "export", wanted, "--out", out, "--reason", "case 17/26")
    assert out.read_bytes() == large


def test_a_restart_with_samples_off_keeps_no_more_and_a_backup_brings_nothing_back(
    keeping: Server, people: People, tmp_path: Path
) -> None:
    ann = next(iter(people.values()))
    client = keeping.client()
    client.create_collection(CollectionId="again")
    client.index_faces(CollectionId="again", Image={"Bytes": ann[0].read_bytes()})
    client.search_faces_by_image(CollectionId="again", Image={"Bytes": ann[1].read_bytes()})
    account = said(keeping, "account", "list")["accounts"][0]["account_id"]
    before = said(keeping, "sample", "list", account)["samples"]
    assert keeping.stop() == 0
    (keeping.data / "samples" / ("0" * 32)).write_bytes(b"what a crash left")
    out = tmp_path / "in-process.jpg"
    said(keeping, "sample", "export", before[-1]["request_id"], "--out", out, "--reason", "no server runs")
    assert out.read_bytes() == ann[1].read_bytes()

    off = start(keeping.data)
    try:
        assert not (keeping.data / "samples" / ("0" * 32)).exists()
        found = off.client().search_faces_by_image(CollectionId="again", Image={"Bytes": ann[1].read_bytes()})
        assert len(found["FaceMatches"]) == 1
        listed = said(off, "sample", "list", account)
        assert listed["samples"] == before
        assert listed["is_on"] is False
        assert said(off, "ledger", "fsck")["problems"] == []
    finally:
        assert off.stop() == 0

    # What was kept after a backup is lost with it, and no more than that.
    earlier = tmp_path / "earlier.db"
    said(keeping, "backup", "create", earlier)
    more = start(keeping.data, environ=ON)
    more.client().search_faces_by_image(CollectionId="again", Image={"Bytes": ann[1].read_bytes()})
    assert len(said(more, "sample", "list", account)["samples"]) == len(before) + 1
    assert more.stop() == 0
    said(keeping, "backup", "restore", earlier, "--reason", "a test", "--yes")
    assert said(keeping, "sample", "list", account)["samples"] == before
    assert said(keeping, "ledger", "fsck")["problems"] == []
    said(keeping, "sample", "export", before[-1]["request_id"], "--out", tmp_path / "after.jpg", "--reason", "a test")
    assert (tmp_path / "after.jpg").read_bytes() == ann[1].read_bytes()

    # A backup from before an erasure does not bring the image back, though the files are there.
    copy, files = tmp_path / "copy.db", tmp_path / "samples"
    shutil.copytree(keeping.data / "samples", files)
    said(keeping, "backup", "create", copy)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).strftime("%Y-%m-%d")
    said(keeping, "sample", "erase", account, "--before", tomorrow, "--ground", "Art. 17 GDPR", "--yes")
    shutil.copytree(files, keeping.data / "samples", dirs_exist_ok=True)
    restored = said(keeping, "backup", "restore", copy, "--reason", "a test", "--yes")
    assert restored["erased_again"] == {"samples": len(before)}
    assert said(keeping, "sample", "list", account)["samples"] == []
    assert said(keeping, "ledger", "fsck")["problems"] == []


def test_retention_runs_at_a_start(tmp_path: Path, people: People) -> None:
    keeping = start(tmp_path / "data", environ=ON)
    ann = next(iter(people.values()))
    client = keeping.client()
    client.create_collection(CollectionId="c")
    client.index_faces(CollectionId="c", Image={"Bytes": ann[0].read_bytes()})
    for _ in range(2):
        client.search_faces_by_image(CollectionId="c", Image={"Bytes": ann[1].read_bytes()})
    account = said(keeping, "account", "list")["accounts"][0]["account_id"]
    before = said(keeping, "sample", "list", account)["samples"]
    assert len(before) == 2
    assert keeping.stop() == 0
    # Time cannot be waited for: the oldest sample is made to have been kept long ago.
    with closing(sqlite3.connect(keeping.data / "countenance.db")) as database, database:
        database.execute("UPDATE samples SET kept_at = 1 WHERE request_id = ?", (before[0]["request_id"],))
    later = start(keeping.data)
    try:
        deadline = time.monotonic() + 60
        while len(left := said(later, "sample", "list", account)["samples"]) == len(before):
            assert time.monotonic() < deadline, "retention did not run at the start"
            time.sleep(0.1)
        assert [each["request_id"] for each in left] == [each["request_id"] for each in before[1:]]
        examined = said(later, "ledger", "fsck")
        assert (examined["problems"], examined["samples"]) == ([], len(left))
    finally:
        assert later.stop() == 0
