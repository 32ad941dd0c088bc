"""Another model pack under a real server: chosen, refused to older collections, and one of them carried over to it."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from botocore.exceptions import ClientError

from countenance.gallery import Enrolment, SqliteGallery
from countenance.recognition import build_engine, modelpack
from countenance.store import Entry, Keyring, SqliteDatabase
from tests.congruence.samples import reference, unit_rows
from tests.e2e.conftest import People, Server, start
from tests.unit.recognition import small_models

OLD = "old-1.0"
FACES = 400


def command(data: Path, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "countenance", *words, "--data", str(data)],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def yunet_and_small(models_dir: Path) -> None:
    """A pack of one's own: the default pack's detector, and features that can be worked out by hand."""
    features = small_models.arcface()
    said = small_models.manifest("mine", b"", features)
    detector = json.loads(
        (Path(modelpack.__file__).parent / "packs" / modelpack.DEFAULT_PACK / "manifest.json").read_text()
    )["files"][0]
    said["files"][0] = detector
    folder = models_dir.parent / "mine"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text(json.dumps(said))
    (folder / "calibration.json").write_text(json.dumps(small_models.CALIBRATION))
    (folder / "features.bin").write_bytes(features)


def image(path: Path) -> dict[str, bytes]:
    return {"Bytes": path.read_bytes()}


def problems(data: Path) -> list[str]:
    found: list[str] = json.loads(command(data, "ledger", "fsck", "--json").stdout)["problems"]
    return found


def stopped(server: Server) -> None:
    assert server.stop() == 0


def test_a_collection_goes_from_one_pack_to_another_under_a_running_server(tmp_path: Path, people: People) -> None:
    data = tmp_path / "data"
    ann, ben = list(people.values())[:2]
    first = start(data, environ={"COUNTENANCE_KEEP_CROPS": "true"})
    client = first.client()
    client.create_collection(CollectionId="people")
    for name, path in (("ann", ann[0]), ("ann2", ann[1]), ("ben", ben[0])):
        answer = client.index_faces(CollectionId="people", Image=image(path), ExternalImageId=name)
        assert answer["FaceModelVersion"] == "2.0"
    before = client.list_faces(CollectionId="people")["Faces"]
    client.create_user(CollectionId="people", UserId="ann")
    own = [each["FaceId"] for each in before if each["ExternalImageId"] in ("ann", "ann2")]
    client.associate_faces(CollectionId="people", UserId="ann", FaceIds=own, UserMatchThreshold=0)
    stopped(first)

    yunet_and_small(data / "models")
    mine = data / "mine"
    imported = command(data, "models", "import", str(mine / "features.bin"), "--manifest", str(mine / "manifest.json"))
    assert imported.returncode == 0, imported.stderr
    used = command(data, "models", "use", "mine", "--json")
    assert used.returncode == 0, used.stderr
    version = json.loads(used.stdout)["model_version"]

    second = start(data)
    try:
        client = second.client()
        assert "collections that it cannot search: 1 of 2.0" in second.log.read_text()
        with pytest.raises(ClientError, match=f"face model 2.0 and this server runs {version}"):
            client.search_faces_by_image(CollectionId="people", Image=image(ann[0]))
        done = command(data, "collection", "migrate", "people", "--yes", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["references"] == 3
        after = client.list_faces(CollectionId="people")["Faces"]
        assert [each["FaceId"] for each in after] == [each["FaceId"] for each in before]
        assert {each["IndexFacesModelVersion"] for each in after} == {version}
        assert client.describe_collection(CollectionId="people")["FaceModelVersion"] == version
        for face, path in zip(after, (ann[0], ann[1], ben[0]), strict=True):
            found = client.search_faces_by_image(CollectionId="people", Image=image(path), FaceMatchThreshold=100)
            assert face["FaceId"] in [each["Face"]["FaceId"] for each in found["FaceMatches"]], "the very same image"
        users = client.search_users(CollectionId="people", UserId="ann", UserMatchThreshold=0)
        assert users["FaceModelVersion"] == version
        assert len(client.list_faces(CollectionId="people", UserId="ann")["Faces"]) == 2
        again = command(data, "collection", "migrate", "people", "--yes")
        assert again.returncode == 3
        assert "already" in again.stderr
        forgotten = command(data, "collection", "forget-crops", "people", "--yes", "--json")
        assert json.loads(forgotten.stdout)["crops"] == 3
    finally:
        stopped(second)
    assert problems(data) == []


@contextmanager
def gallery_in(data: Path) -> Iterator[SqliteGallery]:
    database = SqliteDatabase(data / "countenance.db")
    try:
        opened = SqliteGallery(database, Keyring.open(data / "master.key", create=False))
        try:
            yield opened
        finally:
            opened.close()
    finally:
        database.close()


def staged(data: Path) -> int:
    with closing(sqlite3.connect(f"{(data / 'countenance.db').as_uri()}?mode=ro", uri=True)) as connection:
        return int(connection.execute("SELECT count(*) FROM staged_templates").fetchone()[0])


def test_killed_halfway_the_collection_is_whole_and_the_next_try_goes_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    accounts = command(data, "account", "list", "--json")
    if accounts.returncode:  # the folder is made by a first start
        stopped(start(data))
        accounts = command(data, "account", "list", "--json")
    (account,) = (each["account_id"] for each in json.loads(accounts.stdout)["accounts"])
    crops = np.random.default_rng(1).integers(0, 256, (FACES, 112, 112, 3)).astype(np.uint8)
    rows = unit_rows(FACES, 16, 2)
    names = [f"face {n}" for n in range(FACES)]

    def entry(operation: str) -> Entry:
        return Entry(operation, account, "AKIDEXAMPLE", "r", datetime.now(UTC), {"collection_id": "c"})

    with gallery_in(data) as gallery:
        gallery.create_collection(
            account, "c", model_version=OLD, dimension=16, tags={}, entry=entry("CreateCollection")
        )
        faces = [
            Enrolment(reference(name, model_version=OLD), row, crop)
            for name, row, crop in zip(names, rows, crops, strict=True)
        ]
        gallery.enrol(account, "c", faces, entry=entry("IndexFaces"))

    words = [sys.executable, "-m", "countenance", "collection", "migrate", "c", "--yes", "--data", str(data)]
    running = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while staged(data) < 32:
        assert running.poll() is None, "it was done before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running.send_signal(signal.SIGKILL)
    running.wait()
    done_by_then = staged(data)
    assert 32 <= done_by_then < FACES

    with gallery_in(data) as gallery:
        found = gallery.collection(account, "c")
        assert (found.model_version, found.dimension, found.face_count) == (OLD, 16, FACES)
        best = gallery.identify(account, "c", rows, max_candidates=1)
        assert [each[0].reference.face_id for each in best] == [each.reference.face_id for each in faces]

    done = command(data, "collection", "migrate", "c", "--yes", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["references"] == FACES
    assert staged(data) == 0
    engine = build_engine(cache_dir=data / "models")
    wanted = engine.features(crops)
    engine.close()
    with gallery_in(data) as gallery:
        found = gallery.collection(account, "c")
        assert (found.model_version, found.dimension, found.face_count) == ("2.0", 128, FACES)
        for at in range(0, FACES, 37):
            np.testing.assert_allclose(
                gallery.features_of(account, "c", faces[at].reference.face_id), wanted[at], atol=2e-3
            )
