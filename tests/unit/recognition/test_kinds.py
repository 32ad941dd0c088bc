"""SCRFD and ArcFace files run: what comes out is what their outputs, worked out by hand, say."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests.unit.recognition import small_models

from countenance.recognition import ModelPackError, build_engine, folding, modelpack, scrfd
from countenance.recognition.detector import THUMBNAIL, Detector
from countenance.recognition.engine import LANDMARKS
from countenance.recognition.session import RUNTIMES, OnnxRuntimeSession

RUNTIME = "onnxruntime"


def session(file: bytes, *, n: int = 1, side: int = -1, **how: Any) -> OnnxRuntimeSession:
    how = {"reverse_channels": False, "mean": 127.5, "divisor": 128, **how}
    return OnnxRuntimeSession(folding.fold(file, input_shape=(n, side, side), **how), threads=1)


def canvas(*cells: tuple[int, int, int]) -> np.ndarray:
    """A black thumbnail with a white cell for each stride, row, column."""
    image = np.zeros((1, *THUMBNAIL, 3), np.uint8)
    for stride, row, column in cells:
        image[0, row * stride : (row + 1) * stride, column * stride : (column + 1) * stride] = 255
    return image


def sure(mean: float, anchor: int = 0) -> float:
    """The score of a cell whose pixels have this mean, 0 to 255."""
    logit = small_models.GAIN * (mean - 127.5) / 128 + anchor * small_models.SECOND_ANCHOR
    return float(1 / (1 + np.exp(-logit)))


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("shuffled", [False, True])
def test_scrfd_is_read_by_strides_and_anchors(batched: bool, shuffled: bool) -> None:
    outputs = session(small_models.scrfd(batched=batched, shuffled=shuffled)).run(canvas((16, 3, 5)))
    found = scrfd.decode(outputs, THUMBNAIL, 0.5)
    assert found.scores[0] == pytest.approx(sure(255), abs=1e-6)
    boxes = {tuple(each) for each in found.boxes.round(3).tolist()}
    left, top, right, bottom = small_models.SIDES * 16
    at = (5 * 16, 3 * 16)
    assert (at[0] - left, at[1] - top, left + right, top + bottom) in boxes
    index = next(n for n, box in enumerate(found.boxes.round(3).tolist()) if box[2] == left + right)
    np.testing.assert_allclose(found.points[index], np.array(at) + small_models.POINTS.reshape(5, 2) * 16, atol=1e-3)


def test_every_anchor_is_found_where_it_is() -> None:
    """Threshold 0, no suppression to speak of: compare with loops over strides, rows, columns and anchors."""
    image = np.random.default_rng(3).integers(0, 256, (1, *THUMBNAIL, 3)).astype(np.uint8)
    outputs = session(small_models.scrfd()).run(image)
    found = scrfd.decode(outputs, THUMBNAIL, 0.6)
    expected = []
    for stride in (8, 16, 32):
        for row in range(THUMBNAIL[0] // stride):
            for column in range(THUMBNAIL[1] // stride):
                cell = image[0, row * stride : (row + 1) * stride, column * stride : (column + 1) * stride]
                for anchor in (0, 1):
                    score = sure(float(cell.mean()), anchor)
                    if score >= 0.6:
                        left, top, right, bottom = small_models.SIDES * stride * (anchor + 1)
                        expected.append((score, column * stride - left, row * stride - top, left + right, top + bottom))
    expected.sort(key=lambda each: -each[0])
    kept: list[tuple[float, ...]] = []
    for one in expected:
        if all(overlap(one[1:], other[1:]) <= 0.4 for other in kept):
            kept.append(one)
    assert len(kept) == len(found) > 5
    np.testing.assert_allclose(found.scores, [each[0] for each in kept], atol=1e-4)
    np.testing.assert_allclose(found.boxes, [each[1:] for each in kept], atol=1e-2)


def overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    across = min(a[0] + a[2], b[0] + b[2]) - max(a[0], b[0])
    down = min(a[1] + a[3], b[1] + b[3]) - max(a[1], b[1])
    shared = max(across, 0.0) * max(down, 0.0)
    return shared / (a[2] * a[3] + b[2] * b[3] - shared)


def test_without_landmarks_boxes_are_read_and_points_are_no_numbers() -> None:
    outputs = session(small_models.scrfd(keypoints=False)).run(canvas((16, 3, 5)))
    assert not scrfd.has_landmarks(outputs)
    found = scrfd.decode(outputs, THUMBNAIL)
    assert len(found)
    assert np.isnan(found.points).all()


@pytest.mark.parametrize("change", ["one is missing", "another grid", "other numbers", "twice the same"])
def test_outputs_of_another_network_are_refused(change: str) -> None:
    outputs = session(small_models.scrfd()).run(canvas())
    if change == "one is missing":
        outputs = outputs[:8]
    elif change == "another grid":
        outputs[0] = outputs[0][:-2]
    elif change == "other numbers":
        outputs[0] = np.hstack([outputs[0]] * 3)
    else:
        outputs[0] = outputs[1]
    with pytest.raises(scrfd.NotScrfd):
        scrfd.decode(outputs, THUMBNAIL)


def test_the_ladder_of_canvases_is_shared_with_yunet() -> None:
    """A white square of a picture that is larger than the first canvas is found where it is in the picture."""
    pixels = np.zeros((900, 1200, 3), np.uint8)
    pixels[400:480, 800:880] = 255
    found, turned = Detector(session(small_models.scrfd()), scrfd.SCRFD).find(pixels)
    assert turned == 0
    assert len(found)
    corners = (
        found.boxes[:, :2]
        + small_models.SIDES[:2] / (small_models.SIDES[:2] + small_models.SIDES[2:]) * found.boxes[:, 2:]
    )
    # Anchors are at the corners of cells, and the largest cells have 32 / 0.53 = 60 pixels of this picture.
    assert (corners > np.array([800, 400]) - 61).all()
    assert (corners < np.array([880, 480])).all()


CROPS = np.random.default_rng(5).integers(0, 256, (5, 112, 112, 3)).astype(np.uint8)


@pytest.mark.parametrize("bgr", [False, True])
@pytest.mark.parametrize("convolution", [False, True])
@pytest.mark.parametrize("fixed_batch", [False, True])
def test_arcface_is_normalised_and_ordered_as_the_manifest_says(
    bgr: bool, convolution: bool, fixed_batch: bool
) -> None:
    from countenance.recognition.extractor import Extractor

    file = small_models.arcface(convolution=convolution, fixed_batch=fixed_batch)
    running = session(file, n=-1, side=112, divisor=127.5, reverse_channels=bgr)
    made = Extractor(running, dimension=512, flip=False).features(CROPS)
    np.testing.assert_allclose(made, small_models.features_by_hand(CROPS, bgr=bgr), atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(made, axis=1), 1, atol=1e-6)


def picture() -> bytes:
    """Black, with one white square that covers whole cells on the canvas of 512 x 384."""
    pixels = np.zeros((384, 512, 3), np.uint8)
    pixels[128:192, 256:320] = 255
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_an_engine_is_built_of_a_pack_of_ones_own(tmp_path: Path, runtime: str) -> None:
    pytest.importorskip(runtime)
    small_models.install(tmp_path, features=small_models.arcface(convolution=True, fixed_batch=True))
    engine = build_engine(cache_dir=tmp_path, runtime=runtime, threads=1, workers=1, pack="small")
    try:
        assert engine.dimension == 512
        assert engine.model_version.startswith("small-1.0-")
        analysis = engine.analyse(picture())
        best = max(analysis.faces, key=lambda each: each.detection_confidence)
        assert best.detection_confidence == pytest.approx(100 * sure(255), abs=0.01)
        assert [each.kind for each in best.landmarks] == list(LANDMARKS)
        made = engine.extract(analysis, analysis.faces)
        crops = engine.align(analysis.picture, analysis.faces)
        np.testing.assert_allclose(
            made, small_models.features_by_hand(crops), atol=2e-2 if "bfloat16" in engine.runtime else 2e-5
        )
    finally:
        engine.close()


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_a_file_made_for_one_crop_is_given_one_at_a_time(tmp_path: Path, runtime: str) -> None:
    pytest.importorskip(runtime)
    small_models.install(tmp_path, features=small_models.arcface(one_by_one=True))
    engine = build_engine(cache_dir=tmp_path, runtime=runtime, threads=1, workers=1, pack="small")
    try:
        tolerance = 2e-2 if "bfloat16" in engine.runtime else 2e-5
        np.testing.assert_allclose(engine.features(CROPS), small_models.features_by_hand(CROPS), atol=tolerance)
    finally:
        engine.close()


def test_a_constant_that_is_reshaped_with_zeros_keeps_these_sides() -> None:
    import onnx
    from onnx import helper, numpy_helper

    model = onnx.load_model_from_string(small_models.arcface())
    graph = model.graph
    (weight,) = (each for each in graph.initializer if each.name == "weight")
    value = numpy_helper.to_array(weight)
    weight.CopyFrom(numpy_helper.from_array(value.reshape(48, 2, 256), "weight"))
    graph.initializer.append(numpy_helper.from_array(np.array([0, -1], np.int64), "sides"))
    graph.node.insert(0, helper.make_node("Reshape", ["weight", "sides"], ["flat_weight"]))
    graph.node[-1].input[1] = "flat_weight"
    running = session(model.SerializeToString(), n=-1, side=112, divisor=127.5)
    made = running.run(CROPS)[0]
    wanted = small_models.features_by_hand(CROPS)
    np.testing.assert_allclose(made / np.linalg.norm(made, axis=1, keepdims=True), wanted, atol=2e-6)


def test_what_only_a_graph_inside_a_node_reads_is_kept() -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    model = onnx.load_model_from_string(small_models.arcface())
    graph = model.graph
    graph.node[-1].output[0] = "plain"

    def branch(factor: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info(f"by_{factor}", TensorProto.FLOAT, ["n", "k"])
        return helper.make_graph([helper.make_node("Mul", ["plain", factor], [out.name])], factor, [], [out])

    for name, value in (("yes", np.array(True)), ("two", np.float32(2)), ("three", np.float32(3))):
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    node = helper.make_node("If", ["yes"], ["683"], then_branch=branch("two"), else_branch=branch("three"))
    graph.node.append(node)
    doubled = session(model.SerializeToString(), n=-1, side=112, divisor=127.5).run(CROPS)[0]
    plain = session(small_models.arcface(), n=-1, side=112, divisor=127.5).run(CROPS)[0]
    np.testing.assert_allclose(doubled, 2 * plain, rtol=1e-5)


def test_model_versions_tell_packs_apart(tmp_path: Path) -> None:
    """The default pack's is what it was; another's has its name; one's own has what it is made of, too."""
    assert modelpack.load().model_version == "2.0"
    assert modelpack.load("buffalo_l").model_version == "buffalo_l-1.0"
    small_models.install(tmp_path)
    small_models.install(tmp_path, "smaller")
    small_models.install(tmp_path / "other", features=small_models.arcface(seed=8))
    versions = [
        modelpack.load("small", tmp_path).model_version,
        modelpack.load("smaller", tmp_path).model_version,
        modelpack.load("small", tmp_path / "other").model_version,
    ]
    assert len(set(versions)) == 3


