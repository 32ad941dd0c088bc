"""Weights are found by their digest, refused without it, and folded once."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from countenance.recognition import ModelPackError, build_engine, folding, modelpack

PACK = modelpack.load()
DETECTOR = PACK.file("detector")


def test_the_default_pack_may_be_used_commercially_and_is_complete(models_dir: Path) -> None:
    assert PACK.commercial_use
    assert {each.licence for each in PACK.files} == {"MIT", "Apache-2.0"}
    assert [each.state for each in modelpack.verify(PACK, models_dir)] == ["ready", "ready"]
    assert PACK.name in [each.name for each in modelpack.available()]


@pytest.mark.parametrize("name", ["nothing", "../yunet-sface", "..", ""])
def test_an_unknown_pack_is_refused_with_a_hint(name: str) -> None:
    with pytest.raises(ModelPackError) as caught:
        modelpack.load(name)
    assert "models list" in str(caught.value.hint)


def test_an_unknown_runtime_is_refused_with_a_hint(models_dir: Path) -> None:
    with pytest.raises(ModelPackError, match="tensorflow") as caught:
        build_engine(cache_dir=models_dir, runtime="tensorflow")
    assert caught.value.hint


def test_weights_that_are_nowhere_are_named_by_distribution_and_digest(tmp_path: Path) -> None:
    absent = replace(DETECTOR, distribution="countenance-has-no-such-distribution")
    with pytest.raises(ModelPackError, match="missing") as caught:
        modelpack.weights(absent, tmp_path)
    assert DETECTOR.sha256 in str(caught.value.hint)
    assert "countenance-has-no-such-distribution==" in str(caught.value.hint)


def test_weights_with_another_digest_are_refused(tmp_path: Path) -> None:
    absent = replace(DETECTOR, distribution="countenance-has-no-such-distribution")
    content = bytearray(modelpack.weights(DETECTOR, tmp_path))
    content[5000] ^= 1
    (tmp_path / DETECTOR.name).write_bytes(content)
    with pytest.raises(ModelPackError, match="wrong") as caught:
        modelpack.weights(absent, tmp_path)
    assert DETECTOR.sha256 in str(caught.value.hint)
    with pytest.raises(ModelPackError, match="wrong"):
        modelpack.folded(absent, tmp_path)
    assert not list(tmp_path.rglob("*fold*"))


def test_an_engine_refuses_to_start_on_wrong_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = replace(PACK, files=tuple(replace(each, sha256="0" * 64) for each in PACK.files))
    monkeypatch.setattr(modelpack, "load", lambda *_given: wrong)
    with pytest.raises(ModelPackError, match="another SHA-256"):
        build_engine(cache_dir=tmp_path)


def test_an_imported_copy_is_taken_under_any_name(tmp_path: Path) -> None:
    absent = replace(DETECTOR, distribution="countenance-has-no-such-distribution")
    copy = tmp_path / "from-a-colleague.bin"
    copy.write_bytes(modelpack.weights(DETECTOR, tmp_path))
    (report,) = modelpack.verify(replace(PACK, files=(absent,)), tmp_path)
    assert (report.state, report.path) == ("ready", copy)
    assert hashlib.sha256(modelpack.weights(absent, tmp_path)).hexdigest() == DETECTOR.sha256


def test_folding_is_done_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = modelpack.folded(DETECTOR, tmp_path)

    def never(*_given: object, **_named: object) -> bytes:
        raise AssertionError("folded again")

    monkeypatch.setattr(folding, "fold", never)
    assert modelpack.folded(DETECTOR, tmp_path) == first


@pytest.mark.parametrize("damage", ["torn", "flipped", "no record", "record is nonsense"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, damage: str) -> None:
    first = modelpack.folded(DETECTOR, tmp_path)
    (graph,) = (tmp_path / "cache").glob("*.onnx")
    (record,) = (tmp_path / "cache").glob("*.sha256")
    if damage == "torn":
        graph.write_bytes(first[: len(first) // 2])
    elif damage == "flipped":
        graph.write_bytes(first[:-1] + bytes([first[-1] ^ 1]))
    elif damage == "no record":
        record.unlink()
    else:
        record.write_bytes(b"\xff\xfe\xff")
    assert modelpack.folded(DETECTOR, tmp_path) == first
    assert graph.read_bytes() == first
    assert record.read_text(encoding="ascii").strip() == hashlib.sha256(first).hexdigest()
    assert len(list((tmp_path / "cache").iterdir())) == 2


def test_a_cache_that_cannot_be_written_is_an_error_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file where the folder should be")
    with pytest.raises(ModelPackError, match="cannot be written") as caught:
        modelpack.folded(DETECTOR, tmp_path)
    assert caught.value.hint


def test_bytes_that_are_no_model_of_this_kind_are_not_folded() -> None:
    import onnx
    from onnx import TensorProto, helper

    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 32, 32]) for name in "ab"]
    output = helper.make_tensor_value_info("c", TensorProto.FLOAT, [1, 3, 32, 32])
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["c"])], "two", inputs, [output])
    with pytest.raises(ValueError, match="one image input"):
        folding.fold(onnx.helper.make_model(graph).SerializeToString(), input_shape=(1, 32, 32), reverse_channels=False)


def test_block_dequantisation_agrees_with_the_specification() -> None:
    random = np.random.default_rng(4)
    quantised = random.integers(-128, 128, (3, 10, 2)).astype(np.int8)
    scale = random.uniform(0.01, 0.1, (3, 3, 2)).astype(np.float32)
    zero = random.integers(-5, 5, (3, 3, 2)).astype(np.int8)
    folded = folding._dequantise(quantised, scale, zero, axis=1, block_size=4)
    for a in range(3):
        for b in range(10):
            for c in range(2):
                expected = (int(quantised[a, b, c]) - int(zero[a, b // 4, c])) * scale[a, b // 4, c]
                assert folded[a, b, c] == pytest.approx(expected, rel=1e-6)
