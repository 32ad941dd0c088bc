"""Model packs by the command line: pulled from a publisher on this machine, imported, calibrated, chosen."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from click.testing import Result
from tests.unit.recognition import small_models

from countenance.assembly import open_service
from countenance.config import Settings
from countenance.recognition import ModelPackError, importing, modelpack

Invoke = Callable[..., Result]

DETECTOR, FEATURES = small_models.scrfd(), small_models.arcface()


class Publisher(BaseHTTPRequestHandler):
    """Has files by path; breaks off after `stop` bytes."""

    files: ClassVar[dict[str, bytes]] = {}
    asked: ClassVar[list[tuple[str, str | None]]] = []
    stop = -1

    def do_GET(self) -> None:
        kind = type(self)
        kind.asked.append((self.path, self.headers.get("Range")))
        content = kind.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start:] if kind.stop < 0 else content[start : start + kind.stop])

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def publisher() -> Iterator[tuple[str, type[Publisher]]]:
    kind = type("One", (Publisher,), {"files": {}, "asked": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), kind)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", kind
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def written(folder: Path, said: dict[str, Any]) -> Path:
    """A manifest with its calibration, as somebody wrote them."""
    folder.mkdir(exist_ok=True)
    (folder / "calibration.json").write_text(json.dumps(small_models.CALIBRATION))
    path = folder / f"{said['name']}.json"
    path.write_text(json.dumps(said))
    return path


def published(base: str, kind: type[Publisher], name: str = "small", **more: Any) -> dict[str, Any]:
    """A pack whose files the publisher has."""
    said = small_models.manifest(name, DETECTOR, FEATURES, **more)
    for each, content in zip(said["files"], (DETECTOR, FEATURES), strict=True):
        each["url"] = f"{base}/{each['name']}"
        kind.files[f"/{each['name']}"] = content
    return said


def zipped(*members: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return out.getvalue()


def states(invoke: Invoke, name: str = "small") -> dict[str, str]:
    answer = json.loads(invoke("models", "verify", name, "--json").stdout)
    return {each["file"]: each["state"] for each in answer["files"]}


MODELS = Path("data/models")


def test_a_pack_of_ones_own_is_imported_pulled_and_used(
    invoke: Invoke, publisher: tuple[str, type[Publisher]], tmp_path: Path
) -> None:
    base, kind = publisher
    manifest = written(tmp_path / "mine", published(base, kind))
    assert invoke("models", "import", "--manifest", manifest).exit_code == 0
    assert states(invoke) == {"small.scrfd.onnx": "missing", "small.arcface.onnx": "missing"}
    refused = invoke("models", "use", "small")
    assert refused.exit_code == 3
    assert "missing" in refused.stderr
    assert "models pull" in refused.stderr
    assert kind.asked == [], "nothing is fetched but by pull"

    result = invoke("models", "pull", "small", "--json")
    assert result.exit_code == 0, result.stderr
    assert set(states(invoke).values()) == {"ready"}
    assert list((MODELS / "fetching").iterdir()) == []
    asked = len(kind.asked)
    assert invoke("models", "pull", "small").exit_code == 0
    assert len(kind.asked) == asked, "what is there is not fetched again"

    used = json.loads(invoke("models", "use", "small", "--json").stdout)
    assert used["model_version"].startswith("small-1.0-")
    packs = {each["name"]: each for each in json.loads(invoke("models", "list", "--json").stdout)["packs"]}
    assert packs["small"]["in_use"]
    assert packs["small"]["state"] == "ready"
    assert not packs[modelpack.DEFAULT_PACK]["in_use"]
    assert json.loads(invoke("models", "verify", "--json").stdout)["pack"] == "small"


def test_a_download_goes_on_where_it_broke_off(
    invoke: Invoke, publisher: tuple[str, type[Publisher]], tmp_path: Path
) -> None:
    base, kind = publisher
    assert invoke("models", "import", "--manifest", written(tmp_path / "mine", published(base, kind))).exit_code == 0
    kind.stop = 300
    result = invoke("models", "pull", "small")
    assert result.exit_code == 3
    assert "broke off" in result.stderr
    kind.stop = -1
    assert invoke("models", "pull", "small").exit_code == 0
    assert kind.asked[1] == ("/small.scrfd.onnx", "bytes=300-")


@pytest.mark.parametrize("wrong", ["changed", "larger"])
def test_what_is_not_the_file_of_the_manifest_is_not_kept(
    invoke: Invoke, publisher: tuple[str, type[Publisher]], tmp_path: Path, wrong: str
) -> None:
    base, kind = publisher
    assert invoke("models", "import", "--manifest", written(tmp_path / "mine", published(base, kind))).exit_code == 0
    kind.files["/small.scrfd.onnx"] = DETECTOR[:-1] + b"\0" if wrong == "changed" else DETECTOR + b"\0"
    result = invoke("models", "pull", "small")
    assert result.exit_code == 3
    assert ("another SHA-256" if wrong == "changed" else "more than") in result.stderr
    assert set(states(invoke).values()) == {"missing"}
    assert list((MODELS / "fetching").iterdir()) == []


def test_an_archive_is_fetched_once_and_both_files_are_taken_out_of_it(
    invoke: Invoke, publisher: tuple[str, type[Publisher]], tmp_path: Path
) -> None:
    base, kind = publisher
    content = zipped(("deep/a.onnx", DETECTOR), ("deep/genderage.onnx", b"x" * 50), ("../../b.onnx", FEATURES))
    kind.files["/all.zip"] = content
    digest = hashlib.sha256(content).hexdigest()
    archive = {"name": "all.zip", "url": f"{base}/all.zip", "sha256": digest, "bytes": len(content)}
    said = small_models.manifest("small", DETECTOR, FEATURES, archives=[archive])
    for each in said["files"]:
        each["archive"] = "all.zip"
    assert invoke("models", "import", "--manifest", written(tmp_path / "mine", said)).exit_code == 0
    assert invoke("models", "pull", "small").exit_code == 0
    assert [path for path, _ in kind.asked] == ["/all.zip"]
    assert set(states(invoke).values()) == {"ready"}
    assert not (tmp_path / "b.onnx").exists()


def test_what_is_not_for_commercial_use_wants_a_flag(
    invoke: Invoke, publisher: tuple[str, type[Publisher]], tmp_path: Path
) -> None:
    base, kind = publisher
    said = published(base, kind, commercial_use=False, terms="For research only, says the test.")
    manifest = written(tmp_path / "mine", said)
    refused = invoke("models", "import", "--manifest", manifest)
    assert refused.exit_code == 2
    assert "For research only" in refused.stderr
    assert "Test-1.0" in refused.stderr
    assert invoke("models", "import", "--manifest", manifest, "--accept-licence").exit_code == 0
    (tmp_path / "any.name").write_bytes(FEATURES)
    for words in (["pull", "small"], ["use", "small"], ["import", tmp_path / "any.name"]):
        result = invoke("models", *words)
        assert result.exit_code == 2, words
        assert "--accept-licence" in result.stderr
    assert kind.asked == []
    assert set(states(invoke).values()) == {"missing"}
    for words in (["pull", "small"], ["use", "small"], ["import", tmp_path / "any.name"]):
        assert invoke("models", *words, "--accept-licence").exit_code == 0, words


def test_the_public_research_packs_want_the_flag(invoke: Invoke) -> None:
    for name in ("buffalo_l", "buffalo_s", "antelopev2", "adaface-ir101", "edgeface-s", "scrfd-sface"):
        result = invoke("models", "pull", name)
        assert result.exit_code == 2, name
        assert "--accept-licence" in result.stderr


def test_a_file_without_a_published_digest_wants_one_from_whoever_fetches_it(
    invoke: Invoke, publisher: tuple[str, type[Publisher]], tmp_path: Path
) -> None:
    base, kind = publisher
    said = published(base, kind)
    said["files"][1] |= {"sha256": None, "bytes": None}
    assert invoke("models", "import", "--manifest", written(tmp_path / "mine", said)).exit_code == 0
    assert states(invoke)["small.arcface.onnx"] == "unpinned"
    result = invoke("models", "pull", "small")
    assert result.exit_code == 3
    assert "--sha256" in result.stderr
    assert kind.asked == []
    other = invoke("models", "pull", "small", "--sha256", "0" * 64)
    assert other.exit_code == 3
    assert "another SHA-256" in other.stderr
    assert states(invoke)["small.arcface.onnx"] == "unpinned", "a digest that was not seen is not kept"
    assert invoke("models", "pull", "small", "--sha256", hashlib.sha256(FEATURES).hexdigest()).exit_code == 0
    assert set(states(invoke).values()) == {"ready"}
    again = invoke("models", "pull", "small", "--sha256", "0" * 64)
    assert again.exit_code == 2, "it has a digest now"


def test_a_file_without_a_published_digest_can_be_vouched_for(invoke: Invoke, tmp_path: Path) -> None:
    said = small_models.manifest("small", DETECTOR, FEATURES)
    said["files"][1] |= {"sha256": None, "bytes": None}
    (tmp_path / "features").write_bytes(FEATURES)
    assert invoke("models", "import", "--manifest", written(tmp_path / "mine", said)).exit_code == 0
    assert invoke("models", "import", tmp_path / "features").exit_code == 3, "nobody knows it"
    assert invoke("models", "import", tmp_path / "features", "--for", modelpack.DEFAULT_PACK).exit_code == 2
    assert invoke("models", "import", tmp_path / "features", "--for", "edgeface-xs").exit_code == 2, "a licence"
    (tmp_path / "packed.zip").write_bytes(zipped(("features.onnx", FEATURES)))
    packed = invoke("models", "import", tmp_path / "packed.zip", "--for", "small")
    assert (packed.exit_code, "unpack it" in packed.stderr) == (2, True)
    assert states(invoke)["small.arcface.onnx"] == "unpinned", "an archive's digest is not the file's"
    before = modelpack.load("small", MODELS).model_version
    assert invoke("models", "import", tmp_path / "features", "--for", "small").exit_code == 0
    assert states(invoke)["small.arcface.onnx"] == "ready"
    assert modelpack.load("small", MODELS).model_version != before
    assert invoke("models", "import", tmp_path / "features", "--for", "small").exit_code == 2, "it has a digest now"


def test_files_are_imported_by_their_digest_under_any_name(invoke: Invoke, tmp_path: Path) -> None:
    """One of the default pack's own, as opencv_zoo has it too, and an archive of somebody's pack."""
    file = modelpack.load().file("detector")
    copy = tmp_path / "whatever.bin"
    copy.write_bytes(modelpack.weights(file, tmp_path / "nowhere"))
    answer = json.loads(invoke("models", "import", copy, "--json").stdout)
    (told,) = answer["files"]
    assert told["state"] == "taken"
    assert modelpack.DEFAULT_PACK in told["packs"]
    assert hashlib.sha256(Path(told["path"]).read_bytes()).hexdigest() == file.sha256
    assert json.loads(invoke("models", "import", copy, "--json").stdout)["files"][0]["state"] == "there already"

    manifest = written(tmp_path / "mine", small_models.manifest("small", DETECTOR, FEATURES))
    archive = tmp_path / "buffalo.zip"
    archive.write_bytes(zipped(("x/../../../escaped.onnx", DETECTOR), ("/absolute.onnx", FEATURES), ("a", b"b")))
    assert invoke("models", "import", archive, "--manifest", manifest).exit_code == 0
    assert set(states(invoke).values()) == {"ready"}
    found = {each.relative_to(tmp_path) for each in tmp_path.rglob("*") if "escaped" in each.name}
    assert found == set()


def test_a_file_that_nobody_knows_is_told_with_its_digest(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"unknown")
    result = invoke("models", "import", tmp_path / "x.onnx")
    assert result.exit_code == 3
    assert hashlib.sha256(b"unknown").hexdigest() in result.stderr
    assert not [each for each in MODELS.rglob("*") if each.is_file()]


def test_archives_that_are_bombs_are_not_unpacked(invoke: Invoke, tmp_path: Path) -> None:
    manifest = written(tmp_path / "mine", small_models.manifest("small", DETECTOR, FEATURES))
    assert invoke("models", "import", "--manifest", manifest).exit_code == 0
    packs = [modelpack.load("small", MODELS)]
    same_size = bytes(len(FEATURES))
    many = tmp_path / "many.zip"
    many.write_bytes(zipped(*((f"{n}.onnx", same_size) for n in range(50))))
    with pytest.raises(ModelPackError, match="far more"):
        importing.take(many, packs, MODELS)
    lots = tmp_path / "lots.zip"
    lots.write_bytes(zipped(*((f"{n}", b"") for n in range(importing.MOST_MEMBERS + 1))))
    with pytest.raises(ModelPackError, match="no archive of models"):
        importing.take(lots, packs, MODELS)
    huge = tmp_path / "huge.zip"  # 40 MB of zeros in 40 KB: nobody looks for a file of that size
    huge.write_bytes(zipped(("zeros.onnx", bytes(40 << 20))))
    with pytest.raises(ModelPackError, match="no file that a known pack names"):
        importing.take(huge, packs, MODELS)
    broken = tmp_path / "broken.zip"
    whole = bytearray(zipped(("features.onnx", FEATURES)))
    whole[200:260] = bytes(60)
    broken.write_bytes(whole)
    with pytest.raises(ModelPackError, match="cannot be read as a zip archive"):
        importing.take(broken, packs, MODELS)
    packed = tmp_path / "packed.zip"
    for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2):
        with zipfile.ZipFile(packed, "w", method) as archive:
            archive.writestr("features.onnx", FEATURES)
        whole = bytearray(packed.read_bytes())
        whole[len(whole) // 2] ^= 0xFF
        packed.write_bytes(whole)
        with pytest.raises(ModelPackError, match="cannot be read as a zip archive"):
            importing.take(packed, packs, MODELS)
    named = tmp_path / "named.zip"
    named.write_bytes(zipped(("\u00e9.onnx", FEATURES)).replace("\u00e9".encode(), b"\xff\xfe"))
    with pytest.raises(ModelPackError, match="cannot be read as a zip archive"):
        importing.take(named, packs, MODELS)
    assert not [each for each in MODELS.iterdir() if each.is_file()]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "../evil"}, "its name is none"),
        ({"name": "buffalo_l"}, "this program brings"),
        ({"version": ""}, "its version is none"),
        ({"files": []}, "it has no files"),
        ({"surprise": 1}, "surprise"),
        ({"dimension": "many"}, "its dimension is none"),
        ({"calibration": "../../secret"}, "its calibration is no file"),
    ],
)
def test_a_manifest_that_cannot_be_meant_is_refused(
    invoke: Invoke, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    whole = {**small_models.manifest("small", DETECTOR, FEATURES), **change}
    (tmp_path / "manifest.json").write_text(json.dumps(whole))
    (tmp_path / "calibration.json").write_text(json.dumps(small_models.CALIBRATION))
    result = invoke("models", "import", "--manifest", tmp_path / "manifest.json")
    assert result.exit_code == 3
    assert said in result.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": "../../etc/passwd"}, "no usable name"),
        ({"role": "boss"}, "which nothing is"),
        ({"sha256": "abc"}, "has no SHA-256"),
        ({"bytes": -1}, "has no size"),
        ({"divisor": 0}, "nothing is divided by 0"),
        ({"archive": "other.zip"}, "an archive that is not named"),
        ({"input_shape": [1, 2]}, "no input_shape"),
    ],
)
def test_a_file_of_a_manifest_that_cannot_be_meant_is_refused(
    invoke: Invoke, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    whole = small_models.manifest("small", DETECTOR, FEATURES, calibrated=False)
    whole["files"][0] |= change
    (tmp_path / "manifest.json").write_text(json.dumps(whole))
    result = invoke("models", "import", "--manifest", tmp_path / "manifest.json")
    assert result.exit_code == 3
    assert said in result.stderr


def test_another_pack_of_the_same_name_does_not_take_its_place(invoke: Invoke, tmp_path: Path) -> None:
    first = written(tmp_path / "mine", small_models.manifest("small", DETECTOR, FEATURES))
    assert invoke("models", "import", "--manifest", first).exit_code == 0
    assert invoke("models", "import", "--manifest", first).exit_code == 0
    second = written(tmp_path / "other", small_models.manifest("small", DETECTOR, small_models.arcface(seed=8)))
    result = invoke("models", "import", "--manifest", second)
    assert result.exit_code == 3
    assert "there is another pack small" in result.stderr


def test_a_pack_without_calibration_is_not_used_and_few_photographs_make_none(
    invoke: Invoke, tmp_path: Path, test_data: Path
) -> None:
    said = small_models.manifest("small", DETECTOR, FEATURES, calibrated=False)
    (tmp_path / "manifest.json").write_text(json.dumps(said))
    for name, content in (("a", DETECTOR), ("b", FEATURES)):
        (tmp_path / name).write_bytes(content)
    assert invoke("models", "import", "a", "b", "--manifest", "manifest.json").exit_code == 0
    result = invoke("models", "use", "small")
    assert result.exit_code == 3
    assert "models calibrate small" in result.stderr
    assert not (MODELS / "in-use").exists()
    photos = tmp_path / "photos"
    for n, each in enumerate(sorted((test_data / "faces/compreface_samples/images").glob("*.jpg"))[:3]):
        (photos / f"person{n}").mkdir(parents=True)
        (photos / f"person{n}" / each.name).write_bytes(each.read_bytes())
    few = invoke("models", "calibrate", "small", "--images", photos)
    assert few.exit_code == 3
    assert "too few" in few.stderr
    own = invoke("models", "calibrate", modelpack.DEFAULT_PACK, "--images", photos)
    assert own.exit_code == 3
    assert "calibration of its own" in own.stderr


def test_a_kind_that_does_not_run_is_not_used(invoke: Invoke) -> None:
    result = invoke("models", "use", "dlib")
    assert result.exit_code == 3
    assert "does not run here" in result.stderr


def test_the_setting_goes_before_what_use_chose(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COUNTENANCE_MODEL_PACK", "dlib")
    result = invoke("models", "use", modelpack.DEFAULT_PACK)
    assert result.exit_code == 0
    assert "model_pack says dlib" in result.stderr
    assert json.loads(invoke("models", "verify", "--json").stdout)["pack"] == "dlib"


def not_served(pack: str) -> ModelPackError:
    """Why no server starts with this pack."""
    with pytest.raises(ModelPackError) as caught, open_service(Settings(data_dir=Path("data"), model_pack=pack)):
        pass
    return caught.value


def test_no_server_starts_with_a_pack_whose_terms_nobody_accepted(invoke: Invoke, tmp_path: Path) -> None:
    said = small_models.manifest("small", DETECTOR, FEATURES, commercial_use=False, terms="Research only.")
    for name, content in (("a", DETECTOR), ("b", FEATURES)):
        (tmp_path / name).write_bytes(content)
    manifest = written(tmp_path / "mine", said)
    assert invoke("models", "import", "a", "b", "--manifest", manifest, "--accept-licence").exit_code == 0
    refused = not_served("small")
    assert "nobody accepted that" in refused.message
    assert "models use small --accept-licence" in str(refused.hint)
    assert invoke("models", "use", "small", "--accept-licence").exit_code == 0
    assert modelpack.is_accepted(modelpack.load("small", MODELS), MODELS)
    changed = MODELS / "packs" / "small" / "manifest.json"
    changed.write_text(json.dumps({**said, "terms": "Research only, and by name."}))
    assert not modelpack.is_accepted(modelpack.load("small", MODELS), MODELS)


def test_a_server_says_what_its_pack_lacks(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "glintr100.onnx is missing" in not_served("auraface").message
    assert "does not run here" in not_served("dlib").message
    assert "there is no model pack 'nonsense'" in not_served("nonsense").message
    monkeypatch.setenv("COUNTENANCE_MODEL_PACK", "edgeface-s")
    found = {each["subject"]: each for each in json.loads(invoke("doctor", "--json").stdout)["findings"]}
    assert found["model pack"]["state"] == "broken"
    assert "models calibrate edgeface-s" in found["model pack"]["remedy"]
    assert found["model"]["state"] in ("ok", "broken")