def refused(folder: Path, pack: str = "small") -> ModelPackError:
    with pytest.raises(ModelPackError) as caught:
        build_engine(cache_dir=folder, runtime=RUNTIME, threads=1, workers=1, pack=pack)
    return caught.value


def test_without_a_calibration_no_engine_is_built_but_to_calibrate(tmp_path: Path) -> None:
    small_models.install(tmp_path, calibrated=False)
    error = refused(tmp_path)
    assert "no calibration" in error.message
    assert "models calibrate" in str(error.hint)
    engine = build_engine(cache_dir=tmp_path, runtime=RUNTIME, threads=1, workers=1, pack="small", is_calibrating=True)
    engine.close()


def test_a_calibration_that_was_fitted_here_counts_for_the_same_weights_only(tmp_path: Path) -> None:
    small_models.install(tmp_path, calibrated=False)
    pack = modelpack.load("small", tmp_path)
    path = modelpack.calibration_path(pack, tmp_path)
    path.parent.mkdir()
    path.write_text(json.dumps({**small_models.CALIBRATION, "weights": modelpack.weights_named(pack)}))
    build_engine(cache_dir=tmp_path, runtime=RUNTIME, threads=1, workers=1, pack="small").close()
    path.write_text(json.dumps({**small_models.CALIBRATION, "weights": {"features": "0" * 64}}))
    assert "no calibration" in refused(tmp_path).message


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"detector": small_models.arcface(seed=9)}, "does not work as a detector"),
        ({"features": small_models.scrfd(batched=True)}, "does not work as a features|its manifest says"),
        ({"detector": small_models.scrfd(keypoints=False)}, "no landmarks"),
        ({"detector": b"no model at all"}, "cannot be folded"),
        ({"dimension": 256}, "1x512 of a batch of 1; its manifest says 256"),
    ],
)
def test_a_file_that_is_not_what_its_manifest_says_is_refused(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    small_models.install(tmp_path, **changes)
    with pytest.raises(ModelPackError, match=said):
        build_engine(cache_dir=tmp_path, runtime=RUNTIME, threads=1, workers=1, pack="small")


def test_a_kind_that_does_not_run_here_is_told_before_its_files_are_looked_for(tmp_path: Path) -> None:
    error = refused(tmp_path, "dlib")
    assert "does not run here" in error.message
    assert "scrfd" in str(error.hint)


def test_weights_in_another_file_are_refused() -> None:
    import onnx

    model = onnx.load_model_from_string(small_models.arcface())
    tensor = model.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    with pytest.raises(ValueError, match="in another file"):
        folding.fold(model.SerializeToString(), input_shape=(-1, 112, 112), reverse_channels=False)


def test_every_pack_of_this_program_says_what_it_asks_for() -> None:
    packs = {each.name: each for each in modelpack.available()}
    assert {"buffalo_l", "buffalo_s", "antelopev2", "adaface-ir101", "edgeface-s", "scrfd-sface", "dlib"} <= set(packs)
    for pack in packs.values():
        for file in pack.files:
            assert file.licence
            assert file.source.startswith("https://")
            assert not file.sha256 or len(file.sha256) == 64
            assert file.url or file.archive or file.distribution
        if pack.dimension and pack.name != modelpack.DEFAULT_PACK:
            assert pack.terms
            assert pack.digests_from
    for name in ("buffalo_l", "buffalo_s", "antelopev2", "adaface-ir101", "edgeface-s", "scrfd-sface"):
        assert not packs[name].commercial_use
