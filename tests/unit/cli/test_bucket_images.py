"""Images in a bucket: what is there, what is not, and what the bucket refuses to say."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from countenance.cli.amazon import Amazon, AmazonError
from countenance.cli.local_image import MAX_IMAGE_BYTES, LocalImageError
from countenance.cli.source_images import Bucket
from countenance.errors import Error


@dataclass
class Store:
    """A double of an object store for these tests only: objects by path, and who asked."""

    objects: dict[str, bytes] = field(default_factory=dict)
    refuses: int = 0
    keys: set[str] = field(default_factory=set)
    url: str = ""


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Store]:
    state = Store()
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    (tmp_path / "credentials").write_text("[old]\naws_access_key_id = AKIAOLD\naws_secret_access_key = secret\n")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    # A key of this server's in the environment: a profile that is named goes before it.
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAHERE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "here")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.keys.add(self.headers["Authorization"].split("Credential=")[1].split("/")[0])
            found = state.objects.get(self.path)
            status = state.refuses or (200 if found is not None else 404)
            code = "AccessDenied" if state.refuses else "NoSuchKey"
            body = found if status == 200 and found is not None else f"<Error><Code>{code}</Code></Error>".encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815 -- named by http.server

        def log_message(self, *_args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def bucket(store: Store, *, shrink: bool = False) -> Bucket:
    amazon = Amazon(profile="old", region="eu-west-1", endpoint_url=None)
    assert amazon.access_key_id == "AKIAOLD"
    return Bucket(amazon.client("s3", store.url), "photos", "indexed/", shrink)


def noise(side: int) -> bytes:
    out = io.BytesIO()
    Image.frombytes("RGB", (side, side), os.urandom(side * side * 3)).save(out, "PNG")
    return out.getvalue()


def test_an_object_is_read_with_the_keys_of_the_profile(store: Store) -> None:
    store.objects["/photos/indexed/ann/1.jpg"] = b"bytes"
    images = bucket(store)
    assert images.has("ann/1.jpg")
    assert not images.has("ann/2.jpg")
    assert images.read("ann/1.jpg") == b"bytes"
    with pytest.raises(LocalImageError, match=r"no object indexed/ann/2\.jpg"):
        images.read("ann/2.jpg")
    assert store.keys == {"AKIAOLD"}


def test_a_bucket_that_refuses_is_no_missing_image(store: Store) -> None:
    images = bucket(store)
    store.refuses = 403
    for ask in (images.has, images.read):
        with pytest.raises(Error, match="photos cannot be read") as refused:
            ask("ann/1.jpg")
        assert not isinstance(refused.value, LocalImageError)


def test_a_large_object_is_refused_or_made_smaller(store: Store) -> None:
    large = noise(1400)
    assert len(large) > MAX_IMAGE_BYTES
    store.objects["/photos/indexed/large.png"] = large
    with pytest.raises(LocalImageError, match=r"5\.2 MB"):
        bucket(store).read("large.png")
    assert len(bucket(store, shrink=True).read("large.png")) <= MAX_IMAGE_BYTES


def test_an_account_without_a_profile_or_a_region_is_told(store: Store) -> None:
    with pytest.raises(AmazonError, match="cannot be used"):
        Amazon(profile="nobody", region="eu-west-1", endpoint_url=None)
    with pytest.raises(AmazonError, match="region"):
        Amazon(profile="old", region=None, endpoint_url=None)
